#include "monarch/operators/nufft.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/fourier.hpp"
#include "monarch/operators/kernels/nufft.hpp"

namespace monarch::operators {
namespace {

/// Padded grids that are alive at once.
constexpr int64_t grid_bytes = 256 << 20;

template <class T>
std::complex<T>* numbers(const at::Tensor& t) {
  return reinterpret_cast<std::complex<T>*>(t.mutable_data_ptr());
}
template <class T>
const std::complex<T>* constant_numbers(const at::Tensor& t) {
  return reinterpret_cast<const std::complex<T>*>(t.const_data_ptr());
}

/// The trajectory as float64 [sample, axis], checked against the images.
at::Tensor checked_trajectory(const Space& images, const at::Tensor& trajectory) {
  check<ShapeError>(
      trajectory.dim() == 2 && trajectory.size(0) >= 1 && trajectory.size(1) >= 1 && trajectory.size(1) <= 3, [&] {
        return fmt::format("Nufft: the trajectory has shape {}, expected [sample, axis] with 1 to 3 axes",
                           shape_text(trajectory.sizes()));
      });
  check<DtypeError>(trajectory.scalar_type() == at::kFloat || trajectory.scalar_type() == at::kDouble, [&] {
    return fmt::format("Nufft: the trajectory is {}, expected float32 or float64",
                       dtype_text(trajectory.scalar_type()));
  });
  const int64_t axes = trajectory.size(1);
  const auto rank = static_cast<int64_t>(images.shape.size());
  check<ShapeError>(rank >= axes, [&] {
    return fmt::format("Nufft: the trajectory has {} axes, but the images are {}", axes, images.text());
  });
  check<DtypeError>(images.dtype == at::kComplexFloat || images.dtype == at::kComplexDouble, [&] {
    return fmt::format("Nufft: expected complex64 or complex128 images; found {}", images.text());
  });
  check<BackendError>(
      images.device.is_cpu(), [&] { return fmt::format("Nufft: no back end for {}", images.text()); }, "use the cpu");
  const at::Tensor k = trajectory.detach().to(at::kCPU, at::kDouble).contiguous();
  const double* values = k.const_data_ptr<double>();
  for (int64_t i = 0; i < k.numel(); ++i) {
    const int64_t axis = i % axes, n = images.shape[rank - 1 - axis];
    const double limit = static_cast<double>(n) / 2 * (1 + 1e-6);
    check<DataError>(
        std::abs(values[i]) <= limit,
        [&] {
          return fmt::format("Nufft: k{} of sample {} is {}, expected at most {} (half of {} pixels)", "xyz"[axis],
                             i / axes, values[i], static_cast<double>(n) / 2, n);
        },
        "the trajectory is in cycles per field of view; scale it, or enlarge the matrix");
  }
  return k;
}

Space samples_space(const Space& images, const at::Tensor& trajectory) {
  Space samples = images;
  samples.shape.resize(samples.shape.size() - static_cast<size_t>(trajectory.size(1)));
  samples.shape.push_back(trajectory.size(0));
  return samples;
}

/// Smallest even number of at least n with no prime factor beyond 7, whose transforms are fast.
int64_t fast_extent(int64_t n) {
  for (int64_t m = n + n % 2;; m += 2) {
    int64_t rest = m;
    for (const int64_t prime : {2, 3, 5, 7}) {
      while (rest % prime == 0) rest /= prime;
    }
    if (rest == 1) return m;
  }
}

/// [z, y, x] of the last `axes` extents, 1 for those that are not there.
std::array<int64_t, 3> image_extents(at::IntArrayRef shape, int64_t axes) {
  std::array<int64_t, 3> extents{1, 1, 1};
  for (int64_t a = 0; a < axes; ++a) extents[2 - a] = shape[shape.size() - 1 - a];
  return extents;
}

}  // namespace

// Grids and kernel of one precision.
template <class T>
struct Nufft::Plan {
  /// k: [sample, axis] float64.
  Plan(std::array<int64_t, 3> image_extents, const at::Tensor& k, const NufftOptions& options) : image(image_extents) {
    axes = static_cast<int>(k.size(1));
    const auto kernel =
        kernels::gridding_kernel(options.kernel == NufftKernel::kaiser_bessel, options.accuracy, options.oversampling);
    at::Tensor positions = k.clone();
    const double scale = 1 / std::sqrt(static_cast<double>(image[0] * image[1] * image[2]));
    for (int a = 0; a < axes; ++a) {
      const int64_t n = image[2 - a];
      const auto wanted = static_cast<int64_t>(std::ceil(options.oversampling * static_cast<double>(n)));
      const int64_t points = fast_extent(std::max(wanted, 2 * kernel.width));
      grid[2 - a] = points;
      positions.select(1, a).mul_(static_cast<double>(points) / static_cast<double>(n));
      auto& correction = corrections[2 - a];
      for (int64_t i = 0; i < n; ++i) {
        const double frequency = static_cast<double>(i - n / 2) / static_cast<double>(points);
        correction.push_back((a == 0 ? scale : 1) / kernel.transform(frequency));
      }
    }
    for (int a = axes; a < 3; ++a) corrections[2 - a] = {1};
    gridding.emplace(positions.const_data_ptr<double>(), k.size(0), axes, grid, kernel);
  }

