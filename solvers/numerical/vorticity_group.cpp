#include "monarch/solvers/numerical/vorticity_group.hpp"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "monarch/core/error.hpp"

namespace monarch::solvers {
namespace {

using kernels::Update;
constexpr double pi = std::numbers::pi;

/// Steps of dt/2^level; more halvings than these mean that the solution runs away.
constexpr int most_levels = 12;

/// Where in a plane column c, number r lies.
template <class T>
int64_t place(const kernels::LinePlan<T>& line, int64_t c, int64_t r) {
  return c * (line.n + 1) + r;
}

/// Real fields [count, n, n] into the lanes of a plane, points in the plan's order; lanes beyond take the last field.
template <class S, class U>
void fill_plane(const kernels::LinePlan<U>& line, const S* fields, int64_t count, U* plane, int64_t width) {
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

}  // namespace

template <class T>
VorticityProblem<T>::VorticityProblem(const NavierStokesOptions& o)
    : options(o), n(o.size), grid(n, o.dealiasing == Dealiasing::products) {
  for (int64_t c = 0; c < grid.half; ++c) {
    for (int64_t r = 0; r < grid.rows; ++r) decay.push_back(decay_of(grid.wavenumber_x(r), c));
  }
  if (!o.forcing.defined()) return;
  const at::Tensor f = o.forcing.to(at::kDouble).reshape({1, n, n}).contiguous();
  const kernels::LinePlan<double> line(n);
  AlignedBuffer<double> plane(n * (n + 1) * 2), scratch(4 * (n + 1));
  fill_plane(line, f.const_data_ptr<double>(), 1, plane.get(), 1);
  kernels::transform_plane(line, plane.get(), false, scratch.get(), 1);
  const double scale = 1 / static_cast<double>(n * n);
  for (int64_t c = 0; c <= n / 2; ++c) {
    for (int64_t r = 0; r < n; ++r) {
      const double* at = plane.get() + place(line, c, r) * 2;
      full_forcing.emplace_back(at[0] * scale, at[1] * scale);
    }
  }
  for (int64_t c = 0; c < grid.half; ++c) {
    for (int64_t r = 0; r < grid.rows; ++r) {
      const auto value = full_forcing[static_cast<size_t>(c * n + full_row(r))];
      forcing.push_back(static_cast<T>(value.real()));
      forcing.push_back(static_cast<T>(value.imag()));
    }
  }
}

template <class T>
double VorticityProblem<T>::decay_of(int64_t kx, int64_t ky) const {
  if (kx == 0 && ky == 0) return options.decaying_mean ? options.viscosity : 0;
  return options.viscosity * 4 * pi * pi * static_cast<double>(kx * kx + ky * ky);
}

template <class T>
VorticityGroup<T>::VorticityGroup(const VorticityProblem<T>& problem, const T* fields, int64_t first, int64_t count,
                                  int64_t width)
    : problem_(problem),
      grid_(problem.grid),
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
      const T* from = start_.get() + (c * n_ + problem.full_row(r)) * element_;
      std::copy(from, from + element_, w_.get() + (c * grid_.rows + r) * element_);
    }
  }
  const int count_of_arrays = problem.options.integrator == Integrator::etdrk4 ? 4 : 1;
  for (int i = 0; i < count_of_arrays; ++i)
    more_.push_back(std::make_unique<AlignedBuffer<T>>(grid_.modes() * element_));
}

template <class T>
void VorticityGroup<T>::measure_speed() {
  kernels::VorticityTask<T> task;
  task.input = w_.get();
  task.speed = speed_.get();
  kernels::vorticity_step(grid_, task, scratch_.get(), width_);
}

