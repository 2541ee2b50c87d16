#include "monarch/solvers/numerical/gaussian_random_field.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <cmath>
#include <complex>
#include <numbers>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/core/text.hpp"
#include "monarch/solvers/numerical/kernels/lines.hpp"

namespace monarch::solvers {
namespace {

double amplitude(const RandomFieldLaw& law, double square) {
  const double factor = 2 * std::numbers::pi / law.length;
  return law.scale * std::pow(factor * factor * square + law.tau * law.tau, -law.alpha / 2);
}

void check_law(const RandomFieldLaw& law, int dims, int64_t n) {
  check<ShapeError>(dims == 1 || dims == 2,
                    [&] { return fmt::format("random field: {} dimensions; expected 1 or 2", dims); });
  check<ShapeError>(n >= 1,
                    [&] { return fmt::format("random field: {} points along an axis; expected 1 or more", n); });
  check<ConfigError>(law.scale > 0 && law.tau > 0 && law.length > 0 && std::isfinite(law.alpha), [&] {
    return fmt::format("random field: scale {}, tau {} and length {} must be positive, and alpha {} finite", law.scale,
                       law.tau, law.length, law.alpha);
  });
}

/// Calls visit(kx, ky) for every wavenumber but 0 in the order of drawing: by max |k_i| from 1 to n/2.
template <class Visit>
void wavenumbers(int dims, int64_t n, const Visit& visit) {
  for (int64_t ring = 1; ring <= n / 2; ++ring) {
    if (dims == 1) {
      visit(ring, 0);
      visit(-ring, 0);
      continue;
    }
    for (int64_t kx = -ring; kx <= ring; ++kx) {
      const int64_t step = kx == -ring || kx == ring ? 1 : 2 * ring;
      for (int64_t ky = -ring; ky <= ring; ky += step) visit(kx, ky);
    }
  }
}

/// An even n has −n/2 and not n/2.
bool on_grid(int64_t n, int64_t k) {
  return 2 * k < n;
}

}  // namespace

RandomFieldLaw navier_stokes_law(std::string_view name) {
  const auto with = [](double square) { return RandomFieldLaw{2.5, 7, std::sqrt(square), 1}; };
  if (name == "2020") return with(2 * 343.0);
  if (name == "2022") return with(343.0);
  if (name == "paper") return with(std::pow(7.0, 1.5));
  const std::string near = closest_match(name, {"2020", "2022", "paper"});
  fail<ConfigError>(fmt::format("amplitude '{}' is none of 2020, 2022 or paper", name),
                    near.empty() ? "" : fmt::format("did you mean {}?", near));
}

double standard_deviation(const RandomFieldLaw& law, int dims, int64_t n) {
  check_law(law, dims, n);
  double sum = 0;
  wavenumbers(dims, n, [&](int64_t kx, int64_t ky) {
    if (!on_grid(n, kx) || !on_grid(n, ky)) return;
    const double a = amplitude(law, static_cast<double>(kx * kx + ky * ky));
    sum += a * a;
  });
  return std::sqrt(sum);
}

at::Tensor gaussian_random_field(const RandomFieldLaw& law, int dims, int64_t n, uint64_t seed, int64_t first,
                                 int64_t count) {
  check_law(law, dims, n);
  check<ShapeError>(first >= 0 && count >= 0, [&] {
    return fmt::format("random field: samples {} … +{}; neither may be negative", first, count);
  });
  std::vector<int64_t> shape(static_cast<size_t>(dims), n);
  shape.insert(shape.begin(), count);
  at::Tensor fields = at::empty(shape, at::kDouble);
  double* data = fields.mutable_data_ptr<double>();
  const kernels::LinePlan<double> plan(n);
  const int64_t rows = dims == 1 ? 1 : n;
  const auto place = [&](int64_t line, int64_t i) { return static_cast<size_t>(line * n + i); };
  const auto point = [&](int64_t i) { return plan.order[static_cast<size_t>(i)]; };
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    std::vector<std::complex<double>> spectrum(static_cast<size_t>(rows * n)), turned(spectrum.size());
    auto* numbers = reinterpret_cast<double*>(spectrum.data());
    for (int64_t i = begin; i < end; ++i) {
      Rng rng(seed, fmt::format("gaussian-random-field/{}", first + i));
      std::fill(spectrum.begin(), spectrum.end(), 0.0);
      wavenumbers(dims, n, [&](int64_t kx, int64_t ky) {
        const double xi = rng.normal(), eta = rng.normal();
        if (!on_grid(n, kx) || !on_grid(n, ky)) return;
        const double a = amplitude(law, static_cast<double>(kx * kx + ky * ky));
        const int64_t x = (kx + n) % n, y = (ky + n) % n;
        spectrum[place(dims == 1 ? 0 : x, dims == 1 ? x : y)] = {a * xi, a * eta};
      });
      kernels::transform_lines(plan, numbers, rows, true);
      if (dims == 1) {
        for (int64_t p = 0; p < n; ++p) data[i * n + point(p)] = spectrum[place(0, p)].real();
        continue;
      }
      for (int64_t x = 0; x < n; ++x) {
        for (int64_t p = 0; p < n; ++p) turned[place(point(p), x)] = spectrum[place(x, p)];
      }
      kernels::transform_lines(plan, reinterpret_cast<double*>(turned.data()), rows, true);
      for (int64_t y = 0; y < n; ++y) {
        for (int64_t p = 0; p < n; ++p) data[(i * n + point(p)) * n + y] = turned[place(y, p)].real();
      }
    }
  });
  return fields;
}

}  // namespace monarch::solvers
