#include "monarch/solvers/numerical/navier_stokes.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <cmath>
#include <complex>
#include <cstdlib>
#include <numbers>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/solvers/numerical/kernels/vorticity.hpp"

namespace monarch::solvers {
namespace {

using kernels::Update;
constexpr double pi = std::numbers::pi;

/// Steps of dt/2^level; more halvings than these mean that the solution runs away.
constexpr int most_levels = 12;

// Carpenter and Kennedy 1994: r = F + A r, w += B h r at the times C.
constexpr int stages_of_rk4 = 5;
constexpr double rk_a[] = {0.0, -567301805773.0 / 1357537059087.0, -2404267990393.0 / 2016746695238.0,
                           -3550918686646.0 / 2091501179385.0, -1275806237668.0 / 842570457699.0};
constexpr double rk_b[] = {1432997174477.0 / 9575080441755.0, 5161836677717.0 / 13612068292357.0,
                           1720146321549.0 / 2090206949498.0, 3134564353537.0 / 4481467310338.0,
                           2277821191437.0 / 14882151754819.0};
constexpr double rk_c[] = {0.0,
                           1432997174477.0 / 9575080441755.0,
                           2526269341429.0 / 6820363962896.0,
                           2006345519317.0 / 3224310063776.0,
                           2802321613138.0 / 2924317926251.0,
                           1.0};

template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t numbers)
      : data_(static_cast<T*>(std::aligned_alloc(64, (static_cast<size_t>(numbers) * sizeof(T) + 63) / 64 * 64))) {
    if (!data_) throw std::bad_alloc();
    std::fill(data_, data_ + numbers, T(0));
  }
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  T* get() const { return data_; }

 private:
  T* data_;
};

/// Factors of each mode for one size of step.
template <class T>
struct StepTables {
  std::vector<T> values[2 * stages_of_rk4];
};

/// (e^z − 1)/z and its successors, φ_{j+1}(z) = (φ_j(z) − 1/j!)/z, in extended precision for z <= 0.
struct Phi {
  long double p1, p2, p3;
};
Phi phi(long double z) {
  if (std::abs(z) < 0.5L) {
    // φ_j(z) = sum over m of z^m/(m+j)!
    long double p[3] = {0, 0, 0};
    for (int j = 1; j <= 3; ++j) {
      long double term = 1;
      for (int i = 2; i <= j; ++i) term /= i;
      for (int m = 0; m < 24; ++m) {
        p[j - 1] += term;
        term *= z / (m + j + 1);
      }
    }
    return {p[0], p[1], p[2]};
  }
  const long double p1 = std::expm1(z) / z, p2 = (p1 - 1) / z;
  return {p1, p2, (p2 - 0.5L) / z};
}

int64_t checked_size(const NavierStokesOptions& o) {
  check<ConfigError>(o.size >= 4 && o.size % 2 == 0, [&] {
    return fmt::format("Navier–Stokes: size {} of the grid; expected an even number, 4 or more", o.size);
  });
  return o.size;
}

/// Everything that all samples share.
template <class T>
class Solver {
 public:
  explicit Solver(const NavierStokesOptions& o)
      : options_(o), n_(checked_size(o)), grid_(n_, o.dealiasing == Dealiasing::products) {
    for (int64_t c = 0; c < grid_.half; ++c) {
      for (int64_t r = 0; r < grid_.rows; ++r) decay_.push_back(decay_of(wavenumber(grid_.rows, r), c));
    }
    if (!o.forcing.defined()) return;
    const at::Tensor f = o.forcing.to(at::kDouble).reshape({1, n_, n_}).contiguous();
    const kernels::LinePlan<double> line(n_);
    Buffer<double> plane(n_ * (n_ + 1) * 2), scratch(4 * (n_ + 1));
    fill_plane(line, f.const_data_ptr<double>(), 1, plane.get(), 1);
    kernels::transform_plane(line, plane.get(), false, scratch.get(), 1);
    const double scale = 1 / static_cast<double>(n_ * n_);
    for (int64_t c = 0; c <= n_ / 2; ++c) {
      for (int64_t r = 0; r < n_; ++r) {
        const double* at = plane.get() + place(line, c, r) * 2;
        full_forcing_.emplace_back(at[0] * scale, at[1] * scale);
      }
    }
    for (int64_t c = 0; c < grid_.half; ++c) {
      for (int64_t r = 0; r < grid_.rows; ++r) {
        const auto value = full_forcing_[static_cast<size_t>(c * n_ + full_row(r))];
        forcing_.push_back(static_cast<T>(value.real()));
        forcing_.push_back(static_cast<T>(value.imag()));
      }
    }
  }

