#include "monarch/operators/nn/linear_layer.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <ostream>

#include "monarch/core/error.hpp"
#include "monarch/operators/nn/activate.hpp"

namespace monarch::operators {
namespace {

using Content = LinearLayerImpl::Content;

template <class... Functions>
struct Overload : Functions... {
  using Functions::operator()...;
};

}  // namespace

LinearExtents extents(const Content& content) {
  return std::visit(Overload{[](const torch::nn::Linear& l) {
                               return LinearExtents{l->weight.size(1), l->weight.size(0)};
                             },
                             [](const MonarchLinear& l) {
                               return LinearExtents{l->options.in, l->options.out};
                             },
                             [](const MonarchAdapter& l) {
                               return LinearExtents{l->weight.size(1), l->weight.size(0)};
                             },
                             [](const auto& l) {
                               return LinearExtents{l->in(), l->out()};
                             }},
                    content);
}

LinearLayerImpl::LinearLayerImpl(int64_t in, int64_t out, bool bias, Activation activation)
    : LinearLayerImpl(torch::nn::Linear(torch::nn::LinearOptions(in, out).bias(bias)), activation) {}

LinearLayerImpl::LinearLayerImpl(Content content, Activation activation)
    : content_(std::move(content)), activation_(activation) {
  adopt();
}

void LinearLayerImpl::adopt() {
  if (auto* layer = std::get_if<MonarchLinear>(&content_)) (*layer)->options.activation = activation_;
  parameters_.clear();
  std::visit(
      [this](auto& layer) {
        layer->train(is_training());
        // The content stays unregistered: its tensors, not copies of them, are registered here.
        for (const auto& item : layer->named_parameters()) parameters_.insert(item.key(), item.value());
      },
      content_);
}

void LinearLayerImpl::replace(Content content) {
  const LinearExtents had = extents(content_), got = extents(content);
  check<ShapeError>(had.in == got.in && had.out == got.out, [&] {
    return fmt::format("linear layer {} -> {}: cannot become one {} -> {}", had.in, had.out, got.in, got.out);
  });
  content_ = std::move(content);
  adopt();
}

void LinearLayerImpl::reset() {
  // Called on a fresh copy by clone(), which shares the content until here.
  std::visit(
      [](auto& layer) {
        using Impl = typename std::remove_reference_t<decltype(layer)>::ContainedType;
        const auto copy = std::dynamic_pointer_cast<Impl>(layer->clone());
        const auto from = layer->named_parameters(), to = copy->named_parameters();
        for (const auto& item : from) {
          at::Tensor parameter = to[item.key()];
          parameter.set_requires_grad(item.value().requires_grad());
        }
        layer = copy;
      },
      content_);
  adopt();
}

at::Tensor LinearLayerImpl::forward(const at::Tensor& x) {
  if (auto* layer = std::get_if<MonarchLinear>(&content_)) return (*layer)->forward(x);
  const at::Tensor y = std::visit([&](auto& layer) { return layer->forward(x); }, content_);
  return activate(y, activation_);
}

int64_t LinearLayerImpl::in() const {
  return extents(content_).in;
}
int64_t LinearLayerImpl::out() const {
  return extents(content_).out;
}

int64_t LinearLayerImpl::macs() const {
  return std::visit(
      Overload{[](const torch::nn::Linear& l) { return l->weight.numel(); },
               [](const MonarchAdapter& l) { return l->weight.numel() + l->blkdiag1.numel() + l->blkdiag2.numel(); },
               [](const auto& l) { return l->macs(); }},
      content_);
}

at::Tensor LinearLayerImpl::densify() const {
  return std::visit(
      Overload{[](const torch::nn::Linear& l) { return l->weight; }, [](const auto& l) { return l->densify(); }},
      content_);
}

void LinearLayerImpl::train(bool on) {
  torch::nn::Module::train(on);
  std::visit([on](auto& layer) { layer->train(on); }, content_);
}

void LinearLayerImpl::pretty_print(std::ostream& stream) const {
  std::visit([&](const auto& layer) { layer->pretty_print(stream); }, content_);
  const bool shown = std::holds_alternative<MonarchLinear>(content_);
  if (activation_ != Activation::none && !shown) stream << ", " << activation_name(activation_);
}

LinearFactory dense_layers() {
  return [](const LinearSpec& spec) { return LinearLayer(spec.in, spec.out, spec.bias, spec.activation); };
}

LinearFactory monarch_layers(const MonarchLinearOptions& options) {
  return [options](const LinearSpec& spec) {
    MonarchLinearOptions all = options;
    all.in = spec.in;
    all.out = spec.out;
    all.bias = spec.bias;
    all.activation = spec.activation;
    return LinearLayer(LinearLayerImpl::Content(MonarchLinear(all)), spec.activation);
  };
}

}  // namespace monarch::operators
