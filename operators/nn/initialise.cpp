#include "monarch/operators/nn/initialise.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::operators {
namespace {

const std::vector<std::string> init_names = {"fly", "dense-matching", "mup"};

/// Zero mean, the given standard deviation, uniform or normal.
void fill(const at::Tensor& w, double deviation, bool normal) {
  const bool complex = w.is_complex();
  const at::Tensor numbers = complex ? at::view_as_real(w) : w;
  if (complex) deviation /= std::sqrt(2.0);
  if (normal) {
    numbers.normal_(0, deviation);
  } else {
    const double bound = std::sqrt(3.0) * deviation;
    numbers.uniform_(-bound, bound);
  }
}

/// Factors of which each multiplies the variance by `gain`, padding not counted.
void fill_by_gain(const at::Tensor& w1, const at::Tensor& w2, int64_t in, double first_gain, double second_gain,
                  bool normal) {
  const MonarchSizes z = monarch_sizes(w1, w2);
  const auto columns = [&](int64_t block) { return std::clamp<int64_t>(in - block * z.p, 0, z.p); };
  const auto deviation = [](int64_t fan_in, double gain) {
    return fan_in > 0 ? std::sqrt(gain / static_cast<double>(fan_in)) : 0;
  };
  for (int64_t k = 0; k < z.k; ++k) fill(w1.select(0, k), deviation(columns(k), first_gain), normal);
  for (int64_t j = 0; j < z.l; ++j) {
    int64_t rows = 0;  // middle rows rho l + j that any column reaches
    for (int64_t rho = 0; rho < z.r; ++rho) rows += columns((rho * z.l + j) / z.q) > 0;
    fill(w2.select(0, j), deviation(rows, second_gain), normal);
  }
}

}  // namespace

MonarchInit monarch_init_from_name(const std::string& name) {
  for (size_t i = 0; i < init_names.size(); ++i) {
    if (name == init_names[i]) return static_cast<MonarchInit>(i);
  }
  const std::string near = closest_match(name, init_names);
  fail<ConfigError>(fmt::format("unknown initialisation '{}'; expected {}", name, join_or(init_names)),
                    near.empty() ? "" : fmt::format("did you mean {}?", near));
}

std::string monarch_init_name(MonarchInit init) {
  return init_names.at(static_cast<size_t>(init));
}

void initialise_factors(const at::Tensor& w1, const at::Tensor& w2, int64_t in, MonarchInit init) {
  const c10::NoGradGuard no_gradient;
  const MonarchSizes z = monarch_sizes(w1, w2);
  switch (init) {
    case MonarchInit::fly:
      fill(w1, 1 / std::sqrt(3.0 * static_cast<double>(z.p)), false);
      fill(w2, 1 / std::sqrt(3.0 * static_cast<double>(z.r)), false);
      break;
    case MonarchInit::dense_matching:
      fill_by_gain(w1, w2, in, 1 / std::sqrt(3.0), 1 / std::sqrt(3.0), /*normal=*/false);
      break;
    case MonarchInit::mup:
      fill(w1, mup_deviation(z.p, z.q), true);
      fill(w2, mup_deviation(z.r, z.s), true);
      break;
  }
}

void initialise_factors_like(const at::Tensor& w1, const at::Tensor& w2, int64_t in, double deviation) {
  const c10::NoGradGuard no_gradient;
  const double gain = std::sqrt(static_cast<double>(in)) * deviation;
  fill_by_gain(w1, w2, in, gain > 0 ? gain : 1, gain, /*normal=*/true);
}

void initialise_bias(const at::Tensor& bias, int64_t in, MonarchInit init) {
  const c10::NoGradGuard no_gradient;
  if (init == MonarchInit::mup) {
    bias.zero_();
  } else {
    const int64_t fan_in = init == MonarchInit::fly ? bias.numel() : in;
    fill(bias, 1 / std::sqrt(3.0 * static_cast<double>(fan_in)), false);
  }
}

double mup_deviation(int64_t d_in, int64_t d_out) {
  return std::sqrt(static_cast<double>(std::min(d_in, d_out))) / static_cast<double>(d_in);
}

FactorMultipliers learning_rate_multipliers(const MonarchSizes& sizes, int64_t in, MonarchInit init, int64_t base_in) {
  check<ConfigError>(base_in >= 0, [&] { return fmt::format("learning rates: a base width of {}", base_in); });
  if (init != MonarchInit::mup) return {};
  const double columns = static_cast<double>(base_in > 0 ? base_in : in);
  return {columns / static_cast<double>(sizes.p) / 2, columns / static_cast<double>(sizes.r) / 2};
}

}  // namespace monarch::operators
