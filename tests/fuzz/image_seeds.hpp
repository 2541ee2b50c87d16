#pragma once
// Valid image files that the fuzz targets start from.

#include <string>
#include <vector>

namespace monarch::fuzz {

std::vector<std::string> idx_seeds();
std::vector<std::string> cifar_seeds();
std::vector<std::string> digits_seeds();
std::vector<std::string> picture_seeds();

}  // namespace monarch::fuzz
