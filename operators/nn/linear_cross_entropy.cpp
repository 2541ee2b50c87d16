#include "monarch/operators/nn/linear_cross_entropy.hpp"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::operators {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

void check_arguments(const Tensor& features, const Tensor& weight, const std::optional<Tensor>& bias,
                     const Tensor& targets, const CrossEntropyOptions& o) {
  check<ShapeError>(
      features.dim() >= 1 && weight.dim() == 2 && weight.size(0) >= 1 && features.size(-1) == weight.size(1), [&] {
        return fmt::format("linear_cross_entropy: features {} [..., width] do not fit a weight {} [vocabulary, width]",
                           shape_text(features.sizes()), shape_text(weight.sizes()));
      });
  check<ShapeError>(targets.sizes() == features.sizes().slice(0, static_cast<size_t>(features.dim() - 1)), [&] {
    return fmt::format("linear_cross_entropy: targets {}, expected one for each row of features {}",
                       shape_text(targets.sizes()), shape_text(features.sizes()));
  });
  check<ShapeError>(!bias || (bias->dim() == 1 && bias->size(0) == weight.size(0)), [&] {
    return fmt::format("linear_cross_entropy: bias {}, expected [{}]", shape_text(bias->sizes()), weight.size(0));
  });
  check<DtypeError>(
      features.is_floating_point() && weight.is_floating_point() && targets.scalar_type() == at::kLong, [&] {
        return fmt::format(
            "linear_cross_entropy: features {}, weight {}, targets {}; expected real "
            "numbers and targets of int64",
            toString(features.scalar_type()), toString(weight.scalar_type()), toString(targets.scalar_type()));
      });
  check<ConfigError>(o.label_smoothing >= 0 && o.label_smoothing < 1, [&] {
    return fmt::format("linear_cross_entropy: label smoothing {}, expected [0, 1)", o.label_smoothing);
  });
}

/// Targets that count must be in the vocabulary.
void check_targets(const Tensor& targets, const Tensor& counts, int64_t vocabulary) {
  const Tensor wrong = counts & ((targets < 0) | (targets >= vocabulary));
  if (!wrong.any().item<bool>()) return;
  const int64_t row = wrong.nonzero()[0][0].item<int64_t>();
  fail<DataError>(fmt::format("linear_cross_entropy: target {} of row {} is not in the vocabulary of {}",
                              targets[row].item<int64_t>(), row, vocabulary),
                  "were the tokens made with another vocabulary?");
}

struct Wanted {
  bool features = false, weight = false, bias = false;
  bool any() const { return features || weight || bias; }
};

struct Result {
  Tensor losses;                  // [row]
  Tensor features, weight, bias;  // gradients, of the sum over rows weighted by row_weight
};

/// features [row, width]; row_weight [row] multiplies the gradient of each row's loss.
Result by_chunks(const Tensor& features, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& targets,
                 const Tensor& counts, const Tensor& row_weight, Wanted wanted, const CrossEntropyOptions& o) {
  const int64_t rows = features.size(0), vocabulary = weight.size(0);
  const auto sum_type = features.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const auto sums = features.options().dtype(sum_type);
  const bool low = features.scalar_type() != sum_type;
  const auto element = static_cast<int64_t>(c10::elementSize(sum_type));
  const int64_t chunk = std::clamp<int64_t>(o.chunk_bytes / (2 * element * vocabulary), 1, std::max<int64_t>(rows, 1));
  const double smooth = o.label_smoothing;

  Result result;
  result.losses = at::zeros({rows}, sums);
  if (wanted.features) result.features = at::empty_like(features);
  if (wanted.weight) result.weight = at::zeros(weight.sizes(), sums);
  if (wanted.bias) result.bias = at::zeros({vocabulary}, sums);
  Tensor logits = at::empty({chunk, vocabulary}, features.options());
  Tensor log_p = at::empty({chunk, vocabulary}, sums);
  const Tensor columns = weight.t();
  for (int64_t first = 0; first < rows; first += chunk) {
    const int64_t count = std::min(chunk, rows - first);
    const Tensor x = features.narrow(0, first, count), valid = counts.narrow(0, first, count);
    Tensor z = logits.narrow(0, 0, count), p = log_p.narrow(0, 0, count);
    if (bias)
      at::addmm_out(z, *bias, x, columns);
    else
      at::mm_out(z, x, columns);
    if (low)
      at::_log_softmax_out(p, z.to(sum_type), 1, false);
    else
      at::_log_softmax_out(p, z, 1, false);
    const Tensor target = targets.narrow(0, first, count).masked_fill(~valid, 0).unsqueeze(1);
    Tensor loss = p.gather(1, target).squeeze(1).mul_(smooth - 1);
    if (smooth > 0) loss.sub_(p.mean(1), smooth);
    result.losses.narrow(0, first, count).copy_(loss.masked_fill_(~valid, 0));
    if (!wanted.any()) continue;

    // d loss / d logits = softmax − (1 − e) one-hot − e / vocabulary
    p.exp_();
    if (smooth > 0) p.sub_(smooth / static_cast<double>(vocabulary));
    p.scatter_add_(1, target, at::full_like(target, smooth - 1, sums));
    p.mul_(row_weight.narrow(0, first, count).unsqueeze(1));
    if (wanted.bias) result.bias.add_(p.sum(0));
    if (low) z.copy_(p);  // the products in the type of the features, their sums over chunks not
    const Tensor& d = low ? z : p;
    if (wanted.features) {
      Tensor part = result.features.narrow(0, first, count);
      at::mm_out(part, d, weight);
    }
    if (wanted.weight) {
      if (low)
        result.weight.add_(at::mm(d.t(), x));
      else
        result.weight.addmm_(d.t(), x);
    }
  }
  return result;
}

