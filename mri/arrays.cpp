#include "monarch/mri/arrays.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/fourier.hpp"

namespace monarch::mri {
namespace {

void check_type(const at::Tensor& array, at::ScalarType dtype, const char* name, const std::string& what) {
  check<ShapeError>(array.defined(), [&] { return fmt::format("{} is missing (undefined tensor)", what); });
  check<DtypeError>(array.scalar_type() == dtype && array.device().is_cpu(), [&] {
    return fmt::format("{}: expected {} on cpu, found {} on {}", what, name, c10::toString(array.scalar_type()),
                       array.device().str());
  });
}

at::Tensor transform(const at::Tensor& array, bool inverse) {
  std::vector<int64_t> axes;
  for (int64_t axis = -3; axis < 0; ++axis) {
    if (array.size(axis) > 1) axes.push_back(axis);  // an axis of one sample is its own transform
  }
  if (axes.empty()) return array.clone();
  return operators::fourier_transform(array, axes, {.inverse = inverse, .centred = true});
}

}  // namespace

at::Tensor coil_array(const at::Tensor& array, const std::string& what) {
  check_type(array, at::kComplexFloat, "complex64", what);
  check<ShapeError>(array.dim() == 4 && array.numel() > 0, [&] {
    return fmt::format("{}: expected [coil, z, y, x] without empty axis, found {}", what, shape_text(array.sizes()));
  });
  return array.detach().contiguous();
}

at::Tensor mask_array(const at::Tensor& mask, const std::vector<int64_t>& shape, const std::string& what) {
  check_type(mask, at::kBool, "bool", what);
  const bool fits = shape.empty() ? mask.dim() == 3 && mask.numel() > 0 : mask.sizes() == at::IntArrayRef(shape);
  check<ShapeError>(fits, [&] {
    return fmt::format("{}: expected {}, found {}", what, shape.empty() ? "[z, y, x]" : shape_text(shape),
                       shape_text(mask.sizes()));
  });
  return mask.contiguous();
}

void check_finite(const at::Tensor& array, const std::string& what) {
  // One sum is finite exactly when no element is NaN or Inf, short of overflow; only then is each one looked at.
  const at::Tensor real = array.is_complex() ? at::view_as_real(array) : array;
  if (std::isfinite(real.sum().item<double>())) return;
  const at::Tensor wrong = at::logical_not(at::isfinite(array));
  if (!wrong.any().item<bool>()) return;
  const at::Tensor first = at::nonzero(wrong)[0];
  const std::vector<int64_t> index(first.data_ptr<int64_t>(), first.data_ptr<int64_t>() + first.numel());
  fail<DataError>(fmt::format("{}: sample {} is not a finite number ({} of {} samples are NaN or Inf)", what,
                              shape_text(index), wrong.sum().item<int64_t>(), array.numel()),
                  "look at the raw data with `monarch info`; drop the broken readouts or the broken coil");
}

at::Tensor dft_matrix(int64_t n, int64_t first, int64_t count, double sign) {
  const at::Tensor x = at::arange(n, at::kDouble) - static_cast<double>(n / 2);
  const at::Tensor e = at::arange(first, first + count, at::kDouble);
  const at::Tensor angle = at::outer(x, e) * (sign * 2 * std::numbers::pi / static_cast<double>(n));
  return at::polar(at::ones_like(angle), angle);
}

at::Tensor to_image(const at::Tensor& kspace) {
  return transform(kspace, true);
}

at::Tensor to_kspace(const at::Tensor& image) {
  return transform(image, false);
}

at::Tensor mix_coils(const at::Tensor& matrix, const at::Tensor& array) {
  check_type(matrix, at::kComplexFloat, "complex64", "coil matrix");
  check_type(array, at::kComplexFloat, "complex64", "coil data");
  check<ShapeError>(matrix.dim() == 2 && array.dim() >= 1 && matrix.size(1) == array.size(0), [&] {
    return fmt::format("coil matrix [virtual coil, coil] = {} does not fit data [coil, ...] = {}",
                       shape_text(matrix.sizes()), shape_text(array.sizes()));
  });
  std::vector<int64_t> shape = array.sizes().vec();
  shape[0] = matrix.size(0);
  return at::mm(matrix.detach(), array.detach().reshape({array.size(0), -1})).view(shape);
}

std::pair<at::Tensor, at::Tensor> coil_spectrum(const at::Tensor& data) {
  const at::Tensor flat = data.detach().reshape({data.size(0), -1});
  // Widened a chunk at a time: the accuracy of double without a second copy of the data.
  constexpr int64_t chunk = 65536;
  at::Tensor gram = at::zeros({flat.size(0), flat.size(0)}, at::kComplexDouble);
  for (int64_t begin = 0; begin < flat.size(1); begin += chunk) {
    const at::Tensor part = flat.narrow(1, begin, std::min(chunk, flat.size(1) - begin)).to(at::kComplexDouble);
    gram.addmm_(part, part.mH());
  }
  const auto [values, vectors] = at::linalg_eigh(gram);
  return {values, vectors};
}

std::vector<std::complex<float>> principal_channel(const at::Tensor& data) {
  const at::Tensor last = coil_spectrum(data).second.select(1, data.size(0) - 1);
  const at::Tensor anchor = at::angle(last[at::argmax(at::abs(last)).item<int64_t>()]);
  const at::Tensor first = (last * at::polar(at::ones_like(anchor), -anchor)).to(at::kComplexFloat).contiguous();
  const auto* begin = reinterpret_cast<const std::complex<float>*>(first.data_ptr<c10::complex<float>>());
  return {begin, begin + first.numel()};
}

}  // namespace monarch::mri