template <class T>
void VorticityGroup<T>::advance(double begin, double end, double dt) {
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
    if (!before_)
      before_ = std::make_unique<AlignedBuffer<T>>(numbers), after_ = std::make_unique<AlignedBuffer<T>>(numbers);
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

template <class T>
void VorticityGroup<T>::record(double t, const kernels::LinePlan<T>& line, Reduction reduction, int64_t stored, T* to,
                               int64_t stride) {
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

template <class T>
void VorticityGroup<T>::tendency(int64_t repeats, T* to) {
  const std::vector<T> zero(static_cast<size_t>(grid_.modes()), T(0)), one(zero.size(), T(1));
  kernels::VorticityTask<T> task = base_task(Update::first);
  task.arrays[0] = w_.get();
  task.arrays[1] = more_[0]->get();
  AlignedBuffer<T> result(grid_.modes() * element_);
  task.arrays[2] = result.get();
  task.tables[0] = zero.data();
  task.tables[1] = one.data();
  for (int64_t i = 0; i < repeats; ++i) kernels::vorticity_step(grid_, task, scratch_.get(), width_);
  std::copy(result.get(), result.get() + grid_.modes() * element_, w_.get());
  std::fill(start_.get(), start_.get() + (n_ / 2 + 1) * n_ * element_, T(0));
  record(0, grid_.line, Reduction::subsample, n_, to, n_ * n_);
}

template <class T>
std::string VorticityGroup<T>::not_finite(int64_t lane, double t) const {
  return fmt::format("Navier–Stokes: sample {} of the batch is not finite at time {:.6g}", first_ + lane, t);
}

template <class T>
int VorticityGroup<T>::level_of(int64_t lane, double t, double h) const {
  if (problem_.options.cfl == 0) return 0;
  double courant = h * static_cast<double>(speed_.get()[lane]) * static_cast<double>(n_);
  check<BackendError>(std::isfinite(courant), [&] { return not_finite(lane, t); });
  int level = 0;
  for (; courant > problem_.options.cfl; courant /= 2) ++level;
  check<BackendError>(
      level <= most_levels,
      [&] {
        return fmt::format("Navier–Stokes: sample {} of the batch needs steps below {:.3g} at time {:.6g}",
                           first_ + lane, h / (1 << most_levels), t);
      },
      "the solution grows without bound, or the vorticity is far too large for this step");
  return level;
}

template <class T>
kernels::VorticityTask<T> VorticityGroup<T>::base_task(Update update) {
  kernels::VorticityTask<T> task;
  task.update = update;
  task.input = w_.get();
  task.forcing = problem_.forcing.empty() ? nullptr : problem_.forcing.data();
  task.speed = speed_.get();
  return task;
}

template <class T>
void VorticityGroup<T>::substeps(int level, double h) {
  auto found = levels_.find(level);
  if (found == levels_.end())
    found = levels_.emplace(level, step_tables<T>(problem_.decay, problem_.options.integrator, h / (1 << level))).first;
  for (int i = 0; i < 1 << level; ++i) step(found->second);
}

template <class T>
void VorticityGroup<T>::step(const StepTables<T>& tables) {
  const auto run = [&](kernels::VorticityTask<T>& task) {
    kernels::vorticity_step(grid_, task, scratch_.get(), width_);
  };
  T* const w = w_.get();
  if (problem_.options.integrator != Integrator::etdrk4) {
    const bool euler = problem_.options.integrator == Integrator::euler_cn;
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

template <class T>
void VorticityGroup<T>::mode(double t, int64_t c, int64_t r, T* to) const {
  const int64_t rows = grid_.rows, limit = grid_.products ? grid_.kept : n_, kx = r < n_ / 2 ? r : r - n_;
  if (c <= limit && std::abs(kx) <= limit) {
    const T* from = w_.get() + (c * rows + (kx < 0 ? kx + rows : kx)) * element_;
    std::copy(from, from + element_, to);
    return;
  }
  // Beyond the products there is nothing but viscosity and forcing.
  const double decay = problem_.decay_of(kx, c), left = std::exp(-decay * t);
  const T* from = start_.get() + (c * n_ + r) * element_;
  for (int64_t i = 0; i < element_; ++i) to[i] = static_cast<T>(left) * from[i];
  if (problem_.full_forcing.empty()) return;
  const double grown = decay > 0 ? -std::expm1(-decay * t) / decay : t;
  const auto f = problem_.full_forcing[static_cast<size_t>(c * n_ + r)] * grown;
  for (int64_t lane = 0; lane < width_; ++lane) {
    to[lane] += static_cast<T>(f.real());
    to[width_ + lane] += static_cast<T>(f.imag());
  }
}

template struct VorticityProblem<float>;
template struct VorticityProblem<double>;
template class VorticityGroup<float>;
template class VorticityGroup<double>;

}  // namespace monarch::solvers
