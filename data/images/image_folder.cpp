#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/images/decode.hpp"
#include "monarch/data/images/image_set.hpp"

namespace monarch::data {
namespace {

namespace fs = std::filesystem;

bool is_image_name(const fs::path& path) {
  std::string extension = path.extension();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

class ImageFolder final : public ImageSet {
 public:
  ImageFolder(fs::path root, const std::vector<std::string>& classes) : root_(std::move(root)), classes_(classes) {
    std::error_code error;
    check<DataError>(
        fs::is_directory(root_, error), [&] { return fmt::format("{} is no folder of images", root_.string()); },
        "expected a folder that holds one folder for each class");
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(root_, error)) {
      if (entry.is_directory(error))
        found.push_back(entry.path().filename());
      else
        ++others_;
    }
    check<DataError>(
        !found.empty(), [&] { return root_.string() + ": no folder of a class in it"; },
        "expected FOLDER/CLASS/IMAGE.jpg");
    std::sort(found.begin(), found.end());
    if (classes_.empty()) classes_ = found;
    for (const std::string& name : found) add_class(name);
    check<DataError>(!files_.empty(), [&] { return root_.string() + ": no images in it"; });
  }

  int64_t size() const override { return static_cast<int64_t>(files_.size()); }
  const std::vector<std::string>& classes() const override { return classes_; }
  int64_t channels() const override { return 3; }
  std::optional<Extent> extent() const override { return {}; }
  int64_t label(int64_t i) const override { return file(i).label; }
  std::string name(int64_t i) const override { return file(i).path; }
  at::Tensor image(int64_t i, const Reduction& reduction) const override {
    return load_image(root_ / file(i).path, 3, reduction);
  }
  std::vector<std::string> notes() const override {
    if (others_ == 0) return {};
    return {fmt::format("{}: {} files are not taken: no .jpg, .jpeg or .png of a class", root_.string(), others_)};
  }

 private:
  struct File {
    std::string path;  // below the root
    int64_t label;
  };
  const File& file(int64_t i) const { return files_.at(static_cast<size_t>(i)); }

  void add_class(const std::string& name) {
    const auto place = std::find(classes_.begin(), classes_.end(), name);
    check<DataError>(
        place != classes_.end(),
        [&] {
          return fmt::format("{}: the folder '{}' is none of the {} classes", root_.string(), name, classes_.size());
        },
        fmt::format("did you mean '{}'?", closest_match(name, classes_)));
    std::error_code error;
    std::vector<std::string> paths;
    for (const auto& entry :
         fs::recursive_directory_iterator(root_ / name, fs::directory_options::follow_directory_symlink, error)) {
      if (!entry.is_regular_file(error)) continue;
      if (is_image_name(entry.path()))
        paths.push_back(entry.path().lexically_relative(root_));
      else
        ++others_;
    }
    check<DataError>(!error,
                     [&] { return fmt::format("cannot read {}: {}", (root_ / name).string(), error.message()); });
    check<DataError>(
        !paths.empty(), [&] { return fmt::format("{}: no .jpg, .jpeg or .png in it", (root_ / name).string()); },
        "remove the folder, or put images there");
    std::sort(paths.begin(), paths.end());
    for (std::string& path : paths) files_.push_back({std::move(path), place - classes_.begin()});
  }

  fs::path root_;
  std::vector<std::string> classes_;
  std::vector<File> files_;
  int64_t others_ = 0;
};

}  // namespace

ImageSetPtr open_image_folder(const fs::path& root, const std::vector<std::string>& classes) {
  return std::make_shared<ImageFolder>(root, classes);
}

}  // namespace monarch::data
