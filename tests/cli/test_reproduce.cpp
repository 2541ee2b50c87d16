// monarch reproduce as a person meets it.
#include <filesystem>

#include "catch2/catch.hpp"
#include "scans.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

TEST_CASE("monarch reproduce table3 --preset smoke makes data, trains every model, and reports") {
  const TemporaryFolder folder;
  const auto result = run_monarch(folder.path(), "reproduce table3 --preset smoke --out out --json");
  INFO(result.errors);
  REQUIRE(result.exit_code == 0);
  const auto json = nlohmann::json::parse(result.output);
  REQUIRE(json["rows"].size() == 8);
  for (const auto& row : json["rows"])
    for (const auto& [name, cell] : row["columns"].items()) {
      REQUIRE(cell["mean"].get<double>() > 0);
      REQUIRE(cell["mean"].get<double>() <= 1.5);
    }
  for (const auto* name : {"report.md", "report.html", "summary.json", "figures/overview.svg"})
    REQUIRE(fs::file_size(folder / "out" / name) > 0);
  // Again: everything is there already.
  const auto before = fs::last_write_time(folder / "out/runs/fno/nu1e-3/seed1/result.json");
  REQUIRE(run_monarch(folder.path(), "reproduce table3 --preset smoke --out out").exit_code == 0);
  REQUIRE(fs::last_write_time(folder / "out/runs/fno/nu1e-3/seed1/result.json") == before);
}

TEST_CASE("the MRI tables run as smoke, with published values beside ours") {
  const TemporaryFolder folder;
  for (const std::string name : {"table4", "table5", "unrolled"}) {
    const auto result = run_monarch(folder.path(), "reproduce " + name + " --preset smoke --json --out " + name);
    INFO(name << "\n" << result.errors);
    REQUIRE(result.exit_code == 0);
    const auto json = nlohmann::json::parse(result.output);
    REQUIRE(json["rows"].size() >= 4);
    for (const auto& row : json["rows"])
      for (const auto& [column, cell] : row["columns"].items())
        REQUIRE(cell["mean"].get<double>() > 0);  // dB; a plain U-Net has not learned much yet
    for (const auto* file : {"report.md", "report.html", "summary.json", "figures/overview.svg"})
      REQUIRE(fs::file_size(folder / name / file) > 0);
    const std::string page = read_bytes(folder / name / "report.md");
    REQUIRE_THAT(page, Contains("SSIM") && Contains("CG-SENSE"));
    const auto paper =
        run_monarch(folder.path(), "reproduce " + name + " --preset paper --data nowhere --out paper" + name);
    REQUIRE(paper.exit_code != 0);
    REQUIRE_THAT(paper.errors, Contains("train.json") && Contains("SKM-TEA"));
    REQUIRE_FALSE(fs::exists(folder / ("paper" + name) / "data"));
    if (name == "table4") REQUIRE_THAT(page, Contains("32.8") && Contains("(paper 35.4)"));
  }
}

TEST_CASE("Table 1 runs as smoke, and compares each Monarch model with its dense one") {
  const std::string data = data_file("images/digits.csv.gz").parent_path().parent_path();
  const TemporaryFolder folder;
  const auto result = run_monarch(folder.path(), "reproduce table1 --preset smoke --json --out out --data '" + data + "'");
  INFO(result.errors);
  REQUIRE(result.exit_code == 0);
  const auto json = nlohmann::json::parse(result.output);
  REQUIRE(json["rows"].size() == 4);
  for (const auto& row : json["rows"]) {
    REQUIRE(row["columns"]["top1"]["mean"].get<double>() >= 5);  // percent, of ten classes
    REQUIRE(row["columns"]["top1"]["mean"].get<double>() <= 100);
  }
  for (const auto* file : {"report.md", "report.html", "summary.json", "figures/overview.svg"})
    REQUIRE(fs::file_size(folder / "out" / file) > 0);
  const std::string page = read_bytes(folder / "out/report.md");
  REQUIRE_THAT(page, Contains("79.4") && Contains("MACs") && Contains("speed-up"));
  for (const std::string preset : {"paper", "paper-appendix"}) {
    const auto paper =
        run_monarch(folder.path(), "reproduce table1 --preset " + preset + " --data nowhere --out " + preset);
    REQUIRE(paper.exit_code != 0);
    REQUIRE_THAT(paper.errors, Contains("nowhere/imagenet/train"));
  }
}

TEST_CASE("monarch reproduce names what it does not know") {
  const TemporaryFolder folder;
  const auto wrong = run_monarch(folder.path(), "reproduce tabel3");
  REQUIRE(wrong.exit_code == 2);
  REQUIRE_THAT(wrong.errors, Contains("did you mean 'table3'?"));
  const auto preset = run_monarch(folder.path(), "reproduce table3 --preset smal");
  REQUIRE(preset.exit_code == 2);
  REQUIRE_THAT(preset.errors, Contains("did you mean 'small'?"));
  REQUIRE_THAT(run_monarch(folder.path(), "reproduce --list").output, Contains("table3"));
}
