#include "monarch/mri/learning/reconstruction_task.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/field_picture.hpp"
#include "monarch/data/png.hpp"
#include "monarch/mri/metrics.hpp"
#include "monarch/training/evaluation_mode.hpp"

namespace monarch::mri {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kMaskVariety = 64;      // masks of each acceleration in training
constexpr int64_t kCandidateSlices = 16;  // on which a setting is chosen
constexpr int64_t kProbabilityMasks = 200;
constexpr double kErrorGain = 5;  // in pictures

/// The numbers of one volume that reports and selection use.
training::Metrics volume_metrics(const at::Tensor& image, const at::Tensor& target) {
  const MetricSet complex = meddlr_metrics(image, target), magnitude = fastmri_metrics(image.abs(), target.abs());
  training::Metrics m;
  const auto add = [&m](const char* name, const MetricSet& set, const char* from) {
    for (const Metric& metric : set.metrics)
      if (metric.name == from) m.emplace_back(name, metric.value);
  };
  add("nrmse", complex, "nRMSE_scan");
  add("psnr", complex, "PSNR_scan");
  const double error = (image.abs() - target.abs()).to(at::kDouble).square().mean().sqrt().item<double>();
  m.emplace_back("psnr_mag", 20 * std::log10(target.abs().max().item<double>() / error));
  add("ssim", complex, "SSIM");
  add("psnr_slice", complex, "PSNR");
  add("nmse_fastmri", magnitude, "NMSE");
  add("psnr_fastmri", magnitude, "PSNR");
  add("ssim_fastmri", magnitude, "SSIM");
  return m;
}

/// Means over volumes, names in the order in which they first came.
class Means {
 public:
  void add(const std::string& name, double value) {
    for (auto& [known, sum, count] : sums_) {
      if (known != name) continue;
      sum += value;
      ++count;
      return;
    }
    sums_.emplace_back(name, value, 1);
  }
  training::Metrics result() const {
    training::Metrics m;
    for (const auto& [name, sum, count] : sums_) m.emplace_back(name, sum / static_cast<double>(count));
    return m;
  }

 private:
  std::vector<std::tuple<std::string, double, int64_t>> sums_;
};

std::vector<int64_t> every(int64_t size, int64_t most = 0) {
  std::vector<int64_t> all;
  const int64_t count = most > 0 ? std::min(size, most) : size;
  for (int64_t i = 0; i < count; ++i) all.push_back(i * size / count);
  return all;
}

}  // namespace

SliceSets SliceSets::open(const SliceOptions& options) {
  SliceSets sets;
  check<ConfigError>(!options.train.empty() && !options.test.empty(),
                     "data.train and data.test name the scans to train on and to test with");
  sets.train = std::make_shared<const SliceSet>(options.train, options, options.train_scans);
  if (!options.validation.empty()) sets.validation = std::make_shared<const SliceSet>(options.validation, options);
  sets.test = std::make_shared<const SliceSet>(options.test, options);
  return sets;
}

ReconstructionTask::ReconstructionTask(ReconstructionOptions task, SliceOptions options, SliceSets sets,
                                       const std::function<ReconstructionModelPtr(const SliceShape&)>& make_model,
                                       at::Device device)
    : task_(std::move(task)),
      options_(std::move(options)),
      sets_(std::move(sets)),
      device_(device),
      loss_(make_reconstruction_loss(task_.loss)) {
  const Slice first = sets_.train->read(0);
  SliceShape shape;
  shape.ny = first.kspace.size(1);
  shape.nx = first.kspace.size(2);
  shape.coils = first.kspace.size(0);
  shape.contrasts = std::max(sets_.train->contrasts(), sets_.test->contrasts());
  shape.sampling_probability = [this, first] { return sampling_probability(first); };
  model_ = make_model(shape);
  model_->to(device_);
  if (model_->candidates() > 1) choose_candidate();
}

std::vector<operators::ParameterGroup> ReconstructionTask::parameters() {
  return model_parameter_groups(*model_, task_.decay_transforms);
}

std::map<std::string, at::Tensor> ReconstructionTask::constants() const {
  const SliceShape& s = model_->shape();
  return {{"slice_shape", at::tensor(std::vector<int64_t>{s.ny, s.nx, s.coils, s.contrasts})}};
}

std::string ReconstructionTask::describe_samples(std::span<const int64_t> ids) const {
  std::vector<std::string> words;
  for (const int64_t id : ids) words.push_back(sets_.train->describe(id));
  return fmt::format("{}", fmt::join(words, ", "));
}

