#include "monarch/experiments/transformer/weights.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <set>

#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/nn/linear_layer.hpp"

namespace fs = std::filesystem;

namespace monarch::experiments {
namespace {

using operators::LinearLayerImpl;

std::pair<std::string, std::string> split(const std::string& name) {
  const size_t dot = name.rfind('.');
  return dot == std::string::npos ? std::pair<std::string, std::string>{"", name}
                                  : std::pair{name.substr(0, dot), name.substr(dot + 1)};
}

std::string join(const std::string& module, const std::string& parameter) {
  return module.empty() ? parameter : module + "." + parameter;
}

class Import {
 public:
  Import(torch::nn::Module& model, const data::Checkpoint& checkpoint, const WeightNames& names)
      : model_(model), checkpoint_(checkpoint), names_(names) {
    for (const auto& info : checkpoint.tensors()) {
      const auto plain = names.plain(info.name);
      if (!plain) continue;
      if (!tensors_.emplace(*plain, &info).second) problem(fmt::format("{} is there twice", *plain));
    }
  }

  ImportReport run() {
    const c10::NoGradGuard no_gradient;
    for (const auto& item : model_.named_modules("", /*include_self=*/false)) {
      if (auto* layer = dynamic_cast<LinearLayerImpl*>(item.value().get())) take_form(item.key(), *layer);
    }
    std::vector<std::pair<at::Tensor, at::Tensor>> copies;
    for (const auto& item : model_.named_parameters()) {
      const at::Tensor found = find(item.key(), item.value());
      if (found.defined()) copies.emplace_back(item.value(), found);
    }
    for (const auto& [name, other] : names_.tied) check_tied(name, other);
    for (const auto& [name, info] : tensors_) {
      if (used_.contains(name)) continue;
      if (names_.optional(name)) {
        report_.unused.push_back(name);
      } else {
        problem(fmt::format("{} {} has no place", info->name, shape_text(info->shape)));
      }
    }
    check<DataError>(
        problems_.empty(),
        [&] { return fmt::format("{}: weights of another model:{}", checkpoint_.name(), problems_); },
        "the sizes of [model] must be those of the file, and its vocabulary the tokenizer's (padded ones are not "
        "taken)");
    for (auto& [parameter, found] : copies) parameter.copy_(found);
    return std::move(report_);
  }

 private:
  void problem(const std::string& text) {
    if (++problem_count_ <= 40) problems_ += "\n  " + text;
    if (problem_count_ == 41) problems_ += "\n  …";
  }

  const data::TensorInfo* tensor(const std::string& name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : found->second;
  }

  void take_form(const std::string& name, LinearLayerImpl& layer) {
    const ModuleSource source = names_.source(name);
    const auto shape = [&](const char* parameter) {
      const auto* info = tensor(source.name + "." + parameter);
      return info ? info->shape : std::vector<int64_t>{};
    };
    const at::Tensor some = layer.parameters().front();
    const bool bias = layer.named_parameters().contains("bias");
    const auto weight = shape("weight"), w1 = shape("blkdiag1"), w2 = shape("blkdiag2"), first = shape("first");
    LinearLayerImpl::Content content = layer.content();
    try {
      if (w1.size() == 3 && w2.size() == 3) {
        check<ShapeError>(source.parts == 1 || w2[0] * w2[1] == source.parts * layer.out(), [&] {
          return fmt::format("blkdiag2 {} is no {} packed layers of {} outputs", shape_text(w2), source.parts,
                             layer.out());
        });
        content = operators::MonarchLinear(operators::MonarchLinearOptions{
            .in = layer.in(),
            .out = layer.out(),
            .sizes = operators::MonarchSizes{w1[0], w1[1], w1[2], w2[0], w2[1] / source.parts, w2[2]},
            .bias = bias});
      } else if (weight.size() == 3) {
        content = operators::BlockDiagonalLinear(layer.in(), layer.out(), weight[0], bias);
      } else if (first.size() == 2) {
        content = operators::LowRankLinear(layer.in(), layer.out(), first[0], bias);
      } else if (weight.size() == 2 && !std::holds_alternative<torch::nn::Linear>(content)) {
        content = torch::nn::Linear(torch::nn::LinearOptions(layer.in(), layer.out()).bias(bias));
      } else {
        return;
      }
    } catch (const ShapeError& error) {
      problem(name + ": " + error.message());
      return;
    }
    layer.replace(content);
    layer.to(some.device(), some.scalar_type());
    report_.changed.push_back(name);
  }

