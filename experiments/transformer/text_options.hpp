#pragma once
// The keys of [model] that all language models have.

#include <fmt/format.h>

#include <cstdint>
#include <utility>

#include "monarch/core/config.hpp"
#include "monarch/core/error.hpp"
#include "monarch/operators/monarch/multiply.hpp"

namespace monarch::experiments {

/// Reads width, depth and heads (needed where `o` has 0), positions, hidden (4·width where 0), dropout,
/// attention_dropout (as dropout), activation and recompute over what `o` has. Throws ConfigError.
template <class Options>
void read_text_options(Options& o, const Config& config) {
  for (const auto& [key, size] : {std::pair<const char*, int64_t*>{"model.width", &o.width},
                                  {"model.depth", &o.depth},
                                  {"model.heads", &o.heads}}) {
    check<ConfigError>(
        *size > 0 || config.has(key), [&] { return fmt::format("{}: '{}' is missing", config.name(), key); },
        "set it, or lay the published config.json beside model.weights");
    *size = *size == 0 ? config.integer(key) : config.integer(key, *size);
  }
  o.positions = config.integer_at_least("model.positions", o.positions, 1);
  o.hidden = config.integer_at_least("model.hidden", o.hidden > 0 ? o.hidden : 4 * o.width, 1);
  o.dropout = config.number_between("model.dropout", o.dropout, 0, 0.99);
  o.attention_dropout = config.number_between("model.attention_dropout", o.dropout, 0, 0.99);
  o.activation =
      operators::activation_from_name(config.text("model.activation", operators::activation_name(o.activation)));
  o.recompute = config.boolean("model.recompute", o.recompute);
}

}  // namespace monarch::experiments
