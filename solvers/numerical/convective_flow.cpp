#include "monarch/solvers/numerical/convective_flow.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/solvers/numerical/etdrk4.hpp"
#include "monarch/solvers/numerical/grid_transforms.hpp"
#include "monarch/solvers/numerical/recording.hpp"

namespace monarch::solvers {
namespace {

using Complex = std::complex<double>;

void check_flow(const ConvectiveFlow& f) {
  const bool finite = std::isfinite(f.advection) && std::isfinite(f.diffusion) && std::isfinite(f.hyperdiffusion);
  check<ConfigError>(f.length > 0 && finite, [&] {
    return fmt::format("length {} must be positive; advection {}, diffusion {} and hyperdiffusion {} finite", f.length,
                       f.advection, f.diffusion, f.hyperdiffusion);
  });
  check<ConfigError>(f.hyperdiffusion < 0 || (f.hyperdiffusion == 0 && f.diffusion > 0), [&] {
    return fmt::format(
        "diffusion {} and hyperdiffusion {}: the equation amplifies its shortest waves; expected hyperdiffusion below "
        "0, or 0 with a diffusion above 0",
        f.diffusion, f.hyperdiffusion);
  });
}

/// One row at a time; the tables are shared.
class Stepper {
 public:
  Stepper(const ConvectiveFlow& flow, const RealFft& fft)
      : fft_(fft), kept_((fft.points() - 1) / 3 + 1), factor_(static_cast<size_t>(fft.modes())) {
    std::vector<double> linear(factor_.size());
    for (size_t k = 0; k < factor_.size(); ++k) {
      const double wave = 2 * std::numbers::pi * static_cast<double>(k) / flow.length, square = wave * wave;
      linear[k] = -flow.diffusion * square + flow.hyperdiffusion * square * square;
      factor_[k] = -0.5 * flow.advection * wave;
    }
    // A real field has no wave i k at n/2.
    if (fft.points() % 2 == 0) factor_.back() = 0;
    scheme_.emplace(std::move(linear));
    field_.resize(static_cast<size_t>(fft.points()));
    modes_.resize(factor_.size());
  }

  /// -advection (u²/2)_x of the modes below n/3.
  void flux(const Complex* v, Complex* out) {
    const auto kept = static_cast<size_t>(kept_);
    std::copy_n(v, kept, modes_.begin());
    std::fill(modes_.begin() + kept_, modes_.end(), Complex());
    fft_.inverse(modes_.data(), field_.data());
    for (double& u : field_) u *= u;
    fft_.forward(field_.data(), out);
    for (size_t k = 0; k < kept; ++k) out[k] = Complex(-out[k].imag(), out[k].real()) * factor_[k];
    std::fill(out + kept_, out + fft_.modes(), Complex());
  }

  void advance(Complex* v, double interval, double step) {
    scheme_->advance(v, interval, steps_in(interval, step),
                     [this](const Complex* from, Complex* to) { flux(from, to); });
  }

 private:
  const RealFft& fft_;
  int64_t kept_;  // modes with 3 k < n
  std::vector<double> factor_, field_;
  std::vector<Complex> modes_;
  std::optional<Etdrk4<Complex>> scheme_;
};

}  // namespace

double convective_time_step(const ConvectiveFlow& flow, double max_abs) {
  check_flow(flow);
  const double speed = std::abs(flow.advection) * max_abs;
  if (flow.hyperdiffusion == 0 || flow.diffusion >= 0) {
    if (speed == 0) return flow.length;
    // A shock is as thick as diffusion, or hyperdiffusion, makes it.
    const double thickness = std::max(flow.diffusion / speed, std::cbrt(-flow.hyperdiffusion / speed));
    return std::min(0.1 * thickness, 0.0025 * flow.length) / speed;
  }
  const double width = std::sqrt(flow.hyperdiffusion / flow.diffusion);
  return 0.15 * width / std::max(speed, 3 * -flow.diffusion / width);
}

at::Tensor solve_convective_flow(const ConvectiveFlow& flow, const at::Tensor& initial, std::span<const double> times,
                                 double step, int64_t first) {
  check_flow(flow);
  check<ShapeError>(initial.dim() == 2 && initial.size(1) >= 1, [&] {
    return fmt::format("initial states of shape {}; expected [sample, x]", shape_text(initial.sizes()));
  });
  double before = 0;
  for (const double t : times) {
    check<ConfigError>(t >= before && std::isfinite(t), "the recorded times must increase from 0 or later");
    before = t;
  }
  check<ConfigError>(step >= 0, [&] { return fmt::format("time step {}; expected a positive number", step); });
  const at::Tensor start = initial.to(at::kCPU, at::kDouble).contiguous();
  const int64_t count = start.size(0), n = start.size(1), moments = static_cast<int64_t>(times.size());
  at::Tensor result = at::empty({count, n, moments}, at::kDouble);
  const double* from = start.const_data_ptr<double>();
  double* to = result.mutable_data_ptr<double>();
  const RealFft fft(n);
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    Stepper stepper(flow, fft);
    std::vector<Complex> v(static_cast<size_t>(fft.modes())), copy(v.size());
    std::vector<double> field(static_cast<size_t>(n));
    for (int64_t s = begin; s < end; ++s) {
      const double* u0 = from + s * n;
      check_finite(u0, n, "convective flow", first + s, 0);
      double largest = 0;
      for (int64_t j = 0; j < n; ++j) largest = std::max(largest, std::abs(u0[j]));
      const double h = step > 0 ? step : convective_time_step(flow, largest);
      fft.forward(u0, v.data());
      double now = 0;
      for (int64_t m = 0; m < moments; ++m) {
        const double time = times[static_cast<size_t>(m)];
        if (time > now) stepper.advance(v.data(), time - now, h);
        now = time;
        copy = v;
        fft.inverse(copy.data(), field.data());
        check_finite(field.data(), n, "convective flow", first + s, time);
        for (int64_t j = 0; j < n; ++j) to[(s * n + j) * moments + m] = field[static_cast<size_t>(j)];
      }
    }
  });
  return result;
}

}  // namespace monarch::solvers
