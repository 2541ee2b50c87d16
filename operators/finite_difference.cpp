#include "monarch/operators/finite_difference.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "monarch/core/error.hpp"

namespace monarch::operators {
namespace {

constexpr int64_t grain = 32768;  // numbers that a thread should have to work on

std::vector<int64_t> normalised(const Space& domain, std::vector<int64_t> axes) {
  const auto rank = static_cast<int64_t>(domain.shape.size());
  check<ConfigError>(!axes.empty(), [&] { return fmt::format("FiniteDifference of {} along no axis", domain.text()); },
                     "name at least one axis of the domain");
  for (int64_t& a : axes) {
    check<ConfigError>(-rank <= a && a < rank,
                       [&] { return fmt::format("FiniteDifference of {} along axis {}", domain.text(), a); },
                       "axes count from 0, or from -1 backwards");
    if (a < 0) a += rank;
  }
  std::vector<int64_t> sorted = axes;
  std::sort(sorted.begin(), sorted.end());
  check<ConfigError>(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(),
                     [&] { return fmt::format("FiniteDifference along axes {}: one comes twice", axes); },
                     "name each axis once");
  check<DtypeError>(at::isFloatingType(domain.dtype) || at::isComplexType(domain.dtype),
                    [&] { return fmt::format("FiniteDifference of {}: expected floating point", domain.text()); },
                    "convert the tensor with to()");
  return axes;
}

Space stacked(Space space, size_t count) {
  space.shape.insert(space.shape.begin(), static_cast<int64_t>(count));
  return space;
}

bool has_kernel(const at::Tensor& x) {
  const auto type = at::toRealValueType(x.scalar_type());
  return x.is_cpu() && (type == at::kFloat || type == at::kDouble);
}

/// Plain memory: contiguous, without lazy conjugation.
at::Tensor plain(const at::Tensor& x) { return x.resolve_conj().resolve_neg().contiguous(); }

/// A contiguous array as [outer, n, inner] numbers around one axis; complex samples are pairs of numbers in `inner`.
struct Line {
  int64_t period, inner;
  bool periodic;

