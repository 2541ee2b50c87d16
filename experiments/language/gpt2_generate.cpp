#include "monarch/experiments/language/gpt2_generate.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
#include <utility>
#include <variant>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/operators/nn/linear_layer.hpp"

namespace monarch::experiments {
namespace {

using Clock = std::chrono::steady_clock;

/// Monarch layers multiply by their factors, for as long as the object lives: for one row that is faster than a dense
/// weight (fewer numbers to read), and every layer measuring which way is faster would take longer than the text.
class FactorsOnly {
 public:
  explicit FactorsOnly(Gpt2Impl& model) {
    for (const auto& module : model.modules()) {
      const auto* layer = module->as<operators::LinearLayer>();
      const auto* monarch = layer ? std::get_if<operators::MonarchLinear>(&layer->content()) : nullptr;
      if (!monarch) continue;
      layers_.emplace_back(monarch->ptr(), monarch->ptr()->dense_cache().path());
      monarch->ptr()->dense_cache().set_path(operators::InferencePath::monarch);
    }
  }
  ~FactorsOnly() {
    for (const auto& [layer, path] : layers_) layer->dense_cache().set_path(path);
  }
  FactorsOnly(const FactorsOnly&) = delete;
  FactorsOnly& operator=(const FactorsOnly&) = delete;

 private:
  std::vector<std::pair<std::shared_ptr<operators::MonarchLinearImpl>, operators::InferencePath>> layers_;
};

void check_options(const GenerateOptions& o) {
  check<ConfigError>(
      o.temperature > 0 && std::isfinite(o.temperature),
      [&] { return fmt::format("temperature {}, expected more than 0", o.temperature); },
      "greedy takes the likeliest token");
  check<ConfigError>(o.top_p > 0 && o.top_p <= 1,
                     [&] { return fmt::format("top-p {}, expected more than 0 and at most 1", o.top_p); });
  check<ConfigError>(o.top_k >= 0 && o.tokens >= 1, [&] {
    return fmt::format("top-k {} and {} tokens, expected 0 or more and at least 1", o.top_k, o.tokens);
  });
}

}  // namespace

int32_t sample_token(const at::Tensor& logits, const GenerateOptions& options, double uniform) {
  const at::Tensor scores = logits.to(at::kCPU, at::kDouble).contiguous();
  if (options.greedy) return static_cast<int32_t>(scores.argmax().item<int64_t>());
  const auto* score = scores.const_data_ptr<double>();
  const auto size = static_cast<size_t>(scores.numel());
  std::vector<int32_t> order(size);
  std::iota(order.begin(), order.end(), 0);
  size_t kept = options.top_k > 0 ? std::min(size, static_cast<size_t>(options.top_k)) : size;
  const auto likelier = [score](int32_t a, int32_t b) { return score[a] != score[b] ? score[a] > score[b] : a < b; };
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept), order.end(), likelier);
  std::vector<double> sums(kept);  // of probabilities, not normalised
  double sum = 0;
  for (size_t i = 0; i < kept; ++i)
    sums[i] = sum += std::exp((score[order[i]] - score[order[0]]) / options.temperature);
  const auto nucleus = std::lower_bound(sums.begin(), sums.end(), options.top_p * sum);
  kept = std::min<size_t>(kept, static_cast<size_t>(nucleus - sums.begin()) + 1);
  const auto chosen =
      std::upper_bound(sums.begin(), sums.begin() + static_cast<std::ptrdiff_t>(kept - 1), uniform * sums[kept - 1]);
  return order[static_cast<size_t>(chosen - sums.begin())];
}

GeneratedText generate(Gpt2Impl& model, const data::TokenIds& prompt, const GenerateOptions& options,
                       std::optional<int32_t> stop, const std::function<void(int32_t)>& use) {
  check_options(options);
  check<ConfigError>(!prompt.empty(), "the prompt has no token", "give a word, or <|endoftext|>");
  const auto there = static_cast<int64_t>(prompt.size());
  const int64_t positions = model.options().positions;
  check<ConfigError>(
      there < positions,
      [&] { return fmt::format("the prompt has {} tokens, the model takes {} in all", there, positions); },
      "shorten the prompt");
  check<ConfigError>(
      there + options.tokens <= positions,
      [&] {
        return fmt::format("a prompt of {} tokens and {} more are beyond the {} positions of the model", there,
                           options.tokens, positions);
      },
      fmt::format("ask for at most {} tokens", positions - there));
  model.eval();
  const at::NoGradGuard no_gradients;
  const FactorsOnly factors(model);
  const at::Tensor all = model.output_weight();
  const at::Tensor weight = options.vocabulary > 0 ? all.narrow(0, 0, std::min(options.vocabulary, all.size(0))) : all;
  auto caches = model.cache(there + options.tokens);
  at::Tensor ids = at::empty({1, there}, at::kLong);
  std::copy(prompt.begin(), prompt.end(), ids.mutable_data_ptr<int64_t>());
  GeneratedText text;
  const auto begin = Clock::now();
  auto first = begin;
  int64_t made = 0;
  while (made < options.tokens) {
    const at::Tensor last = model.features(ids.to(weight.device()), caches).select(1, -1);
    const at::Tensor logits = at::linear(last, weight).squeeze(0);
    const int32_t token = sample_token(logits, options, Rng(options.seed, fmt::format("token {}", made)).uniform());
    if (++made == 1) first = Clock::now();
    if (stop && token == *stop) {
      text.stopped = true;
      break;
    }
    text.ids.push_back(token);
    if (use) use(token);
    ids = at::full({1, 1}, token, at::kLong);
  }
  text.prompt_seconds = std::chrono::duration<double>(first - begin).count();
  if (made > 1)
    text.seconds_per_token =
        std::chrono::duration<double>(Clock::now() - first).count() / static_cast<double>(made - 1);
  return text;
}

}  // namespace monarch::experiments