at::Tensor ReconstructionTask::mask_for(const Slice& slice, const SliceSet& set, int64_t index, double acceleration,
                                        const std::string& stream) const {
  const int64_t ny = slice.kspace.size(1), nx = slice.kspace.size(2);
  const MaskSettings& settings = options_.mask;
  const std::string key = settings.stored.empty()
                              ? fmt::format("{} {} {} {} {}", stream, acceleration, ny, nx, slice.phase_axis)
                              : slice.file;
  auto found = masks_.find(key);
  if (found != masks_.end()) return found->second;
  at::Tensor mask;
  if (!settings.stored.empty()) {
    mask = set.stored_mask(index, settings.stored);
    check<DataError>(mask.size(0) == ny && mask.size(1) == nx, [&] {
      return fmt::format("{}: the mask '{}' is {} × {}, the slices are {} × {}", slice.scan, settings.stored,
                         mask.size(0), mask.size(1), ny, nx);
    });
  } else if (acceleration <= 1) {
    mask = at::ones({ny, nx}, at::kBool);
  } else {
    MaskOptions o = settings.mask;
    o.acceleration = acceleration;
    mask = sampling_mask({ny, nx}, slice.phase_axis, o, settings.seed, stream);
  }
  return masks_.emplace(key, mask).first->second;
}

at::Tensor ReconstructionTask::sampling_probability(const Slice& first) const {
  at::Tensor sum = at::zeros({first.kspace.size(1), first.kspace.size(2)});
  const auto& accelerations = options_.mask.accelerations;
  for (int64_t i = 0; i < kProbabilityMasks; ++i) {
    const double r = accelerations[static_cast<size_t>(i) % accelerations.size()];
    sum += mask_for(first, *sets_.train, 0, r, fmt::format("probability {}", i)).to(at::kFloat);
  }
  return sum / kProbabilityMasks;
}

ReconstructionTask::Prepared ReconstructionTask::prepare(const std::vector<Slice>& slices,
                                                         const std::vector<at::Tensor>& masks) const {
  std::vector<at::Tensor> kspaces, undersampled, sampled, maps, targets;
  Prepared p;
  for (size_t i = 0; i < slices.size(); ++i) {
    const Slice& s = slices[i];
    check<ConfigError>(
        s.kspace.sizes() == slices[0].kspace.sizes(),
        [&] {
          return fmt::format("slices of different shapes in one batch: {} has {}, {} has {} [coil, y, x]",
                             slices[0].scan, shape_text(slices[0].kspace.sizes()), s.scan,
                             shape_text(s.kspace.sizes()));
        },
        "bring them to one size with data.crop and data.coils, or set training.batch = 1");
    const at::Tensor seen = masks[i] & s.acquired;
    const at::Tensor given = s.kspace * seen;
    const double scale = slice_scale(given, s.maps, options_.scale);
    p.scale.push_back(scale);
    kspaces.push_back(s.kspace / scale);
    undersampled.push_back(given / scale);
    sampled.push_back(seen);
    maps.push_back(s.maps);
    if (s.target.defined()) targets.push_back(s.target / scale);
    p.batch.contrast.push_back(s.contrast);
  }
  p.batch.kspace = at::stack(undersampled).to(device_);
  p.batch.mask = at::stack(sampled).to(device_);
  p.batch.maps = at::stack(maps).to(device_);
  p.kspace = at::stack(kspaces).to(device_);
  if (targets.size() == slices.size()) p.target = at::stack(targets).to(device_);
  return p;
}

/// Takes a random part of the samples of each slice out of the batch and returns where they were, [batch, y, x] bool.
at::Tensor ReconstructionTask::hold_out(SliceBatch& batch, uint64_t seed,
                                        const std::vector<std::string>& streams) const {
  std::vector<at::Tensor> parts;
  for (size_t i = 0; i < streams.size(); ++i) {
    Rng rng(seed, streams[i]);
    const at::Tensor sampled = batch.mask[static_cast<int64_t>(i)].cpu();
    at::Tensor part = at::zeros_like(sampled);
    const int64_t ny = sampled.size(0), nx = sampled.size(1), side = task_.ssdu_centre;
    const int64_t y0 = ny / 2 - side / 2, x0 = nx / 2 - side / 2;
    auto from = sampled.accessor<bool, 2>();
    auto to = part.accessor<bool, 2>();
    for (int64_t y = 0; y < ny; ++y) {
      for (int64_t x = 0; x < nx; ++x) {
        const bool centre = y >= y0 && y < y0 + side && x >= x0 && x < x0 + side;
        to[y][x] = from[y][x] && !centre && rng.uniform() < task_.ssdu_fraction;
      }
    }
    parts.push_back(part);
  }
  const at::Tensor held = at::stack(parts).to(device_);
  batch.mask = batch.mask & ~held;
  batch.kspace = batch.kspace * batch.mask.unsqueeze(1);
  return held;
}

