#include "simulate.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/process.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/text.hpp"
#include "monarch/solvers/numerical/navier_stokes_simulation.hpp"
#include "outcome.hpp"
#include "peer_python.hpp"
#include "published_script.hpp"
#include "rounds.hpp"
#include "timing.hpp"

namespace fs = std::filesystem;

namespace monarch::bench {
namespace {

using solvers::Integrator;
using solvers::NavierStokes;
using solvers::NavierStokesOptions;

constexpr double viscosity = 1e-3;
constexpr double published_dt = 1e-4;

double relative_error(const at::Tensor& a, const at::Tensor& b) {
  return ((a.to(at::kDouble) - b.to(at::kDouble)).norm() / b.to(at::kDouble).norm()).item<double>();
}

struct Rates {  ///< seconds of one right-hand side of one sample
  double ours = 0, euler = 0, peer = 0;
};

class Benchmark {
 public:
  explicit Benchmark(const SimulateBenchmarkOptions& options) : options_(options), report_(start_report("simulate")) {
    for (const int64_t n : options.sizes) {
      check<ConfigError>(n >= 8 && n <= 4096 && n % 2 == 0,
                         [&] { return fmt::format("size {}; expected an even number from 8 to 4096", n); });
    }
    check_thread_counts(options.threads);
    check<ConfigError>(options.batch >= 1 && options.repeats >= 1, "batch and repeats are at least 1");
    report_["batch"] = options.batch;
    find_peer();
  }

  nlohmann::json run() {
    Progress progress("benchmark", static_cast<int64_t>(options_.sizes.size() * options_.threads.size()) + 2);
    report_["load_average"]["before"] = load_average();
    std::map<int64_t, Rates> single;  // by one thread
    for (const int threads : options_.threads) {
      at::set_num_threads(threads);
      for (const int64_t n : options_.sizes) {
        progress.note(fmt::format("{}², {} threads", n, threads));
        const Rates rates = measure(n, threads);
        if (threads == options_.threads.front()) single[n] = rates;
        progress.advance();
      }
    }
    progress.note("equal error");
    equal_error(options_.sizes.front(), single[options_.sizes.front()]);
    progress.advance();
    progress.note("1,000 samples");
    thousand_samples();
    progress.advance();
    report_["load_average"]["after"] = load_average();
    return report_;
  }

 private:
  void find_peer() {
    const PeerPython python =
        find_peer_python({options_.python, ".deps/venv/bin/python", "python3"},
                         "import numpy, torch; print('torch', torch.__version__)", folder_.path());
    python_ = python.program;
    if (!python.answer.empty()) {
      report_["peer"] = python.answer[0];
      return;
    }
    report_["missing"].push_back("no Python that imports torch and numpy (--python, .deps/venv/bin/python, python3)");
  }

  static NavierStokesOptions solver_options(int64_t n, Integrator integrator, double dt) {
    NavierStokesOptions o;
    o.size = n;
    o.viscosity = viscosity;
    o.integrator = integrator;
    o.dt = dt;
    o.cfl = 0;
    o.decaying_mean = integrator == Integrator::euler_cn;
    o.forcing = solvers::published_forcing(n);
    return o;
  }

  at::Tensor fields(int64_t n, int64_t count) const {
    return solvers::gaussian_random_field(solvers::navier_stokes_law("2020"), 2, n, 1, 0, count).to(at::kFloat);
  }

  /// Seconds of a right-hand side of one sample, in steps of cn-rk4 or euler-cn.
  double our_rate(const at::Tensor& w0, Integrator integrator) {
    const int64_t n = w0.size(1), stages = integrator == Integrator::euler_cn ? 1 : 5;
    const double dt = 1e-3;
    const NavierStokes solver(solver_options(n, integrator, dt));
    // At least a tenth of a second, so that the first and the last transforms do not count.
    const double once = seconds_of([&] { solver.solve(w0, {20 * dt}); }) / 20;
    const auto steps = static_cast<int64_t>(std::ceil((options_.quick ? 0.01 : 0.3) / once)) + 1;
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i < options_.repeats; ++i) {
      best = std::min(best, seconds_of([&] { solver.solve(w0, {static_cast<double>(steps) * dt}); }));
    }
    return best / static_cast<double>(steps * stages * w0.size(0));
  }

