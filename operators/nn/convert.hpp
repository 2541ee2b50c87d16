#pragma once
// Whole models from dense to Monarch layers and back, in place, by name.

#include <torch/nn/module.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "monarch/operators/nn/monarch_adapter.hpp"
#include "monarch/operators/nn/monarch_linear.hpp"

namespace monarch::operators {

struct LayerChange {
  std::string name;           ///< dotted, as in named_parameters() without the parameter
  std::string before, after;  ///< "dense", "Monarch", "adapter", "block-diagonal", "low-rank"
  int64_t in = 0, out = 0;
  int64_t parameters_before = 0, parameters_after = 0;  ///< bias included
  double relative_error = 0;                            ///< of a projection, ||W - M||/||W||; NaN otherwise
};

struct ConversionReport {
  std::vector<LayerChange> changed;
  /// Layers whose name matches and that stay as they were, with the reason.
  std::vector<std::pair<std::string, std::string>> kept;
  /// A table for people, one layer a line.
  std::string text() const;
};

struct ConvertOptions {
  /// nblocks or sizes, init, weight_norm …; in, out, bias, activation, dtype and device follow the layer replaced.
  MonarchLinearOptions layer;
  bool project = true;  ///< the nearest Monarch matrix to the dense weight; false: freshly initialised
  /// Fresh factors stand for a weight of the dense one's variance, and the bias is kept (initialise_factors_like).
  bool like_dense = false;
};

// All walk the module tree and change the layers whose dotted name matches `pattern` as a whole (ECMAScript
// regular expression; ".*mlp.*" for a part). What can be changed is what forward() really calls:
//   * every LinearLayer, wherever it is held (its content is exchanged), and
//   * torch::nn::Linear and the structured layers that are elements of a torch::nn::Sequential.
// A layer that a module holds as a typed member cannot be exchanged from outside in C++; it is reported in `kept`.
// A layer shared by several parents stays shared. Training mode, dtype, device and requires_grad carry over. Parameters
// are new tensors: make the optimiser afterwards. Throws ConfigError for an invalid pattern, and for one that matches
// no linear layer.

/// Dense layers become Monarch.
ConversionReport to_monarch(torch::nn::Module& root, const std::string& pattern, const ConvertOptions& options = {});

/// How the baselines replace dense layers: fresh as their classes say, fresh like the dense weight (bias kept), or the
/// nearest weight of that structure.
struct BaselineOptions {
  bool project = true, like_dense = false;
};
/// Dense layers become block-diagonal.
ConversionReport to_block_diagonal(torch::nn::Module& root, const std::string& pattern, int64_t nblocks,
                                   const BaselineOptions& options = {});
/// Dense layers become low-rank. rank 0: matching_rank of nblocks, layer by layer.
ConversionReport to_low_rank(torch::nn::Module& root, const std::string& pattern, int64_t rank, int64_t nblocks = 4,
                             const BaselineOptions& options = {});

/// Structured layers and adapters become dense, the factors multiplied out.
ConversionReport to_dense(torch::nn::Module& root, const std::string& pattern = ".*");

/// The weights and biases that to_dense would make, as constant copies under their new names; the module stays.
std::vector<std::pair<std::string, at::Tensor>> dense_parameters(torch::nn::Module& root,
                                                                 const std::string& pattern = ".*");

/// Dense layers are frozen and get an adapter. Other parameters are left as they are.
ConversionReport add_adapters(torch::nn::Module& root, const std::string& pattern,
                              const MonarchAdapterOptions& options = {});

}  // namespace monarch::operators
