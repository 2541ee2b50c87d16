#include "fno.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "fno_script.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/text.hpp"
#include "outcome.hpp"
#include "peer_python.hpp"
#include "rounds.hpp"

namespace monarch::bench {
namespace {

constexpr double output_tolerance = 1e-5, gradient_tolerance = 1e-4;
const std::vector<std::string> job_names = {"forward", "step", "rollout", "memory"};

/// One program in one job: our rollout appears twice.
struct Player {
  std::string name;  ///< in the report
  std::string program, job;
  bool ours = false;
};

std::string case_text(const FnoCase& what) {
  return fmt::format("{}², modes {}", what.size, what.modes);
}

class Benchmark {
 public:
  explicit Benchmark(const FnoBenchmarkOptions& options)
      : options_(options), program_(program_or_self(options.monarch_program)), report_(start_report("fno")) {
    report_["settings"] = {{"dtype", "float32"},
                           {"batch", options.batch},
                           {"frames", 10},
                           {"steps", options.steps},
                           {"model", "FNO-2D, width 20, 4 layers, head 128"},
                           {"rounds", options.repeats},
                           {"rollout_rounds", options.rollout_repeats},
                           {"warm_ups", options.warm_ups},
                           {"environment", speed_environment()}};
    report_["memory"] = nlohmann::json::array();
    find_peers();
  }

  nlohmann::json run() {
    const auto cases = static_cast<int64_t>(options_.sizes.size() * options_.modes.size());
    const auto timed =
        std::count_if(options_.jobs.begin(), options_.jobs.end(), [](auto& job) { return job != "memory"; });
    Progress progress("benchmark", cases * (timed * static_cast<int64_t>(options_.threads.size()) + wants("memory")));
    report_["load_average"]["before"] = load_average();
    for (const int64_t size : options_.sizes) {
      for (const int64_t modes : options_.modes) {
        const FnoCase what{.size = size, .modes = modes, .batch = options_.batch, .steps = options_.steps};
        std::map<std::string, double> memory;
        if (wants("memory")) {
          progress.note(case_text(what) + ", memory");
          memory = measure_memory(what);
          progress.advance();
        }
        for (const int threads : options_.threads) measure(what, threads, memory, progress);
      }
    }
    report_["load_average"]["after"] = load_average();
    return std::move(report_);
  }

 private:
  bool wants(const std::string& job) const {
    return std::find(options_.jobs.begin(), options_.jobs.end(), job) != options_.jobs.end();
  }

  void find_peers() {
    const char* probe = R"(
import torch
print('torch', torch.__version__)
try:
    import neuralop
    print('neuraloperator', neuralop.__version__)
except ImportError:
    pass
)";
    const PeerPython python = find_torch_python(options_.python, probe, folder_.path());
    python_ = python.program;
    for (const std::string& line : python.answer) {
      for (const std::string name : {"torch", "neuraloperator"}) {
        if (line.starts_with(name + " ")) report_["versions"][name] = line.substr(name.size() + 1);
      }
    }
    if (python_.empty()) {
      report_["missing"].push_back(
          "no Python that imports torch (--python, .deps/peers, .deps/venv, python3): all peers");
      return;
    }
    peers_.push_back("script");
    if (report_["versions"].contains("neuraloperator")) {
      peers_.push_back("neuraloperator");
    } else {
      report_["missing"].push_back("neuraloperator is not in " + python_ + " (scripts/setup --peers)");
    }
  }

  std::unique_ptr<Dialogue> start_ours(const FnoCase& what, int threads) const {
    const std::vector<std::string> words = {program_,
                                            "--quiet",
                                            "--threads",
                                            fmt::format("{}", threads),
                                            "bench",
                                            "fno",
                                            "--worker",
                                            "--sizes",
                                            fmt::format("{}", what.size),
                                            "--modes",
                                            fmt::format("{}", what.modes),
                                            "--batch",
                                            fmt::format("{}", what.batch),
                                            "--steps",
                                            fmt::format("{}", what.steps)};
    return std::make_unique<Dialogue>(words, folder_.path(), thread_environment(threads), "monarch.log");
  }

  std::unique_ptr<Dialogue> start_peer(const FnoCase& what, int threads) const {
    std::vector<std::string> words = python_command(python_);
    words.emplace_back(kFnoScript);
    for (const int64_t number : {what.size, what.modes, what.batch, what.steps, static_cast<int64_t>(threads)}) {
      words.push_back(std::to_string(number));
    }
    return std::make_unique<Dialogue>(words, folder_.path(), python_environment(threads), "peer.log");
  }