  at::Tensor solve(const at::Tensor& vorticity, const std::vector<double>& times, int64_t stored,
                   Reduction reduction) const;
  at::Tensor tendency(const at::Tensor& vorticity, int64_t repeats) const;

 private:
  class Group;

  /// Where in a plane column c, number r lies.
  template <class U>
  static int64_t place(const kernels::LinePlan<U>& line, int64_t c, int64_t r) {
    return c * (line.n + 1) + r;
  }
  static int64_t wavenumber(int64_t rows, int64_t row) { return row <= (rows - 1) / 2 ? row : row - rows; }
  /// Row of the full spectrum [n/2+1, n] for one of the grid's.
  int64_t full_row(int64_t row) const { return row <= (grid_.rows - 1) / 2 ? row : n_ - grid_.rows + row; }

  /// Rate at which viscosity damps a mode.
  double decay_of(int64_t kx, int64_t ky) const {
    if (kx == 0 && ky == 0) return options_.decaying_mean ? options_.viscosity : 0;
    return options_.viscosity * 4 * pi * pi * static_cast<double>(kx * kx + ky * ky);
  }

  /// Real fields [count, n, n] into the lanes of a plane, points in the plan's order; lanes beyond take the last field.
  template <class S, class U>
  static void fill_plane(const kernels::LinePlan<U>& line, const S* fields, int64_t count, U* plane, int64_t width) {
    const int64_t n = line.n;
    for (int64_t c = 0; c < n; ++c) {
      for (int64_t r = 0; r < n; ++r) {
        U* at = plane + place(line, c, r) * 2 * width;
        const int64_t point = line.order[static_cast<size_t>(r)] * n + line.order[static_cast<size_t>(c)];
        for (int64_t lane = 0; lane < width; ++lane) {
          at[lane] = static_cast<U>(fields[std::min(lane, count - 1) * n * n + point]);
          at[width + lane] = 0;
        }
      }
    }
  }

  StepTables<T> tables(double h) const {
    StepTables<T> result;
    for (const double decay : decay_) {
      const auto put = [&](int i, long double value) { result.values[i].push_back(static_cast<T>(value)); };
      if (options_.integrator == Integrator::etdrk4) {
        const long double step = h, z = -step * decay;
        const Phi full = phi(z), half = phi(z / 2);
        put(0, std::exp(z / 2));
        put(1, step / 2 * half.p1);
        put(2, std::exp(z));
        put(3, step * (full.p1 - 3 * full.p2 + 4 * full.p3));
        put(4, 2 * step * (full.p2 - 2 * full.p3));
        put(5, step * (4 * full.p3 - full.p2));
        continue;
      }
      const bool euler = options_.integrator == Integrator::euler_cn;
      for (int stage = 0; stage < (euler ? 1 : stages_of_rk4); ++stage) {
        const double mu = 0.5 * h * (euler ? 1 : rk_c[stage + 1] - rk_c[stage]) * decay;
        put(2 * stage, (1 - mu) / (1 + mu));
        put(2 * stage + 1, h * (euler ? 1 : rk_b[stage]) / (1 + mu));
      }
    }
    return result;
  }

  /// The width at which `count` samples are done first. A group of W samples was measured to cost 1 + c · bytes of a vector
  /// times what a single one costs: little while planes stay in the second-level cache, more beyond.
  int64_t choose_width(int64_t count) const {
    const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
    const double growth = n_ <= 128 ? 1.0 / 64 : 1.0 / 16;
    int64_t best = 1;
    double least = std::numeric_limits<double>::infinity();
    for (const int64_t width : kernels::widths<T>()) {
      const int64_t rounds = ((count + width - 1) / width + threads - 1) / threads;
      const double cost = static_cast<double>(rounds) * (1 + growth * static_cast<double>(width * sizeof(T)));
      if (cost < least) best = width, least = cost;
    }
    return best;
  }

