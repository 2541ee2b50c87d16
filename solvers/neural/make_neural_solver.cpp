#include <fmt/format.h>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/solvers/neural/convolutional.hpp"
#include "monarch/solvers/neural/ffno.hpp"
#include "monarch/solvers/neural/fno.hpp"
#include "monarch/solvers/neural/neural_solver.hpp"

namespace monarch::solvers {
namespace {

using Maker = NeuralSolverPtr (*)(const Config&, const FieldShape&);

const std::vector<std::pair<std::string, Maker>>& makers() {
  static const std::vector<std::pair<std::string, Maker>> all{
      {"fno", [](const Config& c, const FieldShape& s) { return make_fno(c, s, TransformKind::fourier); }},
      {"monarch-no", [](const Config& c, const FieldShape& s) { return make_fno(c, s, TransformKind::monarch); }},
      {"f-fno", make_ffno},
      {"u-net", make_unet},
      {"tf-net", make_tfnet},
      {"resnet", make_resnet},
      {"persistence", make_persistence},
      {"mean", make_mean},
  };
  return all;
}

}  // namespace

std::vector<std::string> neural_solver_names() {
  std::vector<std::string> names;
  for (const auto& [name, maker] : makers()) names.push_back(name);
  return names;
}

NeuralSolverPtr make_neural_solver(const Config& config, const FieldShape& shape) {
  check<ShapeError>(shape.in_channels >= 1 && shape.out_channels >= 1, [&] {
    return fmt::format("a model of {} channels in and {} out", shape.in_channels, shape.out_channels);
  });
  check<ShapeError>(!shape.grid.empty() && shape.grid.size() <= 3 &&
                        std::all_of(shape.grid.begin(), shape.grid.end(), [](int64_t n) { return n >= 1; }),
                    [&] { return fmt::format("a model on a grid of {}: 1 to 3 axes", shape_text(shape.grid)); });
  const std::string name = config.text("model.name");
  for (const auto& [known, make] : makers())
    if (known == name) return make(config, shape);
  const std::string near = closest_match(name, neural_solver_names());
  fail<ConfigError>(fmt::format("{}: model.name = \"{}\" is unknown{}", config.name(), name,
                                near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near)),
                    join_or(neural_solver_names()));
}

}  // namespace monarch::solvers
