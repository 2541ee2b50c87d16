#include "monarch/mri/solvers.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/core/text.hpp"
#include "monarch/mri/kernels/complex_arrays.hpp"

namespace monarch::mri {
namespace {

using operators::LinearOperator;

// Reductions split into blocks of fixed size, so that sums do not depend on the number of threads.
constexpr int64_t kBlock = int64_t{1} << 15;

// The float array behind a contiguous CPU complex64 or float32 tensor; null for all others, which go through ATen.
float* floats(const at::Tensor& t) {
  if (!t.is_cpu() || !t.is_contiguous() || t.is_conj() || t.is_neg()) return nullptr;
  if (t.scalar_type() == at::kComplexFloat) return reinterpret_cast<float*>(t.data_ptr<c10::complex<float>>());
  if (t.scalar_type() == at::kFloat) return t.data_ptr<float>();
  return nullptr;
}

int64_t float_count(const at::Tensor& t) {
  return t.is_complex() ? 2 * t.numel() : t.numel();
}

// Σ over blocks of f(begin, count), in block order.
template <class Function>
double sum_blocks(int64_t n, const Function& f) {
  const int64_t blocks = (n + kBlock - 1) / kBlock;
  std::vector<double> partial(static_cast<size_t>(blocks));
  at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      partial[static_cast<size_t>(i)] = f(i * kBlock, std::min(kBlock, n - i * kBlock));
    }
  });
  double total = 0;
  for (double value : partial) total += value;
  return total;
}

double real_inner(const at::Tensor& x, const at::Tensor& y) {
  const float* px = floats(x);
  const float* py = floats(y);
  if (px && py) {
    return sum_blocks(float_count(x), [&](int64_t at, int64_t n) { return kernels::dot(px + at, py + at, n); });
  }
  const auto product = x.is_complex() ? at::real(at::mul(x.conj(), y)) : at::mul(x, y);
  return product.sum(at::kDouble).item<double>();
}

double length_of(const at::Tensor& x) {
  return std::sqrt(real_inner(x, x));
}

// x += alpha p, r -= alpha q; returns ‖r‖².
double step_and_residual(at::Tensor& x, const at::Tensor& p, at::Tensor& r, const at::Tensor& q, double alpha) {
  float* px = floats(x);
  float* pr = floats(r);
  const float* pp = floats(p);
  const float* pq = floats(q);
  if (px && pr && pp && pq) {
    return sum_blocks(float_count(x), [&](int64_t at, int64_t n) {
      return kernels::step_and_residual(px + at, pp + at, pr + at, pq + at, static_cast<float>(alpha), n);
    });
  }
  x.add_(p, alpha);
  r.sub_(q, alpha);
  return real_inner(r, r);
}

// p = r + beta p.
void scale_and_add(const at::Tensor& r, double beta, at::Tensor& p) {
  const float* pr = floats(r);
  float* pp = floats(p);
  if (pr && pp) {
    sum_blocks(float_count(p), [&](int64_t at, int64_t n) {
      kernels::scale_and_add(pr + at, static_cast<float>(beta), pp + at, n);
      return 0.0;
    });
    return;
  }
  p.mul_(beta).add_(r);
}

// out = y + step (b - gradient).
void gradient_step(const at::Tensor& y, const at::Tensor& b, const at::Tensor& gradient, double step, at::Tensor& out) {
  const float* py = floats(y);
  const float* pb = floats(b);
  const float* pg = floats(gradient);
  float* po = floats(out);
  if (py && pb && pg && po) {
    sum_blocks(float_count(out), [&](int64_t at, int64_t n) {
      return kernels::gradient_step(py + at, pb + at, pg + at, static_cast<float>(step), po + at, n);
    });
    return;
  }
  out.copy_(y).add_(b, step).sub_(gradient, step);
}

// y = x + beta (x - previous); returns ‖x - previous‖².
double extrapolate(const at::Tensor& x, const at::Tensor& previous, double beta, at::Tensor& y) {
  const float* px = floats(x);
  const float* pp = floats(previous);
  float* py = floats(y);
  if (px && pp && py) {
    return sum_blocks(float_count(y), [&](int64_t at, int64_t n) {
      return kernels::extrapolate(px + at, pp + at, static_cast<float>(beta), py + at, n);
    });
  }
  const auto change = x - previous;
  at::add_out(y, x, change, beta);
  return real_inner(change, change);
}

