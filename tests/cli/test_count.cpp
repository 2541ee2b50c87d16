#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "scans.hpp"

using namespace monarch::test;

TEST_CASE("monarch count: both forms of all eight models beside the paper's numbers") {
  const TemporaryFolder folder;
  const auto result = run_monarch(folder.path(), "count all");
  REQUIRE(result.exit_code == 0);
  for (const char* text :
       {"mixer-s16", "mixer-b16", "vit-s16", "vit-b16", "gpt2-small", "gpt2-medium", "bert-base", "bert-large",
        "Table 1", "Table 2", "Table 8", "71.36 M", "72 M", "51.94 G", "multiply-accumulates"}) {
    INFO(text);
    REQUIRE(result.output.find(text) != std::string::npos);
  }
}

TEST_CASE("monarch count --json: totals are the sums of the layers, and other forms have no paper row") {
  const TemporaryFolder folder;
  const auto result = run_monarch(folder.path(), "count gpt2-medium --nblocks 2 --layers --json");
  REQUIRE(result.exit_code == 0);
  const auto json = nlohmann::json::parse(result.output);
  REQUIRE(json["nblocks"] == 2);
  REQUIRE(json["rows"].size() == 2);
  for (const auto& row : json["rows"]) {
    int64_t parameters = 0;
    for (const auto& layer : row["layers"]) parameters += layer["parameters"].get<int64_t>();
    REQUIRE(row["parameters"] == parameters);
  }
  REQUIRE(json["rows"][0]["paper"]["parameters_M"] == 355);
  REQUIRE(json["rows"][1]["paper"].is_null());
}

TEST_CASE("monarch count: wrong words are usage errors") {
  const TemporaryFolder folder;
  const auto model = run_monarch(folder.path(), "count gpt2-smal");
  REQUIRE(model.exit_code == 2);
  REQUIRE(model.errors.find("did you mean gpt2-small?") != std::string::npos);
  REQUIRE(run_monarch(folder.path(), "count vit-b16 --monarch everything").exit_code == 2);
  REQUIRE(run_monarch(folder.path(), "count vit-b16 --nblocks 0").exit_code == 2);
  REQUIRE(run_monarch(folder.path(), "count").exit_code == 2);
}
