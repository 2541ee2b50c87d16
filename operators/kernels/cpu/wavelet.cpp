// Sweeps of the wavelet transform. One level is one sweep: a pair of rows is filtered along y while its neighbours are
// in the cache, then along x at once. What is low along every axis goes to a scratch block that the next level reads,
// so nothing is copied; the first level reads the image where it lies, which makes shift and padding free.

#include "monarch/operators/kernels/wavelet.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

namespace monarch::operators::kernels {

int64_t WaveletPlan::depth() const { return *std::max_element(levels.begin(), levels.end()); }

std::array<int64_t, 3> WaveletPlan::block(int64_t level) const {
  std::array<int64_t, 3> extents{};
  for (size_t a = 0; a < 3; ++a) extents[a] = padded[a] >> std::min(level, levels[a]);
  return extents;
}

namespace {

constexpr int64_t grain_numbers = 32768;  // numbers that a thread should have to work on

template <class T>
std::unique_ptr<T[]> buffer(int64_t size) {
  return std::make_unique_for_overwrite<T[]>(static_cast<size_t>(size));
}

template <class T>
class Sweeps {
 public:
  Sweeps(const WaveletPlan& plan, int64_t components)
      : plan_(plan), c_(components), taps_(static_cast<int64_t>(plan.low.size())),
        low_(plan.low.begin(), plan.low.end()), high_(plan.high.begin(), plan.high.end()),
        zeros_(static_cast<size_t>(plan.image[2] * components)) {
    for (int64_t t = 0; t < taps_; t += 2) {
      even_.insert(even_.end(), {low_[t], high_[t]});
      odd_.insert(odd_.end(), {low_[t + 1], high_[t + 1]});
    }
  }

  void analyse(const T* image, T* out, double threshold) const {
    auto current = buffer<T>(volume(plan_.block(1))), next = buffer<T>(volume(plan_.block(2)));
    for (int64_t level = 0; level < plan_.depth(); ++level) {
      const Level l(plan_, level);
      if (level == 0) {
        analyse_level(l, [&](int64_t z, int64_t y) { return image_row(image, z, y); }, out,
                      l.last ? nullptr : current.get(), threshold);
      } else {
        const T* block = current.get();
        analyse_level(l, [&](int64_t z, int64_t y) { return block + (z * l.m[1] + y) * l.m[2] * c_; }, out,
                      l.last ? nullptr : next.get(), threshold);
        std::swap(current, next);
      }
    }
  }

  void synthesise(const T* coefficients, T* image) const {
    auto current = buffer<T>(volume(plan_.block(1))), next = buffer<T>(volume(plan_.block(1)));
    for (int64_t level = plan_.depth() - 1; level >= 0; --level) {
      const Level l(plan_, level);
      const T* low = l.last ? nullptr : current.get();
      const auto source = [&](int64_t z, int64_t y, bool right) {
        if (low != nullptr && !right && z < l.half[0] && y < l.half[1]) {
          return low + (z * l.half[1] + y) * l.half[2] * c_;
        }
        return coefficients + ((z * plan_.padded[1] + y) * plan_.padded[2] + (right ? l.half[2] : 0)) * c_;
      };
      if (level == 0) {
        synthesise_level(l, source, [&](int64_t z, int64_t y) { return const_cast<T*>(image_row(image, z, y)); });
      } else {
        T* block = next.get();
        synthesise_level(l, source, [&](int64_t z, int64_t y) { return block + (z * l.m[1] + y) * l.m[2] * c_; });
        std::swap(current, next);
      }
    }
  }

 private:
  struct Level {
    Level(const WaveletPlan& plan, int64_t level)
        : first(level == 0), last(level + 1 == plan.depth()), m(plan.block(level)), half(plan.block(level + 1)) {
      for (size_t a = 0; a < 3; ++a) split[a] = half[a] != m[a];
      // Along x the rows of the image are shifted and padded only when they are split or stored.
      width = first ? plan.image[2] : m[2];
      moved = first && (plan.shift[2] != 0 || plan.image[2] != plan.padded[2]);
    }
    bool first, last;
    std::array<int64_t, 3> m, half;  ///< extents before and after the level
    std::array<bool, 3> split{};
    int64_t width;  ///< samples of an input row (analysis) or output row (synthesis)
    bool moved;     ///< the image's rows are shifted or padded
  };

