#pragma once
// Log lines for people, on stderr. stdout is for results only.

#include <string>

namespace monarch::log {

enum class Level { debug, info, warning, error, off };

/// Lines below `level` are dropped. Default: info. Thread-safe, like everything here.
void set_level(Level level);
Level level();

void debug(const std::string& text);
void info(const std::string& text);
void warning(const std::string& text);
void error(const std::string& text);

/// As warning(), but a text that was already written in this process is not repeated.
void warning_once(const std::string& text);

/// Installed by a progress bar: called before a line is written, so that the bar can clear its own line.
void set_line_guard(void (*before)(), void (*after)());

}  // namespace monarch::log
