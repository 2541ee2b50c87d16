#include "monarch/operators/kernels/cpu/monarch_bfloat16.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "monarch/operators/kernels/cpu/target.hpp"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#define MONARCH_HAS_BFLOAT16 1
#define MONARCH_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define MONARCH_AMX __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16")))
#else
#define MONARCH_HAS_BFLOAT16 0
#endif

namespace monarch::operators::kernels::cpu {
namespace {

constexpr int64_t kLanes = 16;    // 32-bit lanes of a vector, rows and columns of an AMX tile
constexpr int64_t kStepRow = 32;  // numbers in a row of a step of a reordered factor: a cache line
constexpr int64_t kStepsAtATime =
    16;  // of the sums, so that their part of 32 rows of a factor stays in the first cache
constexpr int64_t kColumnsAtATime = 512;  // that are brought back to row-major order
constexpr int64_t kMostLanes = 256;       // of a tile of the batch: what monarch.cpp gives

// ---- what the machine can do ---------------------------------------------------------------------------------------

#if MONARCH_HAS_BFLOAT16
bool system_saves(uint64_t states) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return false;
  unsigned low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (((uint64_t{high} << 32) | low) & states) == states;
}

/// Linux wants to be asked before a process uses the tiles' registers.
bool system_permits_tiles() {
  constexpr long request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, request, tile_data) == 0;
}

Bfloat16 find_bfloat16() {
  if (!has_vectors() || panel_width<float>() != 4 * kLanes) return Bfloat16::widened;  // not AVX-512
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & (1u << 5))) return Bfloat16::widened;  // AVX512_BF16
  if (most_instructions() < Instructions::avx512_bf16) return Bfloat16::widened;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return Bfloat16::dots;
  constexpr unsigned amx = (1u << 22) | (1u << 24);  // AMX-BF16, AMX-TILE
  constexpr uint64_t tile_states = (1u << 17) | (1u << 18);
  const bool tiles = (d & amx) == amx && system_saves(tile_states) && most_instructions() >= Instructions::amx;
  return tiles && system_permits_tiles() ? Bfloat16::tiles : Bfloat16::dots;
}
#else
Bfloat16 find_bfloat16() {
  return Bfloat16::widened;
}
#endif

std::atomic<Bfloat16> limit{Bfloat16::tiles};

// ---- products of pairs ---------------------------------------------------------------------------------------------

/// c[n][m] = sum over pairs k of W(n, 2k) a[k][m].low + W(n, 2k+1) a[k][m].high for n < N.
struct PairProduct {
  const PairFactor* factor = nullptr;
  int64_t block = 0, n0 = 0, N = 0;  ///< rows n0 .. n0+N of a block
  /// Panel i of the input starts at a + i a_panel; pair k in place a_first + k.
  const uint32_t* a = nullptr;
  int64_t a_panel = 0, a_first = 0;
  /// The result: columns of float32 in places c_first + n c_step of panels ...
  float* c = nullptr;
  int64_t c_panel = 0, c_first = 0, c_step = 1;
  /// ... or, where given, halves of pairs in places half_place[n]; c_panel in pairs.
  uint32_t* halves = nullptr;
  const int32_t* half_place = nullptr;
};

#if MONARCH_HAS_BFLOAT16

/// All lanes. The forms without a mask start from an undefined value, which g++ 12 warns of.
constexpr uint16_t kAll = 0xffff;

/// A vector of a column, rounded to nearest even, into its half of the pairs.
MONARCH_AVX512_BF16 inline void store_half(__m512 value, uint32_t* pairs, bool odd) {
  const __m512i wide = _mm512_maskz_cvtepu16_epi32(kAll, (__m256i)_mm512_cvtneps_pbh(value));
  const __m512i placed = odd ? _mm512_maskz_slli_epi32(kAll, wide, 16) : wide;
  _mm512_mask_storeu_epi16(pairs, odd ? 0xaaaaaaaa : 0x55555555, placed);
}

