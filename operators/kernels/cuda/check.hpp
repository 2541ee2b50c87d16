#pragma once
// Every call of the CUDA runtime, of cuFFT and of cuBLAS goes through these.

#include <cublas_api.h>
#include <cuda_runtime_api.h>
#include <cufft.h>

#include <source_location>

namespace monarch::operators::kernels::cuda {

/// Throws BackendError naming the call and CUDA's own words, unless the call succeeded.
void check_cuda(cudaError_t status, const char* call, std::source_location where = std::source_location::current());
void check_cufft(cufftResult status, const char* call, std::source_location where = std::source_location::current());
void check_cublas(cublasStatus_t status, const char* call,
                  std::source_location where = std::source_location::current());

}  // namespace monarch::operators::kernels::cuda