  /// Splits [begin, end) of the flat array at axis ends: body(lo, hi) runs where both neighbours lie in the array
  /// beside, first(lo, hi) on index 0 of the axis, last(lo, hi) on index n - 1. An axis of length 1 is `last`.
  template <class First, class Body, class Last>
  void visit(int64_t begin, int64_t end, const First& first, const Body& body, const Last& last) const {
    for (int64_t base = begin / period * period; base < end; base += period) {
      const int64_t lo = std::max(begin, base), hi = std::min(end, base + period);
      const int64_t tail = base + period - inner, head = std::min(base + inner, tail);
      if (lo < head) first(lo, std::min(hi, head));
      if (std::max(lo, head) < std::min(hi, tail)) body(std::max(lo, head), std::min(hi, tail));
      if (tail < hi) last(std::max(lo, tail), hi);
    }
  }
};

// The loops below are free of aliasing and of branches: the compiler turns them into vector code, and memory bounds
// them on the oldest instruction set already.

template <class T>
void forward(const T* __restrict x, T* __restrict y, const Line& line, int64_t begin, int64_t end) {
  const int64_t step = line.inner, back = line.period - line.inner;
  const auto body = [&](int64_t lo, int64_t hi) {
    for (int64_t i = lo; i < hi; ++i) y[i] = x[i + step] - x[i];
  };
  line.visit(begin, end, body, body, [&](int64_t lo, int64_t hi) {
    if (line.periodic) {
      for (int64_t i = lo; i < hi; ++i) y[i] = x[i - back] - x[i];
    } else {
      std::fill(y + lo, y + hi, T(0));
    }
  });
}

/// x += (or =, for the first axis) y[i - 1] - y[i].
template <class T, bool add>
void backward(const T* __restrict y, T* __restrict x, const Line& line, int64_t begin, int64_t end) {
  const int64_t step = line.inner, back = line.period - line.inner;
  const auto put = [x](int64_t i, T value) {
    if constexpr (add) x[i] += value; else x[i] = value;
  };
  line.visit(
      begin, end,
      [&](int64_t lo, int64_t hi) {
        for (int64_t i = lo; i < hi; ++i) put(i, (line.periodic ? y[i + back] : T(0)) - y[i]);
      },
      [&](int64_t lo, int64_t hi) {
        for (int64_t i = lo; i < hi; ++i) put(i, y[i - step] - y[i]);
      },
      [&](int64_t lo, int64_t hi) {
        if (back == 0) {  // one sample: its difference is 0 either way
          for (int64_t i = lo; i < hi; ++i) put(i, T(0));
        } else if (line.periodic) {
          for (int64_t i = lo; i < hi; ++i) put(i, y[i - step] - y[i]);
        } else {
          for (int64_t i = lo; i < hi; ++i) put(i, y[i - step]);
        }
      });
}

/// z += (or =) the sum over both neighbours of x[i] - neighbour.
template <class T, bool add>
void laplacian(const T* __restrict x, T* __restrict z, const Line& line, int64_t begin, int64_t end) {
  const int64_t step = line.inner, back = line.period - line.inner;
  const auto put = [z](int64_t i, T value) {
    if constexpr (add) z[i] += value; else z[i] = value;
  };
  line.visit(
      begin, end,
      [&](int64_t lo, int64_t hi) {
        for (int64_t i = lo; i < hi; ++i) put(i, (x[i] - x[i + step]) + (line.periodic ? x[i] - x[i + back] : T(0)));
      },
      [&](int64_t lo, int64_t hi) {
        for (int64_t i = lo; i < hi; ++i) put(i, (x[i] - x[i + step]) + (x[i] - x[i - step]));
      },
      [&](int64_t lo, int64_t hi) {
        if (back == 0) {
          for (int64_t i = lo; i < hi; ++i) put(i, T(0));
        } else {
          for (int64_t i = lo; i < hi; ++i) put(i, (x[i] - x[i - step]) + (line.periodic ? x[i] - x[i - back] : T(0)));
        }
      });
}

/// Calls f(T{}) with the real type of the tensor's numbers.
template <class F>
void with_real_type(const at::Tensor& x, const F& f) {
  if (at::toRealValueType(x.scalar_type()) == at::kFloat) f(float{}); else f(double{});
}

Line line_of(const Space& domain, int64_t axis, bool complex, bool periodic) {
  int64_t inner = complex ? 2 : 1;
  for (size_t a = static_cast<size_t>(axis) + 1; a < domain.shape.size(); ++a) inner *= domain.shape[a];
  return {domain.shape[axis] * inner, inner, periodic};
}

}  // namespace

FiniteDifference::FiniteDifference(Space domain, std::vector<int64_t> axes, Boundary boundary)
    : LinearOperator(domain, stacked(domain, normalised(domain, axes).size())), axes_(normalised(domain, std::move(axes))),
      boundary_(boundary) {}

std::string FiniteDifference::describe() const {
  return fmt::format("FiniteDifference(axes {}, {}): {} -> {}", axes_,
                     boundary_ == Boundary::periodic ? "periodic" : "neumann", domain().text(), codomain().text());
}

double FiniteDifference::norm_bound() const {
  return 4.0 * std::count_if(axes_.begin(), axes_.end(), [&](int64_t a) { return domain().shape[a] > 1; });
}

at::Tensor FiniteDifference::do_apply(const at::Tensor& x) const {
  const bool periodic = boundary_ == Boundary::periodic;
  if (!has_kernel(x)) {
    std::vector<at::Tensor> parts;
    for (const int64_t a : axes_) {
      const int64_t n = domain().shape[a];
      const at::Tensor beyond = x.narrow(a + 1, periodic ? 0 : n - 1, 1);
      parts.push_back(at::cat({x.narrow(a + 1, 1, n - 1), beyond}, a + 1) - x);
    }
    return at::stack(parts, 1);
  }
  const at::Tensor from = plain(x);
  std::vector<int64_t> shape = codomain().shape;
  shape.insert(shape.begin(), x.size(0));
  at::Tensor to = at::empty(shape, from.options());
  const int64_t components = from.is_complex() ? 2 : 1, size = domain().numel() * components;
  with_real_type(from, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t b = 0; b < x.size(0); ++b) {
      for (size_t a = 0; a < axes_.size(); ++a) {
        const Line line = line_of(domain(), axes_[a], components == 2, periodic);
        const T* source = static_cast<const T*>(from.data_ptr()) + b * size;
        T* target = static_cast<T*>(to.data_ptr()) + (b * static_cast<int64_t>(axes_.size()) + a) * size;
        at::parallel_for(0, size, grain, [&](int64_t lo, int64_t hi) { forward(source, target, line, lo, hi); });
      }
    }
  });
  return to;
}

