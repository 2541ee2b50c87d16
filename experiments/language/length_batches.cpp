#include "monarch/experiments/language/length_batches.hpp"

#include <algorithm>

namespace monarch::experiments {

std::vector<std::vector<int64_t>> batches_by_length(std::vector<int64_t> ids,
                                                    const std::function<int64_t(int64_t id)>& length, int64_t size) {
  std::stable_sort(ids.begin(), ids.end(), [&](int64_t a, int64_t b) { return length(a) > length(b); });
  std::vector<std::vector<int64_t>> batches;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i % static_cast<size_t>(size) == 0) batches.emplace_back();
    batches.back().push_back(ids[i]);
  }
  return batches;
}

}  // namespace monarch::experiments
