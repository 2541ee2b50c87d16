#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "monarch/data/checkpoint.hpp"
#include "scans.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace {

nlohmann::json transform(const TemporaryFolder& folder, const std::string& arguments) {
  const auto result = run_monarch(folder.path(), "transform " + arguments + " --json");
  INFO(arguments << "\n" << result.errors);
  REQUIRE(result.exit_code == 0);
  return nlohmann::json::parse(result.output);
}

}  // namespace

TEST_CASE("monarch transform: every kind equals its definition to rounding") {
  const TemporaryFolder folder;
  for (const char* arguments : {"dft 35",
                                "dft 462 --inverse",
                                "dft 1155 --centred",
                                "dft 6000 --normalisation none",
                                "dft 96 --sizes 4,24",
                                "dft 29 --sizes 1,29",
                                "dft 640 --first 40",
                                "dft 640 --low 16",
                                "dct2 90",
                                "dct3 90",
                                "dct4 90",
                                "dst2 91",
                                "dst3 91",
                                "dst4 91",
                                "dct2 77 --normalisation none",
                                "dct3 77 --normalisation none",
                                "dct4 77 --normalisation inverse",
                                "dst2 66 --normalisation inverse",
                                "dst3 66 --normalisation none",
                                "hadamard 512"}) {
    const auto json = transform(folder, arguments);
    INFO(arguments << ": " << json["relative_error"]);
    REQUIRE(json["relative_error"].get<double>() <= 1e-13);
  }
  REQUIRE(transform(folder, "dft 1000 --dtype float32")["relative_error"].get<double>() <= 1e-6);
  REQUIRE(transform(folder, "dft 1000 --dtype float32")["relative_error"].get<double>() >= 1e-9);  // it is measured
}

TEST_CASE("monarch transform: the file's factors are the transform") {
  const TemporaryFolder folder;
  transform(folder, "dft 60 --dtype float32 -o dft.safetensors");
  transform(folder, "dft 60 -o wide.safetensors");
  transform(folder, "dft 60 --real-pairs -o pairs.safetensors");
  const auto file = data::open_checkpoint(folder / "dft.safetensors");
  const at::Tensor w1 = file->load("w1"), w2 = file->load("w2"), input = file->load("input");
  // The formula of the product, written out: y[s l + j] = sum over t = rho l + j of w2[j, s, rho] mid[t].
  const at::Tensor x = at::randn({60}, at::kComplexFloat);
  const at::Tensor blocks = x.index({input}).reshape({w1.size(0), w1.size(2), 1});
  const at::Tensor middle = at::bmm(w1, blocks).reshape({w2.size(2), w2.size(0)}).t().unsqueeze(2);
  const at::Tensor y = at::bmm(w2, middle).squeeze(2).t().reshape({60});
  const auto turns = at::arange(60, at::kDouble).outer(at::arange(60, at::kDouble)).remainder(60) * (-2 * M_PI / 60);
  const at::Tensor exact = at::mv(at::polar(at::ones_like(turns), turns), x.to(at::kComplexDouble)) / std::sqrt(60.0);
  REQUIRE(relative_error(y, exact) <= 1e-6);
  const auto wide = data::open_checkpoint(folder / "wide.safetensors");
  REQUIRE(relative_error(at::complex(wide->load("w1.real"), wide->load("w1.imag")), w1) <= 1e-6);
  const auto pairs = data::open_checkpoint(folder / "pairs.safetensors")->load("w1");
  REQUIRE(pairs.scalar_type() == at::kDouble);
  REQUIRE(pairs.size(2) == 2 * w1.size(2));
}

TEST_CASE("monarch transform: what has no such product is told with what to do") {
  const TemporaryFolder folder;
  const auto prime = run_monarch(folder.path(), "transform dft 97 -o out.safetensors");
  REQUIRE(prime.exit_code == 1);
  REQUIRE_THAT(prime.errors, Contains("97") && Contains("prime") && Contains("hint"));
  REQUIRE_FALSE(std::filesystem::exists(folder / "out.safetensors"));
  REQUIRE(run_monarch(folder.path(), "transform dft 96 --sizes 5,19").exit_code == 1);
  REQUIRE(run_monarch(folder.path(), "transform hadamard 96").exit_code == 1);
  REQUIRE(run_monarch(folder.path(), "transform dct2 96 --inverse").exit_code == 2);
  REQUIRE(run_monarch(folder.path(), "transform dft 96 --first 97").exit_code == 2);
  REQUIRE(run_monarch(folder.path(), "transform fft 96").exit_code == 2);
  REQUIRE(run_monarch(folder.path(), "transform dft 0").exit_code == 2);
}
