#pragma once
// Our part of `monarch bench models`: the models in a process of their own, asked line by line as the peer is.

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

namespace monarch::bench {

/// Sizes of all models: blocks, and how many samples a training step has. Widths are those of the paper's models.
struct ModelsCase {
  int64_t depth = 4;
  int64_t step_tokens = 1024;  ///< of GPT-2's one sequence in a training step
  int64_t step_batch = 8;      ///< images, or sequences of BERT, in a training step
};

/// gpt2 (GPT-2 small, 768 wide, head of 50257), bert (BERT base with a classifier, 128 tokens), vit (ViT-S/16), mixer
/// (Mixer-S/16); the latter two with images of 224 × 224 and 1000 classes.
const std::vector<std::string>& benchmark_models();

/// Answers each line of `questions` with one line:
///   check MODEL FILE             takes the weights of dense MODEL and an input from a file of the peer, and answers
///   with
///                                the relative difference of the logits
///   time MODEL STRUCTURE JOB     seconds of one run
///   macs MODEL STRUCTURE JOB     multiplications of its forward pass
/// STRUCTURE: dense, monarch (nblocks 4, the layers that the paper replaces). JOB: step (cross-entropy, backward,
/// AdamW), inference-1, inference-32 (samples at once; GPT-2: 128 tokens, the logits that follow the last). Only the
/// programs of one MODEL are held at a time. Throws ConfigError for another line.
int run_models_worker(const ModelsCase& what, std::istream& questions, std::ostream& answers);

}  // namespace monarch::bench
