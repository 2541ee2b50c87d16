#include "monarch/data/images/image_data.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"

namespace monarch::data {
namespace {

using Kind = ImageDataOptions::Kind;

std::vector<std::filesystem::path> paths(const Config& config, const std::string& key) {
  std::vector<std::filesystem::path> result;
  for (const auto& path : config.texts(key, {})) result.emplace_back(path);
  return result;
}

ImageSetPtr open_set(const ImageDataOptions& o, const std::vector<std::filesystem::path>& files,
                     const std::vector<std::string>& classes) {
  check<ConfigError>(files.size() == 1 || o.kind == Kind::cifar10 || o.kind == Kind::cifar100,
                     [&] { return fmt::format("data: {} paths, expected one", files.size()); });
  switch (o.kind) {
    case Kind::mnist:
      return open_mnist(files.front(), classes);
    case Kind::cifar10:
      return open_cifar(files, 10);
    case Kind::cifar100:
      return open_cifar(files, 100);
    case Kind::digits:
      return open_digits(files.front());
    case Kind::folder:
      break;
  }
  return open_image_folder(files.front(), classes);
}

/// The places 0 … size-1 in an order that the seed gives.
std::vector<int64_t> shuffled(int64_t size, uint64_t seed, const std::string& stream) {
  std::vector<int64_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), int64_t{0});
  Rng rng(seed, stream);
  for (int64_t i = size; i > 1; --i)
    std::swap(order[static_cast<size_t>(i - 1)], order[static_cast<size_t>(rng.below(i))]);
  return order;
}

ImageSetPtr part(const ImageSetPtr& set, const std::vector<int64_t>& order, size_t first, size_t count) {
  std::vector<int64_t> indices(order.begin() + static_cast<std::ptrdiff_t>(first),
                               order.begin() + static_cast<std::ptrdiff_t>(first + count));
  std::sort(indices.begin(), indices.end());
  return subset(set, std::move(indices));
}

ImageSetPtr at_most(const ImageSetPtr& set, int64_t count, uint64_t seed, const std::string& stream) {
  if (count <= 0 || count >= set->size()) return set;
  return part(set, shuffled(set->size(), seed, stream), 0, static_cast<size_t>(count));
}

}  // namespace

ImageDataOptions ImageDataOptions::from_config(const Config& config) {
  ImageDataOptions o;
  o.kind = config.choice<Kind>("data.kind", "folder",
                               {{"folder", Kind::folder},
                                {"mnist", Kind::mnist},
                                {"cifar10", Kind::cifar10},
                                {"cifar100", Kind::cifar100},
                                {"digits", Kind::digits}});
  o.train = paths(config, "data.train");
  o.validation = paths(config, "data.validation");
  o.test = paths(config, "data.test");
  check<ConfigError>(!o.train.empty(), config.name() + ": 'data.train' names no files");
  if (o.kind == Kind::mnist) o.classes = config.texts("data.classes", {});
  if (o.validation.empty()) o.validation_fraction = config.number_between("data.validation_fraction", 0, 0, 0.9);
  if (o.test.empty()) o.test_fraction = config.number_between("data.test_fraction", 0, 0, 0.9);
  check<ConfigError>(!o.test.empty() || o.test_fraction > 0, config.name() + ": no test images",
                     "name them in data.test, or set some training images apart with data.test_fraction = 0.2");
  check<ConfigError>(o.validation_fraction + o.test_fraction < 0.95,
                     config.name() + ": validation and test fractions leave no training images");
  o.train_images = config.integer_at_least("data.train_images", 0, 0);
  o.test_images = config.integer_at_least("data.test_images", 0, 0);
  o.split_seed = static_cast<uint64_t>(config.integer_at_least("data.split_seed", 0, 0));
  o.skip_broken = config.choice<bool>("data.broken", "error", {{"error", false}, {"skip", true}});
  return o;
}

ImageSplits ImageSplits::open(const ImageDataOptions& o) {
  const ImageSetPtr all = open_set(o, o.train, o.classes);
  ImageSplits splits;
  splits.train = all;
  const auto count = [&](double fraction) {
    return fraction > 0 ? std::max<size_t>(static_cast<size_t>(fraction * static_cast<double>(all->size())), 1) : 0;
  };
  const size_t validation = count(o.validation_fraction), test = count(o.test_fraction);
  if (validation + test > 0) {
    const auto order = shuffled(all->size(), o.split_seed, "image split");
    check<DataError>(order.size() > validation + test, [&] {
      return fmt::format("{} images are too few to set {} apart", order.size(), validation + test);
    });
    if (test > 0) splits.test = part(all, order, 0, test);
    if (validation > 0) splits.validation = part(all, order, test, validation);
    splits.train = part(all, order, test + validation, order.size() - test - validation);
  }
  if (!o.test.empty()) splits.test = open_set(o, o.test, all->classes());
  if (!o.validation.empty()) splits.validation = open_set(o, o.validation, all->classes());
  splits.train = at_most(splits.train, o.train_images, o.split_seed, "training images");
  splits.test = at_most(splits.test, o.test_images, o.split_seed, "test images");
  if (!splits.validation) splits.validation = splits.test;
  for (const ImageSetPtr& set : {splits.validation, splits.test}) {
    check<DataError>(set->extent() == all->extent() && set->channels() == all->channels(),
                     "training, validation and test images differ in size");
  }
  return splits;
}

void BrokenImages::add(const std::string& name, const std::string& problem) {
  {
    const std::lock_guard lock(mutex_);
    if (!names_.insert(name).second) return;
  }
  log::warning(fmt::format("left out: {}", problem));
}

int64_t BrokenImages::count() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int64_t>(names_.size());
}

ImageBatch load_batch(const ImageSet& set, std::span<const int64_t> ids, const ImageTransform& transform,
                      BrokenImages& broken, uint64_t seed, const std::string& stream) {
  const auto count = static_cast<int64_t>(ids.size());
  const int64_t size = transform.options().size;
  ImageBatch batch{at::empty({count, set.channels(), size, size}, at::kFloat), {}, {}};
  std::vector<char> good(ids.size(), 1);
  at::parallel_for(0, count, 1, [&](int64_t first, int64_t last) {
    for (int64_t k = first; k < last; ++k) {
      const int64_t id = ids[static_cast<size_t>(k)];
      Rng rng(seed, fmt::format("{} {}", stream, id));
      try {
        batch.images[k].copy_(transform(set, id, stream.empty() ? nullptr : &rng));
      } catch (const DataError& error) {
        if (!broken.skip()) throw;
        broken.add(set.name(id), error.message());
        good[static_cast<size_t>(k)] = 0;
      }
    }
  });
  std::vector<int64_t> kept, labels;
  for (size_t k = 0; k < ids.size(); ++k) {
    if (!good[k]) continue;
    kept.push_back(static_cast<int64_t>(k));
    labels.push_back(set.label(ids[k]));
    batch.ids.push_back(ids[k]);
  }
  if (kept.size() < ids.size()) batch.images = batch.images.index_select(0, at::tensor(kept, at::kLong));
  batch.labels = at::tensor(labels, at::kLong);
  return batch;
}

}  // namespace monarch::data
