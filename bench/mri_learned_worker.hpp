#pragma once
// Our part of `monarch bench mri-learned`: the models in a process of their own, asked line by line as the peer is.

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

namespace monarch::bench {

/// One slice.
struct MriLearnedCase {
  int64_t ny = 512, nx = 160, coils = 8;
};

/// A network of the benchmark: its name there, and its table [model] (docs/learned-reconstruction.md).
struct MriLearnedModel {
  std::string name, table;
  bool unrolled = false;             ///< alternates between the data and a network
  double gradient_tolerance = 1e-3;  ///< relative, for rounding in float32
};
const std::vector<MriLearnedModel>& mri_learned_models();

/// Answers each line of `questions` with one line:
///   check MODEL FILE     takes the slice, and the weights of MODEL, from a file of the peer and answers with JSON:
///                        "describe", and relative differences of "output" and "gradient" (all parameters together)
///   time MODEL JOB       seconds of one run: inference (one slice, no gradients); step (forward, complex L1, backward,
///                        AdamW)
///   time KIND transform  seconds of the inverse transform of all coils, KIND fourier or monarch
/// Throws ConfigError for another line, BackendError for weights that do not fit.
int run_mri_learned_worker(const MriLearnedCase& what, std::istream& questions, std::ostream& answers);

}  // namespace monarch::bench
