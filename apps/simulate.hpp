#pragma once
// What the equations of `monarch simulate EQUATION` share: options, the loop that streams samples into a file, the
// summary. An equation adds itself with
//
//   auto options = std::make_shared<solvers::BurgersOptions>();
//   CLI::App* command = simulate.add_subcommand("burgers", "Burgers' equation in one dimension");
//   command->add_option("--viscosity", options->viscosity, "...")->check(CLI::PositiveNumber);
//   add_simulation(*command, [options](const SimulateOptions& shared) {
//     return std::make_shared<solvers::BurgersSimulation>(*options);
//   });

#include <ATen/core/Tensor.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "monarch/solvers/numerical/simulation.hpp"

namespace monarch::apps {

/// Options that every equation has.
struct SimulateOptions {
  int64_t samples = 1;
  uint64_t seed = 0;
  std::string output;             ///< the data file
  std::string format;             ///< "mat5", "mat73" or "pdebench"; "": by the output's extension and size
  std::string dtype = "float32";  ///< as stored: "float32" or "float64"
  std::string picture;            ///< PNG of the first sample's fields; "": none
  bool restart = false;           ///< begin anew where an unfinished file is
  bool json = false;              ///< the summary as JSON on stdout
};

/// Called after the command line is parsed. Throws ConfigError for options that make no sense together.
using MakeSimulation = std::function<std::shared_ptr<const solvers::Simulation>(const SimulateOptions&)>;

/// Adds the shared options to an equation's command, and the run as its callback.
void add_simulation(CLI::App& command, MakeSimulation make);

// One function for each file that has equations; called by add_simulate().
void add_simulate_navier_stokes(CLI::App& simulate);
void add_simulate_equations(CLI::App& simulate);
void add_simulate_mri(CLI::App& simulate);  ///< no equation: scans

/// The fields of one sample, a row of panels [y, x, 3] for each variable: [s, s, T] as up to six moments, [s, s] as
/// one, [s, T] with time to the right, [s] as a band. values: [1, shape…] each, as Simulation::samples gives.
at::Tensor sample_picture(const solvers::Simulation& simulation, const std::vector<at::Tensor>& values);

}  // namespace monarch::apps
