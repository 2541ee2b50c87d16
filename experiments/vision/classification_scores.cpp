#include "monarch/experiments/vision/classification_scores.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "monarch/core/error.hpp"
#include "monarch/data/field_picture.hpp"
#include "monarch/data/lettering.hpp"

namespace monarch::experiments {

ClassificationScores::ClassificationScores(int64_t classes)
    : classes_(classes), confusion_(at::zeros({classes, classes}, at::kLong)) {}

void ClassificationScores::add(const at::Tensor& logits, const at::Tensor& labels, const std::vector<int64_t>& ids) {
  const auto count = static_cast<int64_t>(ids.size());
  check<ShapeError>(logits.dim() == 2 && logits.size(0) == count && logits.size(1) == classes_ &&
                        labels.sizes() == at::IntArrayRef{count},
                    "scores need logits [image, class] and labels [image]");
  const at::Tensor scores = logits.detach().to(at::kCPU, at::kDouble).log_softmax(1).contiguous();
  const at::Tensor own = labels.to(at::kCPU).contiguous();
  const double* score = scores.const_data_ptr<double>();
  const int64_t* label = own.const_data_ptr<int64_t>();
  int64_t* confusion = confusion_.data_ptr<int64_t>();
  for (int64_t i = 0; i < count; ++i, score += classes_) {
    const int64_t predicted = std::max_element(score, score + classes_) - score;
    const int64_t better = std::count_if(score, score + classes_, [&](double s) { return s > score[label[i]]; });
    // A score that is not a number is no prediction: it counts as wrong.
    const bool known = std::isfinite(score[label[i]]);
    loss_ -= score[label[i]];
    right_ += known && predicted == label[i];
    among_five_ += known && better < 5;
    ++confusion[label[i] * classes_ + predicted];
    verdicts_.push_back({ids[static_cast<size_t>(i)], label[i], predicted, std::exp(score[predicted])});
  }
}

training::Metrics ClassificationScores::metrics() const {
  const auto count = static_cast<double>(images());
  const auto percent = [count](int64_t n) { return 100 * static_cast<double>(n) / count; };
  training::Metrics m{{"loss", loss_ / count}, {"error1", 100 - percent(right_)}, {"accuracy1", percent(right_)}};
  if (classes_ > 5) {
    m.emplace_back("error5", 100 - percent(among_five_));
    m.emplace_back("accuracy5", percent(among_five_));
  }
  return m;
}

std::vector<Verdict> examples(const std::vector<Verdict>& verdicts, size_t most) {
  std::vector<Verdict> shown, wrong;
  const size_t spread = std::min(most / 2, verdicts.size());
  for (size_t k = 0; k < spread; ++k) shown.push_back(verdicts[k * verdicts.size() / spread]);
  std::copy_if(verdicts.begin(), verdicts.end(), std::back_inserter(wrong),
               [](const Verdict& v) { return v.predicted != v.label; });
  std::stable_sort(wrong.begin(), wrong.end(),
                   [](const Verdict& a, const Verdict& b) { return a.probability > b.probability; });
  for (size_t k = 0; k < wrong.size() && shown.size() < most; ++k) shown.push_back(wrong[k]);
  return shown;
}

at::Tensor draw_verdicts(const at::Tensor& images, const std::vector<Verdict>& verdicts,
                         const std::vector<std::string>& classes) {
  check<ShapeError>(images.dim() == 4 && images.size(0) == static_cast<int64_t>(verdicts.size()) && images.numel() > 0,
                    "a picture of verdicts needs images [image, channel, y, x], one for each");
  constexpr int64_t kColumns = 8, kSide = 112, kGap = 8, kText = 34;
  constexpr int kLetters = 12;
  const int64_t columns = std::min(kColumns, images.size(0)), rows = (images.size(0) + columns - 1) / columns;
  at::Tensor picture = at::full({kGap + rows * (kSide + kText + kGap), kGap + columns * (kSide + kGap), 3}, 255,
                                at::TensorOptions().dtype(at::kByte));
  const at::Tensor tiles = at::upsample_nearest2d(images.to(at::kFloat).expand({-1, 3, -1, -1}), {kSide, kSide})
                               .mul(255)
                               .round()
                               .clamp(0, 255)
                               .to(at::kByte)
                               .permute({0, 2, 3, 1});
  const auto fitted = [](std::string text) {
    while (!text.empty() && data::text_width(text, kLetters) > kSide) {
      do text.pop_back();
      while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xc0) == 0x80);
    }
    return text;
  };
  for (int64_t k = 0; k < images.size(0); ++k) {
    const Verdict& v = verdicts[static_cast<size_t>(k)];
    const int64_t x = kGap + k % columns * (kSide + kGap), y = kGap + k / columns * (kSide + kText + kGap);
    picture.narrow(0, y, kSide).narrow(1, x, kSide).copy_(tiles[k]);
    const auto name = [&](int64_t c) { return classes.at(static_cast<size_t>(c)); };
    data::draw_text(picture, fitted(fmt::format("{:.0f} % {}", 100 * v.probability, name(v.predicted))), x,
                    y + kSide + 13, kLetters);
    if (v.predicted != v.label) data::draw_text(picture, fitted("is " + name(v.label)), x, y + kSide + 28, kLetters);
  }
  return picture;
}

at::Tensor draw_confusion(const at::Tensor& confusion, const std::string& title) {
  data::FieldPanel panel;
  panel.label = "class (row) taken for (column), share";
  panel.values = confusion.to(at::kDouble) / confusion.sum(1, true).clamp_min(1);
  data::PictureOptions options;
  options.title = title;
  options.panel_pixels = 320;
  return data::draw_panels({{"", {panel}}}, options);
}

std::string confusion_csv(const at::Tensor& confusion, const std::vector<std::string>& classes) {
  std::string text = "class";
  const auto append_quoted = [&text](const std::string& name) {
    text += '"';
    for (const char c : name) text.append(c == '"' ? 2 : 1, c);
    text += '"';
  };
  for (const std::string& name : classes) {
    text += ',';
    append_quoted(name);
  }
  const at::Tensor counts = confusion.contiguous();
  const int64_t* count = counts.const_data_ptr<int64_t>();
  for (const std::string& name : classes) {
    text += '\n';
    append_quoted(name);
    for (size_t c = 0; c < classes.size(); ++c) {
      text += ',';
      text += std::to_string(*count++);
    }
  }
  text += '\n';
  return text;
}

}  // namespace monarch::experiments
