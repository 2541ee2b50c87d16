#pragma once
// The readers behind open_fields, one per format. Each throws DataError.

#include <filesystem>
#include <memory>
#include <string>

#include "monarch/data/fields.hpp"
#include "monarch/data/hdf5.hpp"

namespace monarch::data {

/// MATLAB v5 to v7.2.
FieldSourcePtr open_mat5_fields(const std::filesystem::path& path, const FieldOptions& options = {});
/// MATLAB v7.3: HDF5 with MATLAB_class attributes, axes reversed.
FieldSourcePtr open_mat73_fields(std::shared_ptr<const hdf5::File> file, const FieldOptions& options = {});
/// True for HDF5 that MATLAB wrote, or that looks so.
bool is_mat73(const hdf5::File& file);
/// PDEBench, The Well, PDEArena, and HDF5 of no particular layout.
FieldSourcePtr open_hdf5_fields(std::shared_ptr<const hdf5::File> file, const FieldOptions& options = {});
/// Dictionaries of tensors: PyTorch, safetensors.
FieldSourcePtr open_torch_fields(const std::filesystem::path& path, const FieldOptions& options = {});
/// One array.
FieldSourcePtr open_npy_fields(const std::filesystem::path& path, const FieldOptions& options = {});
/// The files of a folder as one source, samples in the order of names.
FieldSourcePtr open_fields_folder(const std::filesystem::path& folder, const FieldOptions& options = {});

}  // namespace monarch::data
