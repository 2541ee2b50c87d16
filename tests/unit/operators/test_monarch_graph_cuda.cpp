// The Monarch product inside a CUDA graph. Skipped where no device is.
#include <ATen/ATen.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <catch2/catch.hpp>

#include "monarch/core/rng.hpp"
#include "monarch/operators/kernels/cuda/monarch_paths.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::operators;
namespace cuda = monarch::operators::kernels::cuda;
using test::relative_error;
using test::tolerance;

TEST_CASE("Monarch on CUDA: a graph can hold the product, and nothing is measured while it is captured") {
  if (!at::hasCUDA()) test::skip("no CUDA device");
  const at::Device gpu(at::kCUDA, 0);
  Rng rng(1, "graph");
  const at::Tensor x = rng.normal({70, 96}, at::kFloat).to(gpu), w1 = rng.normal({4, 20, 24}, at::kFloat).to(gpu),
                   w2 = rng.normal({8, 11, 10}, at::kFloat).to(gpu);
  const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool(false, 0));
  // Libraries and kernels are loaded outside of the capture.
  const at::Tensor before = cuda::monarch_forward_gemm(x, w1, w2, {}, 88, Activation::none, false).y;
  cuda::monarch_forward_fused(x, w1, w2, {}, 88, Activation::none, false);
  c10::cuda::getCurrentCUDAStream().synchronize();

  const size_t choices = cuda::monarch_choices();
  at::cuda::CUDAGraph graph;
  graph.capture_begin();
  const at::Tensor y = cuda::monarch_forward(x, w1, w2, {}, 88, Activation::none, false).y;
  graph.capture_end();
  REQUIRE(cuda::monarch_choices() == choices);
  x.mul_(2);
  graph.replay();
  c10::cuda::getCurrentCUDAStream().synchronize();
  REQUIRE(relative_error(y, before * 2) <= tolerance(at::kFloat, 34));
}
