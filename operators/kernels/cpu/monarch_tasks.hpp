#pragma once
// How the work of the Monarch product is shared among threads.

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

namespace monarch::operators::kernels::cpu {

/// Runs f(i) for 0 <= i < count, over the threads where that is asked for.
template <class F>
void for_each(int64_t count, bool parallel, const F& f) {
  if (!parallel) {
    for (int64_t i = 0; i < count; ++i) f(i);
    return;
  }
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(i);
  });
}

/// True where the threads save more time than it costs to wake them, `regions` times: with threads that wait by
/// sleeping that is a tenth of a millisecond, with spinning ones microseconds, so it is measured once.
bool worth_sharing(double seconds, int regions);

/// Blocks cut into parts of their rows: enough tasks for every thread.
struct Tasks {
  Tasks(int64_t block_count, int64_t block_rows, int64_t threads)
      : blocks(block_count),
        rows(block_rows),
        parts(std::clamp<int64_t>((2 * threads + block_count - 1) / block_count, 1,
                                  std::max<int64_t>(1, block_rows / 16))) {}
  int64_t count() const { return blocks * parts; }
  int64_t block(int64_t task) const { return task / parts; }
  int64_t begin(int64_t task) const { return task % parts * rows / parts; }
  int64_t size(int64_t task) const { return (task % parts + 1) * rows / parts - begin(task); }
  int64_t blocks, rows, parts;
};

}  // namespace monarch::operators::kernels::cpu
