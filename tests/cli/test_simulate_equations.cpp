#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "monarch/data/fields.hpp"
#include "scans.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace {

nlohmann::json simulate(const TemporaryFolder& folder, const std::string& arguments) {
  const auto run = run_monarch(folder.path(), "simulate " + arguments + " --json");
  INFO(arguments << "\n" << run.errors);
  REQUIRE(run.exit_code == 0);
  return nlohmann::json::parse(run.output);
}

using Shape = std::vector<int64_t>;

}  // namespace

TEST_CASE("monarch simulate burgers: the named sets, in the layouts of their files") {
  const TemporaryFolder folder;
  auto summary = simulate(folder, "burgers --points 256 --samples 3 --seed 2 -o b.mat");
  REQUIRE(summary["variables"]["a"] == nlohmann::json({3, 256}));
  REQUIRE(summary["variables"]["u"] == nlohmann::json({3, 256}));
  REQUIRE(summary["parameters"]["nu"] == 0.1);
  REQUIRE_THAT(summary["description"].get<std::string>(), Contains("25^2") && Contains("ETDRK4"));
  const auto file = data::open_fields(folder / "b.mat");
  REQUIRE(file->field("u").samples == 3);
  REQUIRE(file->field("u").grid == Shape{256});
  REQUIRE(file->read("u").abs().amax().item<double>() < file->read("a").abs().amax().item<double>());

  summary = simulate(folder, "burgers --set space-time --samples 2 --dtype float64 -o st.mat");
  REQUIRE(summary["variables"]["x"] == nlohmann::json({2, 16}));
  REQUIRE(summary["variables"]["y"] == nlohmann::json({2, 17, 16}));
  REQUIRE(summary["parameters"]["nu"] == 0.01);

  summary = simulate(folder, "burgers --set v1000 --points 64 --times 10 --final-time 0.05 -o t.mat --picture t.png");
  REQUIRE(summary["variables"]["u"] == nlohmann::json({1, 64, 10}));
  REQUIRE(data::open_fields(folder / "t.mat")->field("u").times == 10);
  REQUIRE(std::filesystem::file_size(folder / "t.png") > 100);
}

TEST_CASE("monarch simulate darcy: two media, the published variables") {
  const TemporaryFolder folder;
  auto summary = simulate(folder, "darcy --points 32 --samples 2 -o d.mat --picture d.png");
  REQUIRE(summary["variables"]["coeff"] == nlohmann::json({2, 32, 32}));
  REQUIRE(summary["variables"]["sol"] == nlohmann::json({2, 32, 32}));
  const auto file = data::open_fields(folder / "d.mat");
  const at::Tensor a = file->read("coeff");
  REQUIRE(((a == 12) | (a == 3)).all().item<bool>());
  REQUIRE(file->field("sol").grid == Shape{32, 32});
  REQUIRE(simulate(folder, "darcy --set script --points 32 -o s.mat")["parameters"]["lower"] == 4);
  simulate(folder, "darcy --set lognormal --amplitude 2 --points 32 --faces harmonic -o l.h5");
  REQUIRE(data::open_fields(folder / "l.h5")->read("sol").amin().item<double>() > 0);
}

