#include "monarch/experiments/vision/vision_model.hpp"

#include "monarch/experiments/transformer/weights.hpp"
#include "monarch/experiments/vision/mixer.hpp"
#include "monarch/experiments/vision/vit.hpp"

namespace monarch::experiments {
namespace {

template <class Model, class Options>
std::shared_ptr<VisionModel> make(const Config& config, const ImageShape& shape, int64_t classes) {
  const auto model = std::make_shared<Model>(Options::from_config(config), shape, classes);
  prepare_model(*model, config, Model::structure_presets(), Model::weight_names);
  return model;
}

}  // namespace

std::shared_ptr<VisionModel> make_vision_model(const Config& config, const ImageShape& shape, int64_t classes) {
  enum class Family { vit, mixer };
  const Family family = config.choice<Family>("model.name", "vit-s16",
                                              {{"vit-s16", Family::vit},
                                               {"vit-b16", Family::vit},
                                               {"vit", Family::vit},
                                               {"mixer-s16", Family::mixer},
                                               {"mixer-b16", Family::mixer},
                                               {"mixer", Family::mixer}});
  return family == Family::vit ? make<Vit, VitOptions>(config, shape, classes)
                               : make<Mixer, MixerOptions>(config, shape, classes);
}

}  // namespace monarch::experiments
