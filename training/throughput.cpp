#include "monarch/training/throughput.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>

namespace monarch::training {
namespace {

constexpr size_t kWarmUp = 3;

double peak_memory_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;  // Linux counts KiB
}

}  // namespace

double measured_cpu_flops() {
  static const double rate = [] {
    const at::NoGradGuard no_grad;
    constexpr int64_t n = 768;
    const at::Tensor a = at::ones({n, n}), b = at::ones({n, n});
    at::Tensor c = at::mm(a, b);
    double best = 1e9;
    for (int i = 0; i < 5; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      at::mm_out(c, a, b);
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    return 2.0 * n * n * n / best;
  }();
  return rate;
}

void Throughput::add(double seconds, int64_t samples, double flops) {
  seconds_.push_back(static_cast<float>(seconds));
  samples_ += static_cast<double>(samples);
  flops_ += static_cast<double>(samples) * flops;
}

nlohmann::json Throughput::json(int64_t tokens_per_sample, double peak, bool measure) const {
  nlohmann::json json = nlohmann::json::object();
  if (seconds_.empty()) return json;
  const size_t skipped = seconds_.size() > 2 * kWarmUp ? kWarmUp : 0;
  std::vector<float> times(seconds_.begin() + static_cast<std::ptrdiff_t>(skipped), seconds_.end());
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  const double median = std::max(1e-9, static_cast<double>(*middle)), steps = static_cast<double>(seconds_.size());
  const double rate = samples_ / steps / median;
  json["seconds_per_step"] = median;
  json["samples_per_second"] = rate;
  if (tokens_per_sample > 0) json["tokens_per_second"] = rate * static_cast<double>(tokens_per_sample);
  if (flops_ > 0) {
    const double flops = flops_ / steps / median;
    json["tflops"] = flops / 1e12;
    if (peak == 0 && measure) peak = measured_cpu_flops();
    if (peak > 0) json["mfu"] = flops / peak;
  }
  json["peak_memory_mib"] = peak_memory_mib();
  return json;
}

}  // namespace monarch::training