template <int MR, int NR>
MONARCH_AVX512_BF16 void dots_micro(const PairProduct& p, int64_t n, const uint32_t* a, int64_t panel) {
  constexpr int64_t m = MR * kLanes;
  const int64_t row = p.factor->columns, whole = row / 2;
  const uint16_t* w = p.factor->at(p.block, p.n0 + n);
  __m512 sum[NR][MR];
#pragma GCC unroll 16
  for (int i = 0; i < NR; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < MR; ++v) sum[i][v] = _mm512_setzero_ps();
  }
  const uint16_t* rows[NR];
#pragma GCC unroll 16
  for (int i = 0; i < NR; ++i) rows[i] = w + i * row;
  for (int64_t k = 0; k < p.factor->depth; ++k, a += m) {
    __m512bh x[MR];
#pragma GCC unroll 4
    for (int v = 0; v < MR; ++v) x[v] = (__m512bh)_mm512_loadu_si512(a + v * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < NR; ++i) {
      int32_t pair = 0;
      if (k < whole) [[likely]] {
        std::memcpy(&pair, rows[i] + 2 * k, sizeof(pair));
      } else {
        pair = rows[i][2 * k];
      }
      const __m512bh weights = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
      for (int v = 0; v < MR; ++v) sum[i][v] = _mm512_dpbf16_ps(sum[i][v], weights, x[v]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < NR; ++i) {
    if (p.halves) {
      const int64_t place = p.half_place[n + i];
      uint32_t* to = p.halves + panel * p.c_panel + place / 2 * m;
#pragma GCC unroll 4
      for (int v = 0; v < MR; ++v) store_half(sum[i][v], to + v * kLanes, place % 2 != 0);
    } else {
      float* to = p.c + panel * p.c_panel + (p.c_first + (n + i) * p.c_step) * m;
#pragma GCC unroll 4
      for (int v = 0; v < MR; ++v) _mm512_storeu_ps(to + v * kLanes, sum[i][v]);
    }
  }
}

template <int MR, int NR>
void dots_columns(const PairProduct& p, int64_t n, int64_t count, const uint32_t* a, int64_t panel) {
  if constexpr (NR > 1) {
    if (count < NR) return dots_columns<MR, NR - 1>(p, n, count, a, panel);
  }
  dots_micro<MR, NR>(p, n, a, panel);
}

void multiply_dots(const PairProduct& p, const Panels& panels) {
  constexpr int64_t columns[] = {12, 12, 8, 6};
  const int64_t widest = panels.count > 1 ? panels.width : panels.last_m;
  const int64_t most = columns[widest / kLanes - 1], parts = (p.N + most - 1) / most;
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t n = part * p.N / parts, count = (part + 1) * p.N / parts - n;
    for (int64_t i = 0; i < panels.count; ++i) {
      const int64_t m = panels.m(i);
      const uint32_t* a = p.a + i * p.a_panel + m * p.a_first;
      switch (m / kLanes) {
        case 1:
          dots_columns<1, 12>(p, n, count, a, i);
          break;
        case 2:
          dots_columns<2, 12>(p, n, count, a, i);
          break;
        case 3:
          dots_columns<3, 8>(p, n, count, a, i);
          break;
        default:
          dots_columns<4, 6>(p, n, count, a, i);
          break;
      }
    }
  }
}

/// The shapes of this thread's tiles. Tiles 0 .. 3 hold sums of 32 rows × 32 lanes, 4 and 5 weights, 6 and 7 inputs.
struct TileShapes {
  int64_t upper = 0, lower = 0, depth = 0;
  bool operator==(const TileShapes&) const = default;
};
thread_local TileShapes shapes_in_use;