  int64_t grid_size() const { return grid[0] * grid[1] * grid[2]; }
  int64_t image_size() const { return image[0] * image[1] * image[2]; }

  /// run(image run, grid run, length, corrections along x, correction of the row) for the runs of pixels that are
  /// contiguous on the grid, whose origin is index 0.
  template <class Run>
  void for_runs(int64_t row, const Run& run) const {
    const int64_t z = row / image[1], y = row % image[1];
    const auto wrapped = [this](int axis, int64_t i) {
      const int64_t centred = i - image[axis] / 2;
      return centred < 0 ? centred + grid[axis] : centred;
    };
    const int64_t to = (wrapped(0, z) * grid[1] + wrapped(1, y)) * grid[2], centre = image[2] / 2;
    const double factor = corrections[0][z] * corrections[1][y];
    run(row * image[2], to + grid[2] - centre, centre, corrections[2].data(), factor);
    run(row * image[2] + centre, to, image[2] - centre, corrections[2].data() + centre, factor);
  }

  void put(const std::complex<T>* from, std::complex<T>* to, int64_t row) const {
    for_runs(row, [&](int64_t i, int64_t g, int64_t length, const double* along, double factor) {
      for (int64_t j = 0; j < length; ++j) to[g + j] = from[i + j] * static_cast<T>(along[j] * factor);
    });
  }
  void take(const std::complex<T>* from, std::complex<T>* to, int64_t row) const {
    for_runs(row, [&](int64_t i, int64_t g, int64_t length, const double* along, double factor) {
      for (int64_t j = 0; j < length; ++j) to[i + j] = from[g + j] * static_cast<T>(along[j] * factor);
    });
  }

  std::vector<int64_t> transformed() const {
    std::vector<int64_t> result;
    for (int a = axes; a > 0; --a) result.push_back(4 - a);
    return result;
  }
  /// step(first image, count) for as many images at once as memory allows.
  template <class Step>
  void in_groups(int64_t images, const Step& step) const {
    const int64_t bytes = grid_size() * static_cast<int64_t>(sizeof(std::complex<T>));
    const int64_t group = std::clamp<int64_t>(grid_bytes / bytes, 1, images);
    for (int64_t first = 0; first < images; first += group) step(first, std::min(group, images - first));
  }

  at::Tensor apply(const at::Tensor& x, int64_t images, int64_t samples) const {
    const at::Tensor input = x.contiguous();
    const at::Tensor values = at::empty({images, samples}, x.options());
    in_groups(images, [&](int64_t first, int64_t count) {
      at::Tensor grids = at::zeros({count, grid[0], grid[1], grid[2]}, x.options());
      const int64_t rows = image[0] * image[1];
      at::parallel_for(0, count * rows, 64, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          put(constant_numbers<T>(input) + (first + i / rows) * image_size(),
              numbers<T>(grids) + i / rows * grid_size(), i % rows);
        }
      });
      grids = fourier_transform(grids, transformed(), {.normalisation = Normalisation::none});
      gridding->interpolate(constant_numbers<T>(grids), numbers<T>(values) + first * samples, count);
    });
    return values;
  }

  at::Tensor adjoint(const at::Tensor& y, int64_t images, int64_t samples) const {
    const at::Tensor values = y.contiguous();
    const at::Tensor result = at::empty({images, image[0], image[1], image[2]}, y.options());
    in_groups(images, [&](int64_t first, int64_t count) {
      at::Tensor grids = at::empty({count, grid[0], grid[1], grid[2]}, y.options());
      gridding->spread(constant_numbers<T>(values) + first * samples, numbers<T>(grids), count);
      grids = fourier_transform(grids, transformed(), {.inverse = true, .normalisation = Normalisation::none});
      const int64_t rows = image[0] * image[1];
      at::parallel_for(0, count * rows, 64, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          take(constant_numbers<T>(grids) + i / rows * grid_size(),
               numbers<T>(result) + (first + i / rows) * image_size(), i % rows);
        }
      });
    });
    return result;
  }

  int axes = 0;
  std::array<int64_t, 3> image;          ///< z, y, x
  std::array<int64_t, 3> grid{1, 1, 1};  ///< z, y, x
  std::array<std::vector<double>, 3> corrections;
  std::optional<kernels::cpu::Gridding<T>> gridding;
};

