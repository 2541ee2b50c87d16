#pragma once
// Trainings in processes of their own, and what they leave.

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fcntl.h>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "support/support.hpp"

namespace monarch::test {

inline std::string bytes_of(const std::filesystem::path& file) {
  std::ostringstream text;
  text << std::ifstream(file, std::ios::binary).rdbuf();
  return text.str();
}

inline std::vector<nlohmann::json> log_of(const std::filesystem::path& run) {
  std::vector<nlohmann::json> lines;
  std::ifstream file(run / "log.jsonl");
  for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

/// Weights, moments and generator of the last checkpoint, and the best weights.
inline std::string outcome_of(const std::filesystem::path& run, int64_t steps) {
  const auto last = run / "checkpoints" / fmt::format("step-{:09}", steps);
  const std::string all = bytes_of(last / "model.safetensors") + bytes_of(last / "optimiser.safetensors") +
                          bytes_of(run / "best/model.safetensors");
  return std::filesystem::exists(last / "state.json") ? all : "";
}

/// A worker that runs.
class Worker {
 public:
  /// `environment`: "A=1".
  Worker(const std::filesystem::path& config, const std::filesystem::path& folder, const std::string& flags = {},
         const std::vector<std::string>& environment = {})
      : output_(folder.string() + ".out") {
    std::vector<std::string> words{MONARCH_TRAINING_WORKER, config.string(), folder.string()};
    std::istringstream stream(flags);
    for (std::string word; stream >> word;) words.push_back(word);
    for (const auto& variable : environment)
      if (variable.starts_with("RANK=")) output_ += variable;
    std::ofstream(output_, std::ios::trunc).flush();
    process_ = fork();
    if (process_ == 0) {
      const int file = open(output_.c_str(), O_WRONLY | O_APPEND, 0644);
      dup2(file, 1);
      dup2(file, 2);
      for (const char* variable : {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}) unsetenv(variable);
      setenv("OMP_NUM_THREADS", "1", 1);
      for (const auto& variable : environment) putenv(const_cast<char*>(variable.c_str()));
      std::vector<char*> arguments;
      for (auto& word : words) arguments.push_back(word.data());
      arguments.push_back(nullptr);
      execv(arguments[0], arguments.data());
      _exit(127);
    }
  }
  ~Worker() {
    if (process_ > 0) ::kill(process_, SIGKILL);
    wait();
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void kill(int number) const { ::kill(process_, number); }
  bool runs() {
    if (process_ > 0 && waitpid(process_, &status_, WNOHANG) == process_) process_ = 0;
    return process_ > 0;
  }
  /// Exit code, or 128 + signal.
  int wait() {
    if (process_ > 0) waitpid(process_, &status_, 0);
    process_ = 0;
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
  }
  std::string output() const { return bytes_of(output_); }
  /// Waits until the output has this text, at most a minute.
  bool says(const std::string& text) {
    for (int i = 0; i < 60000; ++i) {
      if (output().find(text) != std::string::npos) return true;
      if (!runs()) break;
      usleep(1000);
    }
    return output().find(text) != std::string::npos;
  }

 private:
  std::string output_;
  pid_t process_ = -1;
  int status_ = 0;
};

/// The outcome of a run that ends well.
inline std::string run_whole(const std::filesystem::path& config, const std::filesystem::path& folder, int64_t steps) {
  Worker worker(config, folder);
  const int code = worker.wait();
  INFO(worker.output());
  REQUIRE(code == 0);
  const std::string outcome = outcome_of(folder, steps);
  REQUIRE(outcome.size() > 1000);
  return outcome;
}

/// No line twice, none missing, and what they say but for the time.
inline void require_same_log(const std::filesystem::path& a, const std::filesystem::path& b) {
  auto first = log_of(a), second = log_of(b);
  REQUIRE(first.size() == second.size());
  for (size_t i = 0; i < first.size(); ++i) {
    for (auto* line : {&first[i], &second[i]})
      for (const char* key : {"seconds", "samples_per_second", "throughput"}) line->erase(key);
    REQUIRE(first[i] == second[i]);
  }
}

}  // namespace monarch::test