MONARCH_AMX void shape_tiles(const TileShapes& wanted) {
  if (wanted == shapes_in_use) return;
  struct alignas(64) {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
  } configuration;
  const auto shape = [&](int tile, int64_t rows, int64_t row_bytes) {
    configuration.rows[tile] = static_cast<uint8_t>(rows);
    configuration.row_bytes[tile] = static_cast<uint16_t>(row_bytes);
  };
  for (int i = 0; i < 2; ++i) {
    const int64_t rows = i == 0 ? wanted.upper : wanted.lower;
    shape(2 * i, rows, 64);
    shape(2 * i + 1, rows, 64);
    shape(4 + i, rows, 4 * wanted.depth);
    shape(6 + i, wanted.depth, 64);
  }
  __asm__ volatile("" : : "r"(&configuration) : "memory");  // the intrinsic names its first eight bytes only
  _tile_loadconfig(&configuration);
  shapes_in_use = wanted;
}

/// While one of these lives, this thread's tiles keep their shapes: the last one to go gives them back.
class TileUse {
 public:
  TileUse() { ++depth_; }
  TileUse(const TileUse&) = delete;
  TileUse& operator=(const TileUse&) = delete;
  MONARCH_AMX ~TileUse() {
    if (--depth_ > 0 || shapes_in_use == TileShapes{}) return;
    _tile_release();
    shapes_in_use = {};
  }

 private:
  static thread_local int depth_;
};
thread_local int TileUse::depth_ = 0;

