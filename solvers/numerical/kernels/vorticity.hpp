#pragma once
// The right-hand side of the two-dimensional vorticity equation and the stages of its time steps, for W samples at
// once.

#include <cstdint>
#include <memory>
#include <vector>

#include "monarch/solvers/numerical/kernels/lines.hpp"

namespace monarch::solvers::kernels {

/// W samples side by side are the lanes of a vector: every number of every array here is W numbers, a complex one W
/// real and W imaginary parts. All lanes do the same operations in the same order, whatever W, so that a sample's
/// result does not depend on its neighbours.
///
/// Spectra are Fourier coefficients w(x) = sum of ŵ(k) exp(2πi k·x) of real fields: [column ky = 0 … half-1,
/// row kx = 0, 1, …, -2, -1, 2 W], kx along axis 0 of the grid, ky along axis 1.
///
/// Two forms of u·∇w. `products`: all fields are truncated to |kx|, |ky| <= kept before they are multiplied (Galerkin),
///   u·∇w = (∂xx − ∂yy) uv + ∂xy (v² − u²),
/// one complex transform each way: z = u + iv has the coefficients (kx + i ky)/(2π|k|²) ŵ(k), and z² holds both
/// products. `result`: as published, u·∇w is multiplied out on the grid from the whole spectrum, and truncated after:
/// the transforms of u + iv and of w_x + i w_y, and half of one back.
template <class T>
struct VorticityGrid {
  int64_t n = 0;     ///< points along each axis, even
  int64_t kept = 0;  ///< u·∇w is zero beyond it
  bool products = true;
  int64_t rows = 0, half = 0, columns = 0;  ///< of spectra; columns: of both signs of ky
  LinePlan<T> line;
  std::vector<T> velocity;   ///< [half, rows, 2]: coefficients of z over ŵ
  std::vector<T> gradient;   ///< `result`: those of w_x + i w_y
  std::vector<T> advection;  ///< `products`: [half, rows, 2] factors of (∂xx − ∂yy) uv and of ∂xy (v² − u²)

  VorticityGrid(int64_t n, bool products);
  VorticityGrid() = default;
  int64_t modes() const { return half * rows; }
  int64_t wavenumber_x(int64_t row) const { return row <= (rows - 1) / 2 ? row : row - rows; }
  /// Numbers of T that scratch of width W needs.
  int64_t scratch(int64_t width) const { return ((products ? columns : 2 * columns) * 2 + 8) * (n + 1) * width; }
};

/// What follows the evaluation of r = −u·∇w + f in each mode; the spectra of `arrays` in order:
enum class Update {
  nothing,  ///< only the speed
  /// h = r + beta h;  w = a w + b h.   arrays: w, h; tables: a, b [modes]. w is also the input.
  low_storage,
  first,   ///< N = r;  y = a w + b N.                  arrays: w, N, y; tables: e^{hL/2}, Q.
  second,  ///< S = r;  z = a w + b r.                  arrays: w, S, z; input y
  third,   ///< S += r;  z = a y + b (2 r − N).         arrays: y, S, N, z; input z
  fourth,  ///< w = a w + b N + c S + d r.              arrays: w, N, S; tables: e^{hL}, f1, 2 f2, f3; input z
};

template <class T>
struct VorticityTask {
  const T* input = nullptr;
  T* arrays[4] = {};
  const T* tables[4] = {};
  T beta = 0;
  const T* forcing = nullptr;  ///< [modes, 2], the same for all lanes, or nullptr
  T* speed = nullptr;          ///< [W]: largest |u| + |v| on the grid
  Update update = Update::nothing;
};

/// Evaluates at task.input and updates. width: W, one of those that widths() names. Arrays and scratch aligned to 64
/// bytes. Single-threaded; any number of threads on different data.
template <class T>
void vorticity_step(const VorticityGrid<T>& grid, const VorticityTask<T>& task, T* scratch, int64_t width);

/// Grid values [n columns, n + 1 rows, 2 W] of coefficients in the same places (frequencies in natural order,
/// both signs): to points in the plan's order along both axes, or back, without scaling. scratch: [4 (n + 1) W].
template <class T>
void transform_plane(const LinePlan<T>& line, T* plane, bool to_points, T* scratch, int64_t width);

/// The widths there is code for, rising: 1, 4, 8 as far as native_width(), and that.
template <class T>
std::vector<int64_t> widths();

}  // namespace monarch::solvers::kernels