Nufft::Nufft(Space images, const at::Tensor& trajectory, NufftOptions options)
    : LinearOperator(images, samples_space(images, checked_trajectory(images, trajectory))), options_(options) {
  const c10::NoGradGuard no_grad;
  check<ConfigError>(
      options.accuracy >= 1e-14 && options.accuracy <= 0.1,
      [&] { return fmt::format("Nufft: accuracy is {}", options.accuracy); }, "1e-14 to 0.1");
  check<ConfigError>(
      options.oversampling >= 1.2 && options.oversampling <= 4,
      [&] { return fmt::format("Nufft: oversampling is {}", options.oversampling); }, "1.2 to 4");
  if (images.dtype == at::kComplexFloat) options_.accuracy = std::max(options.accuracy, 1e-6);
  const int64_t width = kernels::gridding_width(options_.accuracy, options.oversampling);
  check<ConfigError>(
      width <= kernels::widest_gridding_kernel,
      [&] {
        return fmt::format("Nufft: an accuracy of {:g} at oversampling {:g} needs a kernel of {} points, at most {}",
                           options.accuracy, options.oversampling, width, kernels::widest_gridding_kernel);
      },
      "raise the oversampling, or ask for less");
  const at::Tensor k = checked_trajectory(images, trajectory);
  samples_ = k.size(0);
  const auto extents = image_extents(images.shape, k.size(1));
  if (images.dtype == at::kComplexFloat) {
    single_ = std::make_shared<const Plan<float>>(extents, k, options_);
  } else {
    double_ = std::make_shared<const Plan<double>>(extents, k, options_);
  }
  details_ = fmt::format("{}-D, {} of width {}, oversampling {:g}", k.size(1),
                         options.kernel == NufftKernel::kaiser_bessel ? "Kaiser-Bessel" : "exponential of semicircle",
                         width, options.oversampling);
}

Nufft::~Nufft() = default;

std::string Nufft::describe() const {
  return fmt::format("Nufft({}): {} -> {}", details_, domain().text(), codomain().text());
}

at::Tensor Nufft::do_apply(const at::Tensor& x) const {
  const c10::NoGradGuard no_grad;
  const int64_t images = codomain().numel() / samples_ * x.size(0);
  std::vector<int64_t> shape = codomain().shape;
  shape.insert(shape.begin(), x.size(0));
  return (single_ ? single_->apply(x, images, samples_) : double_->apply(x, images, samples_)).view(shape);
}

at::Tensor Nufft::do_adjoint(const at::Tensor& y) const {
  const c10::NoGradGuard no_grad;
  const int64_t images = codomain().numel() / samples_ * y.size(0);
  std::vector<int64_t> shape = domain().shape;
  shape.insert(shape.begin(), y.size(0));
  return (single_ ? single_->adjoint(y, images, samples_) : double_->adjoint(y, images, samples_)).view(shape);
}

