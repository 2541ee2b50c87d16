// Fuzz targets of the checkpoint readers.
#include <ATen/ATen.h>
#include <zip.h>

#include <fstream>
#include <sstream>

#include "fuzz/checkpoint_seeds.hpp"
#include "fuzz/memory_file.hpp"
#include "fuzz/targets.hpp"
#include "monarch/core/error.hpp"
#include "monarch/data/pickle.hpp"
#include "monarch/data/safetensors.hpp"
#include "monarch/data/torch_checkpoint.hpp"
#include "support/support.hpp"

namespace monarch::fuzz {
namespace {

/// Every tensor must load with the shape and type that were promised, or say why it does not.
void use(const data::Checkpoint& checkpoint) {
  for (const auto& info : checkpoint.tensors()) {
    try {
      const at::Tensor tensor = checkpoint.load(info.name);
      if (tensor.sizes() != at::IntArrayRef(info.shape) || tensor.scalar_type() != info.type ||
          !tensor.is_contiguous() || tensor.nbytes() != info.bytes)
        __builtin_trap();
    } catch (const DataError&) {
    }
  }
}

std::string file_bytes(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream out;
  out << stream.rdbuf();
  return out.str();
}

const std::filesystem::path golden = std::filesystem::path(MONARCH_SOURCE_DIR) / "tests/golden/checkpoints";

/// Content of an archive's entry that ends with `suffix`.
std::string archive_entry(const std::filesystem::path& path, const std::string& suffix) {
  const std::string bytes = file_bytes(path);
  zip_error_t error;
  zip_source_t* source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error);
  zip_t* archive = zip_open_from_source(source, ZIP_RDONLY, &error);
  std::string content;
  for (zip_int64_t i = 0; i < zip_get_num_entries(archive, 0); ++i) {
    zip_stat_t stat;
    if (zip_stat_index(archive, static_cast<zip_uint64_t>(i), 0, &stat) != 0) std::abort();
    if (!std::string_view(stat.name).ends_with(suffix)) continue;
    content.resize(stat.size);
    zip_file_t* file = zip_fopen_index(archive, static_cast<zip_uint64_t>(i), 0);
    if (zip_fread(file, content.data(), stat.size) != static_cast<zip_int64_t>(stat.size)) std::abort();
    zip_fclose(file);
  }
  zip_discard(archive);
  if (content.empty()) std::abort();
  return content;
}

/// An archive with this pickle and the storages "0" to "23" of the trainer's checkpoint, in memory.
std::string archive_around(const std::string& pickle) {
  static const std::vector<std::string> storages = [] {
    std::vector<std::string> contents;
    for (int i = 0; i < 24; ++i) contents.push_back(archive_entry(golden / "trainer.pt", "/data/" + std::to_string(i)));
    return contents;
  }();
  zip_error_t error;
  zip_source_t* target = zip_source_buffer_create(nullptr, 0, 0, &error);
  zip_source_keep(target);
  zip_t* archive = zip_open_from_source(target, ZIP_TRUNCATE, &error);
  const auto add = [&](const std::string& name, const std::string& content) {
    const auto index =
        zip_file_add(archive, name.c_str(), zip_source_buffer(archive, content.data(), content.size(), 0), 0);
    zip_set_file_compression(archive, static_cast<zip_uint64_t>(index), ZIP_CM_STORE, 0);
  };
  add("a/data.pkl", pickle);
  for (size_t i = 0; i < storages.size(); ++i) add("a/data/" + std::to_string(i), storages[i]);
  if (zip_close(archive) != 0) std::abort();
  zip_source_open(target);
  zip_source_seek(target, 0, SEEK_END);
  std::string bytes(static_cast<size_t>(zip_source_tell(target)), '\0');
  zip_source_seek(target, 0, SEEK_SET);
  zip_source_read(target, bytes.data(), bytes.size());
  zip_source_close(target);
  zip_source_free(target);
  return bytes;
}

}  // namespace

void safetensors(const uint8_t* bytes, size_t count) {
  const MemoryFile file(bytes, count);
  try {
    use(*data::open_safetensors(file.path()));
  } catch (const DataError&) {
  }
}

void pickle(const uint8_t* bytes, size_t count) {
  try {
    const auto value = data::pickle::parse({reinterpret_cast<const char*>(bytes), count}, "fuzz");
    if (!value.root) __builtin_trap();
    data::pickle::kind_text(*value.root);
  } catch (const DataError&) {
  }
}

void torch_checkpoint(const uint8_t* bytes, size_t count) {
  const MemoryFile file(bytes, count);
  try {
    use(*data::open_torch_checkpoint(file.path()));
  } catch (const DataError&) {
  }
}

void torch_pickle(const uint8_t* bytes, size_t count) {
  const std::string archive = archive_around({reinterpret_cast<const char*>(bytes), count});
  torch_checkpoint(reinterpret_cast<const uint8_t*>(archive.data()), archive.size());
}

std::vector<std::string> safetensors_seeds() {
  const test::TemporaryFolder folder;
  data::save_safetensors(folder / "a",
                         {{"x.weight", at::ones({2, 3})},
                          {"x.bias", at::ones({2}, at::kBFloat16)},
                          {"mask", at::ones({5}, at::kBool)},
                          {"empty", at::empty({0, 4}, at::kLong)}},
                         {{"format", "pt"}});
  const std::string packed = R"({"w":{"dtype":"F4","shape":[2,3],"data_offsets":[0,3]}})";
  return {file_bytes(folder / "a"), file_bytes(golden / "dtypes.safetensors"),
          std::string("\x37\0\0\0\0\0\0\0", 8) + packed + "abc"};
}

std::vector<std::string> pickle_seeds() {
  std::vector<std::string> seeds;
  for (const auto* name : {"state_dict.pt", "views.pt", "dtypes.pt", "trainer.pt", "protocol4.pt", "malicious.pt"})
    seeds.push_back(archive_entry(golden / name, "/data.pkl"));
  seeds.push_back(file_bytes(golden / "opcodes.pkl"));  // every opcode that those lack
  return seeds;
}

std::vector<std::string> torch_seeds() {
  return {file_bytes(golden / "state_dict.pt"), file_bytes(golden / "views.pt"), file_bytes(golden / "tensor.pt")};
}

}  // namespace monarch::fuzz
