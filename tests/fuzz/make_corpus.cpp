// Writes the seeds of every fuzz target: make_fuzz_corpus DIR
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "fuzz/targets.hpp"

int main(int count, char** words) {
  if (count != 2) {
    std::fprintf(stderr, "usage: make_fuzz_corpus DIR\n");
    return 2;
  }
  for (const auto& target : monarch::fuzz::targets()) {
    const std::filesystem::path folder = std::filesystem::path(words[1]) / target.name;
    std::filesystem::create_directories(folder);
    int number = 0;
    for (const auto& seed : target.seeds()) {
      std::ofstream(folder / std::to_string(number++), std::ios::binary)
          .write(seed.data(), static_cast<std::streamsize>(seed.size()));
    }
  }
  return 0;
}
