// The right-hand side of the vorticity equation, W samples in the lanes of a vector; compiled once per instruction set
// and without contraction of sums and products, so that all widths round alike.
#include "monarch/solvers/numerical/kernels/vorticity.hpp"

// Arrays of vectors need vectors of a size known when compiling.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "monarch/solvers/numerical/kernels/vorticity.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h

#include <hwy/highway.h>

#include "monarch/solvers/numerical/kernels/lines-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace monarch::solvers::kernels::HWY_NAMESPACE {

/// sum + factor x, factor real.
template <class D>
HWY_INLINE Complex<D> multiply_add(hn::Vec<D> factor, const Complex<D>& x, const Complex<D>& sum) {
  return {hn::MulAdd(factor, x.re, sum.re), hn::MulAdd(factor, x.im, sum.im)};
}
template <class D>
HWY_INLINE Complex<D> scale(hn::Vec<D> factor, const Complex<D>& x) {
  return {hn::Mul(factor, x.re), hn::Mul(factor, x.im)};
}

template <class D>
class Step {
  using T = hn::TFromD<D>;
  using V = hn::Vec<D>;

 public:
  Step(const VorticityGrid<T>& grid, const VorticityTask<T>& task, T* scratch)
      : grid_(grid),
        task_(task),
        element_(2 * static_cast<int64_t>(hn::MaxLanes(d_))),
        column_((grid.n + 1) * element_) {
    plane_ = scratch;
    second_ = plane_ + grid.columns * column_;
    line_ = grid.products ? second_ : second_ + grid.columns * column_;
  }

  template <Update U>
  void run() {
    for (int64_t c = 0; c < grid_.half; ++c) to_columns(c, grid_.velocity, plane_);
    if (grid_.products) {
      multiply_rows();
    } else {
      for (int64_t c = 0; c < grid_.half; ++c) to_columns(c, grid_.gradient, second_);
      advect_rows();
    }
    if (U == Update::nothing) return;
    for (int64_t c = 0; c < grid_.half; ++c) grid_.products ? from_products<U>(c) : from_result<U>(c);
  }

 private:
  int64_t slot(int64_t i) const { return i * element_; }
  int64_t place(int64_t row) const { return row < (grid_.rows + 1) / 2 ? row : grid_.n - grid_.rows + row; }
  /// The column of -ky; the same one for ky = 0 and n/2.
  int64_t mirror(int64_t c) const { return c == 0 ? 0 : grid_.columns - c; }

  /// Column ky (and −ky) of the input times a factor, transformed along x.
  void to_columns(int64_t c, const std::vector<T>& factor, T* plane) {
    const int64_t n = grid_.n, m = mirror(c);
    T* column = plane + c * column_;
    T* other = plane + m * column_;
    const Complex<D> zero = {hn::Zero(d_), hn::Zero(d_)};
    for (int64_t x = (grid_.rows + 1) / 2; x < n - grid_.rows / 2; ++x) {
      store(d_, zero, column + slot(x));
      store(d_, zero, other + slot(x));
    }
    const T* input = task_.input + c * grid_.rows * element_;
    const T* g = factor.data() + c * grid_.rows * 2;
    for (int64_t row = 0; row < grid_.rows; ++row) {
      const Complex<D> w = load(d_, input + row * element_);
      const V re = hn::Set(d_, g[2 * row]), im = hn::Set(d_, g[2 * row + 1]);
      const V rr = hn::Mul(w.re, re), ri = hn::Mul(w.re, im);
      const int64_t x = place(row);
      store(d_, {hn::NegMulAdd(w.im, im, rr), hn::MulAdd(w.im, re, ri)}, column + slot(x));
      if (m == c) continue;
      // −g times the conjugate, at −k.
      store(d_, {hn::Neg(hn::MulAdd(w.im, im, rr)), hn::MulSub(w.im, re, ri)}, other + slot(x ? n - x : 0));
    }
    transform_line<D, true>(d_, grid_.line, column, line_);
    if (m != c) transform_line<D, true>(d_, grid_.line, other, line_);
  }

