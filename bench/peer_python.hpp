#pragma once
// A Python interpreter that has what a peer needs.

#include <filesystem>
#include <string>
#include <vector>

namespace monarch::bench {

struct PeerPython {
  std::string program;              ///< absolute path; "": none was found
  std::vector<std::string> answer;  ///< lines that the probe printed
};

/// The first of `candidates` (paths, or names on PATH; "" is passed over) that runs the program `probe` in `folder`
/// with exit code 0.
PeerPython find_peer_python(const std::vector<std::string>& candidates, const std::string& probe,
                            const std::filesystem::path& folder);

}  // namespace monarch::bench
