#include "monarch/operators/monarch/convolution.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/monarch/mm_star.hpp"

namespace monarch::operators {
namespace {

bool is_supported(at::ScalarType dtype) {
  return dtype == at::kFloat || dtype == at::kDouble || dtype == at::kComplexFloat || dtype == at::kComplexDouble;
}

bool is_composite(int64_t n) {
  for (int64_t d = 2; d * d <= n; ++d) {
    if (n % d == 0) return true;
  }
  return false;
}

void check_vector(const char* what, const at::Tensor& t, int64_t dimensions) {
  check<ShapeError>(t.defined() && t.dim() == dimensions && t.numel() > 0, [&] {
    return fmt::format("{}: expected {}, got {}", what, dimensions == 1 ? "a vector [n]" : "kernels [channel, n]",
                       t.defined() ? shape_text(t.sizes()) : "an undefined tensor");
  });
  check<DtypeError>(
      is_supported(t.scalar_type()),
      [&] { return fmt::format("{}: {} is not supported", what, dtype_text(t.scalar_type())); },
      "float32, float64, complex64 or complex128");
}

/// The orthonormal inverse DFT of length n without its input permutation, and the first `outputs` of its outputs.
TransformFactors inverse_dft(int64_t n, int64_t outputs, std::optional<std::array<int64_t, 2>> sizes,
                             at::ScalarType precision, at::Device device) {
  ConstructionOptions options;
  options.sizes = sizes;
  options.precision = precision;
  options.device = device;
  const TransformFactors f = monarch_dft(n, {.inverse = true}, options);
  return outputs == n ? f : monarch_keep_outputs(f, first_indices(outputs));
}

/// The leading [rows, columns] part of the circulant with the spectrum d [n] (the DFT of its first column), in double.
MonarchPair from_spectrum(const at::Tensor& d, int64_t rows, int64_t columns, at::ScalarType precision, bool real,
                          const ConstructionOptions& options) {
  const int64_t n = d.size(0);
  TransformFactors left = inverse_dft(n, rows, options.sizes, at::kDouble, at::kCPU);
  TransformFactors right = inverse_dft(n, columns, options.sizes, at::kDouble, at::kCPU);
  const MonarchSizes z = monarch_sizes(left.factors.w1, left.factors.w2);
  at::Tensor ordered = d.cpu().to(at::kComplexDouble);
  if (left.input.defined()) ordered = ordered.index_select(0, left.input);
  left.factors.w1 = left.factors.w1 * ordered.view({z.k, 1, z.p});
  if (real) {
    // Real rows and columns of the product in real pairs; the pairs in the middle meet as they are.
    left = monarch_real_pairs(left, false, true);
    right = monarch_real_pairs(right, false, true);
  }
  const auto move = [&](const MonarchFactors& f) {
    const auto type =
        at::TensorOptions().dtype(real ? precision : c10::toComplexType(precision)).device(options.device);
    return MonarchFactors{f.w1.to(type), f.w2.to(type)};
  };
  return {move(left.factors), move(right.factors), rows, columns};
}

at::Tensor spectrum_of(const at::Tensor& column) {
  return fourier_transform(column.cpu().to(at::kComplexDouble), {0}, {.normalisation = Normalisation::none});
}

void check_real(bool real, const at::Tensor& t) {
  check<DtypeError>(!real || !t.is_complex(), "real factors of a complex matrix were asked for",
                    "leave `real` out, or give real numbers");
  check<DataError>(at::isfinite(t).all().item<bool>(), "a circulant or Toeplitz matrix holds NaN or infinity");
}

at::Tensor as_complex(const at::Tensor& t) {
  return t.is_complex() ? t : t.to(c10::toComplexType(t.scalar_type()));
}

int64_t length_of(int64_t n, int64_t kernel_length, ConvolutionMode mode) {
  check<ShapeError>(
      n >= 1 && kernel_length >= 1 && kernel_length <= n,
      [&] { return fmt::format("Monarch convolution: kernels of {} elements and vectors of {}", kernel_length, n); },
      "a kernel has at least 1 element and at most as many as x");
  if (mode == ConvolutionMode::circular && (is_composite(n) || n == 1)) return n;
  return monarch_composite_size(mode == ConvolutionMode::circular ? 2 * n - 1 : n + kernel_length - 1);
}

at::Tensor padded(const at::Tensor& x, int64_t width) {
  return x.size(-1) == width ? x : at::constant_pad_nd(x, {0, width - x.size(-1)});
}

}  // namespace

MonarchPair monarch_circulant(const at::Tensor& column, bool real, const ConstructionOptions& options) {
  check_vector("Monarch circulant", column, 1);
  check_real(real, column);
  const int64_t n = column.size(0);
  const auto precision = c10::toRealValueType(column.scalar_type());
  ConstructionOptions used = options;
  used.device = column.device();
  if (used.sizes || is_composite(n) || n == 1) return from_spectrum(spectrum_of(column), n, n, precision, real, used);
  // The columns of the larger circulant: elements 0 ... n-1, then zeros, then elements 1 ... n-1 once more.
  const at::Tensor gap = at::zeros({monarch_composite_size(2 * n - 1) - (2 * n - 1)}, column.options());
  const at::Tensor longer = at::cat({column, gap, column.narrow(0, 1, n - 1)});
  return from_spectrum(spectrum_of(longer), n, n, precision, real, used);
}

MonarchPair monarch_toeplitz(const at::Tensor& column, const at::Tensor& row, bool real) {
  check_vector("Monarch Toeplitz", column, 1);
  check_vector("Monarch Toeplitz", row, 1);
  check<DtypeError>(column.scalar_type() == row.scalar_type() && column.device() == row.device(), [&] {
    return fmt::format("Monarch Toeplitz: a column of {} and a row of {}", dtype_text(column.scalar_type()),
                       dtype_text(row.scalar_type()));
  });
  check_real(real, column);
  const int64_t m = column.size(0), n = row.size(0);
  if (n > 1) check_real(real, row.narrow(0, 1, n - 1));
  const at::Tensor gap = at::zeros({monarch_composite_size(m + n - 1) - (m + n - 1)}, column.options());
  const at::Tensor longer = at::cat({column, gap, row.narrow(0, 1, n - 1).flip(0)});
  ConstructionOptions options;
  options.device = column.device();
  return from_spectrum(spectrum_of(longer), m, n, c10::toRealValueType(column.scalar_type()), real, options);
}

MonarchPair monarch_fractional_shift(int64_t n, double shift, bool real, const ConstructionOptions& options) {
  check<ShapeError>(n >= 1, [&] { return fmt::format("Monarch shift: a vector of length {}", n); });
  check<DataError>(std::isfinite(shift), [&] { return fmt::format("Monarch shift by {}", shift); });
  // The whole part goes in integers; what is left turns by less than a sample.
  const double whole = std::round(shift), rest = shift - whole;
  const auto steps = static_cast<int64_t>(std::fmod(whole, static_cast<double>(n)));
  at::Tensor d = at::empty({n}, at::kComplexDouble);
  auto* out = reinterpret_cast<std::complex<double>*>(d.data_ptr());
  for (int64_t k = 0; k < n; ++k) {
    const int64_t f = 2 * k < n ? k : k - n;
    const auto turn = static_cast<double>(((f * steps) % n + n) % n) / static_cast<double>(n) +
                      static_cast<double>(f) / static_cast<double>(n) * rest;
    out[k] = 2 * k == n ? std::complex<double>((steps % 2 ? -1 : 1) * std::cos(std::numbers::pi * rest), 0)
                        : std::polar(1.0, -2 * std::numbers::pi * turn);
  }
  if (options.sizes || is_composite(n) || n == 1) return from_spectrum(d, n, n, options.precision, real, options);
  at::Tensor column = fourier_transform(d, {0}, {.inverse = true, .normalisation = Normalisation::inverse});
  column = (real ? at::real(column) : column).to(options.device);
  const MonarchPair pair = monarch_circulant(column, real);
  const auto narrow = [&](const MonarchFactors& f) {
    const auto type = real ? options.precision : c10::toComplexType(options.precision);
    return MonarchFactors{f.w1.to(type), f.w2.to(type)};
  };
  return {narrow(pair.left), narrow(pair.right), n, n};
}

at::Tensor pair_multiply(const at::Tensor& x, const MonarchPair& pair) {
  check<ShapeError>(x.defined() && x.dim() >= 1 && x.size(-1) == pair.columns, [&] {
    return fmt::format("Monarch pair: expected [..., {}], got {}", pair.columns,
                       x.defined() ? shape_text(x.sizes()) : "an undefined tensor");
  });
  const at::Tensor in = padded(x, monarch_sizes(pair.right.w1, pair.right.w2).out());
  return mm_star_multiply(in, pair.left, pair.right).narrow(-1, 0, pair.rows);
}

OperatorPtr pair_operator(const MonarchPair& pair) {
  return mm_star(pair.left, pair.right, pair.rows, pair.columns);
}

ConvolutionPlan::ConvolutionPlan(int64_t n, int64_t kernel_length, ConvolutionMode mode, at::ScalarType dtype,
                                 at::Device device)
    : n_(n), kernel_length_(kernel_length), length_(length_of(n, kernel_length, mode)), mode_(mode), dtype_(dtype) {
  check<DtypeError>(
      is_supported(dtype), [&] { return fmt::format("Monarch convolution: {} is not supported", dtype_text(dtype)); },
      "float32, float64, complex64 or complex128");
  const auto precision = c10::toRealValueType(dtype);
  factors_ = inverse_dft(length_, n, std::nullopt, precision, device).factors;
  const bool wrapped = mode == ConvolutionMode::circular && length_ != n;
  const int64_t support = wrapped ? length_ : kernel_length;
  kernel_ = support == n ? factors_ : inverse_dft(length_, support, std::nullopt, precision, device).factors;
}

at::Tensor ConvolutionPlan::spectrum(const at::Tensor& kernel) const {
  check<ShapeError>(kernel.defined() && kernel.dim() == 2 && kernel.size(1) == kernel_length_, [&] {
    return fmt::format("Monarch convolution: expected kernels [channel, {}], got {}", kernel_length_,
                       kernel.defined() ? shape_text(kernel.sizes()) : "an undefined tensor");
  });
  check<DtypeError>(kernel.scalar_type() == dtype_ && kernel.device() == factors_.w1.device(), [&] {
    return fmt::format("Monarch convolution: expected kernels of {} on {}, got {} on {}", dtype_text(dtype_),
                       factors_.w1.device().str(), dtype_text(kernel.scalar_type()), kernel.device().str());
  });
  at::Tensor k = as_complex(kernel);
  if (mode_ == ConvolutionMode::circular && length_ != n_) {
    k = padded(k, n_);
    k = at::cat({padded(k, length_ - n_ + 1), k.narrow(1, 1, n_ - 1)}, 1);
  }
  // M^T k is F k in the order of the permutation; sqrt(N) takes the orthonormal scale back.
  k = padded(k, monarch_sizes(kernel_.w1, kernel_.w2).out());
  return monarch_multiply_adjoint(k, kernel_.w1, kernel_.w2) * std::sqrt(static_cast<double>(length_));
}

at::Tensor ConvolutionPlan::apply(const at::Tensor& x, const at::Tensor& spectrum) const {
  check<ShapeError>(x.defined() && x.dim() >= 2 && x.size(-1) == n_ && spectrum.dim() == 2 &&
                        x.size(-2) == spectrum.size(0) && spectrum.size(1) == length_,
                    [&] {
                      return fmt::format("Monarch convolution: expected [..., {}, {}], got {}", spectrum.size(0), n_,
                                         x.defined() ? shape_text(x.sizes()) : "an undefined tensor");
                    });
  check<DtypeError>(x.scalar_type() == dtype_ && x.device() == factors_.w1.device(), [&] {
    return fmt::format("Monarch convolution: expected {} on {}, got {} on {}", dtype_text(dtype_),
                       factors_.w1.device().str(), dtype_text(x.scalar_type()), x.device().str());
  });
  const at::Tensor rows = x.reshape({-1, x.size(-2), n_});  // [batch, channel, n]
  const int64_t batch = rows.size(0), half = (batch + 1) / 2;
  at::Tensor in = rows;
  if (!rows.is_complex()) {
    // A real kernel keeps the parts of a complex row apart: two real rows are one complex row.
    const at::Tensor second = rows.narrow(0, half, batch - half);
    in = at::complex(rows.narrow(0, 0, half).contiguous(),
                     at::constant_pad_nd(second, {0, 0, 0, 0, 0, 2 * half - batch}));
  }
  in = padded(in, monarch_sizes(factors_.w1, factors_.w2).out());
  const at::Tensor middle = monarch_multiply_adjoint(in, factors_.w1, factors_.w2) * spectrum;
  MultiplyOptions options;
  options.out_features = n_;
  at::Tensor y = monarch_multiply(middle, factors_.w1, factors_.w2, options);
  if (!rows.is_complex()) y = at::cat({at::real(y), at::imag(y).narrow(0, 0, batch - half)}, 0);
  return y.reshape(x.sizes());
}

at::Tensor monarch_convolution(const at::Tensor& x, const at::Tensor& kernel, ConvolutionMode mode) {
  check<ShapeError>(x.defined() && x.dim() >= 2 && x.size(-1) >= 1, [&] {
    return fmt::format("Monarch convolution: expected [..., channel, n], got {}",
                       x.defined() ? shape_text(x.sizes()) : "an undefined tensor");
  });
  check_vector("Monarch convolution", kernel, 2);
  const ConvolutionPlan plan(x.size(-1), kernel.size(1), mode, x.scalar_type(), x.device());
  return plan.apply(x, plan.spectrum(kernel));
}

namespace {

Space convolution_space(const at::Tensor& kernel, int64_t n) {
  check_vector("MonarchConvolution", kernel, 2);
  return {{kernel.size(0), n}, kernel.scalar_type(), kernel.device()};
}

}  // namespace

MonarchConvolution::MonarchConvolution(const at::Tensor& kernel, int64_t n, ConvolutionMode mode)
    : LinearOperator(convolution_space(kernel, n), convolution_space(kernel, n)),
      mode_(mode),
      kernel_length_(kernel.size(1)),
      plan_(n, kernel.size(1), mode, kernel.scalar_type(), kernel.device()),
      spectrum_(plan_.spectrum(kernel.detach())) {}

std::string MonarchConvolution::describe() const {
  return fmt::format("MonarchConvolution({}, kernels of {}, transform of {}) on {}",
                     mode_ == ConvolutionMode::circular ? "circular" : "causal", kernel_length_,
                     plan_.transform_length(), domain().text());
}

at::Tensor MonarchConvolution::do_apply(const at::Tensor& x) const {
  return plan_.apply(x, spectrum_);
}

at::Tensor MonarchConvolution::do_adjoint(const at::Tensor& y) const {
  return plan_.apply(y, spectrum_.conj().resolve_conj());
}

}  // namespace monarch::operators
