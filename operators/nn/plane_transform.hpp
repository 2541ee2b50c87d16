#pragma once
// The inverse Fourier transform of planes, exact or learned axis by axis.

#include <torch/nn/module.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "monarch/operators/monarch/transform.hpp"

namespace monarch::operators {

/// What stands for the inverse transform of an axis.
///   fourier  the centred unitary transform itself
///   monarch  a Monarch product of two block-diagonal factors, n·(K + P) complex weights
///   dense    an n × n complex matrix (a control)
///   weights  the transform behind n real weights of k-space
enum class PlaneKind { fourier, monarch, dense, weights };

struct PlaneOptions {
  PlaneKind kind = PlaneKind::fourier;
  bool tied_axes = false;    ///< one set of weights for both axes, which are then equally long
  int64_t sets = 1;          ///< independent transforms, chosen by the sample (one for each echo)
  double lr_multiplier = 1;  ///< of the learning rate of its weights, for optimisers that ask
  int64_t coils = 0;         ///< a transform for each of so many coils; 0: all coils share one
  /// Points of the image that are computed, centred, per axis (y, x); the others are zero. {}: all.
  std::optional<std::array<int64_t, 2>> image;
};

/// image = G_y k G_x^T over the last two axes, G_y and G_x starting as the centred unitary inverse Fourier transform
/// (index floor(n/2) is the origin of both domains): exactly, to rounding. Differentiable in k and the weights.
///
/// Parameters: y.w1, y.w2, x.w1, x.w2 (monarch: complex [set·coil, K, P, P], [set·coil, P, K, K]), y.weight, x.weight
/// (dense [set·coil, n, n] complex, weights [set·coil, n] real); only y where axes are tied.
/// Cost per plane of n_y × n_x: fourier n log n; monarch n_y n_x (K_y + P_y + K_x + P_x) complex multiplications.
class PlaneTransform final : public torch::nn::Module {
 public:
  /// Throws ShapeError for extents below 1, tied axes of unequal length and an image larger than the plane.
  PlaneTransform(int64_t ny, int64_t nx, PlaneOptions options = {});

  /// kspace [batch, coil, y, x] complex64 -> image [batch, coil, y, x]. sets: for each of the batch, or {} for set 0.
  /// Throws ShapeError for other extents or coils, and for a set that is not there.
  at::Tensor inverse(const at::Tensor& kspace, const std::vector<int64_t>& sets = {}) const;
  /// The conjugate transpose: image [batch, coil, y, x] -> k-space.
  at::Tensor inverse_adjoint(const at::Tensor& image, const std::vector<int64_t>& sets = {}) const;
  /// The same transform with only what it does to each point of k-space by itself: F^H diag(F G) per axis. What is
  /// lost against inverse() is what the transform does beyond weighting k-space.
  at::Tensor inverse_diagonal(const at::Tensor& kspace, const std::vector<int64_t>& sets = {}) const;

  const PlaneOptions& options() const { return options_; }
  std::array<int64_t, 2> extents() const { return {ny_, nx_}; }
  /// The matrix G [n, n] of an axis (0: y, 1: x), of a set and coil.
  at::Tensor matrix(int64_t axis, int64_t set = 0, int64_t coil = 0) const;
  /// Real multiplications and additions of inverse() for one plane, in pairs.
  double macs() const;
  /// "512 = 32 · 16 by 160 = 16 · 10".
  std::string describe() const;

 private:
  enum class Direction { inverse, adjoint };
  struct Axis {
    int64_t n = 0, image = 0;
    TransformFactors layout;  // permutations and lengths of the Monarch product; its factors are the parameters
    at::Tensor w1, w2, weight;
  };

  Axis make_axis(const std::string& name, int64_t n, int64_t image);
  const Axis& axis(int64_t which) const { return which == 0 || options_.tied_axes ? y_ : x_; }
  TransformFactors factors(const Axis& axis, int64_t member) const;
  at::Tensor along(const Axis& axis, const at::Tensor& x, int64_t dim, int64_t member, Direction direction) const;
  at::Tensor run(const at::Tensor& planes, const std::vector<int64_t>& sets, Direction direction) const;
  at::Tensor run_set(const at::Tensor& planes, int64_t set, Direction direction) const;
  void check_planes(const at::Tensor& planes, const std::vector<int64_t>& sets) const;

  int64_t ny_, nx_;
  PlaneOptions options_;
  Axis y_, x_;
};

/// The centred unitary Fourier transform over the last two axes, differentiable: k-space of an image, or with `inverse`
/// the image of a k-space. [..., y, x] complex.
at::Tensor plane_fourier(const at::Tensor& x, bool inverse);

}  // namespace monarch::operators
