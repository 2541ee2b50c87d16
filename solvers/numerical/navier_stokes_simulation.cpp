#include "monarch/solvers/numerical/navier_stokes_simulation.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::solvers {
namespace {

const std::vector<std::string> forcings = {"published", "none", "kolmogorov"};

}  // namespace

NavierStokesSimulation::NavierStokesSimulation(const NavierStokesSimulationOptions& options)
    : options_(options), law_(navier_stokes_law(options.amplitude)) {
  NavierStokesSimulationOptions& o = options_;
  check<ConfigError>(o.viscosity > 0 && std::isfinite(o.viscosity), [&] {
    return fmt::format("Navier–Stokes: viscosity {}; expected a positive number", o.viscosity);
  });
  if (o.initial.defined()) {
    check<ShapeError>(o.initial.dim() == 3 && o.initial.size(1) == o.initial.size(2), [&] {
      return fmt::format("Navier–Stokes: initial vorticity of shape {}; expected [samples, n, n]",
                         shape_text(o.initial.sizes()));
    });
    check<ConfigError>(o.grid == 0 || o.grid == o.initial.size(1), [&] {
      return fmt::format("Navier–Stokes: a grid of {} points and initial vorticity of {}", o.grid, o.initial.size(1));
    });
    check<ConfigError>(at::isfinite(o.initial).all().item<bool>(),
                       "Navier–Stokes: the initial vorticity is not finite");
    o.grid = o.initial.size(1);
  }
  if (o.grid == 0) o.grid = std::max<int64_t>(o.stored, o.viscosity >= 1e-3 ? 64 : 256);
  check<ConfigError>(o.duration > 0 && o.interval > 0 && std::isfinite(o.duration) && std::isfinite(o.interval), [&] {
    return fmt::format("Navier–Stokes: duration {} and record interval {}; expected positive numbers", o.duration,
                       o.interval);
  });
  const double count = std::round(o.duration / o.interval);
  check<ConfigError>(count >= 1 && count <= 1e6 && std::abs(o.duration / o.interval - count) <= 1e-9 * count, [&] {
    return fmt::format("Navier–Stokes: the record interval {} does not divide the duration {}", o.interval, o.duration);
  });
  for (int64_t i = 1; i <= static_cast<int64_t>(count); ++i) times_.push_back(o.interval * static_cast<double>(i));

  NavierStokesOptions solver;
  solver.viscosity = o.viscosity;
  solver.size = o.grid;
  solver.integrator = o.integrator;
  solver.dealiasing = o.dealiasing;
  solver.dt = o.dt;
  solver.cfl = o.cfl;
  solver.decaying_mean = o.decaying_mean;
  solver.precision = o.precision;
  if (o.forcing == "published") {
    if (o.forcing_amplitude == 0) o.forcing_amplitude = 0.1;
    solver.forcing = published_forcing(o.grid, o.forcing_amplitude);
  } else if (o.forcing == "kolmogorov") {
    if (o.forcing_amplitude == 0) o.forcing_amplitude = 1;
    check<ConfigError>(o.forcing_wavenumber >= 1 && 3 * o.forcing_wavenumber < o.grid, [&] {
      return fmt::format("Navier–Stokes: Kolmogorov forcing of wavenumber {}; a grid of {} points resolves 1 to {}",
                         o.forcing_wavenumber, o.grid, (o.grid - 1) / 3);
    });
    solver.forcing = kolmogorov_forcing(o.grid, o.forcing_amplitude, o.forcing_wavenumber);
  } else if (o.forcing != "none") {
    const std::string near = closest_match(o.forcing, forcings);
    fail<ConfigError>(fmt::format("forcing '{}' is none of {}", o.forcing, join_or(forcings)),
                      near.empty() ? "" : fmt::format("did you mean {}?", near));
  }
  solver_ = std::make_unique<const NavierStokes>(solver);
  options_.dt = solver_->dt();
  check<ConfigError>(
      o.stored >= 1 && o.stored <= o.grid && (o.reduction == Reduction::truncate || o.grid % o.stored == 0),
      [&] {
        return fmt::format("Navier–Stokes: a solver grid of {} points cannot be stored as {}{}", o.grid, o.stored,
                           o.stored >= 1 && o.stored <= o.grid ? ", which does not divide it" : "");
      },
      "sub-sampling takes every n-th point; --reduce truncate stores any smaller size");
}

