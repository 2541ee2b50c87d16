// The fused spectral layer on the CPU.
//
// Truncated transforms are products with small real matrices: along the last axis all rows of a map at once, [n1, n2] ·
// [n2, re|im], along the first one [re; im] · [n1, re|im]. The input's maps become kept modes, x̂, which are all that
// backward keeps of the transforms; the modes of all samples are mixed by one matrix per mode, with the modes in the
// lanes of the vectors; then one sample after the other is transformed back, gets its pointwise product and bias added
// and its activation applied while its maps are in the second-level cache. Backward does the same with the adjoints, in
// the opposite order. Layout of modes: [batch, channel, 2 (re, im), modes_1 · modes_2].
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "monarch/operators/kernels/cpu/monarch_tasks.hpp"
#include "monarch/operators/kernels/cpu/monarch_tile.hpp"
#include "monarch/operators/kernels/cpu/row_products.hpp"
#include "monarch/operators/kernels/cpu/spectral_block.hpp"
#include "monarch/operators/kernels/spectral.hpp"

namespace monarch::operators::kernels::cpu {
namespace {

constexpr int64_t kModesAtATime = 16;  // whole vectors of every instruction set
constexpr int64_t kTilePoints = 512;   // of a pointwise product

struct Sizes {
  explicit Sizes(const SpectralProblem& p)
      : planes(p.x.dim() == 4),
        batch(p.x.size(0)),
        in(p.x.size(1)),
        out(p.weight.size(1)),
        n1(planes ? p.x.size(2) : 1),
        n2(p.x.size(-1)),
        m1(planes ? p.forward1.size(0) : 1),
        m2(p.forward2.size(0)),
        out1(planes ? p.inverse1.size(0) : 1),
        out2(p.inverse2.size(0)) {}
  bool planes;  ///< two axes
  int64_t batch, in, out;
  int64_t n1, n2, m1, m2, out1, out2;
  int64_t points() const { return n1 * n2; }
  int64_t out_points() const { return out1 * out2; }
  int64_t modes() const { return m1 * m2; }
};

/// Real matrices of modes <- points: last [n2, re|im], first [re; im of m1, n1].
struct Analysis {
  Analysis() = default;
  Analysis(const at::Tensor& forward1, const at::Tensor& forward2)
      : last(at::cat({at::real(forward2), at::imag(forward2)}).t().contiguous()),
        first(forward1.defined() ? at::cat({at::real(forward1), at::imag(forward1)}) : at::Tensor()) {}
  at::Tensor last, first;
};

/// Real matrices of points <- modes: first [n1, re|im of m1], last [re; -im of m2, n2].
struct Synthesis {
  Synthesis() = default;
  Synthesis(const at::Tensor& inverse1, const at::Tensor& inverse2)
      : first(inverse1.defined() ? at::cat({at::real(inverse1), at::imag(inverse1)}, 1) : at::Tensor()),
        last(at::cat({at::real(inverse2).t(), at::imag(inverse2).t().neg()}).contiguous()) {}
  at::Tensor first, last;
};

at::Tensor conjugate_transpose(const at::Tensor& m) {
  return m.defined() ? m.mH().resolve_conj().contiguous() : m;
}

/// Scratch of one thread for the maps of one channel.
struct MapScratch {
  explicit MapScratch(const Sizes& s) {
    const int64_t rows = std::max(s.n1, s.out1), half = 2 * s.m2;
    lines = memory().get(rows * half + 2 * s.m1 * half);
    products = lines + rows * half;
  }
  static Scratch<float>& memory() {
    static thread_local Scratch<float> scratch;
    return scratch;
  }
  float* lines;     ///< [n1, re|im of m2]: transformed along the last axis only
  float* products;  ///< [2 m1, re|im of m2]
};

/// x [n1, n2] -> lines.
void analyse_lines(const Analysis& a, const float* x, int64_t n1, int64_t n2, int64_t m2, float* lines) {
  multiply_rows({.M = n1,
                 .N = 2 * m2,
                 .K = n2,
                 .a = x,
                 .am = n2,
                 .b = data_of(a.last),
                 .b_row = 2 * m2,
                 .c = lines,
                 .c_row = 2 * m2});
}

/// lines -> modes.
void analyse_columns(const Analysis& a, const float* lines, int64_t n1, int64_t m1, int64_t m2, float* products,
                     float* modes) {
  const int64_t half = 2 * m2;
  multiply_rows({.M = 2 * m1,
                 .N = half,
                 .K = n1,
                 .a = data_of(a.first),
                 .am = n1,
                 .b = lines,
                 .b_row = half,
                 .c = products,
                 .c_row = half});
  float* re = modes;
  float* im = modes + m1 * m2;
  for (int64_t k = 0; k < m1; ++k) {
    const float* r = products + k * half;         // Re F1 · (re | im)
    const float* i = products + (m1 + k) * half;  // Im F1 · (re | im)
    for (int64_t c = 0; c < m2; ++c) {
      re[k * m2 + c] = r[c] - i[m2 + c];
      im[k * m2 + c] = r[m2 + c] + i[c];
    }
  }
}

/// modes -> lines [n1, re|im of m2].
void synthesise_columns(const Synthesis& s, const float* modes, int64_t n1, int64_t m1, int64_t m2, float* products,
                        float* lines) {
  const int64_t half = 2 * m2;
  const float* re = modes;
  const float* im = modes + m1 * m2;
  for (int64_t k = 0; k < m1; ++k) {
    float* upper = products + k * half;
    float* lower = products + (m1 + k) * half;
    for (int64_t c = 0; c < m2; ++c) {
      upper[c] = lower[m2 + c] = re[k * m2 + c];
      upper[m2 + c] = im[k * m2 + c];
      lower[c] = -im[k * m2 + c];
    }
  }
  multiply_rows({.M = n1,
                 .N = half,
                 .K = 2 * m1,
                 .a = data_of(s.first),
                 .am = 2 * m1,
                 .b = products,
                 .b_row = half,
                 .c = lines,
                 .c_row = half});
}

/// lines -> y [n1, n2], written or added.
void synthesise_lines(const Synthesis& s, const float* lines, int64_t n1, int64_t n2, int64_t m2, float* y, bool add) {
  multiply_rows({.M = n1,
                 .N = n2,
                 .K = 2 * m2,
                 .a = lines,
                 .am = 2 * m2,
                 .b = data_of(s.last),
                 .b_row = n2,
                 .c = y,
                 .c_row = n2,
                 .accumulate = add});
}

/// The modes of channels [begin, end) of [batch · channels] maps x.
void analyse(const Sizes& s, const Analysis& a, const float* x, int64_t n1, int64_t n2, float* modes, int64_t begin,
             int64_t end) {
  if (!s.planes)  // lines of all channels at once are their modes
    return analyse_lines(a, x + begin * n2, end - begin, n2, s.m2, modes + begin * 2 * s.m2);
  const MapScratch scratch(s);
  for (int64_t i = begin; i < end; ++i) {
    analyse_lines(a, x + i * n1 * n2, n1, n2, s.m2, scratch.lines);
    analyse_columns(a, scratch.lines, n1, s.m1, s.m2, scratch.products, modes + i * 2 * s.modes());
  }
}

/// The maps of channels [begin, end) from their modes, written or added.
void synthesise(const Sizes& s, const Synthesis& g, const float* modes, int64_t n1, int64_t n2, float* y, bool add,
                int64_t begin, int64_t end) {
  if (!s.planes) return synthesise_lines(g, modes + begin * 2 * s.m2, end - begin, n2, s.m2, y + begin * n2, add);
  const MapScratch scratch(s);
  for (int64_t i = begin; i < end; ++i) {
    synthesise_columns(g, modes + i * 2 * s.modes(), n1, s.m1, s.m2, scratch.products, scratch.lines);
    synthesise_lines(g, scratch.lines, n1, n2, s.m2, y + i * n1 * n2, add);
  }
}

void multiply_all_modes(const ModeProduct& product, int64_t modes) {
  const int64_t chunks = (modes + kModesAtATime - 1) / kModesAtATime;
  at::parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
    static thread_local Scratch<float> memory;
    ModeProduct part = product;
    part.scratch = memory.get(mode_scratch(product));
    multiply_modes(part, begin * kModesAtATime, std::min(end * kModesAtATime, modes));
  });
}

