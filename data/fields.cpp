#include "monarch/data/fields.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/field_formats.hpp"
#include "monarch/data/hdf5_block.hpp"
#include "monarch/data/input_file.hpp"
#include "monarch/data/mat5.hpp"

namespace monarch::data {

namespace {

namespace fs = std::filesystem;

int64_t resolved(int64_t first, int64_t count, int64_t stride, int64_t extent, const std::string& what) {
  check<DataError>(first >= 0 && first < extent && stride >= 1 && count >= -1, [&] {
    return fmt::format("{}: begins at {} with stride {}, expected 0 to {}", what, first, stride, extent - 1);
  });
  const int64_t most = (extent - first + stride - 1) / stride;
  check<DataError>(
      count <= most,
      [&] {
        return fmt::format("{}: {} from {} with stride {} were asked for, the file has {}", what, count, first, stride,
                           extent);
      },
      "ask for less, or -1 for all that there are");
  return count == -1 ? most : count;
}

/// PyTorch's zip file, or safetensors.
bool is_archive(const std::string& start) {
  return start.starts_with("PK\x03\x04") || (start.size() > 8 && start[8] == '{' && start[7] == '\0');
}

}  // namespace

const FieldInfo& FieldSource::field(const std::string& name) const {
  std::vector<std::string> names;
  for (const auto& info : fields_) {
    if (info.name == name) return info;
    names.push_back(info.name);
  }
  const std::string near = closest_match(name, names);
  fail<DataError>(fmt::format("{}: has no field '{}', it has {}", name_, name, join_or(names)),
                  near.empty() ? "" : fmt::format("did you mean {}?", near));
}

at::Tensor FieldSource::read(const std::string& name, const FieldRange& asked) const {
  const FieldInfo& info = field(name);
  const auto place = [&](const std::string& what) { return fmt::format("{}: {} of {}", name_, what, name); };
  FieldRange range = asked;
  range.samples = resolved(asked.first_sample, asked.samples, 1, info.samples, place("samples"));
  if (info.times) {
    range.times = resolved(asked.first_time, asked.times, asked.time_stride, *info.times, place("times"));
  } else {
    check<DataError>(
        asked.first_time == 0 && (asked.times == -1 || asked.times == 1),
        [&] { return fmt::format("{}: {} has no time axis, {} times were asked for", name_, name, asked.times); },
        "ask for the field without a range of time");
    range.times = 1;
    range.time_stride = 1;
  }
  if (range.grid_stride.empty()) range.grid_stride.assign(info.grid.size(), 1);
  check<ShapeError>(
      range.grid_stride.size() == info.grid.size(),
      [&] {
        return fmt::format("{}: {} strides for {} axes {}", place("grid"), range.grid_stride.size(), info.grid.size(),
                           shape_text(info.grid));
      },
      "give one stride for each axis of the grid");
  for (const int64_t stride : range.grid_stride)
    check<DataError>(stride >= 1,
                     [&] { return fmt::format("{}: stride {}, expected 1 or more", place("grid"), stride); });
  at::Tensor values = do_read(info, range);
  const at::Tensor finite = at::isfinite(values.reshape({values.size(0), -1})).all(1);
  if (!finite.all().item<bool>()) {
    const int64_t sample = finite.logical_not().nonzero()[0].item<int64_t>();
    fail<DataError>(fmt::format("{}: sample {} of {} holds NaN or infinity", name_, range.first_sample + sample, name),
                    "leave it out of the range, or mend the file");
  }
  return values;
}

bool may_be_fields(const fs::path& path) {
  const std::string start = read_prefix(path, 256);
  if (is_mat5(start) || is_archive(start)) return true;
  if (!hdf5::has_signature(path)) return false;
  const auto lock = hdf5::lock_library();
  const auto file = hdf5::File::open(path);
  const auto of_a_scan = [&](const std::string& group) {
    const auto names = file.datasets(group);
    return std::any_of(names.begin(), names.end(), [](const std::string& name) {
      return name == "xml" || name == "kspace" || name == "header" || name == "ismrmrd_header";
    });
  };
  const auto groups = file.groups(), names = file.datasets();
  if (groups.empty() && names.empty()) return false;
  return !of_a_scan("") && std::none_of(groups.begin(), groups.end(), of_a_scan);
}

FieldSourcePtr open_fields(const fs::path& path, const FieldOptions& options) {
  std::error_code error;
  if (fs::is_directory(path, error)) return open_fields_folder(path, options);
  check_input_file(path);
  const std::string start = read_prefix(path, 256);
  if (start.starts_with("\x93NUMPY")) return open_npy_fields(path, options);
  if (is_mat5(start)) return open_mat5_fields(path, options);
  if (hdf5::has_signature(path)) {
    const auto lock = hdf5::lock_library();
    auto file = std::make_shared<const hdf5::File>(hdf5::File::open(path));
    return is_mat73(*file) ? open_mat73_fields(std::move(file), options) : open_hdf5_fields(std::move(file), options);
  }
  if (is_archive(start)) return open_torch_fields(path, options);
  const bool text = is_utf8(start);
  fail<DataError>(fmt::format("{}: is in no format of PDE data that Monarch reads (MATLAB, HDF5, PyTorch, NumPy){}",
                              path.string(), text ? "; it is a text" : ""),
                  "docs/pde-files.md lists them; a file cut off at its start looks like this, too");
}

}  // namespace monarch::data
