#include "monarch/solvers/numerical/recording.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "monarch/core/error.hpp"

namespace monarch::solvers {

std::vector<double> recording_times(double final_time, int64_t count, bool with_start) {
  std::vector<double> times;
  for (int64_t k = with_start ? 0 : 1; k <= count; ++k) {
    times.push_back(final_time * static_cast<double>(k) / static_cast<double>(count));
  }
  return times;
}

at::Tensor constant_row(const std::vector<double>& values) {
  return at::tensor(values, at::kDouble).unsqueeze(0);
}

std::vector<double> grid_points(int64_t n, double spacing, double start) {
  std::vector<double> points;
  for (int64_t j = 0; j < n; ++j) points.push_back(start + static_cast<double>(j) * spacing);
  return points;
}

int64_t steps_in(double interval, double step) {
  constexpr double most = 1e9;
  const double steps = std::ceil(interval / step * (1 - 1e-12));
  check<ConfigError>(steps <= most, [&] {
    return fmt::format("an interval of {} takes {:.3g} time steps of {}; at most {:.0e} are possible", interval, steps,
                       step, most);
  });
  return std::max<int64_t>(1, static_cast<int64_t>(steps));
}

void check_finite(const double* values, int64_t count, const std::string& equation, int64_t sample, double time) {
  double sum = 0;  // 0 times infinity and NaN are NaN
  for (int64_t i = 0; i < count; ++i) sum += 0 * values[i];
  check<BackendError>(
      sum == 0, [&] { return fmt::format("{}: sample {} is not finite at time {:.6g}", equation, sample, time); },
      "take a smaller time step (--step) or a finer grid");
}

}  // namespace monarch::solvers