  NavierStokesOptions options_;
  int64_t n_;
  kernels::VorticityGrid<T> grid_;
  std::vector<double> decay_;                       ///< [modes]
  std::vector<T> forcing_;                          ///< [modes, 2], or empty
  std::vector<std::complex<double>> full_forcing_;  ///< [n/2+1, n], or empty
};

/// `width` samples on their way through time.
template <class T>
class Solver<T>::Group {
 public:
  Group(const Solver& solver, const T* fields, int64_t first, int64_t count, int64_t width)
      : solver_(solver),
        grid_(solver.grid_),
        n_(grid_.n),
        first_(first),
        count_(count),
        width_(width),
        element_(2 * width),
        scratch_(std::max(grid_.scratch(width), (2 * n_ + 4) * (n_ + 1) * width)),
        start_((n_ / 2 + 1) * n_ * 2 * width),
        w_(grid_.modes() * element_),
        speed_(width) {
    T* plane = scratch_.get();
    fill_plane(grid_.line, fields, count, plane, width);
    kernels::transform_plane(grid_.line, plane, false, plane + n_ * (n_ + 1) * element_, width);
    const T scale = T(1) / static_cast<T>(n_ * n_);
    for (int64_t c = 0; c <= n_ / 2; ++c) {
      const bool own_mirror = c == 0 || c == n_ / 2;  // where kx and −kx are each other's conjugate
      for (int64_t r = 0; r < n_; ++r) {
        const T* at = plane + place(grid_.line, c, r) * element_;
        const T* mirror = plane + place(grid_.line, c, r ? n_ - r : 0) * element_;
        T* to = start_.get() + (c * n_ + r) * element_;
        for (int64_t lane = 0; lane < width; ++lane) {
          const T re = at[lane], im = at[width + lane];
          to[lane] = scale * (own_mirror ? (re + mirror[lane]) / 2 : re);
          to[width + lane] = scale * (own_mirror ? (im - mirror[width + lane]) / 2 : im);
        }
      }
    }
    for (int64_t c = 0; c < grid_.half; ++c) {
      for (int64_t r = 0; r < grid_.rows; ++r) {
        const T* from = start_.get() + (c * n_ + solver.full_row(r)) * element_;
        std::copy(from, from + element_, w_.get() + (c * grid_.rows + r) * element_);
      }
    }
    const int count_of_arrays = solver.options_.integrator == Integrator::etdrk4 ? 4 : 1;
    for (int i = 0; i < count_of_arrays; ++i) more_.push_back(std::make_unique<Buffer<T>>(grid_.modes() * element_));
  }

  void measure_speed() {
    kernels::VorticityTask<T> task;
    task.input = w_.get();
    task.speed = speed_.get();
    kernels::vorticity_step(grid_, task, scratch_.get(), width_);
  }

  /// From `begin` to `end` in equal steps of at most dt, each split where the speed of a lane asks for it.
  void advance(double begin, double end, double dt) {
    const auto steps = static_cast<int64_t>(std::ceil((end - begin) / dt * (1 - 1e-12)));
    const double h = (end - begin) / static_cast<double>(std::max<int64_t>(steps, 1));
    if (h != step_) levels_.clear(), step_ = h;
    for (int64_t i = 0; i < steps; ++i) {
      std::vector<int> level(static_cast<size_t>(width_));
      for (int64_t lane = 0; lane < width_; ++lane) {
        level[static_cast<size_t>(lane)] = level_of(std::min(lane, count_ - 1), begin + static_cast<double>(i) * h, h);
      }
      if (std::all_of(level.begin(), level.end(), [&](int l) { return l == level[0]; })) {
        substeps(level[0], h);
        continue;
      }
      // Lanes of different levels one level after the other, each from the same beginning.
      const int64_t numbers = grid_.modes() * element_;
      if (!before_) before_ = std::make_unique<Buffer<T>>(numbers), after_ = std::make_unique<Buffer<T>>(numbers);
      std::copy(w_.get(), w_.get() + numbers, before_->get());
      std::vector<T> speed(static_cast<size_t>(width_));
      for (int l = 0; l <= most_levels; ++l) {
        if (std::find(level.begin(), level.end(), l) == level.end()) continue;
        std::copy(before_->get(), before_->get() + numbers, w_.get());
        std::fill(more_[0]->get(), more_[0]->get() + numbers, T(0));  // a lane may have run away at another level
        substeps(l, h);
        for (int64_t lane = 0; lane < width_; ++lane) {
          if (level[static_cast<size_t>(lane)] != l) continue;
          speed[static_cast<size_t>(lane)] = speed_.get()[lane];
          for (int64_t j = lane; j < numbers; j += width_) after_->get()[j] = w_.get()[j];
        }
      }
      std::copy(after_->get(), after_->get() + numbers, w_.get());
      std::copy(speed.begin(), speed.end(), speed_.get());
    }
  }

