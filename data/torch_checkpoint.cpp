#include "monarch/data/torch_checkpoint.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <zip.h>

#include <cstring>
#include <mutex>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/element_type.hpp"
#include "monarch/data/input_file.hpp"
#include "monarch/data/pickle.hpp"

namespace monarch::data {
namespace {

constexpr uint64_t largest_pickle = uint64_t{64} << 20;
constexpr int deepest_nesting = 64;
constexpr int64_t most_leaves = 4'000'000;
constexpr size_t most_tensors = 500'000;
constexpr size_t longest_path = 1000;
constexpr size_t most_metadata = 1000;
constexpr size_t most_notes = 20;
/// A view may repeat its storage's elements (an expanded tensor) up to this size.
constexpr uint64_t largest_expansion = uint64_t{64} << 20;
constexpr const char* damaged = "the file is damaged or truncated";

/// The archive: entries by name, uncompressed ones only.
class Archive {
 public:
  Archive(const std::filesystem::path& path, uint64_t file_bytes) : name_(path.string()), file_bytes_(file_bytes) {
    int code = 0;
    zip_ = zip_open(path.c_str(), ZIP_RDONLY | ZIP_CHECKCONS, &code);
    if (!zip_) {
      zip_error_t error;
      zip_error_init_with_code(&error, code);
      const std::string reason = zip_error_strerror(&error);
      zip_error_fini(&error);
      fail<DataError>(fmt::format("{}: is no intact zip archive: {}", name_, reason), damaged);
    }
  }
  ~Archive() { zip_discard(zip_); }
  Archive(const Archive&) = delete;
  Archive& operator=(const Archive&) = delete;

  int64_t entries() const { return zip_get_num_entries(zip_, 0); }
  std::string entry_name(int64_t index) const {
    const char* name = zip_get_name(zip_, static_cast<uint64_t>(index), ZIP_FL_ENC_RAW);
    return name ? name : "";
  }
  bool has(const std::string& entry) const { return zip_name_locate(zip_, entry.c_str(), ZIP_FL_ENC_RAW) >= 0; }

  struct Entry {
    uint64_t index = 0;
    uint64_t bytes = 0;
    bool checksum = false;  ///< PyTorch writes 0 when told to leave checksums out
  };
  /// Throws DataError where the entry is missing, encrypted, compressed or larger than the file.
  Entry entry(const std::string& name) const {
    zip_stat_t stat;
    zip_stat_init(&stat);
    const int64_t index = zip_name_locate(zip_, name.c_str(), ZIP_FL_ENC_RAW);
    check<DataError>(
        index >= 0, [&] { return fmt::format("{}: the archive has no entry {}", name_, name); }, damaged);
    constexpr zip_uint64_t needed = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_CRC;
    const bool known =
        zip_stat_index(zip_, static_cast<uint64_t>(index), 0, &stat) == 0 && (stat.valid & needed) == needed;
    check<DataError>(
        known, [&] { return fmt::format("{}: the archive does not describe its entry {}", name_, name); }, damaged);
    check<DataError>(
        stat.comp_method == ZIP_CM_STORE && stat.encryption_method == ZIP_EM_NONE,
        [&] { return fmt::format("{}: entry {} is compressed or encrypted, expected it as it is", name_, name); },
        "torch.save stores entries uncompressed: load the file in Python and save it again");
    check<DataError>(
        stat.size == stat.comp_size && stat.size <= file_bytes_,
        [&] {
          return fmt::format("{}: entry {} claims {} bytes, the whole file has {}", name_, name, stat.size,
                             file_bytes_);
        },
        damaged);
    return {static_cast<uint64_t>(index), stat.size, stat.crc != 0};
  }
  void read(const Entry& entry, const std::string& name, void* to) const {
    const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(zip_fopen_index(zip_, entry.index, 0), zip_fclose);
    check<DataError>(
        file != nullptr,
        [&] { return fmt::format("{}: entry {} cannot be read: {}", name_, name, zip_strerror(zip_)); }, damaged);
    uint64_t done = 0;
    int64_t count = 1;
    while (done < entry.bytes && count > 0) {
      count = zip_fread(file.get(), static_cast<char*>(to) + done, entry.bytes - done);
      if (count > 0) done += static_cast<uint64_t>(count);
    }
    char beyond = 0;
    if (entry.checksum && count >= 0) count = zip_fread(file.get(), &beyond, 1);  // the end of the entry: its checksum
    check<DataError>(
        done == entry.bytes && (count == 0 || !entry.checksum),
        [&] {
          return fmt::format("{}: entry {} is damaged: {} of {} bytes read: {}", name_, name, done, entry.bytes,
                             zip_error_strerror(zip_file_get_error(file.get())));
        },
        "copy the file again");
  }
  std::string text(const std::string& name, uint64_t limit) const {
    const Entry found = entry(name);
    check<DataError>(
        found.bytes <= limit,
        [&] { return fmt::format("{}: entry {} has {} bytes, expected at most {}", name_, name, found.bytes, limit); },
        damaged);
    std::string bytes(found.bytes, '\0');
    read(found, name, bytes.data());
    return bytes;
  }

