// The formulas of kernels/monarch.hpp as loops: what every other back end is compared with.
#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

#include "monarch/operators/kernels/monarch.hpp"

namespace monarch::operators::kernels::reference {
namespace {

double conjugate(double x) {
  return x;
}
c10::complex<double> conjugate(const c10::complex<double>& x) {
  return std::conj(x);
}

/// Standard normal distribution function.
double normal_cdf(double z) {
  return 0.5 * std::erfc(-z / std::numbers::sqrt2);
}

const double gelu_scale = std::sqrt(2 / std::numbers::pi);
constexpr double gelu_cubic = 0.044715;

double activate(double z, Activation activation) {
  switch (activation) {
    case Activation::gelu:
      return z * normal_cdf(z);
    case Activation::gelu_tanh:
      return 0.5 * z * (1 + std::tanh(gelu_scale * (z + gelu_cubic * z * z * z)));
    case Activation::relu:
      return z < 0 ? 0 : z;  // NaN stays
    case Activation::none:
      break;
  }
  return z;
}

/// Derivative at z; for relu at its result, which has the same sign.
double slope(double z, Activation activation) {
  switch (activation) {
    case Activation::gelu:
      return normal_cdf(z) + z * std::exp(-0.5 * z * z) / std::sqrt(2 * std::numbers::pi);
    case Activation::gelu_tanh: {
      const double t = std::tanh(gelu_scale * (z + gelu_cubic * z * z * z));
      return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * gelu_scale * (1 + 3 * gelu_cubic * z * z);
    }
    case Activation::relu:
      return z <= 0 ? 0 : 1;
    case Activation::none:
      break;
  }
  return 1;
}

// Complex numbers have no activation.
c10::complex<double> activate(const c10::complex<double>& z, Activation) {
  return z;
}
double slope(const c10::complex<double>&, Activation) {
  return 1;
}

/// A contiguous copy in Wide on the CPU.
template <class Wide>
at::Tensor wide(const at::Tensor& t) {
  return t.to(at::TensorOptions().device(at::kCPU).dtype(c10::CppTypeToScalarType<Wide>::value)).contiguous();
}

template <class Wide>
at::Tensor zeros(at::IntArrayRef shape) {
  return at::zeros(shape, at::TensorOptions().dtype(c10::CppTypeToScalarType<Wide>::value));
}

/// Sizes and elements of the factors.
template <class Wide>
struct Factors {
  Factors(const at::Tensor& first, const at::Tensor& second)
      : z(monarch_sizes(first, second)),
        w1(wide<Wide>(first)),
        w2(wide<Wide>(second)),
        first_(w1.template const_data_ptr<Wide>()),
        second_(w2.template const_data_ptr<Wide>()) {}

  int64_t at1(int64_t k, int64_t q, int64_t p) const { return (k * z.q + q) * z.p + p; }
  int64_t at2(int64_t j, int64_t s, int64_t rho) const { return (j * z.s + s) * z.r + rho; }
  Wide first(int64_t k, int64_t q, int64_t p) const { return first_[at1(k, q, p)]; }
  Wide second(int64_t j, int64_t s, int64_t rho) const { return second_[at2(j, s, rho)]; }

  MonarchSizes z;
  at::Tensor w1, w2;

 private:
  const Wide* first_;
  const Wide* second_;
};

/// mid[b, k q' + q] = sum_p w1[k, q, p] x[b, k p' + p], the sum over the columns that x has.
template <class Wide>
at::Tensor first_stage(const at::Tensor& x, const Factors<Wide>& w) {
  const auto [batch, in] = std::pair(x.size(0), x.size(1));
  at::Tensor middle = zeros<Wide>({batch, w.z.middle()});
  const Wide* from = x.const_data_ptr<Wide>();
  Wide* to = middle.mutable_data_ptr<Wide>();
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t k = 0; k < w.z.k; ++k) {
      for (int64_t q = 0; q < w.z.q; ++q) {
        Wide sum = 0;
        for (int64_t p = 0; p < w.z.p && k * w.z.p + p < in; ++p)
          sum += w.first(k, q, p) * from[b * in + k * w.z.p + p];
        to[b * w.z.middle() + k * w.z.q + q] = sum;
      }
    }
  }
  return middle;
}

/// z[b, s l' + j] = sum_rho w2[j, s, rho] mid[b, rho l' + j] + bias[s l' + j] for the columns that are asked for.
template <class Wide>
at::Tensor second_stage(const at::Tensor& middle, const Factors<Wide>& w, const at::Tensor& bias, int64_t out) {
  const int64_t batch = middle.size(0);
  at::Tensor result = zeros<Wide>({batch, out});
  const Wide* from = middle.const_data_ptr<Wide>();
  const Wide* shift = bias.defined() ? bias.const_data_ptr<Wide>() : nullptr;
  Wide* to = result.mutable_data_ptr<Wide>();
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t s = 0; s < w.z.s; ++s) {
      for (int64_t j = 0; j < w.z.l && s * w.z.l + j < out; ++j) {
        Wide sum = 0;
        for (int64_t rho = 0; rho < w.z.r; ++rho) {
          sum += w.second(j, s, rho) * from[b * w.z.middle() + rho * w.z.l + j];
        }
        to[b * out + s * w.z.l + j] = shift ? sum + shift[s * w.z.l + j] : sum;
      }
    }
  }
  return result;
}

