// Stands in for the CUDA back end in a build without it.
#include "monarch/operators/kernels/monarch.hpp"
#include "monarch/core/error.hpp"

namespace monarch::operators::kernels::cuda {
namespace {

[[noreturn]] void absent() {
  fail<BackendError>("Monarch product: this build of monarch has no CUDA back end",
                     "configure with -DMONARCH_CUDA=ON, or move the tensors to the CPU");
}

}  // namespace

MonarchForward monarch_forward(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&, int64_t,
                               Activation, bool) {
  absent();
}

MonarchGradients monarch_backward(const MonarchBackwardTask&) {
  absent();
}

}  // namespace monarch::operators::kernels::cuda