  /// Writes the fields at time t, [s, s] for each sample, at to + sample · stride.
  void record(double t, const kernels::LinePlan<T>& line, Reduction reduction, int64_t stored, T* to, int64_t stride) {
    const int64_t m = line.n, every = reduction == Reduction::subsample ? m / stored : 1;
    T* plane = scratch_.get();
    std::fill(plane, plane + m * (m + 1) * element_, T(0));
    const int64_t most = m < n_ ? (m - 1) / 2 : n_;  // wavenumbers that the plane holds
    for (int64_t c = 0; c <= std::min(n_ / 2, most); ++c) {
      const bool own_mirror = c == 0 || 2 * c == m;
      for (int64_t r = 0; r < n_; ++r) {
        const int64_t kx = r < n_ / 2 ? r : r - n_;
        if (std::abs(kx) > most) continue;
        const int64_t row = (kx + m) % m;
        T* at = plane + place(line, c, row) * element_;
        T* mirror = plane + place(line, m - c, (m - row) % m) * element_;
        mode(t, c, r, at);
        if (own_mirror) continue;
        for (int64_t lane = 0; lane < width_; ++lane) {
          mirror[lane] = at[lane];
          mirror[width_ + lane] = -at[width_ + lane];
        }
      }
    }
    kernels::transform_plane(line, plane, true, plane + m * (m + 1) * element_, width_);
    for (int64_t c = 0; c < m; ++c) {
      const int64_t y = line.order[static_cast<size_t>(c)];
      if (y % every) continue;
      for (int64_t r = 0; r < m; ++r) {
        const int64_t x = line.order[static_cast<size_t>(r)];
        if (x % every) continue;
        const T* at = plane + place(line, c, r) * element_;
        const int64_t point = x / every * stored + y / every;
        for (int64_t lane = 0; lane < count_; ++lane) {
          check<BackendError>(
              std::isfinite(at[lane]), [&] { return not_finite(lane, t); },
              "the time step may be too large for the speed of the flow");
          to[lane * stride + point] = at[lane];
        }
      }
    }
  }

  /// −u·∇w + f as fields.
  void tendency(int64_t repeats, T* to) {
    const std::vector<T> zero(static_cast<size_t>(grid_.modes()), T(0)), one(zero.size(), T(1));
    kernels::VorticityTask<T> task = base_task(Update::first);
    task.arrays[0] = w_.get();
    task.arrays[1] = more_[0]->get();
    Buffer<T> result(grid_.modes() * element_);
    task.arrays[2] = result.get();
    task.tables[0] = zero.data();
    task.tables[1] = one.data();
    for (int64_t i = 0; i < repeats; ++i) kernels::vorticity_step(grid_, task, scratch_.get(), width_);
    std::copy(result.get(), result.get() + grid_.modes() * element_, w_.get());
    std::fill(start_.get(), start_.get() + (n_ / 2 + 1) * n_ * element_, T(0));
    record(0, grid_.line, Reduction::subsample, n_, to, n_ * n_);
  }

