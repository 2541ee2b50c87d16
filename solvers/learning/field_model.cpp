#include "monarch/solvers/learning/field_model.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::solvers {
namespace {

constexpr const char* kFormat = "field_format";

std::string text_of(at::IntArrayRef sizes) {
  return shape_text({sizes.data(), sizes.size()});
}

}  // namespace

FieldShape FieldFormat::network_shape(const TaskOptions& task) const {
  FieldShape shape{input_frames * input_channels, target_channels, grid};
  if (task.kind == TaskKind::space_time)
    shape.grid.insert(task.time_last ? shape.grid.end() : shape.grid.begin(), target_frames);
  return shape;
}

FieldModel::FieldModel(NeuralSolverPtr network, TaskOptions task, FieldFormat format, Normaliser input,
                       Normaliser target)
    : network_(std::move(network)),
      task_(std::move(task)),
      format_(std::move(format)),
      input_(std::move(input)),
      target_(std::move(target)) {
  check<ConfigError>(
      task_.kind != TaskKind::rollout || format_.input_channels == format_.target_channels,
      [&] {
        return fmt::format("a rollout predicts what it is given: {} channels are given, {} predicted",
                           format_.input_channels, format_.target_channels);
      },
      "task.kind = \"map\" or \"space-time\" takes two different fields");
}

at::Tensor FieldModel::run(const at::Tensor& input, int64_t steps) const {
  const at::Tensor x = input_here_.encode(input).flatten(1, 2);
  if (task_.kind != TaskKind::space_time) {
    at::Tensor y = network_->forward(x).unsqueeze(1);
    if (y.scalar_type() != input.scalar_type()) y = y.to(input.scalar_type());  // from a lower precision
    return target_here_.decode(y);
  }
  // The input repeated along time, which is an axis of the network's grid.
  const int64_t axis = task_.time_last ? x.dim() : 2;
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes.insert(sizes.begin() + axis, steps);
  at::Tensor y = network_->forward(x.unsqueeze(axis).expand(sizes).contiguous()).movedim(axis, 1);
  if (y.scalar_type() != input.scalar_type()) y = y.to(input.scalar_type());
  return target_here_.decode(y);
}

at::Tensor FieldModel::step(const at::Tensor& window) const {
  const auto like = [&](const Normaliser& n, Normaliser& here) {
    if (n.active() &&
        (!here.active() || here.mean.device() != window.device() || here.mean.scalar_type() != window.scalar_type()))
      here = n.like(window);
  };
  like(input_, input_here_);
  like(target_, target_here_);
  const at::Tensor frames = window.unflatten(1, at::IntArrayRef{format_.input_frames, format_.input_channels});
  return run(frames, 1).select(1, 0);
}

at::Tensor FieldModel::predict(const at::Tensor& input, int64_t steps) const {
  const auto axes = static_cast<int64_t>(format_.grid.size());
  check<ShapeError>(
      input.dim() == 3 + axes && input.size(1) == format_.input_frames && input.size(2) == format_.input_channels, [&] {
        return fmt::format("the model takes [sample, {} frames, {} channels, {} axes of grid], the input is {}",
                           format_.input_frames, format_.input_channels, axes, text_of(input.sizes()));
      });
  input_.check_grid(input, "input");
  target_.check_grid(input.slice(1, 0, 1).slice(2, 0, 1), "target");
  input_here_ = input_.like(input);
  target_here_ = target_.like(input);
  if (task_.kind == TaskKind::rollout)
    return roll_out([this](const at::Tensor& window) { return step(window); }, input, steps);
  check<ConfigError>(steps == format_.target_frames, [&] {
    return fmt::format("this model predicts {} frames at once, {} are asked for", format_.target_frames, steps);
  });
  return run(input, steps);
}

std::map<std::string, at::Tensor> FieldModel::constants() const {
  std::map<std::string, at::Tensor> tensors;
  input_.store(tensors, "input");
  target_.store(tensors, "target");
  std::vector<int64_t> numbers{format_.input_frames, format_.input_channels, format_.target_frames,
                               format_.target_channels};
  numbers.insert(numbers.end(), format_.grid.begin(), format_.grid.end());
  tensors[kFormat] = at::tensor(numbers, at::kLong);
  // Names of fields as bytes: input, 0, target.
  const std::string names = format_.input + '\0' + format_.target;
  tensors["field_names"] = at::tensor(std::vector<int64_t>(names.begin(), names.end()), at::kLong);
  return tensors;
}

FieldModel FieldModel::restore(const training::TrainingCheckpoint& checkpoint, const std::string& origin) {
  std::map<std::string, at::Tensor> constants(checkpoint.constants.begin(), checkpoint.constants.end());
  const auto numbers = constants.find(kFormat), names = constants.find("field_names");
  check<DataError>(
      checkpoint.state.contains("config") && checkpoint.state["config"].is_string() && numbers != constants.end() &&
          names != constants.end() && numbers->second.dim() == 1 && numbers->second.numel() >= 5 &&
          numbers->second.numel() <= 7 && numbers->second.scalar_type() == at::kLong &&
          names->second.scalar_type() == at::kLong,
      [&] { return origin + ": no checkpoint of a PDE model (no config, or no field_format)"; },
      "give a folder that `monarch train` wrote");
  const at::Tensor n = numbers->second.contiguous();
  const auto* value = n.data_ptr<int64_t>();
  for (int64_t i = 0; i < n.numel(); ++i)
    check<DataError>(value[i] >= 1 && value[i] < (int64_t{1} << 31),
                     [&] { return fmt::format("{}: field_format holds {}", origin, value[i]); });
  FieldFormat format{value[0], value[1], value[2], value[3], {value + 4, value + n.numel()}, {}, {}};
  const at::Tensor letters = names->second.contiguous();
  std::string text;
  for (int64_t i = 0; i < letters.numel(); ++i) text += static_cast<char>(letters.data_ptr<int64_t>()[i]);
  const size_t middle = text.find('\0');
  format.input = text.substr(0, middle);
  format.target = middle == std::string::npos ? format.input : text.substr(middle + 1);

  const Config config = Config::parse(checkpoint.state["config"].get<std::string>(), origin + ": config");
  const TaskOptions task = TaskOptions::from_config(config);
  NeuralSolverPtr network = make_neural_solver(config, format.network_shape(task));
  if (config.text("training.precision", "float32") == "float64") network->to(at::kDouble);
  training::load_model(*network, checkpoint, origin);
  network->eval();
  return {std::move(network), task, std::move(format), Normaliser::restore(constants, "input"),
          Normaliser::restore(constants, "target")};
}

}  // namespace monarch::solvers
