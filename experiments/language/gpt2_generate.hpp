#pragma once
// Text from a GPT-2, token by token.

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "monarch/data/text/tokenizer.hpp"
#include "monarch/experiments/language/gpt2.hpp"

namespace monarch::experiments {

struct GenerateOptions {
  int64_t tokens = 100;    ///< at most
  double temperature = 1;  ///< logits are divided by it
  int64_t top_k = 0;       ///< draws among the k likeliest tokens; 0: among all
  double top_p = 1;        ///< draws among the likeliest tokens that together have this probability (nucleus sampling)
  bool greedy = false;     ///< always the likeliest token
  uint64_t seed = 0;
  int64_t vocabulary = 0;  ///< only tokens below it, where the model's vocabulary is padded; 0: all
};

struct GeneratedText {
  data::TokenIds ids;            ///< without the prompt and the token that ended it
  bool stopped = false;          ///< the model wrote `stop`
  double prompt_seconds = 0;     ///< until the first token
  double seconds_per_token = 0;  ///< of those behind it; 0 where there are none
};

/// One of the tokens by their logits [vocabulary]: temperature, then the k likeliest, then the nucleus; `uniform` in
/// [0, 1) picks among what is left, likelier tokens first, ties in the order of ids.
int32_t sample_token(const at::Tensor& logits, const GenerateOptions& options, double uniform);

/// Continues a prompt; token i is drawn with Rng(seed, "token i"). Keys and values of earlier tokens are kept, so that
/// a token costs one row of each product. The model is put into evaluation mode. Throws ConfigError for an empty
/// prompt, options out of range, and a prompt that with `tokens` is longer than the model's positions.
GeneratedText generate(Gpt2Impl& model, const data::TokenIds& prompt, const GenerateOptions& options,
                       std::optional<int32_t> stop = {}, const std::function<void(int32_t)>& use = {});

}  // namespace monarch::experiments
