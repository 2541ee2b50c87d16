#include "monarch/solvers/neural/published_checkpoint.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/solvers/neural/fno.hpp"

namespace monarch::solvers {
namespace {

class Published {
 public:
  Published(const std::map<std::string, at::Tensor>& tensors, const std::string& origin) : origin_(origin) {
    std::string prefix;
    for (const auto& [name, tensor] : tensors) {
      constexpr std::string_view known = "fc0.weight";
      if (name.size() >= known.size() && name.ends_with(known)) prefix = name.substr(0, name.size() - known.size());
    }
    for (const auto& [name, tensor] : tensors)
      tensors_[name.starts_with(prefix) ? name.substr(prefix.size()) : name] = tensor;
  }

  at::Tensor take(const std::string& name) {
    const auto found = tensors_.find(name);
    check<DataError>(
        found != tensors_.end(), [&] { return fmt::format("{}: there is no tensor {}", origin_, name); },
        "a checkpoint of a published FNO script with as many layers and axes as the model");
    const at::Tensor tensor = found->second;
    tensors_.erase(found);
    return tensor;
  }

  /// The corners of a weight [in, out, m…] joined: -m … -1 behind 0 … m-1 along every axis but the last.
  at::Tensor spectral(const std::string& layer, int64_t axes) {
    std::vector<at::Tensor> corners;
    for (int64_t c = 1; c <= (int64_t{1} << (axes - 1)); ++c) {
      at::Tensor w = take(fmt::format("{}.weights{}", layer, c));
      if (!w.is_complex() && w.dim() == axes + 3 && w.size(-1) == 2) w = at::view_as_complex(w.contiguous());
      corners.push_back(w);
    }
    for (int64_t axis = 2; corners.size() > 1; ++axis) {
      std::vector<at::Tensor> joined;
      for (size_t c = 0; c < corners.size(); c += 2) joined.push_back(at::cat({corners[c], corners[c + 1]}, axis));
      corners = std::move(joined);
    }
    return corners[0];
  }

  void drop(const std::string& beginning) {
    std::erase_if(tensors_, [&](const auto& item) { return item.first.starts_with(beginning); });
  }

  void finish() const {
    std::vector<std::string> left;
    for (const auto& [name, tensor] : tensors_) left.push_back(name);
    check<DataError>(left.empty(),
                     [&] { return fmt::format("{}: the model has no place for {}", origin_, fmt::join(left, ", ")); });
  }

  void copy(const std::string& name, const at::Tensor& from, at::Tensor to) const {
    at::Tensor fitting = from;
    if (from.dim() > to.dim() && from.numel() == to.numel()) fitting = from.reshape(to.sizes());  // [w, w, 1, 1]
    check<DataError>(fitting.sizes() == to.sizes() && fitting.is_complex() == to.is_complex(), [&] {
      return fmt::format("{}: {} is {}{}, the model has {}", origin_, name, from.is_complex() ? "complex " : "",
                         shape_text(from.sizes()), shape_text(to.sizes()));
    });
    to.copy_(fitting);
  }

 private:
  std::string origin_;
  std::map<std::string, at::Tensor> tensors_;
};

}  // namespace

void load_published_fno(NeuralSolver& solver, const std::map<std::string, at::Tensor>& tensors,
                        const std::string& origin) {
  const c10::NoGradGuard no_grad;
  const auto* fno = dynamic_cast<const Fno*>(&solver);
  check<DataError>(
      fno && fno->options().mixing_blocks == 0 && fno->options().block_hidden == 0 && fno->options().lift_hidden == 0,
      [&] { return fmt::format("{}: weights of a published FNO do not fit into: {}", origin, solver.describe()); });
  Published file(tensors, origin);
  auto own = solver.named_parameters();
  const auto buffers = solver.named_buffers();
  for (const auto& item : buffers) own.insert(item.key(), item.value());
  std::vector<std::pair<std::string, std::string>> plain;  // ours, theirs
  const auto layer = [&](const std::string& ours, const std::string& theirs) {
    plain.emplace_back(ours + ".weight", theirs + ".weight");
    plain.emplace_back(ours + ".bias", theirs + ".bias");
  };
  layer("lift", "fc0");
  layer("head0", "fc1");
  layer("head1", "fc2");
  const int64_t axes = static_cast<int64_t>(solver.shape().grid.size());
  for (int64_t i = 0; i < fno->options().layers; ++i) {
    layer(fmt::format("pointwise{}", i), fmt::format("w{}", i));
    const std::string norm = fmt::format("norm{}", i), theirs = fmt::format("bn{}", i);
    if (fno->options().batch_norm) {
      layer(norm, theirs);
      for (const char* name : {".running_mean", ".running_var", ".num_batches_tracked"})
        plain.emplace_back(norm + name, theirs + name);
    } else {
      file.drop(theirs + ".");
    }
    const std::string conv = fmt::format("conv{}", i);
    file.copy(conv, file.spectral(conv, axes), own[fmt::format("spectral{}", i)]);
  }
  for (const auto& [ours, theirs] : plain) file.copy(theirs, file.take(theirs), own[ours]);
  file.finish();
}

}  // namespace monarch::solvers
