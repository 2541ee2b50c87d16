// Neural solvers: sizes, published outputs, symmetries, resolutions, training, errors.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "monarch/core/error.hpp"
#include "monarch/data/checkpoint.hpp"
#include "monarch/operators/resample.hpp"
#include "monarch/solvers/neural/published_checkpoint.hpp"
#include "neural_models.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::solvers;
using Catch::Matchers::Contains;
using monarch::operators::resample;
using monarch::test::band_limited;
using monarch::test::distance;
using monarch::test::make_model;

namespace {

int64_t count(const std::string& lines, const FieldShape& shape, bool complex_once = false) {
  return parameter_count(*make_model(lines, shape), complex_once);
}

at::Tensor evaluate(NeuralSolver& model, const at::Tensor& x) {
  const c10::NoGradGuard no_grad;
  model.eval();
  return model.forward(x);
}

/// A small version of every model that has parameters, in up to three dimensions.
struct Case {
  std::string lines;
  FieldShape shape;
};
std::vector<Case> small_models() {
  const FieldShape plane{3, 1, {32, 32}};
  return {{"name = 'fno'\nmodes = 3\nwidth = 4\nprojection = 8\nlayers = 2", {2, 2, {15}}},
          {"name = 'fno'\nmodes = [3, 4]\nwidth = 4\nprojection = 8", {3, 1, {12, 10}}},
          {"name = 'fno'\nvariant = 'paper-2020'\nmodes = 3\nwidth = 4\nprojection = 8", {3, 1, {12, 12}}},
          {"name = 'fno'\nmodes = 2\nwidth = 3\nlayers = 2\nprojection = 6\npadding = [0, 0, 0.25]", {2, 1, {6, 5, 8}}},
          {"name = 'fno'\nmodes = 3\nwidth = 8\nlayers = 2\nprojection = 16\nmixing = 'monarch'\nnblocks = 2",
           {3, 1, {12, 12}}},
          {"name = 'fno'\nmodes = 3\nwidth = 4\nlayers = 2\nprojection = 8\npositional_bias = true", {3, 1, {12, 12}}},
          {"name = 'fno'\nmodes = 3\nwidth = 4\nlayers = 2\nprojection = 8\nnorm = 'batch'", {3, 1, {12, 12}}},
          {"name = 'monarch-no'\nmodes = 3\nwidth = 4\nlayers = 2\nprojection = 8", {3, 1, {12, 12}}},
          {"name = 'fno'\nvariant = 'neuraloperator'\nmodes = 3\nwidth = 4\nlayers = 2", {3, 1, {12, 10}}},
          {"name = 'fno'\nmodes = 3\nwidth = 8\nlayers = 2\nprojection = 16\nmixing = 'monarch'\nnblocks = 2\nnorm = "
           "'batch'\nblock_mlp = 1\nblock_skip = 'identity'",
           {3, 1, {15}}},
          {"name = 'monarch-no'\nmodes = 3\nwidth = 4\nlayers = 2\nprojection = 8\nlift_hidden = 6\nblock_mlp = "
           "2\nblock_skip = 'linear'",
           {3, 1, {12, 12}}},
          {"name = 'f-fno'\nmodes = 4\nwidth = 6\nlayers = 2\nprojection = 8\nactivation = 'gelu'", {3, 1, {12, 10}}},
          {"name = 'f-fno'\nmodes = 4\nwidth = 6\nlayers = 2\nprojection = 8\nshare_weights = false\nweight_norm = "
           "false\nactivation = 'gelu'\ntransform.kind = 'monarch'",
           {3, 1, {12, 10}}},
          {"name = 'u-net'\nwidth = 8", plane},
          {"name = 'tf-net'\nwidth = 4", {6, 1, {32, 32}}},
          {"name = 'tf-net'\nwidth = 4\ncomponents = 2\nframes = 3", {10, 2, {16, 32}}},
          {"name = 'resnet'\nwidth = 6\nblocks = 2\nboundary = 'circular'", {3, 1, {12, 9}}},
          {"name = 'mean'", {3, 2, {12, 9}}}};
}

at::Tensor pointwise(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {}) {
  const at::Tensor y = at::einsum("oi,bixy->boxy", {weight, x});
  return bias.defined() ? y + bias.view({-1, 1, 1}) : y;
}

/// The two-dimensional FNO of a model's parameters by torch.fft, channel MLPs and a lift of two layers included.
at::Tensor plain_fno(const NeuralSolver& model, const at::Tensor& x, int64_t layers) {
  const auto parameters = model.named_parameters();
  const auto has = [&](const std::string& name) { return parameters.contains(name); };
  const auto layer = [&](const std::string& name, const at::Tensor& v) {
    return pointwise(v, parameters[name + ".weight"], parameters[name + ".bias"]);
  };
  at::Tensor v = layer("lift", x);
  if (has("lift_out.weight")) v = layer("lift_out", at::gelu(v));
  const int64_t n0 = x.size(2), n1 = x.size(3);
  for (int64_t i = 0; i < layers; ++i) {
    const std::string k = std::to_string(i);
    const at::Tensor r = parameters["spectral" + k];
    const int64_t m0 = r.size(2) / 2, m1 = r.size(3);
    const at::Tensor all = at::fft_rfft2(v);
    const at::Tensor low = at::cat({all.narrow(2, 0, m0), all.narrow(2, n0 - m0, m0)}, 2).narrow(3, 0, m1);
    const at::Tensor mixed = at::einsum("bixy,ioxy->boxy", {low, r});
    const at::Tensor rows =
        at::cat({mixed.narrow(2, 0, m0), at::zeros({x.size(0), r.size(1), n0 - 2 * m0, m1}, low.options()),
                 mixed.narrow(2, m0, m0)},
                2);
    const at::Tensor columns = at::zeros({x.size(0), r.size(1), n0, n1 / 2 + 1 - m1}, low.options());
    at::Tensor u = at::fft_irfft2(at::cat({rows, columns}, 3), at::IntArrayRef{n0, n1}) + layer("pointwise" + k, v);
    if (i + 1 < layers) u = at::gelu(u);
    if (has("expand" + k + ".weight")) {
      at::Tensor y = layer("contract" + k, at::gelu(layer("expand" + k, u)));
      y = y + (has("gate" + k)               ? v * parameters["gate" + k].view({-1, 1, 1})
               : has("skip" + k + ".weight") ? pointwise(v, parameters["skip" + k + ".weight"])
                                             : v);
      u = i + 1 < layers ? at::gelu(y) : y;
    }
    v = u;
  }
  return layer("head1", at::gelu(layer("head0", v)));
}

at::Tensor input_of(const FieldShape& shape, int64_t batch = 2) {
  std::vector<int64_t> extents{batch, shape.in_channels};
  extents.insert(extents.end(), shape.grid.begin(), shape.grid.end());
  return at::randn(extents);
}

}  // namespace

