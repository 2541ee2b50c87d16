#include "monarch/experiments/transformer/tokens.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::experiments {

void check_tokens(const char* model, const at::Tensor& ids, int64_t vocabulary, int64_t positions) {
  check<ShapeError>(ids.defined() && ids.dim() == 2 && ids.size(1) >= 1, [&] {
    return fmt::format("{}: expected ids [batch, token], got {}", model,
                       ids.defined() ? shape_text(ids.sizes()) : "an undefined tensor");
  });
  check<ShapeError>(
      ids.size(1) <= positions,
      [&] {
        return fmt::format("{}: a sequence of {} tokens, but the model has {} positions", model, ids.size(1),
                           positions);
      },
      "shorten the sequences, or raise model.positions");
  check<DtypeError>(ids.scalar_type() == at::kLong, [&] {
    return fmt::format("{}: expected ids of type int64, got {}", model, at::toString(ids.scalar_type()));
  });
  if (!ids.is_cpu() || ids.numel() == 0) return;
  const auto [least, most] = at::aminmax(ids);
  check<DataError>(
      least.item<int64_t>() >= 0 && most.item<int64_t>() < vocabulary,
      [&] {
        return fmt::format("{}: token ids from {} to {}, but the vocabulary has {} entries", model,
                           least.item<int64_t>(), most.item<int64_t>(), vocabulary);
      },
      "the text was tokenized with another vocabulary");
}

}  // namespace monarch::experiments
