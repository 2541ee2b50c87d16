// monarch recon SCAN: images from a raw scan.

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <fstream>
#include <iostream>

#include "command.hpp"
#include "monarch/core/config.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/provenance.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/image_io.hpp"
#include "monarch/data/image_ismrmrd.hpp"
#include "monarch/data/ismrmrd_stream.hpp"
#include "monarch/data/nifti.hpp"
#include "monarch/data/npy.hpp"
#include "monarch/data/png.hpp"
#include "monarch/data/scan.hpp"
#include "monarch/data/trajectory.hpp"
#include "monarch/mri/learning/learned_reconstruction.hpp"
#include "monarch/mri/reconstruction.hpp"
#include "report/report.hpp"

namespace fs = std::filesystem;

namespace monarch::apps {
namespace {

using Clock = std::chrono::steady_clock;

struct Arguments {
  std::string scan, out, method = "auto", maps = "auto", partial_fourier = "zero", reference, config, slices, model;
  std::string assume_recon, conjugate = "auto", density = "pipe-menon", trajectory_unit = "auto";
  std::vector<int64_t> centre, matrix;
  std::vector<std::string> formats = {"h5", "nii", "npy", "png", "html"};
  double memory_gib = 0;
  bool json = false, crop_reference = false, no_prewhiten = false;
  std::optional<double> lambda;
  std::optional<int64_t> iterations;
  std::string noise;
  data::ScanOptions scan_options;
  mri::ReconOptions recon;
};

/// "0,3-5" -> {0, 3, 4, 5}.
std::vector<int64_t> parse_slices(const std::string& text) {
  std::vector<int64_t> slices;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    int64_t first = 0, last = 0;
    char dash = 0, rest = 0;
    std::istringstream words(part);
    words >> first;
    last = first;
    bool good = !words.fail();
    if (words >> dash) good = good && dash == '-' && (words >> last) && !(words >> rest);
    check<ConfigError>(good && first >= 0 && last >= first && last < 65536,
                       [&] { return fmt::format("--slices: '{}' is not a list such as 0,3-5", text); });
    for (int64_t slice = first; slice <= last; ++slice) slices.push_back(slice);
  }
  return slices;
}

/// Values of a config file, where the command line did not say otherwise.
void read_config(const CLI::App& command, Arguments& a) {
  const Config config = Config::load(a.config);
  const auto unset = [&command](const char* option) { return command.count(option) == 0; };
  const auto text = [&](const char* key, const char* option, std::string& value) {
    const std::string read = config.text(key, value);
    if (unset(option)) value = read;
  };
  const auto integer = [&](const char* key, const char* option, int64_t& value) {
    const int64_t read = config.integer(key, value);
    if (unset(option)) value = read;
  };
  const auto number = [&](const char* key, const char* option, double& value) {
    const double read = config.number(key, value);
    if (unset(option)) value = read;
  };
  text("recon.method", "--method", a.method);
  text("recon.model", "--model", a.model);
  text("recon.maps", "--maps", a.maps);
  text("recon.partial_fourier", "--partial-fourier", a.partial_fourier);
  if (config.has("recon.lambda") && unset("--lambda")) a.lambda = config.number("recon.lambda");
  if (config.has("recon.iterations") && unset("--iterations")) a.iterations = config.integer("recon.iterations");
  number("recon.tolerance", "--tolerance", a.recon.tolerance);
  integer("recon.map_count", "--map-count", a.recon.map_count);
  integer("recon.calibration", "--calibration", a.recon.calibration_size);
  integer("recon.kernel", "--kernel", a.recon.kernel_size);
  number("recon.crop", "--crop", a.recon.crop_threshold);
  number("recon.threshold", "--threshold", a.recon.singular_threshold);
  integer("recon.virtual_coils", "--compress", a.recon.virtual_coils);
  integer("recon.wavelet_order", "--wavelet", a.recon.wavelet_order);
  text("recon.density", "--density", a.density);
  text("recon.slices", "--slices", a.slices);
  const bool prewhiten = config.boolean("recon.prewhiten", true);
  if (unset("--no-prewhiten")) a.no_prewhiten = !prewhiten;
  const auto formats = config.texts("output.formats", a.formats);
  if (unset("--formats")) a.formats = formats;
  config.finish();
}

/// A trained network is named by --model; --method may then say which kind it is expected to be.
void settle_method(Arguments& a) {
  const auto networks = mri::reconstruction_model_names();
  const bool network = a.method == "learned" || (std::find(networks.begin(), networks.end(), a.method) != networks.end() &&
                                                 a.method != "sense" && a.method != "cg-sense" &&
                                                 a.method != "l1-wavelet");
  check<ConfigError>(!network || !a.model.empty(), [&] { return fmt::format("--method {} is a network", a.method); },
                     "name a trained one with --model RUN_FOLDER");
  if (a.model.empty()) {
    a.recon.method = mri::parse_method(a.method);
    return;
  }
  auto model = std::make_shared<const mri::LearnedReconstruction>(mri::LearnedReconstruction::load(a.model));
  check<ConfigError>(a.method == "auto" || a.method == "learned" || a.method == model->name(), [&] {
    return fmt::format("--method {}, but --model {} holds '{}'", a.method, a.model, model->name());
  });
  a.recon.method = mri::Method::learned;
  a.recon.model = std::move(model);
}

void settle_options(const CLI::App& command, Arguments& a) {
  if (!a.config.empty()) read_config(command, a);
  settle_method(a);
  static const std::vector<std::pair<std::string, mri::MapMethod>> maps = {{"auto", mri::MapMethod::automatic},
                                                                           {"espirit", mri::MapMethod::espirit},
                                                                           {"walsh", mri::MapMethod::walsh},
                                                                           {"stored", mri::MapMethod::stored}};
  const auto chosen = std::find_if(maps.begin(), maps.end(), [&](const auto& item) { return item.first == a.maps; });
  check<ConfigError>(chosen != maps.end(),
                     "--maps: auto, espirit, walsh or stored expected, found '" + a.maps + "'");
  a.recon.maps = chosen->second;
  check<ConfigError>(a.partial_fourier == "zero" || a.partial_fourier == "pocs",
                     "--partial-fourier: zero or pocs expected, found '" + a.partial_fourier + "'");
  a.recon.partial_fourier = a.partial_fourier == "pocs" ? mri::PartialFourier::pocs : mri::PartialFourier::zero_fill;
  a.recon.density = mri::parse_density(a.density);
  a.scan_options.trajectory_unit = data::parse_trajectory_unit(a.trajectory_unit);
  std::copy(a.matrix.begin(), a.matrix.end(), a.scan_options.matrix.begin());
  a.recon.lambda = a.lambda;
  a.recon.iterations = a.iterations;
  a.recon.prewhiten = !a.no_prewhiten;
  if (!a.noise.empty()) a.recon.noise_from = a.noise;
  a.recon.slices = parse_slices(a.slices);
  a.recon.memory_limit_bytes = a.memory_gib * 1073741824.0;
  check<ConfigError>(a.assume_recon.empty() || a.assume_recon == "encoded",
                     "--assume-recon-space: 'encoded' expected, found '" + a.assume_recon + "'");
  a.scan_options.assume_recon_space_encoded = a.assume_recon == "encoded";
  if (a.conjugate != "auto") a.scan_options.conjugate = a.conjugate == "yes";
  if (!a.centre.empty()) a.scan_options.centre = {a.centre[0], a.centre.size() > 1 ? a.centre[1] : -1};
  static const std::vector<std::string> known = {"h5", "nii", "npy", "png", "html"};
  for (const auto& format : a.formats) {
    check<ConfigError>(std::find(known.begin(), known.end(), format) != known.end(),
                       [&] { return fmt::format("--formats: '{}' is not one of {}", format, join_or(known)); });
  }
}

/// The file to compare with, or what the scan itself holds; checked before the work starts.
std::optional<data::ImageSeries> load_reference(const Arguments& a, const data::ScanSource& scan) {
  if (a.reference.empty()) {
    try {
      return scan.reference();
    } catch (const DataError& error) {
      log::warning("the reference in the scan file is not used: " + error.message());
      return std::nullopt;
    }
  }
  data::ImageSeries reference = data::load_images(a.reference);
  const auto& matrix = scan.header().recon.matrix;
  const int64_t height = reference.pixels.size(2), width = reference.pixels.size(3);
  const bool fits = (height == matrix[1] && width == matrix[0]) || (height == matrix[0] && width == matrix[1]);
  check<DataError>(
      fits || a.crop_reference,
      [&] {
        return fmt::format("{}: the reference has {} × {} pixels, the scan is reconstructed to {} × {}", a.reference,
                           height, width, matrix[1], matrix[0]);
      },
      "pass --crop-reference to compare the common centre");
  return reference;
}

template <class Pairs>
nlohmann::ordered_json ordered(const Pairs& pairs) {
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  for (const auto& [key, value] : pairs) object[key] = value;
  return object;
}

/// Everything that is written besides the pictures: gathered once, used by report.json and report.html.
struct Results {
  mri::ReconResult recon;
  std::optional<data::ImageSeries> reference;
  std::optional<Comparison> comparison;
  std::vector<std::string> files;
  double total_seconds = 0;
};

nlohmann::ordered_json results_json(const Arguments& a, const data::ScanSource& scan, const Results& results) {
  const auto& header = scan.header();
  nlohmann::ordered_json json;
  json["scan"] = a.scan;
  json["format"] = header.format;
  json["method"] = mri::method_name(results.recon.method);
  json["reason"] = results.recon.reason;
  json["images"] = results.recon.images.size();
  json["shape"] = results.recon.images.pixels.sizes().vec();
  json["axes"] = "image, z, y, x";
  json["field_of_view_mm"] = results.recon.images.field_of_view_mm;
  json["parameters"] = ordered(results.recon.parameters);
  json["seconds"] = results.recon.seconds;
  json["seconds"]["total"] = results.total_seconds;
  json["memory_estimate_bytes"] = results.recon.peak_memory_estimate_bytes;
  if (results.comparison) json["metrics"] = to_json(*results.comparison);
  auto warnings = header.warnings;
  warnings.insert(warnings.end(), results.recon.warnings.begin(), results.recon.warnings.end());
  json["warnings"] = warnings;
  json["files"] = results.files;
  json["provenance"] = provenance();
  return json;
}

std::string results_html(const Arguments& a, const data::ScanSource& scan, const Results& results) {
  const auto& header = scan.header();
  report::ReportContent page;
  page.title = a.scan == "-" ? "stream" : fs::path(a.scan).filename().string();
  page.method = fmt::format("{}: {}", mri::method_name(results.recon.method), results.recon.reason);
  page.images = results.recon.images;
  page.reference = results.reference;
  if (results.comparison) page.metrics = results.comparison->sets;
  const auto space = [](const data::EncodingSpace& s) {
    return fmt::format("{} over {:.4g} mm", fmt::join(s.matrix, " × "), fmt::join(s.field_of_view_mm, " × "));
  };
  page.tables.push_back({"Scan",
                         {{"format", header.format},
                          {"scanner", header.vendor + " " + header.model},
                          {"protocol", header.protocol},
                          {"field strength", fmt::format("{:.3g} T", header.field_strength_T)},
                          {"coils", fmt::format("{}", header.coils)},
                          {"encoded", space(header.encoded)},
                          {"reconstructed", space(header.recon)}}});
  page.tables.push_back({"Parameters", results.recon.parameters});
  report::Facts timings;
  for (const auto& [stage, seconds] : results.recon.seconds) timings.emplace_back(stage, duration_text(seconds));
  page.tables.push_back({"Timings", timings});
  report::Facts origin;
  for (const auto& [key, value] : provenance()) origin.emplace_back(key, value);
  page.tables.push_back({"Provenance", origin});
  page.warnings = header.warnings;
  page.warnings.insert(page.warnings.end(), results.recon.warnings.begin(), results.recon.warnings.end());
  if (results.recon.sensitivities.defined()) {
    const auto& maps = results.recon.sensitivities;
    page.coil_maps = maps.select(0, 0).select(1, maps.size(2) / 2);
  }
  return report::render_report(page);
}

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  check<DataError>(!file.fail(), [&] { return path.string() + ": cannot be written (disk full?)"; });
}