TEST_CASE("parameter counts are those of the published tables") {
  const FieldShape torus{10, 1, {64, 64}};
  REQUIRE(count("name = 'fno'", torus) == 926357);
  REQUIRE(count("name = 'fno'", torus, /*complex_once=*/true) == 465557);
  REQUIRE(count("name = 'fno'\nvariant = 'paper-2020'", torus) == 414517);
  REQUIRE(count("name = 'fno'\nnorm = 'batch'", torus) == 926517);
  REQUIRE(count("name = 'fno'\nnorm = 'batch'", torus, true) == 465717);
  REQUIRE(count("name = 'fno'\nnorm = 'batch'", {10, 1, {64, 64, 40}}) == 6558537);
  REQUIRE(count("name = 'u-net'", torus) == 24950491);
  REQUIRE(count("name = 'tf-net'", torus) == 7451724);
  REQUIRE(count("name = 'resnet'", torus) == 266641);
  REQUIRE(count("name = 'persistence'", torus) == 0);
  REQUIRE(count("name = 'mean'", torus) == 64 * 64);
}

TEST_CASE("parameter counts are those of the studies of learned transforms") {
  const std::string small = "modes = 8\nwidth = 16\nprojection = 64\n";
  const FieldShape shape{10, 1, {32, 32}};
  const auto learned = [&](const std::string& lines) { return count(small + lines, shape) - 264593; };
  REQUIRE(learned("name = 'fno'") == 0);
  REQUIRE(learned("name = 'monarch-no'") == 3072);
  REQUIRE(learned("name = 'monarch-no'\ntransform.share = 'layer'") == 12288);
  REQUIRE(learned("name = 'monarch-no'\ntransform.share = 'layer'\ntransform.directions = 'inverse'") == 6144);
  REQUIRE(learned("name = 'monarch-no'\ntransform.tied = true") == 1536);
  REQUIRE(learned("name = 'monarch-no'\ntransform.axes = [1]") == 1536);
  REQUIRE(learned("name = 'monarch-no'\ntransform.per_channel = true") == 16 * 3072);
  REQUIRE(learned("name = 'fno'\ntransform = 'dense'") == 3072);
  REQUIRE(learned("name = 'fno'\ntransform.kind = 'dense'\ntransform.share = 'layer'") == 12288);
  REQUIRE(learned("name = 'fno'\npositional_bias = true") == 65536);
  // 32 = 8 · 4. Of both signs of 8 frequencies the second factor keeps 4 of the 8 rows of each of its 4 blocks, of one
  // sign 2; of the inverse's first factor remain 2 and 1 of the 4 columns of each of 8 blocks.
  const int64_t ahead = (128 + 4 * 4 * 8) + (128 + 4 * 2 * 8), back = (8 * 4 * 2 + 256) + (8 * 4 * 1 + 256);
  REQUIRE(learned("name = 'monarch-no'\ntransform.truncated = true") == 2 * (ahead + back));
  const std::string space_time = "width = 16\nprojection = 32\n";
  REQUIRE(count(space_time + "modes = 6\nname = 'fno'", {1, 1, {16, 16}}) == 149185);
  REQUIRE(count(space_time + "modes = 6\nname = 'monarch-no'", {1, 1, {16, 16}}) == 150209);
  REQUIRE(count(space_time + "modes = 8\nname = 'fno'", {1, 1, {16, 16}}) == 263873);
}

