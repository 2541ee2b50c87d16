// Stands in for the CUDA back end in a build without it.
#include "monarch/operators/kernels/fourier.hpp"
#include "monarch/core/error.hpp"

namespace monarch::operators::kernels::cuda {

void fourier(const FourierTask&, const at::Tensor&, const at::Tensor&) {
  fail<BackendError>("Fourier: this build of monarch has no CUDA back end",
                     "configure with -DMONARCH_CUDA=ON, or move the tensor to the CPU");
}

}  // namespace monarch::operators::kernels::cuda
