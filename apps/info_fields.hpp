#pragma once
// The part of `monarch info` that knows PDE data.

#include <string>
#include <vector>

#include "monarch/data/fields.hpp"

namespace monarch::apps {

/// Fields, shapes, types, ranges of a few samples, coordinates, parameters and notes, as a table or as JSON.
void print_fields(const std::string& file, const data::FieldSource& source, bool json);

/// Options from words as "u=nxyt". Throws ConfigError.
data::FieldOptions field_options(const std::vector<std::string>& axes);

/// True for a folder.
bool is_folder(const std::string& path);

}  // namespace monarch::apps
