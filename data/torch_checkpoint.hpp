#pragma once
// Files of torch.save: a zip archive of one pickle and one entry for each storage.

#include <filesystem>
#include <memory>
#include <string_view>

#include "monarch/data/checkpoint.hpp"

namespace monarch::data {

/// Opens what torch.save wrote since PyTorch 1.6 (.pt, .pth, .bin): dictionaries and lists, nested in any way, whose
/// leaves are tensors. Names are the keys joined with '.': a trainer's {'model': state_dict, 'epoch': 3} gives
/// "model.fc.weight" and the metadata entry "epoch". Objects of other classes are noted and skipped.
///
/// The pickle is read by pickle::parse (data/pickle.hpp), which runs no code; a call of anything but PyTorch's tensor
/// constructors is refused by name. Storages must have the size that the pickle states, lie in the archive uncompressed
/// (as torch.save writes them, so that nothing expands) and match their checksum; views must stay inside their storage.
/// Throws DataError, also for files of other kinds: TorchScript, the format before 1.6 (the message holds the command
/// that converts), whole modules.
std::shared_ptr<const Checkpoint> open_torch_checkpoint(const std::filesystem::path& path);

/// True for the first bytes of a bare pickle, as PyTorch wrote before version 1.6.
bool looks_like_pickle(std::string_view start);
/// Throws DataError with the command that converts such a file.
[[noreturn]] void refuse_legacy_torch(const std::filesystem::path& path);

}  // namespace monarch::data
