#include "monarch/operators/nn/parameter_groups.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <set>

#include "monarch/core/error.hpp"
#include "monarch/operators/nn/linear_layer.hpp"

namespace monarch::operators {
namespace {

class Groups {
 public:
  explicit Groups(int64_t base_in) : base_in_(base_in) {}

  void visit(const torch::nn::Module& module, const std::string& prefix) {
    for (const auto& item : module.named_parameters(/*recurse=*/false)) {
      const at::Tensor& tensor = item.value();
      if (!tensor.requires_grad() || !seen_.insert(tensor.unsafeGetTensorImpl()).second) continue;
      groups_.push_back({prefix + item.key(), tensor, multiplier(module, tensor), tensor.dim() >= 2});
    }
    for (const auto& child : module.named_children()) visit(*child.value(), prefix + child.key() + ".");
  }

  std::vector<ParameterGroup> take() { return std::move(groups_); }

 private:
  double multiplier(const torch::nn::Module& module, const at::Tensor& tensor) const {
    const auto* monarch = dynamic_cast<const MonarchLinearImpl*>(&module);
    const auto* dense = dynamic_cast<const torch::nn::LinearImpl*>(&module);
    if (const auto* layer = dynamic_cast<const LinearLayerImpl*>(&module)) {
      if (const auto* content = std::get_if<MonarchLinear>(&layer->content())) monarch = content->get();
      if (const auto* content = std::get_if<torch::nn::Linear>(&layer->content())) dense = content->get();
    }
    if (monarch && tensor.is_same(monarch->blkdiag1)) return monarch->multipliers(base_in_).first;
    if (monarch && tensor.is_same(monarch->blkdiag2)) return monarch->multipliers(base_in_).second;
    if (dense && base_in_ > 0 && tensor.is_same(dense->weight)) {
      return static_cast<double>(base_in_) / static_cast<double>(dense->weight.size(1));
    }
    return 1;
  }

  int64_t base_in_;
  std::set<const void*> seen_;
  std::vector<ParameterGroup> groups_;
};

}  // namespace

std::vector<ParameterGroup> parameter_groups(const torch::nn::Module& root, int64_t base_in) {
  check<ConfigError>(base_in >= 0, [&] { return fmt::format("parameter groups: a base width of {}", base_in); });
  Groups groups(base_in);
  groups.visit(root, "");
  return groups.take();
}

}  // namespace monarch::operators
