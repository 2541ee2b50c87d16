#pragma once
// Exact transforms as Monarch products, built from roots of unity (docs/monarch-matrices.md).

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "monarch/operators/fourier.hpp"
#include "monarch/operators/monarch/projection.hpp"

namespace monarch::operators {

/// A matrix [out, in] that is a Monarch product between two permutations:
///
///   y = M(x padded with zeros to k·p, element input[i] at place i), element output[m] of it at place m, m < out.
///
/// The factors are what a learned layer starts from; both permutations are constants.
struct TransformFactors {
  MonarchFactors factors;  ///< w1 [k, q, p], w2 [l, s, r]
  at::Tensor input;        ///< int64 [k·p], a permutation; undefined: none
  at::Tensor output;       ///< int64 [l·s], a permutation; undefined: none
  int64_t in = 0;          ///< length of x, at most k·p
  int64_t out = 0;         ///< length of y, at most l·s
};

/// {K, P} with K·P = n and K >= P, as near to sqrt(n) as n allows; {1, 1} for 1. Throws ShapeError for a prime n: the
/// message names the cheapest composite size to pad to and what {1, n} costs.
std::array<int64_t, 2> monarch_split(int64_t n);
/// The size m >= n, at most the next power of two (4 at least), whose transform has fewest weights, m·(K + P).
int64_t monarch_composite_size(int64_t n);

struct ConstructionOptions {
  /// {K, P}: K blocks in the first factor and P in the second. Default monarch_split(n). {1, n} and {n, 1} are trivial
  /// splits (one dense block), which any n has.
  std::optional<std::array<int64_t, 2>> sizes = std::nullopt;
  at::ScalarType precision = at::kDouble;  ///< of the factors: float32 or float64 (they are computed in float64)
  at::Device device = at::kCPU;
};

/// The discrete Fourier transform of Fourier (fourier.hpp): both signs, centred or not, any normalisation; n = K·P.
/// One complex Monarch matrix w1 [K, P, P], w2 [P, K, K] after the input permutation [P, K] -> [K, P]. Centring and
/// scale are in the factors, the scale evenly (both are unitary for `ortho`). n·(K + P) complex weights.
/// Throws ShapeError for sizes that do not multiply to n and for a prime n without sizes.
TransformFactors monarch_dft(int64_t n, const TransformOptions& transform = {},
                             const ConstructionOptions& options = {});

/// Discrete cosine and sine transforms. With a = j + 1/2, b = m + 1/2:
/// dct2: 2 sum_j x_j cos(pi a m / n)             dst2: 2 sum_j x_j sin(pi a (m+1) / n)
/// dct3: x_0 + 2 sum_{j>0} x_j cos(pi j b / n)   dst3: (-1)^m x_{n-1} + 2 sum_{j<n-1} x_j sin(pi (j+1) b / n)
/// dct4: 2 sum_j x_j cos(pi a b / n)             dst4: 2 sum_j x_j sin(pi a b / n)
enum class RealTransform { dct2, dct3, dct4, dst2, dst3, dst4 };
/// "dct2" ...
std::string real_transform_name(RealTransform kind);

/// One real Monarch matrix of slice rank 2 between permutations: w1 [K, 2P, n/K], w2 [P, n/P, 2K], K·P = n, except that
/// types IV of even n also take K·P = n/2 (the default where n/2 is composite: half of the weights). Signs are in the
/// factors. 2n(K + P) weights.
/// Normalisation `none` is the definition above (FFTW's REDFT and RODFT), `ortho` the orthogonal matrix (with the
/// factor 1/sqrt(2) on the term that stands alone), `inverse` 1/(2n): it undoes `none` of the paired type (II and III,
/// IV and IV).
/// Throws ShapeError as monarch_dft.
TransformFactors monarch_real_transform(int64_t n, RealTransform kind,
                                        Normalisation normalisation = Normalisation::ortho,
                                        const ConstructionOptions& options = {});

/// Walsh-Hadamard transform in natural (Sylvester) order, n a power of two: H_n = H_K (x) H_P, a real Monarch matrix
/// without permutations: w1 [K, P, P], w2 [P, K, K]. Throws ShapeError for other n.
TransformFactors monarch_hadamard(int64_t n, Normalisation normalisation = Normalisation::ortho,
                                  const ConstructionOptions& options = {});

/// The same complex matrix acting on real vectors in planar order: x = [re x, im x] of length 2·in, y = [re y, im y].
/// Real factors w1 [k, 2q, 2p], w2 [l, 2s, 2r]. With real_in x is real (length in, w1 [k, 2q, p]); with real_out only
/// Re y is computed (w2 [l, s, 2r]). Throws ShapeError unless l divides q, DtypeError for real factors.
TransformFactors monarch_real_pairs(const TransformFactors& f, bool real_in = false, bool real_out = false);

/// Only the outputs `wanted` (distinct, in [0, out)), in that order: w2 keeps as many rows s as the fullest of its
/// blocks needs (the first m outputs: ceil(m/l) rows and no permutation). Throws ShapeError.
TransformFactors monarch_keep_outputs(const TransformFactors& f, const std::vector<int64_t>& wanted);
/// The transform of a vector that is zero but at `wanted` (distinct, in [0, in)), given these elements alone: w1 keeps
/// as many columns p as the fullest of its blocks needs. Throws ShapeError.
TransformFactors monarch_keep_inputs(const TransformFactors& f, const std::vector<int64_t>& wanted);
/// 0, 1, ..., count - 1.
std::vector<int64_t> first_indices(int64_t count);
/// The frequencies 0 ... m-1 and -m ... -1 of a transform of length n that is not centred: m low ones of both signs.
std::vector<int64_t> low_frequencies(int64_t n, int64_t m);

/// y = T x over the last axis: [..., in] -> [..., out]; x real or complex (real factors serve complex x and the other
/// way round). Differentiable in x and the factors.
at::Tensor transform_multiply(const at::Tensor& x, const TransformFactors& f);
/// x = T^H y over the last axis: [..., out] -> [..., in].
at::Tensor transform_adjoint(const at::Tensor& y, const TransformFactors& f);
/// The dense matrix [out, in].
at::Tensor transform_dense(const TransformFactors& f);

}  // namespace monarch::operators
