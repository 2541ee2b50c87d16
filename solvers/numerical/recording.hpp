#pragma once
// What the one-dimensional and the reacting equations share: moments, grids, and the end of a solution.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace monarch::solvers {

/// The moments k T / count, k = 1 … count; with_start: 0 as well.
std::vector<double> recording_times(double final_time, int64_t count, bool with_start = false);

/// [1, n] float64, the form in which files state moments and coordinates.
at::Tensor constant_row(const std::vector<double>& values);

/// start + j · spacing, j = 0 … n-1.
std::vector<double> grid_points(int64_t n, double spacing, double start = 0);

/// How many equal steps of at most `step` an interval takes.
int64_t steps_in(double interval, double step);

/// Throws BackendError naming equation, sample and moment unless all values are finite.
void check_finite(const double* values, int64_t count, const std::string& equation, int64_t sample, double time);

}  // namespace monarch::solvers