void write_outputs(const Arguments& a, const data::ScanSource& scan, Results& results) {
  const auto wanted = [&a](const char* format) {
    return std::find(a.formats.begin(), a.formats.end(), format) != a.formats.end();
  };
  OutputFolder out(a.out);
  const auto path = [&](const std::string& name) {
    results.files.push_back((out.destination() / name).string());
    return out.path(name);
  };
  const auto& images = results.recon.images;
  const auto write_nifti = [&](const data::ImageSeries& series, const std::string& stem) {
    const auto stacked = data::stack_volumes(series);
    for (const auto& warning : stacked.warnings) results.recon.warnings.push_back(warning);
    for (const auto& volume : stacked.volumes) {
      data::save_nifti(path(stem + volume.suffix + ".nii.gz"), volume, "monarch " + version());
    }
  };
  if (wanted("h5")) data::save_ismrmrd_images(path("image.h5"), images);
  if (wanted("nii")) write_nifti(images, "image");
  if (wanted("npy")) data::save_npy(path("image.npy"), images.pixels);
  if (wanted("png")) {
    const auto window = data::display_window(images.pixels);
    for (const auto& picture : data::pictures(images)) {
      data::save_png(path(picture.name), images.pixels[picture.image][picture.z], window);
    }
    data::save_png(path("contact_sheet.png"), data::contact_sheet(images, window), {0, 255});
  }
  if (results.recon.g_factor) {
    if (wanted("nii")) write_nifti(*results.recon.g_factor, "g_factor");
    if (wanted("npy")) data::save_npy(path("g_factor.npy"), results.recon.g_factor->pixels);
    if (wanted("png")) {
      const auto& map = *results.recon.g_factor;
      data::save_png(path("g_factor.png"), data::contact_sheet(map, data::display_window(map.pixels)), {0, 255});
    }
  }
  if (wanted("html")) write_text(path("report.html"), results_html(a, scan, results));
  const fs::path json = path("report.json");
  write_text(json, results_json(a, scan, results).dump(2) + "\n");
  out.commit();
}