/// Steps of modes [batch, channels, 2, count] and of weights [in, out, count], complex.
ModeSteps planar(int64_t channels, int64_t count) {
  return {channels * 2 * count, 2 * count, count};
}
ModeSteps interleaved(int64_t out, int64_t count) {
  return {out * 2 * count, 2 * count, 1};
}
const float* complex_data(const at::Tensor& weight) {
  return static_cast<const float*>(weight.const_data_ptr());
}

/// ŷ[b, o] = sum_i weight[i, o] x̂[b, i] for each mode.
at::Tensor mix(const SpectralProblem& p, const Sizes& s, const at::Tensor& modes) {
  const at::Tensor mixed = at::empty({s.batch, s.out, 2, s.modes()}, p.x.options());
  multiply_all_modes({.P = s.batch,
                      .Q = s.out,
                      .R = s.in,
                      .a = data_of(modes),
                      .a_steps = planar(s.in, s.modes()),
                      .b = complex_data(p.weight),
                      .b_steps = interleaved(s.out, s.modes()),
                      .c = mixed.data_ptr<float>(),
                      .c_steps = planar(s.out, s.modes())},
                     s.modes());
  return mixed;
}

/// Runs stages for each sample one after the other, so that the sample stays in cache, where there are samples enough
/// for the threads; else stage by stage. channel(begin, end) works on channels of [batch · channels], tile(b, t) on
/// tile t of sample b.
template <class Channel, class Tile>
void by_samples(int64_t batch, int64_t channels, int64_t tiles, const Channel& channel, const Tile& tile) {
  if (batch >= at::get_num_threads()) {
    for_each(batch, true, [&](int64_t b) {
      channel(b * channels, (b + 1) * channels);
      for (int64_t t = 0; t < tiles; ++t) tile(b, t);
    });
    return;
  }
  at::parallel_for(0, batch * channels, 1, channel);
  for_each(batch * tiles, true, [&](int64_t i) { tile(i / tiles, i % tiles); });
}

