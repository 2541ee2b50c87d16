#pragma once
// Labelled images: what every format of image classification data gives.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace monarch::data {

/// Pixels of an image.
struct Extent {
  int64_t height = 0, width = 0;
  bool operator==(const Extent&) const = default;
};

/// Given the extent of a stored image: by how much a decoder may shrink it (4: to a quarter of each side at least).
using Reduction = std::function<double(Extent)>;

/// A set of labelled images. Everything is const and may be called from several threads.
class ImageSet {
 public:
  virtual ~ImageSet() = default;
  virtual int64_t size() const = 0;
  /// Names of the classes; labels are places in this list.
  virtual const std::vector<std::string>& classes() const = 0;
  /// Of every image: 1 (grey) or 3 (RGB).
  virtual int64_t channels() const = 0;
  /// Of every image; none where they differ.
  virtual std::optional<Extent> extent() const = 0;
  virtual int64_t label(int64_t i) const = 0;
  /// For messages and tables: a file's path below the set's folder, or "train-images-idx3-ubyte, image 17".
  virtual std::string name(int64_t i) const = 0;
  /// Pixels [channel, y, x], uint8; the memory's order may be [y, x, channel]. A reader whose format offers it gives a
  /// smaller version of the image where `reduction` allows (JPEG: 1/2, 1/4, 1/8). Throws DataError naming the image.
  virtual at::Tensor image(int64_t i, const Reduction& reduction = {}) const = 0;
  /// What a person should know of the set: files that are no images, say.
  virtual std::vector<std::string> notes() const { return {}; }
};
using ImageSetPtr = std::shared_ptr<const ImageSet>;

/// Images in memory.
struct ImageArray {
  std::string name;                  ///< of the file
  at::Tensor pixels;                 ///< [image, channel, y, x], uint8
  std::vector<int64_t> labels;       ///< one an image
  std::vector<std::string> classes;  ///< empty: as many as the labels need, "0", "1" …
};
/// Throws DataError for a label that is none of the classes, naming the image, and for lengths that differ.
ImageSetPtr make_image_set(ImageArray array);

/// Some images of a set, in the order given.
ImageSetPtr subset(ImageSetPtr set, std::vector<int64_t> indices);

/// MNIST's format (idx), plain or compressed with gzip: images [image, y, x] of bytes; the labels lie beside, in the
/// file whose name has "labels-idx1" for "images-idx3". Sizes are checked against the file before memory is taken.
/// Throws DataError.
ImageSetPtr open_mnist(const std::filesystem::path& images, const std::vector<std::string>& classes = {});

/// CIFAR's binary format, several files one after the other. 10: records of a label and 3 x 32 x 32 bytes; 100: of a
/// coarse label, a fine label (taken) and the bytes. Names of classes come from batches.meta.txt or
/// fine_label_names.txt beside the first file. Throws DataError.
ImageSetPtr open_cifar(const std::vector<std::filesystem::path>& files, int64_t classes);

/// The digits of UCI and scikit-learn, plain or compressed with gzip: a line an image, 64 numbers from 0 to 16 of
/// 8 x 8 pixels and the label, comma separated; stored as 0 to 255. Throws DataError naming the line.
ImageSetPtr open_digits(const std::filesystem::path& file);

/// ImageNet's layout: a folder a class, JPEG and PNG files in it or below. Classes are the folders' names, sorted, or
/// `classes` where given (another split's): a folder that is none of them is an error, one that is missing is not.
/// Files of other names are counted in notes(). Throws DataError for a folder without images.
ImageSetPtr open_image_folder(const std::filesystem::path& root, const std::vector<std::string>& classes = {});

}  // namespace monarch::data
