// Tensors without a layout of their own (PyTorch, NumPy), and folders of files.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/checkpoint.hpp"
#include "monarch/data/element_type.hpp"
#include "monarch/data/field_axes.hpp"
#include "monarch/data/field_formats.hpp"
#include "monarch/data/input_file.hpp"
#include "monarch/data/npy.hpp"
#include "monarch/data/npy_header.hpp"

namespace monarch::data {

namespace {

namespace fs = std::filesystem;

/// An array in C order, read by ranges of its first axis.
class NpyArray final : public StoredArray {
 public:
  NpyArray(const fs::path& path, NpyHeader header) : file_(path), header_(std::move(header)) {
    shape_ = header_.shape;
    complex_ = header_.kind == 'c';
    dtype_ = fmt::format("{}{}",
                         header_.kind == 'b'   ? "bool"
                         : header_.kind == 'i' ? "int"
                         : header_.kind == 'u' ? "uint"
                         : complex_            ? "complex"
                                               : "float",
                         header_.kind == 'b' ? "" : fmt::format("{}", 8 * header_.element_bytes));
    storage_ = "C order";
    if (complex_) shape_.push_back(2);
  }
  at::Tensor read(const Block& block) const override {
    const auto rows = static_cast<uint64_t>(header_.shape[0]);
    const uint64_t row_bytes = static_cast<uint64_t>(header_.numel()) / rows * header_.element_bytes;
    const int64_t first = block.first[0], span = (block.count[0] - 1) * block.stride[0] + 1;
    std::string bytes(static_cast<uint64_t>(span) * row_bytes, '\0');
    file_.read(header_.data_offset + static_cast<uint64_t>(first) * row_bytes, bytes.data(), bytes.size());
    auto shape = header_.shape;
    shape[0] = span;
    at::Tensor values = npy_values(header_, bytes.data(), shape);
    if (complex_) values = at::view_as_real(values);
    for (size_t d = 0; d < shape_.size(); ++d) {
      const int64_t begin = d == 0 ? 0 : block.first[d];
      values = values.slice(static_cast<int64_t>(d), begin, begin + (block.count[d] - 1) * block.stride[d] + 1,
                            block.stride[d]);
    }
    return values;
  }

 private:
  InputFile file_;
  NpyHeader header_;
};

/// Compares names with the numbers in them as numbers: batch_2 before batch_10.
bool natural_less(const std::string& a, const std::string& b) {
  const auto digit = [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; };
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (digit(a[i]) && digit(b[j])) {
      size_t end_a = i, end_b = j;
      while (end_a < a.size() && digit(a[end_a])) ++end_a;
      while (end_b < b.size() && digit(b[end_b])) ++end_b;
      const auto number = [](std::string text) { return text.erase(0, text.find_first_not_of('0')); };
      const std::string left = number(a.substr(i, end_a - i)), right = number(b.substr(j, end_b - j));
      if (left.size() != right.size()) return left.size() < right.size();
      if (left != right) return left < right;
      i = end_a;
      j = end_b;
    } else if (a[i] != b[j]) {
      return a[i] < b[j];
    } else {
      ++i;
      ++j;
    }
  }
  return a.size() != b.size() ? a.size() < b.size() : a < b;
}

/// Files of one layout, their samples one behind the other. Of long lists the files are opened when they are read.
class FolderSource final : public FieldSource {
 public:
  FolderSource(const fs::path& folder, const std::vector<fs::path>& files, const FieldOptions& options)
      : FieldSource(folder.string(), open_fields(files[0], options)->format()), options_(options) {
    constexpr size_t most_open = 100;
    for (const auto& file : files) {
      const auto source = open_fields(file, options);
      if (parts_.empty()) take_first(*source);
      Part part{file, files.size() <= most_open ? source : nullptr, {}};
      for (auto& info : fields_) {
        const FieldInfo& here = source->field(info.name);
        check<DataError>(
            here.times == info.times && here.channels == info.channels && here.grid == info.grid,
            [&] {
              const auto describe = [](const FieldInfo& field) {
                return fmt::format("{} times, {} channels, grid {}",
                                   field.times ? fmt::format("{}", *field.times) : "no", field.channels,
                                   shape_text(field.grid));
              };
              return fmt::format("{}: {} has {}; that of {} has {}", file.string(), info.name, describe(here),
                                 parts_.front().path.filename().string(), describe(info));
            },
            "the files of a folder must have one layout; name a single file instead");
        part.samples.push_back(here.samples);
        if (!parts_.empty()) info.samples += here.samples;
      }
      for (auto it = parameters_.begin(); it != parameters_.end();) {
        const auto found = source->parameters().find(it->first);
        const bool same = found != source->parameters().end() && found->second == it->second;
        if (!same) notes_.push_back(fmt::format("parameter {} differs between the files", it->first));
        it = same ? std::next(it) : parameters_.erase(it);
      }
      parts_.push_back(std::move(part));
    }
    notes_.push_back(fmt::format("{} files, {} to {}", files.size(), files.front().filename().string(),
                                 files.back().filename().string()));
  }

