#include "monarch/mri/learning/options.hpp"

#include <fmt/format.h>

#include <cmath>

#include "monarch/core/error.hpp"

namespace monarch::mri {
namespace {

MaskSettings read_mask(const Config& config) {
  MaskSettings m;
  m.accelerations = config.numbers("data.mask.acceleration", m.accelerations);
  check<ConfigError>(!m.accelerations.empty(),
                     [&] { return fmt::format("{}: 'data.mask.acceleration' is empty", config.name()); });
  for (const double r : m.accelerations) {
    check<ConfigError>(r >= 1 && std::isfinite(r), [&] {
      return fmt::format("{}: 'data.mask.acceleration' holds {}, expected numbers from 1 on", config.name(), r);
    });
  }
  m.stored = config.text("data.mask.stored", "");
  m.mask.kind = parse_mask_kind(config.text("data.mask.kind", mask_kind_name(m.mask.kind)));
  m.mask.centre_fraction = config.number("data.mask.centre_fraction", m.mask.centre_fraction);
  m.mask.calibration = config.integer_at_least("data.mask.calibration", m.mask.calibration, 0);
  m.mask.density = config.number_between("data.mask.density", m.mask.density, 0, 8);
  m.mask.elliptical = config.boolean("data.mask.elliptical", m.mask.elliptical);
  m.seed = static_cast<uint64_t>(config.integer_at_least("data.mask.seed", 0, 0));
  return m;
}

Augmentation read_augmentation(const Config& config) {
  Augmentation a;
  a.shift = config.boolean("data.augment.shift", a.shift);
  a.flip = config.boolean("data.augment.flip", a.flip);
  a.noise = config.number_between("data.augment.noise", a.noise, 0, 10);
  a.motion = config.number_between("data.augment.motion", a.motion, 0, 1000);
  a.motion_parts = config.integer_at_least("data.augment.motion_parts", a.motion_parts, 2);
  return a;
}

}  // namespace

SliceOptions SliceOptions::from_config(const Config& config) {
  SliceOptions o;
  o.train = config.texts("data.train", {});
  o.validation = config.texts("data.validation", {});
  o.test = config.texts("data.test", {});
  o.train_scans = config.integer_at_least("data.train_scans", 0, 0);
  o.first_slice = config.integer_at_least("data.first_slice", 0, 0);
  o.slice_count = config.integer_at_least("data.slice_count", 0, 0);
  o.slice_stride = config.integer_at_least("data.slice_stride", 1, 1);
  for (const double c : config.numbers("data.contrasts", {})) o.contrasts.push_back(static_cast<int64_t>(c));
  o.coils = config.integer_at_least("data.coils", 0, 0);
  o.maps = config.choice<TrainingMaps>(
      "data.maps", "stored",
      {{"stored", TrainingMaps::stored}, {"espirit", TrainingMaps::espirit}, {"walsh", TrainingMaps::walsh}});
  o.calibration = config.integer_at_least("data.calibration", o.calibration, 6);
  const auto extents = [&config](const char* key) -> std::optional<std::array<int64_t, 2>> {
    const auto numbers = config.numbers(key, {});
    check<ConfigError>(numbers.empty() || (numbers.size() == 2 && numbers[0] >= 1 && numbers[1] >= 1), [&] {
      return fmt::format("{}: '{}' takes rows and columns, such as [320, 320]", config.name(), key);
    });
    if (numbers.empty()) return std::nullopt;
    return std::array<int64_t, 2>{static_cast<int64_t>(numbers[0]), static_cast<int64_t>(numbers[1])};
  };
  o.matrix = extents("data.matrix");
  o.crop = extents("data.crop");
  o.scale = config.choice<SliceScale>(
      "data.normalise", "percentile95",
      {{"percentile95", SliceScale::percentile}, {"max", SliceScale::maximum}, {"none", SliceScale::none}});
  o.memory_bytes = config.number_between("data.memory_gib", 0, 0, 1e6) * 1073741824.0;
  o.mask = read_mask(config);
  o.augment = read_augmentation(config);
  return o;
}

ReconstructionOptions ReconstructionOptions::from_config(const Config& config) {
  ReconstructionOptions o;
  o.loss = config.text("task.loss", o.loss);
  o.supervision = config.choice<Supervision>("task.supervision", "full",
                                             {{"full", Supervision::full}, {"ssdu", Supervision::ssdu}});
  if (o.supervision == Supervision::ssdu) {
    o.ssdu_fraction = config.number_between("task.ssdu_fraction", o.ssdu_fraction, 0.01, 0.99);
    o.ssdu_centre = config.integer_at_least("task.ssdu_centre", o.ssdu_centre, 0);
  }
  if (o.supervision == Supervision::ssdu) o.selection = "loss";
  o.selection = config.choice<std::string>("task.selection", o.selection, {{"nrmse", "nrmse"}, {"loss", "loss"}});
  o.evaluation_batch = config.integer_at_least("task.evaluation_batch", o.evaluation_batch, 1);
  o.decay_transforms = config.boolean("task.decay_transforms", o.decay_transforms);
  o.pictures = config.boolean("task.pictures", o.pictures);
  return o;
}

}  // namespace monarch::mri