at::Tensor FiniteDifference::do_adjoint(const at::Tensor& y) const {
  const bool periodic = boundary_ == Boundary::periodic;
  if (!has_kernel(y)) {
    at::Tensor sum;
    for (size_t i = 0; i < axes_.size(); ++i) {
      const int64_t a = axes_[i] + 1, n = domain().shape[axes_[i]];
      at::Tensor part = y.select(1, static_cast<int64_t>(i));
      const at::Tensor edge = part.narrow(a, n - 1, 1);
      if (!periodic) part = at::cat({part.narrow(a, 0, n - 1), at::zeros_like(edge)}, a);
      const at::Tensor before = at::cat({periodic ? edge : at::zeros_like(edge), part.narrow(a, 0, n - 1)}, a);
      const at::Tensor term = before - part;
      sum = sum.defined() ? sum + term : term;
    }
    return sum;
  }
  const at::Tensor from = plain(y);
  std::vector<int64_t> shape = domain().shape;
  shape.insert(shape.begin(), y.size(0));
  at::Tensor to = at::empty(shape, from.options());
  const int64_t components = from.is_complex() ? 2 : 1, size = domain().numel() * components;
  with_real_type(from, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t b = 0; b < y.size(0); ++b) {
      T* target = static_cast<T*>(to.data_ptr()) + b * size;
      // Every axis in turn on one piece of the image, which stays in the cache.
      at::parallel_for(0, (size + grain / 4 - 1) / (grain / 4), 4, [&](int64_t first, int64_t last) {
        for (int64_t piece = first; piece < last; ++piece) {
          const int64_t lo = piece * (grain / 4), hi = std::min(size, lo + grain / 4);
          for (size_t a = 0; a < axes_.size(); ++a) {
            const Line line = line_of(domain(), axes_[a], components == 2, periodic);
            const T* source =
                static_cast<const T*>(from.data_ptr()) + (b * static_cast<int64_t>(axes_.size()) + a) * size;
            if (a == 0) backward<T, false>(source, target, line, lo, hi);
            else backward<T, true>(source, target, line, lo, hi);
          }
        }
      });
    }
  });
  return to;
}

at::Tensor FiniteDifference::do_normal(const at::Tensor& x) const {
  if (!has_kernel(x)) return do_adjoint(do_apply(x));
  const at::Tensor from = plain(x);
  at::Tensor to = at::empty(from.sizes(), from.options());
  const int64_t components = from.is_complex() ? 2 : 1, size = domain().numel() * components;
  with_real_type(from, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t b = 0; b < x.size(0); ++b) {
      const T* source = static_cast<const T*>(from.data_ptr()) + b * size;
      T* target = static_cast<T*>(to.data_ptr()) + b * size;
      at::parallel_for(0, (size + grain / 4 - 1) / (grain / 4), 4, [&](int64_t first, int64_t last) {
        for (int64_t piece = first; piece < last; ++piece) {
          const int64_t lo = piece * (grain / 4), hi = std::min(size, lo + grain / 4);
          for (size_t a = 0; a < axes_.size(); ++a) {
            const Line line = line_of(domain(), axes_[a], components == 2, boundary_ == Boundary::periodic);
            if (a == 0) laplacian<T, false>(source, target, line, lo, hi);
            else laplacian<T, true>(source, target, line, lo, hi);
          }
        }
      });
    }
  });
  return to;
}

}  // namespace monarch::operators