TEST_CASE("channel MLPs, their skips and a lift of two layers have the parameters of neuraloperator's FNO") {
  const FieldShape shape{1, 1, {16, 16}};
  const std::string size = "modes = 6\nwidth = 32\n", fno = "name = 'fno'\n" + size;
  REQUIRE(count(fno + "variant = 'neuraloperator'", shape) == 602977);
  REQUIRE(count("name = 'monarch-no'\nvariant = 'neuraloperator'\n" + size, shape) == 602977 + 1024);
  const auto more = [&](const std::string& lines) { return count(fno + lines, shape) - count(fno, shape); };
  REQUIRE(more("block_mlp = 0.5\nblock_skip = 'identity'") == 4 * (32 * 16 + 16 + 16 * 32 + 32));
  REQUIRE(more("block_mlp = 0.5") == 4 * (32 * 16 + 16 + 16 * 32 + 32 + 32));
  REQUIRE(more("block_mlp = 0.5\nblock_skip = 'linear'") == 4 * (32 * 16 + 16 + 16 * 32 + 32 + 32 * 32));
  REQUIRE(more("lift_hidden = 64") == 3 * 64 + 64 + 64 * 32 + 32 - (3 * 32 + 32));
}

TEST_CASE("an FNO with channel MLPs is the composition of torch.fft and pointwise layers, in value and gradient") {
  for (const std::string lines :
       {"", "lift_hidden = 7", "block_mlp = 0.5", "block_mlp = 0.5\nblock_skip = 'identity'",
        "block_mlp = 2\nblock_skip = 'linear'", "lift_hidden = 7\nblock_mlp = 0.5\nspectral_init = 'xavier'"}) {
    INFO(lines);
    auto model = make_model(
        "name = 'fno'\nmodes = [3, 4]\nwidth = 6\nlayers = 3\nprojection = 8\ncoordinates = 'none'\n" + lines,
        {3, 2, {12, 10}});
    at::Tensor x = at::randn({2, 3, 12, 10}).requires_grad_();
    {
      const c10::NoGradGuard no_grad;  // spectral weights that are seen, gates that differ
      for (auto& item : model->named_parameters())
        if (item.key().starts_with("spectral") || item.key().starts_with("gate"))
          item.value().add_(0.2 * at::randn_like(item.value()));
    }
    const at::Tensor y = model->forward(x), expected = plain_fno(*model, x, 3);
    REQUIRE(distance(y, expected) <= 2e-6);
    std::vector<at::Tensor> leaves = model->parameters();
    leaves.push_back(x);
    const at::Tensor cotangent = at::randn_like(y);
    const auto gradients = [&](const at::Tensor& out) {
      std::vector<at::Tensor> result;
      for (at::Tensor& leaf : leaves) leaf.mutable_grad() = at::Tensor();
      (out * cotangent).sum().backward();
      for (const at::Tensor& leaf : leaves)
        result.push_back(leaf.grad().is_complex() ? at::view_as_real(leaf.grad().resolve_conj()) : leaf.grad());
      return result;
    };
    const auto mine = gradients(y), plain = gradients(expected);
    for (size_t i = 0; i < leaves.size(); ++i) REQUIRE(distance(mine[i], plain[i]) <= 2e-5);
    if (!lines.empty()) {
      const auto other = make_model(
          "name = 'fno'\nmodes = [3, 4]\nwidth = 6\nlayers = 3\nprojection = 8\ncoordinates = 'none'\n" + lines,
          {3, 2, {12, 10}}, 2);
      REQUIRE_FALSE(distance(y, plain_fno(*other, x, 3)) <= 1e-3);
    }
  }
}

