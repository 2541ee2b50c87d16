#pragma once
// Scans that the command-line tests feed to the program.

#include <filesystem>
#include <iosfwd>
#include <nlohmann/json.hpp>
#include <string>

#include "support/support.hpp"

namespace monarch::test {

/// Runs the program with these arguments (shell words), inside `folder`.
CommandResult run_monarch(const std::filesystem::path& folder, const std::string& arguments);

/// ISMRMRD's own 8-coil Shepp-Logan scan, 128²; skips where the generator is not installed. `more`: further options.
std::filesystem::path shepp_logan(const TemporaryFolder& folder, const std::string& more = {});

/// Sends a scan file as an ISMRMRD stream, read by libismrmrd.
void copy_to_stream(const std::filesystem::path& scan, std::ostream& stream);

nlohmann::json read_json(const std::filesystem::path& path);
std::string read_bytes(const std::filesystem::path& path);

}  // namespace monarch::test
