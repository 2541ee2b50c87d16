#include "monarch/mri/non_cartesian.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/mri/kernels/complex_arrays.hpp"
#include "monarch/mri/sense.hpp"
#include "monarch/operators/kernels/nufft.hpp"
#include "monarch/operators/nufft.hpp"

namespace monarch::mri {
namespace {

using kernels::complex64;
using operators::Space;

complex64* numbers(const at::Tensor& t) {
  return reinterpret_cast<complex64*>(t.mutable_data_ptr<c10::complex<float>>());
}
const complex64* constant_numbers(const at::Tensor& t) {
  return reinterpret_cast<const complex64*>(t.const_data_ptr<c10::complex<float>>());
}

const at::Tensor& checked(const at::Tensor& maps, const at::Tensor& trajectory) {
  check_maps(maps, "NonCartesianSense");
  check<ShapeError>(
      trajectory.dim() == 2 && (trajectory.size(1) == 3 || (trajectory.size(1) == 2 && maps.size(2) == 1)), [&] {
        return fmt::format(
            "NonCartesianSense: the trajectory has shape {}, expected [sample, axis] with {} for coil "
            "sensitivities of shape {}",
            shape_text(trajectory.sizes()), maps.size(2) == 1 ? "2 or 3 axes" : "3 axes", shape_text(maps.sizes()));
      });
  return maps;
}

/// Coil images as the trajectory's number of axes wants them.
Space coil_space(int64_t coils, at::IntArrayRef extents, int64_t axes) {
  Space space{{coils}, at::kComplexFloat};
  space.shape.insert(space.shape.end(), extents.end() - axes, extents.end());
  return space;
}

}  // namespace

struct NonCartesianSense::Convolution {
  Convolution(std::array<int64_t, 3> extents, const at::Tensor& spectrum)
      : toeplitz(extents, spectrum.const_data_ptr<double>()) {}
  operators::kernels::cpu::ToeplitzConvolution<float> toeplitz;
};

NonCartesianSense::NonCartesianSense(const at::Tensor& maps, const at::Tensor& trajectory, const at::Tensor& weights)
    : LinearOperator({{checked(maps, trajectory).size(0), maps.size(2), maps.size(3), maps.size(4)}},
                     {{maps.size(1), trajectory.size(0)}}),
      maps_(maps.detach().resolve_conj().resolve_neg().contiguous()),
      samples_(trajectory.size(0)) {
  const c10::NoGradGuard no_grad;
  const at::IntArrayRef extents = maps_.sizes().slice(2);
  const int64_t axes = trajectory.size(1);
  nufft_ = std::make_shared<const operators::Nufft>(coil_space(maps_.size(1), extents, axes), trajectory);
  const at::Tensor spectrum = operators::nufft_spectrum({extents.end() - axes, extents.end()}, trajectory, weights);
  if (weights.defined()) {
    check<DataError>(weights.ge(0).all().item<bool>(), "NonCartesianSense: a weight is negative or NaN",
                     "weights are areas of k-space");
    root_ = weights.detach().sqrt().to(at::kFloat);
  }
  convolution_ =
      std::make_shared<const Convolution>(std::array<int64_t, 3>{extents[0], extents[1], extents[2]}, spectrum);
}

NonCartesianSense::~NonCartesianSense() = default;

std::string NonCartesianSense::describe() const {
  return fmt::format("non-Cartesian SENSE: {} maps, {} coils, {} samples; {} -> {}", maps_.size(0), maps_.size(1),
                     samples_, domain().text(), codomain().text());
}

at::Tensor NonCartesianSense::do_apply(const at::Tensor& x) const {
  const at::Tensor coil_images = at::mul(maps_, x.unsqueeze(2)).sum(1);
  std::vector<int64_t> shape = nufft_->domain().shape;
  shape.insert(shape.begin(), x.size(0));
  const at::Tensor samples = nufft_->apply(coil_images.reshape(shape));
  return root_.defined() ? at::mul(samples, root_) : samples;
}

at::Tensor NonCartesianSense::do_adjoint(const at::Tensor& y) const {
  const at::Tensor coil_images =
      nufft_->adjoint(root_.defined() ? at::mul(y, root_) : y)
          .reshape({y.size(0), 1, maps_.size(1), maps_.size(2), maps_.size(3), maps_.size(4)});
  return at::mul(maps_.conj(), coil_images).sum(2);
}

at::Tensor NonCartesianSense::do_normal(const at::Tensor& x) const {
  const auto& toeplitz = convolution_->toeplitz;
  const at::Tensor input = x.contiguous();
  const at::Tensor output = at::empty_like(input);
  const int64_t map_count = maps_.size(0), coils = maps_.size(1), points = maps_[0][0].numel();
  const int64_t image_size = map_count * points, room = (points + 7) / 8 * 8;
  const complex64* maps = constant_numbers(maps_);
  const int64_t shares = coils >= at::get_num_threads() ? at::get_num_threads() : 1;
  for (int64_t batch = 0; batch < input.size(0); ++batch) {
    const complex64* image = constant_numbers(input) + batch * image_size;
    const at::Tensor sums = at::zeros({shares, image_size}, input.options());
    const auto some_coils = [&](int64_t share) {
      const at::Tensor scratch = at::empty({room + toeplitz.scratch_size()}, input.options());
      complex64* coil_image = numbers(scratch);
      complex64* sum = numbers(sums) + share * image_size;
      for (int64_t c = share * coils / shares; c < (share + 1) * coils / shares; ++c) {
        kernels::multiply(maps + c * points, image, coil_image, points);
        for (int64_t m = 1; m < map_count; ++m) {
          kernels::multiply_add(maps + (m * coils + c) * points, image + m * points, coil_image, points);
        }
        toeplitz.apply(coil_image, coil_image + room);
        for (int64_t m = 0; m < map_count; ++m) {
          kernels::conjugate_multiply_add(maps + (m * coils + c) * points, coil_image, sum + m * points, points);
        }
      }
    };
    if (shares == 1) {
      some_coils(0);  // outside a parallel region, so that the transforms are shared
    } else {
      at::parallel_for(0, shares, 1, [&](int64_t begin, int64_t end) {
        for (int64_t share = begin; share < end; ++share) some_coils(share);
      });
    }
    output[batch].copy_(sums.sum(0).view(output[batch].sizes()));
  }
  return output;
}

at::Tensor gridded_images(const at::Tensor& samples, const at::Tensor& trajectory, const at::Tensor& density,
                          const std::array<int64_t, 3>& extents) {
  const c10::NoGradGuard no_grad;
  check<ShapeError>(samples.dim() == 2 && trajectory.dim() == 2 && density.dim() == 1 &&
                        samples.size(1) == trajectory.size(0) && samples.size(1) == density.size(0),
                    [&] {
                      return fmt::format(
                          "gridding: samples {}, trajectory {} and density {}; expected [coil, sample], [sample, axis] "
                          "and [sample]",
                          shape_text(samples.sizes()), shape_text(trajectory.sizes()), shape_text(density.sizes()));
                    });
  const std::vector<int64_t> shape = {extents[2], extents[1], extents[0]};
  const operators::Nufft nufft(coil_space(samples.size(0), shape, trajectory.size(1)), trajectory);
  return nufft.adjoint(at::mul(samples, density.to(at::kFloat)))
      .reshape({samples.size(0), shape[0], shape[1], shape[2]});
}

}  // namespace monarch::mri
