#pragma once
// Which linear layers of a model are structured, and how: the table [model.layers].

#include <torch/nn/module.h>

#include <cstdint>
#include <map>
#include <string>

#include "monarch/core/config.hpp"
#include "monarch/operators/nn/convert.hpp"

namespace monarch::experiments {

/// Word -> regular expression over dotted names of layers (the whole name must match). Every model has "paper" (what
/// the paper replaces), "mlp", "attention" and "all".
using StructurePresets = std::map<std::string, std::string>;

struct StructureOptions {
  enum class Kind { dense, monarch, block_diagonal, low_rank };
  /// like_dense: the weight that the factors stand for has the variance of the dense weight replaced, which keeps its
  /// bias; the others as operators::MonarchInit (Monarch only; fly
  /// stands for the other kinds' own).
  enum class Init { like_dense, dense_matching, fly, mup };

  Kind kind = Kind::dense;
  std::string pattern = "paper";  ///< a word of the presets, or a regular expression
  int64_t nblocks = 4;            ///< Monarch and block-diagonal; low-rank for the rank that matches
  int64_t rank = 0;               ///< low-rank; 0: operators::matching_rank of nblocks
  Init init = Init::like_dense;
  bool project = false;  ///< the nearest structured weight to the one that is there: dense-to-sparse

  /// [model.layers] kind, pattern, nblocks, rank, init, project. Dense where there is no such table. Throws
  /// ConfigError.
  static StructureOptions from_config(const Config& config);
};

/// Exchanges the matching layers of a model (operators/nn/convert.hpp). Nothing happens for dense. Throws ConfigError
/// for a pattern that matches no layer, and ShapeError for sizes that do not fit.
operators::ConversionReport apply_structure(torch::nn::Module& model, const StructureOptions& options,
                                            const StructurePresets& presets);

}  // namespace monarch::experiments