 private:
  std::string not_finite(int64_t lane, double t) const {
    return fmt::format("Navier–Stokes: sample {} of the batch is not finite at time {:.6g}", first_ + lane, t);
  }

  int level_of(int64_t lane, double t, double h) const {
    if (solver_.options_.cfl == 0) return 0;
    double courant = h * static_cast<double>(speed_.get()[lane]) * static_cast<double>(n_);
    check<BackendError>(std::isfinite(courant), [&] { return not_finite(lane, t); });
    int level = 0;
    for (; courant > solver_.options_.cfl; courant /= 2) ++level;
    check<BackendError>(
        level <= most_levels,
        [&] {
          return fmt::format("Navier–Stokes: sample {} of the batch needs steps below {:.3g} at time {:.6g}",
                             first_ + lane, h / (1 << most_levels), t);
        },
        "the solution grows without bound, or the vorticity is far too large for this step");
    return level;
  }

  kernels::VorticityTask<T> base_task(Update update) {
    kernels::VorticityTask<T> task;
    task.update = update;
    task.input = w_.get();
    task.forcing = solver_.forcing_.empty() ? nullptr : solver_.forcing_.data();
    task.speed = speed_.get();
    return task;
  }

  void substeps(int level, double h) {
    auto found = levels_.find(level);
    if (found == levels_.end()) found = levels_.emplace(level, solver_.tables(h / (1 << level))).first;
    for (int i = 0; i < 1 << level; ++i) step(found->second);
  }

  void step(const StepTables<T>& tables) {
    const auto run = [&](kernels::VorticityTask<T>& task) {
      kernels::vorticity_step(grid_, task, scratch_.get(), width_);
    };
    T* const w = w_.get();
    if (solver_.options_.integrator != Integrator::etdrk4) {
      const bool euler = solver_.options_.integrator == Integrator::euler_cn;
      auto task = base_task(Update::low_storage);
      task.arrays[0] = w;
      task.arrays[1] = more_[0]->get();
      for (int stage = 0; stage < (euler ? 1 : stages_of_rk4); ++stage) {
        task.tables[0] = tables.values[2 * stage].data();
        task.tables[1] = tables.values[2 * stage + 1].data();
        task.beta = static_cast<T>(rk_a[stage]);
        run(task);
      }
      return;
    }
    T* const n = more_[0]->get();
    T* const s = more_[1]->get();
    T* const y = more_[2]->get();
    T* const z = more_[3]->get();
    const auto stage = [&](Update update, const T* input, std::initializer_list<T*> arrays,
                           std::initializer_list<int> values) {
      auto task = base_task(update);
      task.input = input;
      std::copy(arrays.begin(), arrays.end(), task.arrays);
      int i = 0;
      for (const int value : values) task.tables[i++] = tables.values[value].data();
      run(task);
    };
    stage(Update::first, w, {w, n, y}, {0, 1});
    stage(Update::second, y, {w, s, z}, {0, 1});
    stage(Update::third, z, {y, s, n, z}, {0, 1});
    stage(Update::fourth, z, {w, n, s}, {2, 3, 4, 5});
  }

  /// Coefficient (column c, row r of the full spectrum) at time t, all lanes.
  void mode(double t, int64_t c, int64_t r, T* to) const {
    const int64_t rows = grid_.rows, limit = grid_.products ? grid_.kept : n_, kx = r < n_ / 2 ? r : r - n_;
    if (c <= limit && std::abs(kx) <= limit) {
      const T* from = w_.get() + (c * rows + (kx < 0 ? kx + rows : kx)) * element_;
      std::copy(from, from + element_, to);
      return;
    }
    // Beyond the products there is nothing but viscosity and forcing.
    const double decay = solver_.decay_of(kx, c), left = std::exp(-decay * t);
    const T* from = start_.get() + (c * n_ + r) * element_;
    for (int64_t i = 0; i < element_; ++i) to[i] = static_cast<T>(left) * from[i];
    if (solver_.full_forcing_.empty()) return;
    const double grown = decay > 0 ? -std::expm1(-decay * t) / decay : t;
    const auto f = solver_.full_forcing_[static_cast<size_t>(c * n_ + r)] * grown;
    for (int64_t lane = 0; lane < width_; ++lane) {
      to[lane] += static_cast<T>(f.real());
      to[width_ + lane] += static_cast<T>(f.imag());
    }
  }

