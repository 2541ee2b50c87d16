// Learned transforms: equal to Fourier's at the start, whatever the options; what the optimiser is told of them.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <catch2/catch.hpp>
#include <map>

#include "monarch/core/error.hpp"
#include "monarch/solvers/neural/axis_transforms.hpp"
#include "neural_models.hpp"

using namespace monarch;
using namespace monarch::solvers;
using Catch::Matchers::Contains;
using monarch::operators::KeptModes;
using monarch::test::distance;
using monarch::test::make_model;

namespace {

at::Tensor evaluate(NeuralSolver& model, const at::Tensor& x) {
  const c10::NoGradGuard no_grad;
  return model.forward(x);
}

double worst(const AxisPass& pass, int64_t n, int64_t modes, KeptModes kept) {
  const auto exact = operators::truncated_fourier(n, modes, kept, at::kFloat);
  const auto error = [](const at::Tensor& a, const at::Tensor& b) {
    return (a - b).abs().max().item<double>() / b.abs().max().item<double>();
  };
  return std::max(error(pass.matrices.forward, exact.forward), error(pass.matrices.inverse, exact.inverse));
}

std::vector<std::string> all_options() {
  return {"",
          "transform.share = 'layer'",
          "transform.directions = 'forward'",
          "transform.directions = 'inverse'",
          "transform.tied = true",
          "transform.truncated = true",
          "transform.truncated = true\ntransform.tied = true",
          "transform.per_channel = true",
          "transform.per_channel = true\ntransform.truncated = true\ntransform.directions = 'inverse'",
          "transform.product = 'factors'",
          "transform.product = 'factors'\ntransform.truncated = true",
          "transform.product = 'factors'\ntransform.directions = 'forward'",
          "transform.product = 'factors'\ntransform.directions = 'inverse'",
          "transform.product = 'factors'\ntransform.tied = true",
          "transform.product = 'dense'",
          "transform.axes = [0]",
          "transform.kind = 'dense'",
          "transform.kind = 'dense'\ntransform.tied = true",
          "transform.kind = 'dense'\ntransform.per_channel = true"};
}

}  // namespace

TEST_CASE("the transforms of an axis start as Fourier's for every length, odd and prime ones too") {
  TransformSettings settings;
  settings.product = TransformProduct::dense;
  for (const TransformKind kind : {TransformKind::monarch, TransformKind::dense}) {
    settings.kind = kind;
    for (const bool truncated : {false, true}) {
      settings.truncated = truncated;
      for (const int64_t n : {1, 2, 3, 4, 6, 7, 9, 13, 15, 16, 24, 25, 30, 64, 81, 128}) {
        for (const KeptModes kept : {KeptModes::low_both, KeptModes::low_half}) {
          const int64_t most = kept == KeptModes::low_both ? n / 2 : n / 2 + 1;
          for (int64_t modes = 1; modes <= most; modes += std::max<int64_t>(1, most / 3)) {
            INFO(n << " points, " << modes << " modes");
            AxisTransforms axis(n, modes, kept, settings, true, 0);
            REQUIRE(worst(axis.pass(n, at::kFloat, at::kCPU), n, modes, kept) <= 3e-7);
          }
          if (most == 0) continue;
          AxisTransforms axis(n, most, kept, settings, true, 0);  // Nyquist included
          REQUIRE(worst(axis.pass(n, at::kFloat, at::kCPU), n, most, kept) <= 3e-7);
          // The checker sees one wrong entry.
          auto pass = axis.pass(n, at::kFloat, at::kCPU);
          pass.matrices.forward = pass.matrices.forward.detach().clone();
          pass.matrices.forward[0][0] += 1e-3;
          REQUIRE_FALSE(worst(pass, n, most, kept) <= 3e-7);
        }
      }
    }
  }
}