TEST_CASE("neuraloperator's n_modes count both signs") {
  const FieldShape shape{10, 1, {64, 64}};
  const auto shape_of = [&](const std::string& lines) {
    return make_model("name = 'fno'\n" + lines, shape)->named_parameters()["spectral0"].sizes().vec();
  };
  REQUIRE(shape_of("modes = [24, 22]\nmodes_convention = 'neuraloperator'") == shape_of("modes = 12"));
  REQUIRE(shape_of("modes = 12\nmodes_convention = 'neuraloperator'") == std::vector<int64_t>{20, 20, 12, 7});
  REQUIRE_THROWS_WITH(shape_of("modes = 13\nmodes_convention = 'neuraloperator'"), Contains("even"));
}

TEST_CASE("FNOs with the weights of the published scripts give the outputs and gradients of torch.fft") {
  const std::map<std::string, Case> cases{
      {"1d", {"modes = 5\nwidth = 6\nprojection = 8", {2, 1, {21}}}},
      {"2d", {"modes = [3, 4]\nwidth = 5\nprojection = 12", {3, 1, {12, 10}}}},
      {"2d-paper-2020", {"variant = 'paper-2020'\nmodes = 3\nwidth = 4\nprojection = 8", {3, 1, {10, 9}}}},
      {"3d-padded", {"modes = [2, 3, 3]\nwidth = 3\nprojection = 6\npadding = [0, 0, 2]", {2, 1, {6, 7, 8}}}}};
  const std::filesystem::path path = MONARCH_SOURCE_DIR "/tests/golden/fno.pt";
  for (const auto& [name, setup] : cases) {
    INFO(name);
    const auto golden = data::open_checkpoint(path, {.select = name});
    const auto state_file = data::open_checkpoint(path, {.select = name + ".model"});
    std::map<std::string, at::Tensor> state;
    for (const auto& info : state_file->tensors()) state["module." + info.name] = state_file->load(info.name);
    auto model = make_model("name = 'fno'\n" + setup.lines, setup.shape);
    const at::Tensor x = golden->load("x"), y = golden->load("y");
    REQUIRE_FALSE(distance(evaluate(*model, x), y) <= 1e-2);  // other weights, other output
    load_published_fno(*model, state, name);
    // Also into Monarch-NO, whose transforms start as Fourier's.
    if (name == "2d") {
      auto learned = make_model("name = 'monarch-no'\n" + setup.lines, setup.shape);
      load_published_fno(*learned, state, name);
      REQUIRE(distance(evaluate(*learned, x), y) <= 2e-6);
    }
    if (golden->find("y_eval")) REQUIRE(distance(evaluate(*model, x), golden->load("y_eval")) <= 2e-6);
    model->train();
    const at::Tensor out = model->forward(x);
    REQUIRE(distance(out, y) <= 2e-6);
    (out - golden->load("target")).norm().backward();
    const at::Tensor gradient = golden->load("gradient");
    const at::Tensor mine = model->named_parameters()["spectral1"].grad();
    at::Tensor corner = mine;
    for (int64_t a = 2; a < mine.dim(); ++a) corner = corner.narrow(a, 0, gradient.size(a));
    REQUIRE(distance(at::view_as_real(corner.resolve_conj()), at::view_as_real(gradient)) <= 1e-5);
    REQUIRE(distance(model->named_parameters()["lift.weight"].grad(), golden->load("lift_gradient")) <= 1e-5);
  }
}

