#include "timing.hpp"

#include <algorithm>
#include <limits>

namespace monarch::bench {

double median(std::vector<double> values) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double Timing::median() const {
  return bench::median(samples);
}

double Timing::minimum() const {
  return samples.empty() ? std::numeric_limits<double>::quiet_NaN() : *std::min_element(samples.begin(), samples.end());
}

double median_ratio(const Timing& peer, const Timing& ours) {
  std::vector<double> ratios;
  for (size_t i = 0; i < std::min(peer.samples.size(), ours.samples.size()); ++i) {
    ratios.push_back(peer.samples[i] / ours.samples[i]);
  }
  return median(std::move(ratios));
}

}  // namespace monarch::bench