/// NA × NB tiles of sums, `steps` steps. Rows are ..._row bytes apart, steps ..._step numbers.
template <int NA, int NB>
MONARCH_AMX inline void tiles_micro(int64_t steps, const uint16_t* w, int64_t w_row, int64_t w_step, const uint32_t* a,
                                    int64_t a_row, int64_t a_step, float* c, int64_t c_row, bool more) {
  const uint16_t* w_lower = w + kLanes * w_row / static_cast<int64_t>(sizeof(uint16_t));
  float* const lower = c + kLanes * c_row / static_cast<int64_t>(sizeof(float));
  __asm__ volatile("" : : : "memory");  // the intrinsics that load do not say so
  if (more) {
    _tile_loadd(0, c, c_row);
    if constexpr (NB > 1) _tile_loadd(1, c + kLanes, c_row);
    if constexpr (NA > 1) _tile_loadd(2, lower, c_row);
    if constexpr (NA > 1 && NB > 1) _tile_loadd(3, lower + kLanes, c_row);
  } else {
    _tile_zero(0);
    if constexpr (NB > 1) _tile_zero(1);
    if constexpr (NA > 1) _tile_zero(2);
    if constexpr (NA > 1 && NB > 1) _tile_zero(3);
  }
  for (int64_t i = 0; i < steps; ++i, w += w_step, w_lower += w_step, a += a_step) {
    _tile_loadd(4, w, w_row);
    _tile_loadd(6, a, a_row);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (NB > 1) {
      _tile_loadd(7, a + kLanes, a_row);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (NA > 1) {
      _tile_loadd(5, w_lower, w_row);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (NB > 1) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, c, c_row);
  if constexpr (NB > 1) _tile_stored(1, c + kLanes, c_row);
  if constexpr (NA > 1) _tile_stored(2, lower, c_row);
  if constexpr (NA > 1 && NB > 1) _tile_stored(3, lower + kLanes, c_row);
  __asm__ volatile("" : : : "memory");
}

/// Rows of a factor -> [step][32 rows][32 numbers], with zeros beyond the columns.
MONARCH_AVX512_BF16 void copy_steps(const PairFactor& factor, const uint16_t* w, int64_t rows, int64_t first_step,
                                    int64_t steps, uint16_t* to) {
  for (int64_t r = 0; r < rows; ++r, w += factor.columns) {
    for (int64_t i = 0; i < steps; ++i) {
      const int64_t column = 2 * factor.depth * (first_step + i);
      const int64_t count = std::clamp<int64_t>(factor.columns - column, 0, 2 * factor.depth);
      const auto mask = static_cast<__mmask32>((uint64_t{1} << count) - 1);
      _mm512_store_si512(to + (i * 2 * kLanes + r) * kStepRow, _mm512_maskz_loadu_epi16(mask, w + column));
    }
  }
}

/// The i-th of `parts` parts of rows, `bytes` of each, on their way to the second-level cache.
inline void fetch_rows(const uint16_t* w, int64_t columns, int64_t rows, int64_t bytes, int64_t i, int64_t parts) {
  for (int64_t r = i * rows / parts; r < (i + 1) * rows / parts; ++r) {
    const char* from = reinterpret_cast<const char*>(w + r * columns);
    for (int64_t b = 0; b < bytes; b += 64) _mm_prefetch(from + b, _MM_HINT_T1);
  }
}

MONARCH_AMX void multiply_tiles(const PairProduct& p, const Panels& panels) {
  constexpr int64_t side = 2 * kLanes;
  alignas(64) float sums[side * kMostLanes];
  alignas(64) uint16_t part[kStepsAtATime * side * kStepRow];
  const PairFactor& factor = *p.factor;
  const int64_t depth = factor.depth, steps = factor.steps;
  // Parts of long rows lie apart and share cache sets, which matters where they are read again and again.
  const bool copy = 2 * factor.pairs() != factor.columns || (steps > kStepsAtATime && panels.padded() > side);
  for (int64_t n = 0; n < p.N; n += side) {
    const int64_t rows = std::min(side, p.N - n), upper = std::min(kLanes, rows);
    shape_tiles({upper, rows > kLanes ? rows - kLanes : upper, depth});
    for (int64_t first = 0; first < steps; first += kStepsAtATime) {
      const int64_t count = std::min(kStepsAtATime, steps - first);
      const uint16_t* w = factor.at(p.block, p.n0 + n);
      int64_t w_row = factor.columns, w_step = 2 * depth;
      if (copy) {
        copy_steps(factor, w, rows, first, count, part);
        w = part;
        w_row = kStepRow;
        w_step = side * kStepRow;
      } else {
        w += first * w_step;
      }
      // Long rows come from memory: the next part of them is fetched beside the products of this one.
      const bool last = first + count == steps;
      const int64_t next_n = last ? n + side : n, next_column = last ? 0 : 2 * (first + count) * depth;
      const uint16_t* next = factor.at(p.block, p.n0 + next_n) + next_column;
      const int64_t next_rows = steps > kStepsAtATime ? std::clamp<int64_t>(p.N - next_n, 0, side) : 0;
      const int64_t next_bytes = 2 * std::min(2 * kStepsAtATime * depth, factor.columns - next_column);
      const int64_t groups = (panels.padded() + side - 1) / side;
      int64_t group = 0;
      float* sum = sums;
      for (int64_t i = 0; i < panels.count; ++i) {
        const int64_t m = panels.m(i);
        for (int64_t lane = 0; lane < m; lane += side) {
          const uint32_t* a = p.a + i * p.a_panel + (p.a_first + first * depth) * m + lane;
          float* c = sum;
          int64_t c_row = side;
          if (!p.halves) {
            c = p.c + i * p.c_panel + (p.c_first + n * p.c_step) * m + lane;
            c_row = p.c_step * m;
          }
          const bool wide = m - lane > kLanes;
          const auto micro = rows > kLanes ? (wide ? &tiles_micro<2, 2> : &tiles_micro<2, 1>)
                                           : (wide ? &tiles_micro<1, 2> : &tiles_micro<1, 1>);
          fetch_rows(next, factor.columns, next_rows, next_bytes, group++, groups);
          micro(count, w, w_row * 2, w_step, a, m * 4, depth * m, c, c_row * 4, first > 0);
          if (p.halves) {
            if (last) {
              for (int64_t r = 0; r < rows; ++r) {
                const int64_t place = p.half_place[n + r];
                uint32_t* to = p.halves + i * p.c_panel + place / 2 * m + lane;
                store_half(_mm512_load_ps(c + r * side), to, place % 2 != 0);
                if (wide) store_half(_mm512_load_ps(c + r * side + kLanes), to + kLanes, place % 2 != 0);
              }
            }
            if (steps > kStepsAtATime) sum += side * side;
          }
        }
      }
    }
  }
}

/// The lower or upper halves of n pairs.
MONARCH_AVX512_BF16 void copy_halves(const uint32_t* pairs, bool upper, uint16_t* to, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const auto mask = static_cast<__mmask16>(n - i < kLanes ? (1u << (n - i)) - 1 : kAll);
    const __m512i value = _mm512_maskz_loadu_epi32(mask, pairs + i);
    _mm512_mask_cvtepi32_storeu_epi16(to + i, mask, upper ? _mm512_maskz_srli_epi32(kAll, value, 16) : value);
  }
}

void multiply(const PairProduct& product, const Panels& panels, Bfloat16 how) {
  how == Bfloat16::tiles ? multiply_tiles(product, panels) : multiply_dots(product, panels);
}

#else

struct TileUse {};
void copy_halves(const uint32_t*, bool, uint16_t*, int64_t) {}
void multiply(const PairProduct&, const Panels&, Bfloat16) {}

#endif

uint32_t* scratch(int64_t count) {
  static thread_local Scratch<uint32_t> memory;
  return memory.get(count);
}
float* result_scratch(int64_t count) {
  static thread_local Scratch<float> memory;
  return memory.get(count);
}

}  // namespace