TEST_CASE("a published checkpoint of another model is refused by name") {
  const auto file = data::open_checkpoint(MONARCH_SOURCE_DIR "/tests/golden/fno.pt", {.select = "2d.model"});
  std::map<std::string, at::Tensor> state;
  for (const auto& info : file->tensors()) state[info.name] = file->load(info.name);
  const auto into = [&](const std::string& lines, const FieldShape& shape) {
    load_published_fno(*make_model(lines, shape), state, "ns.pt");
  };
  const std::string base = "name = 'fno'\nmodes = [3, 4]\nprojection = 12\n";
  into(base + "width = 5", {3, 1, {12, 10}});
  REQUIRE_THROWS_WITH(into(base + "width = 6", {3, 1, {12, 10}}), Contains("ns.pt") && Contains("conv0"));
  REQUIRE_THROWS_WITH(into(base + "width = 5\nlayers = 5", {3, 1, {12, 10}}), Contains("conv4"));
  REQUIRE_THROWS_WITH(into(base + "width = 5\nlayers = 3", {3, 1, {12, 10}}),
                      Contains("no place for") && Contains("conv3"));
  REQUIRE_THROWS_AS(into("name = 'u-net'\nwidth = 4", {3, 1, {32, 32}}), DataError);
  REQUIRE_THROWS_WITH(into(base + "width = 5\nblock_mlp = 1", {3, 1, {12, 10}}), Contains("channel MLPs of 5"));
}

TEST_CASE("without coordinates an FNO commutes with translations of the torus, with them it does not") {
  for (const std::string name :
       {"name = 'fno'\nmodes = 3\n", "name = 'f-fno'\nmodes = 4\n", "name = 'monarch-no'\nmodes = 3\n"}) {
    const auto shifted_apart = [&](const std::string& coordinates) {
      auto model = make_model(name + "width = 6\nlayers = 3\nprojection = 8\ncoordinates = '" + coordinates + "'",
                              {2, 1, {12, 15}});
      const at::Tensor x = at::randn({2, 2, 12, 15});
      return distance(evaluate(*model, at::roll(x, {5, -4}, {2, 3})), at::roll(evaluate(*model, x), {5, -4}, {2, 3}));
    };
    REQUIRE(shifted_apart("none") <= 2e-6);
    REQUIRE_FALSE(shifted_apart("exclusive") <= 1e-3);
  }
}

TEST_CASE("a linear FNO gives the same function at every resolution") {
  const std::string lines =
      "modes = 4\nwidth = 6\nlayers = 3\nprojection = 8\ncoordinates = 'none'\nactivation = 'none'";
  const auto evaluated = [&](const std::string& name, const std::vector<int64_t>& grid,
                             const std::vector<int64_t>& at) {
    auto model = make_model("name = '" + name + "'\n" + lines, {2, 1, grid});
    return evaluate(*model, band_limited(2, 2, at, 5).to(at::kFloat));
  };
  for (const std::string name : {"fno", "monarch-no", "f-fno"}) {
    INFO(name);
    const at::Tensor trained = evaluated(name, {32, 32}, {32, 32});
    for (const std::vector<int64_t>& grid :
         std::vector<std::vector<int64_t>>{{64, 64}, {128, 128}, {33, 31}, {16, 64}, {45, 13}}) {
      const at::Tensor there = evaluated(name, {32, 32}, grid);
      REQUIRE(distance(there, resample(trained, grid)) <= 2e-6);
      // Nothing of it is trivial: another grid's values are others.
      REQUIRE_FALSE(distance(there, at::roll(resample(trained, grid), {1}, {2})) <= 1e-2);
    }
  }
  const at::Tensor line = evaluated("fno", {32}, {32}), cube = evaluated("fno", {12, 12, 12}, {12, 12, 12});
  REQUIRE(distance(evaluated("fno", {32}, {65}), resample(line, {65})) <= 2e-6);
  REQUIRE(distance(evaluated("fno", {12, 12, 12}, {24, 13, 16}), resample(cube, {24, 13, 16})) <= 2e-6);
}

