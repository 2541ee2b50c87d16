#include "monarch/core/provenance.hpp"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/util/hash.h>
#include <fmt/format.h>

#include <ctime>
#include <fstream>

#include "monarch_revision.hpp"
#include "monarch_version.hpp"

namespace monarch {
namespace {

std::string& command_line() {
  static std::string text;
  return text;
}

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::string shell_word(const std::string& word) {
  if (!word.empty() && word.find_first_of(" \t\n'\"\\$*?[]<>|&;()") == std::string::npos) return word;
  std::string quoted = "'";
  for (const char letter : word) {
    if (letter == '\'') {
      quoted.append("'\\''");
    } else {
      quoted.push_back(letter);
    }
  }
  quoted.push_back('\'');
  return quoted;
}

}  // namespace

std::string version() {
  return MONARCH_VERSION;
}
std::string revision() {
  return MONARCH_REVISION;
}

void set_command_line(int count, const char* const* words) {
  command_line().clear();
  for (int i = 0; i < count; ++i) {
    if (i > 0) command_line().push_back(' ');
    command_line().append(shell_word(words[i]));
  }
}

std::map<std::string, std::string> provenance() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char time_text[32];
  std::strftime(time_text, sizeof time_text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return {{"program", "monarch"},
          {"version", MONARCH_VERSION},
          {"revision", MONARCH_REVISION},
          {"build_type", MONARCH_BUILD_TYPE},
          {"compiler", MONARCH_COMPILER},
          {"libtorch", MONARCH_TORCH_VERSION},
          {"command", command_line()},
          {"cpu", cpu_model()},
          {"cpu_capability", at::get_cpu_capability()},
          {"threads", fmt::format("{}", at::get_num_threads())},
          {"time_utc", time_text}};
}

std::string text_hash(const std::string& text) {
  return c10::sha1(text).str();
}

}  // namespace monarch
