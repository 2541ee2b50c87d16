// Networks that act at each point, on the CPU: tiles of points pass through all layers while they are in cache.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "monarch/operators/kernels/cpu/monarch_tile.hpp"
#include "monarch/operators/kernels/cpu/row_products.hpp"
#include "monarch/operators/kernels/cpu/spectral_block.hpp"
#include "monarch/operators/kernels/spectral.hpp"

namespace monarch::operators::kernels::cpu {
namespace {

/// Points of a tile: its hidden values take half of a small second-level cache.
int64_t tile_points(int64_t channels) {
  return std::clamp<int64_t>((int64_t{1} << 15) / channels / 64 * 64, 64, 1024);
}

struct Sizes {
  explicit Sizes(const PointwiseProblem& p)
      : batch(p.x.size(0)),
        in(p.x.size(1)),
        points(p.x.size(2)),
        hidden(p.w1.size(0)),
        out(p.w2.defined() ? p.w2.size(0) : p.w1.size(0)),
        tile(tile_points(p.w2.defined() ? hidden : in + hidden)),
        tiles((points + tile - 1) / tile) {}
  int64_t batch, in, points, hidden, out, tile, tiles;
};

}  // namespace

bool spectral_available() {
  return has_vectors();
}

at::Tensor pointwise_forward(const PointwiseProblem& p) {
  const Sizes s(p);
  const at::Tensor y = at::empty({s.batch, s.out, s.points}, p.x.options());
  const bool two = p.w2.defined();
  const Curve curve = curve_of(p.activation);
  at::parallel_for(0, s.batch * s.tiles, 1, [&](int64_t begin, int64_t end) {
    static thread_local Scratch<float> memory;
    float* hidden = two ? memory.get(s.hidden * s.tile) : nullptr;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / s.tiles, n0 = i % s.tiles * s.tile, n = std::min(s.tile, s.points - n0);
      const float* x = p.x.const_data_ptr<float>() + b * s.in * s.points + n0;
      float* to = y.data_ptr<float>() + b * s.out * s.points + n0;
      RowProduct first{.M = s.hidden, .N = n, .K = s.in, .a = data_of(p.w1), .am = s.in, .b = x, .b_row = s.points};
      first.bias = data_of(p.b1);
      first.c = two ? hidden : to;
      first.c_row = two ? n : s.points;
      multiply_rows(first);
      if (!two) continue;
      apply_curve(hidden, curve, hidden, s.hidden * n);
      multiply_rows({.M = s.out,
                     .N = n,
                     .K = s.hidden,
                     .a = data_of(p.w2),
                     .am = s.hidden,
                     .b = hidden,
                     .b_row = n,
                     .c = to,
                     .c_row = s.points,
                     .bias = data_of(p.b2)});
    }
  });
  return y;
}

PointwiseGradients pointwise_backward(const PointwiseProblem& p, const at::Tensor& gradient,
                                      const std::array<bool, 5>& wanted) {
  const Sizes s(p);
  const bool two = p.w2.defined();
  const Curve curve = curve_of(p.activation);
  // Every sample, or every share of the few there are, sums its own gradients of the weights; then they are added in
  // order.
  const int64_t shares = std::min(s.tiles, (at::get_num_threads() + s.batch - 1) / s.batch), parts = s.batch * shares;
  PointwiseGradients g;
  const auto partial = [&](bool want, std::initializer_list<int64_t> shape) {
    std::vector<int64_t> all{parts};
    all.insert(all.end(), shape);
    return want ? at::zeros(all, p.x.options()) : at::Tensor();
  };
  const at::Tensor w1 = partial(wanted[1], {s.hidden, s.in}), b1 = partial(wanted[2], {s.hidden});
  const at::Tensor w2 = partial(wanted[3], {s.out, s.hidden}), b2 = partial(wanted[4], {s.out});
  if (wanted[0]) g.x = at::empty_like(p.x);
  const bool inner = wanted[0] || wanted[1] || wanted[2];
  at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
    static thread_local Scratch<float> memory;
    float* const z = two ? memory.get(2 * s.hidden * s.tile) : nullptr;
    float* const dz_memory = two ? z + s.hidden * s.tile : nullptr;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / shares, share = i % shares;
      for (int64_t t = share * s.tiles / shares; t < (share + 1) * s.tiles / shares; ++t) {
        const int64_t n0 = t * s.tile, n = std::min(s.tile, s.points - n0);
        const float* x = data_of(p.x) + b * s.in * s.points + n0;
        const float* dy = data_of(gradient) + b * s.out * s.points + n0;
        const float* dz = dy;
        int64_t dz_row = s.points;
        if (two) {
          multiply_rows({.M = s.hidden,
                         .N = n,
                         .K = s.in,
                         .a = data_of(p.w1),
                         .am = s.in,
                         .b = x,
                         .b_row = s.points,
                         .c = z,
                         .c_row = n,
                         .bias = data_of(p.b1)});
          multiply_rows({.M = s.hidden,
                         .N = n,
                         .K = s.out,
                         .a = data_of(p.w2),
                         .am = 1,
                         .ak = s.hidden,
                         .b = dy,
                         .b_row = s.points,
                         .c = dz_memory,
                         .c_row = n});
          apply_curve_and_slope(z, dz_memory, curve, z, dz_memory, s.hidden * n);
          if (wanted[3])
            add_row_dots({.M = s.out,
                          .N = s.hidden,
                          .K = n,
                          .a = dy,
                          .a_row = s.points,
                          .b = z,
                          .b_row = n,
                          .c = part(w2, i),
                          .c_row = s.hidden});
          if (wanted[4]) add_row_sums(dy, s.points, s.out, n, part(b2, i));
          dz = dz_memory;
          dz_row = n;
        }
        if (!inner) continue;
        if (wanted[1])
          add_row_dots({.M = s.hidden,
                        .N = s.in,
                        .K = n,
                        .a = dz,
                        .a_row = dz_row,
                        .b = x,
                        .b_row = s.points,
                        .c = part(w1, i),
                        .c_row = s.in});
        if (wanted[2]) add_row_sums(dz, dz_row, s.hidden, n, part(b1, i));
        if (wanted[0])
          multiply_rows({.M = s.in,
                         .N = n,
                         .K = s.hidden,
                         .a = data_of(p.w1),
                         .am = 1,
                         .ak = s.in,
                         .b = dz,
                         .b_row = dz_row,
                         .c = g.x.data_ptr<float>() + b * s.in * s.points + n0,
                         .c_row = s.points});
      }
    }
  });
  g.w1 = total(w1), g.b1 = total(b1), g.w2 = total(w2), g.b2 = total(b2);
  return g;
}

}  // namespace monarch::operators::kernels::cpu