TEST_CASE("padding stretches with the resolution, and coordinates reach the ends they say") {
  auto model = make_model("name = 'fno'\nmodes = 3\nwidth = 4\npadding = [0, 0.25]\nprojection = 8", {1, 1, {16, 16}});
  const at::Tensor x = band_limited(1, 1, {16, 16}, 2).to(at::kFloat),
                   fine = band_limited(1, 1, {32, 32}, 2).to(at::kFloat);
  REQUIRE(evaluate(*model, x).sizes() == x.sizes());
  REQUIRE(evaluate(*model, fine).sizes() == fine.sizes());
  auto points = make_model("name = 'fno'\nmodes = 3\nwidth = 4\npadding = [0, 4]\nprojection = 8", {1, 1, {16, 16}});
  REQUIRE(distance(evaluate(*points, fine), evaluate(*model, fine)) == 0);
  auto none = make_model("name = 'fno'\nmodes = 3\nwidth = 4\nprojection = 8", {1, 1, {16, 16}});
  REQUIRE_FALSE(distance(evaluate(*none, x), evaluate(*model, x)) <= 1e-3);
}

TEST_CASE("Monarch mixing is a model of its own with fewer weights; its layers take part") {
  const std::string lines = "name = 'fno'\nmodes = 3\nwidth = 16\nlayers = 2\nprojection = 32\n";
  const FieldShape shape{3, 1, {12, 12}};
  REQUIRE(count(lines + "mixing = 'monarch'\nnblocks = 4", shape) < count(lines, shape));
  auto model = make_model(lines + "mixing = 'monarch'", shape);
  auto parameters = model->named_parameters();
  REQUIRE(parameters.contains("pointwise0.blkdiag1"));
  REQUIRE(parameters.contains("lift.blkdiag2"));
  const at::Tensor x = input_of(shape), before = evaluate(*model, x);
  for (const char* name : {"lift.blkdiag1", "pointwise1.blkdiag2", "head0.blkdiag1", "head1.bias"}) {
    const c10::NoGradGuard no_grad;
    at::Tensor tensor = parameters[name];
    tensor.add_(0.1);
    REQUIRE_FALSE(distance(evaluate(*model, x), before) <= 1e-6);
    tensor.sub_(0.1);
  }
  REQUIRE(distance(evaluate(*model, x), before) <= 1e-5);
}

TEST_CASE("TF-Net sees the frames it says, and means are over the frames before") {
  auto model = make_model("name = 'tf-net'\nwidth = 4", {10, 1, {16, 16}});
  const at::Tensor x = input_of(model->shape());
  const auto changed = [&](int64_t frame) {
    at::Tensor other = x.clone();
    other.select(1, frame).add_(1);
    return distance(evaluate(*model, other), evaluate(*model, x));
  };
  REQUIRE(changed(0) == 0);  // 7 + 3 - 1 = 9 of the 10
  REQUIRE_FALSE(changed(9) <= 1e-4);
  for (auto& item : model->named_parameters()) {
    const c10::NoGradGuard no_grad;
    // Encoders start nearly blind (their published deviation): let them see.
    if (item.key().find("encoder") == 0 && item.value().dim() == 4) item.value().mul_(1e5);
  }
  REQUIRE_FALSE(changed(1) <= 1e-4);
}

TEST_CASE("persistence repeats the last frame") {
  const at::Tensor x = at::randn({2, 6, 5, 4});
  REQUIRE(at::equal(make_model("name = 'persistence'", {6, 1, {5, 4}})->forward(x), x.narrow(1, 5, 1)));
  REQUIRE(at::equal(make_model("name = 'persistence'", {6, 2, {5, 4}})->forward(x), x.narrow(1, 4, 2)));
  const at::Tensor y = make_model("name = 'persistence'\ncomponents = 2", {6, 4, {5, 4}})->forward(x);
  REQUIRE(at::equal(y, at::cat({x.narrow(1, 4, 2), x.narrow(1, 4, 2)}, 1)));
  REQUIRE_THROWS_AS(make_model("name = 'persistence'\ncomponents = 4", {6, 2, {5, 4}}), ConfigError);
}

