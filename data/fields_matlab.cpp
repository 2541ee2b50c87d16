// MATLAB files of PDE data: v5 and v7.3.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/field_axes.hpp"
#include "monarch/data/field_cache.hpp"
#include "monarch/data/field_formats.hpp"
#include "monarch/data/mat5.hpp"

namespace monarch::data {

namespace {

constexpr std::string_view parameter_prefix = "parameter_";
constexpr int deepest_struct = 3;

std::string number_name(const std::string& type) {
  return type == "double" ? "float64" : type == "single" ? "float32" : type == "logical" ? "bool" : type;
}

/// "parameter_nu", as our own v5 files name them, is the parameter "nu".
void shorten_parameters(ArraySource& source) {
  std::map<std::string, double> named;
  for (const auto& [name, value] : source.parameters_)
    named[name.starts_with(parameter_prefix) ? name.substr(parameter_prefix.size()) : name] = value;
  source.parameters_ = std::move(named);
}

std::string characters(const at::Tensor& codes) {
  std::string text;
  const at::Tensor values = codes.to(at::kInt).reshape({-1}).contiguous();
  for (int64_t i = 0; i < values.numel(); ++i) {
    const auto code = static_cast<uint32_t>(values.const_data_ptr<int>()[i]);
    if (code < 0x80) {
      text += static_cast<char>(code);
    } else if (code < 0x800) {
      text += static_cast<char>(0xc0 | code >> 6);
      text += static_cast<char>(0x80 | (code & 0x3f));
    } else {
      text += static_cast<char>(0xe0 | (code >> 12 & 0x0f));
      text += static_cast<char>(0x80 | (code >> 6 & 0x3f));
      text += static_cast<char>(0x80 | (code & 0x3f));
    }
  }
  return is_utf8(text) ? text : std::string{};
}

/// Variables of a group; the fields of a struct are named "struct/field".
void gather(const std::shared_ptr<const hdf5::File>& file, const std::string& group, int depth, AxisGuess& guess,
            ArraySource& source) {
  const std::string prefix = group.empty() ? "" : group + "/";
  for (const auto& name : file->datasets(group)) {
    if (name.starts_with("#")) continue;
    const std::string path = prefix + name;
    const std::string type = file->text_attribute(path, "MATLAB_class").value_or("");
    if (file->number_attribute(path, "MATLAB_empty").value_or(0) != 0) {
      source.notes_.push_back(fmt::format("{}: empty, left out", path));
      continue;
    }
    const auto info = file->info(path);
    if (type == "char") {
      if (info.kind == hdf5::Kind::integer && info.numel() <= 65536) source.texts_[path] = characters(file->read(path));
      continue;
    }
    const bool numbers = info.kind == hdf5::Kind::integer || info.kind == hdf5::Kind::real ||
                         info.kind == hdf5::Kind::complex || info.kind == hdf5::Kind::boolean;
    if (!numbers || type == "cell" || type == "function_handle") {
      source.notes_.push_back(fmt::format("{}: {}, left out", path, type.empty() ? info.type : type));
      continue;
    }
    if (file->number_attribute(path, "MATLAB_sparse")) {
      source.notes_.push_back(fmt::format("{}: sparse, left out", path));
      continue;
    }
    guess.add(path, hdf5_array(file, path, true));
  }
  for (const auto& name : file->groups(group)) {
    if (name.starts_with("#")) continue;
    if (file->numbers_attribute(prefix + name, "MATLAB_sparse")) {
      source.notes_.push_back(fmt::format("{}: sparse, left out", prefix + name));
    } else if (depth < deepest_struct) {
      gather(file, prefix + name, depth + 1, guess, source);
    }
  }
}

}  // namespace

FieldSourcePtr open_mat5_fields(const std::filesystem::path& path, const FieldOptions& options) {
  const auto file = std::make_shared<const Mat5File>(path);
  auto source = std::make_shared<ArraySource>(path.string(), "MATLAB v5");
  AxisGuess guess(AxisConvention::time_last);
  for (const auto& variable : file->variables()) {
    if (variable.numeric()) {
      const std::string storage = variable.compressed ? "column-major, compressed" : "column-major";
      guess.add(variable.name,
                loaded_array(variable.shape, (variable.complex ? "complex " : "") + number_name(variable.type), storage,
                             variable.complex, [file, variable] { return file->load(variable); }));
    } else if (variable.type == "char") {
      source->texts_[variable.name] = file->text(variable);
    } else {
      source->notes_.push_back(fmt::format("{}: {}, left out", variable.name, variable.type));
    }
  }
  guess.fill(*source, options.axes);
  source->check_not_empty();
  shorten_parameters(*source);
  return source;
}

bool is_mat73(const hdf5::File& file) {
  if (file.user_block_bytes() >= 128) {
    std::string start(128, '\0');
    file.read_raw(0, std::as_writable_bytes(std::span(start)), file.name());
    if (start.starts_with("MATLAB")) return true;
  }
  const auto names = file.datasets();
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return file.text_attribute(name, "MATLAB_class").has_value(); });
}

FieldSourcePtr open_mat73_fields(std::shared_ptr<const hdf5::File> file, const FieldOptions& options) {
  const auto lock = hdf5::lock_library();
  auto source = std::make_shared<ArraySource>(file->name(), "MATLAB v7.3");
  AxisGuess guess(AxisConvention::time_last);
  gather(file, "", 0, guess, *source);
  for (const auto& name : file->attributes("")) {
    if (const auto value = file->number_attribute("", name)) source->parameters_[name] = *value;
    if (auto text = file->text_attribute("", name)) source->texts_[name] = std::move(*text);
  }
  guess.scatter_samples_of(file->name());
  guess.fill(*source, options.axes);
  source->check_not_empty();
  return source;
}

}  // namespace monarch::data
