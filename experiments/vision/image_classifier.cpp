#include "monarch/experiments/vision/image_classifier.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "monarch/core/error.hpp"

namespace monarch::experiments {

std::map<std::string, at::Tensor> ImageFormat::constants() const {
  const data::Extent stored = extent.value_or(data::Extent{0, 0});
  const std::string names = fmt::format("{}", fmt::join(classes, "\n"));
  at::Tensor bytes = at::empty({static_cast<int64_t>(names.size())}, at::kByte);
  std::memcpy(bytes.data_ptr<uint8_t>(), names.data(), names.size());
  return {{"image_shape", at::tensor(std::vector<int64_t>{channels, stored.height, stored.width})},
          {"class_names", bytes}};
}

ImageFormat ImageFormat::restore(const training::NamedTensors& constants, const std::string& origin) {
  const auto find = [&](const std::string& name, at::ScalarType dtype) {
    const auto at = std::find_if(constants.begin(), constants.end(), [&](const auto& c) { return c.first == name; });
    check<DataError>(
        at != constants.end() && at->second.dim() == 1 && at->second.scalar_type() == dtype,
        [&] { return fmt::format("{}: no '{}' among the constants", origin, name); },
        "it is no checkpoint of a classifier of images");
    return at->second.contiguous();
  };
  const at::Tensor shape = find("image_shape", at::kLong), bytes = find("class_names", at::kByte);
  check<DataError>(shape.numel() == 3, origin + ": 'image_shape' needs three numbers");
  ImageFormat format;
  format.channels = shape[0].item<int64_t>();
  check<DataError>(format.channels == 1 || format.channels == 3, origin + ": images need 1 or 3 channels");
  const data::Extent stored{shape[1].item<int64_t>(), shape[2].item<int64_t>()};
  if (stored.height > 0) format.extent = stored;
  const std::string_view names{reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>()),
                               static_cast<size_t>(bytes.numel())};
  for (size_t at = 0; at <= names.size();) {
    const size_t end = std::min(names.find('\n', at), names.size());
    format.classes.emplace_back(names.substr(at, end - at));
    at = end + 1;
  }
  return format;
}

ImageClassifier::ImageClassifier(ImageFormat format, data::ImageTransform transform, std::shared_ptr<VisionModel> model)
    : format_(std::move(format)), transform_(std::move(transform)), model_(std::move(model)) {}

ImageClassifier ImageClassifier::restore(const training::TrainingCheckpoint& checkpoint, const std::string& origin) {
  const Config config = Config::parse(checkpoint.state.at("config").get<std::string>(), origin + ": config");
  ImageFormat format = ImageFormat::restore(checkpoint.constants, origin);
  const auto options = data::TransformOptions::from_config(config, format.channels, format.extent);
  auto model = make_vision_model(config, {format.channels, options.size, options.size},
                                 static_cast<int64_t>(format.classes.size()));
  training::load_model(*model, checkpoint, origin);
  model->eval();
  const data::ImageTransform transform(options, format.channels);
  return {std::move(format), transform, std::move(model)};
}

at::Tensor ImageClassifier::probabilities(const at::Tensor& image, const std::string& name) const {
  const at::NoGradGuard guard;
  return model_->forward(transform_.evaluate(image, name).unsqueeze(0)).to(at::kFloat).softmax(1).squeeze(0);
}

}  // namespace monarch::experiments