TEST_CASE("every model takes a step of gradient descent and its loss falls by what the gradient says") {
  for (const Case& setup : small_models()) {
    INFO(setup.lines);
    auto model = make_model(setup.lines, setup.shape);
    const at::Tensor x = input_of(setup.shape, 3);
    const at::Tensor target = at::randn_like(model->forward(x)) + 2;
    const auto loss = [&] { return (model->forward(x) - target).square().mean(); };
    const at::Tensor before = loss();
    before.backward();
    double squares = 0;
    for (const at::Tensor& p : model->parameters()) {
      REQUIRE(p.is_leaf());
      REQUIRE(p.grad().defined());
      squares += p.grad().abs().square().sum().item<double>();
    }
    REQUIRE(squares > 0);
    const double step = 1e-3 * before.item<double>() / squares;
    const c10::NoGradGuard no_grad;
    for (at::Tensor& p : model->parameters()) p.sub_(p.grad() * step);
    const double fallen = (before - loss()).item<double>() / before.item<double>();
    REQUIRE(fallen >= 0.3e-3);
    REQUIRE(fallen <= 3e-3);
  }
}

TEST_CASE("a model is its named tensors: copied, they give the same outputs") {
  for (const Case& setup : small_models()) {
    INFO(setup.lines);
    auto model = make_model(setup.lines, setup.shape), other = make_model(setup.lines, setup.shape, 2);
    const at::Tensor x = input_of(setup.shape);
    model->forward(x);  // moves running statistics
    const c10::NoGradGuard no_grad;
    if (setup.lines == "name = 'mean'") model->parameters()[0].normal_();
    REQUIRE_FALSE(distance(evaluate(*other, x), evaluate(*model, x)) <= 1e-6);
    std::set<std::string> names;
    const auto copy = [&](auto from, auto to) {
      REQUIRE(from.size() == to.size());
      for (auto& item : from) {
        REQUIRE(names.insert(item.key()).second);
        to[item.key()].copy_(item.value());
      }
    };
    copy(model->named_parameters(), other->named_parameters());
    copy(model->named_buffers(), other->named_buffers());
    REQUIRE(at::equal(evaluate(*other, x), evaluate(*model, x)));
  }
}

TEST_CASE("conversion to double keeps complex weights complex") {
  for (const Case& setup : small_models()) {
    INFO(setup.lines);
    auto model = make_model(setup.lines, setup.shape);
    const at::Tensor x = input_of(setup.shape), single = evaluate(*model, x);
    model->to(at::kDouble);
    REQUIRE_THROWS_WITH(evaluate(*model, x), Contains("float64") && Contains("float32"));
    const at::Tensor wide = evaluate(*model, x.to(at::kDouble));
    REQUIRE(wide.scalar_type() == at::kDouble);
    REQUIRE((wide - single).abs().max().item<double>() <= 1e-5);
    for (const auto& item : model->named_parameters())
      REQUIRE(item.value().is_complex() ==
              (item.key().find("spectral") != std::string::npos || item.key().find("transforms") != std::string::npos));
  }
}

TEST_CASE("gradients of spectral models agree with differences in double precision") {
  for (const Case& setup : small_models()) {
    // Convolutions are PyTorch's; ReLU has corners that a difference may step over.
    if (setup.lines.find("no'") == std::string::npos || setup.lines.find("paper-2020") != std::string::npos) continue;
    INFO(setup.lines);
    auto model = make_model(setup.lines, setup.shape);
    model->to(at::kDouble);
    {
      const c10::NoGradGuard no_grad;  // away from exact transforms, zero biases and equal scales
      for (at::Tensor& p : model->parameters()) p.add_(0.1 * at::randn_like(p) * (p.abs().mean() + 0.1));
    }
    at::Tensor x = input_of(setup.shape).to(at::kDouble).requires_grad_();
    const at::Tensor cotangent = at::randn_like(model->forward(x));
    const auto value = [&] { return (model->forward(x) * cotangent).sum(); };
    value().backward();
    auto leaves = model->named_parameters();
    leaves.insert("x", x);
    for (auto& item : leaves) {
      INFO(item.key());
      at::Tensor p = item.value();
      const c10::NoGradGuard no_grad;
      const at::Tensor direction = at::randn_like(p);
      const double expected = at::real((p.grad().conj() * direction).sum()).item<double>();
      const double h = 1e-4;
      const auto along = [&](double s) {
        p.add_(direction * s);
        const double v = value().item<double>();
        p.sub_(direction * s);
        return v;
      };
      const double measured = (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h);
      const double allowed = 1e-6 * (1 + std::abs(expected) + std::abs(measured));
      REQUIRE(std::abs(measured - expected) <= allowed);
      REQUIRE_FALSE(std::abs(measured - 2 * expected - 1e-3) <= allowed);
    }
  }
}

