#pragma once
// Valid checkpoints that the fuzz targets start from.

#include <string>
#include <vector>

namespace monarch::fuzz {

std::vector<std::string> safetensors_seeds();
/// Pickles of protocol 2 and 4 as PyTorch writes them, and a hand-made one with the other opcodes.
std::vector<std::string> pickle_seeds();
std::vector<std::string> torch_seeds();

}  // namespace monarch::fuzz
