#pragma once
// Where a result comes from: stored with every result that the program writes.

#include <map>
#include <string>

namespace monarch {

/// "0.1.0".
std::string version();
/// Git revision of the build, "-dirty" appended when the tree had changes.
std::string revision();

/// Remembers the command line for provenance(); called once by main.
void set_command_line(int count, const char* const* words);

/// version, revision, build type, compiler, LibTorch version, command, host's CPU and instruction sets, threads,
/// UTC time. Values are text.
std::map<std::string, std::string> provenance();

/// SHA-1 of a text, in hexadecimal: names a configuration. Not for security.
std::string text_hash(const std::string& text);

}  // namespace monarch
