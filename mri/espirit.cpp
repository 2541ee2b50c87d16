#include "monarch/mri/espirit.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>

#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/text.hpp"
#include "monarch/mri/arrays.hpp"
#include "monarch/mri/hermitian_eigen.hpp"

namespace monarch::mri {
namespace {

using Complex = c10::complex<float>;
using Shape3 = std::array<int64_t, 3>;  // [z, y, x]

constexpr int64_t rows_per_block = 4;
constexpr const char* no_signal_hint =
    "check that calibration lines are marked and that DC is in the centre of k-space";

int64_t product(const Shape3& s) {
  return s[0] * s[1] * s[2];
}

void check_options(const EspiritOptions& options, const data::Extent3& image, int64_t coils) {
  const auto wrong = [](const char* name, auto value, const char* range) {
    return [=] { return fmt::format("ESPIRiT: {} must be {}, found {}", name, range, value); };
  };
  const double threshold = options.threshold_on_singular_values;
  check<ConfigError>(options.kernel >= 1, wrong("kernel", options.kernel, "at least 1"));
  check<ConfigError>(options.calibration >= 0, wrong("calibration", options.calibration, "0 (all) or more"));
  check<ConfigError>(threshold >= 0 && threshold < 1, wrong("threshold on singular values", threshold, "in [0, 1)"));
  check<ConfigError>(options.crop >= 0 && options.crop <= 1, wrong("crop", options.crop, "in [0, 1]"));
  check<ConfigError>(options.iterations >= 1, wrong("iterations", options.iterations, "at least 1"));
  check<ConfigError>(options.maps >= 1 && options.maps <= coils,
                     wrong("maps", options.maps, "between 1 and the number of coils"));
  for (const int64_t extent : image) {
    check<ShapeError>(extent >= 1, wrong("extent of the maps", extent, "at least 1"));
  }
}

// The centred part of the region that is used.
at::Tensor trim(const at::Tensor& region, int64_t limit) {
  at::Tensor block = region;
  for (int64_t axis = 1; axis < 4 && limit > 0; ++axis) {
    const int64_t n = block.size(axis), keep = std::min(n, limit);
    block = block.narrow(axis, n / 2 - keep / 2, keep);
  }
  return block.contiguous();
}

// A^H A [coil * K, coil * K] of the calibration matrix A, whose rows are the patches of the region.
at::Tensor gram_matrix(const at::Tensor& region, const Shape3& kernel) {
  const int64_t columns = region.size(0) * product(kernel);
  const at::Tensor patches = region.unfold(1, kernel[0], 1).unfold(2, kernel[1], 1).unfold(3, kernel[2], 1);
  at::Tensor gram = at::zeros({columns, columns}, at::kComplexFloat);
  for (int64_t z = 0; z < patches.size(1); ++z) {  // a plane of patches at a time: A itself may be gigabytes in 3-D
    const at::Tensor a = patches.select(1, z).permute({1, 2, 0, 3, 4, 5}).reshape({-1, columns});
    gram.addmm_(a.mH(), a);
  }
  return gram;
}

// Projection matrix on the signal space of patches (columns of the conjugated dominant eigenvectors).
at::Tensor signal_projection(const at::Tensor& gram, double threshold, int64_t& kept) {
  const auto [squares, vectors] = at::linalg_eigh(gram);
  const int64_t n = gram.size(0);
  const float* s = squares.data_ptr<float>();
  const float largest = s[n - 1];
  check<DataError>(std::isfinite(largest) && largest > 0,
                   "ESPIRiT: the calibration matrix has no singular value above 0", no_signal_hint);
  const auto limit = static_cast<float>(threshold * threshold) * largest;
  kept = n - (std::lower_bound(s, s + n, limit) - s);
  const at::Tensor signal = vectors.narrow(1, n - kept, kept);
  return at::mm(signal.conj(), signal.t()).contiguous();
}

// h[pair, dz, dy, dx] = 1/K sum_k P[(i, k), (j, k + d)]: sums along the block diagonals, for i <= j.
at::Tensor convolution_kernels(const at::Tensor& projection, int64_t coils, const Shape3& kernel) {
  const Shape3 span{2 * kernel[0] - 1, 2 * kernel[1] - 1, 2 * kernel[2] - 1};
  const int64_t elements = product(kernel), columns = coils * elements;
  at::Tensor filters = at::zeros({packed_pairs(coils), span[0], span[1], span[2]}, at::kComplexDouble);
  const Complex* p = projection.data_ptr<Complex>();
  auto* h = filters.data_ptr<c10::complex<double>>();
  const double scale = 1.0 / static_cast<double>(elements);
  at::parallel_for(0, packed_pairs(coils), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < coils; ++i) {
      for (int64_t j = i; j < coils; ++j) {
        const int64_t pair = packed_index(coils, i, j);
        if (pair < begin || pair >= end) continue;
        auto* target = h + pair * product(span);
        for (int64_t a = 0; a < elements; ++a) {
          const int64_t ax = a % kernel[2], ay = a / kernel[2] % kernel[1], az = a / kernel[2] / kernel[1];
          const Complex* row = p + (i * elements + a) * columns + j * elements;
          for (int64_t bz = 0; bz < kernel[0]; ++bz) {
            for (int64_t by = 0; by < kernel[1]; ++by) {
              auto* line = target + ((bz - az + kernel[0] - 1) * span[1] + by - ay + kernel[1] - 1) * span[2];
              for (int64_t bx = 0; bx < kernel[2]; ++bx) {
                const Complex value = row[(bz * kernel[1] + by) * kernel[2] + bx];
                line[bx - ax + kernel[2] - 1] += c10::complex<double>(scale * value.real(), scale * value.imag());
              }
            }
          }
        }
      }
    }
  });
  return filters;
}

