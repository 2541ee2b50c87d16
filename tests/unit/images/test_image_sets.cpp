// Readers of labelled images, their splits, and what they refuse.
#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "catch2/catch.hpp"
#include "image_files.hpp"
#include "monarch/core/error.hpp"
#include "monarch/data/images/image_data.hpp"
#include "monarch/data/images/image_set.hpp"
#include "monarch/data/png.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

const std::string images_name = "a-images-idx3-ubyte", labels_name = "a-labels-idx1-ubyte";

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const DataError& error) {
    return error.what();
  }
  return "no error";
}

void make_folder(const TemporaryFolder& folder, const std::string& split) {
  for (const auto& [name, level] : std::vector<std::pair<std::string, int>>{{"cat", 10}, {"dog", 200}}) {
    fs::create_directories(folder / split / name / "more");
    data::save_colour_png(folder / split / name / "1.png", at::full({9, 12, 3}, level, at::kByte));
    data::save_colour_png(folder / split / name / "more/2.PNG", at::full({20, 9, 3}, level + 1, at::kByte));
  }
}

}  // namespace

TEST_CASE("MNIST files give their images and labels, plain or packed") {
  const TemporaryFolder folder;
  write_text(folder / images_name, idx_images(4, 2, 3));
  write_text(folder / labels_name, idx_labels(4));
  write_gzip(folder / (images_name + ".gz"), idx_images(4, 2, 3));
  write_gzip(folder / (labels_name + ".gz"), idx_labels(4));
  for (const std::string end : {"", ".gz"}) {
    const auto set = data::open_mnist(folder / (images_name + end));
    REQUIRE(set->size() == 4);
    REQUIRE(set->classes().size() == 3);
    REQUIRE(*set->extent() == data::Extent{2, 3});
    REQUIRE(set->label(2) == 2);
    REQUIRE(at::equal(set->image(3), at::arange(18, 24).view({1, 2, 3}).to(at::kByte)));
  }
}

TEST_CASE("MNIST files that do not hold what they promise are refused before memory is taken") {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& images, const std::string& labels) {
    write_text(folder / images_name, images);
    write_text(folder / labels_name, labels);
    return message_of([&] { data::open_mnist(folder / images_name); });
  };
  REQUIRE(refused(idx_images(4, 2, 3), idx_labels(4)) == "no error");
  REQUIRE_THAT(refused(big_endian({0x803, 0xffffffff, 0xffffffff, 0xffffffff}), idx_labels(4)),
               Contains("cannot hold"));
  REQUIRE_THAT(refused(big_endian({0x803, 60000, 28, 28}) + "abc", idx_labels(4)), Contains("cannot hold"));
  REQUIRE_THAT(refused(idx_images(4, 2, 3) + "x", idx_labels(4)), Contains("more bytes"));
  REQUIRE_THAT(refused(idx_images(4, 2, 3).substr(0, 39), idx_labels(4)), Contains("ends 1 bytes too early"));
  REQUIRE_THAT(refused(idx_images(4, 2, 3), idx_labels(3)), Contains("4 images, but 3 labels"));
  REQUIRE_THAT(refused(idx_labels(4), idx_labels(4)), Contains("expected 0x00000803"));
  REQUIRE_THAT(refused("", idx_labels(4)), Contains("empty"));
  REQUIRE_THAT(refused(idx_images(4, 2, 3).replace(4, 4, std::string(4, '\0')), idx_labels(4)), Contains("0"));
  write_text(folder / "x.gz", "");
  REQUIRE_THAT(message_of([&] { data::open_mnist(folder / "x.gz"); }), Contains("images-idx3"));
  write_gzip(folder / (images_name + ".gz"), idx_images(400, 28, 28));
  const std::string packed = bytes_of(folder / (images_name + ".gz"));
  write_text(folder / (images_name + ".gz"), packed.substr(0, packed.size() / 2));
  REQUIRE_THAT(message_of([&] { data::open_mnist(folder / (images_name + ".gz")); }), Contains(".gz"));
}

TEST_CASE("CIFAR records are labels and planes, and a size that is no multiple is refused") {
  const TemporaryFolder folder;
  std::string record(1, '\x07');
  for (int i = 0; i < 3072; ++i) record += static_cast<char>(i % 251);
  write_text(folder / "data_batch_1.bin", record + record);
  write_text(folder / "data_batch_2.bin", record);
  const auto set = data::open_cifar({folder / "data_batch_1.bin", folder / "data_batch_2.bin"}, 10);
  REQUIRE(set->size() == 3);
  REQUIRE(set->label(2) == 7);
  REQUIRE(set->image(2)[1][0][0].item<int64_t>() == 1024 % 251);
  write_text(folder / "train.bin", std::string(1, '\x03') + std::string(1, '\x63') + record.substr(1));
  REQUIRE(data::open_cifar({folder / "train.bin"}, 100)->label(0) == 99);
  write_text(folder / "data_batch_2.bin", record + "x");
  REQUIRE_THAT(message_of([&] { data::open_cifar({folder / "data_batch_2.bin"}, 10); }), Contains("multiple of 3073"));
  write_text(folder / "data_batch_2.bin", record + "\x0a" + record.substr(1));
  REQUIRE_THAT(message_of([&] { data::open_cifar({folder / "data_batch_2.bin"}, 10); }),
               Contains("image 1 has label 10, expected 0 to 9"));
}

