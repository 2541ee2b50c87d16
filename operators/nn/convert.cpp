#include "monarch/operators/nn/convert.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/nn/modules/container/sequential.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <regex>
#include <typeinfo>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/nn/linear_layer.hpp"

namespace monarch::operators {
namespace {

using Content = LinearLayerImpl::Content;
using torch::nn::Module;

/// A linear layer somewhere in the tree, and the way to exchange it; without one it is held as a typed member.
struct Place {
  std::string name;
  const Module* module;
  Content content;
  Activation activation = Activation::none;
  std::function<void(const Content&, Activation)> exchange;
};

template <class Impl>
std::optional<Content> content_as(const std::shared_ptr<Module>& module) {
  // Exactly this type: a class derived from it has a forward of its own.
  const Module& object = *module;
  if (typeid(object) != typeid(Impl)) return std::nullopt;
  return Content(torch::nn::ModuleHolder<Impl>(std::dynamic_pointer_cast<Impl>(module)).ptr());
}

std::optional<Content> linear_content(const std::shared_ptr<Module>& module) {
  if (auto content = content_as<torch::nn::LinearImpl>(module)) return content;
  if (auto content = content_as<MonarchLinearImpl>(module)) return content;
  if (auto content = content_as<MonarchAdapterImpl>(module)) return content;
  if (auto content = content_as<BlockDiagonalLinearImpl>(module)) return content;
  return content_as<LowRankLinearImpl>(module);
}

/// The content itself as an element of a Sequential, or a LinearLayer where an activation has to come along.
torch::nn::AnyModule element(const Content& content, Activation activation, bool training) {
  if (activation != Activation::none && !std::holds_alternative<MonarchLinear>(content)) {
    LinearLayer layer(content, activation);
    layer->train(training);
    return torch::nn::AnyModule(layer);
  }
  return std::visit([](const auto& layer) { return torch::nn::AnyModule(layer); }, content);
}

void collect(Module& parent, const std::string& prefix, std::vector<Place>& places) {
  auto* sequence = dynamic_cast<torch::nn::SequentialImpl*>(&parent);
  const auto children = parent.named_children();
  for (size_t i = 0; i < children.size(); ++i) {
    const std::string& key = children[i].key();
    const std::shared_ptr<Module>& child = children[i].value();
    const std::string name = prefix.empty() ? key : prefix + "." + key;
    if (auto layer = std::dynamic_pointer_cast<LinearLayerImpl>(child)) {
      places.push_back({name, layer.get(), layer->content(), layer->activation(),
                        [layer](const Content& content, Activation) { layer->replace(content); }});
    } else if (const auto content = linear_content(child)) {
      Place place{name, child.get(), *content, Activation::none, {}};
      if (const auto* monarch = std::get_if<MonarchLinear>(&*content))
        place.activation = (*monarch)->options.activation;
      const bool in_step = sequence && i < sequence->size() && sequence->ptr(i) == child;
      if (in_step) {
        place.exchange = [sequence, i, key, training = child->is_training()](const Content& with,
                                                                             Activation activation) {
          auto& slot = *(sequence->begin() + static_cast<std::ptrdiff_t>(i));
          slot = element(with, activation, training);
          sequence->replace_module(key, slot.ptr());
        };
      }
      places.push_back(std::move(place));
    } else {
      collect(*child, name, places);
    }
  }
}

std::vector<Place> linear_layers(Module& root) {
  std::vector<Place> places;
  if (auto* layer = dynamic_cast<LinearLayerImpl*>(&root)) {
    places.push_back({"", layer, layer->content(), layer->activation(),
                      [layer](const Content& content, Activation) { layer->replace(content); }});
  } else {
    collect(root, "", places);
  }
  return places;
}

std::string kind(const Content& content) {
  static const char* const names[] = {"dense", "Monarch", "adapter", "block-diagonal", "low-rank"};
  return names[content.index()];
}

int64_t parameters(const Content& content) {
  int64_t count = 0;
  for (const auto& p : std::visit([](const auto& layer) { return layer->parameters(); }, content)) count += p.numel();
  return count;
}

struct Outcome {
  std::optional<Content> content;  ///< none: kept
  std::string reason;
  double relative_error = std::numeric_limits<double>::quiet_NaN();
};

std::regex compiled(const std::string& pattern) {
  try {
    return std::regex(pattern, std::regex::ECMAScript);
  } catch (const std::regex_error& error) {
    fail<ConfigError>(fmt::format("pattern '{}' is not a regular expression: {}", pattern, error.what()),
                      "ECMAScript syntax: '.*' for anything, '\\.' for a dot");
  }
}

ConversionReport convert(Module& root, const std::string& pattern, const std::function<Outcome(const Place&)>& change) {
  const std::regex expression = compiled(pattern);
  const std::vector<Place> places = linear_layers(root);
  ConversionReport report;
  struct Done {
    Outcome outcome;
    bool exchanged = false;
  };
  std::map<const Module*, Done> done;
  bool matched = false;
  for (const Place& place : places) {
    if (!std::regex_match(place.name, expression)) continue;
    matched = true;
    if (!place.exchange) {
      report.kept.emplace_back(
          place.name, "held as a typed member, which only its own class can exchange; hold a LinearLayer there");
      continue;
    }
    const bool first = !done.contains(place.module);
    if (first) done[place.module].outcome = change(place);
    const Outcome& outcome = done[place.module].outcome;
    if (!outcome.content) {
      report.kept.emplace_back(place.name, outcome.reason);
      continue;
    }
    const LinearExtents sizes = extents(place.content);
    LayerChange entry{place.name, kind(place.content),       kind(*outcome.content),       sizes.in,
                      sizes.out,  parameters(place.content), parameters(*outcome.content), outcome.relative_error};
    place.exchange(*outcome.content, place.activation);
    report.changed.push_back(std::move(entry));
  }
  std::vector<std::string> names;
  for (size_t i = 0; i < places.size() && i < 5; ++i) names.push_back(places[i].name);
  check<ConfigError>(
      matched,
      [&] {
        return fmt::format("pattern '{}' matches none of the {} linear layers{}{}", pattern, places.size(),
                           names.empty() ? "" : ", such as ", join_or(names));
      },
      "the whole dotted name must match; write '.*mlp.*' for a part of it");
  return report;
}

/// About 0, the mean that initial weights have.
double deviation(const at::Tensor& weight) {
  return at::linalg_vector_norm(weight).item<double>() / std::sqrt(static_cast<double>(weight.numel()));
}

/// requires_grad and the training mode of a dense layer to what replaces it.
template <class Impl>
void carry_over(Impl& to, const torch::nn::LinearImpl& from) {
  for (at::Tensor parameter : to.parameters()) parameter.set_requires_grad(from.weight.requires_grad());
  if (to.bias.defined()) to.bias.set_requires_grad(from.bias.requires_grad());
  to.train(from.is_training());
}

template <class Layer>
torch::nn::Linear dense_of(const Layer& layer) {
  const c10::NoGradGuard no_gradient;
  torch::nn::Linear linear(torch::nn::LinearOptions(1, 1).bias(layer->bias.defined()));
  linear->options.in_features(layer->in());
  linear->options.out_features(layer->out());
  linear->weight.set_data(layer->densify().contiguous());
  linear->weight.set_requires_grad(layer->parameters().front().requires_grad());
  if (layer->bias.defined()) {
    linear->bias.set_data(layer->bias.detach().clone());
    linear->bias.set_requires_grad(layer->bias.requires_grad());
  }
  linear->train(layer->is_training());
  return linear;
}

/// `nearest` makes the layer of a weight and a bias, `fresh` a new one.
template <class Impl>
Outcome baseline(const Place& place, const BaselineOptions& options,
                 const std::function<std::shared_ptr<Impl>(const torch::nn::LinearImpl&, double*)>& nearest,
                 const std::function<std::shared_ptr<Impl>(const torch::nn::LinearImpl&)>& fresh) {
  const auto* holder = std::get_if<torch::nn::Linear>(&place.content);
  if (!holder) return {std::nullopt, fmt::format("already {}", kind(place.content))};
  const torch::nn::LinearImpl& dense = **holder;
  Outcome outcome;
  std::shared_ptr<Impl> layer;
  if (options.project) {
    layer = nearest(dense, &outcome.relative_error);
  } else {
    layer = fresh(dense);
    layer->to(dense.weight.device(), dense.weight.scalar_type());
    if (options.like_dense) {
      const c10::NoGradGuard no_gradient;
      layer->initialise_like(deviation(dense.weight));
      if (dense.bias.defined()) layer->bias.copy_(dense.bias);
    }
  }
  carry_over(*layer, dense);
  outcome.content = Content(layer);
  return outcome;
}

Outcome as_dense(const Content& content) {
  Outcome outcome;
  if (const auto* monarch = std::get_if<MonarchLinear>(&content)) {
    outcome.content = (*monarch)->linear_part();  // exchange() keeps the activation
  } else if (const auto* adapter = std::get_if<MonarchAdapter>(&content)) {
    outcome.content = (*adapter)->to_linear();
  } else if (const auto* blocks = std::get_if<BlockDiagonalLinear>(&content)) {
    outcome.content = dense_of(*blocks);
  } else if (const auto* thin = std::get_if<LowRankLinear>(&content)) {
    outcome.content = dense_of(*thin);
  } else {
    outcome.reason = "already dense";
  }
  return outcome;
}

}  // namespace

std::string ConversionReport::text() const {
  size_t width = 5;
  for (const auto& layer : changed) width = std::max(width, layer.name.size());
  for (const auto& [name, reason] : kept) width = std::max(width, name.size());
  std::string lines;
  for (const auto& layer : changed) {
    lines += fmt::format("{:<{}}  {} -> {}  {} -> {}  {} -> {} parameters", layer.name, width, layer.in, layer.out,
                         layer.before, layer.after, layer.parameters_before, layer.parameters_after);
    if (!std::isnan(layer.relative_error)) lines += fmt::format("  relative error {:.4f}", layer.relative_error);
    lines += "\n";
  }
  for (const auto& [name, reason] : kept) lines += fmt::format("{:<{}}  kept: {}\n", name, width, reason);
  return lines;
}

ConversionReport to_monarch(Module& root, const std::string& pattern, const ConvertOptions& options) {
  return convert(root, pattern, [&](const Place& place) -> Outcome {
    const auto* holder = std::get_if<torch::nn::Linear>(&place.content);
    if (!holder) return {std::nullopt, fmt::format("already {}", kind(place.content))};
    const torch::nn::LinearImpl& dense = **holder;
    MonarchLinearOptions layer = options.layer;
    layer.activation = place.activation;
    Outcome outcome;
    std::shared_ptr<MonarchLinearImpl> monarch;
    if (options.project) {
      monarch = MonarchLinearImpl::from_dense(dense.weight, dense.bias, layer, &outcome.relative_error);
    } else {
      layer.in = dense.weight.size(1);
      layer.out = dense.weight.size(0);
      layer.bias = dense.bias.defined();
      layer.dtype = dense.weight.scalar_type();
      layer.device = dense.weight.device();
      monarch = std::make_shared<MonarchLinearImpl>(layer);
      if (options.like_dense) {
        const c10::NoGradGuard no_gradient;
        initialise_factors_like(monarch->blkdiag1, monarch->blkdiag2, layer.in, deviation(dense.weight));
        if (layer.bias) monarch->bias.copy_(dense.bias);
      }
    }
    carry_over(*monarch, dense);
    outcome.content = MonarchLinear(monarch);
    return outcome;
  });
}

ConversionReport to_block_diagonal(Module& root, const std::string& pattern, int64_t nblocks,
                                   const BaselineOptions& options) {
  using Impl = BlockDiagonalLinearImpl;
  return convert(root, pattern, [&](const Place& place) {
    return baseline<Impl>(
        place, options,
        [&](const auto& dense, double* error) { return Impl::from_dense(dense.weight, dense.bias, nblocks, error); },
        [&](const auto& dense) {
          return std::make_shared<Impl>(dense.weight.size(1), dense.weight.size(0), nblocks, dense.bias.defined());
        });
  });
}

ConversionReport to_low_rank(Module& root, const std::string& pattern, int64_t rank, int64_t nblocks,
                             const BaselineOptions& options) {
  using Impl = LowRankLinearImpl;
  const auto rank_of = [&](const torch::nn::LinearImpl& dense) {
    return rank > 0 ? rank : matching_rank(dense.weight.size(1), dense.weight.size(0), nblocks);
  };
  return convert(root, pattern, [&](const Place& place) {
    return baseline<Impl>(
        place, options,
        [&](const auto& dense, double* error) {
          return Impl::from_dense(dense.weight, dense.bias, rank_of(dense), error);
        },
        [&](const auto& dense) {
          return std::make_shared<Impl>(dense.weight.size(1), dense.weight.size(0), rank_of(dense),
                                        dense.bias.defined());
        });
  });
}

ConversionReport to_dense(Module& root, const std::string& pattern) {
  return convert(root, pattern, [](const Place& place) { return as_dense(place.content); });
}

std::vector<std::pair<std::string, at::Tensor>> dense_parameters(Module& root, const std::string& pattern) {
  const std::regex expression = compiled(pattern);
  std::vector<std::pair<std::string, at::Tensor>> parameters;
  for (const Place& place : linear_layers(root)) {
    if (!place.exchange || !std::regex_match(place.name, expression)) continue;
    const Outcome outcome = as_dense(place.content);
    if (!outcome.content) continue;
    const auto& dense = *std::get<torch::nn::Linear>(*outcome.content);
    const std::string prefix = place.name.empty() ? "" : place.name + ".";
    parameters.emplace_back(prefix + "weight", dense.weight.detach());
    if (dense.bias.defined()) parameters.emplace_back(prefix + "bias", dense.bias.detach());
  }
  return parameters;
}

ConversionReport add_adapters(Module& root, const std::string& pattern, const MonarchAdapterOptions& options) {
  return convert(root, pattern, [&](const Place& place) -> Outcome {
    const auto* dense = std::get_if<torch::nn::Linear>(&place.content);
    if (!dense) return {std::nullopt, fmt::format("already {}", kind(place.content))};
    const auto adapter = std::make_shared<MonarchAdapterImpl>((*dense)->weight, (*dense)->bias, options);
    adapter->train((*dense)->is_training());
    Outcome outcome;
    outcome.content = MonarchAdapter(adapter);
    return outcome;
  });
}

}  // namespace monarch::operators