  const Solver& solver_;
  const kernels::VorticityGrid<T>& grid_;
  int64_t n_, first_, count_, width_, element_;
  Buffer<T> scratch_;
  Buffer<T> start_;  ///< [n/2+1, n]: the whole initial spectrum
  Buffer<T> w_;      ///< [modes]
  Buffer<T> speed_;
  std::vector<std::unique_ptr<Buffer<T>>> more_;
  std::unique_ptr<Buffer<T>> before_, after_;
  std::map<int, StepTables<T>> levels_;  ///< of step_/2^level
  double step_ = 0;
};

template <class T>
at::Tensor Solver<T>::solve(const at::Tensor& vorticity, const std::vector<double>& times, int64_t stored,
                            Reduction reduction) const {
  const int64_t batch = vorticity.size(0), count_of_times = static_cast<int64_t>(times.size());
  at::Tensor result = at::empty({batch, count_of_times, stored, stored}, vorticity.options());
  const T* fields = vorticity.const_data_ptr<T>();
  T* to = result.mutable_data_ptr<T>();
  const kernels::LinePlan<T> line(reduction == Reduction::truncate ? stored : n_);
  const int64_t width = choose_width(batch), frame = stored * stored;
  at::parallel_for(0, (batch + width - 1) / width, 1, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) {
      const int64_t first = g * width, count = std::min(width, batch - first);
      Group group(*this, fields + first * n_ * n_, first, count, width);
      if (options_.cfl > 0) group.measure_speed();
      double now = 0;
      for (int64_t i = 0; i < count_of_times; ++i) {
        const double next = times[static_cast<size_t>(i)];
        group.advance(now, next, options_.dt);
        now = next;
        group.record(now, line, reduction, stored, to + (first * count_of_times + i) * frame, count_of_times * frame);
      }
    }
  });
  return result;
}

template <class T>
at::Tensor Solver<T>::tendency(const at::Tensor& vorticity, int64_t repeats) const {
  const int64_t batch = vorticity.size(0), width = choose_width(batch);
  at::Tensor result = at::empty_like(vorticity);
  const T* fields = vorticity.const_data_ptr<T>();
  T* to = result.mutable_data_ptr<T>();
  at::parallel_for(0, (batch + width - 1) / width, 1, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) {
      const int64_t first = g * width;
      Group group(*this, fields + first * n_ * n_, first, std::min(width, batch - first), width);
      group.tendency(repeats, to + first * n_ * n_);
    }
  });
  return result;
}

NavierStokesOptions resolved(NavierStokesOptions o) {
  checked_size(o);
  check<ConfigError>(o.viscosity >= 0 && std::isfinite(o.viscosity), [&] {
    return fmt::format("Navier–Stokes: viscosity {}; expected a finite number, 0 or more", o.viscosity);
  });
  check<ConfigError>(o.dt >= 0 && std::isfinite(o.dt), [&] {
    return fmt::format("Navier–Stokes: time step {}; expected a positive number, or 0 for the default", o.dt);
  });
  check<ConfigError>(o.cfl >= 0 && std::isfinite(o.cfl), [&] {
    return fmt::format("Navier–Stokes: CFL number {}; expected a positive number, or 0 for no control", o.cfl);
  });
  check<DtypeError>(o.precision == at::kFloat || o.precision == at::kDouble,
                    "Navier–Stokes: precision must be float32 or float64");
  const bool euler = o.integrator == Integrator::euler_cn;
  if (o.dt == 0) o.dt = euler ? 1e-4 : std::min(0.04, 2.56 / static_cast<double>(o.size));
  if (o.dealiasing == Dealiasing::automatic) o.dealiasing = euler ? Dealiasing::result : Dealiasing::products;
  if (o.forcing.defined()) {
    check<ShapeError>(o.forcing.sizes() == at::IntArrayRef({o.size, o.size}), [&] {
      return fmt::format("Navier–Stokes: forcing of shape {}; expected {}", shape_text(o.forcing.sizes()),
                         shape_text(std::vector<int64_t>{o.size, o.size}));
    });
    check<DtypeError>(o.forcing.scalar_type() == at::kFloat || o.forcing.scalar_type() == at::kDouble,
                      "Navier–Stokes: the forcing must be float32 or float64");
    check<ConfigError>(at::isfinite(o.forcing).all().item<bool>(), "Navier–Stokes: the forcing is not finite");
  }
  return o;
}

