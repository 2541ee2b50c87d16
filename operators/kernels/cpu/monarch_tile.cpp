#include "monarch/operators/kernels/cpu/monarch_tile.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <new>

#include "monarch/operators/kernels/cpu/monarch_tasks.hpp"

namespace monarch::operators::kernels::cpu {
namespace {

/// Columns that are brought back to row-major order at a time: whole cache lines of many rows.
constexpr int64_t kColumnsAtATime = 1024;

template <class T>
T* scratch(int64_t count) {
  static thread_local Scratch<T> memory;
  return memory.get(count);
}

}  // namespace

template <class T>
T* Scratch<T>::get(int64_t count) {
  if (count > size_) {
    // Whole huge pages: a tile has a row in each small page, more than a processor remembers translations of.
    constexpr size_t page = size_t{1} << 21;
    const size_t bytes = (static_cast<size_t>(count) * sizeof(T) + page - 1) / page * page;
    data_.reset();
    size_ = 0;
    data_.reset(static_cast<T*>(std::aligned_alloc(page, bytes)));
    if (!data_) throw std::bad_alloc();
    madvise(data_.get(), bytes, MADV_HUGEPAGE);
    size_ = static_cast<int64_t>(bytes / sizeof(T));
  }
  return data_.get();
}

bool worth_sharing(double seconds, int regions) {
  const int threads = at::get_num_threads();
  if (threads < 2 || at::in_parallel_region()) return false;
  static const double cost = [&] {
    using Clock = std::chrono::steady_clock;
    std::array<double, 7> tries{};
    for (double& t : tries) {
      const auto start = Clock::now();
      at::parallel_for(0, threads, 1, [](int64_t, int64_t) {});
      t = std::chrono::duration<double>(Clock::now() - start).count();
    }
    std::sort(tries.begin(), tries.end());
    return tries[tries.size() / 2];
  }();
  return seconds * (1 - 1.0 / threads) > 1.5 * cost * regions;
}

int64_t spread(int64_t rows) {
  return rows % 8 == 0 ? rows + 1 : rows;
}

template <class T, class Io>
void MonarchProblem<T, Io>::make_places(bool dense) {
  middle_step = dense ? z.r : spread(z.r);
  middle_place.resize(static_cast<size_t>(z.middle()));
  for (int64_t rho = 0, t = 0; rho < z.r; ++rho) {
    for (int64_t j = 0; j < z.l; ++j, ++t)
      middle_place[static_cast<size_t>(t)] = static_cast<int32_t>(j * middle_step + rho);
  }
}

// ---- forward -------------------------------------------------------------------------------------------------------

template <class T, class Io>
ForwardTile<T, Io>::ForwardTile(const MonarchProblem<T, Io>& problem, int64_t row0, int64_t rows)
    : problem_(problem), row0_(row0), panels_(rows, panel_width<T>(), vector_lanes<T>()) {}

template <class T, class Io>
void ForwardTile<T, Io>::first_stage(int64_t k, int64_t n0, int64_t n, T* middle) const {
  const auto& z = problem_.z;
  const int64_t unit_x = problem_.unit_x(), unit = problem_.unit();
  const int64_t panel = panels_.width * z.p * unit_x;
  T* columns = scratch<T>(panels_.padded() * z.p * unit_x);
  const Io* x = problem_.x + (row0_ * problem_.in + k * z.p) * unit_x;
  pack<T, Io>(x, problem_.in * unit_x, problem_.columns_of(k) * unit_x, z.p * unit_x, nullptr, columns, panel, panels_);
  Product<T> product;
  product.numbers = problem_.first;
  product.N = n;
  product.K = z.p;
  product.w = problem_.w1 + (k * z.q + n0) * z.p * unit;
  product.wn = z.p;
  product.wk = 1;
  product.a = columns;
  product.a_panel = panel;
  product.c = middle;
  product.c_panel = middle_panel();
  product.c_place = problem_.middle_place.data() + k * z.q + n0;
  multiply_panels(product, panels_);
}

template <class T, class Io>
void ForwardTile<T, Io>::second_stage(int64_t s0, int64_t n, const T* middle) const {
  const auto& z = problem_.z;
  const int64_t unit = problem_.unit();
  const int64_t first = s0 * z.l;  // of the columns s l + j
  const int64_t columns = std::min(n * z.l, problem_.out - first);
  const int64_t panel = panels_.width * n * z.l * unit;
  T* result = scratch<T>(panels_.padded() * n * z.l * unit);
  Product<T> product;
  product.numbers = problem_.complex ? Numbers::complex : Numbers::real;
  product.N = n;
  product.K = z.r;
  product.wn = z.r;
  product.wk = 1;
  product.a = middle;
  product.a_panel = middle_panel();
  product.c = result;
  product.c_panel = panel;
  product.c_step = z.l;
  const int64_t at = (row0_ * problem_.out + first) * unit;
  for (int64_t j = 0; j < z.l; ++j) {
    product.w = problem_.w2 + (j * z.s + s0) * z.r * unit;
    product.a_first = j * problem_.middle_step;
    product.c_first = j;
    multiply_panels(product, panels_);
  }
  unpack<T, Io>(result, panel, 0, columns * unit, problem_.bias ? problem_.bias + first * unit : nullptr,
                problem_.curve, problem_.y + at, problem_.before ? problem_.before + at : nullptr, problem_.out * unit,
                panels_);
}

template <class T, class Io>
int64_t ForwardTile<T, Io>::second_step(const MonarchProblem<T, Io>& problem) {
  const int64_t most = std::max<int64_t>(12, kColumnsAtATime / problem.z.l);
  const int64_t parts = (problem.z.s + most - 1) / most;
  return (problem.z.s + parts - 1) / parts;
}

template <class T, class Io>
void ForwardTile<T, Io>::run(T* middle) const {
  for (int64_t k = 0; k < problem_.z.k; ++k) first_stage(k, 0, problem_.z.q, middle);
  const int64_t step = second_step(problem_);
  for (int64_t s0 = 0; s0 < problem_.z.s; s0 += step) second_stage(s0, std::min(step, problem_.z.s - s0), middle);
}

template <class T, class Io>
T* ForwardTile<T, Io>::in_place(T* kept) const {
  const bool same = kept && problem_.middle_step == problem_.z.r && panels_.last_m == panels_.last;
  return same ? kept + row0_ * problem_.z.middle() * problem_.unit() : nullptr;
}

template <class T, class Io>
void ForwardTile<T, Io>::keep(const T* middle, T* kept) const {
  const auto& z = problem_.z;
  for (int64_t i = 0; i < panels_.count; ++i) {
    const int64_t m = panels_.m(i), valid = panels_.valid(i);
    T* to = kept + (row0_ + i * panels_.width) * z.middle() * problem_.unit();
    for (int64_t j = 0; j < z.l; ++j) {
      const T* from = middle + i * middle_panel() + j * problem_.middle_step * problem_.unit() * m;
      const int64_t columns = z.r * problem_.unit();
      const int64_t pieces = m == valid ? 1 : columns, length = valid * columns / pieces;
      for (int64_t c = 0; c < pieces; ++c, to += length)
        std::memcpy(to, from + c * m, static_cast<size_t>(length) * sizeof(T));
    }
  }
}

template <class T, class Io>
void ForwardTile<T, Io>::restore(const T* kept, T* middle) const {
  const auto& z = problem_.z;
  for (int64_t i = 0; i < panels_.count; ++i) {
    const int64_t m = panels_.m(i), valid = panels_.valid(i);
    const T* from = kept + (row0_ + i * panels_.width) * z.middle() * problem_.unit();
    for (int64_t j = 0; j < z.l; ++j) {
      T* to = middle + i * middle_panel() + j * problem_.middle_step * problem_.unit() * m;
      for (int64_t c = 0; c < z.r * problem_.unit(); ++c, from += valid, to += m) {
        std::memcpy(to, from, static_cast<size_t>(valid) * sizeof(T));
        std::fill(to + valid, to + m, T(0));
      }
    }
  }
}

// ---- backward ------------------------------------------------------------------------------------------------------

template <class T>
BackwardTile<T>::BackwardTile(const MonarchProblem<T, T>& problem, const Task& task, int64_t row0, int64_t rows)
    : problem_(problem),
      task_(task),
      row0_(row0),
      panels_(rows, panel_width<T>(), vector_lanes<T>()),
      inner_panel_(panels_.width * problem.z.l * problem.middle_step * problem.unit()),
      middle_panel_(panels_.width * problem.z.middle() * problem.unit()),
      result_panel_(panels_.width * problem.z.l * spread(problem.z.s) * problem.unit()) {}

template <class T>
void BackwardTile<T>::pack_gradient(T* dz) const {
  const int64_t unit = problem_.unit(), row = problem_.out * unit;
  pack<T, T>(task_.gradient + row0_ * row, row, row, problem_.z.out() * unit, task_.result_place, dz, result_panel_,
             panels_);
}

template <class T>
void BackwardTile<T>::middle_gradient(int64_t j, int64_t rho0, int64_t n, const T* dz, T* dmiddle) const {
  const auto& z = problem_.z;
  Product<T> product;
  product.numbers = problem_.complex ? Numbers::complex : Numbers::real;
  product.conjugate = problem_.complex;
  product.N = n;
  product.K = z.s;
  product.w = problem_.w2 + (j * z.s * z.r + rho0) * problem_.unit();
  product.wn = 1;
  product.wk = z.r;
  product.a = dz;
  product.a_panel = result_panel_;
  product.a_first = j * spread(z.s);
  product.c = dmiddle;
  product.c_panel = middle_panel_;
  product.c_first = rho0 * z.l + j;
  product.c_step = z.l;
  multiply_panels(product, panels_);
}

template <class T>
void BackwardTile<T>::second_weights(int64_t j, int64_t s0, int64_t n, const T* dz, const T* middle, T* dw2,
                                     bool accumulate) const {
  const auto& z = problem_.z;
  const int64_t row = z.r * problem_.unit(), lanes = vector_lanes<T>();
  const int64_t rounded = (row + lanes - 1) / lanes * lanes;
  T* rows = scratch<T>(panels_.rows * rounded);
  unpack<T, T>(middle, inner_panel_, j * problem_.middle_step * problem_.unit(), row, nullptr, Curve::none, rows,
               nullptr, rounded, panels_);
  OuterSum<T> sum;
  sum.complex = problem_.complex;
  sum.accumulate = accumulate;
  sum.N = n;
  sum.columns = row;
  sum.d = dz;
  sum.d_panel = result_panel_;
  sum.d_first = j * spread(z.s) + s0;
  sum.x = rows;
  sum.x_row = rounded;
  sum.whole_vectors = true;
  sum.dw = dw2 + (j * z.s + s0) * row;
  sum.dw_row = row;
  outer_sum(sum, panels_);
}

template <class T>
void BackwardTile<T>::first_weights(int64_t k, int64_t q0, int64_t n, const T* dmiddle, T* dw1, bool accumulate) const {
  const auto& z = problem_.z;
  const int64_t unit = problem_.unit();
  OuterSum<T> sum;
  sum.complex = problem_.complex;
  sum.accumulate = accumulate;
  sum.N = n;
  sum.columns = problem_.columns_of(k) * unit;
  sum.d = dmiddle;
  sum.d_panel = middle_panel_;
  sum.d_first = k * z.q + q0;
  sum.x = problem_.x + (row0_ * problem_.in + k * z.p) * unit;
  sum.x_row = problem_.in * unit;
  sum.dw = dw1 + (k * z.q + q0) * z.p * unit;
  sum.dw_row = z.p * unit;
  outer_sum(sum, panels_);
}

template <class T>
void BackwardTile<T>::input_gradient(int64_t k, int64_t p0, int64_t n, const T* dmiddle) const {
  const auto& z = problem_.z;
  const int64_t unit = problem_.unit();
  n = std::min(n, problem_.columns_of(k) - p0);
  if (n <= 0) return;
  const int64_t panel = panels_.width * n * unit;
  T* columns = scratch<T>(panels_.padded() * n * unit);
  Product<T> product;
  product.numbers = problem_.complex ? Numbers::complex : Numbers::real;
  product.conjugate = problem_.complex;
  product.N = n;
  product.K = z.q;
  product.w = problem_.w1 + (k * z.q * z.p + p0) * unit;
  product.wn = 1;
  product.wk = z.p;
  product.a = dmiddle;
  product.a_panel = middle_panel_;
  product.a_first = k * z.q;
  product.c = columns;
  product.c_panel = panel;
  multiply_panels(product, panels_);
  unpack<T, T>(columns, panel, 0, n * unit, nullptr, Curve::none,
               task_.dx + (row0_ * problem_.in + k * z.p + p0) * unit, nullptr, problem_.in * unit, panels_);
}

template class Scratch<float>;
template class Scratch<double>;
template class Scratch<uint32_t>;
template struct MonarchProblem<float, float>;
template struct MonarchProblem<double, double>;
template struct MonarchProblem<float, uint16_t>;
template class ForwardTile<float, float>;
template class ForwardTile<double, double>;
template class ForwardTile<float, uint16_t>;
template class BackwardTile<float>;
template class BackwardTile<double>;

}  // namespace monarch::operators::kernels::cpu
