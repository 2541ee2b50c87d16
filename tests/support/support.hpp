#pragma once
// Helpers of all tests.

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>

namespace monarch::test {

/// Ends the running test case as skipped (ctest counts and lists it), with a reason.
[[noreturn]] void skip(const std::string& reason);

/// A file of the test data ($MONARCH_TEST_DATA, default ../shared/data beside the project); skips when missing.
std::filesystem::path data_file(const std::string& name);

/// True where an executable of that name is on PATH.
bool has_program(const std::string& name);

/// ||a - b|| / ||b|| over all elements, in double; NaN when either holds NaN; infinity for unequal shapes.
double relative_error(const at::Tensor& a, const at::Tensor& b);

/// 8 eps sqrt(n): the rounding that a sum of n terms may show.
double tolerance(at::ScalarType dtype, int64_t n);

/// A folder that goes when the object dies.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Writes a small file.
void write_text(const std::filesystem::path& path, const std::string& text);

/// Outcome of a shell command.
struct CommandResult {
  int exit_code = -1;  ///< 128 + signal when a signal ended it
  std::string output;  ///< stdout
  std::string errors;  ///< stderr
};
CommandResult run_command(const std::string& command);

}  // namespace monarch::test