Bfloat16 bfloat16_available() {
  static const Bfloat16 best = find_bfloat16();
  return best;
}
Bfloat16 bfloat16_in_use() {
  return std::min(bfloat16_available(), limit.load(std::memory_order_relaxed));
}
void limit_bfloat16(Bfloat16 most) {
  limit.store(most, std::memory_order_relaxed);
}

// ---- factors -------------------------------------------------------------------------------------------------------

PairFactor::PairFactor(const uint16_t* w, int64_t rows_of_block, int64_t columns_of_block, Bfloat16 how)
    : rows(rows_of_block), columns(columns_of_block), depth((columns + 1) / 2), data(w) {
  if (how != Bfloat16::tiles) return;
  const int64_t all = depth;
  steps = (all + kLanes - 1) / kLanes;
  depth = (all + steps - 1) / steps;
}

bool PairProblem::possible(const MonarchProblem<float, uint16_t>& problem) {
  return problem.z.p % 2 == 0 && problem.in % 2 == 0 && reinterpret_cast<uintptr_t>(problem.x) % 4 == 0;
}

PairProblem::PairProblem(const MonarchProblem<float, uint16_t>& problem, const uint16_t* w1_bits,
                         const uint16_t* w2_bits, Bfloat16 with)
    : MonarchProblem<float, uint16_t>(problem),
      how(with),
      factor1(w1_bits, z.q, z.p, how),
      factor2(w2_bits, z.s, z.r, how),
      half_place(static_cast<size_t>(z.middle())) {
  middle_step = spread(factor2.pairs());
  for (int64_t rho = 0, t = 0; rho < z.r; ++rho) {
    for (int64_t j = 0; j < z.l; ++j, ++t) {
      half_place[static_cast<size_t>(t)] = static_cast<int32_t>(2 * j * middle_step + rho);
    }
  }
}

// ---- a tile of the batch -------------------------------------------------------------------------------------------

PairTile::PairTile(const PairProblem& problem, int64_t row0, int64_t rows)
    : problem_(problem), row0_(row0), panels_(rows, panel_width<float>(), vector_lanes<float>()) {}

void PairTile::prepare(uint32_t* middle) const {
  const auto& z = problem_.z;
  const int64_t whole = z.r / 2, surplus = problem_.factor2.pairs() - whole;
  if (surplus == 0) return;
  for (int64_t i = 0; i < panels_.count; ++i) {
    const int64_t m = panels_.m(i);
    for (int64_t j = 0; j < z.l; ++j) {
      uint32_t* from = middle + i * middle_panel() + (j * problem_.middle_step + whole) * m;
      std::fill(from, from + surplus * m, 0u);
    }
  }
}

