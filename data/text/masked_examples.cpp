#include "monarch/data/text/masked_examples.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

#include "monarch/core/error.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/rng.hpp"

namespace monarch::data {
namespace {

constexpr std::array<std::string_view, 3> enders = {".", "!", "?"};
constexpr std::array<std::string_view, 7> closers = {"\"", "'", ")", "]", "}", "”", "’"};
constexpr int64_t around = 3;  // [CLS] and twice [SEP]
constexpr int64_t piece = int64_t{1} << 20;

template <size_t n>
std::vector<bool> flags(const Tokenizer& tokenizer, const std::array<std::string_view, n>& words) {
  std::vector<bool> set(static_cast<size_t>(tokenizer.size()), false);
  for (const std::string_view word : words)
    if (const auto id = tokenizer.find(word)) set[static_cast<size_t>(*id)] = true;
  return set;
}

void check_options(const MaskedExampleOptions& o) {
  const auto within = [](const char* key, double value, double least, double most) {
    check<ConfigError>(value >= least && value <= most,
                       [&] { return fmt::format("{} is {}, expected {} … {}", key, value, least, most); });
  };
  within("length of examples", static_cast<double>(o.length), around + 2, 65535);
  within("predictions of an example", static_cast<double>(o.predictions), 1, static_cast<double>(o.length));
  within("share of masked tokens", o.masked, 0, 1);
  within("probability of short examples", o.short_probability, 0, 1);
  within("copies", static_cast<double>(o.copies), 1, 1000);
}

void shuffle(std::vector<std::vector<size_t>>& list, Rng& rng) {
  for (size_t i = list.size(); i > 1; --i)
    std::swap(list[i - 1], list[static_cast<size_t>(rng.below(static_cast<int64_t>(i)))]);
}

}  // namespace

MaskedExamples::MaskedExamples(std::shared_ptr<const TokenSet> tokens, const std::string& split,
                               const MaskedExampleOptions& options)
    : tokens_(std::move(tokens)), file_(tokens_->split(split)), name_(split), options_(options) {
  check_options(options_);
  const auto tokenizer = tokens_->tokenizer();
  symbols_ = PairSymbols::of(*tokenizer, "token set, tokenizer " + tokens_->info().tokenizer);
  special_.assign(static_cast<size_t>(tokenizer->size()), false);
  for (const int32_t id : tokenizer->special()) special_[static_cast<size_t>(id)] = true;
  continuation_.resize(special_.size());
  for (size_t id = 0; id < special_.size(); ++id) {
    continuation_[id] = tokenizer->token(static_cast<int64_t>(id)).starts_with("##");
    if (!special_[id]) ordinary_.push_back(static_cast<int32_t>(id));
  }
  check<DataError>(!ordinary_.empty(), "token set: the vocabulary holds special tokens only");
  find_sentences(*tokenizer);
  check<DataError>(
      documents_.size() >= 2,
      [&] {
        return fmt::format("split '{}' has {} document{} with tokens, expected two at least: segments of other "
                           "documents are needed",
                           name_, documents_.size(), documents_.size() == 1 ? "" : "s");
      },
      "prepare the text as more documents (`monarch prepare text --documents paragraph`), with separators");
  Progress progress("pairing segments", options_.copies * documents());
  for (int64_t copy = 0; copy < options_.copies; ++copy) {
    for (size_t document = 0; document < documents_.size(); ++document) {
      cut_document(document, copy);
      progress.advance();
    }
  }
}

void MaskedExamples::find_sentences(const Tokenizer& tokenizer) {
  const auto ends = flags(tokenizer, enders), closes = flags(tokenizer, closers);
  const auto separator = tokens_->info().separator;
  bool fresh = true, ended = false;  // the next token begins a document; a sentence, unless it closes the one before
  Progress progress("finding sentences", file_.size());
  for (int64_t first = 0; first < file_.size(); first += piece) {
    const int64_t count = std::min(piece, file_.size() - first);
    const at::Tensor read = file_.read(first, count);
    const auto* ids = read.const_data_ptr<int64_t>();
    for (int64_t i = 0; i < count; ++i) {
      if (separator && ids[i] == *separator) {
        if (!fresh) documents_.back().end = first + i;
        fresh = true;
        continue;
      }
      const auto id = static_cast<size_t>(ids[i]);
      if (fresh) documents_.push_back({static_cast<int64_t>(starts_.size()), 0});
      const bool full = !fresh && first + i - starts_.back() == options_.length - around;
      if (fresh || full || (ended && !ends[id] && !closes[id])) starts_.push_back(first + i);
      ended = ends[id] || (ended && !fresh && closes[id]);
      fresh = false;
    }
    progress.advance(count);
  }
  if (!fresh) documents_.back().end = file_.size();
}

int64_t MaskedExamples::sentence_count(size_t document) const {
  const int64_t next = document + 1 < documents_.size() ? documents_[document + 1].first_sentence : sentences();
  return next - documents_[document].first_sentence;
}

MaskedExamples::Range MaskedExamples::tokens_of(size_t document, int64_t first, int64_t last) const {
  const Document& d = documents_[document];
  const auto start = [&](int64_t sentence) { return starts_[static_cast<size_t>(d.first_sentence + sentence)]; };
  return {start(first), last < sentence_count(document) ? start(last) : d.end};
}

MaskedExamples::Range MaskedExamples::of_other_document(size_t document, int64_t length, Rng& rng) const {
  auto other = static_cast<size_t>(rng.below(documents() - 1));
  if (other >= document) ++other;
  const int64_t count = sentence_count(other), first = rng.below(count);
  int64_t last = first + 1;
  while (last < count && tokens_of(other, first, last).size() < length) ++last;
  return tokens_of(other, first, last);
}

void MaskedExamples::cut_document(size_t document, int64_t copy) {
  Rng rng(options_.seed, fmt::format("pairs {} {}", copy, document));
  const int64_t most = options_.length - around, count = sentence_count(document);
  for (int64_t first = 0; first < count;) {
    const int64_t target = rng.uniform() < options_.short_probability ? 2 + rng.below(most - 1) : most;
    int64_t last = first + 1;
    while (last < count && tokens_of(document, first, last).size() < target) ++last;
    const int64_t middle = last - first == 1 ? last : first + 1 + rng.below(last - first - 1);
    Range a = tokens_of(document, first, middle), b;
    const bool random = middle == last || rng.uniform() < 0.5;
    if (random) {
      b = of_other_document(document, target - a.size(), rng);
      first = middle;
    } else {
      b = tokens_of(document, middle, last);
      first = last;
    }
    while (a.size() + b.size() > most) {
      Range& longer = a.size() > b.size() ? a : b;
      if (rng.uniform() < 0.5)
        ++longer.begin;
      else
        --longer.end;
    }
    pairs_.push_back(
        {a.begin, b.begin, static_cast<uint16_t>(a.size()), static_cast<uint16_t>(b.size()), random});
  }
}

double MaskedExamples::random_share() const {
  const auto count = std::count_if(pairs_.begin(), pairs_.end(), [](const Pair& p) { return p.random; });
  return static_cast<double>(count) / static_cast<double>(pairs_.size());
}

int64_t MaskedExamples::length(int64_t id) const {
  const Pair& p = pairs_.at(static_cast<size_t>(id));
  return p.first_length + p.second_length + around;
}

SentencePair MaskedExamples::pair(int64_t id) const {
  const Pair& p = pairs_.at(static_cast<size_t>(id));
  const auto read = [this](int64_t first, int64_t count) {
    const at::Tensor ids = file_.read(first, count);
    const auto* from = ids.const_data_ptr<int64_t>();
    return TokenIds(from, from + count);
  };
  const TokenIds first = read(p.first, p.first_length), second = read(p.second, p.second_length);
  const std::span<const int32_t> behind(second);
  return join_pair(first, &behind, symbols_);
}

int64_t MaskedExamples::wanted(int64_t length) const {
  const auto share = static_cast<int64_t>(std::nearbyint(options_.masked * static_cast<double>(length)));
  return std::min(options_.predictions, std::max<int64_t>(1, share));
}

std::vector<size_t> MaskedExamples::places_to_guess(const SentencePair& pair, Rng& rng) const {
  const auto separator = static_cast<size_t>(pair.first_length - 1);
  std::vector<std::vector<size_t>> words;
  for (size_t i = 1; i + 1 < pair.tokens.size(); ++i) {
    if (i == separator) continue;
    const bool joins = options_.whole_words && i > 1 && i - 1 != separator &&
                       continuation_[static_cast<size_t>(pair.tokens[i])];
    if (joins)
      words.back().push_back(i);
    else
      words.push_back({i});
  }
  shuffle(words, rng);
  const auto most = static_cast<size_t>(wanted(static_cast<int64_t>(pair.tokens.size())));
  std::vector<size_t> places;
  for (const auto& word : words) {
    if (places.size() == most) break;
    if (places.size() + word.size() <= most) places.insert(places.end(), word.begin(), word.end());
  }
  std::sort(places.begin(), places.end());
  return places;
}

MaskedBatch MaskedExamples::batch(std::span<const int64_t> ids, uint64_t seed, const std::string& draw) const {
  std::vector<SentencePair> pairs;
  std::vector<std::vector<size_t>> places;
  std::vector<int64_t> targets, random;
  for (const int64_t id : ids) {
    SentencePair example = pair(id);
    Rng rng(seed, fmt::format("mask {} {}", draw, id));
    places.push_back(places_to_guess(example, rng));
    for (const size_t place : places.back()) {
      int32_t& token = example.tokens[place];
      targets.push_back(token);
      const double kind = rng.uniform();
      if (kind < 0.8)
        token = symbols_.mask;
      else if (kind < 0.9)
        token = ordinary_[static_cast<size_t>(rng.below(static_cast<int64_t>(ordinary_.size())))];
    }
    random.push_back(pairs_.at(static_cast<size_t>(id)).random ? 1 : 0);
    pairs.push_back(std::move(example));
  }
  MaskedBatch batch;
  batch.pairs = pad_pairs(pairs, symbols_.pad);
  std::vector<int64_t> positions;
  for (size_t i = 0; i < places.size(); ++i)
    for (const size_t place : places[i])
      positions.push_back(static_cast<int64_t>(i) * batch.pairs.ids.size(1) + static_cast<int64_t>(place));
  batch.positions = at::tensor(positions, at::kLong);
  batch.targets = at::tensor(targets, at::kLong);
  batch.random = at::tensor(random, at::kLong);
  return batch;
}

}  // namespace monarch::data
