#include "nufft.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/mri/iterative.hpp"
#include "monarch/operators/nufft.hpp"
#include "nufft_script.hpp"
#include "outcome.hpp"
#include "peer_python.hpp"
#include "recon_data.hpp"
#include "rounds.hpp"

namespace fs = std::filesystem;

namespace monarch::bench {
namespace {

constexpr double bart_goal = 3, iterate_limit = 0.005, accuracy_limit = 1e-5;
constexpr int64_t checked_points = 256;  // of a direct sum
const std::vector<std::string> job_names = {"forward", "adjoint", "cg-sense"};

void write_raw(const fs::path& path, const at::Tensor& array) {
  const at::Tensor dense = array.contiguous();
  std::ofstream(path, std::ios::binary)
      .write(static_cast<const char*>(dense.const_data_ptr()), static_cast<std::streamsize>(dense.nbytes()));
}

/// A program in one job: seconds of one run, and its result.
struct Player {
  std::string name;
  std::function<double()> run;
  std::function<at::Tensor()> result = {};
};

class Benchmark {
 public:
  explicit Benchmark(const NufftBenchmarkOptions& options) : options_(options), report_(start_report("nufft")) {
    find_peers();
    const BenchScan scan = make_scans(folder_.path(), has_bart_).back();
    radial_ = make_radial_scan(folder_.path(), scan, options.spokes);
    maps_name_ = scan.name + "_maps";
    coil_images_ = at::mul(radial_.maps, radial_.truth.unsqueeze(1)).sum(0).squeeze(1).contiguous();
    coils_ = coil_images_.size(0);
    n_ = coil_images_.size(1);
    write_raw(folder_.path() / "coil_images.raw", coil_images_);
    write_cfl(folder_.path() / "coil_images", coil_images_.unsqueeze(1));
    write_raw(folder_.path() / "maps.raw", radial_.maps);
    write_raw(folder_.path() / "trajectory.raw", radial_.trajectory);
    report_["settings"] = {{"coils", coils_},           {"matrix", {n_, n_}},
                           {"spokes", options.spokes},  {"samples_of_a_spoke", 512},
                           {"lambda", 0.001},           {"iterations", options.iterations},
                           {"rounds", options.repeats}, {"environment", speed_environment()}};
    make_sums();
  }

  nlohmann::json run() {
    Progress progress("benchmark", static_cast<int64_t>(options_.threads.size() * job_names.size()));
    report_["load_average"]["before"] = load_average();
    for (const int threads : options_.threads) {
      at::set_num_threads(threads);
      std::unique_ptr<Dialogue> sigpy;
      if (!python_.empty() && threads == 1) {
        const auto problem = mri::non_cartesian_problem(radial_.samples, radial_.trajectory, radial_.maps);
        const std::vector<std::string> words = {python_,
                                                "-c",
                                                kNufftScript,
                                                std::to_string(coils_),
                                                std::to_string(n_),
                                                fmt::format("{}", problem.data_scale),
                                                std::to_string(options_.iterations)};
        sigpy = std::make_unique<Dialogue>(words, folder_.path(), thread_environment(1), "sigpy.log");
      }
      nlohmann::json entry = {{"threads", threads}};
      for (const std::string& job : job_names) {
        progress.note(fmt::format("{}, {}", threads_text(threads), job));
        entry["jobs"][job] = measure(job, threads, sigpy.get());
        progress.advance();
      }
      report_["cases"].push_back(std::move(entry));
    }
    report_["load_average"]["after"] = load_average();
    return std::move(report_);
  }

 private:
  void find_peers() {
    has_bart_ = !find_program("bart").empty();
    if (has_bart_) {
      const std::string version = run_child({"bart", "version"}, folder_.path()).output;
      report_["versions"]["bart"] = version.substr(0, version.find('\n'));
    } else {
      report_["missing"].push_back("bart is not on PATH: BART, and its phantom (ours is used)");
    }
    const PeerPython python = find_peer_python({options_.python, ".deps/peers/bin/python", "python3"},
                                               "import sigpy; print(sigpy.__version__)", folder_.path());
    python_ = python.program;
    if (python_.empty()) {
      report_["missing"].push_back("no Python that imports sigpy (--python, .deps/peers, python3): SigPy");
    } else {
      report_["versions"]["sigpy"] = python.answer.at(0);
    }
  }

