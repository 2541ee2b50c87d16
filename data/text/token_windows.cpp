#include "monarch/data/text/token_windows.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "monarch/core/error.hpp"

namespace monarch::data {
namespace {

constexpr int64_t ignored = -100;

}  // namespace

TokenWindows::TokenWindows(std::shared_ptr<const TokenSet> set, std::string split, int64_t length, Last last)
    : set_(std::move(set)), split_(std::move(split)), length_(length), last_(last) {
  check<ConfigError>(length >= 1, [&] { return fmt::format("windows of {} tokens, expected at least 1", length); });
  const int64_t tokens = set_->split(split_).size();
  const int64_t following = std::max<int64_t>(tokens - 1, 0);
  size_ = last == Last::kept ? (following + length - 1) / length : following / length;
  check<DataError>(
      size_ >= 1,
      [&] {
        return fmt::format("{}/{}: {} tokens, expected at least {}: a window of {} and the token behind it",
                           set_->folder().string(), split_, tokens, last == Last::kept ? 2 : length + 1, length);
      },
      last == Last::kept ? "hold out more documents when preparing the text (--validation-fraction, --validation)"
                         : "take more text, or shorter windows");
}

int64_t TokenWindows::predicted() const {
  return last_ == Last::kept ? set_->split(split_).size() - 1 : size_ * length_;
}

double TokenWindows::bytes_per_token() const {
  const TokenSplit& split = set_->info().splits.at(split_);
  return static_cast<double>(split.bytes) / static_cast<double>(split.tokens);
}

TokenBatch TokenWindows::read(std::span<const int64_t> windows) const {
  const TokenFile& file = set_->split(split_);
  const auto count = static_cast<int64_t>(windows.size());
  TokenBatch batch{at::zeros({count, length_}, at::kLong), at::full({count, length_}, ignored, at::kLong)};
  for (int64_t row = 0; row < count; ++row) {
    const int64_t window = windows[static_cast<size_t>(row)];
    check<ShapeError>(window >= 0 && window < size_, [&] {
      return fmt::format("{}/{}: window {}, expected 0 … {}", set_->folder().string(), split_, window, size_ - 1);
    });
    const int64_t first = window * length_, there = std::min(length_, file.size() - 1 - first);
    const at::Tensor tokens = file.read(first, there + 1);
    batch.inputs[row].narrow(0, 0, there).copy_(tokens.narrow(0, 0, there));
    batch.targets[row].narrow(0, 0, there).copy_(tokens.narrow(0, 1, there));
  }
  return batch;
}

std::string TokenWindows::describe(std::span<const int64_t> windows) const {
  return fmt::format("windows {} of {}/{}", fmt::join(windows, ", "), set_->folder().string(), split_);
}

}  // namespace monarch::data
