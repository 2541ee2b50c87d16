#pragma once
// Valid files of PDE data that the fuzz targets start from.

#include <string>
#include <vector>

namespace monarch::fuzz {

std::vector<std::string> mat5_seeds();
/// Variables of a MATLAB v5 file, each with its tag, before compression.
std::vector<std::string> mat5_inner_seeds();
std::vector<std::string> hdf5_fields_seeds();

}  // namespace monarch::fuzz
