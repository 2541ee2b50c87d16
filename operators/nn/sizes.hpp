#pragma once
// Sizes of a Monarch layer.

#include <cstdint>

#include "monarch/operators/monarch/multiply.hpp"

namespace monarch::operators {

/// The rule of the paper's layers (nblocks = 2 to 4 there): k = l = nblocks, p = ceil(in/nblocks), s =
/// ceil(out/nblocks), q = r = min(p, s). For divisible extents min(in, out)·(in + out)/nblocks weights: 2/nblocks of
/// the dense ones when square, 5/(4·nblocks) for 1:4; every (j, k) slice has rank min(in, out)/nblocks² (uneven where
/// that is not whole). Extents that nblocks does not divide are padded with zeros. Throws ShapeError for in, out or
/// nblocks below 1.
MonarchSizes monarch_layer_sizes(int64_t in, int64_t out, int64_t nblocks);

/// Throws ShapeError unless sizes fit a layer in -> out: l·r = k·q, k(p-1) < in <= kp, l(s-1) < out <= ls.
void check_layer_sizes(const MonarchSizes& sizes, int64_t in, int64_t out);

}  // namespace monarch::operators
