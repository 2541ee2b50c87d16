#include "peer_python.hpp"

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

std::vector<std::string> python_command(const std::string& program) {
  return {"env", "-u", "OMP_WAIT_POLICY", program, "-c"};
}

std::map<std::string, std::string> python_environment(int threads) {
  return {{"OMP_NUM_THREADS", std::to_string(threads)}};
}

}  // namespace monarch::bench
