#include "monarch/operators/monarch/order.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/monarch/roots.hpp"

namespace monarch::operators {
namespace {

std::string text(const std::vector<at::Tensor>& factors) {
  std::vector<std::string> shapes;
  for (const at::Tensor& w : factors) shapes.push_back(w.defined() ? shape_text(w.sizes()) : "undefined");
  return fmt::format("{}", fmt::join(shapes, ", "));
}

void check_factors(const std::vector<at::Tensor>& factors) {
  check<ShapeError>(!factors.empty(), "Monarch of order p: no factors");
  for (size_t g = 0; g < factors.size(); ++g) {
    const at::Tensor& w = factors[g];
    check<ShapeError>(w.defined() && w.dim() == 3 && w.numel() > 0, [&] {
      return fmt::format("Monarch of order p: factor {} of {} is not [blocks, out, in]", g + 1, text(factors));
    });
    check<ShapeError>(g == 0 || factors[g - 1].size(0) * factors[g - 1].size(1) == w.size(0) * w.size(2), [&] {
      return fmt::format("Monarch of order p: factors {} and {} of {} do not meet: {} rows, {} columns", g, g + 1,
                         text(factors), factors[g - 1].size(0) * factors[g - 1].size(1), w.size(0) * w.size(2));
    });
    check<DtypeError>(w.scalar_type() == factors[0].scalar_type() && w.device() == factors[0].device(), [&] {
      return fmt::format("Monarch of order p: factors of {} and {}", dtype_text(factors[0].scalar_type()),
                         dtype_text(w.scalar_type()));
    });
  }
}

at::Tensor rows_of(const at::Tensor& x, int64_t width, const std::vector<at::Tensor>& factors) {
  check<ShapeError>(x.defined() && x.dim() >= 1 && x.size(-1) == width, [&] {
    return fmt::format("Monarch of order p: factors {} take [..., {}], got {}", text(factors), width,
                       x.defined() ? shape_text(x.sizes()) : "an undefined tensor");
  });
  const auto dtype = factors[0].scalar_type();
  check<DtypeError>(x.scalar_type() == dtype || c10::toComplexType(x.scalar_type()) == dtype, [&] {
    return fmt::format("Monarch of order p: factors of {} for a vector of {}", dtype_text(dtype),
                       dtype_text(x.scalar_type()));
  });
  return x.to(dtype).reshape({-1, width});
}

std::vector<int64_t> shape_with(const at::Tensor& x, int64_t width) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = width;
  return shape;
}

Space side(const OrderFactors& f, bool input) {
  check_factors(f.factors);
  const at::Tensor& first = f.factors.front();
  const at::Tensor& last = f.factors.back();
  check<DtypeError>(
      first.scalar_type() == at::kFloat || first.scalar_type() == at::kDouble || first.is_complex(),
      [&] { return fmt::format("OrderMonarch: factors of {}", dtype_text(first.scalar_type())); },
      "float32, float64, complex64 or complex128");
  const int64_t n = first.size(0) * first.size(2);
  check<ShapeError>(!f.input.defined() || (f.input.dim() == 1 && f.input.size(0) == n), [&] {
    return fmt::format("OrderMonarch: an input permutation {} of {} elements", shape_text(f.input.sizes()), n);
  });
  return {{input ? n : last.size(0) * last.size(1)}, first.scalar_type(), first.device()};
}

}  // namespace

at::Tensor order_multiply(const at::Tensor& x, const std::vector<at::Tensor>& factors) {
  check_factors(factors);
  at::Tensor rows = rows_of(x, factors[0].size(0) * factors[0].size(2), factors);
  const int64_t batch = rows.size(0);
  if (factors.size() == 2 && factors[1].size(0) == factors[0].size(1)) {
    return monarch_multiply(x, factors[0], factors[1]);
  }
  for (const at::Tensor& w : factors) {
    const at::Tensor in = rows.reshape({batch, w.size(0), w.size(2)}).transpose(0, 1);
    rows = at::bmm(in, w.transpose(1, 2)).permute({1, 2, 0});  // [batch, out, blocks]
  }
  const at::Tensor& last = factors.back();
  return rows.reshape(shape_with(x, last.size(0) * last.size(1)));
}

