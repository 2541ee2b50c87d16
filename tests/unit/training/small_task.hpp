#pragma once
// Something small to train: two dense layers with a complex parameter between them, on points of a smooth function.

#include <ATen/ATen.h>
#include <torch/nn/init.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/linear.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "monarch/core/config.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/operators/nn/linear_layer.hpp"
#include "monarch/training/task.hpp"
#include "monarch/training/trainer.hpp"

namespace monarch::test {

struct SmallOptions {
  int64_t samples = 22;
  int64_t width = 8;
  uint64_t seed = 1;    ///< of the start
  bool random = false;  ///< dropout (LibTorch's generator), noise (Rng) and batch statistics
  bool structured = false;  ///< a Monarch layer in the middle
};

class SmallNet : public torch::nn::Module {
 public:
  explicit SmallNet(const SmallOptions& o) : random_(o.random) {
    a = register_module("a", torch::nn::Linear(4, o.width));
    b = register_module("b", torch::nn::Linear(o.width, 2));
    if (random_) norm = register_module("norm", torch::nn::BatchNorm1d(o.width));
    phase = register_parameter("phase", at::empty({o.width}, at::kComplexFloat));
    if (o.structured) {
      operators::MonarchLinearOptions layer;
      layer.in = layer.out = o.width;
      layer.nblocks = 2;
      layer.inference = operators::InferencePath::monarch;  // not what is faster: the same bits in every run
      mix = register_module("mix", operators::LinearLayer(operators::MonarchLinear(layer)));
    }
    spare = register_parameter("spare", at::ones({3}));  // never used: has no gradient
    const at::NoGradGuard no_grad;
    Rng rng(o.seed, "small net");
    for (auto& p : parameters())
      if (!p.is_same(spare)) p.copy_(0.5 * rng.normal(p.sizes().vec(), p.scalar_type()));
  }

  at::Tensor forward(const at::Tensor& x) {
    const at::Tensor h = at::tanh(a(x));
    at::Tensor z = at::real(h * phase * phase) + h;
    if (mix) z = z + mix(z);
    if (random_) z = at::dropout(norm(z), 0.2, is_training());
    return b(z);
  }

  torch::nn::Linear a{nullptr}, b{nullptr};
  torch::nn::BatchNorm1d norm{nullptr};
  operators::LinearLayer mix{nullptr};
  at::Tensor phase, spare;

 private:
  bool random_;
};

class SmallTask : public training::Task {
 public:
  explicit SmallTask(const SmallOptions& o = {}) : options_(o), net_(o) {
    Rng rng(7, "data");
    x_ = rng.normal({o.samples, 4}, at::kFloat);
    y_ = at::stack({at::sin(x_.select(1, 0) + x_.select(1, 1)), x_.select(1, 2) * x_.select(1, 3)}, 1);
  }

  SmallNet& net() { return net_; }
  torch::nn::Module& module() override { return net_; }
  int64_t training_size() const override { return options_.samples; }

  double accumulate_gradients(std::span<const int64_t> ids, double weight, const training::Step& step) override {
    if (before) before(ids, step);
    const at::Tensor rows = at::tensor(at::ArrayRef<int64_t>(ids.data(), ids.size()));
    at::Tensor x = x_.index_select(0, rows);
    if (options_.random)
      for (size_t i = 0; i < ids.size(); ++i) {
        Rng rng(step.seed, "noise " + std::to_string(step.epoch) + " " + std::to_string(ids[i]));
        x[static_cast<int64_t>(i)].add_(rng.normal({4}, at::kFloat), 0.01);
      }
    const auto dtype = net_.a->weight.scalar_type();
    const at::Tensor error = net_.forward(x.to(dtype)) - y_.index_select(0, rows).to(dtype);
    const at::Tensor loss = (error.to(at::promoteTypes(error.scalar_type(), dtype)).square()).sum() * loss_factor;
    (loss * weight).backward();
    return loss.item<double>();
  }

  training::Metrics evaluate() override {
    if (scripted) return scripted();
    const auto dtype = net_.a->weight.scalar_type();
    const at::Tensor y = y_.to(dtype), error = net_.forward(x_.to(dtype)) - y;
    return {{"loss", error.square().sum().item<double>() / static_cast<double>(options_.samples)},
            {"l2", (error.norm() / y.norm()).item<double>()}};
  }
  std::string selection_metric() const override { return "l2"; }
  double flops_per_sample() const override { return flops; }
  int64_t tokens_per_sample() const override { return tokens; }
  std::map<std::string, at::Tensor> constants() const override { return {{"mean", at::full({1}, 0.5)}}; }
  void write_results(const std::filesystem::path& folder) override { results = folder; }

  std::function<void(std::span<const int64_t>, const training::Step&)> before;  ///< each gradient
  std::function<training::Metrics()> scripted;                                  ///< instead of evaluate()
  double loss_factor = 1;
  double flops = 0;
  int64_t tokens = 0;
  std::filesystem::path results;

 private:
  SmallOptions options_;
  SmallNet net_;
  at::Tensor x_, y_;
};

/// A config with [training] and [small].
struct SmallRun {
  Config config;
  training::TrainerOptions options;
  SmallOptions small;

  explicit SmallRun(const std::string& toml) : config(Config::parse(toml, "small.toml")) {
    options = training::TrainerOptions::from_config(config);
    small.samples = config.integer("small.samples", small.samples);
    small.width = config.integer("small.width", small.width);
    small.structured = config.boolean("small.structured", small.structured);
    small.random = config.boolean("small.random", small.random);
    config.finish();
  }
};

inline training::TrainingResult run(SmallTask& task, const std::string& toml, const std::filesystem::path& folder,
                                    bool resume = false) {
  const SmallRun small(toml);
  return training::train(task, small.options, small.config, folder, resume);
}

}  // namespace monarch::test
