#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/formats.hpp"
#include "monarch/data/input_file.hpp"
#include "monarch/data/scan.hpp"
#include "monarch/data/trajectory.hpp"

namespace monarch::data {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view cfl_header_start = "# Dimensions";

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// What lies in a file, two levels deep, for messages: "dataset/image_0 (images), dataset/xml".
void describe(const hdf5::File& file, const std::string& group, int depth, std::vector<std::string>& raw,
              std::vector<std::string>& images, std::vector<std::string>& others) {
  const auto datasets = file.datasets(group);
  const std::string prefix = group.empty() ? "" : group + "/";
  if (contains(datasets, "header") && contains(datasets, "data")) {
    images.push_back(group);
  } else {
    if (contains(datasets, "data") != contains(datasets, "xml")) raw.push_back(group);
    for (const auto& name : datasets) others.push_back(prefix + name);
  }
  if (depth == 0 || others.size() > 100) return;
  for (const auto& name : file.groups(group)) describe(file, prefix + name, depth - 1, raw, images, others);
}

std::string some(const std::vector<std::string>& names) {
  std::vector<std::string> shown(names.begin(),
                                 names.begin() + static_cast<ptrdiff_t>(std::min<size_t>(names.size(), 8)));
  return fmt::format("{}{}", fmt::join(shown, ", "), names.size() > shown.size() ? ", …" : "");
}

[[noreturn]] void fail_unknown(const hdf5::File& file) {
  std::vector<std::string> raw, images, others;
  describe(file, "", 2, raw, images, others);
  if (!images.empty()) {
    fail<DataError>(fmt::format("{}: holds ISMRMRD images ({}), expected raw data", file.name(), some(images)),
                    "these are reconstructed already; `monarch compare` takes images");
  }
  if (!raw.empty()) {
    const std::string group = raw.front().empty() ? "/" : raw.front();
    const bool has_data = file.has_dataset(raw.front().empty() ? "data" : raw.front() + "/data");
    fail<DataError>(fmt::format("{}: group '{}' has {} but no {}", file.name(), group, has_data ? "'data'" : "'xml'",
                                has_data ? "'xml' (the header)" : "'data' (the readouts)"),
                    "the measurement is incomplete; convert the raw data again");
  }
  fail<DataError>(
      fmt::format("{}: is HDF5, but holds neither ISMRMRD raw data (a group with 'xml' and 'data') nor fastMRI or "
                  "SKM-TEA data ('kspace'); found {}",
                  file.name(), others.empty() ? "no datasets" : some(others)),
      "convert the scan to ISMRMRD first");
}

std::unique_ptr<ScanSource> open_any(const fs::path& path, const ScanOptions& options) {
  // A BART pair may be named without extension.
  std::error_code error;
  if (!fs::exists(path, error) && fs::exists(path.string() + ".hdr", error)) return open_cfl(path, options);
  check_input_file(path);
  const std::string start = read_prefix(path, 256);
  if (start.starts_with("\x93NUMPY")) return open_npy(path, options);
  if (start.starts_with(cfl_header_start)) return open_cfl(path, options);
  if (hdf5::has_signature(path)) return open_hdf5_scan(hdf5::File::open(path), options);
  fs::path header = path;
  header.replace_extension(".hdr");
  if (path.extension() == ".cfl" && fs::exists(header, error)) return open_cfl(path, options);
  const bool stream = start.size() > 6 && (start[0] == 1 || start[0] == 2 || start[0] == 3) && start[1] == 0;
  fail<DataError>(
      fmt::format("{}: is in no format that Monarch reads (HDF5 of ISMRMRD, fastMRI or SKM-TEA, BART cfl, NumPy)",
                  path.string()),
      stream ? fmt::format("it may be an ISMRMRD stream: `monarch recon - < {}`", path.string())
             : "convert the scan to ISMRMRD; a file cut off at its start looks like this, too");
}

}  // namespace

std::unique_ptr<ScanSource> open_hdf5_scan(hdf5::File file, const ScanOptions& options) {
  if (!ismrmrd_measurements(file).empty()) return open_ismrmrd(std::move(file), options);
  if (contains(file.datasets(), "kspace")) {
    check<DataError>(
        options.dataset.empty(),
        [&] {
          return fmt::format("{}: is a fastMRI or SKM-TEA file, which has no measurement '{}'", file.name(),
                             options.dataset);
        },
        "leave --dataset out");
    return is_skm_tea(file) ? open_skm_tea(std::move(file), options) : open_fastmri(std::move(file), options);
  }
  fail_unknown(file);
}

std::unique_ptr<ScanSource> open_scan(const fs::path& path, const ScanOptions& options) {
  auto scan = open_any(path, options);
  // Readers of ISMRMRD look at the trajectory themselves: it decides what they read.
  if (options.trajectory.empty() || scan->header().format == "ISMRMRD") return scan;
  return with_trajectory(std::move(scan), path.string(), options);
}

at::Tensor ScanSource::mask(const std::string& name) const {
  fail<DataError>(fmt::format("the scan holds no sampling mask '{}'", name));
}

}  // namespace monarch::data
