#include "models_worker.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>

#include "monarch/core/config.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/memory.hpp"
#include "monarch/data/checkpoint.hpp"
#include "monarch/experiments/language/bert.hpp"
#include "monarch/experiments/language/gpt2.hpp"
#include "monarch/experiments/vision/vision_model.hpp"
#include "monarch/operators/nn/linear_cross_entropy.hpp"
#include "monarch/operators/nn/parameter_groups.hpp"
#include "monarch/training/gradients.hpp"
#include "monarch/training/optimiser.hpp"
#include "timing.hpp"

namespace monarch::bench {
namespace {

constexpr int64_t vocabulary = 50257, word_pieces = 30522, classes = 1000, labels = 2;
constexpr int64_t inference_tokens = 128, bert_tokens = 128, width = 768, side = 224;
constexpr double learning_rate = 1e-4;

at::Tensor random_ids(int64_t batch, int64_t tokens, int64_t bound) {
  return at::randint(bound, {batch, tokens}, at::kLong);
}

/// One model: its logits for an input, what a loss compares them with, and its cost.
struct Program {
  std::shared_ptr<torch::nn::Module> model;
  std::function<at::Tensor(const at::Tensor& input)> logits;  ///< [sample, class]
  std::function<at::Tensor(const at::Tensor& input, const at::Tensor& target)> loss;
  std::function<at::Tensor(const at::Tensor& input)> answer;  ///< the part of them that inference is asked for
  std::function<int64_t(const std::string& job)> macs;
  std::vector<operators::ParameterGroup> groups;
  std::unique_ptr<training::Optimiser> optimiser;
  std::map<std::string, at::Tensor> inputs, targets;  // of jobs
};

class Worker {
 public:
  explicit Worker(const ModelsCase& what) : what_(what) {}

  std::string answer(const std::string& line) {
    std::istringstream words(line);
    std::string question, name, structure, job;
    words >> question >> name >> structure >> job;
    if (question == "check") return fmt::format("{}", difference(name, structure));
    check<ConfigError>(question == "time" || question == "macs",
                       [&] { return fmt::format("'{}' is no question to the models benchmark's worker", line); });
    Program& p = program(name, structure);
    if (question == "macs") return fmt::format("{}", p.macs(job));
    prepare(p, name, job);
    return fmt::format("{}", seconds_of([&] { run(p, job); }));
  }

 private:
  static int64_t samples(const std::string& job, int64_t step) {
    if (job == "step") return step;
    if (job == "inference-1") return 1;
    check<ConfigError>(job == "inference-32",
                       [&] { return fmt::format("'{}' is no job of the models benchmark", job); });
    return 32;
  }

  Program make(const std::string& name, const std::string& structure, const std::string& weights) const {
    std::string table = fmt::format("depth = {}\ndropout = 0.0\n", what_.depth);
    if (!weights.empty()) table += fmt::format("weights = \"{}\"\n", weights);
    if (structure == "monarch") table += "[model.layers]\nkind = \"monarch\"\n";
    at::manual_seed(2);
    Program p;
    if (name == "gpt2") {
      const auto model = experiments::make_gpt2(Config::parse("[model]\nname = \"gpt2-small\"\n" + table), vocabulary);
      p.model = model;
      p.logits = [model](const at::Tensor& ids) { return model->forward(ids).flatten(0, 1); };
      p.loss = [model](const at::Tensor& ids, const at::Tensor& target) {  // as monarch train
        return operators::linear_cross_entropy(model->features(ids).flatten(0, 1), model->output_weight(), {}, target);
      };
      p.answer = [model](const at::Tensor& ids) {
        return at::linear(model->features(ids).select(1, -1), model->output_weight());
      };
      p.macs = [model, this](const std::string& job) {
        const bool step = job == "step";
        const int64_t tokens = step ? what_.step_tokens : inference_tokens;
        return samples(job, 1) * (model->macs(tokens) + (step ? tokens : 1) * vocabulary * width);
      };
    } else if (name == "bert") {
      const Config config = Config::parse("[model]\nname = \"bert-base\"\n" + table);
      const auto model = experiments::make_bert_for_classification(config, word_pieces, labels);
      p.model = model;
      p.logits = [model](const at::Tensor& ids) { return model->forward(ids); };
      p.macs = [model, this](const std::string& job) {
        return samples(job, what_.step_batch) * (model->bert->macs(bert_tokens) + labels * width);
      };
    } else {
      check<ConfigError>(name == "vit" || name == "mixer",
                         [&] { return fmt::format("'{}' is no model of the models benchmark", name); });
      const Config config = Config::parse("[model]\nname = \"" + name + "-s16\"\n" + table);
      const auto model = experiments::make_vision_model(config, {3, side, side}, classes);
      p.model = model;
      p.logits = [model](const at::Tensor& images) { return model->forward(images); };
      p.macs = [model, this](const std::string& job) { return samples(job, what_.step_batch) * model->macs(); };
    }
    if (!p.answer) p.answer = p.logits;
    if (!p.loss) {
      p.loss = [logits = p.logits](const at::Tensor& input, const at::Tensor& target) {
        return at::cross_entropy_loss(logits(input), target);
      };
    }
    p.groups = operators::parameter_groups(*p.model);
    training::OptimiserOptions options;
    options.kind = training::OptimiserKind::adamw;
    options.learning_rate = learning_rate;
    p.optimiser = std::make_unique<training::Optimiser>(p.groups, options);
    return p;
  }

