#pragma once
// A linear layer whose inside can be exchanged, and factories of such layers for models.

#include <torch/nn/modules/linear.h>

#include <cstdint>
#include <functional>
#include <variant>

#include "monarch/operators/nn/block_diagonal_linear.hpp"
#include "monarch/operators/nn/low_rank_linear.hpp"
#include "monarch/operators/nn/monarch_adapter.hpp"
#include "monarch/operators/nn/monarch_linear.hpp"

namespace monarch::operators {

/// act(linear map), where the map is dense, Monarch, block-diagonal, low-rank or dense with an adapter, and may become
/// another one in place.
///
/// C++ modules hold typed children (`torch::nn::Linear fc`), which torch::nn::Module::replace_module does not update: a
/// layer exchanged that way is never called. Models that are to be converted (convert.hpp) hold a LinearLayer instead.
/// Its parameters are those of its content under its own name: "fc.weight", "fc.bias", or "fc.blkdiag1", "fc.blkdiag2",
/// "fc.bias", so that checkpoints look as if the content stood there itself.
class LinearLayerImpl : public torch::nn::Cloneable<LinearLayerImpl> {
 public:
  using Content = std::variant<torch::nn::Linear, MonarchLinear, MonarchAdapter, BlockDiagonalLinear, LowRankLinear>;

  /// Dense, initialised as torch::nn::Linear.
  LinearLayerImpl(int64_t in, int64_t out, bool bias = true, Activation activation = Activation::none);
  /// A MonarchLinear gets the activation fused.
  explicit LinearLayerImpl(Content content, Activation activation = Activation::none);

  /// x [..., in] -> [..., out].
  at::Tensor forward(const at::Tensor& x);

  const Content& content() const { return content_; }
  /// Puts another content in. It takes over the training mode and the activation; the parameters change, so optimisers
  /// are made afterwards. Throws ShapeError where in or out differ.
  void replace(Content content);

  int64_t in() const;
  int64_t out() const;
  /// Multiplications per row, padding included.
  int64_t macs() const;
  Activation activation() const { return activation_; }
  /// The dense weight [out, in], differentiable.
  at::Tensor densify() const;

  void reset() override;
  void train(bool on = true) override;
  void pretty_print(std::ostream& stream) const override;

 private:
  void adopt();

  Content content_;
  Activation activation_ = Activation::none;
};

TORCH_MODULE(LinearLayer);

/// What a content maps: x [..., in] -> [..., out].
struct LinearExtents {
  int64_t in = 0, out = 0;
};
LinearExtents extents(const LinearLayerImpl::Content& content);

/// What a model says of a layer it needs.
struct LinearSpec {
  int64_t in = 0, out = 0;
  bool bias = true;
  Activation activation = Activation::none;
};

/// Models take one, so that dense against Monarch is one word and everything else is the same code.
using LinearFactory = std::function<LinearLayer(const LinearSpec&)>;

LinearFactory dense_layers();
/// in, out, bias and activation come from the model, everything else from the options.
LinearFactory monarch_layers(const MonarchLinearOptions& options = {});

}  // namespace monarch::operators
