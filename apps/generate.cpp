// monarch generate CKPT --prompt TEXT: a language model goes on with a text.

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <cstdio>
#include <optional>

#include "command.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/data/text/unicode.hpp"
#include "monarch/experiments/language/gpt2_generate.hpp"
#include "monarch/experiments/language/stored_gpt2.hpp"

namespace monarch::apps {
namespace {

struct Arguments {
  std::string model, prompt;
  experiments::GenerateOptions options;
  std::optional<int64_t> tokens;
  bool json = false;
};

/// Writes the characters of tokens as soon as they are whole.
class Printer {
 public:
  explicit Printer(const data::Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  void add(int32_t token) {
    waiting_ += tokenizer_.token(token);
    const size_t bad = data::find_invalid_utf8(waiting_);
    // A character may be cut within its at most four bytes; what stays invalid longer is replaced.
    const bool cut = bad != std::string::npos && waiting_.size() - bad < 4;
    write(cut ? bad : waiting_.size());
  }
  void finish() { write(waiting_.size()); }

 private:
  void write(size_t bytes) {
    int64_t replaced = 0;
    fmt::print("{}", data::replace_invalid_utf8(std::string_view(waiting_).substr(0, bytes), replaced));
    std::fflush(stdout);
    waiting_.erase(0, bytes);
  }
  const data::Tokenizer& tokenizer_;
  std::string waiting_;
};

void run(Arguments& a) {
  check<DataError>(data::find_invalid_utf8(a.prompt) == std::string::npos, "--prompt is not valid UTF-8",
                   "convert it (iconv -t UTF-8)");
  const auto [model, tokenizer] = experiments::load_gpt2(a.model);
  data::TokenIds prompt = tokenizer->encode(a.prompt, data::SpecialTokens::recognised);
  if (prompt.empty() && tokenizer->separator()) prompt.push_back(*tokenizer->separator());
  const int64_t room = model->options().positions - static_cast<int64_t>(prompt.size());
  a.options.tokens = a.tokens.value_or(std::max<int64_t>(1, std::min(a.options.tokens, room)));
  a.options.vocabulary = tokenizer->size();
  const bool streams = !a.json && tokenizer->kind() == "gpt2";  // its tokens are bytes
  Printer printer(*tokenizer);
  if (streams) fmt::print("{}", a.prompt);
  const auto text = experiments::generate(*model, prompt, a.options, tokenizer->separator(), [&](int32_t token) {
    if (streams) printer.add(token);
  });
  int64_t replaced = 0;
  const std::string written = data::replace_invalid_utf8(tokenizer->decode(text.ids), replaced);
  if (a.json) {
    const nlohmann::ordered_json json{{"model", model->describe()},
                                      {"prompt", a.prompt},
                                      {"prompt_tokens", prompt.size()},
                                      {"text", written},
                                      {"tokens", text.ids},
                                      {"stopped", text.stopped},
                                      {"prompt_seconds", text.prompt_seconds},
                                      {"milliseconds_per_token", 1e3 * text.seconds_per_token},
                                      {"threads", at::get_num_threads()}};
    fmt::print("{}\n", json.dump(2));
    return;
  }
  if (streams)
    printer.finish();
  else
    fmt::print("{} {}", a.prompt, written);
  fmt::print("\n");
  log::info(fmt::format("{} tokens{}, {:.1f} ms each behind the first, which took {:.1f} ms", text.ids.size(),
                        text.stopped ? " and the end of the text" : "", 1e3 * text.seconds_per_token,
                        1e3 * text.prompt_seconds));
}

}  // namespace

void add_generate(CLI::App& app) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("generate", "Let a language model continue a text");
  command
      ->add_option(
          "model", a->model,
          "Run or checkpoint of `monarch train` (task.kind \"language-model\"), or HuggingFace's folder of a GPT-2")
      ->required();
  command->add_option("--prompt", a->prompt, "The text to continue (default: <|endoftext|>)");
  command->add_option("--tokens", a->tokens, "At most so many (default 100, as far as the model has positions)")
      ->check(CLI::PositiveNumber);
  command->add_option("--temperature", a->options.temperature, "Logits are divided by it (default 1)");
  command->add_option("--top-k", a->options.top_k, "Only among the k likeliest tokens (default 0: all)");
  command->add_option("--top-p", a->options.top_p,
                      "Only among the likeliest that make up this probability (default 1)");
  command->add_flag("--greedy", a->options.greedy, "Always the likeliest token");
  command->add_option("--seed", a->options.seed, "Of the draws (default 0)")->check(CLI::NonNegativeNumber);
  command->add_flag("--json", a->json, "Text, tokens and times as JSON on stdout");
  command->callback([a] { run(*a); });
}

}  // namespace monarch::apps