double ReconstructionTask::accumulate_gradients(std::span<const int64_t> ids, double weight,
                                                const training::Step& step) {
  std::vector<Slice> slices;
  std::vector<at::Tensor> masks;
  for (const int64_t id : ids) {
    const Slice raw = sets_.train->read(id);
    Rng rng(step.seed, fmt::format("mask {} {}", step.epoch, id));
    const auto& accelerations = options_.mask.accelerations;
    const double r = accelerations[static_cast<size_t>(rng.below(static_cast<int64_t>(accelerations.size())))];
    masks.push_back(mask_for(raw, *sets_.train, id, r, fmt::format("training {}", rng.below(kMaskVariety))));
    slices.push_back(augmented(raw, options_.augment, step.seed, fmt::format("augment {} {}", step.epoch, id)));
  }
  Prepared p = prepare(slices, masks);
  at::Tensor held;
  if (task_.supervision == Supervision::ssdu) {
    std::vector<std::string> streams;
    for (const int64_t id : ids) streams.push_back(fmt::format("ssdu {} {}", step.epoch, id));
    held = hold_out(p.batch, step.seed, streams);
  } else {
    check<DataError>(
        p.target.defined(),
        [&] { return fmt::format("{}: not fully sampled, and without a target image", describe_samples(ids)); },
        "train with task.supervision = \"ssdu\", which needs none");
  }
  const at::AutoGradMode on(true);
  model_->check_fit(p.batch);
  const at::Tensor image = model_->forward(p.batch);
  const at::Tensor value =
      (held.defined() ? held_out_loss(image, p.kspace, p.batch.maps, held) : loss_(image, p.target, p.batch)).sum();
  if (value.requires_grad()) torch::autograd::backward({value}, {at::full_like(value, weight)});
  return value.item<double>();
}

training::Metrics ReconstructionTask::score(const SliceSet& set, const std::vector<int64_t>& indices,
                                            const Forward& forward, std::vector<Shown>* shown, double* milliseconds) {
  Means means;
  std::vector<double> times;
  const std::vector<double> one{options_.mask.accelerations.front()};
  const auto& accelerations = options_.mask.stored.empty() ? options_.mask.accelerations : one;
  for (const double r : accelerations) {
    if (const auto chosen = choices_.find(r); choices_.size() == accelerations.size() && chosen != choices_.end())
      model_->choose(chosen->second);
    struct Volume {
      std::vector<at::Tensor> images, targets;
    };
    std::map<std::pair<std::string, int64_t>, Volume> volumes;
    for (size_t next = 0; next < indices.size();) {
      std::vector<Slice> slices;
      std::vector<at::Tensor> masks;
      std::vector<int64_t> places;
      while (next < indices.size() && slices.size() < static_cast<size_t>(task_.evaluation_batch)) {
        const int64_t index = indices[next];
        Slice s = set.read(index);
        // A slice of other extents begins a batch of its own.
        if (!slices.empty() && s.kspace.sizes() != slices[0].kspace.sizes()) break;
        masks.push_back(mask_for(s, set, index, r, "test " + s.scan));
        slices.push_back(std::move(s));
        places.push_back(index);
        ++next;
      }
      Prepared p = prepare(slices, masks);
      if (!p.target.defined() && task_.supervision == Supervision::ssdu) {
        std::vector<std::string> streams;
        for (const int64_t index : places) streams.push_back("ssdu test " + set.describe(index));
        const at::Tensor held = hold_out(p.batch, options_.mask.seed, streams);
        model_->check_fit(p.batch);
        const at::Tensor losses = held_out_loss(forward(p.batch), p.kspace, p.batch.maps, held).cpu();
        for (int64_t i = 0; i < losses.size(0); ++i) means.add("loss", losses[i].item<double>());
        continue;
      }
      check<DataError>(
          p.target.defined(),
          [&] {
            return fmt::format("{}: not fully sampled, and without a target image: nothing to compare with",
                               slices[0].scan);
          },
          "with task.supervision = \"ssdu\" held-out samples are compared");
      model_->check_fit(p.batch);
      const auto start = Clock::now();
      const at::Tensor image = forward(p.batch);
      times.push_back(1e3 * std::chrono::duration<double>(Clock::now() - start).count() /
                      static_cast<double>(slices.size()));
      const at::Tensor losses = loss_(image, p.target, p.batch).cpu();
      for (size_t i = 0; i < slices.size(); ++i) {
        const auto at = static_cast<int64_t>(i);
        Volume& v = volumes[{slices[i].file, slices[i].contrast}];
        v.images.push_back((image[at] * p.scale[i]).cpu());
        v.targets.push_back(slices[i].target);
        means.add("loss", losses[at].item<double>());
        const bool middle = places[i] >= set.size() / (2 * set.scan_count()) && shown &&
                            shown->size() < static_cast<size_t>(set.contrasts()) &&
                            std::none_of(shown->begin(), shown->end(), [&](const Shown& s) {
                              return s.title == fmt::format("contrast {}", slices[i].contrast);
                            });
        if (middle && r == accelerations.back()) {
          const at::Tensor zero = combine(p.batch.maps, operators::plane_fourier(p.batch.kspace, true))[at];
          shown->push_back({fmt::format("contrast {}", slices[i].contrast), (zero * p.scale[i]).abs().cpu(),
                            v.images.back().abs(), v.targets.back().abs()});
        }
      }
    }
    for (const auto& [key, volume] : volumes) {
      const at::Tensor target = at::stack(volume.targets);
      if (!target.abs().any().item<bool>()) continue;
      for (const auto& [name, value] : volume_metrics(at::stack(volume.images), target)) {
        means.add(name, value);
        const std::string echo = set.contrasts() > 1 ? fmt::format("_echo{}", key.second + 1) : "";
        const std::string at_r = accelerations.size() > 1 ? fmt::format("_{:g}x", r) : "";
        if (!echo.empty()) means.add(name + echo, value);
        if (!at_r.empty()) means.add(name + at_r, value);
        if (!echo.empty() && !at_r.empty()) means.add(name + echo + at_r, value);
      }
    }
  }
  if (milliseconds && !times.empty()) {
    std::nth_element(times.begin(), times.begin() + static_cast<int64_t>(times.size() / 2), times.end());
    *milliseconds = times[times.size() / 2];
  }
  return means.result();
}