// [re, -im; im, re]-like split of E [n, count]: rows 0..n-1 give real parts, n..2n-1 imaginary ones, against planes
// [2 count] of real parts followed by imaginary parts. One real matrix product then gives planes, ready for vectors.
at::Tensor split_rows(const at::Tensor& e) {
  const at::Tensor real = at::real(e), imag = at::imag(e);
  return at::cat({at::cat({real, -imag}, 1), at::cat({imag, real}, 1)}, 0).to(at::kFloat).contiguous();
}

}  // namespace

double threshold_from_squared(double threshold_on_squares) {
  return std::sqrt(threshold_on_squares);
}

EspiritMaps espirit(const at::Tensor& calibration, const data::Extent3& image, const EspiritOptions& options) {
  const at::Tensor whole = coil_array(calibration, "ESPIRiT calibration region");
  const int64_t coils = whole.size(0);
  check_options(options, image, coils);
  at::Tensor region = trim(whole, options.calibration);
  check_finite(region, "ESPIRiT calibration region");
  const float largest = at::abs(region).max().item<float>();
  check<DataError>(largest > 0, "ESPIRiT: the calibration region holds no signal (all zero)", no_signal_hint);
  region = region / largest;  // squares of vendor units may leave the range of float
  Shape3 kernel{};
  int64_t patches = 1;
  for (size_t axis = 0; axis < 3; ++axis) {
    const int64_t n = region.size(static_cast<int64_t>(axis) + 1);
    kernel[axis] = n == 1 ? 1 : options.kernel;
    patches *= n - kernel[axis] + 1;
    check<DataError>(
        n >= kernel[axis],
        [&] {
          return fmt::format("ESPIRiT: the calibration region [coil, z, y, x] = {} is smaller than the kernel ({})",
                             shape_text(region.sizes()), options.kernel);
        },
        "acquire more calibration lines, make the kernel smaller, or use Walsh's method");
  }

  EspiritMaps result;
  result.kernels = coils * product(kernel);
  const at::Tensor projection =
      signal_projection(gram_matrix(region, kernel), options.threshold_on_singular_values, result.signal_space);
  if (result.signal_space == std::min(patches, result.kernels)) {
    log::warning(
        fmt::format("ESPIRiT: all {} singular values are above the threshold: the calibration region {} is too "
                    "small or too noisy for a kernel of {}, and maps will not follow the object's outline",
                    result.signal_space, shape_text(region.sizes()), options.kernel));
  }
  const at::Tensor filters = convolution_kernels(projection, coils, kernel);

  const int64_t nx = image[0], ny = image[1], nz = image[2], pairs = packed_pairs(coils);
  const int64_t width = (nx + hermitian_padding - 1) / hermitian_padding * hermitian_padding;
  const auto axis_matrix = [&](int64_t n, int64_t k) { return dft_matrix(n, 1 - k, 2 * k - 1, -1); };
  const at::Tensor along_z = axis_matrix(nz, kernel[0]);
  const at::Tensor along_y = axis_matrix(ny, kernel[1]);
  const at::Tensor along_x = at::constant_pad_nd(axis_matrix(nx, kernel[2]).t(), {0, width - nx}).contiguous();
  result.maps = at::empty({options.maps, coils, nz, ny, nx}, at::kComplexFloat);
  result.eigenvalues = at::empty({options.maps, nz, ny, nx}, at::kFloat);
  EigenRequest request;
  request.coils = coils;
  request.vectors = options.maps;
  request.iterations = options.iterations;
  request.start = options.start;
  request.crop = static_cast<float>(options.crop);
  request.reference = principal_channel(region);

  auto* maps = reinterpret_cast<std::complex<float>*>(result.maps.data_ptr<Complex>());
  float* values = result.eigenvalues.data_ptr<float>();
  const int64_t span_y = 2 * kernel[1] - 1, span_x = 2 * kernel[2] - 1, volume = nz * ny * nx;
  for (int64_t z = 0; z < nz; ++z) {
    const at::Tensor plane = at::tensordot(filters, along_z[z], {1}, {0});  // [pair, dy, dx]
    const at::Tensor lines =                                                // [dy, pair, x]
        at::matmul(plane.transpose(0, 1).reshape({span_y * pairs, span_x}).to(at::kComplexFloat),
                   along_x.to(at::kComplexFloat))
            .view({span_y, pairs * width});
    const at::Tensor planes = at::cat({at::real(lines), at::imag(lines)}, 0).contiguous();
    at::parallel_for(0, (ny + rows_per_block - 1) / rows_per_block, 1, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        const int64_t y = block * rows_per_block, rows = std::min(rows_per_block, ny - y);
        const at::Tensor matrices = at::mm(split_rows(along_y.narrow(0, y, rows)), planes);  // [re/im row, pair * x]
        const float* data = matrices.data_ptr<float>();
        for (int64_t row = 0; row < rows; ++row) {
          const HermitianRun run{data + row * pairs * width, data + (rows + row) * pairs * width, width, nx};
          const int64_t at_pixel = (z * ny + y + row) * nx;
          leading_eigenvectors(run, request, {maps + at_pixel, coils * volume, volume, values + at_pixel, volume});
        }
      }
    });
  }
  return result;
}

}  // namespace monarch::mri
