#include "monarch/solvers/field_metrics.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/core/text.hpp"

namespace monarch::solvers {

namespace {

std::string shape_of(const at::Tensor& t) {
  return shape_text({t.sizes().data(), t.sizes().size()});
}

at::Tensor wide(const at::Tensor& t) {
  return t.detach().to(at::kCPU).to(at::kDouble);
}

struct Modes {
  at::Tensor square;  // |k|² [modes…] of the full transform
  at::Tensor shell;   // round(|k|), flat
  int64_t shells = 0;
};

Modes modes_of(const at::Tensor& field, int64_t axes) {
  Modes modes;
  modes.square = at::zeros({}, at::kDouble);
  for (int64_t axis = 0; axis < axes; ++axis) {
    const int64_t n = field.size(field.dim() - axes + axis);
    std::vector<int64_t> shape(static_cast<size_t>(axes), 1);
    shape[static_cast<size_t>(axis)] = n;
    modes.square =
        modes.square +
        at::fft_fftfreq(n, 1.0 / static_cast<double>(n), at::TensorOptions().dtype(at::kDouble)).square().view(shape);
  }
  modes.shell = (modes.square.sqrt() + 0.5).floor().to(at::kLong).flatten();
  modes.shells = modes.shell.max().item<int64_t>() + 1;
  return modes;
}

/// |FFT/points|² over the full spectrum: the sum over all of it is ⟨f²⟩.
at::Tensor power(const at::Tensor& field, int64_t axes) {
  std::vector<int64_t> dims(static_cast<size_t>(axes));
  std::iota(dims.begin(), dims.end(), field.dim() - axes);
  return at::view_as_real(at::fft_fftn(wide(field), {}, dims, "forward")).square().sum(-1);
}

at::Tensor into_shells(const at::Tensor& power, int64_t axes, const Modes& modes) {
  const at::Tensor flat = power.flatten(power.dim() - axes);
  std::vector<int64_t> shape(flat.sizes().begin(), flat.sizes().end());
  shape.back() = modes.shells;
  return at::zeros(shape, at::kDouble).index_add(-1, modes.shell, 0.5 * flat);
}

void check_field(const char* what, const at::Tensor& field, int64_t axes) {
  check<ShapeError>(axes >= 1 && axes <= 3 && field.dim() >= axes && field.numel() > 0, [&] {
    return fmt::format("{} needs 1 to 3 axes of grid, the last of the field; found {} and a field {}", what, axes,
                       shape_of(field));
  });
  check<DtypeError>(!field.is_complex(), [&] { return fmt::format("{} needs a real field", what); });
}

/// Kinetic energy of every mode, times 2.
at::Tensor velocity_power(const at::Tensor& vorticity, double length, const Modes& modes) {
  check<ConfigError>(length > 0 && std::isfinite(length), [&] { return fmt::format("energy: side of {}", length); });
  const double unit = 2 * std::numbers::pi / length;
  at::Tensor inverse = 1 / (modes.square * (unit * unit));
  inverse.view({-1})[0] = 0;
  return power(vorticity, 2) * inverse;
}

struct Trajectories {
  at::Tensor prediction, truth;
};

Trajectories checked(const char* what, const at::Tensor& prediction, const at::Tensor& truth, int64_t leading) {
  check<ShapeError>(prediction.sizes() == truth.sizes() && truth.dim() > leading && truth.numel() > 0, [&] {
    return fmt::format("{} compares [{}...] with an equal shape; found prediction {}, truth {}", what,
                       leading == 2 ? "sample, time, " : "sample, ", shape_of(prediction), shape_of(truth));
  });
  return {wide(prediction).flatten(leading), wide(truth).flatten(leading)};
}

}  // namespace

at::Tensor spectrum(const at::Tensor& field, int64_t axes) {
  check_field("a spectrum", field, axes);
  return into_shells(power(field, axes), axes, modes_of(field, axes));
}

at::Tensor energy_spectrum(const at::Tensor& vorticity, double length) {
  check_field("an energy spectrum", vorticity, 2);
  const Modes modes = modes_of(vorticity, 2);
  return into_shells(velocity_power(vorticity, length, modes), 2, modes);
}

at::Tensor energy(const at::Tensor& vorticity, double length) {
  check_field("energy", vorticity, 2);
  return 0.5 * velocity_power(vorticity, length, modes_of(vorticity, 2)).sum({-2, -1});
}

at::Tensor enstrophy(const at::Tensor& vorticity) {
  check_field("enstrophy", vorticity, 2);
  return 0.5 * wide(vorticity).square().mean({-2, -1});
}

at::Tensor relative_l2_full(const at::Tensor& prediction, const at::Tensor& truth) {
  const auto [p, t] = checked("relative L2", prediction, truth, 1);
  return at::linalg_vector_norm(p - t, 2, -1) / at::linalg_vector_norm(t, 2, -1);
}

at::Tensor relative_l2_per_time(const at::Tensor& prediction, const at::Tensor& truth) {
  const auto [p, t] = checked("relative L2 per time", prediction, truth, 2);
  return at::linalg_vector_norm(p - t, 2, -1) / at::linalg_vector_norm(t, 2, -1);
}

at::Tensor correlation(const at::Tensor& prediction, const at::Tensor& truth) {
  const auto [p, t] = checked("correlation", prediction, truth, 2);
  const at::Tensor a = p - p.mean(-1, true), b = t - t.mean(-1, true);
  return (a * b).sum(-1) / (at::linalg_vector_norm(a, 2, -1) * at::linalg_vector_norm(b, 2, -1));
}

CorrelationTime correlation_time(const at::Tensor& prediction, const at::Tensor& truth, std::span<const double> times,
                                 double start, double threshold) {
  const at::Tensor values = correlation(prediction, truth).contiguous();  // [sample, time]
  const int64_t samples = values.size(0), frames = values.size(1);
  check<ShapeError>(static_cast<int64_t>(times.size()) == frames,
                    [&] { return fmt::format("correlation time: {} times for {} frames", times.size(), frames); });
  double before = start;
  for (const double time : times) {
    check<ConfigError>(time > before, "correlation time: the start and the times of the frames must ascend");
    before = time;
  }
  check<ConfigError>(threshold > -1 && threshold < 1,
                     [&] { return fmt::format("correlation time: a threshold of {}", threshold); });
  CorrelationTime result{at::full({samples}, times.back(), at::kDouble), at::zeros({samples}, at::kBool)};
  const double* c = values.data_ptr<double>();
  for (int64_t s = 0; s < samples; ++s) {
    double earlier = start, above = 1;
    for (int64_t i = 0; i < frames; ++i) {
      const double now = c[s * frames + i], time = times[static_cast<size_t>(i)];
      if (!(now >= threshold)) {
        const double part = std::isnan(now) ? 0 : (above - threshold) / (above - now);
        result.time.data_ptr<double>()[s] = earlier + part * (time - earlier);
        result.crossed.data_ptr<bool>()[s] = true;
        break;
      }
      earlier = time;
      above = now;
    }
  }
  return result;
}

Interval bootstrap_mean(std::span<const double> values, double confidence, int64_t resamples, uint64_t seed) {
  check<ShapeError>(!values.empty(), "bootstrap: no values");
  check<ConfigError>(confidence > 0 && confidence < 1 && resamples >= 1, [&] {
    return fmt::format("bootstrap: confidence {} with {} resamples, expected one in (0, 1) and at least one",
                       confidence, resamples);
  });
  for (size_t i = 0; i < values.size(); ++i)
    check<DataError>(std::isfinite(values[i]), [&] { return fmt::format("bootstrap: value {} is {}", i, values[i]); });
  const auto count = static_cast<double>(values.size());
  Interval interval;
  interval.mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  Rng rng(seed, "bootstrap");
  std::vector<double> means(static_cast<size_t>(resamples));
  for (double& mean : means) {
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i)
      sum += values[static_cast<size_t>(rng.below(static_cast<int64_t>(values.size())))];
    mean = sum / count;
  }
  std::sort(means.begin(), means.end());
  const auto quantile = [&](double q) {
    const double position = q * static_cast<double>(means.size() - 1);
    const auto below = static_cast<size_t>(position);
    const size_t above = std::min(below + 1, means.size() - 1);
    return means[below] + (position - std::floor(position)) * (means[above] - means[below]);
  };
  interval.low = quantile((1 - confidence) / 2);
  interval.high = quantile((1 + confidence) / 2);
  return interval;
}

}  // namespace monarch::solvers