void run(const CLI::App& command, Arguments& a) {
  settle_options(command, a);
  const auto start = Clock::now();
  const bool stream = a.scan == "-";
  const bool stream_out = stream && a.out.empty();
  if (a.out.empty() && !stream) a.out = fs::path(a.scan).stem().string() + "_recon";

  data::ScanStream input;
  if (stream) {
    input = data::read_scan_stream(std::cin, a.scan_options);
  } else {
    input.scan = data::open_scan(a.scan, a.scan_options);
  }
  const std::unique_ptr<data::ScanSource>& scan = input.scan;
  for (const auto& warning : scan->header().warnings) log::warning(warning);
  Results results;
  results.reference = load_reference(a, *scan);
  results.recon = mri::reconstruct(*scan, a.recon, [](const std::string& text) { log::info(text); });
  for (const auto& warning : results.recon.warnings) log::warning(warning);
  if (results.reference) {
    try {
      results.comparison = compare_images(results.recon.images, *results.reference, a.crop_reference);
    } catch (const ShapeError& error) {
      log::warning("no comparison with the reference: " + error.message());
    }
  }
  results.total_seconds = std::chrono::duration<double>(Clock::now() - start).count();

  if (stream_out) {
    data::StreamWriter writer(std::cout);
    writer.header(input.header_xml);
    for (int64_t i = 0; i < results.recon.images.size(); ++i) writer.image(results.recon.images, i);
    writer.close();
    return;
  }
  write_outputs(a, *scan, results);
  if (a.json) {
    fmt::print("{}\n", results_json(a, *scan, results).dump(2));
    return;
  }
  if (results.comparison) print_comparison(*results.comparison);
  std::vector<std::pair<std::string, std::string>> rows = {
      {"images", fmt::format("{} × {} × {} × {}  [image, z, y, x]", results.recon.images.pixels.size(0),
                             results.recon.images.pixels.size(1), results.recon.images.pixels.size(2),
                             results.recon.images.pixels.size(3))},
      {"method", mri::method_name(results.recon.method)},
      {"time", duration_text(results.total_seconds)},
      {"written to", a.out}};
  print_table(rows);
}

}  // namespace

