// The part of `monarch info` that knows PDE data.

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "command.hpp"
#include "info_fields.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::apps {
namespace {

/// Minimum, maximum and mean of a few samples.
struct Sampled {
  std::vector<int64_t> samples;
  bool first_time_only = false;
  double minimum = 0, maximum = 0, mean = 0;
};

/// Up to four samples, evenly spread. Files with scattered samples (MATLAB v7.3) are read by planes of time instead.
Sampled look(const data::FieldSource& source, const data::FieldInfo& field) {
  constexpr double large = 64.0 * 1024 * 1024;
  double bytes = 4.0 * static_cast<double>(field.samples * field.channels * field.times.value_or(1));
  for (const int64_t points : field.grid) bytes *= static_cast<double>(points);
  Sampled result;
  at::Tensor values;
  if (source.format() == "MATLAB v7.3" && bytes > large) {
    data::FieldRange range{.samples = (field.samples + 3) / 4};
    if (field.times) range.times = 1;
    result.first_time_only = field.times.has_value();
    values = source.read(field.name, range);
    for (int64_t i = 0; i < range.samples; ++i) result.samples.push_back(i);
  } else {
    const bool few = bytes / static_cast<double>(field.samples) > 4 * large;
    const int64_t count = few ? 1 : std::min<int64_t>(field.samples, 4);
    std::vector<at::Tensor> parts;
    for (int64_t i = 0; i < count; ++i) {
      result.samples.push_back(count == 1 ? 0 : i * (field.samples - 1) / (count - 1));
      data::FieldRange range{.first_sample = result.samples.back(), .samples = 1};
      if (few && field.times) range.times = 1;
      parts.push_back(source.read(field.name, range));
    }
    result.first_time_only = few && field.times;
    values = at::cat(parts);
  }
  values = values.to(at::kDouble);
  result.minimum = values.min().item<double>();
  result.maximum = values.max().item<double>();
  result.mean = values.mean().item<double>();
  return result;
}

std::string shape_of(const data::FieldInfo& field) {
  std::string text = fmt::format("{} samples", field.samples);
  if (field.times) text += fmt::format(" × {} times", *field.times);
  if (field.channels != 1) text += fmt::format(" × {} channels", field.channels);
  return text + (field.grid.empty() ? "" : fmt::format(" on a grid {}", fmt::join(field.grid, " × ")));
}

}  // namespace

void print_fields(const std::string& file, const data::FieldSource& source, bool json) {
  std::vector<std::string> findings;
  std::vector<std::pair<std::string, std::string>> rows = {{"file", file}, {"format", source.format()}};
  nlohmann::json fields = nlohmann::json::array();
  for (const auto& field : source.fields()) {
    nlohmann::json entry = {{"name", field.name},
                            {"samples", field.samples},
                            {"times", field.times ? nlohmann::json(*field.times) : nlohmann::json()},
                            {"channels", field.channels},
                            {"grid", field.grid},
                            {"dtype", field.dtype},
                            {"stored", field.stored},
                            {"note", field.note}};
    rows.emplace_back(field.name, fmt::format("{}, {}", shape_of(field), field.dtype));
    rows.emplace_back("", field.stored);
    try {
      const Sampled sampled = look(source, field);
      entry["sampled"] = {{"samples", sampled.samples.size()},
                          {"first_time_only", sampled.first_time_only},
                          {"minimum", sampled.minimum},
                          {"maximum", sampled.maximum},
                          {"mean", sampled.mean}};
      rows.emplace_back(
          "", fmt::format("{:.6g} … {:.6g}, mean {:.6g} ({} samples{})", sampled.minimum, sampled.maximum, sampled.mean,
                          sampled.samples.size(), sampled.first_time_only ? ", first time" : ""));
    } catch (const DataError& error) {
      findings.push_back(error.message());
    }
    if (!field.note.empty()) rows.emplace_back("", "assumed: " + field.note);
    fields.push_back(std::move(entry));
  }
  nlohmann::json coordinates = nlohmann::json::object();
  for (const auto& [name, values] : source.coordinates()) {
    const auto n = values.numel();
    const double first = n > 0 ? values[0].item<double>() : 0, last = n > 0 ? values[n - 1].item<double>() : 0;
    coordinates[name] = {{"points", n}, {"first", first}, {"last", last}};
    rows.emplace_back(coordinates.size() == 1 ? "coordinates" : "",
                      fmt::format("{}: {} points, {:.6g} … {:.6g}", name, n, first, last));
  }
  bool begun = false;
  for (const auto& [name, value] : source.parameters()) {
    rows.emplace_back(begun ? "" : "parameters", fmt::format("{} = {:.6g}", name, value));
    begun = true;
  }
  begun = false;
  for (const auto& [name, text] : source.texts()) {
    std::string line = text.substr(0, 100);
    std::replace(line.begin(), line.end(), '\n', ' ');
    rows.emplace_back(begun ? "" : "texts",
                      fmt::format("{}: {}{}", name, is_utf8(line) ? line : "…", text.size() > 100 ? " …" : ""));
    begun = true;
  }
  if (json) {
    const nlohmann::json all = {{"file", file},
                                {"format", source.format()},
                                {"fields", fields},
                                {"coordinates", coordinates},
                                {"parameters", source.parameters()},
                                {"texts", source.texts()},
                                {"notes", source.notes()},
                                {"findings", findings}};
    fmt::print("{}\n", all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    return;
  }
  print_table(rows);
  if (!source.notes().empty() || !findings.empty()) fmt::print("\nwhat to look at\n");
  for (const auto& text : source.notes()) fmt::print("  · {}\n", text);
  for (const auto& text : findings) fmt::print("  ! {}\n", text);
}

data::FieldOptions field_options(const std::vector<std::string>& axes) {
  data::FieldOptions options;
  for (const auto& word : axes) {
    const size_t equals = word.find('=');
    check<ConfigError>(
        equals != std::string::npos && equals > 0 && equals + 1 < word.size(),
        [&] { return fmt::format("--axes {}: expected an array and its axes", word); }, "for instance --axes u=nxyt");
    options.axes[word.substr(0, equals)] = word.substr(equals + 1);
  }
  return options;
}

bool is_folder(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error);
}

}  // namespace monarch::apps
