// monarch compare A B: image quality by the published definitions.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "command.hpp"
#include "monarch/core/log.hpp"
#include "monarch/data/image_io.hpp"

namespace monarch::apps {
namespace {

nlohmann::json number(double value) {
  if (std::isfinite(value)) return value;
  return value > 0 ? "inf" : "-inf";  // JSON has no infinity
}

}  // namespace

Comparison compare_images(const data::ImageSeries& image, const data::ImageSeries& reference, bool crop) {
  Comparison comparison;
  const auto aligned = mri::align_for_comparison(image, reference, {.crop = crop});
  comparison.notes = aligned.notes;
  comparison.sets = {mri::fastmri_metrics(aligned.image, aligned.reference),
                     mri::meddlr_metrics(aligned.image, aligned.reference),
                     mri::bart_metrics(aligned.image, aligned.reference)};
  const auto fitted = mri::align_for_comparison(image, reference, {.crop = crop, .fit_scale = true});
  comparison.fitted_nrmse = mri::nrmse(fitted.image, fitted.reference);
  return comparison;
}

void print_comparison(const Comparison& comparison) {
  for (const auto& note : comparison.notes) log::info("note: " + note);
  for (const auto& set : comparison.sets) {
    fmt::print("{} ({})\n", set.convention, set.source);
    for (const auto& metric : set.metrics) {
      fmt::print("  {:<12} {:>12.6g} {:<3} {}\n", metric.name, metric.value, metric.unit, metric.definition);
    }
    for (const auto& note : set.notes) fmt::print("  note: {}\n", note);
  }
  fmt::print("after the best scale factor\n  {:<12} {:>12.6g}\n", "NRMSE", comparison.fitted_nrmse);
}

nlohmann::json to_json(const Comparison& comparison) {
  nlohmann::json sets = nlohmann::json::array();
  for (const auto& set : comparison.sets) {
    nlohmann::json metrics = nlohmann::json::array();
    for (const auto& metric : set.metrics) {
      metrics.push_back({{"name", metric.name},
                         {"value", number(metric.value)},
                         {"unit", metric.unit},
                         {"definition", metric.definition}});
    }
    sets.push_back(
        {{"convention", set.convention}, {"source", set.source}, {"metrics", metrics}, {"notes", set.notes}});
  }
  return {
      {"conventions", sets}, {"nrmse_after_best_scale", number(comparison.fitted_nrmse)}, {"notes", comparison.notes}};
}

void add_compare(CLI::App& app) {
  struct Arguments {
    std::string image, reference;
    bool crop = false, json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("compare", "NRMSE, PSNR and SSIM of two images");
  command->add_option("image", arguments->image, "Image file (ISMRMRD, fastMRI, NIfTI, NumPy, cfl, PNG)")->required();
  command->add_option("reference", arguments->reference, "Image file taken as the truth")->required();
  command->add_flag("--crop", arguments->crop, "Compare the common centre where extents differ");
  command->add_flag("--json", arguments->json, "JSON on stdout");
  command->callback([arguments] {
    const auto comparison =
        compare_images(data::load_images(arguments->image), data::load_images(arguments->reference), arguments->crop);
    if (arguments->json) {
      nlohmann::json result = to_json(comparison);
      result["image"] = arguments->image;
      result["reference"] = arguments->reference;
      fmt::print("{}\n", result.dump(2));
    } else {
      print_comparison(comparison);
    }
  });
}

}  // namespace monarch::apps
