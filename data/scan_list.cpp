#include "monarch/data/scan_list.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>

#include "monarch/core/error.hpp"
#include "monarch/data/input_file.hpp"

namespace monarch::data {

namespace {

constexpr uint64_t largest_list = uint64_t{256} << 20;

ListedScan parse_entry(const nlohmann::json& entry, const std::string& place) {
  const auto wrong = [&](const char* key, const std::string& expected) {
    fail<DataError>(fmt::format("{}: {} is {}, expected {}", place, key,
                                entry.is_object() && entry.contains(key) ? entry[key].type_name() : "missing",
                                expected));
  };
  ListedScan scan;
  if (!entry.is_object() || !entry.contains("file_name") || !entry["file_name"].is_string())
    wrong("file_name", "a name");
  scan.file_name = entry["file_name"].get<std::string>();
  check<DataError>(
      !scan.file_name.empty() && scan.file_name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos,
      [&] { return fmt::format("{}: file_name '{}' is not the name of a file", place, scan.file_name); },
      "names come without a folder");
  scan.scan_id = std::filesystem::path(scan.file_name).stem().string();
  if (entry.contains("scan_id")) {
    if (!entry["scan_id"].is_string()) wrong("scan_id", "a name");
    scan.scan_id = entry["scan_id"].get<std::string>();
  }
  const auto three = [&](const char* key, auto& values) {
    if (!entry.contains(key)) return;
    const auto& list = entry[key];
    if (!list.is_array() || list.size() != 3) wrong(key, "three numbers");
    for (size_t i = 0; i < 3; ++i) {
      if (!list[i].is_number()) wrong(key, "three numbers");
      const double value = list[i].get<double>();
      check<DataError>(value > 0 && value < 1e9,
                       [&] { return fmt::format("{}: {} holds {}, expected positive numbers", place, key, value); });
      values[i] = static_cast<std::decay_t<decltype(values[i])>>(value);
    }
  };
  three("matrix_shape", scan.matrix);
  three("voxel_spacing", scan.voxel_mm);
  if (entry.contains("orientation")) {
    const auto& list = entry["orientation"];
    if (!list.is_array()) wrong("orientation", "a list of texts");
    for (const auto& text : list) {
      if (!text.is_string()) wrong("orientation", "a list of texts");
      scan.orientation.push_back(text.get<std::string>());
    }
  }
  return scan;
}

}  // namespace

std::vector<ListedScan> parse_scan_list(std::string_view text, const std::string& name) {
  nlohmann::json document;
  try {
    document = nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    fail<DataError>(fmt::format("{}: is no JSON: {}", name, error.what()));
  }
  check<DataError>(
      document.is_object() && document.contains("images") && document["images"].is_array(),
      [&] { return name + ": has no list 'images'"; },
      "expected train.json, val.json or test.json of SKM-TEA's annotations");
  std::vector<ListedScan> scans;
  std::set<std::string> seen;
  for (const auto& entry : document["images"]) {
    const std::string place = fmt::format("{}: images[{}]", name, scans.size());
    scans.push_back(parse_entry(entry, place));
    check<DataError>(seen.insert(scans.back().scan_id).second,
                     [&] { return fmt::format("{}: scan '{}' is there twice", place, scans.back().scan_id); });
  }
  return scans;
}

std::vector<ListedScan> load_scan_list(const std::filesystem::path& path) {
  const InputFile file(path);
  check<DataError>(file.size() <= largest_list, [&] {
    return fmt::format("{}: has {} bytes, too many for a list of scans", path.string(), file.size());
  });
  std::string text(static_cast<size_t>(file.size()), '\0');
  file.read(0, text.data(), text.size());
  return parse_scan_list(text, path.string());
}

}  // namespace monarch::data
