#include "monarch/solvers/learning/normaliser.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::solvers {

namespace {
constexpr double kEpsilon = 1e-5;
}

at::Tensor Normaliser::encode(const at::Tensor& x) const {
  return active() ? (x - mean) / (std + kEpsilon) : x;
}

at::Tensor Normaliser::decode(const at::Tensor& x) const {
  return active() ? x * (std + kEpsilon) + mean : x;
}

Normaliser Normaliser::like(const at::Tensor& x) const {
  if (!active()) return *this;
  return {mean.to(x.options()), std.to(x.options())};
}

void Normaliser::check_grid(const at::Tensor& x, const std::string& what) const {
  if (!active()) return;
  for (int64_t d = 1; d < x.dim(); ++d) {
    check<ShapeError>(
        mean.size(d) == 1 || mean.size(d) == x.size(d),
        [&] {
          return fmt::format("the pointwise statistics of the {} are for fields of {}, these are {}", what,
                             shape_text({mean.sizes().data() + 1, mean.sizes().size() - 1}),
                             shape_text({x.sizes().data() + 1, x.sizes().size() - 1}));
        },
        "train with data.normalise_… = \"channel\" for predictions on other grids");
  }
}

void Normaliser::store(std::map<std::string, at::Tensor>& tensors, const std::string& name) const {
  if (!active()) return;
  tensors[name + "_mean"] = mean;
  tensors[name + "_std"] = std;
}

Normaliser Normaliser::restore(const std::map<std::string, at::Tensor>& tensors, const std::string& name) {
  const auto mean = tensors.find(name + "_mean"), std = tensors.find(name + "_std");
  if (mean == tensors.end() || std == tensors.end()) return {};
  return {mean->second, std->second};
}

void NormaliserFit::add(const at::Tensor& x) {
  if (kind_ == NormaliserKind::none) return;
  std::vector<int64_t> axes{0};
  if (kind_ == NormaliserKind::channel || over_time_) axes.push_back(1);
  if (kind_ == NormaliserKind::channel)
    for (int64_t d = 3; d < x.dim(); ++d) axes.push_back(d);
  // Sums of differences from the first batch's mean, so that squares do not cancel.
  const at::Tensor values = x.to(at::kDouble);
  if (!shift_.defined()) {
    shift_ = values.mean(axes, true);
    sum_ = at::zeros_like(shift_);
    squares_ = at::zeros_like(shift_);
  }
  const at::Tensor difference = values - shift_;
  sum_ += difference.sum(axes, true);
  squares_ += difference.square().sum(axes, true);
  count_ += static_cast<double>(x.numel()) / static_cast<double>(shift_.numel());
}

Normaliser NormaliserFit::result() const {
  if (kind_ == NormaliserKind::none) return {};
  check<DataError>(count_ >= 2, "a standard deviation needs two samples at least", "raise data.train");
  const at::Tensor variance = (squares_ - sum_.square() / count_).clamp_min(0) / (count_ - 1);
  return {shift_ + sum_ / count_, variance.sqrt()};
}

}  // namespace monarch::solvers
