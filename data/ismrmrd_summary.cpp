// Counts and findings about ISMRMRD acquisitions.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "monarch/data/ismrmrd_sort.hpp"
#include "monarch/data/scan_summary.hpp"
#include "monarch/data/trajectory.hpp"

namespace monarch::data {

using ismrmrd::AcquisitionHeader;

namespace {

const std::map<int, const char*>& flag_names() {
  static const std::map<int, const char*> names = {{1, "first in step 1"},
                                                   {2, "last in step 1"},
                                                   {3, "first in step 2"},
                                                   {4, "last in step 2"},
                                                   {5, "first in average"},
                                                   {6, "last in average"},
                                                   {7, "first in slice"},
                                                   {8, "last in slice"},
                                                   {9, "first in contrast"},
                                                   {10, "last in contrast"},
                                                   {11, "first in phase"},
                                                   {12, "last in phase"},
                                                   {13, "first in repetition"},
                                                   {14, "last in repetition"},
                                                   {15, "first in set"},
                                                   {16, "last in set"},
                                                   {17, "first in segment"},
                                                   {18, "last in segment"},
                                                   {19, "noise measurement"},
                                                   {20, "parallel calibration"},
                                                   {21, "parallel calibration and imaging"},
                                                   {22, "reverse"},
                                                   {23, "navigation data"},
                                                   {24, "phase correction data"},
                                                   {25, "last in measurement"},
                                                   {26, "HP feedback data"},
                                                   {27, "dummy scan"},
                                                   {28, "RT feedback data"},
                                                   {29, "surface coil correction scan"},
                                                   {30, "phase stabilisation reference"},
                                                   {31, "phase stabilisation"},
                                                   {53, "compression 1"},
                                                   {54, "compression 2"},
                                                   {55, "compression 3"},
                                                   {56, "compression 4"}};
  return names;
}

void count_contents(const AcquisitionStore& store, const SortedAcquisitions& sorted, ScanSummary& summary) {
  const auto headers = store.headers();
  std::map<std::string, int64_t> dropped;
  int64_t imaging = 0, calibration = 0, noise = 0, other = 0;
  std::map<int, int64_t> flags;
  for (size_t i = 0; i < headers.size(); ++i) {
    const Role role = sorted.roles[i];
    imaging += role == Role::imaging || role == Role::calibration_and_imaging;
    calibration += role == Role::calibration || role == Role::calibration_and_imaging;
    noise += role == Role::noise;
    other += role == Role::other_encoding;
    if (role == Role::dropped) {
      const char* reason = drop_reason(headers[i]);
      ++dropped[reason ? reason : "calibration that does not fit"];
    }
    for (uint64_t bits = headers[i].flags; bits; bits &= bits - 1) ++flags[__builtin_ctzll(bits) + 1];
  }
  const auto add = [&](std::string name, int64_t count) {
    if (count) summary.contents.push_back({std::move(name), count});
  };
  add("acquisitions", static_cast<int64_t>(headers.size()));
  add("images", static_cast<int64_t>(sorted.images.size()));
  add("imaging readouts", imaging);
  add("calibration readouts", calibration);
  add("noise readouts", noise);
  add("readouts of other encoding spaces", other);
  for (const auto& [reason, count] : dropped) add("dropped: " + reason, count);
  for (const auto& [flag, count] : flags) {
    const auto name = flag_names().find(flag);
    const std::string text = name != flag_names().end() ? name->second
                             : flag >= 57               ? fmt::format("user {}", flag - 56)
                                                        : "unnamed";
    summary.flags.push_back({fmt::format("{} {}", flag, text), count});
  }
}

void count_dimensions(const AcquisitionStore& store, const SortedAcquisitions& sorted, ScanSummary& summary) {
  const auto headers = store.headers();
  std::array<std::set<uint16_t>, 7> values;
  for (const auto& image : sorted.images) {
    for (const size_t i : image.imaging) {
      const auto& idx = headers[i].idx;
      const uint16_t counters[] = {idx.slice,      idx.average, idx.contrast, idx.phase,
                                   idx.repetition, idx.set,     idx.segment};
      for (size_t c = 0; c < values.size(); ++c) values[c].insert(counters[c]);
    }
  }
  static constexpr const char* names[] = {"slices",      "averages", "contrasts", "phases",
                                          "repetitions", "sets",     "segments"};
  for (size_t c = 0; c < values.size(); ++c)
    summary.dimensions.push_back({names[c], static_cast<int64_t>(values[c].size())});
}

at::Tensor line_map(const AcquisitionStore& store, const SortedAcquisitions& sorted, const ScanHeader& header,
                    const ImageLines& image) {
  const Extent3& matrix = header.encoded.matrix;
  at::Tensor map = at::zeros({matrix[2], matrix[1]}, at::kInt);
  int32_t* counts = map.data_ptr<int32_t>();
  const auto mark = [&](size_t i, bool only_empty) {
    const auto [y, z] = row_of(store.headers()[i], sorted, header);
    int32_t& count = counts[z * matrix[1] + y];
    if (!only_empty || count == 0) ++count;
  };
  for (const size_t i : image.imaging) mark(i, false);
  if (header.calibration_mode == "embedded") {
    for (const size_t i : image.calibration) mark(i, true);
  }
  return map;
}

void check_limits(const AcquisitionStore& store, const SortedAcquisitions& sorted, const ScanHeader& header,
                  ScanSummary& summary) {
  const auto headers = store.headers();
  int64_t highest[2] = {0, 0};
  std::set<uint16_t> vendor_centre;
  for (const auto& image : sorted.images) {
    for (const size_t i : image.imaging) {
      highest[0] = std::max<int64_t>(highest[0], headers[i].idx.kspace_encode_step_1);
      highest[1] = std::max<int64_t>(highest[1], headers[i].idx.kspace_encode_step_2);
      vendor_centre.insert(headers[i].idx.user[5]);
    }
  }
  const std::optional<EncodingLimit>* limits[2] = {&header.limit_y, &header.limit_z};
  for (int axis = 0; axis < 2; ++axis) {
    if (!*limits[axis] || (axis == 1 && !header.volume)) continue;
    const EncodingLimit& limit = **limits[axis];
    if (limit.minimum > limit.maximum || limit.centre < limit.minimum || limit.centre > limit.maximum) {
      summary.findings.push_back(
          fmt::format("encodingLimits contradict themselves: kspace_encoding_step_{} from {} to {} with centre {}",
                      axis + 1, limit.minimum, limit.maximum, limit.centre));
    }
    if (highest[axis] > limit.maximum) {
      summary.findings.push_back(
          fmt::format("readouts have kspace_encode_step_{} up to {}, encodingLimits state a maximum of {}", axis + 1,
                      highest[axis], limit.maximum));
    }
  }
  if (vendor_centre.size() == 1 && *vendor_centre.begin() != 0 && *vendor_centre.begin() != sorted.centre_y) {
    summary.findings.push_back(
        fmt::format("idx.user[5] is {} in every readout, where some converters keep the true centre; {} is used (try "
                    "--centre {},{})",
                    *vendor_centre.begin(), sorted.centre_y, *vendor_centre.begin(), sorted.centre_z));
  }
}

void compare_images(const AcquisitionStore& store, const SortedAcquisitions& sorted, const ScanHeader& header,
                    ScanSummary& summary) {
  const auto rows = [&](const ImageLines& image) {
    std::set<std::array<int64_t, 2>> set;
    for (const size_t i : image.imaging) set.insert(row_of(store.headers()[i], sorted, header));
    return set;
  };
  const auto first = rows(sorted.images.front());
  int64_t different = 0;
  for (const auto& image : sorted.images) different += rows(image) != first;
  if (different) {
    summary.findings.push_back(
        fmt::format("{} of {} images were acquired on other k-space lines than the first (interleaved or incomplete); "
                    "each is reconstructed from its own lines",
                    different, sorted.images.size()));
  }
}

void find_missing_noise(const SortedAcquisitions& sorted, ScanSummary& summary) {
  if (!sorted.noise.empty() || sorted.coils == 1) return;
  summary.findings.push_back("no noise measurement: coils cannot be prewhitened (pass one with --noise)");
}

}  // namespace

ScanSummary summarise_acquisitions(const AcquisitionStore& store, const SortedAcquisitions& sorted,
                                   const ScanSource& source, std::vector<std::string> datasets,
                                   bool centre_overridden) {
  const ScanHeader& header = source.header();
  ScanSummary summary;
  summary.datasets = std::move(datasets);
  count_contents(store, sorted, summary);
  count_dimensions(store, sorted, summary);
  if (sorted.non_cartesian) {
    describe_samples(source.read(0), header, summary);
    find_missing_noise(sorted, summary);
    return summary;
  }
  summary.line_map = line_map(store, sorted, header, sorted.images.front());
  describe_kspace(source.read(0), header, summary, std::array<int64_t, 2>{sorted.centre_y, sorted.centre_z});
  if (!centre_overridden) check_limits(store, sorted, header, summary);
  compare_images(store, sorted, header, summary);
  find_missing_noise(sorted, summary);
  if (header.vendor.find("SIEMENS") != std::string::npos || header.vendor.find("Siemens") != std::string::npos) {
    summary.findings.push_back(
        "Siemens raw data may use the other sign of the Fourier exponent; if the image is point-mirrored, pass "
        "--conjugate");
  }
  return summary;
}

}  // namespace monarch::data