  int64_t volume(const std::array<int64_t, 3>& n) const { return n[0] * n[1] * n[2] * c_; }

  /// The image's row at padded coordinates; zeros in the padding. Never written there: synthesis skips such rows.
  const T* image_row(const T* image, int64_t z, int64_t y) const {
    if (outside(z, y)) return zeros_.data();
    const auto from = [&](int64_t i, size_t a) { return i < plan_.shift[a] ? i - plan_.shift[a] + plan_.image[a]
                                                                            : i - plan_.shift[a]; };
    return image + (from(z, 0) * plan_.image[1] + from(y, 1)) * plan_.image[2] * c_;
  }
  bool outside(int64_t z, int64_t y) const { return z >= plan_.image[0] || y >= plan_.image[1]; }

  /// Memory of one thread: rows of the column pass, a shifted row, even and odd samples with room for the wrap.
  struct Scratch {
    Scratch(const Level& l, int64_t c, int64_t taps)
        : row(std::max(l.m[2], l.width) * c), wrap(taps / 2 * c), memory(buffer<T>(7 * (row + wrap))) {
      T* p = memory.get();
      const int64_t step = row + wrap;
      a = p, b = p + step, moved = p + 2 * step, even = p + 3 * step, odd = p + 4 * step;
      a_right = p + 5 * step + wrap, b_right = p + 6 * step + wrap;
      a_left = a + wrap, b_left = b + wrap;
    }
    int64_t row, wrap;
    std::unique_ptr<T[]> memory;
    T *a, *b;                               ///< analysis: rows of the column pass
    T *moved, *even, *odd;                  ///< a shifted row; its samples of even and odd index
    T *a_left, *a_right, *b_left, *b_right; ///< synthesis: both bands of two rows, room for the wrap in front
  };

  // ---- analysis

  template <class Rows>
  void analyse_level(const Level& l, const Rows& rows, T* out, T* low, double threshold) const {
    if (l.split[0]) {
      const int64_t plane = l.m[1] * l.width * c_;
      at::parallel_for(0, l.half[0], std::max<int64_t>(1, grain_numbers / plane), [&](int64_t begin, int64_t end) {
        const auto planes = buffer<T>(2 * plane);
        Scratch scratch(l, c_, taps_);
        for (int64_t k = begin; k < end; ++k) {
          for (int64_t y = 0; y < l.m[1]; ++y) {
            T* to = planes.get() + y * l.width * c_;
            columns([&](int64_t t) { return rows((2 * k + t) % l.m[0], y); }, to, to + plane, l.width * c_);
          }
          for (int64_t h = 0; h < 2; ++h) {
            const T* from = planes.get() + h * plane;
            analyse_plane(l, [&](int64_t y) { return from + y * l.width * c_; }, k + h * l.half[0], 0,
                          l.half[1], out, low, threshold, scratch);
          }
        }
      });
      return;
    }
    const int64_t grain = std::max<int64_t>(1, grain_numbers / (2 * l.m[2] * c_));
    at::parallel_for(0, l.m[0] * l.half[1], grain, [&](int64_t begin, int64_t end) {
      Scratch scratch(l, c_, taps_);
      while (begin < end) {
        const int64_t z = begin / l.half[1], y = begin % l.half[1];
        const int64_t count = std::min(end - begin, l.half[1] - y);
        analyse_plane(l, [&](int64_t i) { return rows(z, i); }, z, y, y + count, out, low, threshold, scratch);
        begin += count;
      }
    });
  }

  /// Both filters along an axis: source(t) is the row under tap t.
  template <class Source>
  void columns(const Source& source, T* a, T* b, int64_t n) const {
    const T* in[max_taps];
    for (int64_t t = 0; t < taps_; ++t) in[t] = source(t);
    filter_pair(in, low_.data(), high_.data(), taps_, a, b, n);
  }

