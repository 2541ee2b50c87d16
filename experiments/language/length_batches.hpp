#pragma once
// Batches of examples of about equal length.

#include <cstdint>
#include <functional>
#include <vector>

namespace monarch::experiments {

/// Batches of at most `size` ids, those of similar length together, so that little is padding; the longest first.
std::vector<std::vector<int64_t>> batches_by_length(std::vector<int64_t> ids,
                                                    const std::function<int64_t(int64_t id)>& length, int64_t size);

}  // namespace monarch::experiments
