#include "monarch/experiments/transformer/structure.hpp"

#include "monarch/core/error.hpp"

namespace monarch::experiments {
namespace {

using Kind = StructureOptions::Kind;
using Init = StructureOptions::Init;

operators::MonarchInit monarch_init(Init init) {
  switch (init) {
    case Init::fly:
      return operators::MonarchInit::fly;
    case Init::mup:
      return operators::MonarchInit::mup;
    case Init::like_dense:
    case Init::dense_matching:
      break;
  }
  return operators::MonarchInit::dense_matching;
}

}  // namespace

StructureOptions StructureOptions::from_config(const Config& config) {
  StructureOptions options;
  options.kind = config.choice<Kind>("model.layers.kind", "dense",
                                     {{"dense", Kind::dense},
                                      {"monarch", Kind::monarch},
                                      {"block-diagonal", Kind::block_diagonal},
                                      {"low-rank", Kind::low_rank}});
  if (options.kind == Kind::dense) return options;
  options.pattern = config.text("model.layers.pattern", options.pattern);
  options.project = config.boolean("model.layers.project", options.project);
  options.nblocks = config.integer_at_least("model.layers.nblocks", options.nblocks, 1);
  if (options.kind == Kind::low_rank) options.rank = config.integer_at_least("model.layers.rank", options.rank, 0);
  options.init = config.choice<Init>("model.layers.init", "like-dense",
                                     {{"like-dense", Init::like_dense},
                                      {"dense-matching", Init::dense_matching},
                                      {"fly", Init::fly},
                                      {"mup", Init::mup}});
  check<ConfigError>(
      options.kind == Kind::monarch || options.init == Init::like_dense || options.init == Init::fly,
      [&] {
        return config.name() + ": this model.layers.init is for Monarch layers, and model.layers.kind is another";
      },
      "take \"like-dense\" or \"fly\"");
  return options;
}

operators::ConversionReport apply_structure(torch::nn::Module& model, const StructureOptions& options,
                                            const StructurePresets& presets) {
  const auto preset = presets.find(options.pattern);
  const std::string& pattern = preset == presets.end() ? options.pattern : preset->second;
  const bool like_dense = options.init == Init::like_dense;
  const operators::BaselineOptions baseline{.project = options.project, .like_dense = like_dense};
  switch (options.kind) {
    case Kind::dense:
      return {};
    case Kind::block_diagonal:
      return operators::to_block_diagonal(model, pattern, options.nblocks, baseline);
    case Kind::low_rank:
      return operators::to_low_rank(model, pattern, options.rank, options.nblocks, baseline);
    case Kind::monarch:
      break;
  }
  operators::ConvertOptions convert;
  convert.layer.nblocks = options.nblocks;
  convert.layer.init = monarch_init(options.init);
  convert.project = options.project;
  convert.like_dense = like_dense;
  return operators::to_monarch(model, pattern, convert);
}

}  // namespace monarch::experiments
