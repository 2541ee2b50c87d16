#include "monarch/solvers/numerical/navier_stokes.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/solvers/numerical/vorticity_group.hpp"

namespace monarch::solvers {
namespace {

/// Spreads samples over threads and lanes.
template <class T>
class Solver {
 public:
  explicit Solver(const NavierStokesOptions& options) : problem_(options) {}

  at::Tensor solve(const at::Tensor& vorticity, const std::vector<double>& times, int64_t stored,
                   Reduction reduction) const;
  at::Tensor tendency(const at::Tensor& vorticity, int64_t repeats) const;

 private:
  /// A group of W samples was measured to cost 1 + c · bytes of a vector times what a single one costs: little while
  /// planes stay in the second-level cache, more beyond.
  double cost(int64_t width) const {
    return 1 + (problem_.n <= 128 ? 1.0 / 64 : 1.0 / 16) * static_cast<double>(width * sizeof(T));
  }

  /// The least width that holds `count` samples.
  static int64_t width_for(int64_t count) {
    const auto widths = kernels::widths<T>();
    return *std::find_if(widths.begin(), widths.end() - 1, [&](int64_t width) { return width >= count; });
  }

  /// The width with which `count` samples are done first, the last group being as narrow as it can.
  int64_t choose_width(int64_t count) const {
    const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
    int64_t best = 1;
    double least = std::numeric_limits<double>::infinity();
    for (const int64_t width : kernels::widths<T>()) {
      const int64_t full = count / width, rest = count % width;
      double time = static_cast<double>((full + threads - 1) / threads) * cost(width);
      if (rest > 0 && full % threads == 0) time += cost(width_for(rest));
      if (time < least) best = width, least = time;
    }
    return best;
  }

  /// Calls work(group, first sample, how many) for all groups of `fields` [batch, n, n], in parallel.
  template <class Work>
  void for_groups(const at::Tensor& fields, const Work& work) const {
    const int64_t batch = fields.size(0), width = choose_width(batch);
    const T* data = fields.const_data_ptr<T>();
    at::parallel_for(0, (batch + width - 1) / width, 1, [&](int64_t begin, int64_t end) {
      for (int64_t g = begin; g < end; ++g) {
        const int64_t first = g * width, count = std::min(width, batch - first);
        VorticityGroup<T> group(problem_, data + first * problem_.n * problem_.n, first, count, width_for(count));
        work(group, first);
      }
    });
  }

  VorticityProblem<T> problem_;
};

template <class T>
at::Tensor Solver<T>::solve(const at::Tensor& vorticity, const std::vector<double>& times, int64_t stored,
                            Reduction reduction) const {
  const int64_t batch = vorticity.size(0), count_of_times = static_cast<int64_t>(times.size());
  at::Tensor result = at::empty({batch, count_of_times, stored, stored}, vorticity.options());
  T* to = result.mutable_data_ptr<T>();
  const kernels::LinePlan<T> line(reduction == Reduction::truncate ? stored : problem_.n);
  const int64_t frame = stored * stored;
  for_groups(vorticity, [&](VorticityGroup<T>& group, int64_t first) {
    if (problem_.options.cfl > 0) group.measure_speed();
    double now = 0;
    for (int64_t i = 0; i < count_of_times; ++i) {
      const double next = times[static_cast<size_t>(i)];
      group.advance(now, next, problem_.options.dt);
      now = next;
      group.record(now, line, reduction, stored, to + (first * count_of_times + i) * frame, count_of_times * frame);
    }
  });
  return result;
}

template <class T>
at::Tensor Solver<T>::tendency(const at::Tensor& vorticity, int64_t repeats) const {
  at::Tensor result = at::empty_like(vorticity);
  T* to = result.mutable_data_ptr<T>();
  for_groups(vorticity, [&](VorticityGroup<T>& group, int64_t first) {
    group.tendency(repeats, to + first * problem_.n * problem_.n);
  });
  return result;
}

NavierStokesOptions resolved(NavierStokesOptions o) {
  check<ConfigError>(o.size >= 4 && o.size % 2 == 0, [&] {
    return fmt::format("Navier–Stokes: size {} of the grid; expected an even number, 4 or more", o.size);
  });
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
