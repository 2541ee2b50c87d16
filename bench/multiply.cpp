#include "multiply.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <iostream>

#include "memory_meter.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/provenance.hpp"
#include "monarch/core/text.hpp"
#include "multiply_report.hpp"

namespace monarch::bench {
namespace {

using operators::MultiplyOptions;

/// The factors and the dense weight of one case and its input, as leaves of autograd.
struct Operands {
  at::Tensor x, w1, w2, dense, gradient;
};

at::Tensor leaf(const at::Tensor& values) {
  return values.detach().requires_grad_(true);
}

/// Forward alone gives {y}; training gives {y, dL/dx, dL/dweights …}.
using Program = std::function<std::vector<at::Tensor>()>;

Program program(bool training, std::function<at::Tensor()> forward, std::vector<at::Tensor> wanted,
                at::Tensor gradient) {
  if (!training) {
    return [forward = std::move(forward)] {
      const at::NoGradGuard no_grad;
      return std::vector<at::Tensor>{forward()};
    };
  }
  return [forward = std::move(forward), wanted = std::move(wanted), gradient = std::move(gradient)] {
    std::vector<at::Tensor> results = {forward()};
    const auto gradients = torch::autograd::grad({results[0]}, wanted, {gradient});
    results.insert(results.end(), gradients.begin(), gradients.end());
    return results;
  };
}

at::ScalarType dtype_from_name(const std::string& name, bool cuda) {
  std::map<std::string, at::ScalarType> types = {{"float32", at::kFloat},
                                                 {"float64", at::kDouble},
                                                 {"bfloat16", at::kBFloat16},
                                                 {"complex64", at::kComplexFloat},
                                                 {"complex128", at::kComplexDouble}};
  if (cuda) types["float16"] = at::kHalf;
  const auto found = types.find(name);
  if (found != types.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& type : types) names.push_back(type.first);
  const std::string near = closest_match(name, names);
  fail<ConfigError>(fmt::format("dtype '{}' is none of {}", name, join_or(names)),
                    near.empty() ? "" : fmt::format("did you mean {}?", near));
}

class Benchmark {
 public:
  explicit Benchmark(const MultiplyBenchmarkOptions& options)
      : options_(options), cuda_(options.device == "cuda"), dtype_(dtype_from_name(options.dtype, cuda_)) {
    for (const auto& text : options.shapes) shapes_.push_back(layer_shape_from_text(text));
    for (const auto& shape : shapes_) {
      for (const auto& nblocks : options.nblocks) sizes_for(shape, nblocks);  // bad combinations before the work
    }
    report_.machine = provenance();
    const char* policy = std::getenv("OMP_WAIT_POLICY");
    report_.machine["OMP_WAIT_POLICY"] = policy ? policy : "";
    report_.versions = {{"MKL", first_line(at::get_mkl_version())},
                        {"oneDNN", first_line(at::get_mkldnn_version())},
                        {"OpenMP", first_line(at::get_openmp_version())},
                        {"PyTorch CPU capability", at::get_cpu_capability()}};
    report_.settings = {{"dtype", options.dtype},
                        {"device", options.device},
                        {"rounds", std::to_string(options.repeats)},
                        {"least_sample_seconds", fmt::format("{}", options.sample_seconds)},
                        {"memory", options.fresh_memory ? "fresh pages for every result" : "reused between calls"}};
  }

  MultiplyReport run() {
    Progress progress("benchmark", work());
    for (const int threads : options_.threads) {
      if (!cuda_) at::set_num_threads(threads);
      report_.limits.push_back({.threads = threads});
      measure_bandwidth();
      for (const auto& shape : shapes_) {
        for (const int64_t batch : options_.batches) {
          measure_peak();
          for (const auto& pass : options_.passes) {
            progress.note(fmt::format("{}, batch {}, {}, {} threads", layer_shape_text(shape), batch, pass, threads));
            measure(shape, batch, pass == "training", threads);
            progress.advance(work_of(shape, batch, pass == "training"));
          }
        }
      }
    }
    if (std::find(options_.passes.begin(), options_.passes.end(), "training") != options_.passes.end()) {
      progress.note("memory");
      if (!cuda_) at::set_num_threads(1);
      for (const auto& shape : shapes_) {
        for (const auto& nblocks : options_.nblocks) measure_memory(shape, nblocks);
      }
    }
    return std::move(report_);
  }

