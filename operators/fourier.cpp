#include "monarch/operators/fourier.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/kernels/fourier.hpp"

namespace monarch::operators {

namespace kernels {

Centring centring(int64_t n, bool inverse) {
  const int64_t centre = n / 2;
  const double sign = inverse ? -1 : 1;
  // Whole turns go in integers, so that half turns, which is all that even n needs, are exact.
  const auto turn = [&](int64_t numerator) -> std::complex<double> {
    const int64_t rest = numerator % n;
    if (rest == 0) return 1;
    if (2 * rest == n) return -1;
    const double angle = sign * 2 * std::numbers::pi * static_cast<double>(rest) / static_cast<double>(n);
    return {std::cos(angle), std::sin(angle)};
  };
  Centring result;
  result.phase.resize(n);
  for (int64_t j = 0; j < n; ++j) result.phase[j] = turn(centre * j % n);
  result.constant = std::conj(turn(centre * centre % n));
  return result;
}

}  // namespace kernels

namespace {

const char* name(Normalisation normalisation) {
  switch (normalisation) {
    case Normalisation::none:
      return "none";
    case Normalisation::ortho:
      return "ortho";
    case Normalisation::inverse:
      return "inverse";
  }
  fail<ConfigError>(fmt::format("Fourier: {} is no normalisation", static_cast<int>(normalisation)),
                    "none, ortho or inverse");
}

double scale(Normalisation normalisation, double n) {
  switch (normalisation) {
    case Normalisation::none:
      return 1;
    case Normalisation::ortho:
      return 1 / std::sqrt(n);
    case Normalisation::inverse:
      return 1 / n;
  }
  fail<ConfigError>(fmt::format("Fourier: {} is no normalisation", static_cast<int>(normalisation)),
                    "none, ortho or inverse");
}

/// Neighbouring axes that are not transformed become one.
kernels::FourierTask collapsed(at::IntArrayRef sizes, const std::vector<int64_t>& axes) {
  kernels::FourierTask task;
  bool open = false;
  for (int64_t axis = 0; axis < static_cast<int64_t>(sizes.size()); ++axis) {
    const bool transformed = std::find(axes.begin(), axes.end(), axis) != axes.end();
    if (transformed) {
      task.axes.push_back(static_cast<int64_t>(task.sizes.size()));
      task.sizes.push_back(sizes[axis]);
    } else if (open) {
      task.sizes.back() *= sizes[axis];
    } else if (sizes[axis] != 1) {
      task.sizes.push_back(sizes[axis]);
      open = true;
    }
    if (transformed) open = false;
  }
  return task;
}

/// x: any strides; axes: ascending, in range, distinct.
at::Tensor transform(const at::Tensor& x, const std::vector<int64_t>& axes, const TransformOptions& options) {
  const c10::NoGradGuard no_grad;
  const at::Tensor in = x.resolve_conj().resolve_neg().contiguous();
  at::Tensor out = at::empty(in.sizes(), in.options());
  if (in.numel() == 0) return out;

  kernels::FourierTask task = collapsed(in.sizes(), axes);
  task.inverse = options.inverse;
  double n = 1;
  for (const int64_t axis : task.axes) {
    n *= static_cast<double>(task.sizes[axis]);
    if (options.centred) {
      kernels::Centring centring = kernels::centring(task.sizes[axis], options.inverse);
      task.phases.push_back(std::move(centring.phase));
      task.factor *= centring.constant;
    }
  }
  task.factor *= scale(options.normalisation, n);

  if (in.is_cpu()) {
    kernels::cpu::fourier(task, in, out);
  } else if (in.is_cuda()) {
    kernels::cuda::fourier(task, in, out);
  } else {
    fail<BackendError>(fmt::format("Fourier: no back end for device {}", in.device().str()), "use cpu or cuda");
  }
  return out;
}

std::vector<int64_t> last_axes(const at::Tensor& x, int64_t dimensions) {
  std::vector<int64_t> axes;
  for (int64_t i = dimensions; i > 0; --i) axes.push_back(x.dim() - i);
  return axes;
}

bool is_complex(at::ScalarType dtype) {
  return dtype == at::kComplexFloat || dtype == at::kComplexDouble;
}

}  // namespace

Fourier::Fourier(Space space, FourierOptions options) : LinearOperator(space, space), options_(options) {
  name(options_.normalisation);
  check<ConfigError>(
      options_.dimensions >= 1 && options_.dimensions <= 3,
      [&] { return fmt::format("Fourier: dimensions is {}", options_.dimensions); }, "1, 2 or 3");
  check<ShapeError>(static_cast<int64_t>(space.shape.size()) >= options_.dimensions, [&] {
    return fmt::format("Fourier: {} dimensions are to be transformed, but the space is {}", options_.dimensions,
                       space.text());
  });
  check<ShapeError>(std::all_of(space.shape.begin(), space.shape.end(), [](int64_t n) { return n >= 1; }),
                    [&] { return fmt::format("Fourier: the space {} has an extent below 1", space.text()); });
  check<DtypeError>(
      is_complex(space.dtype),
      [&] { return fmt::format("Fourier: expected complex64 or complex128; found {}", space.text()); },
      "convert with .to(at::kComplexFloat)");
}

std::string Fourier::describe() const {
  return fmt::format("Fourier({}-D{}{}, {}) on {}", options_.dimensions, options_.inverse ? ", inverse" : "",
                     options_.centred ? ", centred" : "", name(options_.normalisation), domain().text());
}

at::Tensor Fourier::do_apply(const at::Tensor& x) const {
  return transform(x, last_axes(x, options_.dimensions), {options_.inverse, options_.centred, options_.normalisation});
}

at::Tensor Fourier::do_adjoint(const at::Tensor& y) const {
  return transform(y, last_axes(y, options_.dimensions), {!options_.inverse, options_.centred, options_.normalisation});
}

at::Tensor Fourier::do_normal(const at::Tensor& x) const {
  double n = 1;
  for (const int64_t axis : last_axes(x, options_.dimensions)) n *= static_cast<double>(x.size(axis));
  const double s = scale(options_.normalisation, n);
  return options_.normalisation == Normalisation::ortho ? x.clone(at::MemoryFormat::Contiguous) : x * (s * s * n);
}

at::Tensor fourier_transform(const at::Tensor& x, std::vector<int64_t> axes, const TransformOptions& options) {
  check<DtypeError>(
      is_complex(x.scalar_type()),
      [&] {
        return fmt::format("fourier_transform: expected complex64 or complex128; found {}",
                           c10::toString(x.scalar_type()));
      },
      "convert with .to(at::kComplexFloat)");
  check<ShapeError>(!axes.empty() && axes.size() <= 3,
                    [&] { return fmt::format("fourier_transform: {} axes; expected 1, 2 or 3", axes.size()); });
  for (int64_t& axis : axes) {
    const int64_t given = axis;
    if (axis < 0) axis += x.dim();
    check<ShapeError>(axis >= 0 && axis < x.dim(), [&] {
      return fmt::format("fourier_transform: there is no axis {} in shape {}", given, shape_text(x.sizes()));
    });
  }
  std::sort(axes.begin(), axes.end());
  check<ShapeError>(std::adjacent_find(axes.begin(), axes.end()) == axes.end(), [&] {
    return fmt::format("fourier_transform: an axis is named twice in {} (of shape {})", shape_text(axes),
                       shape_text(x.sizes()));
  });
  return transform(x, axes, options);
}

}  // namespace monarch::operators
