// monarch predict RUN IMAGE…: the classes of image files.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "command.hpp"
#include "monarch/data/images/decode.hpp"
#include "monarch/experiments/vision/image_classifier.hpp"
#include "predict.hpp"

namespace monarch::apps {

void predict_images(const training::TrainingCheckpoint& checkpoint, const std::string& origin,
                    const std::vector<std::string>& files, bool json) {
  constexpr int64_t kShown = 3;
  const auto classifier = experiments::ImageClassifier::restore(checkpoint, origin);
  const auto& classes = classifier.format().classes;
  const int64_t shown = std::min(kShown, static_cast<int64_t>(classes.size()));
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  std::vector<std::pair<std::string, std::string>> table;
  for (const std::string& file : files) {
    const at::Tensor image = data::load_image(file, classifier.format().channels);
    const at::Tensor probability = classifier.probabilities(image, file);
    const auto [values, places] = probability.topk(shown);
    nlohmann::ordered_json likely = nlohmann::ordered_json::array();
    std::string text;
    for (int64_t k = 0; k < shown; ++k) {
      const std::string& name = classes[static_cast<size_t>(places[k].item<int64_t>())];
      const double value = values[k].item<double>();
      likely.push_back({{"class", name}, {"probability", value}});
      text += fmt::format("{}{} {:.1f} %", k > 0 ? ", " : "", name, 100 * value);
    }
    all.push_back({{"file", file}, {"classes", std::move(likely)}});
    table.emplace_back(file, text);
  }
  if (json)
    fmt::print("{}\n", all.dump(2));
  else
    print_table(table);
}

}  // namespace monarch::apps
