#include "monarch/operators/kernels/cpu/monarch_few_rows.hpp"

#include <type_traits>

#include "monarch/operators/kernels/cpu/monarch_tasks.hpp"

namespace monarch::operators::kernels::cpu {
namespace {

/// Row b of complex or real numbers from(b, i): n real parts, then n imaginary parts.
template <class T, class From>
void planes(int64_t batch, int64_t n, bool complex, T* to, const From& from) {
  for (int64_t b = 0; b < batch; ++b) {
    T* row = to + b * n * (complex ? 2 : 1);
    for (int64_t i = 0; i < n; ++i) {
      const T* value = from(b, i);
      row[i] = value[0];
      if (complex) row[n + i] = value[1];
    }
  }
}

/// The same numbers as the sums over the batch need them: [i][real parts of all b, then imaginary parts], `m` long.
template <class T, class From>
void columns(int64_t batch, int64_t n, int64_t m, bool complex, T* to, const From& from) {
  for (int64_t i = 0; i < n; ++i) {
    T* column = to + i * m * (complex ? 2 : 1);
    for (int64_t b = 0; b < batch; ++b) {
      const T* value = from(b, i);
      column[b] = value[0];
      if (complex) column[m + b] = value[1];
    }
  }
}

}  // namespace

template <class T, class Io, class Weight>
void few_rows_middle(const MonarchProblem<T, Io>& problem, const Weight* w1, const T* x, T* middle, bool parallel) {
  const auto& z = problem.z;
  const int64_t unit = problem.unit();
  const Tasks tasks(z.k, z.q, at::get_num_threads());
  for_each(tasks.count(), parallel, [&](int64_t task) {
    const int64_t k = tasks.block(task), n0 = tasks.begin(task);
    DotProducts<T, Weight> dots;
    dots.numbers = problem.complex ? Numbers::complex : Numbers::real;
    dots.rows = problem.batch;
    dots.N = tasks.size(task);
    dots.K = z.p;
    dots.w = w1 + (k * z.q + n0) * z.p * unit;
    dots.x = x + k * z.p * unit;
    dots.x_row = z.in() * unit;
    dots.y = middle;
    dots.y_row = z.l * problem.middle_step * unit;
    dots.place = problem.middle_place.data() + k * z.q + n0;
    dot_products(dots);
  });
}

template <class T, class Io, class Weight>
void few_rows_result(const MonarchProblem<T, Io>& problem, const Weight* w2, const T* middle, bool parallel) {
  const auto& z = problem.z;
  const int64_t unit = problem.unit(), row = z.out() * unit;
  std::vector<T> result(static_cast<size_t>(problem.batch * row));
  const Tasks tasks(z.l, z.s, at::get_num_threads());
  for_each(tasks.count(), parallel, [&](int64_t task) {
    const int64_t j = tasks.block(task), s0 = tasks.begin(task);
    DotProducts<T, Weight> dots;
    dots.numbers = problem.complex ? Numbers::complex : Numbers::real;
    dots.rows = problem.batch;
    dots.N = tasks.size(task);
    dots.K = z.r;
    dots.w = w2 + (j * z.s + s0) * z.r * unit;
    dots.x = middle + j * problem.middle_step * unit;
    dots.x_row = z.l * problem.middle_step * unit;
    dots.y = result.data() + (s0 * z.l + j) * unit;
    dots.y_row = row;
    dots.y_step = z.l;
    dot_products(dots);
  });
  for (int64_t b = 0; b < problem.batch; ++b) {
    const int64_t at = b * problem.out * unit;
    finish_row<T, Io>(result.data() + b * row, problem.bias, problem.curve, problem.y + at,
                      problem.before ? problem.before + at : nullptr, problem.out * unit);
  }
}

template <class T>
void few_rows_backward(const MonarchProblem<T, T>& problem, const FewRowsGradients<T>& gradients, bool parallel) {
  const auto& z = problem.z;
  const int64_t unit = problem.unit(), lanes = vector_lanes<T>(), batch = problem.batch;
  const bool complex = problem.complex;
  const Panels rows(batch, panel_width<T>(), lanes);  // sums over the batch
  static constexpr T zero[2] = {0, 0};
  const int64_t middle_row = z.middle() * unit;
  std::vector<T> dmiddle(static_cast<size_t>(batch * middle_row));  // [b][t]
  const bool wants_first = gradients.dx || gradients.dw1;

  for_each(z.l, parallel, [&](int64_t j) {
    const auto dz = [&](int64_t b, int64_t s) {
      const int64_t column = s * z.l + j;
      return column < problem.out ? gradients.gradient + (b * problem.out + column) * unit : zero;
    };
    if (gradients.dw2) {
      std::vector<T> d(static_cast<size_t>(z.s * rows.last_m * unit));
      columns(batch, z.s, rows.last_m, complex, d.data(), dz);
      OuterSum<T> sum;
      sum.complex = complex;
      sum.accumulate = false;
      sum.N = z.s;
      sum.columns = z.r * unit;
      sum.d = d.data();
      sum.x = gradients.middle + j * problem.middle_step * unit;
      sum.x_row = z.l * problem.middle_step * unit;
      sum.dw = gradients.dw2 + j * z.s * z.r * unit;
      sum.dw_row = z.r * unit;
      outer_sum(sum, rows);
    }
    if (!wants_first) return;
    std::vector<T> d(static_cast<size_t>(batch * z.s * unit)), result(static_cast<size_t>(batch * z.r * unit));
    planes(batch, z.s, complex, d.data(), dz);
    RowSums<T> sums;
    sums.complex = complex;
    sums.rows = batch;
    sums.K = z.s;
    sums.columns = z.r * unit;
    sums.d = d.data();
    sums.w = problem.w2 + j * z.s * z.r * unit;
    sums.w_row = z.r * unit;
    sums.y = result.data();
    sums.y_row = z.r * unit;
    row_sums(sums);
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t rho = 0; rho < z.r; ++rho) {
        for (int64_t u = 0; u < unit; ++u) {
          dmiddle[static_cast<size_t>(b * middle_row + (rho * z.l + j) * unit + u)] =
              result[static_cast<size_t>((b * z.r + rho) * unit + u)];
        }
      }
    }
  });
  if (!wants_first) return;

  for_each(z.k, parallel, [&](int64_t k) {
    const auto dm = [&](int64_t b, int64_t q) { return dmiddle.data() + b * middle_row + (k * z.q + q) * unit; };
    const int64_t have = problem.columns_of(k) * unit;
    if (have == 0) return;
    if (gradients.dw1) {
      std::vector<T> d(static_cast<size_t>(z.q * rows.last_m * unit));
      columns(batch, z.q, rows.last_m, complex, d.data(), dm);
      OuterSum<T> sum;
      sum.complex = complex;
      sum.accumulate = false;
      sum.N = z.q;
      sum.columns = have;
      sum.d = d.data();
      sum.x = problem.x + k * z.p * unit;
      sum.x_row = problem.in * unit;
      sum.dw = gradients.dw1 + k * z.q * z.p * unit;
      sum.dw_row = z.p * unit;
      outer_sum(sum, rows);
    }
    if (gradients.dx) {
      std::vector<T> d(static_cast<size_t>(batch * z.q * unit));
      planes(batch, z.q, complex, d.data(), dm);
      RowSums<T> sums;
      sums.complex = complex;
      sums.rows = batch;
      sums.K = z.q;
      sums.columns = have;
      sums.d = d.data();
      sums.w = problem.w1 + k * z.q * z.p * unit;
      sums.w_row = z.p * unit;
      sums.y = gradients.dx + k * z.p * unit;
      sums.y_row = problem.in * unit;
      row_sums(sums);
    }
  });
}

template void few_rows_middle(const MonarchProblem<float, float>&, const float*, const float*, float*, bool);
template void few_rows_middle(const MonarchProblem<double, double>&, const double*, const double*, double*, bool);
template void few_rows_middle(const MonarchProblem<float, uint16_t>&, const uint16_t*, const float*, float*, bool);
template void few_rows_result(const MonarchProblem<float, float>&, const float*, const float*, bool);
template void few_rows_result(const MonarchProblem<double, double>&, const double*, const double*, bool);
template void few_rows_result(const MonarchProblem<float, uint16_t>&, const uint16_t*, const float*, bool);
template void few_rows_backward(const MonarchProblem<float, float>&, const FewRowsGradients<float>&, bool);
template void few_rows_backward(const MonarchProblem<double, double>&, const FewRowsGradients<double>&, bool);

}  // namespace monarch::operators::kernels::cpu
