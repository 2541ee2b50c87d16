#include "monarch/mri/learning/learned_reconstruction.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/mri/learning/slices.hpp"

namespace monarch::mri {

LearnedReconstruction LearnedReconstruction::load(const std::filesystem::path& path) {
  const auto checkpoint = training::load_training_checkpoint(path);
  const std::string origin = path.string();
  check<DataError>(
      checkpoint.state.contains("config"), [&] { return fmt::format("{}: the checkpoint holds no config", origin); },
      "give the folder of a run of `monarch train`");
  const Config config = Config::parse(checkpoint.state["config"].get<std::string>(), origin);
  check<DataError>(
      config.text("task.kind", "") == "reconstruction",
      [&] {
        return fmt::format("{}: its model solves '{}', not reconstruction", origin, config.text("task.kind", ""));
      },
      "`monarch predict` is for models of fields");
  at::Tensor shape;
  for (const auto& [name, tensor] : checkpoint.constants)
    if (name == "slice_shape") shape = tensor.to(at::kLong).contiguous();
  check<DataError>(shape.defined() && shape.numel() == 4, [&] {
    return fmt::format("{}: the checkpoint does not say what slices it was trained on", origin);
  });
  const int64_t* s = shape.const_data_ptr<int64_t>();
  check<DataError>(
      s[0] >= 1 && s[1] >= 1 && s[2] >= 1 && s[3] >= 1 && s[0] < 65536 && s[1] < 65536 && s[2] < 4096 && s[3] < 65536,
      [&] {
        return fmt::format("{}: slices of shape {}", origin, shape_text({s, 4}));
      });
  LearnedReconstruction r;
  SliceShape slices;
  slices.ny = s[0];
  slices.nx = s[1];
  slices.coils = s[2];
  slices.contrasts = s[3];
  r.model_ = make_reconstruction_model(config, slices);
  training::load_model(*r.model_, checkpoint, origin);
  r.model_->eval();
  const SliceOptions options = SliceOptions::from_config(config);
  r.scale_ = options.scale;
  r.name_ = config.text("model.name");
  r.training_ = options.mask.stored.empty() ? fmt::format("{} masks at {:g}×", mask_kind_name(options.mask.mask.kind),
                                                          fmt::join(options.mask.accelerations, "×, "))
                                            : fmt::format("masks '{}'", options.mask.stored);
  return r;
}

at::Tensor LearnedReconstruction::reconstruct(const at::Tensor& kspace, const at::Tensor& mask, const at::Tensor& maps,
                                              int64_t contrast) const {
  const at::NoGradGuard guard;
  SliceBatch batch;
  batch.kspace = kspace.unsqueeze(0).contiguous();
  batch.mask = mask.unsqueeze(0).contiguous();
  batch.maps = maps.unsqueeze(0).contiguous();
  batch.contrast = {contrast};
  model_->check_fit(batch);
  const double scale = slice_scale(kspace, maps, scale_);
  batch.kspace = batch.kspace / scale;
  return model_->forward(batch)[0] * scale;
}

}  // namespace monarch::mri
