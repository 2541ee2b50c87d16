#pragma once
// What the tests of tokenizers share.

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace monarch::test {

inline const std::filesystem::path golden_tokenizers =
    std::filesystem::path(MONARCH_SOURCE_DIR) / "tests/golden/tokenizers";

inline std::string file_text(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream out;
  out << stream.rdbuf();
  return out.str();
}

}  // namespace monarch::test