int64_t tiles_of(int64_t points) {
  return (points + kTilePoints - 1) / kTilePoints;
}

/// sum[j, k] += Q(j) · conj(P(k)) over the m2 columns: Q lines [n1][re|im of m2], P modes [re; im of m1][m2]; sum
/// [n1][re|im of m1]. `turned`: scratch of 4 m1 m2 numbers.
void add_outer(const float* lines, const float* modes, int64_t n1, int64_t m1, int64_t m2, float* turned, float* sum) {
  const float* re = modes;
  const float* im = modes + m1 * m2;
  for (int64_t c = 0; c < m2; ++c) {  // [re of Q; im of Q] -> [re | im]
    float* of_re = turned + c * 2 * m1;
    float* of_im = turned + (m2 + c) * 2 * m1;
    for (int64_t k = 0; k < m1; ++k) {
      of_re[k] = of_im[m1 + k] = re[k * m2 + c];
      of_im[k] = im[k * m2 + c];
      of_re[m1 + k] = -im[k * m2 + c];
    }
  }
  multiply_rows({.M = n1,
                 .N = 2 * m1,
                 .K = 2 * m2,
                 .a = lines,
                 .am = 2 * m2,
                 .b = turned,
                 .b_row = 2 * m1,
                 .c = sum,
                 .c_row = 2 * m1,
                 .accumulate = true});
}

/// The sum of parts whose axis `axis` is re|im -> complex.
at::Tensor complex_total(const at::Tensor& parts, int64_t axis) {
  const std::vector<at::Tensor> halves = total(parts).chunk(2, axis);
  return at::complex(halves[0], halves[1]);
}

}  // namespace

