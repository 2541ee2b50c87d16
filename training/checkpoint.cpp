#include "monarch/training/checkpoint.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <set>
#include <string_view>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/checkpoint.hpp"
#include "monarch/data/safetensors.hpp"
#include "monarch/operators/nn/convert.hpp"

namespace fs = std::filesystem;

namespace monarch::training {
namespace {

constexpr const char* kPairs = "#complex128";  // safetensors has no such type: stored as pairs of float64
constexpr const char* kConstants = "constants.";

void sync_folder(const fs::path& folder) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY);
  if (descriptor < 0) return;
  fsync(descriptor);
  close(descriptor);
}

void save(const fs::path& file, const NamedTensors& tensors) {
  NamedTensors stored;
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor value = tensor.detach();
    if (value.scalar_type() == at::kComplexDouble)
      stored.emplace_back(name + kPairs, at::view_as_real(value.resolve_conj().contiguous()));
    else
      stored.emplace_back(name, value);
  }
  data::save_safetensors(file, stored, {{"format", "monarch training"}});
}

NamedTensors load(const fs::path& file) {
  const auto checkpoint = data::open_safetensors(file);
  NamedTensors tensors;
  for (const auto& info : checkpoint->tensors()) {
    at::Tensor value = checkpoint->load(info.name);
    std::string name = info.name;
    if (name.ends_with(kPairs)) {
      name.resize(name.size() - std::strlen(kPairs));
      check<DataError>(value.scalar_type() == at::kDouble && value.dim() >= 1 && value.size(-1) == 2,
                       [&] { return fmt::format("{}: '{}' is no array of float64 pairs", file.string(), info.name); });
      value = at::view_as_complex(value);
    }
    tensors.emplace_back(std::move(name), std::move(value));
  }
  return tensors;
}

constexpr std::string_view kPartial = ".partial", kAside = ".aside";

fs::path hidden(const fs::path& folder, std::string_view ending) {
  return folder.parent_path() / fmt::format(".{}{}", folder.filename().string(), ending);
}

/// Puts `from` in the place of `to`, which may exist.
void move_into_place(const fs::path& from, const fs::path& to) {
  std::error_code error;
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) {
    fs::remove_all(from, error);
  } else {
    const fs::path aside = hidden(to, kAside);
    const bool replaces = errno != ENOENT;  // then this file system cannot exchange
    if (replaces) {
      fs::remove_all(aside, error);
      fs::rename(to, aside, error);
    }
    if (!error) fs::rename(from, to, error);
    check<DataError>(!error, [&] { return fmt::format("{}: cannot be written: {}", to.string(), error.message()); });
    if (replaces) fs::remove_all(aside, error);
  }
  sync_folder(to.parent_path());
}

}  // namespace

void save_training_checkpoint(const fs::path& folder, const TrainingCheckpoint& checkpoint) {
  fs::path target = fs::absolute(folder).lexically_normal();
  if (target.filename().empty()) target = target.parent_path();
  const fs::path staging = hidden(target, kPartial);
  std::error_code error;
  fs::remove_all(staging, error);
  fs::create_directories(staging, error);
  check<DataError>(!error, [&] { return fmt::format("{}: cannot be made: {}", staging.string(), error.message()); });
  try {
    NamedTensors model = checkpoint.model;
    for (const auto& [name, tensor] : checkpoint.constants) model.emplace_back(kConstants + name, tensor);
    save(staging / "model.safetensors", model);
    if (!checkpoint.optimiser.empty()) save(staging / "optimiser.safetensors", checkpoint.optimiser);
    write_file_atomically(staging / "state.json",
                          checkpoint.state.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    sync_folder(staging);
    move_into_place(staging, target);
  } catch (const DataError& problem) {
    fs::remove_all(staging, error);
    fail<DataError>(fmt::format("{}: the checkpoint cannot be written: {}", target.string(), problem.message()),
                    "is the disk full? Earlier checkpoints are kept; make room and continue with --resume");
  } catch (...) {
    fs::remove_all(staging, error);
    throw;
  }
}

void recover_checkpoints(const fs::path& parent) {
  std::error_code error;
  std::vector<fs::path> left;
  for (const auto& entry : fs::directory_iterator(parent, error)) left.push_back(entry.path());
  for (const auto& path : left) {
    const std::string name = path.filename().string();
    if (!name.starts_with('.')) continue;
    if (name.ends_with(kAside)) {
      const fs::path target = parent / name.substr(1, name.size() - 1 - kAside.size());
      if (!fs::exists(target, error)) fs::rename(path, target, error);
      fs::remove_all(path, error);
    }
    if (name.ends_with(kPartial)) fs::remove_all(path, error);
  }
}

std::vector<fs::path> checkpoint_folders(const fs::path& run) {
  std::vector<fs::path> folders;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(run / "checkpoints", ignored))
    if (entry.path().filename().string().starts_with("step-")) folders.push_back(entry.path());
  std::sort(folders.rbegin(), folders.rend());
  return folders;
}

