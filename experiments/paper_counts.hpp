#pragma once
// What the paper prints for parameters and FLOPs, and why ours differ where they do.

#include <string>
#include <vector>

namespace monarch::experiments {

/// A row of Tables 1, 2 or 8 of Dao et al., ICML 2022. The tables' FLOPs are multiply-accumulates.
struct PaperCount {
  std::string model;  ///< name in models()
  bool monarch = false;
  double parameters_M = 0;  ///< millions, as printed
  double macs_G = 0;        ///< thousands of millions, as printed
  std::string source;       ///< "Table 1"
  std::string note;         ///< "" where our layers give both numbers (as printed, or within 1 %), else why not
};

const std::vector<PaperCount>& paper_counts();
/// Throws ConfigError for a model that the paper has not.
const PaperCount& paper_count(const std::string& model, bool monarch);

}  // namespace monarch::experiments
