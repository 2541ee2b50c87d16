#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "support/support.hpp"

namespace fs = std::filesystem;
using namespace monarch;

namespace {
void write(const fs::path& path, const std::string& text) {
  std::ofstream(path) << text;
}
std::string read(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}
int64_t entries(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}
}  // namespace

TEST_CASE("an output folder shows its files only after commit") {
  const test::TemporaryFolder work;
  {
    OutputFolder out(work / "a/b");
    write(out.path("image.npy"), "new");
    write(out.path("deep/slice.png"), "png");
    REQUIRE_FALSE(fs::exists(work / "a/b/image.npy"));
    out.commit();
    REQUIRE(read(work / "a/b/image.npy") == "new");
    REQUIRE(read(work / "a/b/deep/slice.png") == "png");
  }
  REQUIRE(entries(work / "a/b") == 2);
}

TEST_CASE("an output folder without commit leaves no trace and no change") {
  const test::TemporaryFolder work;
  fs::create_directory(work / "old");
  write(work / "old/image.npy", "old");
  {
    OutputFolder out(work / "old"), fresh(work / "fresh");
    write(out.path("image.npy"), "half");
  }
  REQUIRE(read(work / "old/image.npy") == "old");
  REQUIRE(entries(work / "old") == 1);
  REQUIRE_FALSE(fs::exists(work / "fresh"));
}

TEST_CASE("a file in the way of an output folder is an error") {
  const test::TemporaryFolder work;
  write(work / "file", "x");
  REQUIRE_THROWS_AS(OutputFolder(work / "file"), DataError);
  REQUIRE_THROWS_AS(OutputFolder(work / "file/below"), DataError);
}

TEST_CASE("a signal removes the staged files") {
  const test::TemporaryFolder work;
  fs::create_directory(work / "out");
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGTERM, SIG_DFL);  // the test framework has a handler of its own, which is left alone
    OutputFolder out(work / "out");
    write(out.path("image.npy"), "half");
    raise(SIGTERM);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  REQUIRE(WIFSIGNALED(status));
  REQUIRE(WTERMSIG(status) == SIGTERM);
  REQUIRE(entries(work / "out") == 0);
}

TEST_CASE("an atomic write replaces the whole file or says why not") {
  const test::TemporaryFolder work;
  write(work / "f", "old and longer");
  write_file_atomically(work / "f", "new");
  REQUIRE(read(work / "f") == "new");
  REQUIRE(entries(work.path()) == 1);
  REQUIRE_THROWS_AS(write_file_atomically(work / "none/f", "x"), DataError);
}

TEST_CASE("the cache folder follows the environment") {
  const test::TemporaryFolder work;
  setenv("MONARCH_CACHE_DIR", (work / "cache").c_str(), 1);
  REQUIRE(cache_folder() == work / "cache");
  REQUIRE(fs::is_directory(work / "cache"));
  setenv("MONARCH_CACHE_DIR", "/proc/nothing/here", 1);
  REQUIRE(cache_folder().empty());
}