TEST_CASE("monarch simulate advection, kuramoto-sivashinsky and diffusion-reaction: files that open as what they are") {
  const TemporaryFolder folder;
  simulate(folder, "advection --points 64 --speed 1 --final-time 3 --samples 2 -o a.mat");
  const auto advection = data::open_fields(folder / "a.mat");
  REQUIRE(relative_error(advection->read("u"), advection->read("a")) <= 1e-6);  // three whole periods
  simulate(folder, "advection --points 64 --times 4 -o at.mat");
  REQUIRE(data::open_fields(folder / "at.mat")->field("u").times == 4);

  simulate(folder, "kuramoto-sivashinsky --length 22 --points 64 --times 5 --final-time 5 --samples 2 -o k.mat");
  const auto chaos = data::open_fields(folder / "k.mat");
  REQUIRE(chaos->field("u").times == 5);
  REQUIRE(chaos->field("u").grid == Shape{64});
  REQUIRE(chaos->parameters().at("beta") == 1);

  simulate(folder, "diffusion-reaction --points 16 --times 4 --final-time 0.2 --samples 2 -o r.mat --picture r.png");
  const auto reaction = data::open_fields(folder / "r.mat");
  REQUIRE(reaction->field("v").times == 5);
  REQUIRE(reaction->field("v").grid == Shape{16, 16});
  simulate(folder, "diffusion-reaction --points 16 --times 4 --final-time 0.2 --samples 2 --layout channels -o c.h5");
  const auto channels = data::open_fields(folder / "c.h5");
  REQUIRE(channels->field("data").times == 5);
  REQUIRE(channels->field("data").channels == 2);
  REQUIRE(channels->field("data").grid == Shape{16, 16});
  REQUIRE(at::equal(channels->read("data").narrow(2, 1, 1), reaction->read("v")));
}

TEST_CASE("monarch simulate: each equation goes on where it was stopped and says what it did") {
  const TemporaryFolder folder;
  const std::string command = "simulate darcy --points 16 -o d.mat";
  const auto run = run_monarch(folder.path(), command + " --samples 4");
  REQUIRE(run.exit_code == 0);
  REQUIRE_THAT(run.output, Contains("coeff [4, 16, 16]") && Contains("five points"));
}

TEST_CASE("monarch simulate: what an equation cannot do is refused with exit code 2 and leaves no file") {
  const TemporaryFolder folder;
  for (const auto& [arguments, message] :
       std::vector<std::pair<std::string, std::string>>{{"burgers --set r11", "r11"},
                                                        {"burgers --viscosity -1", "--viscosity"},
                                                        {"burgers --points 100 --grid 150", "multiple"},
                                                        {"burgers --layout final --times 5", "5 moments"},
                                                        {"burgers --points 0", "--points"},
                                                        {"darcy --set paper --amplitude 2", "lognormal"},
                                                        {"darcy --set lognormal --upper 2", "--upper"},
                                                        {"darcy --lower 0", "--lower"},
                                                        {"darcy --faces geometric", "--faces"},
                                                        {"darcy --points 40000", "20000"},
                                                        {"advection --times 0", "--times"},
                                                        {"advection --speed fast", "--speed"},
                                                        {"kuramoto-sivashinsky --points 32", "does not resolve"},
                                                        {"kuramoto-sivashinsky --burn-in -1", "--burn-in"},
                                                        {"diffusion-reaction --layout rows", "--layout"},
                                                        {"diffusion-reaction --step 0", "--step"}}) {
    const auto run = run_monarch(folder.path(), "simulate " + arguments + " -o x.mat");
    INFO(arguments << ": " << run.errors);
    REQUIRE(run.exit_code == 2);
    REQUIRE_THAT(run.errors, Contains(message));
    REQUIRE(std::filesystem::is_empty(folder.path()));
  }
  // A step that is too long: the sample and the moment are named.
  const auto run = run_monarch(folder.path(),
                               "simulate burgers --set v1000 --points 64 --grid 64 --viscosity 1e-6 "
                               "--scale 1e5 --step 0.5 --times 2 -o x.mat");
  INFO(run.errors);
  REQUIRE(run.exit_code == 1);
  REQUIRE_THAT(run.errors, Contains("sample 0 is not finite"));
  REQUIRE_FALSE(std::filesystem::exists(folder / "x.mat"));
  for (const char* equation : {"burgers", "darcy", "advection", "kuramoto-sivashinsky", "diffusion-reaction"}) {
    const auto help = run_monarch(folder.path(), std::string("simulate ") + equation + " --help");
    REQUIRE(help.exit_code == 0);
    REQUIRE_THAT(help.output, Contains("--samples") && Contains("default"));
  }
}