struct Rows {
  Tensor features, targets, counts, row_weight;
};

/// What `by_chunks` takes: rows one below the other, checked.
Rows rows_of(const Tensor& features, const Tensor& weight, const Tensor& targets, const CrossEntropyOptions& o) {
  Rows r;
  r.features = features.reshape({-1, features.size(-1)}).contiguous();
  r.targets = targets.reshape({-1});
  r.counts = r.targets != o.ignore_index;
  check_targets(r.targets, r.counts, weight.size(0));
  r.row_weight = r.counts.to(features.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  if (!o.sum) r.row_weight = r.row_weight / r.row_weight.sum();
  return r;
}

class LinearCrossEntropy : public torch::autograd::Function<LinearCrossEntropy> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& features, const Tensor& weight,
                        const std::optional<Tensor>& bias, const Tensor& targets, const CrossEntropyOptions* options) {
    const Wanted wanted{context->needs_input_grad(0), context->needs_input_grad(1),
                        bias && context->needs_input_grad(2)};
    const Rows rows = rows_of(features, weight, targets, *options);
    Result result = by_chunks(rows.features, weight.contiguous(), bias, rows.targets, rows.counts, rows.row_weight,
                              wanted, *options);
    if (wanted.features) result.features = result.features.view(features.sizes());
    context->saved_data["gradients"] = std::vector<std::optional<Tensor>>{
        wanted.features ? std::optional(result.features) : std::nullopt,
        wanted.weight ? std::optional(result.weight.to(weight.scalar_type())) : std::nullopt,
        wanted.bias ? std::optional(result.bias.to(bias->scalar_type())) : std::nullopt};
    return result.losses.dot(rows.row_weight);
  }

  static variable_list backward(AutogradContext* context, const variable_list& outputs) {
    check<BackendError>(!at::GradMode::is_enabled(), "linear_cross_entropy has no second derivative",
                        "leave create_graph off, or take at::cross_entropy of the full logits");
    check<BackendError>(context->saved_data.count("gradients") == 1,
                        "linear_cross_entropy: its gradient has been used already",
                        "call the function again instead of retaining the graph");
    const auto saved = context->saved_data["gradients"].toListRef().vec();
    context->saved_data.erase("gradients");
    variable_list gradients(5);
    for (size_t i = 0; i < saved.size(); ++i)
      if (!saved[i].isNone()) gradients[i] = saved[i].toTensor().mul_(outputs[0].to(saved[i].toTensor().scalar_type()));
    return gradients;
  }
};

}  // namespace

Tensor linear_cross_entropy(const Tensor& features, const Tensor& weight, const std::optional<Tensor>& bias,
                            const Tensor& targets, const CrossEntropyOptions& options) {
  check_arguments(features, weight, bias, targets, options);
  const auto device = features.device().type();
  const auto type =
      at::autocast::is_autocast_enabled(device) ? at::autocast::get_autocast_dtype(device) : features.scalar_type();
  // Conversions stand outside of the function, so that gradients arrive in the parameters' own types.
  const auto converted = [type](const Tensor& t) { return t.to(type); };
  const Tensor x = converted(features), w = converted(weight);
  const auto b = bias ? std::optional(converted(*bias)) : std::nullopt;
  const bool graph =
      at::GradMode::is_enabled() && (x.requires_grad() || w.requires_grad() || (b && b->requires_grad()));
  if (graph) return LinearCrossEntropy::apply(x, w, b, targets, &options);
  const Rows rows = rows_of(x, w, targets, options);
  return by_chunks(rows.features, w.contiguous(), b, rows.targets, rows.counts, rows.row_weight, {}, options)
      .losses.dot(rows.row_weight);
}

Tensor linear_cross_entropy_rows(const Tensor& features, const Tensor& weight, const std::optional<Tensor>& bias,
                                 const Tensor& targets, const CrossEntropyOptions& options) {
  check_arguments(features, weight, bias, targets, options);
  const at::NoGradGuard guard;
  const Rows rows = rows_of(features, weight, targets, options);
  const auto type = features.scalar_type();
  const auto b = bias ? std::optional(bias->to(type)) : std::nullopt;
  return by_chunks(rows.features, weight.to(type).contiguous(), b, rows.targets, rows.counts, rows.row_weight, {},
                   options)
      .losses.view(targets.sizes());
}

}  // namespace monarch::operators