void PairTile::first_stage(int64_t k, int64_t n0, int64_t n, uint32_t* middle) const {
  const auto& z = problem_.z;
  const PairFactor& factor = problem_.factor1;
  const TileUse use;
  const int64_t panel = panels_.width * factor.pairs();
  uint32_t* columns = scratch(panels_.padded() * factor.pairs());
  const uint16_t* x = problem_.x + row0_ * problem_.in + k * z.p;
  // Pairs as they are: pack<float, float> moves 32-bit units and computes nothing.
  pack<float, float>(reinterpret_cast<const float*>(x), problem_.in / 2, problem_.columns_of(k) / 2, factor.pairs(),
                     nullptr, reinterpret_cast<float*>(columns), panel, panels_);
  PairProduct product;
  product.factor = &factor;
  product.block = k;
  product.n0 = n0;
  product.N = n;
  product.a = columns;
  product.a_panel = panel;
  product.halves = middle;
  product.c_panel = middle_panel();
  product.half_place = problem_.half_place.data() + k * z.q + n0;
  multiply(product, panels_, problem_.how);
}

void PairTile::second_stage(int64_t s0, int64_t n, const uint32_t* middle) const {
  const auto& z = problem_.z;
  const TileUse use;
  const int64_t first = s0 * z.l;  // of the columns s l + j
  const int64_t columns = std::min(n * z.l, problem_.out - first);
  if (columns <= 0) return;
  const int64_t panel = panels_.width * n * z.l;
  float* result = result_scratch(panels_.padded() * n * z.l);
  PairProduct product;
  product.factor = &problem_.factor2;
  product.n0 = s0;
  product.N = n;
  product.a = middle;
  product.a_panel = middle_panel();
  product.c = result;
  product.c_panel = panel;
  product.c_step = z.l;
  for (int64_t j = 0; j < z.l; ++j) {
    product.block = j;
    product.a_first = j * problem_.middle_step;
    product.c_first = j;
    multiply(product, panels_, problem_.how);
  }
  const int64_t at = row0_ * problem_.out + first;
  unpack<float, uint16_t>(result, panel, 0, columns, problem_.bias ? problem_.bias + first : nullptr, problem_.curve,
                          problem_.y + at, problem_.before ? problem_.before + at : nullptr, problem_.out, panels_);
}

int64_t PairTile::second_step(const PairProblem& problem) {
  constexpr int64_t side = 2 * kLanes;
  const int64_t most = std::max(side, kColumnsAtATime / problem.z.l / side * side), s = problem.z.s;
  const int64_t parts = (s + most - 1) / most;
  return (s / parts + side - 1) / side * side;
}

void PairTile::run(uint32_t* middle) const {
  const TileUse use;
  prepare(middle);
  for (int64_t k = 0; k < problem_.z.k; ++k) first_stage(k, 0, problem_.z.q, middle);
  const int64_t step = second_step(problem_);
  for (int64_t s0 = 0; s0 < problem_.z.s; s0 += step) second_stage(s0, std::min(step, problem_.z.s - s0), middle);
}

void PairTile::keep(const uint32_t* middle, uint16_t* kept) const {
  const auto& z = problem_.z;
  for (int64_t i = 0; i < panels_.count; ++i) {
    const int64_t m = panels_.m(i), valid = panels_.valid(i);
    uint16_t* to = kept + (row0_ + i * panels_.width) * z.middle();
    for (int64_t j = 0; j < z.l; ++j) {
      const uint32_t* from = middle + i * middle_panel() + j * problem_.middle_step * m;
      for (int64_t rho = 0; rho < z.r; ++rho, to += valid) copy_halves(from + rho / 2 * m, rho % 2 != 0, to, valid);
    }
  }
}

}  // namespace monarch::operators::kernels::cpu
