#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "monarch/data/fields.hpp"
#include "monarch/data/npy.hpp"
#include "monarch/data/png.hpp"
#include "monarch/solvers/numerical/gaussian_random_field.hpp"
#include "scans.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace fs = std::filesystem;

namespace {

const std::string small = "simulate navier-stokes --grid 32 --stored 16 --duration 2 ";

at::Tensor field(const fs::path& file, const std::string& name) {
  return data::open_fields(file)->read(name);
}

}  // namespace

TEST_CASE("monarch simulate navier-stokes: every format holds the published variables, the same in each") {
  const TemporaryFolder folder;
  at::Tensor u;
  for (const std::string name : {"v5.mat", "v73.mat", "pdebench.h5"}) {
    const std::string format = name == "v73.mat" ? " --format mat73" : "";
    const auto run = run_monarch(folder.path(), small + "--samples 5 --seed 3 -o " + name + format + " --json");
    INFO(name << ": " << run.errors);
    REQUIRE(run.exit_code == 0);
    const auto summary = nlohmann::json::parse(run.output);
    const bool pdebench = name == "pdebench.h5";
    const std::string solution = pdebench ? "tensor" : "u";
    REQUIRE(summary["variables"][solution] ==
            (pdebench ? nlohmann::json({5, 2, 16, 16}) : nlohmann::json({5, 16, 16, 2})));
    REQUIRE(summary["parameters"]["viscosity"] == 1e-3);
    REQUIRE_THAT(summary["description"].get<std::string>(), Contains("cn-rk4") && Contains("'2020'"));
    const at::Tensor found = field(folder / name, solution);
    REQUIRE(found.sizes() == at::IntArrayRef({5, 2, 1, 16, 16}));
    REQUIRE(at::equal(data::open_fields(folder / name)->coordinates().at("t"), at::tensor({1, 2}, at::kDouble)));
    if (u.defined()) REQUIRE(at::equal(found, u));
    u = found;
    const at::Tensor w0 = solvers::gaussian_random_field(solvers::navier_stokes_law("2020"), 2, 32, 3, 0, 5);
    const at::Tensor a = field(folder / name, "a").reshape({5, 16, 16});
    REQUIRE(relative_error(a, w0.slice(1, 0, 32, 2).slice(2, 0, 32, 2)) <= 1e-6);
  }
  REQUIRE(u.std().item<double>() > 0.01);
}

TEST_CASE("monarch simulate: the same command writes the same bytes on any number of threads") {
  const TemporaryFolder folder;
  REQUIRE(run_monarch(folder.path(), small + "--samples 5 -o one.mat --threads 1").exit_code == 0);
  REQUIRE(run_monarch(folder.path(), small + "--samples 5 -o two.mat --threads 2").exit_code == 0);
  REQUIRE(at::equal(field(folder / "one.mat", "u"), field(folder / "two.mat", "u")));
  REQUIRE(run_monarch(folder.path(), small + "--samples 5 --seed 1 -o other.mat").exit_code == 0);
  REQUIRE_FALSE(at::equal(field(folder / "one.mat", "u"), field(folder / "other.mat", "u")));
  // A sample does not depend on how many there are.
  REQUIRE(run_monarch(folder.path(), small + "--samples 2 -o few.mat").exit_code == 0);
  REQUIRE(at::equal(field(folder / "few.mat", "u"), field(folder / "one.mat", "u").narrow(0, 0, 2)));
}

TEST_CASE("monarch simulate: a run that was killed goes on where it was and gives the same file") {
  const TemporaryFolder folder;
  const std::string command = "simulate navier-stokes --grid 32 --stored 32 --duration 40 --dt 0.005 --samples 96 ";
  REQUIRE(run_monarch(folder.path(), command + "--threads 1 -o whole.mat --format mat73").exit_code == 0);
  const std::string program =
      std::string("'") + MONARCH_PROGRAM + "' " + command + "--threads 1 -o cut.mat --format mat73";
  const std::string partial = std::string("'") + (folder / ".cut.mat.partial").string() + "'";
  // Killed as soon as some samples are in the file.
  run_command("cd '" + folder.path().string() + "' && (" + program + " & pid=$!; for i in $(seq 2000); do test -e " +
              partial + " && sleep 0.4 && break; sleep 0.01; done; kill -9 $pid; wait $pid) 2>/dev/null");
  REQUIRE_FALSE(fs::exists(folder / "cut.mat"));
  const auto other = run_monarch(folder.path(), command + "--seed 9 -o cut.mat --format mat73");
  REQUIRE(other.exit_code == 3);
  REQUIRE_THAT(other.errors, Contains("restart"));
  const auto run = run_monarch(folder.path(), command + "--threads 1 -o cut.mat --format mat73 --json");
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  REQUIRE(nlohmann::json::parse(run.output)["found_in_unfinished_file"].get<int64_t>() >= 0);
  REQUIRE(at::equal(field(folder / "cut.mat", "u"), field(folder / "whole.mat", "u")));
  REQUIRE_FALSE(fs::exists(folder / ".cut.mat.partial"));
}