  /// Who takes part in a job. The first is what peers are compared with.
  std::vector<Player> players(const std::string& job) const {
    std::vector<Player> all = {{"fno", "fno", job, true}};
    if (job == "rollout") all.push_back({"fno-recompute", "fno", "rollout-recompute", true});
    for (const std::string& peer : peers_) all.push_back({peer, peer, job, false});
    if (job == "step") all.push_back({"monarch-no", "monarch-no", job, true});
    return all;
  }

  /// Bytes of each program in a rollout, each in a process that did nothing else.
  std::map<std::string, double> measure_memory(const FnoCase& what) {
    const int threads = options_.threads.front();
    std::map<std::string, double> bytes;
    for (const Player& player : players("rollout")) {
      const auto program = player.ours ? start_ours(what, threads) : start_peer(what, threads);
      bytes[player.name] = ask_number(*program, fmt::format("memory {} {}", player.program, player.job));
    }
    report_["memory"].push_back({{"size", what.size}, {"modes", what.modes}, {"threads", threads}, {"bytes", bytes}});
    return bytes;
  }

  nlohmann::json check_agreement(const FnoCase& what, Dialogue& ours, Dialogue& peer) const {
    peer.ask("reference reference.pt");
    const auto found = nlohmann::json::parse(ours.ask("check reference.pt"));
    for (const auto& [name, value] : found.items()) {
      const double tolerance = name == "output" ? output_tolerance : gradient_tolerance;
      const double difference = value.is_number() ? value.get<double>() : std::nan("");
      check<BackendError>(difference <= tolerance, [&] {
        return fmt::format("{}: our {} and that of the script in PyTorch differ by {:.2e}, more than {:.0e}",
                           case_text(what), name == "output" ? name : "gradient of a " + name, difference, tolerance);
      });
    }
    return found;
  }

  void measure(const FnoCase& what, int threads, const std::map<std::string, double>& memory, Progress& progress) {
    nlohmann::json entry = {{"size", what.size}, {"modes", what.modes}, {"threads", threads}};
    const auto ours = start_ours(what, threads);
    std::unique_ptr<Dialogue> peer;
    if (!peers_.empty()) {
      peer = start_peer(what, threads);
      entry["agreement"] = check_agreement(what, *ours, *peer);
    }
    for (const std::string& job : options_.jobs) {
      if (job == "memory") continue;
      progress.note(fmt::format("{}, {}, {}", case_text(what), threads_text(threads), job));
      const bool rollout = job == "rollout";
      const int warm_ups = rollout ? std::min(options_.warm_ups, 1) : options_.warm_ups;
      const int rounds = rollout ? options_.rollout_repeats : options_.repeats;
      const auto all = players(job);
      std::vector<Contestant> contestants;
      for (const Player& player : all) {
        contestants.push_back({player.ours ? ours.get() : peer.get(),
                               fmt::format("time {} {}", player.program, player.job), player.ours && peer != nullptr});
      }
      const std::vector<Timing> timings = time_in_turn(contestants, rounds, warm_ups);
      for (size_t i = 0; i < all.size(); ++i) {
        nlohmann::json& program = entry["jobs"][job][all[i].name];
        program = timing_json(timings[i]);
        if (i > 0) program["over_fno"] = median_ratio(timings[i], timings[0]);
        if (rollout && i > 1) program["over_fno_recompute"] = median_ratio(timings[i], timings[1]);
      }
      progress.advance();
    }
    add_goals(entry, fmt::format("{}, {}", case_text(what), threads_text(threads)), memory);
    report_["cases"].push_back(std::move(entry));
  }

  void add_goals(const nlohmann::json& entry, const std::string& where, const std::map<std::string, double>& memory) {
    const auto& jobs = entry["jobs"];
    for (const std::string& peer : peers_) {
      for (const auto& [job, limit] : {std::pair{"forward", 3.0}, std::pair{"step", 3.5}}) {
        if (wants(job)) {
          add_goal(report_, fmt::format("{}: {}, times as fast as {}", where, job, peer), jobs[job][peer]["over_fno"],
                   limit, true);
        }
      }
      if (!wants("rollout") || memory.empty()) continue;
      // The graph of the whole rollout where its memory is small enough, else the recomputed one: one of both has to
      // meet both goals.
      const double kept = memory.at("fno") / memory.at(peer), recomputed = memory.at("fno-recompute") / memory.at(peer);
      const bool whole = kept <= 0.25;
      const std::string which = whole ? "rollout" : "rollout recomputed";
      add_goal(report_, fmt::format("{}: {}, times as fast as {}", where, which, peer),
               jobs["rollout"][peer][whole ? "over_fno" : "over_fno_recompute"], 3.5, true);
      add_goal(report_, fmt::format("{}: {}, peak memory over that of {}", where, which, peer),
               whole ? kept : recomputed, 0.25, false);
    }
    if (wants("step")) {
      add_goal(report_, where + ": step of Monarch-NO over that of FNO", jobs["step"]["monarch-no"]["over_fno"], 1.3,
               false);
    }
  }