TrainingCheckpoint load_training_checkpoint(const fs::path& place) {
  std::error_code ignored;
  fs::path folder = place;
  if (!fs::exists(folder / "state.json", ignored)) {
    if (fs::exists(folder / "best/state.json", ignored)) {
      folder /= "best";
    } else if (const auto all = checkpoint_folders(folder); !all.empty()) {
      folder = all.front();
    }
  }
  std::ifstream file(folder / "state.json");
  check<DataError>(
      file.good(), [&] { return fmt::format("{}: no checkpoint of Monarch here", place.string()); },
      "give the output folder of `monarch train`, or a checkpoint folder in it");
  TrainingCheckpoint checkpoint;
  checkpoint.state = nlohmann::json::parse(file, nullptr, false);
  check<DataError>(checkpoint.state.is_object(),
                   [&] { return fmt::format("{}: not valid JSON", (folder / "state.json").string()); });
  for (auto& [name, tensor] : load(folder / "model.safetensors")) {
    if (name.starts_with(kConstants))
      checkpoint.constants.emplace_back(name.substr(std::strlen(kConstants)), tensor);
    else
      checkpoint.model.emplace_back(name, tensor);
  }
  if (fs::exists(folder / "optimiser.safetensors", ignored))
    checkpoint.optimiser = load(folder / "optimiser.safetensors");
  return checkpoint;
}

NamedTensors module_tensors(const torch::nn::Module& module) {
  NamedTensors tensors;
  for (const auto& item : module.named_parameters()) tensors.emplace_back(item.key(), item.value());
  for (const auto& item : module.named_buffers())
    if (item.value().defined()) tensors.emplace_back(item.key(), item.value());
  return tensors;
}

void load_weights(torch::nn::Module& module, const NamedTensors& tensors, const std::string& origin) {
  const at::NoGradGuard no_grad;
  std::map<std::string, at::Tensor> found(tensors.begin(), tensors.end());
  std::string problems;
  const NamedTensors own = module_tensors(module);
  for (const auto& [name, tensor] : own) {
    const auto it = found.find(name);
    if (it == found.end()) {
      problems += fmt::format("\n  {} {} is missing", name, shape_text(tensor.sizes()));
      continue;
    }
    if (it->second.sizes() != tensor.sizes() || it->second.is_complex() != tensor.is_complex())
      problems +=
          fmt::format("\n  {} is {} {}, expected {} {}", name, toString(it->second.scalar_type()),
                      shape_text(it->second.sizes()), toString(tensor.scalar_type()), shape_text(tensor.sizes()));
  }
  std::set<std::string> known;
  for (const auto& item : own) known.insert(item.first);
  for (const auto& [name, tensor] : tensors)
    if (!known.contains(name)) problems += fmt::format("\n  {} {} has no place", name, shape_text(tensor.sizes()));
  check<DataError>(problems.empty(),
                   [&] { return fmt::format("{}: a checkpoint of another model:{}", origin, problems); });
  for (const auto& [name, tensor] : own) tensor.copy_(found.at(name));
}

void load_model(torch::nn::Module& module, const TrainingCheckpoint& checkpoint, const std::string& origin) {
  if (checkpoint.state.value("densified", false)) operators::to_dense(module);
  load_weights(module, checkpoint.model, origin);
}

}  // namespace monarch::training