SpectralForward spectral_forward(const SpectralProblem& p, bool keep) {
  const Sizes s(p);
  const Analysis analysis(p.forward1, p.forward2);
  const Synthesis synthesis(p.inverse1, p.inverse2);
  const Curve curve = curve_of(p.activation);
  SpectralForward result;
  const at::Tensor modes = at::empty({s.batch, s.in, 2, s.modes()}, p.x.options());
  at::parallel_for(0, s.batch * s.in, 1, [&](int64_t begin, int64_t end) {
    analyse(s, analysis, data_of(p.x), s.n1, s.n2, modes.data_ptr<float>(), begin, end);
  });
  const at::Tensor mixed = mix(p, s, modes);
  std::vector<int64_t> shape{s.batch, s.out, s.out1, s.out2};
  if (!s.planes) shape.erase(shape.begin() + 2);
  result.y = at::empty(shape, p.x.options());
  if (keep) result.modes = modes, result.mixed = mixed;
  if (keep && curve != Curve::none) result.before = at::empty(shape, p.x.options());
  float* const y = result.y.data_ptr<float>();
  float* const z = result.before.defined() ? result.before.data_ptr<float>() : y;

  const int64_t points = s.out_points();
  const bool finish = p.pointwise.defined() || p.bias.defined() || curve != Curve::none;
  by_samples(
      s.batch, s.out, finish ? tiles_of(points) : 0,
      [&](int64_t begin, int64_t end) {
        synthesise(s, synthesis, data_of(mixed), s.out1, s.out2, z, false, begin, end);
      },
      [&](int64_t b, int64_t t) {
        const int64_t n0 = t * kTilePoints, n = std::min(kTilePoints, points - n0);
        float* const rows = z + b * s.out * points + n0;
        if (p.pointwise.defined()) {
          multiply_rows({.M = s.out,
                         .N = n,
                         .K = s.in,
                         .a = data_of(p.pointwise),
                         .am = s.in,
                         .b = data_of(p.x) + b * s.in * points + n0,
                         .b_row = points,
                         .c = rows,
                         .c_row = points,
                         .accumulate = true,
                         .bias = data_of(p.bias)});
        } else if (p.bias.defined()) {
          for (int64_t o = 0; o < s.out; ++o) {
            const float shift = data_of(p.bias)[o];
            for (int64_t i = 0; i < n; ++i) rows[o * points + i] += shift;
          }
        }
        if (curve == Curve::none) return;
        for (int64_t o = 0; o < s.out; ++o) apply_curve(rows + o * points, curve, y + (b * s.out + o) * points + n0, n);
      });
  return result;
}

