#include "support/support.hpp"

#include <ATen/ATen.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <limits>
#include <sstream>

#include "support/skip.hpp"

namespace fs = std::filesystem;

namespace monarch::test {

void skip(const std::string& reason) {
  std::cout << "SKIPPED: " << reason << std::endl;
  throw Skipped{reason};
}

fs::path data_file(const std::string& name) {
  const char* folder = std::getenv("MONARCH_TEST_DATA");
  const fs::path path = fs::path(folder && *folder ? folder : MONARCH_DEFAULT_TEST_DATA) / name;
  if (!fs::exists(path)) skip("test data " + path.string() + " is not here (set MONARCH_TEST_DATA)");
  return path;
}

bool has_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (access((fs::path(folder) / name).c_str(), X_OK) == 0) return true;
  }
  return false;
}

double relative_error(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes()) return std::numeric_limits<double>::infinity();
  const auto wide = [](const at::Tensor& t) {
    return t.is_complex() ? t.detach().cpu().to(at::kComplexDouble) : t.detach().cpu().to(at::kDouble);
  };
  const double norm = at::linalg_vector_norm(wide(b)).item<double>();
  const double difference = at::linalg_vector_norm(wide(a) - wide(b)).item<double>();
  if (difference == 0 && norm == 0) return 0;
  return difference / norm;
}

double tolerance(at::ScalarType dtype, int64_t n) {
  const at::ScalarType real = at::isComplexType(dtype) ? c10::toRealValueType(dtype) : dtype;
  const double epsilon = real == at::kDouble ? std::numeric_limits<double>::epsilon()
                                             : static_cast<double>(std::numeric_limits<float>::epsilon());
  return 8 * epsilon * std::sqrt(static_cast<double>(n));
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (fs::temp_directory_path() / "monarch-test-XXXXXX").string();
  if (!mkdtemp(name.data())) throw std::runtime_error("no temporary folder can be made");
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

CommandResult run_command(const std::string& command) {
  const TemporaryFolder folder;
  const auto out = (folder / "out").string(), err = (folder / "err").string();
  const int status = std::system(("( " + command + " ) >'" + out + "' 2>'" + err + "'").c_str());
  const auto text = [](const std::string& name) {
    std::ifstream file(name, std::ios::binary);
    std::ostringstream content;
    content << file.rdbuf();
    return content.str();
  };
  CommandResult result;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.output = text(out);
  result.errors = text(err);
  return result;
}

}  // namespace monarch::test