 private:
  static std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

  /// For the progress bar: time goes with the operations, plus something per case.
  int64_t work_of(const LayerShape& shape, int64_t batch, bool training) const {
    return 200 + shape.in * shape.out * batch * (training ? 3 : 1) / 1'000'000;
  }
  int64_t work() const {
    int64_t sum = 0;
    for (const auto& shape : shapes_) {
      for (const int64_t batch : options_.batches) {
        for (const auto& pass : options_.passes) sum += work_of(shape, batch, pass == "training");
      }
    }
    return sum * static_cast<int64_t>(options_.threads.size());
  }

  at::TensorOptions tensor_options() const { return at::dtype(dtype_).device(cuda_ ? at::kCUDA : at::kCPU); }

  void synchronize() const {
    if (cuda_) c10::impl::VirtualGuardImpl(at::kCUDA).synchronizeDevice(0);
  }

  double seconds_of(const std::function<void()>& work) const {
    synchronize();
    const auto start = std::chrono::steady_clock::now();
    work();
    synchronize();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  /// Operations per second of a large matrix product, the best of all tries at this thread count.
  void measure_peak() {
    const at::NoGradGuard no_grad;
    const int64_t n = options_.quick ? 512 : cuda_ ? 8192 : 2048;
    const at::Tensor a = at::randn({n, n}, tensor_options()), b = at::randn({n, n}, tensor_options());
    at::Tensor c = at::mm(a, b);
    const double operations = (at::isComplexType(dtype_) ? 8.0 : 2.0) * std::pow(static_cast<double>(n), 3);
    double& best = report_.limits.back().flops;
    for (int i = 0; i < 2; ++i) best = std::max(best, operations / seconds_of([&] { at::mm_out(c, a, b); }));
  }

  void measure_bandwidth() {
    const at::NoGradGuard no_grad;
    const int64_t n = (options_.quick ? 16 : 256) * (int64_t{1} << 20) / 4;
    const auto real = tensor_options().dtype(at::kFloat);
    const at::Tensor a = at::ones({n}, real), b = at::ones({n}, real);
    at::Tensor c = at::zeros({n}, real);
    MachineLimits& limits = report_.limits.back();
    const double bytes = 4.0 * static_cast<double>(n);
    for (int i = 0; i < 5; ++i) {
      limits.copy = std::max(limits.copy, 2 * bytes / seconds_of([&] { c.copy_(a); }));
      limits.triad = std::max(limits.triad, 3 * bytes / seconds_of([&] { at::add_out(c, a, b, 3); }));
    }
  }

  Operands operands(const MultiplyCase& what) const {
    const operators::MonarchSizes& z = what.sizes;
    const auto scaled = [&](std::vector<int64_t> shape) {
      const double fan_in = static_cast<double>(shape.back());
      return leaf(at::randn(shape, tensor_options()) / std::sqrt(fan_in));
    };
    return {leaf(at::randn({what.batch, what.shape.in}, tensor_options())), scaled({z.k, z.q, z.p}),
            scaled({z.l, z.s, z.r}), scaled({what.shape.out, what.shape.in}),
            at::randn({what.batch, what.shape.out}, tensor_options())};
  }

  static MultiplyOptions multiply_options(const MultiplyCase& what, bool recompute = false) {
    MultiplyOptions options;
    options.out_features = what.shape.out;
    options.recompute = recompute;
    return options;
  }

  static Program ours(const MultiplyCase& what, const Operands& t, bool recompute = false) {
    const auto options = multiply_options(what, recompute);
    return program(
        what.training, [=] { return operators::monarch_multiply(t.x, t.w1, t.w2, options); }, {t.x, t.w1, t.w2},
        t.gradient);
  }
  static Program bmm(const MultiplyCase& what, const Operands& t) {
    const auto options = multiply_options(what);
    return program(
        what.training, [=] { return operators::monarch_multiply_composite(t.x, t.w1, t.w2, options); },
        {t.x, t.w1, t.w2}, t.gradient);
  }
  static Program dense(const MultiplyCase& what, const Operands& t) {
    return program(
        what.training, [=] { return at::linear(t.x, t.dense); }, {t.x, t.dense}, t.gradient);
  }

  /// Compares result and gradients with the composite's: a product that is wrong is not timed.
  static void validate(CaseResult& result, const Program& ours, const Program& peer) {
    const auto found = ours(), expected = peer();
    result.tolerance = agreement_tolerance(result.what);
    static constexpr const char* names[] = {"y", "the gradient of x", "the gradient of w1", "the gradient of w2"};
    for (size_t i = 0; i < expected.size(); ++i) {
      const double difference = check_agreement(result.what, names[i], found[i], expected[i]);
      result.difference = std::max(result.difference, difference);
    }
  }

  /// All programs of one shape, batch and pass: the dense product is the same for every number of blocks.
  void measure(const LayerShape& shape, int64_t batch, bool training, int threads) {
    struct Entry {
      Program run;
      Timing timing = {};
    };
    std::vector<Entry> entries;
    std::vector<CaseResult> results;
    for (const auto& nblocks : options_.nblocks) {
      CaseResult result{.what = {shape, nblocks, sizes_for(shape, nblocks), batch, training, threads, dtype_}};
      const Operands tensors = operands(result.what);
      if (entries.empty()) entries.push_back({dense(result.what, tensors)});
      entries.push_back({ours(result.what, tensors)});
      entries.push_back({bmm(result.what, tensors)});
      validate(result, entries[entries.size() - 2].run, entries.back().run);
      results.push_back(std::move(result));
    }
    for (auto& entry : entries) {
      double once = seconds_of([&] { entry.run(); });  // the first call may prepare things
      if (once < 0.1) once = seconds_of([&] { entry.run(); });
      entry.timing.inner =
          std::clamp(static_cast<int64_t>(std::ceil(options_.sample_seconds / once)), int64_t{1}, int64_t{100'000});
    }
    for (int round = 0; round < options_.repeats; ++round) {
      for (auto& entry : entries) {
        const double seconds = seconds_of([&] {
          for (int64_t i = 0; i < entry.timing.inner; ++i) entry.run();
        });
        entry.timing.samples.push_back(seconds / static_cast<double>(entry.timing.inner));
      }
    }
    for (size_t i = 0; i < results.size(); ++i) {
      results[i].dense = entries[0].timing;
      results[i].monarch = entries[1 + 2 * i].timing;
      results[i].bmm = entries[2 + 2 * i].timing;
      report_.cases.push_back(std::move(results[i]));
    }
  }

  struct Bytes {
    double kept = 0, peak = 0;
  };
  /// One forward and backward under the meter.
  static Bytes extra_bytes(const std::function<at::Tensor()>& forward, const Operands& t) {
    Bytes bytes;
    const MemoryMeter meter;
    const at::Tensor y = forward();
    bytes.kept = meter.live() - static_cast<double>(y.nbytes());
    const auto gradients = torch::autograd::grad({y}, {t.x, t.w1, t.w2}, {t.gradient});
    bytes.peak = meter.peak() - static_cast<double>(y.nbytes());
    for (const auto& gradient : gradients) bytes.peak -= static_cast<double>(gradient.nbytes());
    return bytes;
  }

  void measure_memory(const LayerShape& shape, const std::string& nblocks) {
    const int64_t batch = options_.quick ? 256 : 1024;
    MemoryResult result{.what = {shape, nblocks, sizes_for(shape, nblocks), batch, true, 1, dtype_}};
    const auto use = [&](const std::function<at::Tensor(const Operands&)>& forward) {
      Bytes at[2];
      for (int i = 0; i < 2; ++i) {
        MultiplyCase what = result.what;
        what.batch = batch * (1 + i);
        const Operands tensors = operands(what);
        extra_bytes([&] { return forward(tensors); }, tensors);  // what is made once (kernels, caches) does not count
        at[i] = extra_bytes([&] { return forward(tensors); }, tensors);
      }
      return MemoryUse{at[0].kept, at[1].peak - at[0].peak, std::max(0.0, 2 * at[0].peak - at[1].peak)};
    };
    const auto product = [&](bool recompute) {
      return [&, recompute](const Operands& t) {
        return operators::monarch_multiply(t.x, t.w1, t.w2, multiply_options(result.what, recompute));
      };
    };
    result.save = use(product(false));
    result.recompute = use(product(true));
    result.bmm = use([&](const Operands& t) {
      return operators::monarch_multiply_composite(t.x, t.w1, t.w2, multiply_options(result.what));
    });
    report_.memory.push_back(std::move(result));
  }

  MultiplyBenchmarkOptions options_;
  bool cuda_;
  at::ScalarType dtype_;
  std::vector<LayerShape> shapes_;
  MultiplyReport report_;
};

MultiplyBenchmarkOptions checked(MultiplyBenchmarkOptions options) {
  if (options.quick) {
    options.shapes = {"64", "64:128"};
    options.batches = {1, 256};
    options.repeats = 3;
    options.sample_seconds = 0.0005;
  }
  check<ConfigError>(options.device == "cpu" || options.device == "cuda",
                     [&] { return fmt::format("device '{}' is neither cpu nor cuda", options.device); });
  check<BackendError>(options.device == "cpu" || at::hasCUDA(), "no CUDA device is at hand",
                      "leave --device out to measure on the CPU");
  check<ConfigError>(!options.shapes.empty() && !options.batches.empty() && !options.nblocks.empty() &&
                         !options.passes.empty() && !options.threads.empty() && options.repeats >= 1,
                     "the benchmark needs shapes, batches, block counts, passes, threads and at least one round");
  check<ConfigError>(options.sample_seconds >= 0 && options.sample_seconds <= 10,
                     [&] { return fmt::format("a sample of {} s makes no sense", options.sample_seconds); });
  for (const int64_t batch : options.batches) {
    check<ConfigError>(batch >= 1 && batch <= (1 << 20),
                       [&] { return fmt::format("batch {} is not in 1 … {}", batch, 1 << 20); });
  }
  for (const int count : options.threads) {
    check<ConfigError>(count >= 1 && count <= 1024, [&] { return fmt::format("{} threads make no sense", count); });
  }
  for (const auto& pass : options.passes) {
    check<ConfigError>(pass == "forward" || pass == "training",
                       [&] { return fmt::format("pass '{}' is neither forward nor training", pass); });
  }
  const bool forward = std::find(options.passes.begin(), options.passes.end(), "forward") != options.passes.end();
  check<ConfigError>(options.svg.empty() || forward, "the roofline needs the forward pass");
  if (options.device == "cuda") options.threads = {at::get_num_threads()};
  return options;
}

}  // namespace

int run_multiply_benchmark(const MultiplyBenchmarkOptions& given) {
  const MultiplyBenchmarkOptions options = checked(given);
  if (!options.fresh_memory) {
    // Large results come from memory that malloc keeps, as in programs that train: else every call would fault its
    // pages in anew, and the faults, the same for all programs, would be measured instead of the products.
    mallopt(M_MMAP_MAX, 0);
    mallopt(M_TRIM_THRESHOLD, -1);
  }
  const int threads_before = at::get_num_threads();
  const MultiplyReport report = Benchmark(options).run();
  at::set_num_threads(threads_before);

  if (!options.svg.empty()) write_file_atomically(options.svg, roofline_svg(report));
  const std::string json = report_json(report);
  if (options.json == "-") {
    std::cout << json;
  } else {
    print_report(report, std::cout);
    if (!options.json.empty()) write_file_atomically(options.json, json);
  }
  if (!options.goals_decide) return 0;
  const auto goals = goal_summaries(report);
  return std::any_of(goals.begin(), goals.end(), [](const GoalSummary& g) { return g.measured() && !g.passed(); });
}

}  // namespace monarch::bench
