#include "monarch/solvers/numerical/grid_transforms.hpp"

#include <fftw3.h>
#include <fmt/format.h>

#include <cmath>
#include <mutex>
#include <numbers>

#include "monarch/core/error.hpp"
#include "monarch/operators/kernels/fourier.hpp"

namespace monarch::solvers {
namespace {

// Estimated plans are a function of the shape alone: measured ones could differ in rounding from run to run.
constexpr unsigned flags = FFTW_ESTIMATE | FFTW_UNALIGNED;

struct Plan {
  fftw_plan handle = nullptr;
  ~Plan() {
    const std::lock_guard lock(operators::kernels::cpu::planner_mutex());
    fftw_destroy_plan(handle);
  }
};

int checked_length(int64_t n, const char* what) {
  check<ShapeError>(n >= 1 && n <= (int64_t{1} << 30),
                    [&] { return fmt::format("{}: {} points; expected at least 1", what, n); });
  return static_cast<int>(n);
}

fftw_complex* raw(std::complex<double>* v) {
  return reinterpret_cast<fftw_complex*>(v);
}

}  // namespace

struct RealFft::Plans {
  Plan forward, inverse;
};

RealFft::RealFft(int64_t n) : n_(n), plans_(std::make_unique<Plans>()) {
  const int length = checked_length(n, "real Fourier transform");
  std::vector<double> x(static_cast<size_t>(n));
  std::vector<std::complex<double>> v(static_cast<size_t>(n / 2 + 1));
  const std::lock_guard lock(operators::kernels::cpu::planner_mutex());
  plans_->forward.handle = fftw_plan_dft_r2c_1d(length, x.data(), raw(v.data()), flags | FFTW_PRESERVE_INPUT);
  plans_->inverse.handle = fftw_plan_dft_c2r_1d(length, raw(v.data()), x.data(), flags | FFTW_DESTROY_INPUT);
}

RealFft::~RealFft() = default;

void RealFft::forward(const double* x, std::complex<double>* v) const {
  fftw_execute_dft_r2c(plans_->forward.handle, const_cast<double*>(x), raw(v));  // the plan keeps its input
}

void RealFft::inverse(std::complex<double>* v, double* x) const {
  fftw_execute_dft_c2r(plans_->inverse.handle, raw(v), x);
  const double scale = 1 / static_cast<double>(n_);
  for (int64_t j = 0; j < n_; ++j) x[j] *= scale;
}

struct CosineTransform2d::Plans {
  Plan forward, inverse;
};

CosineTransform2d::CosineTransform2d(int64_t n) : n_(n), plans_(std::make_unique<Plans>()) {
  const int length = checked_length(n, "cosine transform");
  std::vector<double> x(static_cast<size_t>(n * n));
  const std::lock_guard lock(operators::kernels::cpu::planner_mutex());
  plans_->forward.handle = fftw_plan_r2r_2d(length, length, x.data(), x.data(), FFTW_REDFT10, FFTW_REDFT10, flags);
  plans_->inverse.handle = fftw_plan_r2r_2d(length, length, x.data(), x.data(), FFTW_REDFT01, FFTW_REDFT01, flags);
}

CosineTransform2d::~CosineTransform2d() = default;

namespace {

/// to = from times `inner`, and times `edge` for each index 0.
void scale(const double* from, double* to, int64_t n, double inner, double edge) {
  for (int64_t i = 0; i < n; ++i) {
    const double row = i == 0 ? inner * edge : inner;
    const double* source = from + i * n;
    double* target = to + i * n;
    target[0] = source[0] * row * edge;
    for (int64_t j = 1; j < n; ++j) target[j] = source[j] * row;
  }
}

}  // namespace

// FFTW's REDFT10 gives y_k = 2 sum_j x_j cos(pi k (j + 1/2)/n) along each axis.
void CosineTransform2d::forward(const double* from, double* to) const {
  if (from != to) std::copy_n(from, n_ * n_, to);
  fftw_execute_r2r(plans_->forward.handle, to, to);
  scale(to, to, n_, 1 / (2.0 * static_cast<double>(n_)), std::numbers::sqrt2 / 2);
}

// FFTW's REDFT01 gives x_j = y_0 + 2 sum_{k >= 1} y_k cos(pi k (j + 1/2)/n) along each axis.
void CosineTransform2d::inverse(const double* from, double* to) const {
  scale(from, to, n_, 1 / (2.0 * static_cast<double>(n_)), std::numbers::sqrt2);
  fftw_execute_r2r(plans_->inverse.handle, to, to);
}

}  // namespace monarch::solvers
