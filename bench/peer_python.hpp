#pragma once
// A Python interpreter that has what a peer needs.

#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
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

/// find_peer_python() where PyTorch is usually found, after the interpreter `python` ("": none).
PeerPython find_torch_python(const std::string& python, const std::string& probe, const std::filesystem::path& folder);

/// The interpreter of find_torch_python(), whose PyTorch goes into report["versions"]; else "", said in
/// report["missing"].
std::string find_torch(const std::string& python, const std::filesystem::path& folder, nlohmann::json& report);

/// Words before the arguments of a PyTorch peer, which keeps its own way of waiting (spinning for a while): PyTorch on
/// several threads is two to three times slower where OMP_WAIT_POLICY=passive, which our program sets for itself.
std::vector<std::string> python_command(const std::string& program);

/// What it finds in its environment beside ours.
std::map<std::string, std::string> python_environment(int threads);

}  // namespace monarch::bench