  template <class Rows>
  void analyse_plane(const Level& l, const Rows& rows, int64_t z, int64_t begin, int64_t end, T* out, T* low,
                     double threshold, Scratch& s) const {
    const auto store = [&](const T* row, int64_t y) {
      const bool detail = z >= l.half[0] || y >= l.half[1];
      T* right = out + ((z * plan_.padded[1] + y) * plan_.padded[2] + l.half[2]) * c_;
      T* left = !detail && low != nullptr ? low + (z * l.half[1] + y) * l.half[2] * c_ : right - l.half[2] * c_;
      analyse_row(l, row, left, right, s);
      if (threshold < 0) return;
      if (l.split[2]) soft_threshold(right, l.half[2], c_, threshold);
      if (detail) soft_threshold(left, l.half[2], c_, threshold);
    };
    for (int64_t k = begin; k < end; ++k) {
      if (!l.split[1]) {
        store(rows(k), k);
        continue;
      }
      columns([&](int64_t t) { return rows((2 * k + t) % l.m[1]); }, s.a, s.b, l.width * c_);
      store(s.a, k);
      store(s.b, k + l.half[1]);
    }
  }

  void analyse_row(const Level& l, const T* row, T* left, T* right, Scratch& s) const {
    if (l.moved) {
      const int64_t n = plan_.image[2] * c_, shift = plan_.shift[2] * c_;
      std::copy_n(row, n - shift, s.moved + shift);
      std::copy_n(row + n - shift, shift, s.moved);
      std::fill(s.moved + n, s.moved + l.m[2] * c_, T(0));
      row = s.moved;
    }
    const int64_t half = l.half[2] * c_;
    if (!l.split[2]) {
      std::copy_n(row, half, left);
      return;
    }
    deinterleave(row, s.even, s.odd, l.half[2], sizeof(T) * c_);
    for (int64_t i = 0; i < s.wrap; ++i) s.even[half + i] = s.even[i], s.odd[half + i] = s.odd[i];
    const T* in[max_taps];
    for (int64_t t = 0; t < taps_; t += 2) in[t] = s.even + t / 2 * c_, in[t + 1] = s.odd + t / 2 * c_;
    filter_pair(in, low_.data(), high_.data(), taps_, left, right, half);
  }

  // ---- synthesis

  template <class Source, class Rows>
  void synthesise_level(const Level& l, const Source& source, const Rows& rows) const {
    if (l.split[0]) {
      const int64_t plane = l.m[1] * l.m[2] * c_;
      at::parallel_for(0, l.half[0], std::max<int64_t>(1, grain_numbers / plane), [&](int64_t begin, int64_t end) {
        const auto planes = buffer<T>(2 * plane);
        Scratch scratch(l, c_, taps_);
        for (int64_t k = begin; k < end; ++k) {
          for (int64_t y = 0; y < l.m[1]; ++y) {
            for (int64_t right = 0; right < 1 + l.split[2]; ++right) {
              T* to = planes.get() + (y * l.m[2] + right * l.half[2]) * c_;
              const auto back = [&](int64_t j, bool high) {
                return source(wrapped(k - j, l.half[0]) + high * l.half[0], y, right);
              };
              merge(back, to, to + plane, l.half[2] * c_);
            }
          }
          for (int64_t h = 0; h < 2; ++h) {
            const T* from = planes.get() + h * plane;
            synthesise_plane(l, [&](int64_t y, bool right) { return from + (y * l.m[2] + right * l.half[2]) * c_; },
                             rows, 2 * k + h, 0, l.half[1], scratch);
          }
        }
      });
      return;
    }
    const int64_t grain = std::max<int64_t>(1, grain_numbers / (2 * l.m[2] * c_));
    at::parallel_for(0, l.m[0] * l.half[1], grain, [&](int64_t begin, int64_t end) {
      Scratch scratch(l, c_, taps_);
      while (begin < end) {
        const int64_t z = begin / l.half[1], y = begin % l.half[1];
        const int64_t count = std::min(end - begin, l.half[1] - y);
        synthesise_plane(l, [&](int64_t i, bool right) { return source(z, i, right); }, rows, z, y, y + count,
                         scratch);
        begin += count;
      }
    });
  }

  static int64_t wrapped(int64_t i, int64_t n) { return i >= 0 ? i : n - 1 - (-i - 1) % n; }

  /// Even and odd samples from both bands: source(j, high) is the row of the band j steps back.
  template <class Source>
  void merge(const Source& source, T* a, T* b, int64_t n) const {
    const T* in[max_taps];
    for (int64_t t = 0; t < taps_; ++t) in[t] = source(t / 2, t % 2 != 0);
    filter_pair(in, even_.data(), odd_.data(), taps_, a, b, n);
  }

