#pragma once
// Files in the safetensors format (github.com/huggingface/safetensors): 8 bytes header length, a JSON header, data.

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "monarch/core/files.hpp"
#include "monarch/data/checkpoint.hpp"

namespace monarch::data {

/// What the header states, checked against the size of the file: dtype times shape fills each tensor's range, and the
/// ranges fill the data without overlap or hole.
struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  ///< in order of their data
  std::vector<uint64_t> offsets;    ///< in bytes from the start of the file, for each tensor
  std::map<std::string, std::string> metadata;
};

/// Parses the JSON text between byte 8 and byte 8 + json.size() of a file of `file_bytes` bytes. `name` appears in
/// messages. Throws DataError. Memory is proportional to the text.
SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t file_bytes, const std::string& name);

/// Opens a file: reads the header (at most 100 MB), no tensor. Types: BOOL, integers of 8 to 64 bits, F16, BF16, F32,
/// F64, C64, F8_*; F4 and F6_* are listed and not loaded. Throws DataError.
std::shared_ptr<const Checkpoint> open_safetensors(const std::filesystem::path& path);

/// Writes a file tensor by tensor, so that a model larger than memory passes through. The file appears, whole, with
/// commit(); without it nothing remains.
class SafetensorsWriter {
 public:
  /// Names, types (`type` must be set) and shapes of what will follow; `bytes` and `dtype` are ignored.
  /// Throws DataError (a folder that cannot be written), DtypeError (complex128: the format has no such type).
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorInfo> tensors,
                    const std::map<std::string, std::string>& metadata = {});
  /// In any order, each tensor once; any strides and device. Throws ShapeError, DtypeError, DataError.
  void write(const std::string& name, const at::Tensor& tensor);
  /// Throws DataError when a tensor is missing or the disk is full.
  void commit();

 private:
  struct Slot {
    TensorInfo info;
    uint64_t offset = 0;
    bool written = false;
  };
  std::string name_;
  OutputFolder folder_;
  std::ofstream stream_;
  std::map<std::string, Slot> slots_;
};

/// The same for tensors that are at hand.
void save_safetensors(const std::filesystem::path& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace monarch::data