  double peer_rate(const at::Tensor& w0, int threads) {
    const int64_t n = w0.size(1), batch = w0.size(0), bytes = w0.numel() * 4;
    const double dt = 1e-3;
    std::ofstream(folder_.path() / "w0.raw", std::ios::binary)
        .write(static_cast<const char*>(w0.contiguous().const_data_ptr()), bytes);
    const int64_t timed = options_.quick ? 2 : std::max<int64_t>(5, 400000 / (n * n));
    std::vector<std::string> words = python_command(python_);
    words.insert(words.end(), {kPublishedScript, std::to_string(n), std::to_string(batch), std::to_string(threads),
                               fmt::format("{}", viscosity), fmt::format("{}", dt), "20", std::to_string(timed),
                               std::to_string(options_.repeats)});
    const auto child = run_child(words, folder_.path(), python_environment(threads));
    const size_t at = child.output.rfind("seconds ");
    check<BackendError>(child.exit_code == 0 && at != std::string::npos,
                        [&] { return "the published scheme in PyTorch failed:\n" + child.output; });
    at::Tensor theirs = at::empty_like(w0);
    std::ifstream file(folder_.path() / "published.raw", std::ios::binary);
    file.read(static_cast<char*>(theirs.mutable_data_ptr()), bytes);
    check<BackendError>(file.gcount() == bytes, "the published scheme in PyTorch wrote no fields");
    const at::Tensor ours = NavierStokes(solver_options(n, Integrator::euler_cn, dt)).solve(w0, {20 * dt}).select(1, 0);
    difference_ = relative_error(ours, theirs);
    check<BackendError>(difference_ <= 1e-5, [&] {
      return fmt::format("{}²: euler-cn and the published scheme differ by {:.2e} after 20 steps", n, difference_);
    });
    return std::strtod(child.output.c_str() + at + 8, nullptr) / static_cast<double>(batch);
  }

  Rates measure(int64_t n, int threads) {
    const at::Tensor w0 = fields(n, options_.batch);
    Rates rates;
    nlohmann::json entry = {{"size", n}, {"threads", threads}};
    if (!python_.empty()) {
      rates.peer = peer_rate(w0, threads);
      entry["difference"] = difference_;
      entry["pytorch_seconds"] = rates.peer;
    }
    rates.ours = our_rate(w0, Integrator::cn_rk4);
    rates.euler = our_rate(w0, Integrator::euler_cn);
    entry["seconds"] = rates.ours;
    entry["euler_cn_seconds"] = rates.euler;
    entry["evaluations_per_second"] = 1 / rates.ours;
    if (rates.peer > 0) {
      entry["ratio"] = rates.peer / rates.ours;
      entry["euler_cn_ratio"] = rates.peer / rates.euler;
      add_goal(
          report_,
          fmt::format("right-hand sides at {}², {} thread{}: faster than PyTorch", n, threads, threads > 1 ? "s" : ""),
          rates.peer / rates.ours, 3, true);
    }
    report_["cases"].push_back(entry);
    return rates;
  }

  /// Errors at T = 1 of the published step and of larger steps of ours, in double, and what a sample takes with each.
  void equal_error(int64_t n, const Rates& rates) {
    const double end = options_.quick ? 0.1 : 1;
    const at::Tensor w0 = fields(n, 2);
    const auto solve = [&](Integrator integrator, double dt) {
      auto o = solver_options(n, integrator, dt);
      o.precision = at::kDouble;
      o.decaying_mean = false;
      o.dealiasing = solvers::Dealiasing::products;
      return NavierStokes(o).solve(w0, {end});
    };
    const at::Tensor reference = solve(Integrator::etdrk4, 0.002);
    const double published = relative_error(solve(Integrator::euler_cn, published_dt), reference);
    nlohmann::json table = nlohmann::json::array();
    const double theirs = (rates.peer > 0 ? rates.peer : rates.euler) * std::round(end / published_dt);
    table.push_back({{"scheme", rates.peer > 0 ? "published, PyTorch" : "published, our euler-cn"},
                     {"dt", published_dt},
                     {"error", published},
                     {"seconds", theirs}});
    double ratio = 0;
    for (const double dt : {0.1, 0.05, 0.04, 0.02, 0.01, 0.005}) {
      if (dt > end) continue;
      const double error = relative_error(solve(Integrator::cn_rk4, dt), reference);
      const double ours = 5 * rates.ours * std::round(end / dt);
      table.push_back({{"scheme", "cn-rk4"}, {"dt", dt}, {"error", error}, {"seconds", ours}});
      if (ratio == 0 && error <= published) ratio = theirs / ours;
    }
    report_["equal_error"] = {{"size", n}, {"end", end}, {"viscosity", viscosity}, {"steps", table}, {"ratio", ratio}};
    if (rates.peer > 0) {
      add_goal(report_, fmt::format("time of a sample at the published error, {}²: faster than PyTorch", n), ratio, 100,
               true);
    }
  }

