#include "monarch/mri/neural/reconstruction_model.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::mri {
namespace {

using Maker = std::function<ReconstructionModelPtr(const Config&, const SliceShape&)>;

const std::vector<std::pair<std::string, Maker>>& makers() {
  const auto unrolled = [](const char* preset) {
    return [preset](const Config& c, const SliceShape& s) { return make_unrolled(c, s, preset); };
  };
  static const std::vector<std::pair<std::string, Maker>> all{
      {"sense", make_sense},
      {"msense", make_msense},
      {"density-sense", make_density_sense},
      {"cg-sense", make_cg_sense},
      {"l1-wavelet", make_l1_wavelet},
      {"u-net", make_image_unet},
      {"unrolled", unrolled("unrolled")},
      {"modl", unrolled("modl")},
      {"patch", unrolled("patch")},
      {"varnet", make_varnet},
  };
  return all;
}

bool undecayed(const std::string& name) {
  for (const char* part : {"shrinkage.", "step_size", "penalty"})
    if (name.find(part) != std::string::npos) return true;
  return false;
}

}  // namespace

void ReconstructionModel::check_fit(const SliceBatch& batch) const {
  batch.check();
  const int64_t ny = batch.kspace.size(2), nx = batch.kspace.size(3);
  check<ShapeError>(
      !fixed_extents() || (ny == shape_.ny && nx == shape_.nx),
      [&] {
        return fmt::format("{}: its weights belong to slices of {} × {}, these are {} × {} [y, x]", describe(),
                           shape_.ny, shape_.nx, ny, nx);
      },
      fmt::format(
          "train a model on slices of {} × {}, or take one that fits any size (unrolled, modl, patch, varnet, u-net)",
          ny, nx));
  const int64_t least = smallest_extent();
  check<ShapeError>(ny >= least && nx >= least, [&] {
    return fmt::format("{}: needs slices of {} × {} at least, these are {} × {}", describe(), least, least, ny, nx);
  });
}

std::vector<std::string> reconstruction_model_names() {
  std::vector<std::string> names;
  for (const auto& [name, maker] : makers()) names.push_back(name);
  return names;
}

ReconstructionModelPtr make_reconstruction_model(const Config& config, const SliceShape& shape) {
  const std::string name = config.text("model.name");
  for (const auto& [known, make] : makers())
    if (known == name) return make(config, shape);
  const std::string near = closest_match(name, reconstruction_model_names());
  fail<ConfigError>(fmt::format("{}: model.name = \"{}\" is unknown{}", config.name(), name,
                                near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near)),
                    join_or(reconstruction_model_names()));
}

std::vector<operators::ParameterGroup> model_parameter_groups(const torch::nn::Module& model, bool decay_transforms) {
  auto groups = operators::parameter_groups(model);
  std::map<const void*, double> multipliers;
  for (const auto& module : model.modules())
    if (const auto* transform = dynamic_cast<const operators::PlaneTransform*>(module.get()))
      for (const at::Tensor& weight : transform->parameters())
        multipliers[weight.unsafeGetTensorImpl()] = transform->options().lr_multiplier;
  for (auto& group : groups) {
    const bool transform = group.name.rfind("transform", 0) == 0;
    if (transform ? !decay_transforms : undecayed(group.name)) group.weight_decay = false;
    if (transform && decay_transforms) group.weight_decay = true;
    const auto multiplier = multipliers.find(group.tensor.unsafeGetTensorImpl());
    if (multiplier != multipliers.end()) group.lr_multiplier = multiplier->second;
  }
  return groups;
}

int64_t model_parameter_count(const torch::nn::Module& model) {
  int64_t count = 0;
  for (const at::Tensor& p : model.parameters())
    if (p.requires_grad()) count += p.numel() * (p.is_complex() ? 2 : 1);
  return count;
}

operators::LinearFactory layer_factory(const Config& config) {
  const bool monarch = config.choice<bool>("model.layers", "dense", {{"dense", false}, {"monarch", true}});
  if (!monarch) return operators::dense_layers();
  operators::MonarchLinearOptions options;
  options.nblocks = config.integer_at_least("model.nblocks", 4, 1);
  const auto make = operators::monarch_layers(options);
  const int64_t blocks = options.nblocks;
  // The first and the last layer of a network have two channels: nothing to save there.
  return [make, blocks](const operators::LinearSpec& spec) {
    return spec.out < 2 * blocks || spec.in < 2 * blocks ? operators::dense_layers()(spec) : make(spec);
  };
}

operators::PlaneOptions read_plane_options(const Config& config, const std::string& table, const std::string& kind,
                                           const SliceShape& shape) {
  operators::PlaneOptions options;
  options.kind = kind == "monarch" ? operators::PlaneKind::monarch
                 : kind == "dense" ? operators::PlaneKind::dense
                                   : operators::PlaneKind::weights;
  if (config.boolean(table + ".per_contrast", false)) options.sets = shape.contrasts;
  if (config.boolean(table + ".per_coil", false)) options.coils = shape.coils;
  options.lr_multiplier = config.number_between(table + ".lr_multiplier", 1, 0, 1e3);
  options.tied_axes = config.boolean(table + ".tied_axes", false);
  const auto image = config.numbers(table + ".image", {});
  check<ConfigError>(image.empty() || image.size() == 2, [&] {
    return fmt::format("{}: {}.image has {} numbers, expected the rows and columns of the image", config.name(), table,
                       image.size());
  });
  if (!image.empty()) options.image = {static_cast<int64_t>(image[0]), static_cast<int64_t>(image[1])};
  return options;
}

EncodingFactory read_encoding(const Config& config, const SliceShape& shape, torch::nn::Module& model,
                              std::shared_ptr<operators::PlaneTransform>& transform) {
  const std::string kind = config.choice<std::string>(
      "model.encoding", "fourier",
      {{"fourier", "fourier"}, {"monarch", "monarch"}, {"dense", "dense"}, {"weights", "weights"}});
  if (kind == "fourier") return fourier_encoding();
  transform = std::make_shared<operators::PlaneTransform>(shape.ny, shape.nx,
                                                          read_plane_options(config, "model.transform", kind, shape));
  model.register_module("transform", transform);
  return learned_encoding(transform);
}

double normal_macs(const SliceShape& shape, const operators::PlaneTransform* transform) {
  const double points = static_cast<double>(shape.ny * shape.nx);
  const double once = transform ? transform->macs() : 2.5 * points * std::log2(points);
  return static_cast<double>(shape.coils) * (2 * once + 8 * points);
}

}  // namespace monarch::mri
