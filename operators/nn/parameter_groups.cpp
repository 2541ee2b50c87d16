#include "monarch/operators/nn/parameter_groups.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/normalization.h>

#include <algorithm>
#include <set>

#include "monarch/core/error.hpp"
#include "monarch/operators/nn/linear_layer.hpp"

namespace monarch::operators {
namespace {

class Groups {
 public:
  explicit Groups(const ParameterGroupOptions& options) : options_(options) {}

  void visit(const torch::nn::Module& module, const std::string& prefix) {
    const bool decays = decays_here(module);
    std::vector<std::string> exceptions;
    if (const auto* named = dynamic_cast<const WithoutWeightDecay*>(&module)) exceptions = named->without_weight_decay();
    for (const auto& item : module.named_parameters(/*recurse=*/false)) {
      const at::Tensor& tensor = item.value();
      if (!tensor.requires_grad() || !seen_.insert(tensor.unsafeGetTensorImpl()).second) continue;
      const bool excepted = std::find(exceptions.begin(), exceptions.end(), item.key()) != exceptions.end();
      groups_.push_back({prefix + item.key(), tensor, multiplier(module, tensor),
                         decays && !excepted && tensor.dim() >= 2});
    }
    for (const auto& child : module.named_children()) visit(*child.value(), prefix + child.key() + ".");
  }

  std::vector<ParameterGroup> take() { return std::move(groups_); }

 private:
  bool decays_here(const torch::nn::Module& module) const {
    if (dynamic_cast<const torch::nn::EmbeddingImpl*>(&module)) return options_.decay_embeddings;
    return dynamic_cast<const torch::nn::LayerNormImpl*>(&module) == nullptr;
  }

  double multiplier(const torch::nn::Module& module, const at::Tensor& tensor) const {
    const auto* monarch = dynamic_cast<const MonarchLinearImpl*>(&module);
    const auto* dense = dynamic_cast<const torch::nn::LinearImpl*>(&module);
    if (const auto* layer = dynamic_cast<const LinearLayerImpl*>(&module)) {
      if (const auto* content = std::get_if<MonarchLinear>(&layer->content())) monarch = content->get();
      if (const auto* content = std::get_if<torch::nn::Linear>(&layer->content())) dense = content->get();
    }
    if (monarch && tensor.is_same(monarch->blkdiag1)) return monarch->multipliers(options_.base_in).first;
    if (monarch && tensor.is_same(monarch->blkdiag2)) return monarch->multipliers(options_.base_in).second;
    if (dense && options_.base_in > 0 && tensor.is_same(dense->weight)) {
      return static_cast<double>(options_.base_in) / static_cast<double>(dense->weight.size(1));
    }
    return 1;
  }

  ParameterGroupOptions options_;
  std::set<const void*> seen_;
  std::vector<ParameterGroup> groups_;
};

}  // namespace

std::vector<ParameterGroup> parameter_groups(const torch::nn::Module& root, const ParameterGroupOptions& options) {
  check<ConfigError>(options.base_in >= 0,
                     [&] { return fmt::format("parameter groups: a base width of {}", options.base_in); });
  Groups groups(options);
  groups.visit(root, "");
  return groups.take();
}

}  // namespace monarch::operators
