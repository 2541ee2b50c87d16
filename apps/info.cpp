// monarch info FILE: what is in a file, what looks wrong, and what to do about it.

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "command.hpp"
#include "info_fields.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/image_io.hpp"
#include "monarch/data/scan.hpp"
#include "monarch/data/text/token_set.hpp"

namespace monarch::apps {
namespace {

std::string extent_text(const data::Extent3& extent) {
  return fmt::format("{} × {} × {}", extent[0], extent[1], extent[2]);
}

std::string space_text(const data::EncodingSpace& space) {
  const auto& fov = space.field_of_view_mm;
  return fmt::format("{}  over {:.4g} × {:.4g} × {:.4g} mm", extent_text(space.matrix), fov[0], fov[1], fov[2]);
}

std::string vector_text(const data::Vector3& v) {
  return fmt::format("({:.4g}, {:.4g}, {:.4g})", v[0], v[1], v[2]);
}

std::string counts_text(const std::vector<data::ScanSummary::Count>& counts) {
  std::vector<std::string> words;
  for (const auto& count : counts) words.push_back(fmt::format("{} {}", count.count, count.name));
  return fmt::format("{}", fmt::join(words, ", "));
}

/// "7 first in slice (×1), 8 last in slice (×1)".
std::string flags_text(const std::vector<data::ScanSummary::Count>& flags) {
  std::vector<std::string> words;
  for (const auto& flag : flags) words.push_back(fmt::format("{} (×{})", flag.name, flag.count));
  return words.empty() ? "none" : fmt::format("{}", fmt::join(words, ", "));
}

std::string limit_text(const std::optional<data::EncodingLimit>& limit) {
  if (!limit) return "not stated";
  return fmt::format("{} … {}, centre {}", limit->minimum, limit->maximum, limit->centre);
}

nlohmann::json counts_json(const std::vector<data::ScanSummary::Count>& counts) {
  nlohmann::json object = nlohmann::json::object();
  for (const auto& count : counts) object[count.name] = count.count;
  return object;
}

nlohmann::json space_json(const data::EncodingSpace& space) {
  return {{"matrix", space.matrix}, {"field_of_view_mm", space.field_of_view_mm}};
}

nlohmann::json limit_json(const std::optional<data::EncodingLimit>& limit) {
  if (!limit) return nullptr;
  return {{"minimum", limit->minimum}, {"maximum", limit->maximum}, {"centre", limit->centre}};
}

nlohmann::json scan_json(const data::ScanSource& scan, const data::ScanSummary& summary) {
  const auto& header = scan.header();
  nlohmann::json images = nlohmann::json::array();
  for (const auto& index : scan.images()) {
    images.push_back({{"slice", index.slice},
                      {"contrast", index.contrast},
                      {"phase", index.phase},
                      {"repetition", index.repetition},
                      {"set", index.set}});
  }
  nlohmann::json lines = nlohmann::json::array();
  if (summary.line_map.defined()) {
    const at::Tensor map = summary.line_map.to(at::kInt).contiguous();
    for (int64_t z = 0; z < map.size(0); ++z) {
      const int* row = map.const_data_ptr<int>() + z * map.size(1);
      lines.push_back(std::vector<int>(row, row + map.size(1)));
    }
  }
  return {{"format", header.format},
          {"datasets", summary.datasets},
          {"vendor", header.vendor},
          {"model", header.model},
          {"protocol", header.protocol},
          {"patient_position", header.patient_position},
          {"field_strength_T", header.field_strength_T},
          {"resonance_frequency_Hz", header.resonance_frequency_Hz},
          {"trajectory", header.trajectory},
          {"coils", header.coils},
          {"volume", header.volume},
          {"readout_axis", header.readout == data::ReadoutAxis::x ? "x" : "y"},
          {"encoded", space_json(header.encoded)},
          {"recon", space_json(header.recon)},
          {"limit_y", limit_json(header.limit_y)},
          {"limit_z", limit_json(header.limit_z)},
          {"acceleration_stated", header.acceleration},
          {"acceleration_found", summary.acceleration},
          {"calibration_mode", header.calibration_mode},
          {"calibration_found", summary.calibration ? nlohmann::json(*summary.calibration) : nlohmann::json()},
          {"centre_stated", summary.centre_stated},
          {"centre_found", summary.centre_found},
          {"contents", counts_json(summary.contents)},
          {"flags", counts_json(summary.flags)},
          {"dimensions", counts_json(summary.dimensions)},
          {"images", images},
          {"line_map", lines},
          {"line_map_axes", summary.sample_map ? "y, x" : "z, y"},
          {"warnings", header.warnings},
          {"findings", summary.findings}};
}

void print_scan(const std::string& file, const data::ScanSource& scan, const data::ScanSummary& summary) {
  const auto& header = scan.header();
  std::vector<std::pair<std::string, std::string>> rows;
  const auto add = [&rows](const std::string& name, const std::string& value) {
    if (!value.empty()) rows.emplace_back(name, value);
  };
  add("file", file);
  add("format", header.format);
  if (summary.datasets.size() > 1)
    add("measurements", fmt::format("{} (choose with --dataset)", fmt::join(summary.datasets, ", ")));
  std::vector<std::string> scanner;
  for (const auto& word : {header.vendor, header.model}) {
    if (!word.empty()) scanner.push_back(word);
  }
  if (header.field_strength_T > 0) scanner.push_back(fmt::format("{:.3g} T", header.field_strength_T));
  if (header.resonance_frequency_Hz > 0)
    scanner.push_back(fmt::format("{:.6g} MHz", header.resonance_frequency_Hz * 1e-6));
  add("scanner", fmt::format("{}", fmt::join(scanner, ", ")));
  add("protocol", header.protocol);
  add("patient position", header.patient_position);
  add("trajectory", header.trajectory + (header.volume ? ", 3-D" : ", 2-D"));
  add("coils", fmt::format("{}", header.coils));
  add("encoded matrix", space_text(header.encoded));
  add("reconstructed matrix", space_text(header.recon));
  add("images", fmt::format("{}", scan.images().size()));
  add("dimensions", counts_text(summary.dimensions));
  add("acquisitions", counts_text(summary.contents));
  add("flags met", flags_text(summary.flags));
  add("step 1 limits", limit_text(header.limit_y));
  if (header.volume) add("step 2 limits", limit_text(header.limit_z));
  add("acceleration", fmt::format("{:.3g} found, {:g} × {:g} stated", summary.acceleration, header.acceleration[0],
                                  header.acceleration[1]));
  if (summary.line_map.defined()) {
    add("calibration", summary.calibration
                           ? fmt::format("{} fully sampled centre{}", extent_text(*summary.calibration),
                                         header.calibration_mode.empty() ? "" : ", stated: " + header.calibration_mode)
                           : "none found");
    add("k-space centre", fmt::format("stated ({}), strongest sample at ({})  [x, y, z]",
                                      fmt::join(summary.centre_stated, ", "), fmt::join(summary.centre_found, ", ")));
  }
  print_table(rows);
  if (summary.line_map.defined()) {
    const auto lines = map_picture(summary.line_map, 96, 24);
    const char* along = summary.sample_map || header.readout == data::ReadoutAxis::y ? "phase encode" : "ky";
    const std::string axes =
        summary.sample_map
            ? fmt::format("kx → {}, {} ↓ {}", summary.line_map.size(1), along, summary.line_map.size(0))
            : fmt::format("{} → {} lines{}", along, summary.line_map.size(1),
                          summary.line_map.size(0) > 1 ? fmt::format(", kz ↓ {}", summary.line_map.size(0)) : "");
    fmt::print("\nfilled k-space of the first image ({}; · empty, █ full)\n", axes);
    for (const auto& line : lines) fmt::print("  {}\n", line);
  }
  if (!header.warnings.empty() || !summary.findings.empty()) fmt::print("\nwhat to look at\n");
  for (const auto& text : header.warnings) fmt::print("  ! {}\n", text);
  for (const auto& text : summary.findings) fmt::print("  ! {}\n", text);
}

void print_images(const std::string& file, const data::ImageSeries& series, data::ImageFormat format) {
  const auto& pixels = series.pixels;
  const at::Tensor magnitude = pixels.abs();
  std::vector<std::pair<std::string, std::string>> rows = {
      {"file", file},
      {"format", data::name(format)},
      {"images", fmt::format("{}", pixels.size(0))},
      {"matrix", fmt::format("{} × {} × {}", pixels.size(3), pixels.size(2), pixels.size(1))},
      {"field of view", vector_text(series.field_of_view_mm) + " mm"},
      {"number type", pixels.is_complex() ? "complex" : "real"},
      {"magnitude", fmt::format("{:.6g} … {:.6g}", magnitude.min().item<double>(), magnitude.max().item<double>())}};
  if (!series.orientation.empty() && series.orientation.front().known) {
    const auto& place = series.orientation.front();
    rows.emplace_back("centre (LPS)", vector_text(place.centre_mm) + " mm");
    rows.emplace_back("x, y, z directions", vector_text(place.x_direction) + " " + vector_text(place.y_direction) +
                                                " " + vector_text(place.z_direction));
  }
  print_table(rows);
}

}  // namespace

void add_info(CLI::App& app) {
  struct Arguments {
    std::string file;
    data::ScanOptions scan;
    std::vector<std::string> axes;
    bool json = false, fields = false;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("info", "What is in a scan, an image or a file of PDE data, and what looks wrong with it");
  command->add_option("file", arguments->file, "File, or folder of files of PDE data or tokens")->required();
  command->add_option("--dataset", arguments->scan.dataset, "Measurement (HDF5 group) in a file that holds several");
  command->add_option("--encoding", arguments->scan.encoding, "Encoding space (default: the first with images)");
  command->add_option("--trajectory", arguments->scan.trajectory,
                      "Where the samples of a non-Cartesian scan lie: .npy [readout, sample, axis]");
  command->add_flag("--json", arguments->json, "JSON on stdout");
  command->add_flag("--fields", arguments->fields, "Show an array as PDE data, not as an image");
  command->add_option("--axes", arguments->axes,
                      "Axes of an array of PDE data, as u=nxyt: n sample, t time, c channel, x y z grid, 1 dropped");
  command->callback([arguments] {
    const auto show_fields = [&] {
      const auto source = data::open_fields(arguments->file, field_options(arguments->axes));
      print_fields(arguments->file, *source, arguments->json);
    };
    if (data::is_token_set(arguments->file)) return print_token_set(arguments->file, arguments->json);
    if (arguments->fields || !arguments->axes.empty() || is_folder(arguments->file)) return show_fields();
    // Raw scans first: a fastMRI file is a scan that also holds images.
    arguments->scan.assume_recon_space_encoded = true;
    std::unique_ptr<data::ScanSource> scan;
    const auto format = data::detect_images(arguments->file);
    if (format == data::ImageFormat::none || format == data::ImageFormat::fastmri) {
      try {
        scan = data::open_scan(arguments->file, arguments->scan);
      } catch (const DataError& error) {
        if (!data::may_be_fields(arguments->file)) throw;
        log::debug(error.message());
        return show_fields();
      }
    } else if (format == data::ImageFormat::cfl || format == data::ImageFormat::npy) {
      // Complex arrays can be k-space; what cannot is shown as an image.
      try {
        scan = data::open_scan(arguments->file, arguments->scan);
      } catch (const DataError& error) {
        log::debug(error.message());
      }
    }
    if (scan) {
      const auto summary = scan->summarise();
      if (arguments->json) {
        nlohmann::json result = scan_json(*scan, summary);
        result["file"] = arguments->file;
        fmt::print("{}\n", result.dump(2));
      } else {
        print_scan(arguments->file, *scan, summary);
      }
      return;
    }
    const auto series = data::load_images(arguments->file);
    if (arguments->json) {
      fmt::print("{}\n", nlohmann::json({{"file", arguments->file},
                                         {"format", data::name(format)},
                                         {"shape", series.pixels.sizes().vec()},
                                         {"axes", "image, z, y, x"},
                                         {"complex", series.pixels.is_complex()},
                                         {"field_of_view_mm", series.field_of_view_mm}})
                             .dump(2));
    } else {
      print_images(arguments->file, series, format);
    }
  });
}

}  // namespace monarch::apps
