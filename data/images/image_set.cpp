#include "monarch/data/images/image_set.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "monarch/core/error.hpp"

namespace monarch::data {
namespace {

class MemoryImages final : public ImageSet {
 public:
  explicit MemoryImages(ImageArray array) : array_(std::move(array)) {}
  int64_t size() const override { return array_.pixels.size(0); }
  const std::vector<std::string>& classes() const override { return array_.classes; }
  int64_t channels() const override { return array_.pixels.size(1); }
  std::optional<Extent> extent() const override { return Extent{array_.pixels.size(2), array_.pixels.size(3)}; }
  int64_t label(int64_t i) const override { return array_.labels.at(static_cast<size_t>(i)); }
  std::string name(int64_t i) const override { return fmt::format("{}, image {}", array_.name, i); }
  at::Tensor image(int64_t i, const Reduction&) const override { return array_.pixels[i]; }

 private:
  ImageArray array_;
};

class Subset final : public ImageSet {
 public:
  Subset(ImageSetPtr set, std::vector<int64_t> indices) : set_(std::move(set)), indices_(std::move(indices)) {}
  int64_t size() const override { return static_cast<int64_t>(indices_.size()); }
  const std::vector<std::string>& classes() const override { return set_->classes(); }
  int64_t channels() const override { return set_->channels(); }
  std::optional<Extent> extent() const override { return set_->extent(); }
  int64_t label(int64_t i) const override { return set_->label(at(i)); }
  std::string name(int64_t i) const override { return set_->name(at(i)); }
  at::Tensor image(int64_t i, const Reduction& reduction) const override { return set_->image(at(i), reduction); }
  std::vector<std::string> notes() const override { return set_->notes(); }

 private:
  int64_t at(int64_t i) const { return indices_.at(static_cast<size_t>(i)); }
  ImageSetPtr set_;
  std::vector<int64_t> indices_;
};

}  // namespace

ImageSetPtr make_image_set(ImageArray array) {
  check<ShapeError>(array.pixels.dim() == 4 && (array.pixels.size(1) == 1 || array.pixels.size(1) == 3),
                    array.name + ": expected pixels [image, channel, y, x] of 1 or 3 channels");
  check<DtypeError>(array.pixels.scalar_type() == at::kByte, array.name + ": expected pixels of type uint8");
  check<DataError>(array.pixels.numel() > 0, array.name + ": no images in it");
  check<DataError>(static_cast<int64_t>(array.labels.size()) == array.pixels.size(0), [&] {
    return fmt::format("{}: {} images, but {} labels", array.name, array.pixels.size(0), array.labels.size());
  });
  if (array.classes.empty()) {
    const int64_t most = *std::max_element(array.labels.begin(), array.labels.end());
    for (int64_t c = 0; c <= std::min<int64_t>(most, 65535); ++c) array.classes.push_back(std::to_string(c));
  }
  const auto count = static_cast<int64_t>(array.classes.size());
  for (size_t i = 0; i < array.labels.size(); ++i) {
    check<DataError>(
        array.labels[i] >= 0 && array.labels[i] < count,
        [&] {
          return fmt::format("{}: image {} has label {}, expected 0 to {}", array.name, i, array.labels[i], count - 1);
        },
        "is it another data set than the one whose classes are asked for?");
  }
  return std::make_shared<MemoryImages>(std::move(array));
}

ImageSetPtr subset(ImageSetPtr set, std::vector<int64_t> indices) {
  return std::make_shared<Subset>(std::move(set), std::move(indices));
}

}  // namespace monarch::data
