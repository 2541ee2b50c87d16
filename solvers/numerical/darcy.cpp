#include "monarch/solvers/numerical/darcy.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <Eigen/SparseCholesky>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/solvers/numerical/recording.hpp"

namespace monarch::solvers {
namespace {

using Matrix = Eigen::SparseMatrix<double>;
using Solver = Eigen::SimplicialLDLT<Matrix, Eigen::Lower>;
using Vector = Eigen::Map<Eigen::VectorXd>;
using ConstVector = Eigen::Map<const Eigen::VectorXd>;

constexpr double residual_tolerance = 1e-10;

double face(double a, double b, FaceMean mean) {
  return mean == FaceMean::arithmetic ? 0.5 * (a + b) : 2 * a * b / (a + b);
}

/// Cells are numbered i n + j.
struct Grid {
  const double* a;
  int64_t n;
  FaceMean mean;
  double scale() const { return static_cast<double>(n) * static_cast<double>(n); }
  /// n² times the coefficient between cell c and its neighbour at c + distance.
  double link(int64_t c, int64_t distance) const { return scale() * face(a[c], a[c + distance], mean); }
  double diagonal(int64_t i, int64_t j) const {
    const int64_t c = i * n + j;
    const double wall = 2 * scale() * a[c];
    return (i > 0 ? link(c, -n) : wall) + (i < n - 1 ? link(c, n) : wall) + (j > 0 ? link(c, -1) : wall) +
           (j < n - 1 ? link(c, 1) : wall);
  }
};

/// The lower triangle, column by column.
void assemble(const Grid& g, Matrix& matrix) {
  const int64_t cells = g.n * g.n;
  matrix.resize(cells, cells);
  matrix.resizeNonZeros(3 * cells - 2 * g.n);
  int* starts = matrix.outerIndexPtr();
  int* rows = matrix.innerIndexPtr();
  double* values = matrix.valuePtr();
  int next = 0;
  const auto put = [&](int64_t row, double value) {
    rows[next] = static_cast<int>(row);
    values[next++] = value;
  };
  for (int64_t i = 0; i < g.n; ++i) {
    for (int64_t j = 0; j < g.n; ++j) {
      const int64_t c = i * g.n + j;
      starts[c] = next;
      put(c, g.diagonal(i, j));
      if (j < g.n - 1) put(c + 1, -g.link(c, 1));
      if (i < g.n - 1) put(c + g.n, -g.link(c, g.n));
    }
  }
  starts[cells] = next;
}

void apply(const Grid& g, const double* u, double* result) {
  for (int64_t i = 0; i < g.n; ++i) {
    for (int64_t j = 0; j < g.n; ++j) {
      const int64_t c = i * g.n + j;
      double sum = g.diagonal(i, j) * u[c];
      if (i > 0) sum -= g.link(c, -g.n) * u[c - g.n];
      if (i < g.n - 1) sum -= g.link(c, g.n) * u[c + g.n];
      if (j > 0) sum -= g.link(c, -1) * u[c - 1];
      if (j < g.n - 1) sum -= g.link(c, 1) * u[c + 1];
      result[c] = sum;
    }
  }
}

at::Tensor checked(const at::Tensor& t, const char* what) {
  check<ShapeError>(t.dim() == 3 && t.size(1) == t.size(2) && t.size(1) >= 1, [&] {
    return fmt::format("Darcy: {} of shape {}; expected [sample, n, n]", what, shape_text(t.sizes()));
  });
  return t.to(at::kCPU, at::kDouble).contiguous();
}

}  // namespace

at::Tensor darcy_operator(const at::Tensor& coefficient, const at::Tensor& u, FaceMean mean) {
  const at::Tensor a = checked(coefficient, "coefficient"), x = checked(u, "solution");
  check<ShapeError>(a.sizes() == x.sizes(), [&] {
    return fmt::format("Darcy: coefficient {} and solution {}; expected equal shapes", shape_text(a.sizes()),
                       shape_text(x.sizes()));
  });
  at::Tensor result = at::empty_like(x);
  const int64_t n = a.size(1), cells = n * n;
  for (int64_t s = 0; s < a.size(0); ++s) {
    apply({a.const_data_ptr<double>() + s * cells, n, mean}, x.const_data_ptr<double>() + s * cells,
          result.mutable_data_ptr<double>() + s * cells);
  }
  return result;
}

at::Tensor solve_darcy(const at::Tensor& coefficient, const at::Tensor& source, FaceMean mean, int64_t first) {
  const at::Tensor a = checked(coefficient, "coefficient");
  const int64_t count = a.size(0), n = a.size(1), cells = n * n;
  const bool shared = source.dim() == 2;
  const at::Tensor f = checked(shared ? source.unsqueeze(0) : source, "source");
  check<ShapeError>(f.size(1) == n && (shared || f.size(0) == count), [&] {
    return fmt::format("Darcy: source {} for coefficients {}; expected [n, n] or [sample, n, n]",
                       shape_text(source.sizes()), shape_text(a.sizes()));
  });
  check<ShapeError>(n <= 20000, [&] { return fmt::format("Darcy: {} points an axis; at most 20000 are possible", n); });
  at::Tensor result = at::empty_like(a);
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    Matrix matrix;
    Solver solver;
    Eigen::VectorXd residual(cells), product(cells);
    for (int64_t s = begin; s < end; ++s) {
      const Grid grid{a.const_data_ptr<double>() + s * cells, n, mean};
      for (int64_t c = 0; c < cells; ++c) {
        check<DataError>(grid.a[c] > 0 && std::isfinite(grid.a[c]), [&] {
          return fmt::format("Darcy: sample {} has the coefficient {} at cell [{}, {}]; expected a positive number",
                             first + s, grid.a[c], c / n, c % n);
        });
      }
      const ConstVector right(f.const_data_ptr<double>() + (shared ? 0 : s * cells), cells);
      Vector u(result.mutable_data_ptr<double>() + s * cells, cells);
      assemble(grid, matrix);
      if (s == begin) solver.analyzePattern(matrix);  // the same for every coefficient
      solver.factorize(matrix);
      check<BackendError>(solver.info() == Eigen::Success, [&] {
        return fmt::format("Darcy: sample {}: the matrix could not be decomposed", first + s);
      });
      u = solver.solve(right);
      double error = 0;
      for (int pass = 0; pass < 2; ++pass) {
        apply(grid, u.data(), product.data());
        residual = right - product;
        error = residual.norm() / std::max(right.norm(), 1e-300);
        if (pass == 0) u += solver.solve(residual);
      }
      check<BackendError>(
          error <= residual_tolerance,
          [&] {
            return fmt::format("Darcy: sample {}: the residual is {:.1e} of the source; expected at most {:.0e}",
                               first + s, error, residual_tolerance);
          },
          "the coefficient's contrast is too large for double precision: take a smaller --amplitude");
    }
  });
  return result;
}

