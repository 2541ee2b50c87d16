#pragma once
// The pieces of the fused Monarch product, in vector instructions chosen at run time.
//
// Rows of a batch are worked on in panels of panel_width() rows. Inside a panel a matrix [rows of the batch, columns]
// is kept batch-innermost, [column][m]: m is the panel's number of rows rounded up to whole vectors (surplus lanes hold
// anything finite or not, and are never stored). A block stage is then a small product whose inner loop runs along the
// batch with unit stride, and any permutation of columns is a matter of where a column is written: both permutations of
// the Monarch product cost nothing.
//
// Complex numbers: a column holds m real parts, then m imaginary parts, and each row of T counts as two columns.
// T: float or double, the type of the real numbers.

#include <cstdint>

namespace monarch::operators::kernels::cpu {

/// How the numbers of a product are stored.
enum class Numbers {
  real,          ///< everything real
  complex,       ///< everything complex
  real_columns,  ///< complex weights, real input columns, complex result
};

/// The panels of a tile of `rows` rows of the batch.
struct Panels {
  Panels(int64_t all, int64_t full, int64_t lanes)
      : rows(all),
        width(full),
        count((all + full - 1) / full),
        last(all - (count - 1) * full),
        last_m((last + lanes - 1) / lanes * lanes) {}
  int64_t rows;   ///< of the batch
  int64_t width;  ///< rows of a full panel
  int64_t count;
  int64_t last;    ///< rows of the last panel
  int64_t last_m;  ///< its rounded width
  int64_t valid(int64_t panel) const { return panel + 1 < count ? width : last; }
  int64_t m(int64_t panel) const { return panel + 1 < count ? width : last_m; }
  /// Rows of all panels after rounding: a tile of c columns takes c·padded() numbers (twice that if complex).
  int64_t padded() const { return (count - 1) * width + last_m; }
};

/// Rows of a full panel and of one vector on this machine.
template <class T>
int64_t panel_width();
template <class T>
int64_t vector_lanes();
/// The instruction set in use: "AVX-512", "AVX2", "SSE4".
const char* vector_target();
/// False on a processor without SSE4: nothing else in this header may be called then. To be called first; applies
/// MONARCH_CPU.
bool has_vectors();

/// c[n] (+)= sum_k W(n, k) a[k] for columns of a tile, n < N, k < K. With `conjugate`, conj(W).
template <class T>
struct Product {
  Numbers numbers = Numbers::real;
  bool conjugate = false;
  bool accumulate = false;
  int64_t N = 0, K = 0;
  /// W(n, k) = w[n·wn + k·wk] in T units times two where complex; wn or wk is 1.
  const T* w = nullptr;
  int64_t wn = 0, wk = 0;
  /// Panel i of the input starts at a + i·a_panel and holds column k in place a_first + k·a_step.
  const T* a = nullptr;
  int64_t a_panel = 0, a_first = 0, a_step = 1;
  /// Likewise the result; column n goes to place c_first + (c_place ? c_place[n] : n·c_step).
  T* c = nullptr;
  int64_t c_panel = 0, c_first = 0, c_step = 1;
  const int32_t* c_place = nullptr;
};
template <class T>
void multiply_panels(const Product<T>& product, const Panels& panels);

/// dw[n][column] (+)= sum over the tile's rows b of d[n][b] · x[b][column] (complex: · conj(x)).
/// d: tile columns, n in place d_first + n, panels d_panel apart. x: rows of row-major numbers (interleaved where
/// complex) at x + b·x_row. dw row-major, rows dw_row apart, in T units.
template <class T>
struct OuterSum {
  bool complex = false;
  bool accumulate = true;
  int64_t N = 0, columns = 0;  ///< columns: numbers of T in a row of x (two for a complex number)
  const T* d = nullptr;
  int64_t d_panel = 0, d_first = 0;
  const T* x = nullptr;
  int64_t x_row = 0;
  bool whole_vectors = false;  ///< rows of x may be read up to whole vectors
  T* dw = nullptr;
  int64_t dw_row = 0;
};
template <class T>
void outer_sum(const OuterSum<T>& sum, const Panels& panels);

/// Row-major rows -> panels. Column c of the source (numbers of T) becomes column (place ? place[c] : c) of the tile.
/// From: float, double, or BFloat16 bits (uint16_t) widened to float. Columns beyond `columns`, up to `padded_columns`,
/// are zero.
template <class T, class From>
void pack(const From* x, int64_t x_row, int64_t columns, int64_t padded_columns, const int32_t* place, T* tile,
          int64_t tile_panel, const Panels& panels);

enum class Curve { none, relu, gelu, gelu_tanh };

/// Panels -> row-major rows: y[b][c] = curve(tile column first + c + bias[c]) for c < columns (numbers of T). With
/// `before`, what the curve is applied to is stored there too (same strides as y).
template <class T, class To>
void unpack(const T* tile, int64_t tile_panel, int64_t first, int64_t columns, const T* bias, Curve curve, To* y,
            To* before, int64_t y_row, const Panels& panels);

/// y = curve(z + bias) for n numbers; `before` as above.
template <class T, class To>
void finish_row(const T* z, const T* bias, Curve curve, To* y, To* before, int64_t n);

/// dz = g · curve'(z) for n numbers (relu: z may be y). In place where dz is g.
template <class T>
void curve_gradient(const T* g, const T* z, Curve curve, T* dz, int64_t n);

/// y[b][place of n] = sum_k W(n, k) x[b][k] for a few rows: both run along k. Rows of W are K numbers of T (twice where
/// complex) apart; conj is not taken. x rows x_row apart. n goes to y + b·y_row + (place ? place[n] : n·y_step)
/// numbers. Weight: float, double, or BFloat16 bits.
template <class T, class Weight>
struct DotProducts {
  Numbers numbers = Numbers::real;
  int64_t rows = 0, N = 0, K = 0;
  const Weight* w = nullptr;
  const T* x = nullptr;
  int64_t x_row = 0;
  T* y = nullptr;
  int64_t y_row = 0, y_step = 1;
  const int32_t* place = nullptr;
};
template <class T, class Weight>
void dot_products(const DotProducts<T, Weight>& products);

/// y[b][column] = sum_k d[b][k] · w[k][column] (complex: · conj(w)) for a few rows b; w is read once, in its order.
template <class T>
struct RowSums {
  bool complex = false;
  int64_t rows = 0, K = 0, columns = 0;  ///< columns: numbers of T (two for a complex number)
  const T* d = nullptr;                  ///< row b: K real parts, then K imaginary parts where complex
  const T* w = nullptr;
  int64_t w_row = 0;
  T* y = nullptr;
  int64_t y_row = 0;
};
template <class T>
void row_sums(const RowSums<T>& sums);

}  // namespace monarch::operators::kernels::cpu
