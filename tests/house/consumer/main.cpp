// A program of somebody else: makes an encoding model out of operators and checks its adjoint.
#include <ATen/ATen.h>
#include <monarch/operators/composition.hpp>
#include <monarch/operators/fourier.hpp>

#include <cstdio>

int main() {
  using namespace monarch::operators;
  const OperatorPtr fourier = std::make_shared<Fourier>(Space{{16, 15}, at::kComplexFloat},
                                                        FourierOptions{.dimensions = 2, .centred = true});
  const at::Tensor image = at::randn({16, 15}, at::kComplexFloat);
  const at::Tensor back = fourier->adjoint(fourier->apply(image));
  const double error = (at::linalg_vector_norm(back - image) / at::linalg_vector_norm(image)).item<double>();
  std::printf("%s: error %.1e\n", fourier->describe().c_str(), error);
  return error <= 1e-5 ? 0 : 1;
}