void check_common(const char* solver, const LinearOperator& a, const at::Tensor& b, int64_t iterations,
                  double tolerance, const at::Tensor& initial) {
  check<ConfigError>(
      iterations >= 0, [&] { return fmt::format("{}: {} iterations asked for", solver, iterations); },
      "give a count of 0 or more");
  check<ConfigError>(
      tolerance >= 0, [&] { return fmt::format("{}: tolerance is {}", solver, tolerance); },
      "give a relative residual of 0 (run all iterations) or more");
  const auto& domain = a.domain().shape;
  const auto shape = b.sizes();
  const bool fits = shape.size() >= domain.size() && std::equal(domain.rbegin(), domain.rend(), shape.rbegin());
  check<ShapeError>(
      fits,
      [&] {
        return fmt::format("{}: the right-hand side has shape {}, but A^H y of {} has {}", solver, shape_text(shape),
                           a.describe(), shape_text(domain));
      },
      "pass b = A.adjoint(y), not y");
  check<ShapeError>(!initial.defined() || initial.sizes() == shape, [&] {
    return fmt::format("{}: the start has shape {}, the right-hand side {}", solver, shape_text(initial.sizes()),
                       shape_text(shape));
  });
}

void check_finite(double value, const char* solver, int64_t iteration) {
  check<BackendError>(
      std::isfinite(value),
      [&] { return fmt::format("{}: the residual is {} at iteration {}", solver, value, iteration); },
      "the data or the coil sensitivities hold NaN or infinite values, or the step size is too large");
}

at::Tensor start(const at::Tensor& initial, const at::Tensor& b) {
  return initial.defined() ? initial.to(b.options()).clone(at::MemoryFormat::Contiguous)
                           : at::zeros(b.sizes(), b.options());
}

// change / size, where a vanished size counts as a change of all; NaN and Inf go through.
double relative(double change, double size) {
  if (change == 0) return 0;
  return size == 0 && std::isfinite(change) ? 1 : change / size;
}

}  // namespace

SolverResult conjugate_gradient(const LinearOperator& a, const at::Tensor& b, const ConjugateGradientOptions& options) {
  const char* name = "conjugate gradients";
  check_common(name, a, b, options.iterations, options.tolerance, options.initial);
  check<ConfigError>(
      options.lambda >= 0, [&] { return fmt::format("{}: lambda is {}", name, options.lambda); },
      "the weight of the penalty is 0 or more");
  const c10::NoGradGuard no_grad;
  SolverResult result;
  result.x = start(options.initial, b);

  auto r = b.clone(at::MemoryFormat::Contiguous);
  if (options.initial.defined()) {
    r.sub_(a.normal(result.x));
    if (options.lambda != 0) r.sub_(result.x, options.lambda);
  }
  auto p = r.clone();
  const double size = length_of(b);
  check_finite(size, name, 0);
  double rho = real_inner(r, r);
  check_finite(rho, name, 0);

  while (result.iterations < options.iterations && rho > 0) {
    auto q = a.normal(p);
    if (options.lambda != 0) q = q.add_(p, options.lambda);
    const double curvature = real_inner(p, q);
    check_finite(curvature, name, result.iterations + 1);
    if (curvature == 0) break;  // p lies in the null space of A: the residual cannot fall any more
    const double rho_next = step_and_residual(result.x, p, r, q, rho / curvature);
    ++result.iterations;
    check_finite(rho_next, name, result.iterations);
    const double residual = relative(std::sqrt(rho_next), size);
    result.residuals.push_back(residual);
    if (options.callback) options.callback(result.iterations, residual);
    if (residual <= options.tolerance) {
      result.converged = true;
      break;
    }
    scale_and_add(r, rho_next / rho, p);
    rho = rho_next;
  }
  if (rho == 0) result.converged = true;
  return result;
}