 protected:
  at::Tensor do_read(const FieldInfo& field, const FieldRange& range) const override {
    const auto index = static_cast<size_t>(&field - fields_.data());
    std::vector<at::Tensor> pieces;
    int64_t begin = 0;
    for (const auto& part : parts_) {
      const int64_t end = begin + part.samples[index];
      const int64_t first = std::max(range.first_sample, begin);
      const int64_t last = std::min(range.first_sample + range.samples, end);
      if (first < last) {
        FieldRange inner = range;
        inner.first_sample = first - begin;
        inner.samples = last - first;
        if (!field.times) inner.times = -1;
        const auto source = part.source ? part.source : open_fields(part.path, options_);
        pieces.push_back(source->read(field.name, inner));
      }
      begin = end;
    }
    return pieces.size() == 1 ? pieces[0] : at::cat(pieces);
  }

 private:
  struct Part {
    fs::path path;
    FieldSourcePtr source;
    std::vector<int64_t> samples;  ///< of each field
  };
  void take_first(const FieldSource& source) {
    fields_ = source.fields();
    coordinates_ = source.coordinates();
    parameters_ = source.parameters();
    texts_ = source.texts();
    notes_ = source.notes();
  }

  FieldOptions options_;
  std::vector<Part> parts_;
};

}  // namespace

FieldSourcePtr open_torch_fields(const fs::path& path, const FieldOptions& options) {
  const auto checkpoint = open_checkpoint(path);
  auto source = std::make_shared<ArraySource>(path.string(), checkpoint->format());
  AxisGuess guess(AxisConvention::time_second);
  for (const auto& info : checkpoint->tensors()) {
    if (!info.type) {
      source->notes_.push_back(fmt::format("{}: {}, left out", info.name, info.dtype));
      continue;
    }
    const bool complex = at::isComplexType(*info.type);
    guess.add(info.name, loaded_array(info.shape, info.dtype, "row-major", complex,
                                      [checkpoint, name = info.name] { return checkpoint->load(name); }));
  }
  for (const auto& [name, text] : checkpoint->metadata()) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (!text.empty() && *end == '\0')
      source->parameters_[name] = value;
    else
      source->texts_[name] = text;
  }
  guess.fill(*source, options.axes);
  source->check_not_empty();
  return source;
}

FieldSourcePtr open_npy_fields(const fs::path& path, const FieldOptions& options) {
  constexpr size_t longest_header = 65552;
  const uint64_t size = check_input_file(path);
  NpyHeader header = parse_npy_header(read_prefix(path, longest_header), size, path.string());
  check<DataError>(header.numel() > 0 && !header.shape.empty(), [&] {
    return fmt::format("{}: holds an array of shape {}, expected numbers over a grid", path.string(),
                       shape_text(header.shape));
  });
  auto source = std::make_shared<ArraySource>(path.string(), "NumPy");
  AxisGuess guess(AxisConvention::time_second);
  if (header.fortran_order) {
    const NpyArray like(path, header);
    guess.add("data", loaded_array(header.shape, like.dtype(), "Fortran order", like.complex(),
                                   [path] { return load_npy(path); }));
  } else {
    guess.add("data", std::make_shared<NpyArray>(path, std::move(header)));
  }
  guess.fill(*source, options.axes);
  source->check_not_empty();
  return source;
}

FieldSourcePtr open_fields_folder(const fs::path& folder, const FieldOptions& options) {
  static constexpr std::string_view known[] = {".h5", ".hdf5", ".mat", ".npy", ".pt", ".pth"};
  std::vector<fs::path> files;
  std::vector<std::string> folders;
  std::error_code error;
  for (auto entry = fs::directory_iterator(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    const auto& path = entry->path();
    if (path.filename().string().starts_with(".")) continue;
    if (entry->is_directory()) folders.push_back(path.filename().string());
    if (entry->is_regular_file() &&
        std::find(std::begin(known), std::end(known), path.extension().string()) != std::end(known))
      files.push_back(path);
  }
  std::sort(folders.begin(), folders.end());
  check<DataError>(
      !files.empty(), [&] { return fmt::format("{}: no file of PDE data is in this folder", folder.string()); },
      folders.empty() ? "expected .h5, .hdf5, .mat, .pt or .npy" : fmt::format("it holds {}", join_or(folders)));
  std::sort(files.begin(), files.end(), [](const fs::path& a, const fs::path& b) {
    return natural_less(a.filename().string(), b.filename().string());
  });
  if (files.size() == 1) return open_fields(files[0], options);
  return std::make_shared<FolderSource>(folder, files, options);
}

}  // namespace monarch::data