at::Tensor order_adjoint(const at::Tensor& y, const std::vector<at::Tensor>& factors) {
  check_factors(factors);
  at::Tensor rows = rows_of(y, factors.back().size(0) * factors.back().size(1), factors);
  const int64_t batch = rows.size(0);
  for (auto w = factors.rbegin(); w != factors.rend(); ++w) {
    const at::Tensor out = rows.reshape({batch, w->size(1), w->size(0)}).permute({2, 0, 1});
    rows = at::bmm(out, w->conj()).transpose(0, 1);  // [batch, blocks, in]
  }
  return rows.reshape(shape_with(y, factors[0].size(0) * factors[0].size(2)));
}

OrderFactors order_dft(const std::vector<int64_t>& digits, const TransformOptions& transform,
                       const ConstructionOptions& options) {
  const auto p = static_cast<int64_t>(digits.size());
  int64_t n = 1;
  for (const int64_t d : digits) {
    check<ShapeError>(
        d >= 1 && n <= (int64_t{1} << 31) / d,
        [&] { return fmt::format("Monarch DFT of order p: digits {}", shape_text(digits)); },
        "each at least 1, their product at most 2^31");
    n *= d;
  }
  check<ShapeError>(
      p >= 2, [&] { return fmt::format("Monarch DFT of order p: digits {}", shape_text(digits)); }, "at least two");
  check<DtypeError>(
      options.precision == at::kFloat || options.precision == at::kDouble,
      [&] {
        return fmt::format("Monarch DFT of order p: precision {} is not supported", dtype_text(options.precision));
      },
      "float32 or float64");

  // Place (kappa_1, ..., kappa_p) of the grid takes element kappa_1 + n_1 kappa_2 + n_1 n_2 kappa_3 + ...
  std::vector<int64_t> input(n);
  for (int64_t place = 0; place < n; ++place) {
    int64_t rest = place, weight = n, j = 0;
    for (int64_t axis = p - 1; axis >= 0; --axis) {
      weight /= digits[axis];
      j += rest % digits[axis] * weight;
      rest /= digits[axis];
    }
    input[place] = j;
  }
  OrderFactors result;
  result.input = index_tensor(input).to(options.device);
  const RootsOfUnity root(n);
  const int64_t sign = transform.inverse ? 1 : -1, centre = transform.centred ? n / 2 : 0;
  const double power = transform.normalisation == Normalisation::none    ? 0
                       : transform.normalisation == Normalisation::ortho ? -0.5
                                                                         : -1;
  // Of axis a: sum over kappa_a of w_{N_a}^(kappa_a (s_a M_a + mu)), M_a = n_{a+1} ... n_p, N_a = n_a M_a, mu the
  // output index of the axes that are done. Blocks are counted (mu, then the kappas to come).
  int64_t done = 1;
  for (int64_t axis = p - 1; axis >= 0; --axis) {
    const int64_t d = digits[axis], to_come = n / done / d, step = n / (d * done);
    const double scale = std::pow(static_cast<double>(d), power);
    std::vector<std::complex<double>> w(n * d);
    for (int64_t block = 0; block < n / d; ++block) {
      const int64_t mu = block / to_come;
      for (int64_t s = 0; s < d; ++s) {
        for (int64_t k = 0; k < d; ++k) {
          int64_t turns = k * (s * done + mu) % n * step % n;
          if (axis == p - 1) turns -= centre * input[block * d + k] % n;
          if (axis == 0) turns += (centre * centre - centre * (s * done + mu)) % n;
          w[(block * d + s) * d + k] = scale * root(sign * turns);
        }
      }
    }
    result.factors.push_back(
        complex_tensor(w, {n / d, d, d})
            .to(at::TensorOptions().dtype(c10::toComplexType(options.precision)).device(options.device)));
    done *= d;
  }
  return result;
}

OrderMonarch::OrderMonarch(OrderFactors factors)
    : LinearOperator(side(factors, true), side(factors, false)), factors_(std::move(factors)) {
  for (at::Tensor& w : factors_.factors) w = w.detach();
  if (factors_.input.defined()) inverse_ = factors_.input.argsort();
}

std::string OrderMonarch::describe() const {
  return fmt::format("OrderMonarch({}) on {}", text(factors_.factors), domain().text());
}

at::Tensor OrderMonarch::do_apply(const at::Tensor& x) const {
  return order_multiply(factors_.input.defined() ? x.index_select(1, factors_.input) : x, factors_.factors);
}

at::Tensor OrderMonarch::do_adjoint(const at::Tensor& y) const {
  const at::Tensor x = order_adjoint(y, factors_.factors);
  return inverse_.defined() ? x.index_select(1, inverse_) : x;
}

}  // namespace monarch::operators