 private:
  std::string name_;
  uint64_t file_bytes_;
  zip_t* zip_ = nullptr;
};

class TorchCheckpoint final : public Checkpoint {
 public:
  TorchCheckpoint(const std::filesystem::path& path, uint64_t file_bytes)
      : Checkpoint(path.string(), "PyTorch"), archive_(path, file_bytes) {
    find_prefix();
    if (archive_.has(prefix_ + "byteorder")) {
      const std::string order = archive_.text(prefix_ + "byteorder", 64);
      check<DataError>(
          order == "little", [&] { return fmt::format("{}: holds big-endian numbers", name()); },
          "save it again on a little-endian machine (torch.save)");
    }
    const auto pickle = pickle::parse(archive_.text(prefix_ + "data.pkl", largest_pickle), name());
    collect(*pickle.root, "", 0);
    check<DataError>(
        !tensors().empty(),
        [&] { return fmt::format("{}: holds no tensor, but {}", name(), pickle::kind_text(*pickle.root)); },
        "save the tensors of a model in Python: torch.save(model.state_dict(), path)");
  }

 private:
  void find_prefix() {
    std::vector<std::string> found;
    for (int64_t i = 0; i < archive_.entries(); ++i) {
      const std::string entry = archive_.entry_name(i);
      if (entry == "data.pkl" || entry.ends_with("/data.pkl")) found.push_back(entry.substr(0, entry.size() - 8));
    }
    check<DataError>(
        found.size() == 1,
        [&] {
          return fmt::format("{}: is a zip archive with {} entries named data.pkl, expected one", name(), found.size());
        },
        "is it a checkpoint written by torch.save?");
    prefix_ = found[0];
    check<DataError>(
        !archive_.has(prefix_ + "constants.pkl"),
        [&] { return fmt::format("{}: is a TorchScript program, expected a state dict", name()); },
        "save its tensors in Python: torch.save(torch.jit.load(path).state_dict(), new_path)");
  }

  /// Adds the tensors below a value; `path` is its place in the tree.
  void collect(const pickle::Value& value, const std::string& path, int depth) {
    check<DataError>(
        depth <= deepest_nesting && ++leaves_ <= most_leaves,
        [&] { return fmt::format("{}: its objects are nested absurdly deep or often at '{}'", name(), path); },
        "the file is damaged or hostile");
    if (const auto* dict = std::get_if<std::unique_ptr<pickle::Dict>>(&value.content)) {
      for (const auto& [key, item] : (*dict)->entries) {
        if (const auto* text = std::get_if<pickle::Text>(&key->content))
          collect(*item, joined(path, **text), depth + 1);
        else if (const auto* number = std::get_if<int64_t>(&key->content))
          collect(*item, joined(path, std::to_string(*number)), depth + 1);
        else
          note(fmt::format("{}: an entry under {} as key is skipped", path, pickle::kind_text(*key)));
      }
    } else if (const auto* list = std::get_if<std::unique_ptr<pickle::List>>(&value.content)) {
      size_t i = 0;
      for (const auto* item : (*list)->items) collect(*item, joined(path, std::to_string(i++)), depth + 1);
    } else if (const auto* tensor = std::get_if<std::unique_ptr<pickle::StoredTensor>>(&value.content)) {
      add_tensor(**tensor, path.empty() ? "tensor" : path);
    } else {
      leaf(value, path);
    }
  }

  std::string joined(const std::string& path, const std::string& key) const {
    check<DataError>(
        path.size() + key.size() < longest_path,
        [&] { return fmt::format("{}: a key below '{:.100}' is longer than {} bytes", name(), path, longest_path); },
        damaged);
    return path.empty() ? key : path + "." + key;
  }

  void leaf(const pickle::Value& value, const std::string& path) {
    const auto set = [&](std::string text) {
      if (metadata_.size() < most_metadata && !path.empty()) metadata_.emplace(path, std::move(text));
    };
    if (const auto* text = std::get_if<pickle::Text>(&value.content)) {
      if ((*text)->size() <= longest_path) set(**text);
    } else if (const auto* integer = std::get_if<int64_t>(&value.content)) {
      set(std::to_string(*integer));
    } else if (const auto* real = std::get_if<double>(&value.content)) {
      set(fmt::format("{}", *real));
    } else if (const auto* flag = std::get_if<bool>(&value.content)) {
      set(*flag ? "true" : "false");
    } else if (!std::holds_alternative<pickle::None>(value.content)) {
      note(fmt::format("{}: {} is not read", path.empty() ? "the file" : path, pickle::kind_text(value)));
    }
  }

  void note(std::string text) {
    if (notes_.size() < most_notes) notes_.push_back(std::move(text));
  }