TEST_CASE("monarch simulate navier-stokes: initial fields of one's own, and pictures") {
  const TemporaryFolder folder;
  const at::Tensor w0 = solvers::gaussian_random_field(solvers::navier_stokes_law("2022"), 2, 20, 3, 0, 2);
  data::save_npy(folder / "w0.npy", w0);
  const std::string common = "simulate navier-stokes --initial w0.npy --stored 20 --duration 1 --interval 0.5 ";
  const auto run = run_monarch(folder.path(), common +
                                                  "--samples 2 --precision float64 --dtype float64 -o out.mat "
                                                  "--integrator euler-cn --dt 0.01 --picture fields.png");
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  REQUIRE(relative_error(field(folder / "out.mat", "a").reshape({2, 20, 20}), w0) <= 1e-14);
  REQUIRE_THAT(run.output, Contains("euler-cn") && Contains("float64") && Contains("initial vorticity given"));
  const at::Tensor picture = data::load_png(folder / "fields.png");
  REQUIRE((picture.size(0) > 100 && picture.size(1) > 100));
  REQUIRE(picture.std().item<double>() > 1);

  REQUIRE(run_monarch(folder.path(), common + "--samples 3 -o more.mat").exit_code == 3);
  w0.select(0, 1).fill_(NAN);
  data::save_npy(folder / "w0.npy", w0);
  const auto bad = run_monarch(folder.path(), common + "--samples 1 -o bad.mat");
  REQUIRE(bad.exit_code == 3);
  REQUIRE_THAT(bad.errors, Contains("w0.npy") && Contains("finite"));
  data::save_npy(folder / "w0.npy", at::zeros({20, 20}));
  REQUIRE(run_monarch(folder.path(), common + "-o bad.mat").exit_code == 3);
  REQUIRE_FALSE(fs::exists(folder / "bad.mat"));
}

TEST_CASE("monarch simulate refuses what makes no sense and leaves nothing behind") {
  const TemporaryFolder folder;
  for (const std::string arguments :
       {"", "euler -o x.mat", "navier-stokes", "navier-stokes -o x.mat --viscosity 0",
        "navier-stokes -o x.mat --viscosity -1", "navier-stokes -o x.mat --viscosity nan",
        "navier-stokes -o x.mat --grid 63 --stored 63", "navier-stokes -o x.mat --grid 64 --stored 48",
        "navier-stokes -o x.mat --stored 128 --grid 64", "navier-stokes -o x.mat --samples 0",
        "navier-stokes -o x.mat --format mat7", "navier-stokes -o x.dat",
        "navier-stokes -o x.mat --duration 1 --interval 0.3", "navier-stokes -o x.mat --integrator rk4",
        "navier-stokes -o x.mat --amplitude 2021", "navier-stokes -o x.mat --dt 0", "navier-stokes -o x.mat --seed -1",
        "navier-stokes -o x.mat --initial none.npy", "navier-stokes -o x.mat --no-such-option"}) {
    const auto run = run_monarch(folder.path(), "simulate " + arguments);
    INFO(arguments << ": " << run.errors);
    REQUIRE(run.exit_code == 2);
    REQUIRE_FALSE(run.errors.empty());
  }
  REQUIRE(fs::is_empty(folder.path()));
  const auto run = run_monarch(folder.path(), small + "-o no/such/folder/x.mat");
  REQUIRE(run.exit_code == 3);
  REQUIRE_THAT(run.errors, Contains("no/such/folder"));
  const auto odd = run_monarch(folder.path(), "simulate navier-stokes -o x.mat --grid 63 --stored 63");
  REQUIRE_THAT(odd.errors, Contains("63") && Contains("even"));
}