  /// The file's numbers for a parameter in its shape, or an undefined tensor.
  at::Tensor find(const std::string& name, const at::Tensor& parameter) {
    const auto [module, leaf] = split(name);
    const ModuleSource source = names_.source(module);
    const std::string wanted = join(source.name, leaf);
    const auto* info = tensor(wanted);
    if (!info) {
      if (names_.optional(name)) {
        report_.fresh.push_back(name);
      } else {
        problem(fmt::format("{} {} is missing", wanted, shape_text(parameter.sizes())));
      }
      return {};
    }
    used_.insert(wanted);
    at::Tensor found = checkpoint_.load(info->name);
    if (source.transposed && leaf == "weight" && found.dim() == 2) found = found.t();
    const int64_t axis = leaf == "blkdiag2" ? 1 : 0;
    const bool whole = leaf == "blkdiag1" || leaf == "first";
    if (source.parts > 1 && !whole && found.dim() > axis && found.size(axis) % source.parts == 0)
      found = found.chunk(source.parts, axis)[static_cast<size_t>(source.part)];
    if (found.sizes() == parameter.sizes() && !found.is_complex()) return found;
    if (names_.fit) {
      const at::Tensor fitted = names_.fit(name, found, parameter.sizes());
      if (fitted.defined()) {
        report_.fitted.push_back(
            fmt::format("{} {} -> {}", name, shape_text(found.sizes()), shape_text(parameter.sizes())));
        return fitted;
      }
    }
    if (names_.optional(name)) {
      report_.fresh.push_back(fmt::format("{} ({} in the file)", name, shape_text(found.sizes())));
    } else {
      problem(fmt::format("{} is {} {}, expected {}", info->name, info->dtype, shape_text(info->shape),
                          shape_text(parameter.sizes())));
    }
    return {};
  }

  void check_tied(const std::string& name, const std::string& other) {
    const auto *one = tensor(name), *two = tensor(other);
    if (!one) return;
    used_.insert(name);
    if (two && !at::equal(checkpoint_.load(one->name), checkpoint_.load(two->name)))
      problem(fmt::format("{} differs from {}, which is the same tensor in this model", one->name, two->name));
  }

  torch::nn::Module& model_;
  const data::Checkpoint& checkpoint_;
  const WeightNames& names_;
  std::map<std::string, const data::TensorInfo*> tensors_;
  std::set<std::string> used_;
  std::string problems_;
  int problem_count_ = 0;
  ImportReport report_;
};

/// A run folder stands for its best checkpoint.
std::shared_ptr<const data::Checkpoint> open_weights(const fs::path& path) {
  return data::open_checkpoint(fs::exists(path / "best" / "model.safetensors") ? path / "best" : path);
}

}  // namespace

std::string ImportReport::text() const {
  std::string lines;
  const auto list = [&](const char* what, const std::vector<std::string>& names) {
    if (!names.empty()) lines += fmt::format("{}{}: {}", lines.empty() ? "" : "; ", what, fmt::join(names, ", "));
  };
  list("not in the file, freshly initialised", fresh);
  list("in the file without a place", unused);
  list("resized", fitted);
  if (!changed.empty()) lines += fmt::format("{}{} layers structured", lines.empty() ? "" : "; ", changed.size());
  return lines;
}

ImportReport import_weights(torch::nn::Module& model, const data::Checkpoint& checkpoint, const WeightNames& names) {
  return Import(model, checkpoint, names).run();
}

void prepare_model(torch::nn::Module& model, const Config& config, const StructurePresets& presets,
                   const std::function<WeightNames(const data::Checkpoint&)>& names) {
  const StructureOptions structure = StructureOptions::from_config(config);
  const std::string weights = config.text("model.weights", "");
  if (!weights.empty()) {
    const auto checkpoint = open_weights(weights);
    const ImportReport report = import_weights(model, *checkpoint, names(*checkpoint));
    if (const std::string text = report.text(); !text.empty())
      log::info(fmt::format("{}: {}", checkpoint->name(), text));
  }
  const operators::ConversionReport report = apply_structure(model, structure, presets);
  check<ConfigError>(
      weights.empty() || structure.project || report.changed.empty(),
      [&] {
        return fmt::format("{}: layer {} is dense in {}, and [model.layers] would start it at random", config.name(),
                           report.changed.front().name, weights);
      },
      "set model.layers.project = true for the nearest weights, or take model.layers off");
}

std::string without_prefixes(std::string name, const std::vector<std::string>& prefixes) {
  for (const auto& prefix : prefixes) {
    if (name.starts_with(prefix)) name.erase(0, prefix.size());
  }
  return name;
}

}  // namespace monarch::experiments
