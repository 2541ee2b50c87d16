#pragma once
// Small checkpoints made by hand, and what the tests of their readers share.

#include <zip.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "monarch/core/error.hpp"
#include "monarch/data/checkpoint.hpp"
#include "support/support.hpp"

namespace monarch::test {

/// Bytes of a little-endian number.
template <class Integer>
std::string bytes_of(Integer value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

/// A safetensors file with this header text and `data` bytes of zeros behind it.
inline std::string safetensors_bytes(const std::string& json, size_t data) {
  return bytes_of<uint64_t>(json.size()) + json + std::string(data, '\0');
}

/// Opcodes of a pickle.
namespace op {
inline std::string text(const std::string& s) {
  return std::string("X") + bytes_of<uint32_t>(static_cast<uint32_t>(s.size())) + s;
}
inline std::string number(int32_t n) {
  return std::string("J") + bytes_of(n);
}
inline std::string global(const std::string& module, const std::string& name) {
  return std::string("c") + module + "\n" + name + "\n";
}
inline std::string tuple(const std::string& items) {
  return std::string("(") + items + "t";
}
inline std::string dict(const std::string& items) {
  return std::string("}(") + items + "u";
}
inline std::string call(const std::string& function, const std::string& arguments) {
  return function + arguments + "R";
}
inline std::string storage(const std::string& type, const std::string& key, int32_t numel) {
  return tuple(text("storage") + global("torch", type) + text(key) + text("cpu") + number(numel)) + "Q";
}
inline std::string numbers(const std::vector<int32_t>& values) {
  std::string items;
  for (const int32_t value : values) items += number(value);
  return tuple(items);
}
/// A float32 view of storage "0", which has `numel` elements.
inline std::string tensor(int32_t numel, int32_t offset, const std::vector<int32_t>& shape,
                          const std::vector<int32_t>& strides) {
  return call(global("torch._utils", "_rebuild_tensor_v2"),
              tuple(storage("FloatStorage", "0", numel) + number(offset) + numbers(shape) + numbers(strides) + "\x89" +
                    call(global("collections", "OrderedDict"), ")")));
}
inline std::string pickle(const std::string& body) {
  return std::string("\x80\x02") + body + ".";
}
}  // namespace op

/// A zip archive with these entries, uncompressed unless `deflate`.
inline void write_archive(const std::filesystem::path& path,
                          const std::vector<std::pair<std::string, std::string>>& entries, bool deflate = false) {
  zip_t* archive = zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, nullptr);
  REQUIRE(archive != nullptr);
  for (const auto& [name, content] : entries) {
    zip_source_t* source = zip_source_buffer(archive, content.data(), content.size(), 0);
    const auto index = zip_file_add(archive, name.c_str(), source, 0);
    REQUIRE(index >= 0);
    REQUIRE(zip_set_file_compression(archive, static_cast<zip_uint64_t>(index), deflate ? ZIP_CM_DEFLATE : ZIP_CM_STORE,
                                     0) == 0);
  }
  REQUIRE(zip_close(archive) == 0);
}

/// A PyTorch checkpoint with this pickle and a storage "0" of `floats` zeros.
inline void write_torch(const std::filesystem::path& path, const std::string& pickle, size_t floats = 6) {
  write_archive(path, {{"archive/data.pkl", pickle},
                       {"archive/byteorder", "little"},
                       {"archive/data/0", std::string(4 * floats, '\0')},
                       {"archive/version", "3\n"}});
}

/// The message of the DataError that opening (and loading everything) ends in.
inline std::string refusal(const std::filesystem::path& path) {
  try {
    const auto checkpoint = data::open_checkpoint(path);
    for (const auto& info : checkpoint->tensors()) checkpoint->load(info.name);
  } catch (const DataError& error) {
    return error.what();
  }
  return "nothing was refused";
}

}  // namespace monarch::test