  void add_tensor(const pickle::StoredTensor& tensor, const std::string& path) {
    check<DataError>(
        tensors().size() < most_tensors,
        [&] { return fmt::format("{}: holds more than {} tensors", name(), most_tensors); },
        "the file is damaged or hostile");
    const std::string where = fmt::format("{}: tensor '{}'", name(), path);
    const uint64_t numel = checked_numel(tensor.shape, where);
    const uint64_t item = c10::elementSize(tensor.type);
    const pickle::Storage& storage = tensor.storage;
    const uint64_t storage_item = storage.untyped ? 1 : c10::elementSize(storage.type);
    const std::string entry = prefix_ + "data/" + storage.key;
    uint64_t held = 0;
    if (storage.numel > 0 || archive_.has(entry)) held = archive_.entry(entry).bytes;
    check<DataError>(
        static_cast<unsigned __int128>(storage.numel) * storage_item == held && held % item == 0,
        [&] {
          return fmt::format("{}: its storage {} should have {} elements of {} bytes, the archive's entry has {} bytes",
                             where, storage.key, storage.numel, storage_item, held);
        },
        damaged);
    // Last element of the view; exact in 128 bits: at most 64 terms below 2^53 · 2^63.
    __int128 last = tensor.offset;
    for (size_t i = 0; i < tensor.shape.size(); ++i)
      last += static_cast<__int128>(std::max<int64_t>(tensor.shape[i] - 1, 0)) * tensor.strides[i];
    check<DataError>(
        numel == 0 || last < static_cast<__int128>(held / item),
        [&] {
          return fmt::format("{}: shape {}, strides {} and offset {} reach beyond its storage of {} elements", where,
                             shape_text(tensor.shape), shape_text(tensor.strides), tensor.offset, held / item);
        },
        damaged);
    check<DataError>(
        numel * item <= std::max(held, largest_expansion),
        [&] {
          return fmt::format("{}: shape {} expands {} bytes of storage to {}", where, shape_text(tensor.shape), held,
                             bytes_text(static_cast<double>(numel * item)));
        },
        "the file is hostile, or the tensor has to be made small before it is saved");
    add({path, element_type_text(tensor.type), tensor.type, tensor.shape, numel * item});
    stored_.push_back(tensor);
  }

  at::Tensor do_load(size_t index) const override {
    const pickle::StoredTensor& tensor = stored_[index];
    if (tensors()[index].bytes == 0) return at::empty(tensor.shape, tensor.type);
    const std::lock_guard lock(mutex_);
    if (cached_key_ != tensor.storage.key) {
      const std::string entry = prefix_ + "data/" + tensor.storage.key;
      const auto found = archive_.entry(entry);
      cached_key_.clear();
      cached_ = at::empty({static_cast<int64_t>(found.bytes)}, at::kByte);
      archive_.read(found, entry, cached_.data_ptr());
      cached_key_ = tensor.storage.key;
    }
    if (tensor.type == at::kBool)  // any byte but 0 is true; LibTorch wants exactly 1
      return cached_.as_strided(tensor.shape, tensor.strides, tensor.offset).ne(0).contiguous();
    at::Tensor view = cached_.view(tensor.type).as_strided(tensor.shape, tensor.strides, tensor.offset);
    if (tensor.conjugate && view.is_complex()) view = view.conj();
    if (tensor.negative) view = view.neg();
    return at::empty(tensor.shape, tensor.type).copy_(view);
  }

  Archive archive_;
  std::string prefix_;
  int64_t leaves_ = 0;
  std::vector<pickle::StoredTensor> stored_;
  // Views of one storage are mostly loaded one after the other.
  mutable std::mutex mutex_;
  mutable std::string cached_key_;
  mutable at::Tensor cached_;
};

}  // namespace

std::shared_ptr<const Checkpoint> open_torch_checkpoint(const std::filesystem::path& path) {
  const uint64_t size = check_input_file(path);
  const std::string start = read_prefix(path, 16);
  if (looks_like_pickle(start)) refuse_legacy_torch(path);
  return std::make_shared<TorchCheckpoint>(path, size);
}

bool looks_like_pickle(std::string_view start) {
  // safetensors with a header of some lengths starts alike, but has a brace at byte 8.
  return start.size() >= 9 && start[0] == '\x80' && start[1] >= 2 && start[1] <= 5 && start[8] != '{';
}

void refuse_legacy_torch(const std::filesystem::path& path) {
  const std::string name = path.string();
  fail<DataError>(
      fmt::format("{}: is a bare pickle, as PyTorch wrote before version 1.6; expected a zip archive", name),
      fmt::format("convert it in Python: python3 -c \"import torch; torch.save(torch.load('{}', "
                  "map_location='cpu', weights_only=True), '{}.zip.pt')\"",
                  name, path.stem().string()));
}

}  // namespace monarch::data