  void thousand_samples() {
    at::set_num_threads(options_.threads.back());
    solvers::NavierStokesSimulationOptions o;
    o.duration = options_.quick ? 1 : 50;
    const solvers::NavierStokesSimulation simulation(o);
    const int64_t samples = options_.quick ? 16 : 1000, batch = simulation.preferred_batch();
    const double seconds = seconds_of([&] {
      for (int64_t i = 0; i < samples; i += batch) simulation.samples(1, i, std::min(batch, samples - i));
    });
    report_["thousand"] = {{"samples", samples},
                           {"duration", o.duration},
                           {"threads", options_.threads.back()},
                           {"description", simulation.describe()},
                           {"seconds", seconds}};
    if (!options_.quick) add_goal(report_, "1,000 samples of ν = 1e-3, T = 50: seconds", seconds, 300, false);
  }

  SimulateBenchmarkOptions options_;
  ScratchFolder folder_;
  std::string python_;
  double difference_ = 0;
  nlohmann::json report_;
};

std::string micro(double seconds) {
  return fmt::format("{:.1f} µs", 1e6 * seconds);
}

void print(const nlohmann::json& r) {
  fmt::print("Navier–Stokes, right-hand sides of one sample (float32, {} samples at once, least time)\n\n",
             r["batch"].get<int64_t>());
  fmt::print("{:>6} {:>8} {:>12} {:>12} {:>12} {:>9} {:>9} {:>11}\n", "size", "threads", "cn-rk4", "euler-cn",
             "PyTorch", "cn-rk4", "euler-cn", "difference");
  for (const auto& c : r["cases"]) {
    const bool peer = c.contains("ratio");
    fmt::print("{:>5}² {:>8} {:>13} {:>13} {:>13} {:>9} {:>9} {:>11}\n", c["size"].get<int64_t>(),
               c["threads"].get<int>(), micro(c["seconds"]), micro(c["euler_cn_seconds"]),
               peer ? micro(c["pytorch_seconds"]) : "–", peer ? fmt::format("{:.1f}×", c["ratio"].get<double>()) : "–",
               peer ? fmt::format("{:.1f}×", c["euler_cn_ratio"].get<double>()) : "–",
               peer ? fmt::format("{:.1e}", c["difference"].get<double>()) : "–");
  }
  const auto& e = r["equal_error"];
  fmt::print("\nError at t = {} (ν = {}, {}²) and time of one sample\n\n", e["end"].get<double>(),
             e["viscosity"].get<double>(), e["size"].get<int64_t>());
  for (const auto& s : e["steps"]) {
    fmt::print("  {:<24} dt = {:<7} error {:.1e}  {}\n", s["scheme"].get<std::string>(), s["dt"].get<double>(),
               s["error"].get<double>(), duration_text(s["seconds"]));
  }
  fmt::print("\nAt the published error: {:.0f}×\n", e["ratio"].get<double>());
  const auto& t = r["thousand"];
  fmt::print("{} samples of T = {} on {} threads: {}\n", t["samples"].get<int64_t>(), t["duration"].get<double>(),
             t["threads"].get<int>(), duration_text(t["seconds"]));
  print_outcome(r);
}

}  // namespace

int run_simulate_benchmark(const SimulateBenchmarkOptions& options) {
  check<ConfigError>(!options.sizes.empty() && !options.threads.empty(), "no sizes or no thread counts to measure");
  auto changed = options;
  if (options.quick) changed.sizes = {16, 20}, changed.batch = 3, changed.repeats = 1;
  const nlohmann::json report = Benchmark(changed).run();
  return finish(report, print, options.json, options.goals_decide);
}

}  // namespace monarch::bench
