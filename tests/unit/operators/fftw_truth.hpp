#pragma once
// FFTW in double, planned without measuring: what the constructions are compared with.

#include <ATen/ATen.h>
#include <fftw3.h>

#include "monarch/operators/monarch/transform.hpp"

namespace monarch::test {

/// The unscaled transform of the rows of x [batch, n].
inline at::Tensor fftw_dft(const at::Tensor& x, bool inverse) {
  const at::Tensor in = x.to(at::kComplexDouble).clone(at::MemoryFormat::Contiguous);
  const int n = static_cast<int>(in.size(-1));
  auto* data = reinterpret_cast<fftw_complex*>(in.data_ptr());
  fftw_plan plan = fftw_plan_many_dft(1, &n, static_cast<int>(in.numel() / n), data, nullptr, 1, n, data, nullptr, 1, n,
                                      inverse ? FFTW_BACKWARD : FFTW_FORWARD, FFTW_ESTIMATE);
  fftw_execute(plan);
  fftw_destroy_plan(plan);
  return in;
}

/// The transform with every option, over the last axis.
inline at::Tensor fftw_dft(const at::Tensor& x, const operators::TransformOptions& options) {
  const int64_t n = x.size(-1);
  at::Tensor y = fftw_dft(options.centred ? at::roll(x, -(n / 2), -1) : x, options.inverse);
  if (options.centred) y = at::roll(y, n / 2, -1);
  const double size = static_cast<double>(n);
  switch (options.normalisation) {
    case operators::Normalisation::none:
      return y;
    case operators::Normalisation::ortho:
      return y / std::sqrt(size);
    case operators::Normalisation::inverse:
      return y / size;
  }
  return {};
}

/// The unscaled real transform of the rows of x [batch, n].
inline at::Tensor fftw_real(const at::Tensor& x, operators::RealTransform kind) {
  const fftw_r2r_kind kinds[] = {FFTW_REDFT10, FFTW_REDFT01, FFTW_REDFT11, FFTW_RODFT10, FFTW_RODFT01, FFTW_RODFT11};
  const at::Tensor in = x.to(at::kDouble).clone(at::MemoryFormat::Contiguous);
  const int n = static_cast<int>(in.size(-1));
  double* data = in.data_ptr<double>();
  fftw_plan plan = fftw_plan_many_r2r(1, &n, static_cast<int>(in.numel() / n), data, nullptr, 1, n, data, nullptr, 1, n,
                                      &kinds[static_cast<int>(kind)], FFTW_ESTIMATE);
  fftw_execute(plan);
  fftw_destroy_plan(plan);
  return in;
}

}  // namespace monarch::test