/// [batch, n, n] contiguous on the CPU in the solver's precision.
at::Tensor checked_fields(const NavierStokesOptions& o, const at::Tensor& vorticity) {
  check<ShapeError>(vorticity.dim() == 3 && vorticity.size(1) == o.size && vorticity.size(2) == o.size, [&] {
    return fmt::format("Navier–Stokes: vorticity of shape {}; expected [batch, {}, {}]", shape_text(vorticity.sizes()),
                       o.size, o.size);
  });
  check<DtypeError>(vorticity.scalar_type() == at::kFloat || vorticity.scalar_type() == at::kDouble,
                    "Navier–Stokes: the vorticity must be float32 or float64");
  return vorticity.detach().to(at::kCPU, o.precision).contiguous();
}

const std::vector<std::string> integrators = {"euler-cn", "cn-rk4", "etdrk4"};

}  // namespace

Integrator integrator_from_text(std::string_view text) {
  for (size_t i = 0; i < integrators.size(); ++i) {
    if (integrators[i] == text) return static_cast<Integrator>(i);
  }
  const std::string near = closest_match(text, integrators);
  fail<ConfigError>(fmt::format("integrator '{}' is none of {}", text, join_or(integrators)),
                    near.empty() ? "" : fmt::format("did you mean {}?", near));
}

std::string integrator_text(Integrator integrator) {
  return integrators[static_cast<size_t>(integrator)];
}

struct NavierStokes::State {
  NavierStokesOptions options;
  std::unique_ptr<const Solver<float>> single;
  std::unique_ptr<const Solver<double>> wide;
};

NavierStokes::NavierStokes(NavierStokesOptions options) {
  auto state = std::make_unique<State>();
  state->options = resolved(std::move(options));
  if (state->options.precision == at::kFloat) {
    state->single = std::make_unique<const Solver<float>>(state->options);
  } else {
    state->wide = std::make_unique<const Solver<double>>(state->options);
  }
  state_ = std::move(state);
}
NavierStokes::~NavierStokes() = default;

double NavierStokes::dt() const {
  return state_->options.dt;
}

const NavierStokesOptions& NavierStokes::options() const {
  return state_->options;
}

int64_t NavierStokes::preferred_batch() const {
  const int64_t width = state_->single ? kernels::native_width<float>() : kernels::native_width<double>();
  return width * at::get_num_threads();
}

at::Tensor NavierStokes::solve(const at::Tensor& vorticity, const std::vector<double>& times, int64_t stored,
                               Reduction reduction) const {
  const at::Tensor fields = checked_fields(state_->options, vorticity);
  double before = 0;
  for (const double t : times) {
    check<ConfigError>(t > before && std::isfinite(t), [&] {
      return fmt::format("Navier–Stokes: time {} after {}; expected increasing positive times", t, before);
    });
    before = t;
  }
  const int64_t n = state_->options.size, s = stored == 0 ? n : stored;
  check<ConfigError>(s >= 1 && s <= n && (reduction == Reduction::truncate || n % s == 0), [&] {
    return fmt::format("Navier–Stokes: fields of {} points along an axis cannot be stored as {}{}", n, s,
                       s >= 1 && s <= n ? ", which does not divide it" : "");
  });
  return state_->single ? state_->single->solve(fields, times, s, reduction)
                        : state_->wide->solve(fields, times, s, reduction);
}

at::Tensor NavierStokes::tendency(const at::Tensor& vorticity, int64_t repeats) const {
  const at::Tensor fields = checked_fields(state_->options, vorticity);
  return state_->single ? state_->single->tendency(fields, repeats) : state_->wide->tendency(fields, repeats);
}

}  // namespace monarch::solvers
