#include "monarch/operators/nn/sizes.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "monarch/core/error.hpp"

namespace monarch::operators {

MonarchSizes monarch_layer_sizes(int64_t in, int64_t out, int64_t nblocks) {
  check<ShapeError>(in >= 1 && out >= 1 && nblocks >= 1, [&] {
    return fmt::format("Monarch layer: expected in, out and nblocks of at least 1, got {} -> {} in {} blocks", in, out,
                       nblocks);
  });
  const int64_t p = (in + nblocks - 1) / nblocks, s = (out + nblocks - 1) / nblocks, middle = std::min(p, s);
  const MonarchSizes sizes{nblocks, middle, p, nblocks, s, middle};
  check_layer_sizes(sizes, in, out);
  return sizes;
}

void check_layer_sizes(const MonarchSizes& z, int64_t in, int64_t out) {
  const auto text = [&] { return fmt::format("w1 [{}, {}, {}], w2 [{}, {}, {}]", z.k, z.q, z.p, z.l, z.s, z.r); };
  check<ShapeError>(std::min({z.k, z.q, z.p, z.l, z.s, z.r}) >= 1,
                    [&] { return fmt::format("Monarch layer: an extent below 1 in {}", text()); });
  check<ShapeError>(
      z.l * z.r == z.k * z.q,
      [&] { return fmt::format("Monarch layer: {} do not meet: k*q = {}, l*r = {}", text(), z.k * z.q, z.l * z.r); },
      "choose sizes with l*r = k*q");
  check<ShapeError>(
      z.k * (z.p - 1) < in && in <= z.in(),
      [&] {
        return fmt::format("Monarch layer: {} take {} to {} columns, the layer has {}", text(), z.k * (z.p - 1) + 1,
                           z.in(), in);
      },
      "p = ceil(in / k)");
  check<ShapeError>(
      z.l * (z.s - 1) < out && out <= z.out(),
      [&] {
        return fmt::format("Monarch layer: {} give {} to {} columns, the layer has {}", text(), z.l * (z.s - 1) + 1,
                           z.out(), out);
      },
      "s = ceil(out / l)");
}

}  // namespace monarch::operators