TEST_CASE("wrong inputs and options are refused by name") {
  const FieldShape shape{3, 1, {12, 10}};
  const std::string base = "width = 4\nprojection = 8\n";
  auto model = make_model("name = 'fno'\nmodes = 3\n" + base, shape);
  REQUIRE_THROWS_WITH(model->forward(at::randn({2, 4, 12, 10})), Contains("3 channels") && Contains("[2, 4, 12, 10]"));
  REQUIRE_THROWS_WITH(model->forward(at::randn({2, 3, 12})), Contains("2 grid axes"));
  REQUIRE_THROWS_AS(model->forward(at::zeros({2, 3, 12, 10}, at::kLong)), DtypeError);
  REQUIRE_THROWS_WITH(model->forward(at::randn({2, 3, 4, 10})), Contains("Nyquist"));

  const auto made = [&](const std::string& lines) { return make_model(lines, shape); };
  REQUIRE_THROWS_WITH(made("name = 'fnoo'"), Contains("did you mean \"fno\"") && Contains("tf-net"));
  REQUIRE_THROWS_WITH(made("name = 'fno'\nmodes = 7\n" + base), Contains("axis 0") && Contains("at most 6"));
  REQUIRE_THROWS_WITH(made("name = 'fno'\nmodes = [3, 7]\n" + base), Contains("axis 1") && Contains("at most 6"));
  REQUIRE_THROWS_WITH(made("name = 'fno'\nmodes = [3, 3, 3]\n" + base), Contains("3 values"));
  REQUIRE_THROWS_WITH(made("name = 'fno'\nmodes = 'all'\n" + base), Contains("array of numbers"));
  REQUIRE_THROWS_WITH(made("name = 'fno'\nmodes = 2.5\n" + base), Contains("whole"));
  REQUIRE_THROWS_WITH(made("name = 'fno'\nmodes = 3\nwidht = 4"), Contains("did you mean 'model.width'"));
  REQUIRE_THROWS_WITH(made("name = 'fno'\nmodes = 3\nwidth = 0"), Contains("model.width must be positive"));
  REQUIRE_THROWS_WITH(made("name = 'fno'\nmodes = 3\nnblocks = 2"), Contains("model.nblocks"));  // mixing is dense
  REQUIRE_THROWS_WITH(made("name = 'fno'\nmodes = 3\nblock_skip = 'linear'"), Contains("model.block_skip"));  // no MLP
  for (const char* wrong :
       {"variant = 'new'", "norm = 'layer'", "spectral_init = 'normal'", "mixing = 'sparse'", "coordinates = 'polar'",
        "activation = 'tanh'", "modes_convention = 'mine'", "padding = -1", "block_mlp = -0.5", "block_mlp = 0.01",
        "block_mlp = 1\nblock_skip = 'dense'", "lift_hidden = -1", "padding = 13", "transform.kind = 'wavelet'",
        "transform.share = 'none'"}) {
    INFO(wrong);
    REQUIRE_THROWS_AS(made("name = 'monarch-no'\nmodes = 3\n" + base + wrong), ConfigError);
  }
  REQUIRE_THROWS_WITH(made("name = 'u-net'"), Contains("multiples of 32"));
  REQUIRE_THROWS_WITH(make_model("name = 'u-net'", {3, 1, {32}}), Contains("two-dimensional"));
  REQUIRE_THROWS_WITH(make_model("name = 'u-net'\nwidth = 6", {3, 1, {32, 32}}), Contains("multiple of 4"));
  REQUIRE_THROWS_WITH(make_model("name = 'tf-net'", {2, 1, {32, 32}}), Contains("3 frames") && Contains("2 channels"));
  REQUIRE_THROWS_AS(make_model("name = 'resnet'\nboundary = 'odd'", shape), ConfigError);
  REQUIRE_THROWS_AS(make_model("name = 'fno'", {3, 1, {}}), ShapeError);
  REQUIRE_THROWS_AS(make_model("name = 'fno'", {0, 1, {64}}), ShapeError);
}
