#pragma once
// How Monarch layers start: standard deviations of their factors, and the learning rates that go with them.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "monarch/operators/monarch/multiply.hpp"

namespace monarch::operators {

/// fly             the authors' code: every factor U(±1/sqrt(fan_in)) with fan_in its last extent (p, r), the bias
///                 U(±1/sqrt(out)). Each factor has a gain of 1/sqrt(3), so that x of unit variance gives outputs of
///                 standard deviation 1/3, where torch::nn::Linear gives 1/sqrt(3).
/// dense_matching  outputs, and gradients on their way back, have the variance that torch::nn::Linear gives them by
///                 default: both factors share the missing gain, U(±3^(1/4)/sqrt(fan_in)) with fan_in the columns
///                 that are not padding; the bias is U(±1/sqrt(in)).
/// mup             maximal update parametrisation (Qiu et al., ICML 2024): every factor is normal with standard
///                 deviation sqrt(1/d_in)·min(1, sqrt(d_out/d_in)) of its block, the bias is 0, and Adam's learning
///                 rate has a multiplier per factor (learning_rate_multipliers).
enum class MonarchInit { fly, dense_matching, mup };

/// "fly", "dense-matching", "mup"; throws ConfigError naming the closest one for another name.
MonarchInit monarch_init_from_name(const std::string& name);
std::string monarch_init_name(MonarchInit init);

/// Fills w1 [k, q, p] and w2 [l, s, r] of a layer of `in` columns in place, without gradients, from PyTorch's
/// generator. Complex factors get real and imaginary parts of half the variance each.
///
/// dense_matching: with p_k the columns of block k that exist and r_j the middle rows of block j whose own block has
/// any, Var w1[k] = 1/(sqrt(3) p_k) and Var w2[j] = 1/(sqrt(3) r_j), so that Var y = sum_rho Var w2 sum_p Var w1 = 1/3
/// at every output, uneven extents or not.
void initialise_factors(const at::Tensor& w1, const at::Tensor& w2, int64_t in, MonarchInit init);

/// Fills w1 and w2 with normal numbers such that the dense weight they stand for has entries of standard deviation
/// `deviation`: x of unit variance gives outputs of variance in·deviation², half of whose exponent each factor bears.
/// With deviation 0 the second factor is 0, and the first has unit gain.
void initialise_factors_like(const at::Tensor& w1, const at::Tensor& w2, int64_t in, double deviation);

/// Fills the bias [out] of a layer in -> out.
void initialise_bias(const at::Tensor& bias, int64_t in, MonarchInit init);

/// std of the mup rule for a matrix d_out × d_in: sqrt(1/d_in)·min(1, sqrt(d_out/d_in)) = sqrt(min(d_in, d_out))/d_in.
double mup_deviation(int64_t d_in, int64_t d_out);

/// Adam's learning-rate multipliers of the two factors.
struct FactorMultipliers {
  double first = 1, second = 1;
};

/// mup: (in / fan_in of the block) / (number of factors), so that feature updates are as large as a dense layer's;
/// times base_in / in where `base_in` (columns of the narrow model whose learning rate was tuned) is not 0. nblocks =
/// 4, square: 2 and 2. Other inits: 1.
FactorMultipliers learning_rate_multipliers(const MonarchSizes& sizes, int64_t in, MonarchInit init,
                                            int64_t base_in = 0);

}  // namespace monarch::operators
