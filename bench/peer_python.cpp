#include "peer_python.hpp"

#include <nlohmann/json.hpp>
#include <sstream>

#include "monarch/core/process.hpp"

namespace monarch::bench {

PeerPython find_peer_python(const std::vector<std::string>& candidates, const std::string& probe,
                            const std::filesystem::path& folder) {
  for (const std::string& python : candidates) {
    const std::string path = python.empty() ? "" : find_program(python);
    if (path.empty()) continue;
    PeerPython found{path.front() == '/' ? path : (std::filesystem::current_path() / path).string(), {}};
    const auto asked = run_child({found.program, "-c", probe}, folder);
    if (asked.exit_code != 0) continue;
    std::istringstream lines(asked.output);
    for (std::string line; std::getline(lines, line);) found.answer.push_back(line);
    return found;
  }
  return {};
}

PeerPython find_torch_python(const std::string& python, const std::string& probe, const std::filesystem::path& folder) {
  return find_peer_python({python, ".deps/peers/bin/python", ".deps/venv/bin/python", "python3"}, probe, folder);
}

std::string find_torch(const std::string& python, const std::filesystem::path& folder, nlohmann::json& report) {
  const PeerPython found = find_torch_python(python, "import torch; print(torch.__version__)", folder);
  if (found.program.empty()) {
    report["missing"].push_back("no Python that imports torch (--python, .deps/peers, .deps/venv, python3): PyTorch");
  } else {
    report["versions"]["torch"] = found.answer.at(0);
  }
  return found.program;
}

std::vector<std::string> python_command(const std::string& program) {
  return {"env", "-u", "OMP_WAIT_POLICY", program, "-c"};
}

std::map<std::string, std::string> python_environment(int threads) {
  return {{"OMP_NUM_THREADS", std::to_string(threads)}};
}

}  // namespace monarch::bench
