#include "monarch/core/process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "monarch/core/error.hpp"

namespace fs = std::filesystem;

namespace monarch {
namespace {

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> result;
  for (auto& word : words) result.push_back(word.data());
  result.push_back(nullptr);
  return result;
}

std::vector<std::string> merged_environment(const std::map<std::string, std::string>& additions) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry; ++entry) {
    const std::string text = *entry;
    if (!additions.contains(text.substr(0, text.find('=')))) result.push_back(text);
  }
  for (const auto& [name, value] : additions) result.push_back(name + "=" + value);
  return result;
}

std::string content(const fs::path& file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

}  // namespace

std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return access(name.c_str(), X_OK) == 0 ? name : "";
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const fs::path candidate = fs::path(folder) / name;
    if (access(candidate.c_str(), X_OK) == 0 && !fs::is_directory(candidate)) return candidate;
  }
  return "";
}

ChildResult run_child(const std::vector<std::string>& words, const fs::path& folder,
                      const std::map<std::string, std::string>& environment, const std::string& log_name) {
  ChildResult result;
  const std::string program = find_program(words.at(0));
  if (program.empty()) {
    result.exit_code = 127;
    result.output = words[0] + ": not found";
    return result;
  }
  auto arguments = words;
  auto variables = merged_environment(environment);
  const auto argument_pointers = pointers(arguments);
  const auto variable_pointers = pointers(variables);
  const fs::path log = fs::absolute(folder / log_name);  // the child changes its folder before it opens it

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  pid_t child = 0;
  const auto start = std::chrono::steady_clock::now();
  const int error =
      posix_spawn(&child, program.c_str(), &actions, nullptr, argument_pointers.data(), variable_pointers.data());
  posix_spawn_file_actions_destroy(&actions);
  int status = 0;
  if (error == 0) waitpid(child, &status, 0);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (error != 0) {
    result.exit_code = 127;
  } else {
    result.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  result.output = content(log);
  return result;
}

Dialogue::Dialogue(const std::vector<std::string>& words, const fs::path& folder,
                   const std::map<std::string, std::string>& environment, const std::string& log)
    : name_(words.at(0)), log_(fs::absolute(folder / log)) {
  const std::string program = find_program(name_);
  check<BackendError>(!program.empty(), [&] { return name_ + ": not found"; });
  int sockets[2];  // a socket rather than pipes: writing to a program that has ended must not raise SIGPIPE
  check<BackendError>(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0, "no socket is to be had");
  auto arguments = words;
  auto variables = merged_environment(environment);
  const auto argument_pointers = pointers(arguments);
  const auto variable_pointers = pointers(variables);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  posix_spawn_file_actions_adddup2(&actions, sockets[1], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, sockets[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  const int error =
      posix_spawn(&process_, program.c_str(), &actions, nullptr, argument_pointers.data(), variable_pointers.data());
  posix_spawn_file_actions_destroy(&actions);
  close(sockets[1]);
  if (error != 0) close(sockets[0]);
  check<BackendError>(error == 0, [&] { return name_ + " cannot be started"; });
  socket_ = sockets[0];
}

Dialogue::~Dialogue() {
  close(socket_);
  kill(process_, SIGTERM);
  waitpid(process_, nullptr, 0);
}

std::string Dialogue::ask(const std::string& line) {
  const std::string text = line + "\n";
  size_t sent = 0;
  while (sent < text.size()) {
    const ssize_t count = send(socket_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (count <= 0) break;  // it has ended, which the next lines tell
    sent += static_cast<size_t>(count);
  }
  while (received_.find('\n') == std::string::npos) {
    char bytes[4096];
    const ssize_t count = recv(socket_, bytes, sizeof bytes, 0);
    check<BackendError>(count > 0,
                        [&] { return fmt::format("{} gave no answer to '{}'\n{}", name_, line, content(log_)); });
    received_.append(bytes, static_cast<size_t>(count));
  }
  const size_t end = received_.find('\n');
  std::string answer = received_.substr(0, end);
  received_.erase(0, end + 1);
  return answer;
}

std::map<std::string, std::string> thread_environment(int threads) {
  const std::string count = std::to_string(threads);
  return {{"OMP_NUM_THREADS", count},
          {"OMP_WAIT_POLICY", "passive"},
          {"OPENBLAS_NUM_THREADS", count},
          {"MKL_NUM_THREADS", count},
          {"NUMBA_NUM_THREADS", count}};
}

}  // namespace monarch