void add_recon(CLI::App& app) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("recon", "Images from a raw scan (ISMRMRD, fastMRI, BART cfl, NumPy)");
  command->add_option("scan", a->scan, "Scan file; - reads an ISMRMRD stream from stdin")->required();
  command->add_option("-o,--out", a->out, "Output folder (default: <scan>_recon; with -: images stream to stdout)");
  command->add_option("-c,--config", a->config, "TOML file with options; the command line wins");

  const char* recon = "Reconstruction";
  command->add_option("-m,--method", a->method, "auto, rss, sense, cg-sense, l1-wavelet, tv, grappa, or with --model msense, modl, varnet …")->group(recon);
  command->add_option("--model", a->model, "A network trained by `monarch train`: its run folder or a checkpoint")
      ->group(recon);
  command->add_option("--lambda", a->lambda, "Regularisation weight")->check(CLI::NonNegativeNumber)->group(recon);
  command->add_option("--iterations", a->iterations, "Iterations")->check(CLI::Range(1, 100000))->group(recon);
  command->add_option("--tolerance", a->recon.tolerance, "Stop at this relative residual (0: never)")
      ->check(CLI::NonNegativeNumber)
      ->group(recon);
  command->add_option("--wavelet", a->recon.wavelet_order, "Daubechies order for l1-wavelet")
      ->check(CLI::Range(1, 10))
      ->group(recon);
  command->add_option("--partial-fourier", a->partial_fourier, "zero or pocs")->group(recon);
  command->add_option("--density", a->density, "Non-Cartesian density compensation: pipe-menon, ramp or none")
      ->group(recon);
  command->add_option("--slices", a->slices, "Only these slices, such as 0,3-5")->group(recon);
  command->add_option("--seed", a->recon.seed, "Seed of the random wavelet shifts")->group(recon);

  const char* coils = "Coils";
  command->add_option("--maps", a->maps, "Sensitivities by espirit or walsh, stored in the file, or auto: stored, else espirit")->group(coils);
  command->add_option("--map-count", a->recon.map_count, "ESPIRiT maps")->check(CLI::Range(1, 8))->group(coils);
  command->add_option("--calibration", a->recon.calibration_size, "Largest extent of the calibration region")
      ->check(CLI::Range(4, 1024))
      ->group(coils);
  command->add_option("--kernel", a->recon.kernel_size, "ESPIRiT kernel extent")
      ->check(CLI::Range(2, 16))
      ->group(coils);
  command->add_option("--crop", a->recon.crop_threshold, "ESPIRiT eigenvalue below which maps are zero")
      ->check(CLI::Range(0.0, 1.0))
      ->group(coils);
  command
      ->add_option("--threshold", a->recon.singular_threshold,
                   "ESPIRiT threshold on singular values S_i/S_0 (BART's -t is its square)")
      ->check(CLI::Range(0.0, 1.0))
      ->group(coils);
  command->add_option("--compress", a->recon.virtual_coils, "Virtual coils by SVD compression (0: off)")
      ->check(CLI::NonNegativeNumber)
      ->group(coils);
  command->add_flag("--no-prewhiten", a->no_prewhiten, "Ignore noise readouts")->group(coils);
  command->add_option("--noise", a->noise, "Take noise readouts from another scan file")->group(coils);

  const char* reading = "Reading";
  command->add_option("--dataset", a->scan_options.dataset, "Measurement (HDF5 group)")->group(reading);
  command->add_option("--encoding", a->scan_options.encoding, "Encoding space")->group(reading);
  command
      ->add_option("--centre,--center", a->centre, "k-space centre in step 1 (and step 2) counts, against the header")
      ->expected(1, 2)
      ->group(reading);
  command->add_option("--conjugate", a->conjugate, "Sign of the Fourier exponent: auto, yes or no")
      ->check(CLI::IsMember({"auto", "yes", "no"}))
      ->group(reading);
  command->add_option("--trajectory", a->scan_options.trajectory, "Where the samples lie: .npy [readout, sample, axis]")
      ->group(reading);
  command
      ->add_option("--trajectory-unit", a->trajectory_unit,
                   "auto, cycles (per field of view), normalised (to 1/2) or radians (to pi)")
      ->group(reading);
  command->add_option("--matrix", a->matrix, "Pixels x, y, z of a non-Cartesian scan without a header")
      ->expected(1, 3)
      ->check(CLI::Range(1, 65535))
      ->group(reading);
  command->add_option("--assume-recon-space", a->assume_recon, "'encoded': go on where the header lacks reconSpace")
      ->group(reading);

  const char* output = "Output";
  command->add_option("--formats", a->formats, "Which of h5,nii,npy,png,html to write")->delimiter(',')->group(output);
  command->add_flag("--complex", a->recon.complex_images, "Complex images instead of magnitudes")->group(output);
  command->add_option("--reference", a->reference, "Image file to compare with")->group(output);
  command->add_flag("--crop-reference", a->crop_reference, "Compare the common centre where extents differ")
      ->group(output);
  command->add_option("--memory", a->memory_gib, "Memory limit in GiB (default: what is free)")
      ->check(CLI::NonNegativeNumber)
      ->group(output);
  command->add_flag("--json", a->json, "report.json on stdout")->group(output);
  command->callback([a, command] { run(*command, *a); });
}

}  // namespace monarch::apps
