// monarch simulate mri: raw scans of random anatomy, or of given images.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <optional>

#include "command.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/provenance.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/image_io.hpp"
#include "monarch/data/png.hpp"
#include "monarch/data/scan_writer.hpp"
#include "monarch/mri/sampling_mask.hpp"
#include "monarch/mri/simulated_scan.hpp"
#include "simulate.hpp"

namespace monarch::apps {
namespace {

namespace fs = std::filesystem;

struct Arguments {
  std::string output, format = "skm-tea", image, picture;
  int64_t scans = 1;
  uint64_t seed = 0;
  std::vector<int64_t> matrix{128, 80};
  std::optional<int64_t> echoes, slices;
  std::vector<double> accelerations{2, 4, 6, 8};
  int64_t calibration = 12;
  bool raw_maps = false, json = false;
  mri::SimulatedScanOptions scan;
};

std::string scan_id(int64_t scan) {
  return fmt::format("scan_{:03}", scan + 1);
}

/// Where the scans go: one file for a name that ends in .h5, else a folder.
std::vector<fs::path> paths_of(const Arguments& a) {
  const fs::path output = a.output;
  const bool file = output.extension() == ".h5" || output.extension() == ".hdf5";
  check<ConfigError>(
      !file || a.scans == 1, [&] { return fmt::format("output '{}' is one file, for {} scans", a.output, a.scans); },
      "name a folder");
  if (file) return {output};
  std::error_code error;
  check<ConfigError>(
      !fs::exists(output, error) || fs::is_directory(output, error),
      [&] { return fmt::format("output '{}' is a file without .h5, expected a folder", a.output); },
      "name a folder, or a file that ends in .h5");
  std::vector<fs::path> paths;
  for (int64_t scan = 0; scan < a.scans; ++scan) paths.push_back(output / (scan_id(scan) + ".h5"));
  return paths;
}

/// Poisson-disc masks under SKM-TEA's names; what the matrix rules out is left out with a warning.
std::map<std::string, at::Tensor> masks_of(const Arguments& a, const std::string& id, bool say) {
  std::map<std::string, at::Tensor> masks;
  for (const double acceleration : a.accelerations) {
    const mri::MaskOptions options{.acceleration = acceleration, .calibration = a.calibration};
    try {
      masks[fmt::format("poisson_{:.1f}x", acceleration)] = mri::sampling_mask(a.matrix, 0, options, a.seed, id);
    } catch (const ConfigError& error) {
      if (say) log::warning(fmt::format("no mask at {:g}: {}", acceleration, error.message()));
    }
  }
  return masks;
}

void settle(Arguments& a) {
  a.scan.matrix = {a.matrix[0], a.matrix[1]};
  a.scan.normalised_maps = !a.raw_maps;
  a.scan.echoes = a.echoes.value_or(a.format == "fastmri" ? 1 : 2);
  int64_t slices = 24;
  if (!a.image.empty()) {
    const data::ImageSeries series = data::load_images(a.image);
    a.scan.images = series.pixels.abs().flatten(0, 1);
    slices = std::min<int64_t>(slices, a.scan.images.size(0));
  }
  a.scan.slices = a.slices.value_or(slices);
}

void run(Arguments& a) {
  settle(a);
  const data::ScanFormat format = data::parse_scan_format(a.format);
  const auto paths = paths_of(a);
  const auto start = std::chrono::steady_clock::now();
  data::ImageSeries shown;
  std::vector<at::Tensor> pictures;
  std::vector<std::string> mask_names;
  Progress progress("simulating", a.scans * a.scan.slices);
  std::array<double, 3> voxel{};
  for (int64_t scan = 0; scan < a.scans; ++scan) {
    mri::SimulatedScanOptions options = a.scan;
    options.first_image = scan * a.scan.slices;
    const mri::SimulatedScan simulated(options, a.seed, scan_id(scan));
    data::ScanLayout layout{.scan_id = scan_id(scan),
                            .slices = options.slices,
                            .echoes = options.echoes,
                            .coils = options.coils,
                            .matrix = options.matrix,
                            .voxel_mm = simulated.voxel_mm(),
                            .echo_times_ms = simulated.echo_times_ms(),
                            .masks = {},
                            .notes = {}};
    voxel = layout.voxel_mm;
    if (format == data::ScanFormat::skm_tea) layout.masks = masks_of(a, layout.scan_id, scan == 0);
    if (scan == 0)
      for (const auto& [name, mask] : layout.masks) mask_names.push_back(name);
    layout.notes["simulation"] = fmt::format(
        "monarch {}; seed {}; noise {:g}; {}; target: fully sampled, without noise", version(), a.seed, options.noise,
        !a.image.empty()   ? "images"
        : options.analytic ? "ellipses in closed form"
                           : "ellipses on a grid twice as fine");
    data::ScanWriter writer(paths[static_cast<size_t>(scan)], format, layout);
    const int64_t batch = std::max<int64_t>(1, at::get_num_threads());
    for (int64_t first = 0; first < options.slices; first += batch) {
      const int64_t count = std::min(batch, options.slices - first);
      std::vector<mri::SimulatedSlice> slices(static_cast<size_t>(count));
      at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) slices[static_cast<size_t>(i)] = simulated.slice(first + i);
      });
      for (const auto& slice : slices) {
        writer.add({slice.kspace, slice.sensitivities, slice.target});
        if (scan == 0 && !a.picture.empty()) pictures.push_back(slice.target.abs());  // [echo, 1, y, x]
        progress.advance();
      }
    }
    writer.commit();
  }
  if (!a.picture.empty()) {
    shown.pixels = at::stack(pictures, 1).flatten(0, 1);  // echo by echo
    for (int64_t i = 0; i < shown.pixels.size(0); ++i)
      shown.index.push_back({.slice = i % a.scan.slices, .contrast = i / a.scan.slices});
    shown.orientation.resize(shown.index.size());
    data::save_png(a.picture, data::contact_sheet(shown, data::display_window(shown.pixels)), {0, 255});
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  std::vector<std::string> files;
  double bytes = 0;
  for (const auto& path : paths) {
    files.push_back(path.string());
    bytes += static_cast<double>(fs::file_size(path));
  }
  const std::string object = !a.image.empty() ? a.image : "random anatomy";
  if (a.json) {
    fmt::print("{}\n", nlohmann::json{{"object", object},
                                      {"analytic", a.scan.analytic},
                                      {"format", data::scan_format_name(format)},
                                      {"files", files},
                                      {"bytes", bytes},
                                      {"scans", a.scans},
                                      {"slices", a.scan.slices},
                                      {"echoes", a.scan.echoes},
                                      {"coils", a.scan.coils},
                                      {"matrix", a.matrix},
                                      {"voxel_mm", voxel},
                                      {"noise", a.scan.noise},
                                      {"normalised_maps", a.scan.normalised_maps},
                                      {"masks", mask_names},
                                      {"seed", a.seed},
                                      {"picture", a.picture},
                                      {"seconds", seconds},
                                      {"provenance", provenance()}}
                           .dump(2));
    return;
  }
  print_table({{"object", object + (a.scan.analytic ? ", k-space in closed form" : "")},
               {"scans", fmt::format("{} of seed {}", a.scans, a.seed)},
               {"each", fmt::format("{} slices of {} × {} (y × x), {} echoes, {} coils, noise {:g}", a.scan.slices,
                                    a.matrix[0], a.matrix[1], a.scan.echoes, a.scan.coils, a.scan.noise)},
               {"voxel", fmt::format("{:.4g} × {:.4g} × {:.4g} mm (x, y, slices)", voxel[0], voxel[1], voxel[2])},
               {"masks", mask_names.empty() ? "none" : fmt::format("{}", fmt::join(mask_names, ", "))},
               {"files", fmt::format("{}{} ({}, {})", files.front(),
                                     files.size() > 1 ? " … " + fs::path(files.back()).filename().string() : "",
                                     data::scan_format_name(format), bytes_text(bytes))},
               {"time", fmt::format("{}, {} a slice", duration_text(seconds),
                                    duration_text(seconds / static_cast<double>(a.scans * a.scan.slices)))}});
}

}  // namespace

