#pragma once
// Finished files of PDE data, from samples that lie one behind the other.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "monarch/data/field_writer.hpp"

namespace monarch::data {

/// Gives elements [first, first + count) of every sample of variable number `variable`, as [samples, count]; elements
/// of a sample are in the order of the file: reversed axes for MATLAB, as they are for PDEBench.
using SampleElements = std::function<at::Tensor(size_t variable, int64_t first, int64_t count)>;

/// Writes the file that `layout` describes. Memory: about 256 MiB at most. Throws DataError (disk full).
void write_field_file(const std::filesystem::path& path, const FieldLayout& layout, const SampleElements& elements);

/// Throws DataError where the format cannot hold the layout: types, names, MATLAB v5's 2 GiB a variable.
void check_field_layout(const std::filesystem::path& path, const FieldLayout& layout);

/// Elements of one sample.
int64_t sample_numel(const FieldVariable& variable);

}  // namespace monarch::data