double largest_eigenvalue(const LinearOperator& a, int64_t iterations, uint64_t seed) {
  check<ConfigError>(iterations >= 1, "power iteration: at least one iteration is needed");
  const c10::NoGradGuard no_grad;
  auto x = Rng(seed, "power iteration").normal(a.domain().shape, a.domain().dtype).to(a.domain().device);
  double eigenvalue = 0;
  for (int64_t k = 1; k <= iterations; ++k) {
    const double size = length_of(x);
    check_finite(size, "power iteration", k);
    if (size == 0) return 0;
    x = a.normal(x.div_(size));
    eigenvalue = length_of(x);
  }
  check_finite(eigenvalue, "power iteration", iterations);
  return eigenvalue;
}

SolverResult fista(const LinearOperator& a, const at::Tensor& b, const ProximalMap& proximal,
                   const FistaOptions& options) {
  const char* name = "FISTA";
  check_common(name, a, b, options.iterations, options.tolerance, options.initial);
  check<ConfigError>(
      options.step >= 0, [&] { return fmt::format("{}: step is {}", name, options.step); },
      "give 0 (1 / largest eigenvalue) or more");
  const c10::NoGradGuard no_grad;
  double step = options.step;
  if (step == 0) {
    const double bound = largest_eigenvalue(a);
    step = bound > 0 ? options.step_fraction / bound : 1;
  }

  SolverResult result;
  result.x = start(options.initial, b);
  auto z = result.x.clone();
  const auto rhs = b.contiguous();
  double t = 1;
  while (result.iterations < options.iterations) {
    auto next = at::empty_like(z);
    gradient_step(z, rhs, a.normal(z), step, next);
    next = proximal(std::move(next), step, result.iterations).contiguous();
    const double t_next = (1 + std::sqrt(1 + 4 * t * t)) / 2;
    const double change = std::sqrt(extrapolate(next, result.x, (t - 1) / t_next, z));
    result.x = std::move(next);
    t = t_next;
    ++result.iterations;
    const double residual = relative(change, length_of(result.x));
    check_finite(residual, name, result.iterations);
    result.residuals.push_back(residual);
    if (options.callback) options.callback(result.iterations, residual);
    if (options.tolerance > 0 && residual <= options.tolerance) {
      result.converged = true;
      break;
    }
  }
  if (options.closing_gradient_step) gradient_step(z, rhs, a.normal(z), step, result.x);
  return result;
}

SolverResult primal_dual(const LinearOperator& a, const LinearOperator& k, const at::Tensor& b,
                         const DualProximalMap& dual_proximal, const PrimalDualOptions& options) {
  const char* name = "primal-dual iteration";
  check_common(name, a, b, options.iterations, options.tolerance, options.initial);
  check<ConfigError>(
      options.data_norm > 0 && options.analysis_norm > 0 && options.dual_step >= 0,
      [&] {
        return fmt::format("{}: norms {} and {}, dual step {}", name, options.data_norm, options.analysis_norm,
                           options.dual_step);
      },
      "norm bounds are positive");
  const c10::NoGradGuard no_grad;
  const double sigma = options.dual_step > 0 ? options.dual_step : 0.15 * options.data_norm / options.analysis_norm;
  const double tau = 0.99 / (options.data_norm / 2 + sigma * options.analysis_norm);

  SolverResult result;
  result.x = start(options.initial, b);
  auto ahead = at::empty_like(result.x);
  auto u = at::zeros_like(k.apply(result.x));
  const auto rhs = b.contiguous();
  while (result.iterations < options.iterations) {
    auto gradient = a.normal(result.x).add_(k.adjoint(u));
    auto next = at::empty_like(result.x);
    gradient_step(result.x, rhs, gradient, tau, next);
    const double change = std::sqrt(extrapolate(next, result.x, 1, ahead));
    u = dual_proximal(u.add_(k.apply(ahead), sigma), sigma);
    result.x = std::move(next);
    ++result.iterations;
    const double residual = relative(change, length_of(result.x));
    check_finite(residual, name, result.iterations);
    result.residuals.push_back(residual);
    if (options.callback) options.callback(result.iterations, residual);
    if (options.tolerance > 0 && residual <= options.tolerance) {
      result.converged = true;
      break;
    }
  }
  return result;
}

}  // namespace monarch::mri
