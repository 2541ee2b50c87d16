#pragma once
// Stretches of a token file: what a causal language model learns from and is evaluated on.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "monarch/data/text/token_set.hpp"

namespace monarch::data {

/// Inputs and what follows each of them, int64 [window, token].
struct TokenBatch {
  at::Tensor inputs;
  at::Tensor targets;  ///< −100 where nothing follows: behind the end of the split
};

/// A split cut into windows that do not overlap: window i reads tokens i·length … (i + 1)·length − 1 and is to predict
/// tokens i·length + 1 … (i + 1)·length. Documents follow one another as in the file. The first token of the split is
/// predicted by nobody.
class TokenWindows {
 public:
  enum class Last {
    dropped,  ///< a rest that is shorter than a window (training)
    kept      ///< it is filled up with token 0, which targets do not count: every token is predicted (evaluation)
  };
  /// Throws ConfigError for a split that is not there and a length below 1, DataError for a split without a window.
  TokenWindows(std::shared_ptr<const TokenSet> set, std::string split, int64_t length, Last last);

  int64_t size() const { return size_; }
  int64_t length() const { return length_; }
  const TokenSet& set() const { return *set_; }
  /// Tokens that all windows together predict.
  int64_t predicted() const;
  /// Bytes of text per predicted token, on average over the split (separators are tokens of no bytes).
  double bytes_per_token() const;
  /// Throws ShapeError for a number that is no window.
  TokenBatch read(std::span<const int64_t> windows) const;
  /// "windows 3, 17 of FOLDER/train".
  std::string describe(std::span<const int64_t> windows) const;

 private:
  std::shared_ptr<const TokenSet> set_;
  std::string split_;
  int64_t length_, size_ = 0;
  Last last_;
};

}  // namespace monarch::data