  void gather(const T* plane, int64_t x, T* line) const {
    const int64_t n = grid_.n, half = (grid_.columns + 1) / 2, shift = n - grid_.columns;
    for (int64_t c = 0; c < half; ++c) store(d_, load(d_, plane + c * column_ + slot(x)), line + slot(c));
    const Complex<D> zero = {hn::Zero(d_), hn::Zero(d_)};
    for (int64_t y = half; y < half + shift; ++y) store(d_, zero, line + slot(y));
    for (int64_t c = half; c < grid_.columns; ++c) {
      store(d_, load(d_, plane + c * column_ + slot(x)), line + slot(c + shift));
    }
  }

  void multiply_rows() {
    const int64_t n = grid_.n, half = (grid_.columns + 1) / 2, shift = n - grid_.columns;
    T* scratch = line_ + column_;
    V speed = hn::Zero(d_);
    for (int64_t x = 0; x < n; ++x) {
      gather(plane_, x, line_);
      transform_line<D, true>(d_, grid_.line, line_, scratch);
      for (int64_t y = 0; y < n; ++y) {
        const Complex<D> z = load(d_, line_ + slot(y));
        speed = hn::Max(speed, hn::Add(hn::Abs(z.re), hn::Abs(z.im)));
        const V twice = hn::Add(z.re, z.re);
        store(d_, {hn::MulSub(z.re, z.re, hn::Mul(z.im, z.im)), hn::Mul(twice, z.im)}, line_ + slot(y));
      }
      transform_line<D, false>(d_, grid_.line, line_, scratch);
      for (int64_t c = 0; c < grid_.columns; ++c) {
        const int64_t y = c < half ? c : c + shift;
        store(d_, load(d_, line_ + slot(y)), plane_ + c * column_ + slot(x));
      }
    }
    if (task_.speed) hn::StoreU(speed, d_, task_.speed);
  }

  /// Two rows of u·∇w, real, in one complex transform; half its result goes back into the first plane.
  void advect_rows() {
    const int64_t n = grid_.n;
    T* gradient = line_ + column_;
    T* pair = gradient + column_;
    T* scratch = pair + column_;
    const auto half = hn::Set(d_, T(0.5));
    V speed = hn::Zero(d_);
    for (int64_t x = 0; x < n; ++x) {
      gather(plane_, x, line_);
      gather(second_, x, gradient);
      transform_line<D, true>(d_, grid_.line, line_, scratch);
      transform_line<D, true>(d_, grid_.line, gradient, scratch);
      T* part = pair + (x % 2) * static_cast<int64_t>(hn::MaxLanes(d_));
      for (int64_t y = 0; y < n; ++y) {
        const Complex<D> z = load(d_, line_ + slot(y)), g = load(d_, gradient + slot(y));
        speed = hn::Max(speed, hn::Add(hn::Abs(z.re), hn::Abs(z.im)));
        hn::Store(hn::MulAdd(z.re, g.re, hn::Mul(z.im, g.im)), d_, part + slot(y));
      }
      if (x % 2 == 0) continue;
      transform_line<D, false>(d_, grid_.line, pair, scratch);
      for (int64_t ky = 0; ky <= grid_.kept; ++ky) {
        const Complex<D> a = load(d_, pair + slot(ky)), b = load(d_, pair + slot(ky ? n - ky : 0));
        T* to = plane_ + ky * column_;
        store(d_, {hn::Mul(half, hn::Add(a.re, b.re)), hn::Mul(half, hn::Sub(a.im, b.im))}, to + slot(x - 1));
        store(d_, {hn::Mul(half, hn::Add(a.im, b.im)), hn::Mul(half, hn::Sub(b.re, a.re))}, to + slot(x));
      }
    }
    if (task_.speed) hn::StoreU(speed, d_, task_.speed);
  }

