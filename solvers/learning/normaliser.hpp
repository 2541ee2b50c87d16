#pragma once
// Fields in units in which they have mean 0 and standard deviation 1.

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <string>

#include "monarch/solvers/learning/options.hpp"

namespace monarch::solvers {

/// x -> (x − mean) / (std + 1e-5) and back, as UnitGaussianNormalizer of the published scripts (std with n − 1).
/// mean and std broadcast over [sample, time, channel, grid…]; undefined: the identity.
struct Normaliser {
  at::Tensor mean, std;

  at::Tensor encode(const at::Tensor& x) const;
  at::Tensor decode(const at::Tensor& x) const;
  bool active() const { return mean.defined(); }
  /// Moves and converts to where x is.
  Normaliser like(const at::Tensor& x) const;
  /// Throws ShapeError for pointwise statistics of another grid than x [sample, time, channel, grid…] has.
  void check_grid(const at::Tensor& x, const std::string& what) const;

  /// "<name>_mean" and "<name>_std"; nothing for the identity.
  void store(std::map<std::string, at::Tensor>& tensors, const std::string& name) const;
  static Normaliser restore(const std::map<std::string, at::Tensor>& tensors, const std::string& name);
};

/// Sums for the statistics of fields that come batch by batch, in float64.
class NormaliserFit {
 public:
  /// channel: one mean and one std for each channel. pointwise: for each channel, point and time; with `over_time` (a
  /// rollout, whose window slides) one for all times.
  NormaliserFit(NormaliserKind kind, bool over_time) : kind_(kind), over_time_(over_time) {}
  /// x: [sample, time, channel, grid…].
  void add(const at::Tensor& x);
  /// Throws DataError where a pointwise statistic has a single value only.
  Normaliser result() const;

 private:
  NormaliserKind kind_;
  bool over_time_;
  at::Tensor shift_, sum_, squares_;
  double count_ = 0;
};

}  // namespace monarch::solvers