TEST_CASE("at the start Monarch-NO equals FNO with the same other weights, for every option, axis and size") {
  struct Shape {
    std::string modes;
    std::vector<int64_t> grid;
  };
  const std::vector<Shape> shapes{
      {"modes = 8", {32, 32}}, {"modes = [3, 5]", {12, 15}}, {"modes = 3", {7, 13}}, {"modes = 6", {12, 12}}};
  for (const Shape& shape : shapes) {
    for (const std::string& option : all_options()) {
      INFO(shape.modes << ", " << option);
      const std::string lines = shape.modes + "\nwidth = 5\nprojection = 8\nlayers = 3\n";
      const FieldShape fields{3, 1, shape.grid};
      auto fno = make_model("name = 'fno'\n" + lines, fields);
      auto learned = make_model("name = 'monarch-no'\n" + lines + option, fields);
      const at::Tensor x = at::randn({2, 3, shape.grid[0], shape.grid[1]});
      REQUIRE(distance(evaluate(*learned, x), evaluate(*fno, x)) <= 1e-6);
      REQUIRE(parameter_count(*learned) > parameter_count(*fno));
    }
  }
  for (const std::vector<int64_t>& grid : std::vector<std::vector<int64_t>>{{20}, {6, 8, 10}}) {
    const std::string lines = "modes = 3\nwidth = 4\nprojection = 8\nlayers = 2\npadding = 0.2\n";
    std::vector<int64_t> extents{2, 3};
    extents.insert(extents.end(), grid.begin(), grid.end());
    for (const std::string& model : {std::string("monarch-no"), std::string("f-fno")}) {
      const std::string kind = model == "f-fno" ? "transform.kind = 'monarch'" : "";
      auto fixed = make_model((model == "f-fno" ? "name = 'f-fno'\n" : "name = 'fno'\n") + lines, {3, 1, grid});
      auto learned = make_model("name = '" + model + "'\n" + lines + kind, {3, 1, grid});
      const at::Tensor x = at::randn(extents);
      REQUIRE(distance(evaluate(*learned, x), evaluate(*fixed, x)) <= 1e-6);
    }
  }
}

TEST_CASE("every learned factor takes part: gradients reach it and a step changes the output") {
  const std::string lines = "modes = 4\nwidth = 4\nprojection = 8\nlayers = 2\n";
  for (const std::string& option : all_options()) {
    INFO(option);
    auto model = make_model("name = 'monarch-no'\n" + lines + option, {2, 1, {16, 12}});
    const at::Tensor x = at::randn({2, 2, 16, 12});
    model->forward(x).square().sum().backward();
    for (auto& item : model->named_parameters()) {
      INFO(item.key());
      REQUIRE(item.value().grad().defined());
      REQUIRE(item.value().grad().abs().max().item<double>() > 0);
    }
  }
}

TEST_CASE("factors and multiplied-out factors give the same outputs and gradients, also away from the start") {
  const auto run = [](const std::string& product) {
    auto model = make_model(
        "name = 'monarch-no'\nmodes = 4\nwidth = 4\nprojection = 8\nlayers = 2\ntransform.product = '" + product + "'",
        {2, 1, {16, 12}});
    model->to(at::kDouble);
    at::manual_seed(5);
    {
      const c10::NoGradGuard no_grad;
      for (at::Tensor& p : model->parameters()) p.add_(0.1 * at::randn_like(p));
    }
    const at::Tensor y = model->forward(at::randn({2, 2, 16, 12}, at::kDouble));
    y.square().sum().backward();
    std::vector<at::Tensor> result{y};
    for (const at::Tensor& p : model->parameters())
      result.push_back(p.grad().is_complex() ? at::view_as_real(p.grad().resolve_conj()) : p.grad());
    return result;
  };
  const auto dense = run("dense"), factors = run("factors");
  for (size_t i = 0; i < dense.size(); ++i) REQUIRE(distance(factors[i], dense[i]) <= 1e-12);
}

TEST_CASE("long axes with many modes go through factors, short or sparse ones do not") {
  TransformSettings settings;
  settings.kind = TransformKind::monarch;
  const auto factored = [&](int64_t n, int64_t modes) {
    AxisTransforms axis(n, modes, KeptModes::low_half, settings, true, 0);
    return !axis.pass(n, at::kFloat, at::kCPU).plain();
  };
  REQUIRE_FALSE(factored(64, 33));
  REQUIRE_FALSE(factored(256, 12));
  REQUIRE_FALSE(factored(1024, 64));
  REQUIRE(factored(1024, 512));
}

TEST_CASE("transforms that start as a cosine transform undo one another") {
  TransformSettings settings;
  settings.dct = true;
  for (const TransformKind kind : {TransformKind::monarch, TransformKind::dense}) {
    settings.kind = kind;
    for (const bool tied : {false, true}) {
      settings.tied = tied;
      for (const int64_t n : {6, 7, 16}) {
        // All n of them: low_both keeps 2 (n/2).
        AxisTransforms axis(n, n / 2, KeptModes::low_both, settings, true, 0);
        const auto pass = axis.pass(n, at::kFloat, at::kCPU);
        const int64_t count = 2 * (n / 2);
        const at::Tensor back = at::matmul(pass.matrices.inverse, pass.matrices.forward);
        const at::Tensor points = (at::arange(n, at::kFloat) + 0.5) * (M_PI / static_cast<double>(n));
        for (int64_t k = 0; k < count; ++k) {
          const at::Tensor wave = (points * static_cast<double>(k)).cos();
          REQUIRE(distance(at::real(at::matmul(back, wave.to(at::kComplexFloat))), wave) <= 1e-5);
        }
      }
    }
  }
  auto model = make_model("name = 'monarch-no'\nmodes = 3\nwidth = 4\ntransform.init = 'dct'", {2, 1, {12, 12}});
  REQUIRE(evaluate(*model, at::randn({2, 2, 12, 12})).isfinite().all().item<bool>());
}

