// The cuFFT back end against the direct sum. Skipped where no device is.
#include <ATen/ATen.h>
#include <ATen/Context.h>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <catch2/catch.hpp>
#include <thread>

#include "monarch/core/rng.hpp"
#include "monarch/operators/fourier.hpp"
#include "monarch/operators/kernels/fourier.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::operators;
using test::relative_error;
using test::tolerance;

namespace {

at::Device device() {
  if (!at::hasCUDA()) test::skip("no CUDA device");
  return {at::kCUDA, 0};
}

at::Tensor noise(std::vector<int64_t> shape, at::ScalarType dtype, uint64_t seed = 1) {
  return Rng(seed, "cuda").normal(std::move(shape), dtype);
}

}  // namespace

TEST_CASE("Fourier on CUDA: cuFFT equals the direct sum for every size and option") {
  const at::Device gpu = device();
  const auto dtype = GENERATE(at::kComplexFloat, at::kComplexDouble);
  struct Case {
    std::vector<int64_t> sizes, axes;
  };
  const std::vector<Case> cases = {{{1}, {0}},
                                   {{16}, {0}},
                                   {{251}, {0}},
                                   {{5, 7}, {0, 1}},
                                   {{3, 8, 9}, {1, 2}},
                                   {{32, 33}, {0}},
                                   {{4, 5, 6}, {0, 1, 2}},
                                   {{4, 5, 6}, {0, 2}},
                                   {{3, 4, 5}, {1}},
                                   {{2, 3, 2, 4, 5}, {1, 3}},
                                   {{3, 101, 67}, {1, 2}}};
  for (const auto& [sizes, axes] : cases) {
    for (const bool inverse : {false, true}) {
      for (const bool centred : {false, true}) {
        INFO(fmt::format("{} {} inverse {} centred {}", sizes, axes, inverse, centred));
        kernels::FourierTask task{sizes, axes, inverse, {}, {0.5, 0}};
        int64_t n = 1;
        for (const int64_t axis : axes) {
          n *= sizes[axis];
          if (!centred) continue;
          kernels::Centring centring = kernels::centring(sizes[axis], inverse);
          task.phases.push_back(centring.phase);
          task.factor *= centring.constant;
        }
        const at::Tensor x = noise(sizes, dtype);
        at::Tensor expected = at::empty_like(x);
        kernels::reference::fourier(task, x, expected);
        const at::Tensor in = x.to(gpu);
        at::Tensor out = at::full_like(in, std::nan(""));
        kernels::cuda::fourier(task, in, out);
        REQUIRE(relative_error(out.cpu(), expected) <= tolerance(dtype, n));
        REQUIRE(at::equal(in.cpu(), x));
      }
    }
  }
}

TEST_CASE("Fourier on CUDA: the operator equals the one on the CPU") {
  const at::Device gpu = device();
  const auto normalisation = GENERATE(Normalisation::none, Normalisation::ortho, Normalisation::inverse);
  const FourierOptions options{.dimensions = 2, .centred = true, .normalisation = normalisation};
  const at::Tensor x = noise({8, 255, 256}, at::kComplexFloat);
  const Fourier here(Space{{255, 256}}, options), there(Space{{255, 256}, at::kComplexFloat, gpu}, options);
  const double limit = tolerance(at::kComplexFloat, 255 * 256);
  REQUIRE(relative_error(there.apply(x.to(gpu)).cpu(), here.apply(x)) <= limit);
  REQUIRE(relative_error(there.adjoint(x.to(gpu)).cpu(), here.adjoint(x)) <= limit);
  REQUIRE(relative_error(there.normal(x.to(gpu)).cpu(), here.normal(x)) <= limit);
}

TEST_CASE("Fourier on CUDA: threads may share plans") {
  const at::Device gpu = device();
  std::vector<std::thread> threads;
  std::vector<double> errors(4, std::nan(""));
  for (size_t t = 0; t < errors.size(); ++t) {
    threads.emplace_back([&, t] {
      double worst = 0;
      for (int i = 0; i < 20; ++i) {
        const TransformOptions options{.centred = i % 2 == 0};
        const at::Tensor x = noise({4, 30, 31}, at::kComplexFloat, t);
        const at::Tensor y = fourier_transform(x.to(gpu), {1, 2}, options).cpu();
        worst = std::max(worst, relative_error(y, fourier_transform(x, {1, 2}, options)));
      }
      errors[t] = worst;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const double error : errors) REQUIRE(error <= tolerance(at::kComplexFloat, 930));
}