  /// exp(-2πi Σ_a k_a (n_a - N/2) / N) of places [j, 2] and pixels [m, 2] (x, y): [j, m], complex128.
  at::Tensor phases(const at::Tensor& places, const at::Tensor& pixels) const {
    const at::Tensor cycles = at::matmul(places, (pixels - static_cast<double>(n_ / 2)).t()) / static_cast<double>(n_);
    return at::polar(at::ones_like(cycles), -2 * M_PI * cycles);
  }

  /// Direct sums of the first coil: forward at some samples, adjoint at some pixels.
  void make_sums() {
    const auto spread_over = [](int64_t count) {
      return at::arange(checked_points).mul(count).div(checked_points, "floor").to(at::kLong);
    };
    some_samples_ = spread_over(radial_.trajectory.size(0));
    some_pixels_ = spread_over(n_ * n_).add(n_ / 2 + 1).remainder(n_ * n_);
    const auto pixels_of = [this](const at::Tensor& index) {
      return at::stack({index.remainder(n_), index.div(n_, "floor")}, 1).to(at::kDouble);
    };
    const double unit = 1 / static_cast<double>(n_);
    const at::Tensor image = coil_images_[0].reshape({-1}).to(at::kComplexDouble);
    const at::Tensor all = pixels_of(at::arange(n_ * n_));
    forward_sum_ = at::mv(phases(radial_.trajectory.index_select(0, some_samples_), all), image) * unit;
    const at::Tensor kernel = phases(radial_.trajectory, pixels_of(some_pixels_));
    adjoint_sum_ = at::mv(kernel.conj().t(), radial_.samples[0].to(at::kComplexDouble)) * unit;
  }

  Player bart_player(const std::string& job, int threads) {
    std::vector<std::string> words;
    if (job == "cg-sense") {
      words = {"bart",
               "pics",
               "-d5",
               "-S",
               "-l2",
               "-r",
               "0.001",
               "-i",
               std::to_string(options_.iterations),
               "-t",
               "radial_trajectory",
               "radial",
               maps_name_,
               "bart_image"};
    } else if (job == "forward") {
      words = {"bart", "nufft", "radial_trajectory", "coil_images", "bart_image"};
    } else {
      words = {"bart", "nufft", "-a", "-d", fmt::format("{0}:{0}:1", n_), "radial_trajectory", "radial", "bart_image"};
    }
    const auto run = [this, words, threads] {
      const auto child = run_child(words, folder_.path(), thread_environment(threads));
      check<BackendError>(child.exit_code == 0, [&] {
        return fmt::format("'{}' ended with code {}: {}", fmt::join(words, " "), child.exit_code, child.output);
      });
      // pics tells the time of its own work; of nufft there is that of the process, files included.
      const std::string key = "Total Time: ";
      const size_t at = child.output.rfind(key);
      return at == std::string::npos ? child.seconds : std::strtod(child.output.c_str() + at + key.size(), nullptr);
    };
    return {"bart", run, [this] { return read_cfl(folder_.path() / "bart_image"); }};
  }

  Player sigpy_player(const std::string& job, Dialogue* sigpy) {
    return {"sigpy", [job, sigpy] { return ask_number(*sigpy, "time " + job); },
            [this, job, sigpy] {
              ask_number(*sigpy, "write " + job + " sigpy.raw");
              if (job == "cg-sense") return read_raw(folder_.path() / "sigpy.raw", {n_, n_});
              return read_raw(folder_.path() / "sigpy.raw",
                              job == "forward" ? radial_.samples.sizes().vec() : coil_images_.sizes().vec());
            }};
  }

  /// Ours with its set-up, and for the bare transforms also with the operator made before.
  std::vector<Player> our_players(const std::string& job, at::Tensor& result) {
    if (job == "cg-sense") {
      const auto solve = [this, &result] {
        return seconds_of([&] {
          result = mri::cg_sense(mri::non_cartesian_problem(radial_.samples, radial_.trajectory, radial_.maps),
                                 {.lambda = 0.001, .iterations = options_.iterations})
                       .image;
        });
      };
      return {{"monarch", solve, [&result] { return result; }}};
    }
    const operators::Space space{coil_images_.sizes().vec(), at::kComplexFloat};
    const auto make = [this, space] { return std::make_shared<operators::Nufft>(space, radial_.trajectory); };
    const auto apply = [this, job](const operators::Nufft& nufft) {
      return job == "forward" ? nufft.apply(coil_images_) : nufft.adjoint(radial_.samples);
    };
    return {{"monarch", [=, &result] { return seconds_of([&] { result = apply(*make()); }); },
             [&result] { return result; }},
            {"monarch planned", [=, nufft = make(), &result] { return seconds_of([&] { result = apply(*nufft); }); },
             [&result] { return result; }}};
  }

