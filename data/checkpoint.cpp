#include "monarch/data/checkpoint.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/input_file.hpp"
#include "monarch/data/safetensors.hpp"
#include "monarch/data/torch_checkpoint.hpp"

namespace monarch::data {

namespace fs = std::filesystem;

uint64_t checked_numel(const std::vector<int64_t>& shape, const std::string& where) {
  uint64_t numel = 1, others = 1;
  bool sane = true;
  for (const int64_t extent : shape) {
    sane = sane && extent >= 0 &&
           !__builtin_mul_overflow(others, std::max<uint64_t>(static_cast<uint64_t>(extent), 1), &others) &&
           others <= uint64_t{1} << 53;
    numel *= static_cast<uint64_t>(extent);
  }
  check<DataError>(
      sane, [&] { return fmt::format("{}: absurd shape {}", where, shape_text(shape)); },
      "the file is damaged or hostile");
  return numel;
}

const TensorInfo* Checkpoint::find(const std::string& tensor) const {
  const auto found = index_.find(tensor);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

at::Tensor Checkpoint::load(const std::string& tensor) const {
  const auto found = index_.find(tensor);
  if (found == index_.end()) {
    std::vector<std::string> names;
    for (const auto& info : tensors_) names.push_back(info.name);
    const std::string near = closest_match(tensor, names);
    fail<DataError>(fmt::format("{}: has no tensor '{}'", name_, tensor),
                    near.empty() ? "`monarch inspect` lists its tensors" : fmt::format("did you mean {}?", near));
  }
  check<DataError>(
      tensors_[found->second].type.has_value(),
      [&] {
        return fmt::format("{}: tensor '{}' is of type {}, which cannot be loaded", name_, tensor,
                           tensors_[found->second].dtype);
      },
      "convert it to a type of whole bytes");
  return do_load(found->second);
}

void Checkpoint::add(TensorInfo info) {
  const bool printable =
      std::none_of(info.name.begin(), info.name.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  check<DataError>(
      !info.name.empty() && info.name.size() <= 1000 && printable && is_utf8(info.name),
      [&] {
        return fmt::format(
            "{}: tensor number {} has a name of {} bytes that is empty, longer than 1000 bytes, or no text", name_,
            tensors_.size(), info.name.size());
      },
      "the file is damaged or hostile");
  check<DataError>(index_.emplace(info.name, tensors_.size()).second,
                   [&] { return fmt::format("{}: two tensors are named '{}'", name_, info.name); });
  tensors_.push_back(std::move(info));
}

namespace {

constexpr uint64_t largest_index = uint64_t{100} << 20;

/// HuggingFace's index of several files: {"metadata": {…}, "weight_map": {tensor: file in the same folder}}.
class ShardedCheckpoint final : public Checkpoint {
 public:
  explicit ShardedCheckpoint(const fs::path& path) : Checkpoint(path.string(), "sharded") {
    std::map<std::string, std::vector<std::string>> shards;  // file -> tensors
    for (const auto& [tensor, file] : weight_map(path)) shards[file].push_back(tensor);
    for (const auto& [file, names] : shards) {
      const auto shard = open_shard(path.parent_path() / file);
      for (const auto& tensor : names) {
        const TensorInfo* info = shard->find(tensor);
        check<DataError>(
            info != nullptr,
            [&] { return fmt::format("{}: says that {} holds tensor '{}', which it does not", name(), file, tensor); },
            "the files are of different models, or one is damaged");
        add(*info);
        shards_.push_back(shard);
      }
      for (const auto& [key, value] : shard->metadata()) metadata_.emplace(key, value);
      for (const auto& note : shard->notes()) notes_.push_back(file + ": " + note);
    }
    check<DataError>(!tensors().empty(), [&] { return fmt::format("{}: lists no tensor", name()); });
  }

 private:
  std::vector<std::pair<std::string, std::string>> weight_map(const fs::path& path) const {
    const InputFile file(path);
    check<DataError>(file.size() <= largest_index, [&] {
      return fmt::format("{}: has {} bytes, expected an index of at most {}", name(), file.size(), largest_index);
    });
    std::string text(file.size(), '\0');
    file.read(0, text.data(), text.size());
    // Everything deeper than the two levels that an index has is dropped while parsing.
    const auto shallow = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) { return depth <= 2; };
    const nlohmann::json index = nlohmann::json::parse(text, shallow, /*allow_exceptions=*/false);
    check<DataError>(
        index.is_object() && index.contains("weight_map") && index["weight_map"].is_object(),
        [&] { return fmt::format("{}: expected JSON with an object 'weight_map'", name()); },
        "is it the index of a sharded model (model.safetensors.index.json)?");
    std::vector<std::pair<std::string, std::string>> result;
    for (const auto& [tensor, place] : index["weight_map"].items()) {
      const std::string shard = place.is_string() ? place.get<std::string>() : std::string();
      const bool plain = !shard.empty() && shard != "." && shard != ".." && shard.find('/') == std::string::npos &&
                         shard.find('\0') == std::string::npos && !shard.ends_with(".index.json");
      check<DataError>(
          plain,
          [&] {
            return fmt::format("{}: tensor '{}' lies in '{}', expected the name of a file in the same folder", name(),
                               tensor, shard);
          },
          "the index is damaged or hostile");
      result.emplace_back(tensor, shard);
    }
    return result;
  }

  static std::shared_ptr<const Checkpoint> open_shard(const fs::path& path);

  at::Tensor do_load(size_t index) const override { return shards_[index]->load(tensors()[index].name); }

  std::vector<std::shared_ptr<const Checkpoint>> shards_;  // of each tensor
};

/// The tensors below a key of another checkpoint.
class SelectedCheckpoint final : public Checkpoint {
 public:
  SelectedCheckpoint(std::shared_ptr<const Checkpoint> whole, const std::string& key)
      : Checkpoint(whole->name(), whole->format()), whole_(std::move(whole)), prefix_(key + ".") {
    std::set<std::string> keys;
    for (TensorInfo info : whole_->tensors()) {
      if (const size_t dot = info.name.find('.'); dot != std::string::npos) keys.insert(info.name.substr(0, dot));
      if (!info.name.starts_with(prefix_)) continue;
      info.name = info.name.substr(prefix_.size());
      add(std::move(info));
    }
    const std::vector<std::string> known(keys.begin(),
                                         std::next(keys.begin(), std::min<long>(10, static_cast<long>(keys.size()))));
    check<DataError>(
        !tensors().empty(), [&] { return fmt::format("{}: has no tensors below '{}'", name(), key); },
        known.empty() ? "its tensors lie at the top" : "try " + join_or(known));
    for (const auto& [name, value] : whole_->metadata()) metadata_.emplace(name, value);
    notes_ = whole_->notes();
  }

 private:
  at::Tensor do_load(size_t index) const override { return whole_->load(prefix_ + tensors()[index].name); }

  std::shared_ptr<const Checkpoint> whole_;
  std::string prefix_;
};

/// The checkpoint in a folder, under the names that HuggingFace gives.
fs::path in_folder(const fs::path& folder) {
  std::error_code error;
  static const std::vector<std::string> names = {"model.safetensors", "model.safetensors.index.json",
                                                 "pytorch_model.bin", "pytorch_model.bin.index.json"};
  for (const auto& name : names) {
    if (fs::exists(folder / name, error)) return folder / name;
  }
  fail<DataError>(
      fmt::format("{}: is a folder without a checkpoint, expected {} in it", folder.string(), join_or(names)),
      "name the file");
}

/// One file that holds tensors itself.
std::shared_ptr<const Checkpoint> open_file(const fs::path& path, std::string_view start) {
  if (start.starts_with("PK\x03\x04") || start.starts_with("PK\x05\x06")) return open_torch_checkpoint(path);
  if (start.size() > 8 && start[8] == '{') return open_safetensors(path);
  if (looks_like_pickle(start)) refuse_legacy_torch(path);
  std::string found = "found unknown content";
  if (start.starts_with("\x89HDF\r\n")) found = "found HDF5 (a Keras model?)";
  if (start.starts_with("version https://git-l")) found = "found a Git LFS pointer instead of the file";
  if (start.starts_with("GGUF")) found = "found GGUF";
  fail<DataError>(fmt::format("{}: expected a safetensors file or a PyTorch checkpoint, {}", path.string(), found),
                  found.find("LFS") != std::string::npos ? "fetch it with `git lfs pull`"
                                                         : "the file may be truncated, or of another format");
}

constexpr size_t start_bytes = 64;

std::shared_ptr<const Checkpoint> ShardedCheckpoint::open_shard(const fs::path& path) {
  check_input_file(path);
  return open_file(path, read_prefix(path, start_bytes));
}

}  // namespace

std::shared_ptr<const Checkpoint> open_checkpoint(const fs::path& path, const CheckpointOptions& options) {
  std::error_code error;
  const fs::path file = fs::is_directory(path, error) ? in_folder(path) : path;
  check_input_file(file);
  const std::string start = read_prefix(file, start_bytes);
  const size_t first = start.find_first_not_of(" \t\r\n");
  const bool json =
      first != std::string::npos && start[first] == '{' && !(start.size() > 8 && start[8] == '{' && start[7] == '\0');
  std::shared_ptr<const Checkpoint> checkpoint;
  if (json)
    checkpoint = std::make_shared<ShardedCheckpoint>(file);
  else
    checkpoint = open_file(file, start);
  if (!options.select.empty()) checkpoint = std::make_shared<SelectedCheckpoint>(checkpoint, options.select);
  return checkpoint;
}

}  // namespace monarch::data