TEST_CASE("channels have transforms of their own") {
  auto model =
      make_model("name = 'monarch-no'\nmodes = 3\nwidth = 4\nlayers = 1\nprojection = 8\ntransform.per_channel = true",
                 {2, 1, {12, 12}});
  auto shared = make_model("name = 'monarch-no'\nmodes = 3\nwidth = 4\nlayers = 1\nprojection = 8", {2, 1, {12, 12}});
  const at::Tensor x = at::randn({2, 2, 12, 12});
  const c10::NoGradGuard no_grad;
  auto own = model->named_parameters(), one = shared->named_parameters();
  at::Tensor first = own["transforms.axis0.forward.w1"], of_all = one["transforms.axis0.forward.w1"];
  const at::Tensor change = 0.3 * at::randn_like(of_all);
  of_all.add_(change);
  first.add_(change);  // the same change in every channel
  REQUIRE(distance(evaluate(*model, x), evaluate(*shared, x)) <= 1e-6);
  first[0].sub_(change);
  REQUIRE_FALSE(distance(evaluate(*model, x), evaluate(*shared, x)) <= 1e-4);
}

TEST_CASE("factors get their learning-rate multiplier and no weight decay, positional biases no decay") {
  auto model = make_model(
      "name = 'monarch-no'\nmodes = 3\nwidth = 4\npositional_bias = true\ntransform.lr_multiplier = "
      "0.1\ntransform.share = 'layer'",
      {2, 1, {12, 12}});
  const auto groups = solver_parameter_groups(*model);
  REQUIRE(groups.size() == model->parameters().size());
  int64_t factors = 0;
  for (const auto& group : groups) {
    INFO(group.name);
    const bool factor = group.name.find("transforms") == 0, bias = group.name.find("bias") != std::string::npos;
    factors += factor;
    REQUIRE(group.lr_multiplier == (factor ? 0.1 : 1.0));
    REQUIRE(group.weight_decay == !(factor || bias));
  }
  REQUIRE(factors == 4 * 2 * 2 * 2);  // layers, axes, directions, factors
}

TEST_CASE("on another grid learned transforms see the resampled field; an axis that is not learned needs none") {
  const std::string lines = "name = 'monarch-no'\nmodes = 3\nwidth = 4\ncoordinates = 'none'\nactivation = 'none'\n";
  auto model = make_model(lines, {1, 1, {12, 12}});
  auto time_only = make_model(lines + "transform.axes = [1]", {1, 1, {12, 12}});
  const at::Tensor fine = test::band_limited(2, 1, {24, 12}, 5).to(at::kFloat);
  // Linear models at their start agree with one another on any grid.
  REQUIRE(distance(evaluate(*time_only, fine), evaluate(*model, fine)) <= 2e-6);
  const std::string text = time_only->describe();
  REQUIRE_THAT(text, Contains("Fourier, 12 = 4 · 3"));
}

TEST_CASE("options of learned transforms that contradict each other are refused") {
  const auto made = [](const std::string& option) {
    return make_model("name = 'monarch-no'\nmodes = 3\nwidth = 4\n" + option, {2, 1, {12, 12}});
  };
  REQUIRE_THROWS_WITH(made("transform.tied = true\ntransform.directions = 'forward'"), Contains("tied"));
  REQUIRE_THROWS_WITH(made("transform.axes = [2]"), Contains("axis 2") && Contains("0 to 1"));
  REQUIRE_THROWS_WITH(made("transform.axes = []"), Contains("empty"));
  REQUIRE_THROWS_AS(made("transform.per_channel = true\ntransform.product = 'factors'"), ConfigError);
  REQUIRE_THROWS_AS(made("transform.lr_multiplier = -1"), ConfigError);
  REQUIRE_THROWS_WITH(made("transform.kind = 'dense'\ntransform.truncated = true"), Contains("truncated"));
  REQUIRE_THROWS_WITH(made("transform.kind = 'fourier'\ntransform.tied = true"), Contains("tied"));
  REQUIRE_THROWS_WITH(made("transform.chare = 'all'"), Contains("did you mean 'model.transform.share'"));
}
