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
                      const std::map<std::string, std::string>& environment = {}, const std::string& log = "child.log");

/// A program that answers each line on its stdin with one line on its stdout, and ends when its stdin does.
class Dialogue {
 public:
  /// Starts it (looked up on PATH) in `folder`, with stderr in the file `log` there and `environment` added to ours.
  /// Throws BackendError where it cannot be started.
  Dialogue(const std::vector<std::string>& words, const std::filesystem::path& folder,
           const std::map<std::string, std::string>& environment = {}, const std::string& log = "dialogue.log");
  /// Ends the program (SIGTERM) and waits for it.
  ~Dialogue();
  Dialogue(const Dialogue&) = delete;
  Dialogue& operator=(const Dialogue&) = delete;

  /// The answer to a line, both without line ends. Throws BackendError with what stands on stderr where the program has
  /// ended instead of answering.
  std::string ask(const std::string& line);

 private:
  std::string name_;
  std::filesystem::path log_;
  int socket_ = -1;
  int process_ = -1;
  std::string received_;  // beyond the last answer
};

/// The environment for OpenMP programs: that many threads, which sleep while they wait.
std::map<std::string, std::string> thread_environment(int threads);

/// Full path of a program on PATH, or "".
std::string find_program(const std::string& name);

}  // namespace monarch