training::Metrics ReconstructionTask::evaluate() {
  const auto forward = [this](const SliceBatch& batch) { return model_->forward(batch); };
  if (sets_.validation) return score(*sets_.validation, every(sets_.validation->size()), forward);
  return score(*sets_.train, every(sets_.train->size(), kCandidateSlices), forward);
}

void ReconstructionTask::choose_candidate() {
  const training::EvaluationMode mode(*model_);
  const std::vector<int64_t> slices = every(sets_.train->size(), kCandidateSlices);
  const auto forward = [this](const SliceBatch& b) { return model_->forward(b); };
  const std::vector<double> all = options_.mask.accelerations;
  std::map<double, int64_t> choices;
  for (const double r : all) {
    options_.mask.accelerations = {r};
    double best = std::numeric_limits<double>::infinity();
    for (int64_t i = 0; i < model_->candidates(); ++i) {
      model_->choose(i);
      for (const auto& [name, value] : score(*sets_.train, slices, forward)) {
        if (name != "nrmse" || !(value < best)) continue;
        best = value;
        choices[r] = i;
      }
    }
    model_->choose(choices[r]);
  }
  options_.mask.accelerations = all;
  choices_ = std::move(choices);
}

const training::Metrics& ReconstructionTask::test_metrics() {
  if (test_metrics_) return *test_metrics_;
  const training::EvaluationMode mode(*model_);
  const std::vector<int64_t> all = every(sets_.test->size());
  shown_.clear();
  test_metrics_ = score(
      *sets_.test, all, [this](const SliceBatch& b) { return model_->forward(b); }, &shown_, &milliseconds_);
  if (const std::string name = model_->ablation(); !name.empty()) {
    for (const auto& [key, value] :
         score(*sets_.test, all, [this](const SliceBatch& b) { return model_->forward_ablated(b); }))
      test_metrics_->emplace_back(key + "_" + name, value);
  }
  return *test_metrics_;
}

void ReconstructionTask::write_results(const std::filesystem::path& folder) {
  const training::Metrics& metrics = test_metrics();
  std::filesystem::create_directories(folder);
  nlohmann::ordered_json json;
  json["model"] = model_->describe();
  for (const auto& [name, value] : metrics) json["test"][name] = std::isfinite(value) ? nlohmann::json(value) : nullptr;
  write_file_atomically(folder / "metrics.json", json.dump(2) + "\n");
  if (!task_.pictures || shown_.empty()) return;
  std::sort(shown_.begin(), shown_.end(), [](const Shown& a, const Shown& b) { return a.title < b.title; });
  std::vector<data::PanelRow> rows;
  for (const Shown& s : shown_) {
    const double high = std::max(s.target.max().item<double>(), 1e-30);
    const auto panel = [high](const std::string& label, const at::Tensor& image) {
      data::FieldPanel p;
      p.label = label;
      p.values = image.to(at::kDouble);
      p.map = ColourMap::grey;
      p.low = 0;
      p.high = high;
      return p;
    };
    data::PanelRow row;
    row.title = s.title;
    row.panels = {panel("zero-filled", s.zero_filled), panel("reconstruction", s.image),
                  panel("fully sampled", s.target),
                  panel(fmt::format("error × {:g}", kErrorGain), (s.image - s.target).abs() * kErrorGain)};
    rows.push_back(std::move(row));
  }
  data::PictureOptions options;
  options.title = model_->describe();
  data::save_colour_png(folder / "panel.png", data::draw_panels(rows, options));
}

}  // namespace monarch::mri
