#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "monarch/data/npy.hpp"
#include "scans.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace fs = std::filesystem;

TEST_CASE("wrong usage exits with 2 and points to help") {
  const TemporaryFolder folder;
  for (const auto* arguments : {"", "recon", "recon scan.h5 --no-such-option", "frobnicate",
                                "recon scan.h5 --method cgsense", "recon scan.h5 --slices a-b",
                                "recon scan.h5 --formats tiff", "recon scan.h5 --maps magic", "--threads 0 info x"}) {
    const auto result = run_monarch(folder.path(), arguments);
    INFO(arguments << ": " << result.errors);
    REQUIRE(result.exit_code == 2);
    REQUIRE_FALSE(result.errors.empty());
  }
  REQUIRE_THAT(run_monarch(folder.path(), "recon scan.h5 --method cgsense").errors, Contains("did you mean cg-sense?"));
}

TEST_CASE("help and version exit with 0") {
  const TemporaryFolder folder;
  REQUIRE_THAT(run_monarch(folder.path(), "--version").output, Contains("monarch 0."));
  for (const auto* command : {"", "recon", "info", "compare", "bench", "bench recon", "bench multiply", "project", "densify",
                              "inspect", "count", "transform"}) {
    const auto result = run_monarch(folder.path(), std::string(command) + " --help");
    INFO(command);
    REQUIRE(result.exit_code == 0);
    REQUIRE(result.output.size() > 100);
  }
}

TEST_CASE("files that are no scans end in exit code 3 and a message") {
  const TemporaryFolder folder;
  fs::create_directory(folder / "directory.h5");
  write_text(folder / "empty.h5", "");
  write_text(folder / "text.h5", "this is not a scan");
  write_text(folder / "short.npy", std::string("\x93NUMPY\x01\x00", 8));
  data::save_npy(folder / "image.npy", at::rand({8, 8}));
  for (const auto* name : {"missing.h5", "directory.h5", "empty.h5", "text.h5", "short.npy"}) {
    for (const auto* command : {"info", "recon --out out"}) {
      const auto result = run_monarch(folder.path(), std::string(command) + " " + name);
      INFO(command << " " << name << ": " << result.errors);
      REQUIRE(result.exit_code == 3);
      REQUIRE_THAT(result.errors, Contains("error: ") && Contains(name));
    }
  }
  REQUIRE_FALSE(fs::exists(folder / "out"));
}

TEST_CASE("the malformed header is told and the option lets a person go on") {
  const auto file = data_file("mri/malformed_utf8_header.h5");
  const TemporaryFolder folder;
  const auto refused = run_monarch(folder.path(), "recon '" + file.string() + "' --out out");
  INFO(refused.errors);
  REQUIRE(refused.exit_code == 3);
  REQUIRE_THAT(refused.errors, Contains("reconSpace") && Contains("--assume-recon-space encoded") &&
                                   Contains("malformed_utf8_header.h5"));
  REQUIRE_FALSE(fs::exists(folder / "out"));
  const auto accepted =
      run_monarch(folder.path(), "recon '" + file.string() + "' --out out --assume-recon-space encoded");
  INFO(accepted.errors);
  REQUIRE(accepted.exit_code == 0);
  REQUIRE(fs::exists(folder / "out/slice_0000.png"));
}

TEST_CASE("a truncated scan never crashes and leaves nothing behind") {
  const TemporaryFolder folder;
  const auto scan = shepp_logan(folder);
  const auto size = fs::file_size(scan);
  for (int step = 0; step < 12; ++step) {
    const auto length = size * static_cast<uintmax_t>(step) / 12;
    fs::copy_file(scan, folder / "cut.h5", fs::copy_options::overwrite_existing);
    fs::resize_file(folder / "cut.h5", length);
    const auto result = run_monarch(folder.path(), "recon cut.h5 --out out");
    INFO(length << " of " << size << " bytes: " << result.exit_code << " " << result.errors);
    REQUIRE(result.exit_code == 3);
    REQUIRE_THAT(result.errors, Contains("cut.h5"));
    REQUIRE_FALSE(fs::exists(folder / "out"));
  }
}

TEST_CASE("bad references and config files are told before the work starts") {
  const TemporaryFolder folder;
  shepp_logan(folder);
  data::save_npy(folder / "other.npy", at::rand({50, 60}));
  const auto misfit = run_monarch(folder.path(), "recon scan.h5 --out out --reference other.npy");
  INFO(misfit.errors);
  REQUIRE(misfit.exit_code == 3);
  REQUIRE_THAT(misfit.errors, Contains("50 × 60") && Contains("128 × 128"));
  REQUIRE_FALSE(fs::exists(folder / "out"));
  REQUIRE(run_monarch(folder.path(), "recon scan.h5 --out out --config none.toml").exit_code == 2);
  REQUIRE(run_monarch(folder.path(), "recon scan.h5 --out scan.h5").exit_code == 3);
  REQUIRE(run_monarch(folder.path(), "recon scan.h5 --out out --slices 7").exit_code == 2);
}