  template <class Source, class Rows>
  void synthesise_plane(const Level& l, const Source& source, const Rows& rows, int64_t z, int64_t begin, int64_t end,
                        Scratch& s) const {
    const int64_t half = l.half[2] * c_;
    const auto finish = [&](T* left, T* right, int64_t y) {
      if (!(l.first && outside(z, y))) synthesise_row(l, left, right, rows(z, y), s);
    };
    for (int64_t k = begin; k < end; ++k) {
      if (!l.split[1]) {
        std::copy_n(source(k, false), half, s.a_left);
        if (l.split[2]) std::copy_n(source(k, true), half, s.a_right);
        finish(s.a_left, s.a_right, k);
        continue;
      }
      for (int right = 0; right < 1 + l.split[2]; ++right) {
        merge([&](int64_t j, bool high) { return source(wrapped(k - j, l.half[1]) + high * l.half[1], right); },
              right ? s.a_right : s.a_left, right ? s.b_right : s.b_left, half);
      }
      finish(s.a_left, s.a_right, 2 * k);
      finish(s.b_left, s.b_right, 2 * k + 1);
    }
  }

  void synthesise_row(const Level& l, T* left, T* right, T* row, Scratch& s) const {
    const T* whole = left;
    if (l.split[2]) {
      const int64_t half = l.half[2] * c_;
      for (int64_t i = 1; i <= s.wrap; ++i) left[-i] = left[half - i], right[-i] = right[half - i];
      const T* in[max_taps];
      for (int64_t t = 0; t < taps_; t += 2) in[t] = left - t / 2 * c_, in[t + 1] = right - t / 2 * c_;
      filter_pair(in, even_.data(), odd_.data(), taps_, s.even, s.odd, half);
      T* to = l.moved ? s.moved : row;
      interleave(s.even, s.odd, to, l.half[2], sizeof(T) * c_);
      if (!l.moved) return;
      whole = to;
    }
    const int64_t n = l.width * c_, shift = l.first ? plan_.shift[2] * c_ : 0;
    std::copy_n(whole + shift, n - shift, row);
    std::copy_n(whole, shift, row + n - shift);
  }

  static constexpr int64_t max_taps = 20;

  const WaveletPlan& plan_;
  int64_t c_, taps_;
  std::vector<T> low_, high_, even_, odd_;
  std::vector<T> zeros_;
};

/// Whole transforms go to threads where there are enough; else each sweep is divided.
template <class Transform>
void over_batch(int64_t outer, const Transform& transform) {
  if (outer < at::get_num_threads()) {
    for (int64_t i = 0; i < outer; ++i) transform(i);
    return;
  }
  at::parallel_for(0, outer, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) transform(i);
  });
}

int64_t product(const std::array<int64_t, 3>& n) { return n[0] * n[1] * n[2]; }

}  // namespace

template <class T>
void wavelet_analysis(const WaveletPlan& plan, const T* image, T* coefficients, int64_t outer, int64_t components,
                      double threshold) {
  const Sweeps<T> sweeps(plan, components);
  over_batch(outer, [&](int64_t i) {
    sweeps.analyse(image + i * product(plan.image) * components, coefficients + i * product(plan.padded) * components,
                   threshold);
  });
}

template <class T>
void wavelet_synthesis(const WaveletPlan& plan, const T* coefficients, T* image, int64_t outer, int64_t components) {
  const Sweeps<T> sweeps(plan, components);
  over_batch(outer, [&](int64_t i) {
    sweeps.synthesise(coefficients + i * product(plan.padded) * components,
                      image + i * product(plan.image) * components);
  });
}

template void wavelet_analysis(const WaveletPlan&, const float*, float*, int64_t, int64_t, double);
template void wavelet_analysis(const WaveletPlan&, const double*, double*, int64_t, int64_t, double);
template void wavelet_synthesis(const WaveletPlan&, const float*, float*, int64_t, int64_t);
template void wavelet_synthesis(const WaveletPlan&, const double*, double*, int64_t, int64_t);

}  // namespace monarch::operators::kernels
