// monarch simulate navier-stokes

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/npy.hpp"
#include "monarch/solvers/numerical/navier_stokes_simulation.hpp"
#include "simulate.hpp"

namespace monarch::apps {
namespace {

struct Arguments {
  solvers::NavierStokesSimulationOptions options;
  std::string integrator = "cn-rk4", dealiasing, reduction = "subsample", precision = "float32", initial;
};

std::shared_ptr<const solvers::Simulation> make(const Arguments& a, const SimulateOptions& shared) {
  auto options = a.options;
  options.integrator = solvers::integrator_from_text(a.integrator);
  if (!a.dealiasing.empty()) {
    options.dealiasing = a.dealiasing == "products" ? solvers::Dealiasing::products : solvers::Dealiasing::result;
  }
  options.reduction = a.reduction == "truncate" ? solvers::Reduction::truncate : solvers::Reduction::subsample;
  options.precision = a.precision == "float64" ? at::kDouble : at::kFloat;
  if (!a.initial.empty()) {
    options.initial = data::load_npy(a.initial);
    const auto type = options.initial.scalar_type();
    const auto sizes = options.initial.sizes();
    check<DataError>(sizes.size() == 3 && sizes[1] == sizes[2] && (type == at::kFloat || type == at::kDouble), [&] {
      return fmt::format("{}: {} array of shape {}; expected float32 or float64 [samples, n, n]", a.initial,
                         options.initial.dtype().name(), shape_text(sizes));
    });
    check<DataError>(shared.samples <= sizes[0], [&] {
      return fmt::format("{}: holds {} fields; {} samples were asked for", a.initial, sizes[0], shared.samples);
    });
    check<DataError>(at::isfinite(options.initial).all().item<bool>(),
                     [&] { return fmt::format("{}: holds values that are not finite", a.initial); });
  }
  return std::make_shared<solvers::NavierStokesSimulation>(options);
}

}  // namespace

void add_simulate_navier_stokes(CLI::App& simulate) {
  auto arguments = std::make_shared<Arguments>();
  auto& o = arguments->options;
  CLI::App* command = simulate.add_subcommand(
      "navier-stokes", "2-D incompressible flow in vorticity form on the torus: a (initial), u (time last) and t");
  command->add_option("--viscosity", o.viscosity, "Viscosity (default 1e-3)")->check(CLI::PositiveNumber);
  command->add_option("--duration", o.duration, "Time T (default 50)")->check(CLI::PositiveNumber);
  command->add_option("--interval", o.interval, "Time between records (default 1)")->check(CLI::PositiveNumber);
  command
      ->add_option("--grid", o.grid,
                   "Points of the solver along each axis, even (default 64; 256 where the viscosity is below 1e-3)")
      ->check(CLI::PositiveNumber);
  command->add_option("--stored", o.stored, "Points of the stored fields along each axis (default 64)")
      ->check(CLI::PositiveNumber);
  command->add_option("--reduce", arguments->reduction, "subsample (default, as published) or truncate the spectrum")
      ->check(CLI::IsMember({"subsample", "truncate"}));
  command
      ->add_option("--integrator", arguments->integrator, "cn-rk4 (default), etdrk4, or euler-cn (the published one)")
      ->check(CLI::IsMember({"cn-rk4", "etdrk4", "euler-cn"}));
  command
      ->add_option("--dealias", arguments->dealiasing,
                   "products (default) or result (as published; the default of euler-cn)")
      ->check(CLI::IsMember({"products", "result"}));
  command->add_option("--dt", o.dt, "Largest time step (default 0.04 at 64 points, 0.01 at 256; euler-cn 1e-4)")
      ->check(CLI::PositiveNumber);
  command->add_option("--cfl", o.cfl, "Split steps beyond this Courant number (default 1; 0: never)")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--amplitude", o.amplitude, "Initial random field: 2020 (default), 2022 or paper")
      ->check(CLI::IsMember({"2020", "2022", "paper"}));
  command->add_option("--initial", arguments->initial, "Initial vorticity from a .npy file [samples, n, n] instead")
      ->check(CLI::ExistingFile);
  command->add_option("--forcing", o.forcing, "published (default), kolmogorov or none")
      ->check(CLI::IsMember({"published", "kolmogorov", "none"}));
  command->add_option("--forcing-amplitude", o.forcing_amplitude, "Default 0.1 (published), 1 (kolmogorov)")
      ->check(CLI::PositiveNumber);
  command->add_option("--forcing-wavenumber", o.forcing_wavenumber, "Of kolmogorov (default 4)")
      ->check(CLI::PositiveNumber);
  command->add_flag("--decaying-mean", o.decaying_mean, "Let the mean vorticity decay, as the published script does");
  command->add_option("--precision", arguments->precision, "Of the computation: float32 (default) or float64")
      ->check(CLI::IsMember({"float32", "float64"}));
  add_simulation(*command, [arguments](const SimulateOptions& shared) { return make(*arguments, shared); });
}

}  // namespace monarch::apps
