#include "monarch/data/array_scan.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <set>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/scan_summary.hpp"

namespace monarch::data {

at::Tensor nonzero_mask(const at::Tensor& samples) {
  const at::Tensor points = at::view_as_real(samples).ne(0).any(-1).any(0);  // [z, y, x]
  const at::Tensor lines = points.any(-1, true).logical_and(points.any(0, true).any(1, true));
  const auto whole = lines.sum().item<int64_t>();
  return points.sum().item<int64_t>() * 100 >= whole * 99 ? lines : points;
}

void check_finite(const at::Tensor& samples, const std::string& place) {
  const at::Tensor finite = at::isfinite(at::view_as_real(samples)).all(-1);
  if (finite.all().item<bool>()) return;
  const at::Tensor where = finite.logical_not().nonzero()[0];
  std::vector<int64_t> index;
  for (int64_t i = 0; i < where.numel(); ++i) index.push_back(where[i].item<int64_t>());
  fail<DataError>(fmt::format("{}: sample {} (coil, z, y, x) is NaN or infinite", place, shape_text(index)),
                  "one bad sample spoils the whole image; the export or an earlier step failed");
}

ArrayScan::ArrayScan(std::string name, const ScanOptions& options)
    : name_(std::move(name)), conjugate_(options.conjugate.value_or(false)) {
  check<DataError>(options.encoding <= 0, [&] {
    return fmt::format("{}: has one encoding space, {} was asked for", name_, options.encoding);
  });
}

KSpace ArrayScan::read(size_t image) const {
  check<DataError>(image < images_.size(), [&] {
    return fmt::format("{}: image {} was asked for, the scan has {} (0 to {})", name_, image, images_.size(),
                       images_.size() - 1);
  });
  KSpace result;
  result.index = images_[image];
  result.samples = load(image);
  check_finite(result.samples, fmt::format("{}: image {}", name_, image));
  result.mask = acquired(result.samples);
  check<DataError>(result.mask.any().item<bool>(),
                   [&] { return fmt::format("{}: image {} holds only zeros", name_, image); });
  result.samples.mul_(result.mask);
  if (conjugate_) result.samples = result.samples.conj().resolve_conj();
  return result;
}

ScanSummary ArrayScan::summarise() const {
  ScanSummary summary;
  const KSpace first = read(0);
  describe_kspace(first, header_, summary);
  summary.contents.push_back({"images", static_cast<int64_t>(images_.size())});
  summary.contents.push_back({summary.sample_map ? "k-space samples acquired" : "k-space lines acquired",
                              summary.line_map.sum().item<int64_t>()});
  std::array<std::set<int64_t>, 5> values;
  for (const auto& index : images_) {
    const int64_t counters[] = {index.slice, index.contrast, index.phase, index.repetition, index.set};
    for (size_t c = 0; c < values.size(); ++c) values[c].insert(counters[c]);
  }
  static constexpr const char* names[] = {"slices", "contrasts", "phases", "repetitions", "sets"};
  for (size_t c = 0; c < values.size(); ++c)
    summary.dimensions.push_back({names[c], static_cast<int64_t>(values[c].size())});
  return summary;
}

}  // namespace monarch::data