std::string NavierStokesSimulation::describe() const {
  const auto& o = options_;
  const std::string forcing =
      o.forcing == "none" ? "no forcing"
      : o.forcing == "published"
          ? fmt::format("forcing {} (sin 2π(x+y) + cos 2π(x+y))", o.forcing_amplitude)
          : fmt::format("Kolmogorov forcing {} sin 2π{}y", o.forcing_amplitude, o.forcing_wavenumber);
  const std::string initial = o.initial.defined() ? "initial vorticity given"
                                                  : fmt::format("random field '{}' of standard deviation {:.4f}",
                                                                o.amplitude, standard_deviation(law_, 2, o.grid));
  const std::string reduction = o.stored == o.grid                    ? ""
                                : o.reduction == Reduction::subsample ? fmt::format(" sub-sampled to {}²", o.stored)
                                                                      : fmt::format(" truncated to {}²", o.stored);
  const bool published = solver_->options().dealiasing == Dealiasing::result;
  return fmt::format(
      "2-D Navier–Stokes, vorticity, ν = {}, {}, {}; {} with dt = {} (CFL {}), 2/3 dealiasing of {}, {}² points{}, "
      "{}{}",
      o.viscosity, forcing, initial, integrator_text(o.integrator), o.dt,
      o.cfl > 0 ? fmt::format("at most {}", o.cfl) : "not checked", published ? "the result" : "the products", o.grid,
      reduction, o.precision == at::kFloat ? "float32" : "float64", o.decaying_mean ? ", decaying mean" : "");
}

std::vector<SampleVariable> NavierStokesSimulation::variables() const {
  const int64_t s = options_.stored;
  return {{"a", {s, s}}, {"u", {s, s, static_cast<int64_t>(times_.size())}}};
}

std::map<std::string, at::Tensor> NavierStokesSimulation::constants() const {
  return {{"t", at::tensor(times_, at::kDouble).unsqueeze(0)}};
}

std::map<std::string, double> NavierStokesSimulation::parameters() const {
  std::map<std::string, double> result = {{"viscosity", options_.viscosity},
                                          {"grid", static_cast<double>(options_.grid)},
                                          {"duration", options_.duration},
                                          {"interval", options_.interval},
                                          {"dt", options_.dt},
                                          {"cfl", options_.cfl}};
  result["initial_standard_deviation"] = options_.initial.defined()
                                             ? options_.initial.to(at::kDouble).square().mean().sqrt().item<double>()
                                             : standard_deviation(law_, 2, options_.grid);
  if (options_.forcing != "none") result["forcing_amplitude"] = options_.forcing_amplitude;
  return result;
}

std::vector<at::Tensor> NavierStokesSimulation::samples(uint64_t seed, int64_t first, int64_t count) const {
  const auto& o = options_;
  at::Tensor w0;
  if (o.initial.defined()) {
    check<ConfigError>(first >= 0 && count >= 0 && first + count <= o.initial.size(0), [&] {
      return fmt::format("Navier–Stokes: {} samples asked for; {} initial fields given", first + count,
                         o.initial.size(0));
    });
    w0 = o.initial.narrow(0, first, count);
  } else {
    w0 = gaussian_random_field(law_, 2, o.grid, seed, first, count);
  }
  w0 = w0.to(o.precision).contiguous();
  const at::Tensor u = solver_->solve(w0, times_, o.stored, o.reduction);
  return {reduce_field(w0, o.stored, o.reduction), u.permute({0, 2, 3, 1}).contiguous()};
}

}  // namespace monarch::solvers
