#pragma once
// Between a grid and samples that lie anywhere: the gridding step of non-uniform Fourier transforms, and Toeplitz
// convolutions.

#include <array>
#include <complex>
#include <cstdint>
#include <memory>
#include <vector>

namespace monarch::operators::kernels {

/// A kernel φ of compact support, z in [-1, 1] over `width` grid points, φ(0) = 1.
///   exponential of semicircle: exp(β (sqrt(1 - z²) - 1));   Kaiser-Bessel: I0(β sqrt(1 - z²)) / I0(β).
/// Barnett, Magland, af Klinteberg, SIAM J. Sci. Comput. 41 (2019); Beatty et al., IEEE Trans. Med. Imaging 24 (2005).
struct GriddingKernel {
  bool kaiser_bessel = false;
  int64_t width = 6;  ///< grid points that a sample touches along an axis, 2 to widest_gridding_kernel
  double beta = 0;

  double operator()(double z) const;
  /// Fourier transform ∫ φ(2x/width) cos(2πνx) dx over |x| <= width/2, ν in cycles per grid point, by quadrature.
  double transform(double frequency) const;
};

/// Grid points that a kernel needs for a relative accuracy at an oversampling above 1: at least 2.
int64_t gridding_width(double accuracy, double oversampling);

/// What the vector kernels have room for.
inline constexpr int64_t widest_gridding_kernel = 16;

/// The kernel of that width, but at most the widest, and the β that balances truncation and aliasing.
GriddingKernel gridding_kernel(bool kaiser_bessel, double accuracy, double oversampling);

namespace cpu {

/// Samples sorted into tiles of a periodic grid [z, y, x], and the two maps between them.
///
///   interpolate: v_j = Σ_g φ(2 (g - p_j) / width) grid_g,   spread: grid_g = Σ_j φ(2 (g - p_j) / width) v_j,
///
/// φ as a product over the axes, exact transposes of each other. A tile is copied with its halo into memory of its
/// own; when spreading, tiles of one colour touch disjoint parts of the grid, and colours go one after the other, so
/// that results are the same for any number of threads. The kernel is evaluated by a polynomial per grid point.
/// Cost per sample: axes·width·degree (once per group of the batch) + 4·width^axes multiply-adds per entry.
/// T: float or double.
template <class T>
class Gridding {
 public:
  /// positions: [sample][axis] in grid points, x first, finite; taken modulo the grid. axes: 1 to 3. grid: [z, y, x],
  /// 1 where an axis is not there.
  Gridding(const double* positions, int64_t samples, int axes, std::array<int64_t, 3> grid,
           const GriddingKernel& kernel);
  ~Gridding();
  Gridding(const Gridding&) = delete;
  Gridding& operator=(const Gridding&) = delete;

  /// grids: [batch, z, y, x] -> values: [batch, sample], which is overwritten.
  void interpolate(const std::complex<T>* grids, std::complex<T>* values, int64_t batch) const;
  /// values: [batch, sample] -> grids: [batch, z, y, x], which is overwritten.
  void spread(const std::complex<T>* values, std::complex<T>* grids, int64_t batch) const;

 private:
  struct Tiles;
  std::unique_ptr<const Tiles> tiles_;
};

/// Some samples of one tile, as the vector kernels take them.
template <class T>
struct GriddingBlock {
  int64_t count = 0;
  int64_t width = 0, padded = 0;  ///< grid points, and what of them the vectors take
  int64_t degree = 0;
  const T* coefficients = nullptr;  ///< [degree + 1, padded], highest power first, zero beyond the width
  /// [sample] per axis x, y, z: twice the distance of the first grid point from the kernel's edge, minus 1, in
  /// [-1, 1]; null where the axis is not there
  std::array<const T*, 3> place{};
  const int32_t* offset = nullptr;  ///< [sample]: first grid point in the tile
  int64_t row = 0, plane = 0;       ///< complex numbers between rows and planes of the tile
};

// Vector primitives, dispatched at run time. along: [sample, 2 padded], the weights along x, each twice;
// across: [sample, rows], those of the rows of y (and z), z slowest. tile and values: interleaved complex numbers.
void gridding_weights(const GriddingBlock<float>& block, float* along, float* across);
void gridding_weights(const GriddingBlock<double>& block, double* along, double* across);
void gridding_gather(const GriddingBlock<float>& block, const float* along, const float* across, const float* tile,
                     float* values);
void gridding_gather(const GriddingBlock<double>& block, const double* along, const double* across, const double* tile,
                     double* values);
void gridding_scatter(const GriddingBlock<float>& block, const float* along, const float* across, const float* values,
                      float* tile);
void gridding_scatter(const GriddingBlock<double>& block, const double* along, const double* across,
                      const double* values, double* tile);

/// y = T x for a multilevel Toeplitz matrix, given by the spectrum of its circulant embedding of twice the extents.
///
/// The padded transform of 2n points of an axis is split into its even and its odd frequencies, transforms of n
/// points of x and of x times a phase, so that nothing is padded and every pass stays within the array: for d axes of
/// n points, 2 (2^d + … + 2) n^d / n line transforms, the innermost in tiles of eight columns that stay in cache.
/// Threads share the lines of one array; inside a parallel region the work is serial. T: float or double.
template <class T>
class ToeplitzConvolution {
 public:
  /// extents: [z, y, x]. spectrum: real, [2z, 2y, 2x] in the order of the DFT; an extent of 1 stays 1.
  ToeplitzConvolution(std::array<int64_t, 3> extents, const double* spectrum);
  ~ToeplitzConvolution();
  ToeplitzConvolution(const ToeplitzConvolution&) = delete;
  ToeplitzConvolution& operator=(const ToeplitzConvolution&) = delete;

  /// Complex numbers of scratch that apply() needs.
  int64_t scratch_size() const;
  /// data: [z, y, x] contiguous, aligned to 16 bytes, in place; scratch likewise aligned.
  void apply(std::complex<T>* data, std::complex<T>* scratch) const;

 private:
  struct Passes;
  std::unique_ptr<const Passes> passes_;
};

}  // namespace cpu
}  // namespace monarch::operators::kernels
