#include "mri_learned_worker.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "monarch/core/error.hpp"
#include "monarch/core/memory.hpp"
#include "monarch/data/checkpoint.hpp"
#include "monarch/mri/learning/losses.hpp"
#include "monarch/mri/neural/reconstruction_model.hpp"
#include "monarch/training/gradients.hpp"
#include "monarch/training/optimiser.hpp"
#include "timing.hpp"

namespace monarch::bench {
namespace {

constexpr double learning_rate = 1e-4;
constexpr int transforms_per_sample = 5;

class Worker {
 public:
  explicit Worker(const MriLearnedCase& what) : what_(what) {
    at::manual_seed(1);
    batch_.mask = at::rand({1, what.ny, what.nx}) < 0.3;
    batch_.kspace = at::randn({1, what.coils, what.ny, what.nx}, at::kComplexFloat) * batch_.mask.unsqueeze(1);
    batch_.maps = at::randn({1, what.coils, what.ny, what.nx}, at::kComplexFloat);
    batch_.maps = batch_.maps / batch_.maps.abs().square().sum(1, true).sqrt();
    target_ = at::randn({1, what.ny, what.nx}, at::kComplexFloat);
  }

  std::string answer(const std::string& line) {
    std::istringstream words(line);
    std::string question, name, job;
    words >> question >> name >> job;
    if (question == "check") return differences(name, job).dump();
    check<ConfigError>(question == "time" && (job == "inference" || job == "step" || job == "transform"),
                       [&] { return fmt::format("'{}' is no question to the worker of the benchmark", line); });
    if (job == "transform") return fmt::format("{}", transform_seconds(name));
    Program& p = program(name);
    return fmt::format("{}", seconds_of([&] { run(p, job); }));
  }

 private:
  struct Program {
    mri::ReconstructionModelPtr model;
    std::vector<operators::ParameterGroup> groups;
    std::unique_ptr<training::Optimiser> optimiser;
  };

  /// One model is held at a time.
  Program& program(const std::string& name) {
    if (name == held_) return program_;
    for (const MriLearnedModel& known : mri_learned_models()) {
      if (known.name != name) continue;
      program_ = {};
      at::manual_seed(2);
      mri::SliceShape shape;
      shape.ny = what_.ny;
      shape.nx = what_.nx;
      shape.coils = what_.coils;
      const Config config = Config::parse("[model]\n" + known.table);
      program_.model = mri::make_reconstruction_model(config, shape);
      program_.groups = mri::model_parameter_groups(*program_.model, true);
      training::OptimiserOptions options;
      options.kind = training::OptimiserKind::adamw;
      options.learning_rate = learning_rate;
      program_.optimiser = std::make_unique<training::Optimiser>(program_.groups, options);
      held_ = name;
      return program_;
    }
    fail<ConfigError>(fmt::format("'{}' is no model of the benchmark", name));
  }

  void add_gradient(Program& p) const {
    const at::Tensor loss = mri::complex_l1(p.model->forward(batch_), target_).sum();
    torch::autograd::backward({loss}, {});
  }

  void run(Program& p, const std::string& job) const {
    if (job == "inference") {
      const at::NoGradGuard no_grad;
      p.model->forward(batch_);
      return;
    }
    add_gradient(p);
    p.optimiser->step(learning_rate);
    training::clear_gradients(p.groups);
  }

  double transform_seconds(const std::string& kind) {
    check<ConfigError>(kind == "fourier" || kind == "monarch",
                       [&] { return fmt::format("'{}' is no transform of the benchmark", kind); });
    auto& transform = transforms_[kind];
    if (!transform) {
      operators::PlaneOptions options;
      options.kind = kind == "monarch" ? operators::PlaneKind::monarch : operators::PlaneKind::fourier;
      transform = std::make_shared<operators::PlaneTransform>(what_.ny, what_.nx, options);
    }
    const at::NoGradGuard no_grad;
    const double seconds = seconds_of([&] {
      for (int i = 0; i < transforms_per_sample; ++i) transform->inverse(batch_.kspace);
    });
    return seconds / transforms_per_sample;
  }

  nlohmann::json differences(const std::string& name, const std::string& file) {
    const auto reference = data::open_checkpoint(file);
    batch_.kspace = reference->load("kspace");
    batch_.mask = reference->load("mask");
    batch_.maps = reference->load("maps");
    target_ = reference->load("target");
    Program& p = program(name);
    const auto parameters = p.model->named_parameters();
    const auto part = [&](const char* kind, size_t index) {
      const at::Tensor& like = parameters[index].value();
      const at::Tensor found = reference->load(fmt::format("{}.{:04}", kind, index));
      check<BackendError>(found.numel() == like.numel() && found.scalar_type() == like.scalar_type(), [&] {
        return fmt::format("{}: parameter {} has {} numbers, that of the script {}", name, parameters[index].key(),
                           like.numel(), found.numel());
      });
      return found.view(like.sizes());
    };
    nlohmann::json result = {{"describe", p.model->describe()}};
    {
      const at::NoGradGuard no_grad;
      for (size_t i = 0; i < parameters.size(); ++i) parameters[i].value().copy_(part("weights", i));
      const at::Tensor expected = reference->load("output");
      result["output"] = (at::norm(p.model->forward(batch_) - expected) / at::norm(expected)).item<double>();
    }
    add_gradient(p);
    double error = 0, size = 0;
    for (size_t i = 0; i < parameters.size(); ++i) {
      const at::Tensor expected = part("gradients", i), found = parameters[i].value().grad();
      check<BackendError>(found.defined(),
                          [&] { return fmt::format("{}: {} has no gradient", name, parameters[i].key()); });
      error += (found - expected).abs().to(at::kDouble).square().sum().item<double>();
      size += expected.abs().to(at::kDouble).square().sum().item<double>();
    }
    training::clear_gradients(p.groups);
    result["gradient"] = std::sqrt(error / size);
    return result;
  }

  MriLearnedCase what_;
  mri::SliceBatch batch_;
  at::Tensor target_;  // [1, y, x]
  std::string held_;
  Program program_;
  std::map<std::string, std::shared_ptr<operators::PlaneTransform>> transforms_;
};

}  // namespace

const std::vector<MriLearnedModel>& mri_learned_models() {
  static const std::vector<MriLearnedModel> all{
      {"msense", "name = \"msense\"\n", false},
      {"u-net", "name = \"u-net\"\nwidth = 32\npools = 4\nresidual = true\n", false},
      {"unrolled", "name = \"unrolled\"\nwidth = 32\niterations = 8\n", true},
      {"unrolled-128", "name = \"unrolled\"\nwidth = 128\niterations = 8\n", true},
      {"modl", "name = \"modl\"\nwidth = 64\niterations = 10\n", true},
      // Twelve U-Nets with instance norms in a row: PyTorch's own gradient in float32 is 7e-3 from that in float64.
      {"varnet", "name = \"varnet\"\nwidth = 18\ncascades = 12\n", true, 3e-2},
      {"patch", "name = \"patch\"\niterations = 4\n", true},
  };
  return all;
}

int run_mri_learned_worker(const MriLearnedCase& what, std::istream& questions, std::ostream& answers) {
  keep_freed_memory();  // as monarch train does
  Worker worker(what);
  for (std::string line; std::getline(questions, line);) answers << worker.answer(line) << std::endl;
  return 0;
}

}  // namespace monarch::bench
