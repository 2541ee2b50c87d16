#pragma once
// Other programs as timed child processes.

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace monarch {

/// What a child process did.
struct ChildResult {
  int exit_code = -1;  ///< 128 + signal when a signal ended it, 127 when it could not be started
  double seconds = 0;  ///< wall time from start to exit
  std::string output;  ///< stdout and stderr together
};

/// Runs a program (looked up on PATH) in `folder`, with its output in the file `log` there and `environment` added to
/// ours. Several threads may run children at once.
ChildResult run_child(const std::vector<std::string>& words, const std::filesystem::path& folder,
                      const std::map<std::string, std::string>& environment = {},
                      const std::string& log = "child.log");

/// The environment for OpenMP programs: that many threads, which sleep while they wait.
std::map<std::string, std::string> thread_environment(int threads);

/// Full path of a program on PATH, or "".
std::string find_program(const std::string& name);

}  // namespace monarch
