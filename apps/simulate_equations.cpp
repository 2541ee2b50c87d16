// monarch simulate burgers | darcy | advection | kuramoto-sivashinsky | diffusion-reaction.

#include <fmt/format.h>

#include <optional>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/solvers/numerical/advection.hpp"
#include "monarch/solvers/numerical/burgers.hpp"
#include "monarch/solvers/numerical/darcy.hpp"
#include "monarch/solvers/numerical/diffusion_reaction.hpp"
#include "monarch/solvers/numerical/kuramoto_sivashinsky.hpp"
#include "simulate.hpp"

namespace monarch::apps {
namespace {

/// The value of an option that was given replaces the one of the named set.
template <class T>
void take(const std::optional<T>& given, T& value) {
  if (given) value = *given;
}

/// "the initial field N(0, scale² (−Δ + tau²)^−alpha)".
struct LawArguments {
  std::optional<double> alpha, tau, scale;

  void add(CLI::App& command, bool scaled) {
    command.add_option("--alpha", alpha, "Random field: power of the covariance (-Laplace + tau^2)^(-alpha)")
        ->check(CLI::PositiveNumber);
    command.add_option("--tau", tau, "Random field: inverse length")->check(CLI::PositiveNumber);
    if (scaled) {
      command.add_option("--scale", scale, "Random field: the covariance has the factor scale^2")
          ->check(CLI::PositiveNumber);
    }
  }
  void apply(solvers::RandomFieldLaw& law) const {
    take(alpha, law.alpha);
    take(tau, law.tau);
    take(scale, law.scale);
  }
};

void add_burgers(CLI::App& simulate) {
  struct Arguments {
    std::string set = "r10";
    std::optional<std::string> layout;
    std::optional<double> viscosity, final_time, step;
    std::optional<int64_t> points, grid, times;
    LawArguments law;
  };
  auto a = std::make_shared<Arguments>();
  CLI::App* command = simulate.add_subcommand("burgers", "Burgers' equation in one dimension, periodic");
  command
      ->add_option(
          "--set", a->set,
          "Published data whose values are taken where no option names another: r10 (default: nu 0.1, 8192 "
          "points, final state), v1000 (nu 1e-3, 1024 points, 200 moments) or space-time (neuraloperator's: nu "
          "0.01, x [16], y [17, 16])")
      ->check(CLI::IsMember({"r10", "v1000", "space-time"}));
  command->add_option("--viscosity", a->viscosity, "nu")->check(CLI::PositiveNumber);
  command->add_option("--points", a->points, "Points as stored")->check(CLI::PositiveNumber);
  command
      ->add_option("--grid", a->grid, "Points of the solver, a multiple of --points (default: the set's or --points)")
      ->check(CLI::PositiveNumber);
  command->add_option("--final-time", a->final_time, "Last moment")->check(CLI::PositiveNumber);
  command->add_option("--times", a->times, "Recorded moments, evenly spaced (layout final: 1)")
      ->check(CLI::PositiveNumber);
  command->add_option("--step", a->step, "Longest time step (default: from each initial state)")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--layout", a->layout,
                   "final: a [s], u [s]; trajectory: a [s], u [s, T]; space-time: x [s], y [T + 1, s] (default: the "
                   "set's; trajectory where --times is given)")
      ->check(CLI::IsMember({"final", "trajectory", "space-time"}));
  a->law.add(*command, true);
  add_simulation(*command, [a](const SimulateOptions&) {
    using solvers::BurgersLayout;
    auto o = solvers::burgers_set(a->set);
    take(a->viscosity, o.viscosity);
    take(a->points, o.points);
    if (a->points) o.grid = std::max(*a->points, o.grid / *a->points * *a->points);
    take(a->grid, o.grid);
    take(a->final_time, o.final_time);
    if (a->times && *a->times > 1 && o.layout == BurgersLayout::final) o.layout = BurgersLayout::trajectory;
    take(a->times, o.times);
    if (a->layout) {
      o.layout = *a->layout == "final"        ? BurgersLayout::final
                 : *a->layout == "trajectory" ? BurgersLayout::trajectory
                                              : BurgersLayout::space_time;
      if (o.layout == BurgersLayout::final && !a->times) o.times = 1;
    }
    take(a->step, o.step);
    a->law.apply(o.initial);
    return std::make_shared<solvers::BurgersSimulation>(o);
  });
}

void add_darcy(CLI::App& simulate) {
  struct Arguments {
    std::string set = "paper", faces = "arithmetic";
    std::optional<double> upper, lower, amplitude, source;
    std::optional<int64_t> points;
    LawArguments law;
  };
  auto a = std::make_shared<Arguments>();
  CLI::App* command = simulate.add_subcommand("darcy", "Darcy flow through a random medium in two dimensions");
  command
      ->add_option("--set", a->set,
                   "Coefficient: paper (default: 12 and 3), script (12 and 4, the published script's) or lognormal")
      ->check(CLI::IsMember({"paper", "script", "lognormal"}));
  command->add_option("--points", a->points, "Cells an axis (default 421)")->check(CLI::PositiveNumber);
  command->add_option("--upper", a->upper, "Coefficient where the random field is not negative")
      ->check(CLI::PositiveNumber);
  command->add_option("--lower", a->lower, "Coefficient elsewhere")->check(CLI::PositiveNumber);
  command->add_option("--amplitude", a->amplitude, "lognormal: a = exp(amplitude w) (default 1)")
      ->check(CLI::PositiveNumber);
  command->add_option("--source", a->source, "Right-hand side, a constant (default 1)");
  command->add_option("--faces", a->faces, "Coefficient between cells: arithmetic (default, as published) or harmonic")
      ->check(CLI::IsMember({"arithmetic", "harmonic"}));
  a->law.add(*command, false);
  add_simulation(*command, [a](const SimulateOptions&) {
    auto o = solvers::darcy_set(a->set);
    check<ConfigError>(o.lognormal || !a->amplitude, "--amplitude belongs to --set lognormal");
    check<ConfigError>(!o.lognormal || !(a->upper || a->lower),
                       "--upper and --lower belong to the sets paper and script");
    take(a->points, o.points);
    take(a->upper, o.upper);
    take(a->lower, o.lower);
    take(a->amplitude, o.amplitude);
    take(a->source, o.source);
    take(a->law.alpha, o.field.alpha);
    take(a->law.tau, o.field.tau);
    o.mean = a->faces == "harmonic" ? solvers::FaceMean::harmonic : solvers::FaceMean::arithmetic;
    return std::make_shared<solvers::DarcySimulation>(o);
  });
}

void add_advection(CLI::App& simulate) {
  struct Arguments {
    solvers::AdvectionOptions options;
    std::optional<int64_t> times;
    LawArguments law;
  };
  auto a = std::make_shared<Arguments>();
  auto& o = a->options;
  CLI::App* command = simulate.add_subcommand("advection", "Linear advection in one dimension, periodic, exact");
  command->add_option("--speed", o.speed, fmt::format("beta of u_t + beta u_x = 0 (default {})", o.speed));
  command->add_option("--points", o.points, fmt::format("Points (default {})", o.points))->check(CLI::PositiveNumber);
  command->add_option("--final-time", o.final_time, fmt::format("Last moment (default {})", o.final_time))
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--times", a->times, "Recorded moments, evenly spaced: u [s, T] (default: the final state, u [s])")
      ->check(CLI::PositiveNumber);
  a->law.add(*command, true);
  add_simulation(*command, [a](const SimulateOptions&) {
    auto chosen = a->options;
    chosen.trajectory = a->times.has_value();
    take(a->times, chosen.times);
    a->law.apply(chosen.initial);
    return std::make_shared<solvers::AdvectionSimulation>(chosen);
  });
}

void add_kuramoto_sivashinsky(CLI::App& simulate) {
  struct Arguments {
    solvers::KuramotoSivashinskyOptions options;
    std::optional<int64_t> grid;
  };
  auto a = std::make_shared<Arguments>();
  auto& o = a->options;
  CLI::App* command = simulate.add_subcommand("kuramoto-sivashinsky", "Chaos in one dimension, periodic");
  const auto positive = [&](const char* name, double& value, const char* text) {
    command->add_option(name, value, fmt::format("{} (default {:.6g})", text, value))->check(CLI::PositiveNumber);
  };
  positive("--length", o.length, "Period");
  command->add_option("--advection", o.advection,
                      "alpha of u_t + alpha (u^2/2)_x + beta u_xx + gamma u_xxxx = 0 (default 1)");
  positive("--instability", o.instability, "beta");
  positive("--damping", o.damping, "gamma");
  positive("--deviation", o.deviation, "Standard deviation of the initial random field");
  command->add_option("--burn-in", o.burn_in, fmt::format("Time before the first state (default {})", o.burn_in))
      ->check(CLI::NonNegativeNumber);
  positive("--final-time", o.final_time, "Last moment, counted from the burn-in");
  command->add_option("--times", o.times, fmt::format("Recorded moments, evenly spaced (default {})", o.times))
      ->check(CLI::PositiveNumber);
  command->add_option("--points", o.points, fmt::format("Points as stored (default {})", o.points))
      ->check(CLI::PositiveNumber);
  command->add_option("--grid", a->grid, "Points of the solver, a multiple of --points (default: --points)")
      ->check(CLI::PositiveNumber);
  command->add_option("--step", o.step, "Longest time step (default: from the equation)")->check(CLI::PositiveNumber);
  add_simulation(*command, [a](const SimulateOptions&) {
    auto chosen = a->options;
    chosen.grid = a->grid.value_or(chosen.points);
    return std::make_shared<solvers::KuramotoSivashinskySimulation>(chosen);
  });
}

void add_diffusion_reaction(CLI::App& simulate) {
  auto o = std::make_shared<solvers::DiffusionReactionOptions>();
  auto layout = std::make_shared<std::string>("fields");
  CLI::App* command =
      simulate.add_subcommand("diffusion-reaction", "FitzHugh-Nagumo equations in two dimensions, as in PDEBench");
  const auto positive = [&](const char* name, double& value, const char* text) {
    command->add_option(name, value, fmt::format("{} (default {})", text, value))->check(CLI::PositiveNumber);
  };
  positive("--diffusion-u", o->equation.diffusion_u, "Du of u_t = Du Laplace u + u - u^3 - k - v");
  positive("--diffusion-v", o->equation.diffusion_v, "Dv of v_t = Dv Laplace v + u - v");
  command->add_option("--k", o->equation.k, fmt::format("k (default {})", o->equation.k));
  positive("--length", o->equation.length, "Side of the square");
  positive("--noise", o->noise, "Standard deviation of the initial values");
  command->add_option("--points", o->points, fmt::format("Cells an axis (default {})", o->points))
      ->check(CLI::PositiveNumber);
  positive("--final-time", o->final_time, "Last moment");
  command
      ->add_option("--times", o->times, fmt::format("Recorded moments behind the initial one (default {})", o->times))
      ->check(CLI::PositiveNumber);
  positive("--step", o->step, "Longest time step");
  command
      ->add_option("--layout", *layout,
                   "fields (default): u and v [s, s, T + 1]; channels: data [T + 1, s, s, 2], PDEBench's order of axes")
      ->check(CLI::IsMember({"fields", "channels"}));
  add_simulation(*command, [o, layout](const SimulateOptions&) {
    auto chosen = *o;
    chosen.channels = *layout == "channels";
    return std::make_shared<solvers::DiffusionReactionSimulation>(chosen);
  });
}

}  // namespace

void add_simulate_equations(CLI::App& simulate) {
  add_burgers(simulate);
  add_darcy(simulate);
  add_advection(simulate);
  add_kuramoto_sivashinsky(simulate);
  add_diffusion_reaction(simulate);
}

}  // namespace monarch::apps