  Program& program(const std::string& name, const std::string& structure) {
    check<ConfigError>(structure == "dense" || structure == "monarch",
                       [&] { return fmt::format("'{}' is no structure of the models benchmark", structure); });
    if (name != held_) programs_.clear();
    held_ = name;
    const auto found = programs_.find(structure);
    return found != programs_.end() ? found->second
                                    : programs_.emplace(structure, make(name, structure, "")).first->second;
  }

  /// Inputs are drawn outside the time.
  void prepare(Program& p, const std::string& name, const std::string& job) const {
    at::Tensor& input = p.inputs[job];
    if (input.defined()) return;
    at::manual_seed(1);
    const int64_t n = samples(job, name == "gpt2" ? 1 : what_.step_batch);
    int64_t rows = n, bound = classes;
    if (name == "gpt2") {
      const int64_t tokens = job == "step" ? what_.step_tokens : inference_tokens;
      input = random_ids(n, tokens, vocabulary);
      rows = n * tokens;
      bound = vocabulary;
    } else if (name == "bert") {
      input = random_ids(n, bert_tokens, word_pieces);
      bound = labels;
    } else {
      input = at::randn({n, 3, side, side});
    }
    p.targets[job] = at::randint(bound, {rows}, at::kLong);
  }

  static void run(Program& p, const std::string& job) {
    const at::Tensor& input = p.inputs.at(job);
    if (job != "step") {
      const at::NoGradGuard no_grad;
      p.model->eval();
      p.answer(input);
      return;
    }
    p.model->train();
    torch::autograd::backward({p.loss(input, p.targets.at(job))}, {});
    p.optimiser->step(learning_rate);
    training::clear_gradients(p.groups);
  }

  double difference(const std::string& name, const std::string& file) {
    programs_.clear();
    held_.clear();
    const auto reference = data::open_checkpoint(file + ".io");
    const Program ours = make(name, "dense", file);
    const at::NoGradGuard no_grad;
    ours.model->eval();
    const at::Tensor expected = reference->load("logits");
    return (at::norm(ours.logits(reference->load("input")) - expected) / at::norm(expected)).item<double>();
  }

  ModelsCase what_;
  std::string held_;
  std::map<std::string, Program> programs_;
};

}  // namespace

const std::vector<std::string>& benchmark_models() {
  static const std::vector<std::string> names = {"gpt2", "bert", "vit", "mixer"};
  return names;
}

int run_models_worker(const ModelsCase& what, std::istream& questions, std::ostream& answers) {
  keep_freed_memory();  // as monarch train does
  Worker worker(what);
  for (std::string line; std::getline(questions, line);) answers << worker.answer(line) << std::endl;
  return 0;
}

}  // namespace monarch::bench
