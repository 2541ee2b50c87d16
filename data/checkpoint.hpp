#pragma once
// Named tensors in a file, whatever wrote it.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace monarch::data {

/// What a checkpoint says about one tensor.
struct TensorInfo {
  std::string name;
  std::string dtype;                   ///< "float32"; the file's own name where LibTorch has no such type ("F4")
  std::optional<at::ScalarType> type;  ///< empty: can be listed, not loaded
  std::vector<int64_t> shape;
  uint64_t bytes = 0;  ///< of its elements
};

/// Elements of a shape. Throws DataError, in which `where` appears, for a negative extent or a product (extents of 0
/// counted as 1) beyond 2^53: no file holds that, and later arithmetic stays exact.
uint64_t checked_numel(const std::vector<int64_t>& shape, const std::string& where);

/// A checkpoint: a list of tensors that are read one at a time, when asked for. Reading from several threads is safe.
class Checkpoint {
 public:
  explicit Checkpoint(std::string name, std::string format) : name_(std::move(name)), format_(std::move(format)) {}
  virtual ~Checkpoint() = default;
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  const std::string& name() const { return name_; }      ///< path, for messages
  const std::string& format() const { return format_; }  ///< "safetensors", "PyTorch", "sharded safetensors" …
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  /// nullptr where there is none of that name.
  const TensorInfo* find(const std::string& tensor) const;
  /// Text beside the tensors: safetensors' __metadata__, numbers and texts of a PyTorch dictionary.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// What was found and not read, for people.
  const std::vector<std::string>& notes() const { return notes_; }

  /// A contiguous tensor of its own, in the file's element type. Throws DataError: no such tensor (naming the closest),
  /// a type that LibTorch has not, a file that changed. Cost: one read of the tensor's bytes (PyTorch: of its storage).
  at::Tensor load(const std::string& tensor) const;

 protected:
  /// Throws DataError for a second tensor of that name and for names that are empty, longer than 1000 bytes, not UTF-8
  /// or with control characters.
  void add(TensorInfo info);
  /// Tensor number `index` of tensors(); its type is known.
  virtual at::Tensor do_load(size_t index) const = 0;

  std::map<std::string, std::string> metadata_;
  std::vector<std::string> notes_;

 private:
  std::string name_, format_;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, size_t> index_;
};

struct CheckpointOptions {
  /// Only the tensors below this key, with the key taken off: "model" turns "model.fc.weight" into "fc.weight".
  std::string select;
};

/// Opens a checkpoint and lists its tensors. The format is found by content: safetensors, PyTorch's zip files
/// (docs/checkpoints.md), HuggingFace's index of several such files, or a folder that holds one of these under
/// HuggingFace's names (model.safetensors, model.safetensors.index.json, pytorch_model.bin, …).
/// No code of the file is run. Throws DataError naming the file, the tensor, what was expected and what was found.
std::shared_ptr<const Checkpoint> open_checkpoint(const std::filesystem::path& path,
                                                  const CheckpointOptions& options = {});

}  // namespace monarch::data