TEST_CASE("The digits of scikit-learn are 1797 images of ten classes") {
  const auto set = data::open_digits(data_file("images/digits.csv.gz"));
  REQUIRE(set->size() == 1797);
  REQUIRE(set->classes().size() == 10);
  REQUIRE(set->label(0) == 0);
  REQUIRE(set->image(0)[0][0][2].item<int64_t>() == 80);  // 5 of 16
  REQUIRE(set->image(0).max().item<int64_t>() <= 255);
  const TemporaryFolder folder;
  std::string row;
  for (int i = 0; i < 64; ++i) row += "3,";
  write_text(folder / "d.csv", row + "9\n" + row + "1\r\n");
  REQUIRE(data::open_digits(folder / "d.csv")->size() == 2);
  for (const std::string& bad :
       {row + "10\n", row + "1,2\n", row + "\n", "17," + row.substr(2) + "1\n", row + "1\nx\n"}) {
    write_text(folder / "d.csv", bad);
    REQUIRE_THAT(message_of([&] { data::open_digits(folder / "d.csv"); }), Contains("line"));
  }
}

TEST_CASE("A folder a class: classes are sorted names, other splits keep their places") {
  const TemporaryFolder folder;
  make_folder(folder, "train");
  write_text(folder / "train/cat/notes.txt", "x");
  const auto set = data::open_image_folder(folder / "train");
  REQUIRE(set->classes() == std::vector<std::string>{"cat", "dog"});
  REQUIRE(set->size() == 4);
  REQUIRE(set->name(1) == "cat/more/2.PNG");
  REQUIRE(set->label(3) == 1);
  REQUIRE(set->image(2).sizes() == at::IntArrayRef{3, 9, 12});
  REQUIRE(set->image(3)[0][0][0].item<int64_t>() == 201);
  REQUIRE_THAT(set->notes().at(0), Contains("1 files"));
  make_folder(folder, "test");
  fs::remove_all(folder / "test/cat");
  REQUIRE(data::open_image_folder(folder / "test", set->classes())->label(0) == 1);
  fs::rename(folder / "test/dog", folder / "test/dogg");
  REQUIRE_THAT(message_of([&] { data::open_image_folder(folder / "test", set->classes()); }),
               Contains("did you mean 'dog'?"));
  fs::create_directories(folder / "train/empty");
  REQUIRE_THAT(message_of([&] { data::open_image_folder(folder / "train"); }), Contains("train/empty"));
  REQUIRE_THAT(message_of([&] { data::open_image_folder(folder / "nowhere"); }), Contains("nowhere"));
  fs::create_directories(folder / "bare");
  REQUIRE_THAT(message_of([&] { data::open_image_folder(folder / "bare"); }), Contains("no folder of a class"));
}

TEST_CASE("A broken image stops the reading, or is left out, counted and named") {
  const TemporaryFolder folder;
  make_folder(folder, "train");
  write_text(folder / "train/cat/1.png", "\x89PNG\r\n\x1a\nrubbish");
  const auto set = data::open_image_folder(folder / "train");
  data::TransformOptions options;
  options.size = 8;
  const data::ImageTransform transform(options, 3);
  const std::vector<int64_t> ids{0, 1, 2, 3};
  data::BrokenImages strict(false), lenient(true);
  REQUIRE_THAT(message_of([&] { data::load_batch(*set, ids, transform, strict); }), Contains("cat/1.png"));
  for (int pass = 0; pass < 2; ++pass) {
    const auto batch = data::load_batch(*set, ids, transform, lenient);
    REQUIRE(batch.ids == std::vector<int64_t>{1, 2, 3});
    REQUIRE(batch.images.sizes() == at::IntArrayRef{3, 3, 8, 8});
    REQUIRE(at::equal(batch.labels, at::tensor({0, 1, 1}, at::kLong)));
    REQUIRE(lenient.count() == 1);
  }
}

TEST_CASE("Splits are disjoint, cover the set, and follow from the seed") {
  const TemporaryFolder folder;
  write_text(folder / images_name, idx_images(50, 2, 2));
  write_text(folder / labels_name, idx_labels(50));
  const auto open = [&](const std::string& more) {
    const Config config =
        Config::parse("[data]\nkind = \"mnist\"\ntrain = [\"" + (folder / images_name).string() + "\"]\n" + more);
    auto splits = data::ImageSplits::open(data::ImageDataOptions::from_config(config));
    config.finish();
    return splits;
  };
  const auto names = [](const data::ImageSet& set) {
    std::vector<std::string> all;
    for (int64_t i = 0; i < set.size(); ++i) all.push_back(set.name(i));
    return all;
  };
  const auto a = open("validation_fraction = 0.1\ntest_fraction = 0.2");
  REQUIRE(a.train->size() == 35);
  REQUIRE(a.validation->size() == 5);
  REQUIRE(a.test->size() == 10);
  std::vector<std::string> all = names(*a.train);
  for (const auto& set : {a.validation, a.test})
    for (const auto& name : names(*set)) all.push_back(name);
  std::sort(all.begin(), all.end());
  REQUIRE(std::unique(all.begin(), all.end()) == all.end());
  REQUIRE(all.size() == 50);
  REQUIRE(names(*open("validation_fraction = 0.1\ntest_fraction = 0.2").test) == names(*a.test));
  REQUIRE(names(*open("validation_fraction = 0.1\ntest_fraction = 0.2\nsplit_seed = 1").test) != names(*a.test));
  REQUIRE(open("test_fraction = 0.2\ntrain_images = 7").train->size() == 7);
  REQUIRE_THROWS_AS(open(""), ConfigError);
}