DarcyOptions darcy_set(std::string_view name) {
  DarcyOptions o;
  if (name == "paper") return o;
  if (name == "script") {
    o.lower = 4;
    return o;
  }
  if (name == "lognormal") {
    o.lognormal = true;
    return o;
  }
  const std::string near = closest_match(name, {"paper", "script", "lognormal"});
  fail<ConfigError>(fmt::format("Darcy data set '{}' is none of paper, script or lognormal", name),
                    near.empty() ? "" : fmt::format("did you mean {}?", near));
}

DarcySimulation::DarcySimulation(DarcyOptions options) : options_(std::move(options)) {
  const auto& o = options_;
  check<ConfigError>(o.points >= 1 && o.points <= 20000,
                     [&] { return fmt::format("Darcy: {} points an axis; expected 1 to 20000", o.points); });
  check<ConfigError>(o.upper > 0 && o.lower > 0 && o.amplitude > 0 && o.field.alpha > 0 && o.field.tau > 0, [&] {
    return fmt::format("Darcy: coefficients {} and {}, amplitude {}, alpha {} and tau {} must be positive", o.upper,
                       o.lower, o.amplitude, o.field.alpha, o.field.tau);
  });
  check<ConfigError>(std::isfinite(o.source), "Darcy: the source must be finite");
}

std::string DarcySimulation::describe() const {
  const auto& o = options_;
  return fmt::format(
      "Darcy -div(a grad u) = {} on the unit square, u = 0 on the boundary, {} with w from N(0, {}^{} (-Laplace + "
      "{}^2)^-{}), Neumann; {} x {} cells, five points with {} face means, sparse direct solver",
      o.source,
      o.lognormal ? fmt::format("a = exp({} w)", o.amplitude)
                  : fmt::format("a = {} where w >= 0, else {}", o.upper, o.lower),
      o.field.tau, 2 * o.field.alpha - 2, o.field.tau, o.field.alpha, o.points, o.points,
      o.mean == FaceMean::arithmetic ? "arithmetic" : "harmonic");
}

std::vector<SampleVariable> DarcySimulation::variables() const {
  return {{"coeff", {options_.points, options_.points}}, {"sol", {options_.points, options_.points}}};
}

std::map<std::string, at::Tensor> DarcySimulation::constants() const {
  const double h = 1 / static_cast<double>(options_.points);
  const at::Tensor x = constant_row(grid_points(options_.points, h, h / 2));
  return {{"x", x}, {"y", x}};
}

std::map<std::string, double> DarcySimulation::parameters() const {
  if (options_.lognormal) return {{"beta", options_.source}, {"amplitude", options_.amplitude}};
  return {{"beta", options_.source}, {"upper", options_.upper}, {"lower", options_.lower}};
}

std::vector<at::Tensor> DarcySimulation::samples(uint64_t seed, int64_t first, int64_t count) const {
  const auto& o = options_;
  const at::Tensor w = neumann_random_field(o.field, o.points, seed, first, count);
  const at::Tensor a = o.lognormal ? (w * o.amplitude).exp() : at::where(w >= 0, o.upper, o.lower).to(at::kDouble);
  return {a, solve_darcy(a, at::full({o.points, o.points}, o.source, at::kDouble), o.mean, first)};
}

int64_t DarcySimulation::preferred_batch() const {
  return 2 * at::get_num_threads();
}

}  // namespace monarch::solvers