  template <Update U>
  void from_products(int64_t c) {
    const int64_t n = grid_.n, m = mirror(c);
    T* column = plane_ + c * column_;
    T* other = plane_ + m * column_;
    transform_line<D, false>(d_, grid_.line, column, line_);
    if (m != c) transform_line<D, false>(d_, grid_.line, other, line_);
    const T* factor = grid_.advection.data() + c * grid_.rows * 2;
    for (int64_t row = 0; row < grid_.rows; ++row) {
      const int64_t x = place(row);
      const Complex<D> a = load(d_, column + slot(x)), b = load(d_, other + slot(x ? n - x : 0));
      const V p = hn::Set(d_, factor[2 * row]), q = hn::Set(d_, factor[2 * row + 1]);
      finish<U>(c * grid_.rows + row, {hn::NegMulAdd(q, hn::Add(a.re, b.re), hn::Mul(p, hn::Add(a.im, b.im))),
                                       hn::NegMulAdd(q, hn::Sub(a.im, b.im), hn::Mul(p, hn::Sub(b.re, a.re)))});
    }
  }

  template <Update U>
  void from_result(int64_t c) {
    T* column = plane_ + c * column_;
    const Complex<D> zero = {hn::Zero(d_), hn::Zero(d_)};
    const auto factor = hn::Set(d_, T(-1) / static_cast<T>(grid_.n * grid_.n));
    const bool kept = c <= grid_.kept;
    if (kept) transform_line<D, false>(d_, grid_.line, column, line_);
    for (int64_t row = 0; row < grid_.rows; ++row) {
      const int64_t kx = grid_.wavenumber_x(row);
      const bool in = kept && kx <= grid_.kept && -kx <= grid_.kept;
      finish<U>(c * grid_.rows + row, in ? scale<D>(factor, load(d_, column + slot(row))) : zero);
    }
  }

  template <Update U>
  HWY_INLINE void finish(int64_t mode, Complex<D> r) {
    if (task_.forcing) {
      r.re = hn::Add(r.re, hn::Set(d_, task_.forcing[2 * mode]));
      r.im = hn::Add(r.im, hn::Set(d_, task_.forcing[2 * mode + 1]));
    }
    const int64_t at = mode * element_;
    T* const* arrays = task_.arrays;
    const auto table = [&](int i) { return hn::Set(d_, task_.tables[i][mode]); };
    const auto array = [&](int i) { return load(d_, arrays[i] + at); };
    if constexpr (U == Update::low_storage) {
      const Complex<D> h = multiply_add<D>(hn::Set(d_, task_.beta), array(1), r);
      store(d_, h, arrays[1] + at);
      store(d_, multiply_add<D>(table(1), h, scale<D>(table(0), array(0))), arrays[0] + at);
    } else if constexpr (U == Update::first) {
      store(d_, r, arrays[1] + at);
      store(d_, multiply_add<D>(table(1), r, scale<D>(table(0), array(0))), arrays[2] + at);
    } else if constexpr (U == Update::second) {
      store(d_, r, arrays[1] + at);
      store(d_, multiply_add<D>(table(1), r, scale<D>(table(0), array(0))), arrays[2] + at);
    } else if constexpr (U == Update::third) {
      store(d_, add<D>(array(1), r), arrays[1] + at);
      const Complex<D> twice = subtract<D>(add<D>(r, r), array(2));
      store(d_, multiply_add<D>(table(1), twice, scale<D>(table(0), array(0))), arrays[3] + at);
    } else if constexpr (U == Update::fourth) {
      Complex<D> w = scale<D>(table(0), array(0));
      w = multiply_add<D>(table(1), array(1), w);
      w = multiply_add<D>(table(2), array(2), w);
      store(d_, multiply_add<D>(table(3), r, w), arrays[0] + at);
    }
  }

  D d_;
  const VorticityGrid<T>& grid_;
  const VorticityTask<T>& task_;
  int64_t element_, column_;
  T* plane_;
  T* second_;
  T* line_;
};

