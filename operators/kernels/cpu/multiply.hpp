#pragma once
// The multiplications before and after a transform, in vector instructions.

#include <complex>
#include <cstdint>

namespace monarch::operators::kernels::cpu {

/// out[i] = in[i] * signs[i] * scale for n real numbers; signs may be null (all 1). out may be in.
void multiply_real(const float* in, float* out, const float* signs, float scale, int64_t n);
void multiply_real(const double* in, double* out, const double* signs, double scale, int64_t n);

/// out[i] = in[i] * phase[i] * scale for n complex numbers; phase may be null (all 1). out may be in.
void multiply_complex(const std::complex<float>* in, std::complex<float>* out, const std::complex<float>* phase,
                      std::complex<float> scale, int64_t n);
void multiply_complex(const std::complex<double>* in, std::complex<double>* out, const std::complex<double>* phase,
                      std::complex<double> scale, int64_t n);

}  // namespace monarch::operators::kernels::cpu
