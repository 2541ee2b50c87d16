#include <catch2/catch.hpp>
#include <cmath>
#include <map>

#include "monarch/core/error.hpp"
#include "monarch/experiments/models.hpp"
#include "monarch/experiments/paper_counts.hpp"

using namespace monarch;
using namespace monarch::experiments;

namespace {

/// Whether `value` is what `printed` shows with that many decimals.
bool prints_as(double value, double printed, int decimals) {
  return std::abs(value - printed) <= 0.5 * std::pow(10.0, -decimals) * (1 + 1e-9);
}

double millions(const Count& count) {
  return static_cast<double>(count.parameters) * 1e-6;
}
double giga(const Count& count) {
  return static_cast<double>(count.macs) * 1e-9;
}

}  // namespace

TEST_CASE("counts: the dense models have the parameters of their published forms, to the last one") {
  // timm mixer_s16_224 and mixer_b16_224, vit_base_patch16_224; Hugging Face gpt2, gpt2-medium, bert-*-uncased.
  const std::map<std::string, int64_t> known = {
      {"mixer-s16", 18528264},    {"mixer-b16", 59880472},  {"vit-b16", 86567656},    {"gpt2-small", 124439808},
      {"gpt2-medium", 354823168}, {"bert-base", 109482240}, {"bert-large", 335141888}};
  for (const auto& [name, parameters] : known) {
    INFO(name);
    REQUIRE(count_dense(model_named(name)).parameters == parameters);
  }
}

TEST_CASE("counts: dense, MLP-only and paper forms equal independent arithmetic in every printed digit") {
  struct Expected {
    std::string model;
    double dense_M, dense_G;
    int dense_decimals_M, dense_decimals_G;
    MonarchForm form;
    double monarch_M, monarch_G;
    int decimals_M, decimals_G;
  };
  const MonarchForm paper{}, mlp{.choice = Choice::mlp_only}, all{.choice = Choice::all};
  const MonarchForm packed{.packed_qkv = true};
  const std::vector<Expected> table = {
      {"mixer-s16", 18.53, 3.78, 2, 2, paper, 6.99, 1.52, 2, 2},
      {"mixer-s16", 18.53, 3.78, 2, 2, mlp, 6.99, 1.52, 2, 2},
      {"mixer-s16", 18.53, 3.78, 2, 2, all, 6.55, 1.29, 2, 2},
      {"mixer-b16", 59.88, 12.60, 2, 2, paper, 20.95, 4.97, 2, 2},
      {"mixer-b16", 59.88, 12.60, 2, 2, all, 19.83, 4.11, 2, 2},
      {"vit-s16", 48.75, 9.89, 2, 2, mlp, 29.88, 6.17, 2, 2},
      {"vit-s16", 48.75, 9.89, 2, 2, paper, 20.44, 4.31, 2, 2},
      {"vit-s16", 48.75, 9.89, 2, 2, packed, 18.08, 3.85, 2, 2},
      {"vit-b16", 86.57, 17.56, 2, 2, mlp, 47.64, 9.89, 2, 2},
      {"vit-b16", 86.57, 17.56, 2, 2, paper, 33.48, 7.11, 2, 2},
      {"gpt2-small", 124.44, 106.3, 2, 1, mlp, 85.51, 66.4, 2, 1},
      {"gpt2-small", 124.44, 106.3, 2, 1, paper, 71.36, 51.9, 2, 1},
      {"gpt2-small", 124.44, 106.3, 2, 1, packed, 67.8, 48.3, 1, 1},
      {"gpt2-medium", 354.82, 360.8, 2, 1, mlp, 216.4, 219.0, 1, 1},
      {"gpt2-medium", 354.82, 360.8, 2, 1, paper, 166.1, 167.5, 1, 1},
      {"gpt2-medium", 354.82, 360.8, 2, 1, packed, 153.5, 154.6, 1, 1},
      {"bert-base", 109.48, 11.17, 2, 2, mlp, 70.55, 6.19, 2, 2},
      {"bert-base", 109.48, 11.17, 2, 2, paper, 56.40, 4.38, 2, 2},
      {"bert-large", 335.14, 39.46, 2, 2, mlp, 196.7, 21.7, 1, 1},
      {"bert-large", 335.14, 39.46, 2, 2, paper, 146.4, 15.3, 1, 1},
  };
  for (const auto& row : table) {
    const Model& model = model_named(row.model);
    const Count dense = count_dense(model), monarch = count_monarch(model, row.form);
    INFO(row.model << ": " << millions(dense) << " M " << giga(dense) << " G, " << millions(monarch) << " M "
                   << giga(monarch) << " G");
    REQUIRE(prints_as(millions(dense), row.dense_M, row.dense_decimals_M));
    REQUIRE(prints_as(giga(dense), row.dense_G, row.dense_decimals_G));
    REQUIRE(prints_as(millions(monarch), row.monarch_M, row.decimals_M));
    REQUIRE(prints_as(giga(monarch), row.monarch_G, row.decimals_G));
  }
  REQUIRE_FALSE(prints_as(20.95, 20.9, 2));
  REQUIRE_FALSE(prints_as(std::nan(""), 20.9, 2));
}

TEST_CASE("counts: a row of the paper has a note exactly where our layers do not give its numbers") {
  REQUIRE(paper_counts().size() == 2 * models().size());
  for (const PaperCount& row : paper_counts()) {
    const Model& model = model_named(row.model);
    const Count count = row.monarch ? count_monarch(model) : count_dense(model);
    const auto agrees = [](double ours, double paper, int decimals) {
      return prints_as(ours, paper, decimals) || std::abs(ours / paper - 1) <= 0.01;
    };
    const bool whole = row.macs_G > 50;  // Table 2 prints whole numbers, the others one decimal
    const bool whole_M = row.parameters_M == std::round(row.parameters_M) && row.source != "Table 1";
    const bool same =
        agrees(millions(count), row.parameters_M, whole_M ? 0 : 1) && agrees(giga(count), row.macs_G, whole ? 0 : 1);
    INFO(row.model << (row.monarch ? " Monarch" : " dense") << ": " << millions(count) << " M " << giga(count) << " G");
    REQUIRE(row.note.empty() == same);
  }
}

TEST_CASE("counts: layers add up, and one block is as dense in MACs as the formula says") {
  for (const Model& model : models()) {
    const Count monarch = count_monarch(model, {.nblocks = 16, .choice = Choice::all});
    int64_t parameters = 0, macs = 0;
    for (const auto& layer : monarch.layers) {
      parameters += layer.parameters;
      macs += layer.macs;
    }
    REQUIRE(parameters == monarch.parameters);
    REQUIRE(macs == monarch.macs);
    REQUIRE(monarch.parameters < count_monarch(model, {.choice = Choice::all}).parameters);
    // One block is two dense factors: min(in, out)·(in + out), always more than in·out.
    REQUIRE(count_monarch(model, {.nblocks = 1}).parameters > count_dense(model).parameters);
  }
}

TEST_CASE("counts: unknown names and block counts are refused with a suggestion") {
  REQUIRE_THROWS_WITH(model_named("gpt2-smal"), Catch::Contains("did you mean gpt2-small?"));
  REQUIRE_THROWS_AS(choice_from_name("everything"), ConfigError);
  REQUIRE_THROWS_AS(paper_count("gpt2-xl", false), ConfigError);
  REQUIRE_THROWS_AS(count_monarch(model_named("vit-b16"), {.nblocks = 0}), ShapeError);
}