template <class D>
void step_of(D, const VorticityGrid<hn::TFromD<D>>& grid, const VorticityTask<hn::TFromD<D>>& task,
             hn::TFromD<D>* scratch) {
  Step<D> step(grid, task, scratch);
  switch (task.update) {
    case Update::nothing:
      return step.template run<Update::nothing>();
    case Update::low_storage:
      return step.template run<Update::low_storage>();
    case Update::first:
      return step.template run<Update::first>();
    case Update::second:
      return step.template run<Update::second>();
    case Update::third:
      return step.template run<Update::third>();
    case Update::fourth:
      return step.template run<Update::fourth>();
  }
}

/// Calls work with the tag of `width` lanes.
template <class T, class Work>
void with_width(int64_t width, const Work& work) {
  if (width == 1) return work(hn::CappedTag<T, 1>());
  if (width == 4 && HWY_LANES(T) >= 4) return work(hn::CappedTag<T, 4>());
  if (width == 8 && HWY_LANES(T) >= 8) return work(hn::CappedTag<T, 8>());
  HWY_ASSERT(width == static_cast<int64_t>(HWY_LANES(T)));
  work(hn::CappedTag<T, HWY_LANES(T)>());
}

template <class D, bool kToPoints>
void plane_of(D d, const LinePlan<hn::TFromD<D>>& line, hn::TFromD<D>* plane, hn::TFromD<D>* scratch) {
  const int64_t n = line.n, element = 2 * static_cast<int64_t>(hn::MaxLanes(d)), column = (n + 1) * element;
  auto* buffer = scratch;
  auto* radix = scratch + column;
  const auto at = [&](int64_t i) { return i * element; };
  const auto columns = [&] {
    for (int64_t c = 0; c < n; ++c) transform_line<D, kToPoints>(d, line, plane + c * column, radix);
  };
  if (kToPoints) columns();
  for (int64_t x = 0; x < n; ++x) {
    for (int64_t c = 0; c < n; ++c) store(d, load(d, plane + c * column + at(x)), buffer + at(c));
    transform_line<D, kToPoints>(d, line, buffer, radix);
    for (int64_t c = 0; c < n; ++c) store(d, load(d, buffer + at(c)), plane + c * column + at(x));
  }
  if (!kToPoints) columns();
}

template <class T>
void plane_of_width(const LinePlan<T>& line, T* plane, bool to_points, T* scratch, int64_t width) {
  with_width<T>(width, [&](auto d) {
    if (to_points) return plane_of<decltype(d), true>(d, line, plane, scratch);
    plane_of<decltype(d), false>(d, line, plane, scratch);
  });
}

void step_float(const VorticityGrid<float>& grid, const VorticityTask<float>& task, float* scratch, int64_t width) {
  with_width<float>(width, [&](auto d) { step_of(d, grid, task, scratch); });
}
void step_double(const VorticityGrid<double>& grid, const VorticityTask<double>& task, double* scratch, int64_t width) {
  with_width<double>(width, [&](auto d) { step_of(d, grid, task, scratch); });
}
void plane_float(const LinePlan<float>& line, float* plane, bool to_points, float* scratch, int64_t width) {
  plane_of_width(line, plane, to_points, scratch, width);
}
void plane_double(const LinePlan<double>& line, double* plane, bool to_points, double* scratch, int64_t width) {
  plane_of_width(line, plane, to_points, scratch, width);
}
void lines_double(const LinePlan<double>& plan, double* data, double* scratch, int64_t lines, bool to_points) {
  using D = hn::CappedTag<double, 1>;
  const D d;
  for (int64_t i = 0; i < lines; ++i) {
    if (to_points) {
      transform_line<D, true>(d, plan, data + i * 2 * plan.n, scratch);
    } else {
      transform_line<D, false>(d, plan, data + i * 2 * plan.n, scratch);
    }
  }
}
int64_t width_float() {
  return static_cast<int64_t>(HWY_LANES(float));
}
int64_t width_double() {
  return static_cast<int64_t>(HWY_LANES(double));
}

}  // namespace monarch::solvers::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <numbers>

