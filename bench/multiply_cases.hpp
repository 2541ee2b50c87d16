#pragma once
// Which products `monarch bench multiply` times, and the arithmetic of each.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "monarch/operators/monarch/multiply.hpp"

namespace monarch::bench {

struct LayerShape {
  int64_t in = 0, out = 0;
  bool operator==(const LayerShape&) const = default;
};
/// "1024" (square), "768:3072" or "768->3072". Throws ConfigError.
LayerShape layer_shape_from_text(const std::string& text);
/// "1024", "768→3072".
std::string layer_shape_text(const LayerShape& shape);

/// The sizes that MonarchLinear gives a layer in -> out of `nblocks` blocks (the rule of the paper's own code): with
/// a = ceil(in/nblocks) and b = ceil(out/nblocks), in < out: w1 [nblocks, a, a], w2 [nblocks, b, a]; else
/// w1 [nblocks, b, a], w2 [nblocks, b, b]. Throws ConfigError for nblocks outside 1 … min(in, out).
operators::MonarchSizes monarch_linear_sizes(const LayerShape& shape, int64_t nblocks);

/// The Monarch matrix of block rank 1 (Definition 1 of the paper) with about √n blocks: k·l = m = min(in, out), k >= l
/// as near to √m as divisors allow, w1 [k, l, in/k], w2 [l, out/l, k]. The middle vector then has the width m, nothing
/// is padded, and each (j, k) slice has rank 1, also where m is no square: m = 768 gives k = 32 and l = 24. Parameters
/// and multiplications per row: m (in/k + out/l). Throws ConfigError where only l = 1 would do (a prime m).
operators::MonarchSizes sqrt_blocks_sizes(const LayerShape& shape);

/// `nblocks`: a number (monarch_linear_sizes) or "sqrt" (sqrt_blocks_sizes). Throws ConfigError.
operators::MonarchSizes sizes_for(const LayerShape& shape, const std::string& nblocks);

/// One product to time.
struct MultiplyCase {
  LayerShape shape = {};
  std::string nblocks = {};  ///< "4", "sqrt"
  operators::MonarchSizes sizes = {};
  int64_t batch = 0;
  bool training = false;  ///< forward and the gradients of x and all weights; else forward alone
  int threads = 1;
  at::ScalarType dtype = at::kFloat;

  /// Operations of the Monarch product and of the dense one: 2 per multiplication of real numbers, 8 of complex ones;
  /// three times that in training.
  double flops() const;
  double dense_flops() const;
  /// What one would gain if both ran at the same rate: dense over Monarch operations.
  double ideal() const { return dense_flops() / flops(); }
  /// Bytes that a forward product moves at least: x, y and the weights, each once.
  double bytes() const;
  double dense_bytes() const;
  /// One activation of the middle width.
  double middle_bytes() const;
  std::string text() const;  ///< "768→3072, nblocks 4, batch 256, forward, 2 threads"
};

/// How far two programs may deviate by rounding, in units of the RMS: 16 eps for 16-bit types (which round results and
/// middle vector, but add in float), else (64 + 8 sqrt(n)) eps for sums of n terms.
double agreement_tolerance(const MultiplyCase& what);

/// Largest deviation of the elements of `ours` from those of `peer`, in units of the peer's RMS. `name`: what they are.
/// Throws BackendError when it is not within agreement_tolerance (NaN never is) or shapes differ.
double check_agreement(const MultiplyCase& what, const std::string& name, const at::Tensor& ours,
                       const at::Tensor& peer);

}  // namespace monarch::bench