  FnoBenchmarkOptions options_;
  ScratchFolder folder_;
  std::string program_, python_;
  std::vector<std::string> peers_;
  nlohmann::json report_;
};

void print(const nlohmann::json& r) {
  const auto& s = r["settings"];
  fmt::print("{}; float32, batch {}, {} frames in, rollouts of {} steps\n", s["model"].get<std::string>(),
             s["batch"].get<int64_t>(), s["frames"].get<int>(), s["steps"].get<int64_t>());
  for (const auto& c : r["cases"]) {
    const FnoCase what{.size = c["size"], .modes = c["modes"]};
    fmt::print("\n{}, {}\n\n", case_text(what), threads_text(c["threads"]));
    fmt::print("  {:<10} {:<16} {:>11} {:>11} {:>10} {:>16}\n", "job", "program", "median", "least", "over fno",
               "over recomputed");
    for (const std::string& job : job_names) {
      if (!c["jobs"].contains(job)) continue;
      for (const auto& [program, t] : c["jobs"][job].items()) {
        const auto ratio = [&t](const char* key) {
          return t.contains(key) ? fmt::format("{:.2f}×", t[key].get<double>()) : "";
        };
        fmt::print("  {:<10} {:<16} {:>8.1f} ms {:>8.1f} ms {:>10} {:>16}\n", job, program,
                   1e3 * t["seconds"].get<double>(), 1e3 * t["minimum_seconds"].get<double>(), ratio("over_fno"),
                   ratio("over_fno_recompute"));
      }
    }
    if (c.contains("agreement")) {
      fmt::print("  differences from the script:");
      for (const auto& [name, value] : c["agreement"].items()) fmt::print(" {} {:.1e}", name, value.get<double>());
      fmt::print("\n");
    }
  }
  for (const auto& m : r["memory"]) {
    const FnoCase what{.size = m["size"], .modes = m["modes"]};
    fmt::print("\nPeak memory of a rollout's iteration, {}, {}:", case_text(what), threads_text(m["threads"]));
    for (const auto& [program, bytes] : m["bytes"].items()) {
      fmt::print(" {} {}", program, bytes_text(bytes.get<double>()));
    }
    fmt::print("\n");
  }
  print_outcome(r);
}

FnoBenchmarkOptions checked(FnoBenchmarkOptions options) {
  if (options.quick) {
    options.sizes = {16};
    options.modes = {4};
    options.batch = options.steps = 2;
    options.repeats = options.rollout_repeats = options.warm_ups = 1;
  }
  check<ConfigError>(!options.sizes.empty() && !options.modes.empty() && !options.jobs.empty(),
                     "no sizes, modes or jobs to measure");
  for (const int64_t n : options.sizes) {
    check<ConfigError>(n >= 8 && n <= 4096 && n % 2 == 0,
                       [&] { return fmt::format("size {}; expected an even number from 8 to 4096", n); });
    for (const int64_t m : options.modes) {
      check<ConfigError>(m >= 2 && 2 * m <= n,
                         [&] { return fmt::format("modes {} on {} points; expected 2 to {}", m, n, n / 2); });
    }
  }
  check_thread_counts(options.threads);
  for (const std::string& job : options.jobs) {
    check<ConfigError>(std::find(job_names.begin(), job_names.end(), job) != job_names.end(),
                       [&] { return fmt::format("job '{}' is none of {}", job, join_or(job_names)); });
  }
  check<ConfigError>(options.batch >= 1 && options.steps >= 1 && options.repeats >= 1 && options.rollout_repeats >= 1 &&
                         options.warm_ups >= 0,
                     "batch, steps and repeats are at least 1");
  return options;
}

}  // namespace

int run_fno_benchmark(const FnoBenchmarkOptions& given) {
  const FnoBenchmarkOptions options = checked(given);
  return finish(Benchmark(options).run(), print, options.json, options.goals_decide);
}

}  // namespace monarch::bench