namespace monarch::solvers::kernels {

HWY_EXPORT(step_float);
HWY_EXPORT(step_double);
HWY_EXPORT(plane_float);
HWY_EXPORT(plane_double);
HWY_EXPORT(lines_double);
HWY_EXPORT(width_float);
HWY_EXPORT(width_double);

template <>
int64_t native_width<float>() {
  return HWY_DYNAMIC_DISPATCH(width_float)();
}
template <>
int64_t native_width<double>() {
  return HWY_DYNAMIC_DISPATCH(width_double)();
}

template <class T>
std::vector<int64_t> widths() {
  const int64_t native = native_width<T>();
  std::vector<int64_t> result = {1};
  if (native > 4) result.push_back(4);
  if (native > 8) result.push_back(8);
  if (native > 1) result.push_back(native);
  return result;
}

template <>
void vorticity_step(const VorticityGrid<float>& grid, const VorticityTask<float>& task, float* scratch, int64_t width) {
  HWY_DYNAMIC_DISPATCH(step_float)(grid, task, scratch, width);
}
template <>
void vorticity_step(const VorticityGrid<double>& grid, const VorticityTask<double>& task, double* scratch,
                    int64_t width) {
  HWY_DYNAMIC_DISPATCH(step_double)(grid, task, scratch, width);
}
template <>
void transform_plane(const LinePlan<float>& line, float* plane, bool to_points, float* scratch, int64_t width) {
  HWY_DYNAMIC_DISPATCH(plane_float)(line, plane, to_points, scratch, width);
}
template <>
void transform_plane(const LinePlan<double>& line, double* plane, bool to_points, double* scratch, int64_t width) {
  HWY_DYNAMIC_DISPATCH(plane_double)(line, plane, to_points, scratch, width);
}
void transform_lines(const LinePlan<double>& plan, double* data, int64_t lines, bool to_points) {
  std::vector<double> scratch(static_cast<size_t>(2 * plan.n));
  HWY_DYNAMIC_DISPATCH(lines_double)(plan, data, scratch.data(), lines, to_points);
}

template <class T>
VorticityGrid<T>::VorticityGrid(int64_t points, bool galerkin)
    : n(points),
      kept(galerkin ? (points - 1) / 3 : points / 3),
      products(galerkin),
      rows(galerkin ? 2 * kept + 1 : points),
      half(galerkin ? kept + 1 : points / 2 + 1),
      columns(rows),
      line(points) {
  constexpr double pi = std::numbers::pi;
  const double scale = 1 / (static_cast<double>(n) * static_cast<double>(n));
  for (int64_t c = 0; c < half; ++c) {
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t kx = galerkin ? wavenumber_x(r) : r < n / 2 ? r : r - n;
      const auto x = static_cast<double>(kx), y = static_cast<double>(c), square = x * x + y * y;
      // A real field has no derivative along an axis at that axis' wavenumber n/2 where the coefficient is real.
      const double along_x = kx == -n / 2 && (c == 0 || c == n / 2) ? 0 : x, along_y = c == n / 2 ? 0 : y;
      const double stream = square > 0 ? 1 / (2 * pi * square) : 0;
      velocity.push_back(static_cast<T>(along_x * stream));
      velocity.push_back(static_cast<T>(along_y * stream));
      if (galerkin) {
        advection.push_back(static_cast<T>(pi * pi * (x * x - y * y) * scale));
        advection.push_back(static_cast<T>(2 * pi * pi * x * y * scale));
      } else {
        gradient.push_back(static_cast<T>(-2 * pi * along_y));
        gradient.push_back(static_cast<T>(2 * pi * along_x));
      }
    }
  }
}

template struct VorticityGrid<float>;
template struct VorticityGrid<double>;
template std::vector<int64_t> widths<float>();
template std::vector<int64_t> widths<double>();

}  // namespace monarch::solvers::kernels
#endif
