#pragma once
// One tile of rows of the fused Monarch product: the block stages, forward and backward.

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "monarch/operators/kernels/cpu/monarch_block.hpp"
#include "monarch/operators/monarch/multiply.hpp"

namespace monarch::operators::kernels::cpu {

/// The curve of an activation.
Curve curve_of(Activation activation);

/// Aligned scratch memory of a thread, kept for its next call.
template <class T>
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  /// Room for `count` numbers with undefined content; invalidates what get() gave before.
  T* get(int64_t count);

 private:
  struct Free {
    void operator()(T* data) const { std::free(data); }
  };
  std::unique_ptr<T[], Free> data_;
  int64_t size_ = 0;
};

/// The product's sizes, factors, and where columns lie inside a tile. T: float or double; Io: what x, bias-free results
/// and kept values are stored as (T, or bfloat16 bits with T = float).
template <class T, class Io>
struct MonarchProblem {
  MonarchSizes z;
  int64_t batch = 0, in = 0, out = 0;
  Numbers first = Numbers::real;  ///< of the first stage (real_columns: real x, complex factors)
  bool complex = false;           ///< factors and result
  const Io* x = nullptr;          ///< [batch, in]
  const T* w1 = nullptr;          ///< [k, q, p]
  const T* w2 = nullptr;          ///< [l, s, r]
  const T* bias = nullptr;        ///< [out] or null
  Curve curve = Curve::none;
  Io* y = nullptr;                    ///< [batch, out]
  Io* before = nullptr;               ///< [batch, out] or null: the input of the activation
  int64_t middle_step = 0;            ///< places of a block j of middle rows: r, or more to spread cache sets
  std::vector<int32_t> middle_place;  ///< [k q]: middle row t = rho l + j lies in place j middle_step + rho

  int64_t unit() const { return complex ? 2 : 1; }
  int64_t unit_x() const { return first == Numbers::complex ? 2 : 1; }
  /// Columns of x that block k has (the last may lack some).
  int64_t columns_of(int64_t k) const { return std::max<int64_t>(0, std::min(z.p, in - k * z.p)); }
  /// Fills middle_place; `dense` without spreading, as kept middle rows lie.
  void make_places(bool dense);
};

/// Places for `rows` rows of a block: one more where their size is a multiple of a large power of two, since the same
/// row of each block would then meet the others in a few cache sets.
int64_t spread(int64_t rows);

/// A tile of rows [row0, row0 + panels.rows). Middle rows are held as [j][rho][m] per panel.
template <class T, class Io>
class ForwardTile {
 public:
  using Problem = MonarchProblem<T, Io>;
  using Middle = T;  ///< of the tile
  using Kept = T;
  ForwardTile(const MonarchProblem<T, Io>& problem, int64_t row0, int64_t rows);
  const Panels& panels() const { return panels_; }
  /// Numbers of T in a tile of the middle rows.
  int64_t middle_size() const { return panels_.padded() * problem_.z.l * problem_.middle_step * problem_.unit(); }

  /// Has to be called before the first stage.
  void prepare(T* /*middle*/) const {}
  /// Middle rows n0 .. n0+n of block k.
  void first_stage(int64_t k, int64_t n0, int64_t n, T* middle) const;
  /// Result columns s l + j of s0 <= s < s0+n and all j.
  void second_stage(int64_t s0, int64_t n, const T* middle) const;
  /// Rows s that second_stage should be called with at a time.
  static int64_t second_step(const MonarchProblem<T, Io>& problem);
  /// All of it.
  void run(T* middle) const;
  /// Where this tile's rows are in all kept ones, [batch][middle], if they can be used there: the panels are full and
  /// the problem's places dense. Else null.
  T* in_place(T* kept) const;
  /// Copies the middle rows to their place in `kept` without the rounding of panels, or back.
  void keep(const T* middle, T* kept) const;
  void restore(const T* kept, T* middle) const;

 private:
  int64_t middle_panel() const { return panels_.width * problem_.z.l * problem_.middle_step * problem_.unit(); }
  const MonarchProblem<T, Io>& problem_;
  int64_t row0_;
  Panels panels_;
};

/// Gradients of a tile. dz rows are held as [j][s][m], the gradient of the middle rows as [t][m].
template <class T>
class BackwardTile {
 public:
  struct Task {
    const T* gradient = nullptr;            ///< dL/dz [batch, out]
    T* dx = nullptr;                        ///< [batch, in] or null
    const int32_t* result_place = nullptr;  ///< [l s unit]: column of dz -> place j spread(s) + s
  };
  BackwardTile(const MonarchProblem<T, T>& problem, const Task& task, int64_t row0, int64_t rows);
  const Panels& panels() const { return panels_; }
  int64_t result_size() const { return panels_.padded() * problem_.z.l * spread(problem_.z.s) * problem_.unit(); }
  int64_t middle_size() const { return panels_.padded() * problem_.z.middle() * problem_.unit(); }

  /// gradient -> dz tile.
  void pack_gradient(T* dz) const;
  /// dmid of block j, rows rho0 .. rho0+n.
  void middle_gradient(int64_t j, int64_t rho0, int64_t n, const T* dz, T* dmiddle) const;
  /// dw2 of block j, rows s0 .. s0+n, written or added to dw2 [l, s, r].
  void second_weights(int64_t j, int64_t s0, int64_t n, const T* dz, const T* middle, T* dw2, bool accumulate) const;
  /// dw1 of block k, rows q0 .. q0+n, written or added to dw1 [k, q, p].
  void first_weights(int64_t k, int64_t q0, int64_t n, const T* dmiddle, T* dw1, bool accumulate) const;
  /// dx columns p0 .. p0+n of block k.
  void input_gradient(int64_t k, int64_t p0, int64_t n, const T* dmiddle) const;

 private:
  const MonarchProblem<T, T>& problem_;
  const Task& task_;
  int64_t row0_;
  Panels panels_;
  int64_t inner_panel_;   ///< of the middle rows, as ForwardTile holds them
  int64_t middle_panel_;  ///< of their gradient
  int64_t result_panel_;
};

}  // namespace monarch::operators::kernels::cpu
