#pragma once
// Samples of the vorticity equation on their way through time, side by side as the lanes of a vector.

#include <algorithm>
#include <complex>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "monarch/solvers/numerical/kernels/vorticity.hpp"
#include "monarch/solvers/numerical/navier_stokes.hpp"
#include "monarch/solvers/numerical/step_tables.hpp"

namespace monarch::solvers {

/// Numbers that start as zeros, at an address that is a multiple of 64.
template <class T>
class AlignedBuffer {
 public:
  explicit AlignedBuffer(int64_t numbers)
      : data_(static_cast<T*>(std::aligned_alloc(64, (static_cast<size_t>(numbers) * sizeof(T) + 63) / 64 * 64))) {
    if (!data_) throw std::bad_alloc();
    std::fill(data_, data_ + numbers, T(0));
  }
  ~AlignedBuffer() { std::free(data_); }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  T* get() const { return data_; }

 private:
  T* data_;
};

/// What all samples share: the options, with defaults resolved, and what follows from them.
template <class T>
struct VorticityProblem {
  NavierStokesOptions options;
  int64_t n;
  kernels::VorticityGrid<T> grid;
  std::vector<double> decay;                       ///< [modes]: the rate at which viscosity damps each
  std::vector<T> forcing;                          ///< [modes, 2], or empty
  std::vector<std::complex<double>> full_forcing;  ///< [n/2+1, n], or empty

  explicit VorticityProblem(const NavierStokesOptions& options);
  /// Row of the full spectrum [n/2+1, n] for one of the grid's.
  int64_t full_row(int64_t row) const { return row <= (grid.rows - 1) / 2 ? row : n - grid.rows + row; }
  /// Rate at which viscosity damps the mode (kx, ky).
  double decay_of(int64_t kx, int64_t ky) const;
};

/// `width` samples, of which `count` are wanted: the lanes beyond repeat the last one.
template <class T>
class VorticityGroup {
 public:
  /// fields: vorticity [count, n, n]. first: number of the first sample in its batch, for messages.
  VorticityGroup(const VorticityProblem<T>& problem, const T* fields, int64_t first, int64_t count, int64_t width);

  void measure_speed();
  /// From `begin` to `end` in equal steps of at most dt, each split where the speed of a lane asks for it. Throws
  /// BackendError naming sample and time.
  void advance(double begin, double end, double dt);
  /// Writes the fields at time t, [stored, stored] for each sample, at to + sample · stride. Throws BackendError where
  /// they are not finite.
  void record(double t, const kernels::LinePlan<T>& line, Reduction reduction, int64_t stored, T* to, int64_t stride);
  /// −u·∇w + f as fields.
  void tendency(int64_t repeats, T* to);

 private:
  std::string not_finite(int64_t lane, double t) const;
  int level_of(int64_t lane, double t, double h) const;
  kernels::VorticityTask<T> base_task(kernels::Update update);
  void substeps(int level, double h);
  void step(const StepTables<T>& tables);
  /// Coefficient (column c, row r of the full spectrum) at time t, all lanes.
  void mode(double t, int64_t c, int64_t r, T* to) const;

  const VorticityProblem<T>& problem_;
  const kernels::VorticityGrid<T>& grid_;
  int64_t n_, first_, count_, width_, element_;
  AlignedBuffer<T> scratch_;
  AlignedBuffer<T> start_;  ///< [n/2+1, n]: the whole initial spectrum
  AlignedBuffer<T> w_;      ///< [modes]
  AlignedBuffer<T> speed_;
  std::vector<std::unique_ptr<AlignedBuffer<T>>> more_;
  std::unique_ptr<AlignedBuffer<T>> before_, after_;
  std::map<int, StepTables<T>> levels_;  ///< of step_/2^level
  double step_ = 0;
};

}  // namespace monarch::solvers
