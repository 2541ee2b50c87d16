#include "monarch/operators/kernels/cuda/check.hpp"

#include <fmt/format.h>

#include "monarch/core/error.hpp"

namespace monarch::operators::kernels::cuda {

void check_cuda(cudaError_t status, const char* call, std::source_location where) {
  if (status == cudaSuccess) return;
  fail<BackendError>(fmt::format("{}: {} ({})", call, cudaGetErrorString(status), cudaGetErrorName(status)), {}, where);
}

void check_cufft(cufftResult status, const char* call, std::source_location where) {
  if (status == CUFFT_SUCCESS) return;
  fail<BackendError>(
      fmt::format("{}: cuFFT error {}", call, static_cast<int>(status)),
      status == CUFFT_ALLOC_FAILED ? "the device's memory is used up; transform fewer arrays at once" : "", where);
}

void check_cublas(cublasStatus_t status, const char* call, std::source_location where) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  fail<BackendError>(fmt::format("{}: {} ({})", call, cublasGetStatusString(status), cublasGetStatusName(status)),
                     status == CUBLAS_STATUS_ALLOC_FAILED ? "the device's memory is used up; use smaller batches" : "",
                     where);
}

}  // namespace monarch::operators::kernels::cuda
