#include "monarch/operators/wavelet.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>

#include "monarch/core/error.hpp"
#include "monarch/operators/kernels/wavelet.hpp"

namespace monarch::operators {
namespace {

constexpr int64_t coarsest_extent = 16;

void check_options(const Space& domain, const WaveletOptions& o) {
  check<BackendError>(domain.device.is_cpu(),
                      [&] { return fmt::format("Wavelet on {}: expected the CPU", domain.text()); },
                      "move the tensors to the CPU first");
  check<DtypeError>(domain.dtype == at::kFloat || domain.dtype == at::kDouble || domain.dtype == at::kComplexFloat ||
                        domain.dtype == at::kComplexDouble,
                    [&] { return fmt::format("Wavelet on {}: expected float32, float64, complex64 or complex128",
                                             domain.text()); },
                    "convert the tensor with to()");
  const auto rank = static_cast<int64_t>(domain.shape.size());
  check<ConfigError>(1 <= o.dimensions && o.dimensions <= 3 && o.dimensions <= rank,
                     [&] { return fmt::format("Wavelet over {} axes of {}: expected 1 to {}", o.dimensions,
                                              domain.text(), std::min<int64_t>(3, rank)); },
                     "`dimensions` counts the last axes of the domain");
  check<ConfigError>(std::all_of(domain.shape.begin(), domain.shape.end(), [](int64_t n) { return n >= 1; }),
                     [&] { return fmt::format("Wavelet on {}: an extent is zero", domain.text()); },
                     "a domain needs at least one sample");
  check<ConfigError>(0 <= o.levels && o.levels <= 20,
                     [&] { return fmt::format("Wavelet with {} levels: expected 0 to 20", o.levels); },
                     "0 chooses the number from the extents");
  check<ConfigError>(o.shift.empty() || static_cast<int64_t>(o.shift.size()) == o.dimensions,
                     [&] { return fmt::format("Wavelet over {} axes with {} shifts", o.dimensions, o.shift.size()); },
                     "give one shift per transformed axis, or none");
}

int64_t automatic_levels(int64_t extent, int64_t taps) {
  int64_t levels = 0;
  while ((extent >> (levels + 1)) >= std::max(coarsest_extent, taps)) ++levels;
  return levels;
}

/// Levels of each axis of the domain.
std::vector<int64_t> choose_levels(const Space& domain, const WaveletOptions& o) {
  check_options(domain, o);
  std::vector<int64_t> levels(domain.shape.size(), 0);
  for (size_t a = domain.shape.size() - o.dimensions; a < domain.shape.size(); ++a) {
    if (domain.shape[a] == 1) continue;
    levels[a] = o.levels > 0 ? o.levels : automatic_levels(domain.shape[a], 2 * o.order);
  }
  return levels;
}

Space padded(Space space, const std::vector<int64_t>& levels) {
  double total = 1;
  for (size_t a = 0; a < levels.size(); ++a) {
    const int64_t multiple = int64_t{1} << levels[a];
    space.shape[a] = (space.shape[a] + multiple - 1) / multiple * multiple;
    total *= static_cast<double>(space.shape[a]);
  }
  check<ConfigError>(total <= static_cast<double>(std::numeric_limits<int32_t>::max()) * 1024,
                     [&] { return fmt::format("Wavelet coefficients {} are {:g} numbers", space.text(), total); },
                     "take fewer levels");
  return space;
}

/// The kernels see three axes: those longer than 1 moved to the back, the others dropped.
kernels::WaveletPlan make_plan(const Space& domain, const Space& codomain, const std::vector<int64_t>& levels,
                               const WaveletOptions& o) {
  kernels::WaveletPlan plan;
  plan.low = daubechies_filter(o.order);
  plan.high.resize(plan.low.size());
  for (size_t t = 0; t < plan.low.size(); ++t) {
    plan.high[t] = (t % 2 == 0 ? 1 : -1) * plan.low[plan.low.size() - 1 - t];
  }
  const size_t rank = domain.shape.size();
  for (size_t back = 0, to = 3; back < static_cast<size_t>(o.dimensions); ++back) {
    const size_t a = rank - 1 - back;
    if (domain.shape[a] == 1) continue;
    --to;
    plan.image[to] = domain.shape[a];
    plan.padded[to] = codomain.shape[a];
    plan.levels[to] = levels[a];
    const int64_t shift = o.shift.empty() ? 0 : o.shift[o.dimensions - 1 - back] % domain.shape[a];
    plan.shift[to] = shift < 0 ? shift + domain.shape[a] : shift;
  }
  return plan;
}

/// Plain memory: contiguous, without lazy conjugation.
at::Tensor plain(const at::Tensor& x) { return x.resolve_conj().resolve_neg().contiguous(); }

template <class T>
T* numbers(const at::Tensor& x) { return static_cast<T*>(x.data_ptr()); }

at::Tensor analysis(const kernels::WaveletPlan& plan, const Space& codomain, const at::Tensor& x, double threshold) {
  const at::Tensor from = plain(x);
  std::vector<int64_t> shape = codomain.shape;
  shape.insert(shape.begin(), x.size(0));
  at::Tensor to = at::empty(shape, from.options());
  const int64_t components = from.is_complex() ? 2 : 1;
  const int64_t outer = from.numel() / (plan.image[0] * plan.image[1] * plan.image[2]);
  if (at::toRealValueType(from.scalar_type()) == at::kFloat) {
    kernels::wavelet_analysis(plan, numbers<float>(from), numbers<float>(to), outer, components, threshold);
  } else {
    kernels::wavelet_analysis(plan, numbers<double>(from), numbers<double>(to), outer, components, threshold);
  }
  return to;
}

at::Tensor synthesis(const kernels::WaveletPlan& plan, const Space& domain, const at::Tensor& y) {
  const at::Tensor from = plain(y);
  std::vector<int64_t> shape = domain.shape;
  shape.insert(shape.begin(), y.size(0));
  at::Tensor to = at::empty(shape, from.options());
  const int64_t components = from.is_complex() ? 2 : 1;
  const int64_t outer = to.numel() / (plan.image[0] * plan.image[1] * plan.image[2]);
  if (at::toRealValueType(from.scalar_type()) == at::kFloat) {
    kernels::wavelet_synthesis(plan, numbers<float>(from), numbers<float>(to), outer, components);
  } else {
    kernels::wavelet_synthesis(plan, numbers<double>(from), numbers<double>(to), outer, components);
  }
  return to;
}

/// A transform without levels: the circular shift alone, by `sign`.
at::Tensor roll(const WaveletOptions& o, const at::Tensor& x, int64_t sign) {
  std::vector<int64_t> shift, axes;
  for (size_t i = 0; i < o.shift.size(); ++i) {
    shift.push_back(sign * o.shift[i]);
    axes.push_back(static_cast<int64_t>(i) - o.dimensions);
  }
  return shift.empty() ? x.clone(at::MemoryFormat::Contiguous) : at::roll(x, shift, axes);
}

}  // namespace

Wavelet::Wavelet(Space domain, WaveletOptions options)
    : LinearOperator(domain, padded(domain, choose_levels(domain, options))), options_(std::move(options)),
      levels_(choose_levels(domain, options_)) {
  coarse_shape_ = codomain().shape;
  for (size_t a = 0; a < levels_.size(); ++a) coarse_shape_[a] >>= levels_[a];
  plan_ = std::make_shared<const kernels::WaveletPlan>(make_plan(this->domain(), codomain(), levels_, options_));
}

std::string Wavelet::describe() const {
  const std::string shift = options_.shift.empty() ? "" : fmt::format(", shift {}", options_.shift);
  return fmt::format("Wavelet(Daubechies {}, levels {}{}): {} -> {}", options_.order, levels_, shift, domain().text(),
                     codomain().text());
}

Wavelet Wavelet::shifted(std::vector<int64_t> shift) const {
  WaveletOptions options = options_;
  options.shift = std::move(shift);
  return Wavelet(domain(), std::move(options));
}

at::Tensor Wavelet::do_apply(const at::Tensor& x) const {
  return plan_->depth() == 0 ? roll(options_, x, 1) : analysis(*plan_, codomain(), x, -1);
}

at::Tensor Wavelet::do_adjoint(const at::Tensor& y) const {
  return plan_->depth() == 0 ? roll(options_, y, -1) : synthesis(*plan_, domain(), y);
}

at::Tensor Wavelet::do_normal(const at::Tensor& x) const { return x.clone(at::MemoryFormat::Contiguous); }

at::Tensor Wavelet::shrink(const at::Tensor& x, double threshold) const {
  check<ConfigError>(threshold >= 0 && threshold <= std::numeric_limits<double>::max(),
                     [&] { return fmt::format("soft threshold {}: expected a number >= 0", threshold); },
                     "thresholds are in units of the image");
  const auto rank = static_cast<int64_t>(domain().shape.size());
  check<ShapeError>(x.dim() >= rank && x.sizes().slice(x.dim() - rank) == at::IntArrayRef(domain().shape),
                    [&] { return fmt::format("{} got {}", describe(), x.sizes()); },
                    "the last axes must equal the domain");
  check<DtypeError>(x.scalar_type() == domain().dtype && x.device() == domain().device,
                    [&] { return fmt::format("{} got {} on {}", describe(), at::toString(x.scalar_type()),
                                             x.device().str()); },
                    "convert the tensor with to()");
  if (plan_->depth() == 0) return x.detach().clone(at::MemoryFormat::Contiguous);
  std::vector<int64_t> shape = domain().shape;
  shape.insert(shape.begin(), x.numel() / domain().numel());
  const at::Tensor coefficients = analysis(*plan_, codomain(), x.detach().reshape(shape), threshold);
  return synthesis(*plan_, domain(), coefficients).view(x.sizes());
}

at::Tensor Wavelet::detail_norm(const at::Tensor& y) const {
  const auto rank = static_cast<int64_t>(codomain().shape.size());
  check<ShapeError>(y.dim() >= rank && y.sizes().slice(y.dim() - rank) == at::IntArrayRef(codomain().shape),
                    [&] { return fmt::format("{} got coefficients {}", describe(), y.sizes()); },
                    "the last axes must equal the codomain");
  at::Tensor modulus = y.detach().abs().clone();
  at::Tensor corner = modulus;
  std::vector<int64_t> axes;
  for (int64_t a = 0; a < rank; ++a) {
    corner = corner.narrow(a - rank, 0, coarse_shape_[a]);
    axes.push_back(a - rank);
  }
  corner.zero_();
  return modulus.sum(axes);
}

}  // namespace monarch::operators
