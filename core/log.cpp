#include "monarch/core/log.hpp"

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <mutex>
#include <set>

namespace monarch::log {
namespace {

std::atomic<Level> threshold{Level::info};
void (*guard_before)() = nullptr;
void (*guard_after)() = nullptr;

std::mutex& line_mutex() {
  static std::mutex mutex;
  return mutex;
}

void write(Level level, const char* prefix, const char* colour, const std::string& text) {
  if (level < threshold.load(std::memory_order_relaxed)) return;
  static const bool terminal = isatty(STDERR_FILENO) != 0;
  const std::lock_guard lock(line_mutex());
  if (guard_before) guard_before();
  if (terminal && *colour) {
    std::fprintf(stderr, "%s%s\033[0m%s\n", colour, prefix, text.c_str());
  } else {
    std::fprintf(stderr, "%s%s\n", prefix, text.c_str());
  }
  if (guard_after) guard_after();
}

}  // namespace

void set_level(Level level) {
  threshold = level;
}
Level level() {
  return threshold;
}

void debug(const std::string& text) {
  write(Level::debug, "debug: ", "\033[2m", text);
}
void info(const std::string& text) {
  write(Level::info, "", "", text);
}
void warning(const std::string& text) {
  write(Level::warning, "warning: ", "\033[33m", text);
}
void error(const std::string& text) {
  write(Level::error, "error: ", "\033[31m", text);
}

void warning_once(const std::string& text) {
  static std::mutex mutex;
  static std::set<std::string> seen;
  {
    const std::lock_guard lock(mutex);
    if (!seen.insert(text).second) return;
  }
  warning(text);
}

void set_line_guard(void (*before)(), void (*after)()) {
  const std::lock_guard lock(line_mutex());
  guard_before = before;
  guard_after = after;
}

}  // namespace monarch::log