  double error_of(const std::string& job, const at::Tensor& result) const {
    if (job == "forward") {
      return nrmse(result.reshape({coils_, -1})[0].index_select(0, some_samples_), forward_sum_);
    }
    if (job == "adjoint") return nrmse(result.reshape({coils_, -1})[0].index_select(0, some_pixels_), adjoint_sum_);
    return nrmse(result, radial_.truth);
  }

  nlohmann::json measure(const std::string& job, int threads, Dialogue* sigpy) {
    at::Tensor ours;
    std::vector<Player> players = our_players(job, ours);
    if (has_bart_) players.push_back(bart_player(job, threads));
    if (sigpy) players.push_back(sigpy_player(job, sigpy));
    std::vector<Timing> timings(players.size());
    for (int round = -1; round < options_.repeats; ++round) {  // the first one plans and compiles
      for (size_t i = 0; i < players.size(); ++i) {
        const double seconds = players[i].run();
        if (round >= 0) timings[i].samples.push_back(seconds);
      }
    }
    nlohmann::json found;
    std::optional<at::Tensor> bart_image;
    for (size_t i = 0; i < players.size(); ++i) {
      auto& entry = found[players[i].name];
      entry = timing_json(timings[i]);
      const at::Tensor result = players[i].result();
      if (players[i].name == "bart") bart_image = result;
      entry["error"] = error_of(job, result);
      if (i > 0) entry["over_monarch"] = median_ratio(timings[i], timings[0]);
    }
    const std::string where = fmt::format("{}: {}", threads_text(threads), job);
    if (job != "cg-sense") {
      add_goal(report_, where + ", error against the direct sum", found["monarch"]["error"], accuracy_limit, false);
    } else if (bart_image) {
      found["monarch"]["difference_to_bart"] = nrmse(ours, *bart_image);
      add_goal(report_, where + ", difference of the image from BART's", found["monarch"]["difference_to_bart"],
               iterate_limit, false);
      if (threads == 1) {
        add_goal(report_, where + ", times as fast as BART", found["bart"]["over_monarch"], bart_goal, true);
      }
    }
    return found;
  }

  NufftBenchmarkOptions options_;
  ScratchFolder folder_;
  nlohmann::json report_;
  bool has_bart_ = false;
  std::string python_, maps_name_;
  RadialBenchScan radial_;
  at::Tensor coil_images_;  // [coil, y, x]
  at::Tensor some_samples_, some_pixels_, forward_sum_, adjoint_sum_;
  int64_t coils_ = 0, n_ = 0;
};

void print(const nlohmann::json& r) {
  const auto& s = r["settings"];
  fmt::print("{} spokes of 512 samples, {} coils of {}², CG-SENSE of {} iterations\n", s["spokes"].get<int64_t>(),
             s["coils"].get<int64_t>(), s["matrix"][0].get<int64_t>(), s["iterations"].get<int64_t>());
  for (const auto& c : r["cases"]) {
    fmt::print("\n{}\n\n  {:<10} {:<16} {:>11} {:>11} {:>13} {:>10}\n", threads_text(c["threads"]), "job", "program",
               "median", "least", "over monarch", "error");
    for (const std::string& job : job_names) {
      for (const auto& [program, t] : c["jobs"][job].items()) {
        fmt::print("  {:<10} {:<16} {:>8.1f} ms {:>8.1f} ms {:>13} {:>10.1e}\n", job, program,
                   1e3 * t["seconds"].get<double>(), 1e3 * t["minimum_seconds"].get<double>(),
                   t.contains("over_monarch") ? fmt::format("{:.2f}×", t["over_monarch"].get<double>()) : "",
                   t["error"].get<double>());
      }
    }
  }
  print_outcome(r);
}

}  // namespace

int run_nufft_benchmark(const NufftBenchmarkOptions& given) {
  NufftBenchmarkOptions options = given;
  if (options.quick) {
    options.spokes = 13;
    options.iterations = 3;
    options.repeats = 1;
  }
  check<ConfigError>(options.repeats >= 1 && options.spokes >= 1 && options.iterations >= 1,
                     "the benchmark needs rounds, spokes and iterations of at least 1");
  check_thread_counts(options.threads);
  const int threads_before = at::get_num_threads();
  const nlohmann::json report = Benchmark(options).run();
  at::set_num_threads(threads_before);
  return finish(report, print, options.json, options.goals_decide);
}

}  // namespace monarch::bench
