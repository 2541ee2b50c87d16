#pragma once
// The fused Monarch product in hardware bfloat16: AVX512-BF16 (vdpbf16ps) and AMX (tdpbf16ps).
//
// Columns lie in a tile as pairs: 32-bit units [pair of columns][m] of two neighbouring columns of one row of the
// batch. Packing is then a transposition of 32-bit units, and a weight pair of a row of W is in memory as the
// instructions want it. Both multiply bfloat16 exactly and sum in float32; they take denormal numbers for zero, which
// float32 code does not. The middle rows are rounded to bfloat16 when they are complete: the first stage writes them
// into their halves of the pairs that the second stage reads.

#include <cstdint>
#include <vector>

#include "monarch/operators/kernels/cpu/monarch_tile.hpp"

namespace monarch::operators::kernels::cpu {

/// How bfloat16 is multiplied, in rising order.
enum class Bfloat16 {
  widened,  ///< as float32
  dots,     ///< AVX512-BF16
  tiles,    ///< AMX
};

/// The best that processor, system and MONARCH_CPU allow; found once. `tiles` includes the system's permission.
Bfloat16 bfloat16_available();
/// The best in use: bfloat16_available(), or less where limit_bfloat16() was called.
Bfloat16 bfloat16_in_use();
/// For tests: nothing better than `most` from now on, in the whole process.
void limit_bfloat16(Bfloat16 most);

/// One factor, blocks of rows of `columns` numbers, and how an input of it lies in a tile.
struct PairFactor {
  PairFactor(const uint16_t* w, int64_t rows_of_block, int64_t columns_of_block, Bfloat16 how);
  const uint16_t* at(int64_t block, int64_t n) const { return data + (block * rows + n) * columns; }
  int64_t rows, columns;
  int64_t steps = 1;  ///< of the sum over pairs; each has `depth` of them
  int64_t depth;
  /// Of an input; those beyond the columns are zeros, as is the half beyond an odd number of columns.
  int64_t pairs() const { return steps * depth; }
  const uint16_t* data;
};

/// What a tile of the batch works on: bias in float32, factors here instead of there.
struct PairProblem : MonarchProblem<float, uint16_t> {
  PairProblem(const MonarchProblem<float, uint16_t>& problem, const uint16_t* w1_bits, const uint16_t* w2_bits,
              Bfloat16 with);
  /// False where pairs would reach over the ends of blocks or rows: odd p, odd columns of x, odd addresses.
  static bool possible(const MonarchProblem<float, uint16_t>& problem);

  Bfloat16 how;
  PairFactor factor1, factor2;
  std::vector<int32_t> half_place;  ///< [k q]: place of a middle row, in halves: block j has 2 middle_step of them
};

/// As ForwardTile; middle rows are held as pairs [j][rho / 2][m].
class PairTile {
 public:
  using Problem = PairProblem;
  using Middle = uint32_t;
  using Kept = uint16_t;
  PairTile(const PairProblem& problem, int64_t row0, int64_t rows);
  int64_t middle_size() const { return panels_.padded() * problem_.z.l * problem_.middle_step; }
  /// Zeros what the first stage does not write: to be called before it.
  void prepare(uint32_t* middle) const;
  void first_stage(int64_t k, int64_t n0, int64_t n, uint32_t* middle) const;
  void second_stage(int64_t s0, int64_t n, const uint32_t* middle) const;
  static int64_t second_step(const PairProblem& problem);
  void run(uint32_t* middle) const;
  /// Null: pairs are never kept as they are.
  uint32_t* in_place(uint16_t*) const { return nullptr; }
  void keep(const uint32_t* middle, uint16_t* kept) const;

 private:
  int64_t middle_panel() const { return panels_.width * problem_.z.l * problem_.middle_step; }
  const PairProblem& problem_;
  int64_t row0_;
  Panels panels_;
};

}  // namespace monarch::operators::kernels::cpu
