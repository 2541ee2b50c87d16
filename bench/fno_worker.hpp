#pragma once
// Our part of `monarch bench fno`: the models in a process of their own, asked line by line as the peers are.

#include <cstdint>
#include <iosfwd>

namespace monarch::bench {

/// One problem: fields [batch, 10 frames, size, size], FNO-2D of the published script (width 20, 4 layers, head 128).
struct FnoCase {
  int64_t size = 64, modes = 12;
  int64_t batch = 20;
  int64_t steps = 10;  ///< of a rollout
};

/// Answers each line of `questions` with one line:
///   time PROGRAM JOB     seconds of one run
///   memory PROGRAM JOB   bytes by which the resident set of this process grows at most during one run, after a step on
///                        one sample that loads libraries and makes the optimiser's state
///   check FILE           takes weights and fields from a file of the script-style peer and answers with JSON: relative
///                        difference of "output", and the largest over the parameters of "step", "rollout" and
///                        "rollout-recompute" gradients
/// PROGRAM: fno, monarch-no. JOB: forward (no gradients); step (relative L2 of one frame, its gradient, Adam); rollout
/// (the same of `steps` frames through one graph) and rollout-recompute (each step recomputed). Throws ConfigError for
/// another line, BackendError where the system does not tell the memory.
int run_fno_worker(const FnoCase& what, std::istream& questions, std::ostream& answers);

}  // namespace monarch::bench