void add_simulate_mri(CLI::App& simulate) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = simulate.add_subcommand("mri", "Raw multi-coil MRI scans of random anatomy, or of given images");
  command->add_option("-o,--output", a->output, "Folder for scan_001.h5 …, or a file .h5 for one scan")->required();
  command->add_option("--format", a->format, "skm-tea (default), fastmri or ismrmrd")
      ->check(CLI::IsMember({"skm-tea", "fastmri", "ismrmrd"}));
  command->add_option("--scans", a->scans, "How many, each with anatomy and coils of its own (default 1)")
      ->check(CLI::Range(1, 100000));
  command->add_option("--matrix", a->matrix, "Points along y and x (default 128 80)")->expected(2);
  command->add_option("--slices", a->slices, "Slices (default 24, or as many as there are images up to that)");
  command->add_option("--echoes", a->echoes, "Echoes of different T2 contrast (default 2; fastmri 1)");
  command->add_option("--coils", a->scan.coils, "Receive coils, 1 to 32 (default 8)");
  command->add_option("--noise", a->scan.noise,
                      "Standard deviation of the complex noise of a coil, where water has magnitude 1 (default 0.02)");
  command->add_option("--seed", a->seed, "A scan is a pure function of (seed, its name) (default 0)")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--analytic", a->scan.analytic, "k-space by the Fourier transform of ellipses in closed form");
  command->add_option("--image", a->image, "Magnitude images (NIfTI, NumPy, PNG …) to scan instead of random anatomy");
  command->add_flag("--raw-maps", a->raw_maps, "Stored sensitivities as they are, not with unit sum of squares");
  command->add_option("--accelerations", a->accelerations, "Poisson-disc masks to store (skm-tea; default 2 4 6 8)");
  command->add_option("--calibration", a->calibration, "Side of their fully sampled centre (default 12)");
  command->add_option("--picture", a->picture, "A PNG of the first scan's images");
  command->add_flag("--json", a->json, "The summary as JSON on stdout");
  command->callback([a] { run(*a); });
}

}  // namespace monarch::apps
