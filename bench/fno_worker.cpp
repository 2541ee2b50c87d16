#include "fno_worker.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "monarch/core/error.hpp"
#include "monarch/core/memory.hpp"
#include "monarch/data/checkpoint.hpp"
#include "monarch/solvers/learning/rollout.hpp"
#include "monarch/solvers/neural/neural_solver.hpp"
#include "monarch/solvers/neural/published_checkpoint.hpp"
#include "monarch/training/gradients.hpp"
#include "monarch/training/losses.hpp"
#include "monarch/training/optimiser.hpp"
#include "timing.hpp"

namespace monarch::bench {
namespace {

constexpr int64_t frames = 10;
constexpr double learning_rate = 1e-3;

double relative_error(const at::Tensor& found, const at::Tensor& expected) {
  return (at::norm(found - expected) / at::norm(expected)).item<double>();
}

/// Bytes behind a key of /proc/self/status.
double process_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":")) return 1024 * std::strtod(line.c_str() + key.size() + 1, nullptr);
  }
  fail<BackendError>(fmt::format("/proc/self/status has no {}", key), "memory is measured on Linux only");
}

/// VmHWM starts again from what is resident now.
void reset_peak() {
  std::ofstream reset("/proc/self/clear_refs");
  reset << "5" << std::flush;
  check<BackendError>(reset.good(), "/proc/self/clear_refs cannot be written: the peak of memory cannot be measured");
}

std::map<std::string, at::Tensor> tensors_below(const std::string& file, const std::string& key) {
  const auto checkpoint = data::open_checkpoint(file, {.select = key});
  std::map<std::string, at::Tensor> tensors;
  for (const auto& info : checkpoint->tensors()) tensors[info.name] = checkpoint->load(info.name);
  return tensors;
}

class Worker {
 public:
  explicit Worker(const FnoCase& what) : what_(what) {
    at::manual_seed(1);
    x_ = at::randn({what.batch, frames, what.size, what.size});
    target_ = at::randn({what.batch, what.steps, what.size, what.size});
  }

  std::string answer(const std::string& line) {
    std::istringstream words(line);
    std::string question, name, job;
    words >> question >> name >> job;
    if (question == "check") return differences(name).dump();
    check<ConfigError>(question == "time" || question == "memory",
                       [&] { return fmt::format("'{}' is no question to the FNO benchmark's worker", line); });
    if (question == "time") return fmt::format("{}", seconds_of([&] { run(program(name), job, what_.batch); }));
    return fmt::format("{:.0f}", memory(program(name), job));
  }

 private:
  struct Program {
    solvers::NeuralSolverPtr model;
    std::vector<operators::ParameterGroup> groups;
    std::unique_ptr<training::Optimiser> optimiser;
  };

  solvers::NeuralSolverPtr make_model(const std::string& name) const {
    const Config config = Config::parse(fmt::format(
        "[model]\nname = \"{}\"\nmodes = {}\nwidth = 20\nlayers = 4\nprojection = 128\n", name, what_.modes));
    return solvers::make_neural_solver(config, {.in_channels = frames, .grid = {what_.size, what_.size}});
  }

  Program& program(const std::string& name) {
    Program& made = programs_[name];
    if (made.model) return made;
    at::manual_seed(2);
    made.model = make_model(name);
    made.groups = solvers::solver_parameter_groups(*made.model);
    training::OptimiserOptions options;
    options.kind = training::OptimiserKind::adam;
    options.learning_rate = learning_rate;
    options.weight_decay = 1e-4;
    made.optimiser = std::make_unique<training::Optimiser>(made.groups, options);
    return made;
  }

  void add_gradient(Program& p, const std::string& job, int64_t samples) const {
    const at::Tensor x = x_.narrow(0, 0, samples), target = target_.narrow(0, 0, samples);
    if (job == "step") {
      const at::Tensor loss = training::relative_l2(p.model->forward(x), target.narrow(1, 0, 1)).sum();
      torch::autograd::backward({loss}, {});
      return;
    }
    check<ConfigError>(job == "rollout" || job == "rollout-recompute",
                       [&] { return fmt::format("'{}' is no job of the FNO benchmark", job); });
    const auto step = [&](const at::Tensor& window) { return p.model->forward(window); };
    solvers::rollout_gradient(step, *p.model, x.unsqueeze(2), target.unsqueeze(2), training::relative_l2, 1,
                              job == "rollout-recompute");
  }

  void run(Program& p, const std::string& job, int64_t samples) const {
    if (job == "forward") {
      const at::NoGradGuard no_grad;
      p.model->forward(x_.narrow(0, 0, samples));
      return;
    }
    add_gradient(p, job, samples);
    p.optimiser->step(learning_rate);
    training::clear_gradients(p.groups);
  }

  double memory(Program& p, const std::string& job) const {
    run(p, "step", 1);
    reset_peak();
    const double before = process_bytes("VmRSS");
    run(p, job, what_.batch);
    return process_bytes("VmHWM") - before;
  }

  nlohmann::json differences(const std::string& file) {
    const auto reference = data::open_checkpoint(file);
    x_ = reference->load("x");
    target_ = reference->load("target");
    Program& ours = program("fno");
    solvers::load_published_fno(*ours.model, tensors_below(file, "model"), file);
    nlohmann::json result;
    {
      const at::NoGradGuard no_grad;
      result["output"] = relative_error(ours.model->forward(x_), reference->load("y"));
    }
    const auto theirs = make_model("fno");  // its parameters hold the peer's gradients, in our layout
    for (const std::string job : {"step", "rollout", "rollout-recompute"}) {
      solvers::load_published_fno(*theirs, tensors_below(file, job == "step" ? "step" : "rollout"), file);
      add_gradient(ours, job, what_.batch);
      double largest = 0;
      for (const auto& item : theirs->named_parameters()) {
        const at::Tensor gradient = ours.model->named_parameters()[item.key()].grad();
        largest = std::max(largest, relative_error(gradient, item.value().detach()));
      }
      result[job] = largest;
      training::clear_gradients(ours.groups);
    }
    return result;
  }

  FnoCase what_;
  at::Tensor x_, target_;  // [batch, frame, y, x]
  std::map<std::string, Program> programs_;
};

}  // namespace

int run_fno_worker(const FnoCase& what, std::istream& questions, std::ostream& answers) {
  keep_freed_memory();  // as monarch train does
  Worker worker(what);
  for (std::string line; std::getline(questions, line);) answers << worker.answer(line) << std::endl;
  return 0;
}

}  // namespace monarch::bench