at::Tensor nufft_spectrum(std::vector<int64_t> shape, const at::Tensor& trajectory, const at::Tensor& weights) {
  const c10::NoGradGuard no_grad;
  const Space images{shape, at::kComplexDouble};
  const at::Tensor k = checked_trajectory(images, trajectory);
  check<ShapeError>(static_cast<int64_t>(shape.size()) == k.size(1), [&] {
    return fmt::format("Nufft: the trajectory has {} axes, the image {}", k.size(1), shape_text(shape));
  });
  at::Tensor w = at::ones({k.size(0)}, at::kComplexDouble);
  if (weights.defined()) {
    check<ShapeError>(weights.sizes() == at::IntArrayRef{k.size(0)}, [&] {
      return fmt::format("Nufft: the weights have shape {}, expected one per sample, [{}]", shape_text(weights.sizes()),
                         k.size(0));
    });
    check<DtypeError>(weights.is_floating_point(), [&] {
      return fmt::format("Nufft: the weights are {}, expected float32 or float64", dtype_text(weights.scalar_type()));
    });
    w = weights.detach().to(at::kCPU, at::kComplexDouble);
  }
  // On the doubled field of view the same k counts twice as many cycles. An axis of one pixel has one lag.
  Space lags = images;
  at::Tensor doubled = k.clone();
  double pixels = 1;
  std::vector<int64_t> axes;
  for (int64_t axis = 0; axis < k.size(1); ++axis) {
    int64_t& n = lags.shape[static_cast<size_t>(k.size(1) - 1 - axis)];
    pixels *= static_cast<double>(n);
    if (n == 1) continue;
    n *= 2;
    doubled.select(1, axis).mul_(2);
    axes.push_back(k.size(1) - 1 - axis);
  }
  const Nufft nufft(lags, doubled, {.accuracy = 1e-9});
  at::Tensor t = nufft.adjoint(w).mul_(std::sqrt(static_cast<double>(lags.numel())) / pixels);
  if (axes.empty()) return at::real(t).contiguous();
  // No two pixels are N apart; without that lag the spectrum is real.
  for (const int64_t axis : axes) t.select(axis, 0).zero_();
  t = fourier_transform(at::fft_ifftshift(t, axes), axes, {.normalisation = Normalisation::none});
  return at::real(t).contiguous();
}

struct NufftNormal::Convolutions {
  std::optional<kernels::cpu::ToeplitzConvolution<float>> single_precision;
  std::optional<kernels::cpu::ToeplitzConvolution<double>> double_precision;

  const auto& get(float) const { return *single_precision; }
  const auto& get(double) const { return *double_precision; }
};

NufftNormal::NufftNormal(Space images, const at::Tensor& trajectory, const at::Tensor& weights)
    : LinearOperator(images, images) {
  const at::Tensor k = checked_trajectory(images, trajectory);
  axes_ = k.size(1);
  samples_ = k.size(0);
  const auto extents = image_extents(images.shape, axes_);
  const at::Tensor spectrum = nufft_spectrum({images.shape.end() - axes_, images.shape.end()}, k, weights);
  auto convolutions = std::make_shared<Convolutions>();
  if (images.dtype == at::kComplexFloat) {
    convolutions->single_precision.emplace(extents, spectrum.const_data_ptr<double>());
  } else {
    convolutions->double_precision.emplace(extents, spectrum.const_data_ptr<double>());
  }
  convolutions_ = std::move(convolutions);
}

NufftNormal::~NufftNormal() = default;

std::string NufftNormal::describe() const {
  return fmt::format("NufftNormal({}-D, {} samples) on {}", axes_, samples_, domain().text());
}

template <class T>
at::Tensor NufftNormal::convolve(const at::Tensor& x) const {
  const auto& convolution = convolutions_->get(T());
  const at::Tensor result = x.clone(at::MemoryFormat::Contiguous);
  int64_t size = 1;
  for (int64_t a = 0; a < axes_; ++a) size *= x.size(x.dim() - 1 - a);
  const int64_t images = x.numel() / size;
  const auto some = [&](int64_t begin, int64_t end) {
    // An array of its own for each image, since the convolution wants it aligned.
    const int64_t room = (size + 7) / 8 * 8;
    const at::Tensor memory = at::empty({room + convolution.scratch_size()}, x.options());
    for (int64_t i = begin; i < end; ++i) {
      std::complex<T>* image = numbers<T>(result) + i * size;
      std::copy_n(image, size, numbers<T>(memory));
      convolution.apply(numbers<T>(memory), numbers<T>(memory) + room);
      std::copy_n(numbers<T>(memory), size, image);
    }
  };
  if (images >= at::get_num_threads()) {
    at::parallel_for(0, images, 1, some);
  } else {
    some(0, images);
  }
  return result;
}

at::Tensor NufftNormal::do_apply(const at::Tensor& x) const {
  const c10::NoGradGuard no_grad;
  return domain().dtype == at::kComplexFloat ? convolve<float>(x) : convolve<double>(x);
}

}  // namespace monarch::operators