template <class Wide>
MonarchForward forward(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2, const at::Tensor& bias,
                       int64_t out, Activation activation, bool keep) {
  const Factors<Wide> w(w1, w2);
  const at::Tensor middle = first_stage(wide<Wide>(x), w);
  const at::Tensor argument = second_stage(middle, w, bias.defined() ? wide<Wide>(bias) : bias, out);
  at::Tensor y = at::empty_like(argument);
  for (int64_t i = 0; i < y.numel(); ++i) {
    y.mutable_data_ptr<Wide>()[i] = activate(argument.const_data_ptr<Wide>()[i], activation);
  }
  const bool gelu = activation == Activation::gelu || activation == Activation::gelu_tanh;
  MonarchForward result;
  result.y = y.to(w1.options());
  if (keep) result.middle = middle.to(w1.options());
  if (keep && gelu) result.input_of_activation = argument.to(w1.options());
  return result;
}

template <class Wide>
MonarchGradients backward(const MonarchBackwardTask& task) {
  const Factors<Wide> w(task.w1, task.w2);
  const MonarchSizes& z = w.z;
  const at::Tensor x = wide<Wide>(task.x);
  const auto [batch, in, out] = std::tuple(x.size(0), x.size(1), task.gradient.size(1));
  const at::Tensor middle = task.middle.defined() ? wide<Wide>(task.middle) : first_stage(x, w);
  at::Tensor argument;
  if (task.activation == Activation::relu) {
    argument = wide<Wide>(task.y);
  } else if (task.activation != Activation::none) {
    argument = task.input_of_activation.defined()
                   ? wide<Wide>(task.input_of_activation)
                   : second_stage(middle, w, task.bias.defined() ? wide<Wide>(task.bias) : task.bias, out);
  }

  const at::Tensor gradient = wide<Wide>(task.gradient).clone();
  at::Tensor dx = zeros<Wide>({batch, in}), dw1 = at::zeros_like(w.w1), dw2 = at::zeros_like(w.w2);
  at::Tensor dbias = zeros<Wide>({out}), dmiddle = zeros<Wide>({batch, z.middle()});
  Wide* dz = gradient.mutable_data_ptr<Wide>();
  const Wide* mid = middle.const_data_ptr<Wide>();
  const Wide* in_x = x.const_data_ptr<Wide>();
  Wide* to_x = dx.mutable_data_ptr<Wide>();
  Wide* to_w1 = dw1.mutable_data_ptr<Wide>();
  Wide* to_w2 = dw2.mutable_data_ptr<Wide>();
  Wide* to_bias = dbias.mutable_data_ptr<Wide>();
  Wide* dmid = dmiddle.mutable_data_ptr<Wide>();
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t s = 0; s < z.s; ++s) {
      for (int64_t j = 0; j < z.l && s * z.l + j < out; ++j) {
        Wide& d = dz[b * out + s * z.l + j];
        if (argument.defined()) d *= slope(argument.const_data_ptr<Wide>()[b * out + s * z.l + j], task.activation);
        to_bias[s * z.l + j] += d;
        for (int64_t rho = 0; rho < z.r; ++rho) {
          const int64_t t = b * z.middle() + rho * z.l + j;
          to_w2[w.at2(j, s, rho)] += d * conjugate(mid[t]);
          dmid[t] += conjugate(w.second(j, s, rho)) * d;
        }
      }
    }
    for (int64_t k = 0; k < z.k; ++k) {
      for (int64_t q = 0; q < z.q; ++q) {
        const Wide d = dmid[b * z.middle() + k * z.q + q];
        for (int64_t p = 0; p < z.p && k * z.p + p < in; ++p) {
          const int64_t i = b * in + k * z.p + p;
          to_w1[w.at1(k, q, p)] += d * conjugate(in_x[i]);
          to_x[i] += conjugate(w.first(k, q, p)) * d;
        }
      }
    }
  }
  const auto narrow = [&](const at::Tensor& t) { return t.to(task.w1.options()); };
  const bool real_input = !task.x.is_complex() && dx.is_complex();
  MonarchGradients result;
  if (task.wanted[0]) result[0] = (real_input ? at::real(dx).contiguous() : dx).to(task.x.options());
  if (task.wanted[1]) result[1] = narrow(dw1);
  if (task.wanted[2]) result[2] = narrow(dw2);
  if (task.wanted[3]) result[3] = narrow(dbias);
  return result;
}

}  // namespace

MonarchForward monarch_forward(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2, const at::Tensor& bias,
                               int64_t out, Activation activation, bool keep) {
  return w1.is_complex() ? forward<c10::complex<double>>(x, w1, w2, bias, out, activation, keep)
                         : forward<double>(x, w1, w2, bias, out, activation, keep);
}

MonarchGradients monarch_backward(const MonarchBackwardTask& task) {
  return task.w1.is_complex() ? backward<c10::complex<double>>(task) : backward<double>(task);
}

}  // namespace monarch::operators::kernels::reference
