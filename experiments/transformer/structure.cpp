#include "monarch/experiments/transformer/structure.hpp"

namespace monarch::experiments {

using operators::MonarchInit;

StructureOptions StructureOptions::from_config(const Config& config) {
  StructureOptions options;
  options.kind =
      config.choice<Kind>("model.layers.kind", "dense", {{"dense", Kind::dense}, {"monarch", Kind::monarch}});
  if (options.kind == Kind::dense) return options;
  options.pattern = config.text("model.layers.pattern", options.pattern);
  options.project = config.boolean("model.layers.project", options.project);
  options.nblocks = config.integer_at_least("model.layers.nblocks", options.nblocks, 1);
  options.init = config.choice<Init>("model.layers.init", "like-dense",
                                     {{"like-dense", Init::like_dense},
                                      {"dense-matching", Init::dense_matching},
                                      {"fly", Init::fly},
                                      {"mup", Init::mup}});
  return options;
}

operators::ConversionReport apply_structure(torch::nn::Module& model, const StructureOptions& options,
                                            const StructurePresets& presets) {
  if (options.kind == StructureOptions::Kind::dense) return {};
  const auto preset = presets.find(options.pattern);
  const std::string& pattern = preset == presets.end() ? options.pattern : preset->second;
  operators::ConvertOptions convert;
  convert.layer.nblocks = options.nblocks;
  convert.project = options.project;
  convert.like_dense = options.init == StructureOptions::Init::like_dense;
  switch (options.init) {
    case StructureOptions::Init::like_dense:
    case StructureOptions::Init::dense_matching:
      convert.layer.init = MonarchInit::dense_matching;
      break;
    case StructureOptions::Init::fly:
      convert.layer.init = MonarchInit::fly;
      break;
    case StructureOptions::Init::mup:
      convert.layer.init = MonarchInit::mup;
      break;
  }
  return operators::to_monarch(model, pattern, convert);
}

}  // namespace monarch::experiments
