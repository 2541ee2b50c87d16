#pragma once
// HDF5 files: owned handles, errors as messages, and checks before anything is allocated.

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace monarch::data::hdf5 {

/// Owns one identifier of the HDF5 library (hid_t) and the function that closes it.
class Handle {
 public:
  using Close = int (*)(int64_t);
  Handle() = default;
  Handle(int64_t id, Close close) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept;
  ~Handle() { reset(); }
  void reset();
  int64_t get() const { return id_; }
  explicit operator bool() const { return id_ >= 0; }

 private:
  int64_t id_ = -1;
  Close close_ = nullptr;
};

/// What kind of element a dataset holds.
enum class Kind { integer, real, complex, boolean, text, other };

/// Shape and type of a dataset, as the file states them.
struct DatasetInfo {
  std::vector<int64_t> shape;  ///< slowest axis first; empty for a scalar
  Kind kind = Kind::other;
  size_t element_bytes = 0;
  std::string type;  ///< "complex64", "uint8", "text", "compound {head, traj, data}" …
  int64_t numel() const;
};

/// Which of HDF5's string types to write. Readers take all four, scalar or with shape (1,).
struct TextKind {
  bool utf8 = false;
  bool fixed_length = false;
  bool scalar = true;
};

/// An HDF5 file. Opening for reading takes no lock and never changes the file; links into other files are not
/// followed. Every function throws DataError naming file and dataset, with the library's own reason.
/// Paths inside the file are written without a leading slash: "dataset/xml"; "" is the root group.
class File {
 public:
  /// Opens for reading.
  static File open(const std::filesystem::path& path);
  /// Opens a file that lies in memory; `name` appears in messages. The bytes are copied.
  static File from_memory(std::span<const std::byte> bytes, const std::string& name);
  /// Makes a new file for writing; `path` must not exist.
  static File create(const std::filesystem::path& path);

  const std::string& name() const { return name_; }
  uint64_t size_bytes() const { return size_bytes_; }
  uint64_t user_block_bytes() const { return user_block_bytes_; }
  int64_t id() const { return handle_.get(); }

  /// Names of the sub-groups or datasets of a group, sorted by name.
  std::vector<std::string> groups(const std::string& group = {}) const;
  std::vector<std::string> datasets(const std::string& group = {}) const;
  bool has_dataset(const std::string& path) const;

  DatasetInfo info(const std::string& path) const;
  /// A text dataset: ASCII or UTF-8, variable or fixed length, scalar or one element.
  std::string read_text(const std::string& path) const;
  /// A numeric dataset as a CPU tensor of its own type (unsigned 16 and 32 bit become the next signed type,
  /// booleans at::kBool). With `first` only that index of axis 0 is read, and axis 0 is dropped.
  /// The extents are compared with the size of the file before memory is taken.
  at::Tensor read(const std::string& path, std::optional<int64_t> first = {}) const;
  /// Names of an object's attributes, sorted.
  std::vector<std::string> attributes(const std::string& object) const;
  /// Numbers or booleans (0 and 1) of an attribute with 1 to 65,536 elements, in row-major order.
  std::optional<std::vector<double>> numbers_attribute(const std::string& object, const std::string& attribute) const;
  /// Attribute of an object ("" is the root group); nothing where it is absent or of another type. Texts of variable
  /// length give nothing: the library cannot read them safely from a damaged file, nor can they be addressed.
  std::optional<double> number_attribute(const std::string& object, const std::string& attribute) const;
  std::optional<std::string> text_attribute(const std::string& object, const std::string& attribute) const;

  /// Opens a dataset after comparing extents, chunks and storage with the file's size. For format readers.
  Handle dataset(const std::string& path) const;

  /// Writers; groups on the way are made. Types: bool, uint8, int32, int64, float32/64, complex64/128.
  void write(const std::string& path, const at::Tensor& tensor);
  /// A dataset of zeros, and one index of its axis 0: for data that does not fit into memory at once.
  void reserve(const std::string& path, at::ScalarType type, const std::vector<int64_t>& shape);
  void write(const std::string& path, const at::Tensor& tensor, int64_t first);
  void write_text(const std::string& path, const std::string& text, TextKind kind = {});
  void write_attribute(const std::string& object, const std::string& attribute, double value);
  void write_attribute(const std::string& object, const std::string& attribute, const std::vector<double>& values);
  void write_attribute(const std::string& object, const std::string& attribute,
                       const std::string& value);  // fixed length

  /// Reads bytes of the file itself, counted from its first byte. Throws DataError, beginning with `place`, where the
  /// file ends before.
  void read_raw(uint64_t address, std::span<std::byte> bytes, const std::string& place) const;

  /// "FILE: dataset/xml", for messages.
  std::string place(const std::string& path) const;

 private:
  File(Handle handle, std::string name, uint64_t size_bytes);
  /// Empty where there is none of that name.
  Handle attribute(const std::string& object, const std::string& attribute) const;
  std::vector<std::string> list(const std::string& group, bool want_groups) const;
  void write_numbers(const std::string& object, const std::string& attribute, const Handle& space,
                     std::span<const double> values);

  Handle handle_;
  std::string name_;
  uint64_t size_bytes_ = 0;
  uint64_t user_block_bytes_ = 0;
  std::shared_ptr<const int> descriptor_;                 ///< of a file on disk
  std::shared_ptr<const std::vector<std::byte>> memory_;  ///< of a file in memory
};

/// True when the file starts with an HDF5 signature, or has one behind a user block (offset 512, 1024, 2048, …).
bool has_signature(const std::filesystem::path& path);

/// Stops the library from printing to stderr in this thread.
void silence_library();
/// The innermost reason on the library's error stack, "" when it is empty.
std::string library_reason();

/// Memory that the library allocates for variable-length values, refused beyond a budget: a damaged length must
/// not allocate. Values live as long as the object.
class VariableLengthMemory {
 public:
  explicit VariableLengthMemory(uint64_t budget_bytes);
  ~VariableLengthMemory();
  VariableLengthMemory(const VariableLengthMemory&) = delete;
  VariableLengthMemory& operator=(const VariableLengthMemory&) = delete;
  /// Property list to pass to H5Dread and H5Aread.
  int64_t transfer_properties() const { return properties_.get(); }

 private:
  static void* allocate(size_t bytes, void* self);
  static void release(void*, void*) {}

  Handle properties_;
  std::vector<void*> blocks_;
  char* free_ = nullptr;
  size_t free_bytes_ = 0;
  uint64_t budget_bytes_;
};

}  // namespace monarch::data::hdf5
