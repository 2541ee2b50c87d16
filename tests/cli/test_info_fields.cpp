#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include "monarch/data/field_writer.hpp"
#include "monarch/data/npy.hpp"
#include "scans.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace {

void navier_stokes(const std::filesystem::path& path, data::FieldFormat format, const at::Tensor& u) {
  data::FieldLayout layout;
  layout.format = format;
  layout.samples = u.size(0);
  layout.variables = {{"a", {8, 8}, at::kFloat}, {"u", {8, 8, 5}, at::kFloat}};
  layout.constants["t"] = at::arange(1, 6, at::kDouble).reshape({1, 5});
  layout.parameters["nu"] = 1e-3;
  data::FieldWriter writer(path, layout);
  writer.append({u.select(3, 0), u});
  writer.commit();
}

}  // namespace

TEST_CASE("info tells fields axes ranges and parameters of PDE data as a table and as JSON") {
  const TemporaryFolder folder;
  const at::Tensor u = at::rand({6, 8, 8, 5});
  navier_stokes(folder / "v5.mat", data::FieldFormat::mat5, u);
  navier_stokes(folder / "v73.mat", data::FieldFormat::mat73, u);
  for (const auto& [file, format] : {std::pair{"v5.mat", "MATLAB v5"}, {"v73.mat", "MATLAB v7.3"}}) {
    const auto text = run_monarch(folder.path(), std::string("info ") + file);
    INFO(text.output << text.errors);
    REQUIRE(text.exit_code == 0);
    REQUIRE_THAT(text.output, Contains(format) && Contains("6 samples × 5 times on a grid 8 × 8, float32") &&
                                  Contains("[sample, x, y, time]") && Contains("nu = 0.001") &&
                                  Contains("t: 5 points"));
    const auto json = nlohmann::json::parse(run_monarch(folder.path(), std::string("info --json ") + file).output);
    REQUIRE(json["format"] == format);
    REQUIRE(json["parameters"]["nu"] == 1e-3);
    REQUIRE(json["coordinates"]["t"]["last"] == 5);
    for (const auto& field : json["fields"]) {
      const bool moving = field["name"] == "u";
      REQUIRE(field["samples"] == 6);
      REQUIRE(field["times"].is_null() != moving);
      REQUIRE(field["grid"] == std::vector<int>{8, 8});
      const at::Tensor seen = (moving ? u : u.select(3, 0)).index_select(0, at::tensor({0, 1, 3, 5})).to(at::kDouble);
      REQUIRE(std::abs(field["sampled"]["mean"].get<double>() - seen.mean().item<double>()) <= 1e-9);
      REQUIRE(field["sampled"]["minimum"].get<double>() == seen.min().item<double>());
    }
  }
  const auto named = run_monarch(folder.path(), "info --json v5.mat --axes u=xnyt a=nxy");
  INFO(named.errors);
  REQUIRE(nlohmann::json::parse(named.output)["fields"][1]["samples"] == 8);
  const auto wrong = run_monarch(folder.path(), "info v5.mat --axes u");
  REQUIRE(wrong.exit_code == 2);
  REQUIRE_THAT(wrong.errors, Contains("--axes u=nxyt"));
}

TEST_CASE("info shows an array as fields on request and a folder of arrays as one source") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "parts");
  for (int i = 0; i < 3; ++i) data::save_npy(folder / ("parts/p" + std::to_string(i) + ".npy"), at::rand({4, 9, 8, 8}));
  auto json = nlohmann::json::parse(run_monarch(folder.path(), "info --json parts").output);
  REQUIRE(json["fields"][0]["samples"] == 12);
  json = nlohmann::json::parse(run_monarch(folder.path(), "info --json --fields parts/p0.npy").output);
  REQUIRE(json["format"] == "NumPy");
  REQUIRE(json["fields"][0]["times"] == 9);
  json = nlohmann::json::parse(run_monarch(folder.path(), "info --json parts/p0.npy").output);
  REQUIRE(json["axes"] == "image, z, y, x");
}

TEST_CASE("info names the sample that holds NaN and damaged files end in exit code 3") {
  const TemporaryFolder folder;
  at::Tensor u = at::rand({4, 8, 8, 5});
  u[2][1][1][3] = std::nan("");
  navier_stokes(folder / "nan.mat", data::FieldFormat::mat73, u);
  const auto text = run_monarch(folder.path(), "info nan.mat");
  REQUIRE(text.exit_code == 0);
  REQUIRE_THAT(text.output, Contains("sample 2 of u holds NaN or infinity"));
  for (const auto format : {data::FieldFormat::mat5, data::FieldFormat::mat73}) {
    navier_stokes(folder / "cut.mat", format, at::rand({4, 8, 8, 5}));
    std::filesystem::resize_file(folder / "cut.mat", std::filesystem::file_size(folder / "cut.mat") / 2);
    const auto cut = run_monarch(folder.path(), "info cut.mat");
    INFO(cut.output << cut.errors);
    REQUIRE(cut.exit_code == 3);
    REQUIRE_THAT(cut.errors, Contains("cut.mat") && Contains("hint"));
  }
}

TEST_CASE("info knows the real files of PDE data") {
  for (const auto* name : {"pde/burgers_shock.mat", "pde/NLS.mat", "pde/IC_LO.mat", "pde/darcy_test_32.pt",
                           "pde/burgers_test_16.pt", "pde/darcy64", "pde/cylinder_nektar_t0_vorticity.mat"}) {
    const TemporaryFolder folder;
    const auto file = data_file(name);
    const auto result = run_monarch(folder.path(), "info '" + file.string() + "'");
    INFO(name << result.output << result.errors);
    REQUIRE(result.exit_code == 0);
    REQUIRE_THAT(result.output, Contains("on a grid"));
  }
}