SpectralGradients spectral_backward(const SpectralProblem& p, const SpectralForward& kept, const at::Tensor& gradient,
                                    const SpectralWanted& wanted) {
  const Sizes s(p);
  const Curve curve = curve_of(p.activation);
  const int64_t points = s.points(), out_points = s.out_points();
  const Analysis back(conjugate_transpose(p.inverse1),
                      conjugate_transpose(p.inverse2));  // the adjoint of the synthesis
  const Synthesis forth(conjugate_transpose(p.forward1),
                        conjugate_transpose(p.forward2));  // the adjoint of the analysis
  const at::TensorOptions options = p.x.options();
  SpectralGradients g;

  const bool curved = curve != Curve::none;
  const at::Tensor dz = curved ? at::empty_like(gradient) : gradient;
  const bool through_point = p.pointwise.defined() && wanted.x;
  if (wanted.x) g.x = at::empty(p.x.sizes(), options);
  const at::Tensor dmixed = at::empty({s.batch, s.out, 2, s.modes()}, options);
  const auto partial = [&](bool want, std::initializer_list<int64_t> shape) {
    std::vector<int64_t> all{s.batch};
    all.insert(all.end(), shape);
    return want ? at::zeros(all, options) : at::Tensor();
  };
  const at::Tensor dpointwise = partial(wanted.pointwise && p.pointwise.defined(), {s.out, s.in});
  const at::Tensor dbias = partial(wanted.bias && p.bias.defined(), {s.out});
  const at::Tensor dinverse1 = partial(wanted.inverse && s.planes, {s.out1, 2 * s.m1});
  const at::Tensor dinverse2 = partial(wanted.inverse, {2 * s.m2, s.out2});
  const at::Tensor dforward1 = partial(wanted.forward && s.planes, {s.n1, 2 * s.m1});
  const at::Tensor dforward2 = partial(wanted.forward, {2 * s.m2, s.n2});

  // dz, what it says of the pointwise path, and its modes. With learned inverses, beside them, by lines Z = G1 ŷ and
  // dZ = dz conj(G2): dG2 = dz^T conj(Z), dG1 = dZ ŷ^H.
  const Synthesis synthesis = wanted.inverse ? Synthesis(p.inverse1, p.inverse2) : Synthesis();
  for_each(s.batch, true, [&](int64_t b) {
    const int64_t at = b * s.out * out_points;
    const float* rows = data_of(dz) + at;
    for (int64_t n0 = 0; n0 < out_points; n0 += kTilePoints) {  // what is made of a tile of dz while it is in cache
      const int64_t n = std::min(kTilePoints, out_points - n0);
      if (curved)
        for (int64_t o = 0; o < s.out; ++o) {
          const int64_t from = at + o * out_points + n0;
          curve_gradient(data_of(gradient) + from, data_of(kept.before) + from, curve, dz.data_ptr<float>() + from, n);
        }
      if (dbias.defined()) add_row_sums(rows + n0, out_points, s.out, n, part(dbias, b));
      if (dpointwise.defined())
        add_row_dots({.M = s.out,
                      .N = s.in,
                      .K = n,
                      .a = rows + n0,
                      .a_row = points,
                      .b = data_of(p.x) + b * s.in * points + n0,
                      .b_row = points,
                      .c = part(dpointwise, b),
                      .c_row = s.in});
      if (through_point)
        multiply_rows({.M = s.in,
                       .N = n,
                       .K = s.out,
                       .a = data_of(p.pointwise),
                       .am = 1,
                       .ak = s.in,
                       .b = rows + n0,
                       .b_row = points,
                       .c = g.x.data_ptr<float>() + b * s.in * points + n0,
                       .c_row = points});
    }
    if (!wanted.inverse || !s.planes)
      analyse(s, back, data_of(dz), s.out1, s.out2, dmixed.data_ptr<float>(), b * s.out, (b + 1) * s.out);
    if (!wanted.inverse) return;
    if (!s.planes) {
      multiply_rows({.M = 2 * s.m2,
                     .N = s.out2,
                     .K = s.out,
                     .a = part(kept.mixed, b),
                     .am = 1,
                     .ak = 2 * s.m2,
                     .b = rows,
                     .b_row = s.out2,
                     .c = part(dinverse2, b),
                     .c_row = s.out2});
      return;
    }
    const MapScratch scratch(s);
    for (int64_t i = b * s.out; i < (b + 1) * s.out; ++i) {
      const float* map = data_of(dz) + i * out_points;
      const float* modes = data_of(kept.mixed) + i * 2 * s.modes();
      analyse_lines(back, map, s.out1, s.out2, s.m2, scratch.lines);
      analyse_columns(back, scratch.lines, s.out1, s.m1, s.m2, scratch.products,
                      dmixed.data_ptr<float>() + i * 2 * s.modes());
      add_outer(scratch.lines, modes, s.out1, s.m1, s.m2, scratch.products, part(dinverse1, b));
      synthesise_columns(synthesis, modes, s.out1, s.m1, s.m2, scratch.products, scratch.lines);
      multiply_rows({.M = 2 * s.m2,
                     .N = s.out2,
                     .K = s.out1,
                     .a = scratch.lines,
                     .am = 1,
                     .ak = 2 * s.m2,
                     .b = map,
                     .b_row = s.out2,
                     .c = part(dinverse2, b),
                     .c_row = s.out2,
                     .accumulate = true});
    }
  });

  if (wanted.weight) {
    g.weight = at::empty(p.weight.sizes(), p.weight.options());
    multiply_all_modes({.P = s.in,
                        .Q = s.out,
                        .R = s.batch,
                        .a = data_of(kept.modes),
                        .a_steps = planar(s.in, s.modes()).transposed(),
                        .b = data_of(dmixed),
                        .b_steps = planar(s.out, s.modes()),
                        .c = static_cast<float*>(g.weight.data_ptr()),
                        .c_steps = interleaved(s.out, s.modes()),
                        .conjugate_a = true},
                       s.modes());
  }
  if (wanted.x || wanted.forward) {
    const at::Tensor dmodes = at::empty({s.batch, s.in, 2, s.modes()}, options);
    multiply_all_modes({.P = s.batch,
                        .Q = s.in,
                        .R = s.out,
                        .a = data_of(dmixed),
                        .a_steps = planar(s.out, s.modes()),
                        .b = complex_data(p.weight),
                        .b_steps = interleaved(s.out, s.modes()).transposed(),
                        .c = dmodes.data_ptr<float>(),
                        .c_steps = planar(s.in, s.modes()),
                        .conjugate_b = true},
                       s.modes());
    const Analysis analysis = wanted.forward ? Analysis(p.forward1, p.forward2) : Analysis();
    for_each(s.batch, true, [&](int64_t b) {
      float* const dx = wanted.x ? g.x.data_ptr<float>() : nullptr;
      if (wanted.x && (!wanted.forward || !s.planes))
        synthesise(s, forth, data_of(dmodes), s.n1, s.n2, dx, through_point, b * s.in, (b + 1) * s.in);
      if (!wanted.forward) return;
      // By lines T = x F2^T and dT = F1^H dx̂: dF2 = dT^T x, dF1 = dx̂ T^H.
      if (!s.planes) {
        multiply_rows({.M = 2 * s.m2,
                       .N = s.n2,
                       .K = s.in,
                       .a = part(dmodes, b),
                       .am = 1,
                       .ak = 2 * s.m2,
                       .b = data_of(p.x) + b * s.in * points,
                       .b_row = s.n2,
                       .c = part(dforward2, b),
                       .c_row = s.n2});
        return;
      }
      const MapScratch scratch(s);
      for (int64_t i = b * s.in; i < (b + 1) * s.in; ++i) {
        const float* map = data_of(p.x) + i * points;
        const float* modes = data_of(dmodes) + i * 2 * s.modes();
        synthesise_columns(forth, modes, s.n1, s.m1, s.m2, scratch.products, scratch.lines);
        if (wanted.x) synthesise_lines(forth, scratch.lines, s.n1, s.n2, s.m2, dx + i * points, through_point);
        multiply_rows({.M = 2 * s.m2,
                       .N = s.n2,
                       .K = s.n1,
                       .a = scratch.lines,
                       .am = 1,
                       .ak = 2 * s.m2,
                       .b = map,
                       .b_row = s.n2,
                       .c = part(dforward2, b),
                       .c_row = s.n2,
                       .accumulate = true});
        analyse_lines(analysis, map, s.n1, s.n2, s.m2, scratch.lines);
        add_outer(scratch.lines, modes, s.n1, s.m1, s.m2, scratch.products, part(dforward1, b));
      }
    });
  }

  g.pointwise = total(dpointwise);
  g.bias = total(dbias);
  if (wanted.forward) {
    g.forward2 = complex_total(dforward2, 0);
    if (s.planes) g.forward1 = complex_total(dforward1, 1).mH();
  }
  if (wanted.inverse) {
    g.inverse2 = complex_total(dinverse2, 0).mH();
    if (s.planes) g.inverse1 = complex_total(dinverse1, 1);
  }
  return g;
}

}  // namespace monarch::operators::kernels::cpu
