#include "models.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "models_script.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/text.hpp"
#include "outcome.hpp"
#include "peer_python.hpp"
#include "rounds.hpp"

namespace monarch::bench {
namespace {

constexpr double agreement_limit = 1e-4;
constexpr double dense_goal = 1.0, step_goal = 0.85, single_goal = 1.0, batch_goal = 1.5;
const std::vector<std::string> job_names = {"step", "inference-1", "inference-32"};

class Benchmark {
 public:
  explicit Benchmark(const ModelsBenchmarkOptions& options)
      : options_(options), program_(program_or_self(options.monarch_program)), report_(start_report("models")) {
    const ModelsCase& sizes = options.sizes;
    report_["settings"] = {{"depth", sizes.depth},           {"step_tokens", sizes.step_tokens},
                           {"step_batch", sizes.step_batch}, {"rounds", options.repeats},
                           {"warm_ups", options.warm_ups},   {"optimiser", "AdamW"},
                           {"precision", "float32"},         {"environment", speed_environment()}};
    python_ = find_torch(options.python, folder_.path(), report_);
  }

  nlohmann::json run() {
    Progress progress("benchmark",
                      static_cast<int64_t>(options_.threads.size() * options_.models.size() * job_names.size()));
    report_["load_average"]["before"] = load_average();
    for (const int threads : options_.threads) measure(threads, progress);
    report_["load_average"]["after"] = load_average();
    return std::move(report_);
  }

 private:
  std::vector<std::string> numbers() const {
    const ModelsCase& sizes = options_.sizes;
    return {std::to_string(sizes.depth), std::to_string(sizes.step_tokens), std::to_string(sizes.step_batch)};
  }

  std::unique_ptr<Dialogue> start_ours(int threads) const {
    const auto n = numbers();
    const std::vector<std::string> words = {program_, "--quiet",  "--threads", std::to_string(threads),
                                            "bench",  "models",   "--worker",  "--depth",
                                            n[0],     "--tokens", n[1],        "--batch",
                                            n[2]};
    return std::make_unique<Dialogue>(words, folder_.path(), thread_environment(threads), "monarch.log");
  }

  std::unique_ptr<Dialogue> start_peer(int threads) const {
    if (python_.empty()) return nullptr;
    std::vector<std::string> words = python_command(python_);
    words.emplace_back(kModelsScript);
    for (const std::string& number : numbers()) words.push_back(number);
    words.push_back(std::to_string(threads));
    return std::make_unique<Dialogue>(words, folder_.path(), python_environment(threads), "peer.log");
  }

  void measure(int threads, Progress& progress) {
    nlohmann::json entry = {{"threads", threads}, {"models", nlohmann::json::object()}};
    const std::string where = threads_text(threads);
    for (const std::string& name : options_.models) {
      const auto ours = start_ours(threads), peer = start_peer(threads);  // a fresh process: caches of others are gone
      auto& model = entry["models"][name];
      if (peer) model["agreement"] = check_agreement(name, *ours, *peer);
      for (const std::string& job : job_names) {
        progress.note(fmt::format("{}, {}, {}", where, name, job));
        model["jobs"][job] = measure_job(name, job, where, *ours, peer.get());
        progress.advance();
      }
    }
    report_["cases"].push_back(std::move(entry));
  }

  static double check_agreement(const std::string& name, Dialogue& ours, Dialogue& peer) {
    peer.ask(fmt::format("reference {} reference.pt", name));
    const double difference = ask_number(ours, fmt::format("check {} reference.pt", name));
    check<BackendError>(difference <= agreement_limit, [&] {
      return fmt::format("{}: our logits and those of the script in PyTorch differ by {:.2e}, more than {:.0e}", name,
                         difference, agreement_limit);
    });
    return difference;
  }

  nlohmann::json measure_job(const std::string& name, const std::string& job, const std::string& where, Dialogue& ours,
                             Dialogue* peer) {
    std::vector<std::string> programs = {"dense", "monarch"};
    std::vector<Contestant> contestants;
    for (const std::string& structure : programs)
      contestants.push_back({&ours, fmt::format("time {} {} {}", name, structure, job), peer && contestants.empty()});
    if (peer) {
      programs.push_back("eager");
      if (options_.compile) programs.push_back("compiled");
      for (size_t i = 2; i < programs.size(); ++i)
        contestants.push_back({peer, fmt::format("time {} {} {}", name, programs[i], job)});
    }
    const auto timings = time_in_turn(contestants, options_.repeats, options_.warm_ups);
    nlohmann::json result;
    for (size_t i = 0; i < programs.size(); ++i) result[programs[i]] = timing_json(timings[i]);
    const auto macs = [&](const char* structure) {
      return ask_number(ours, fmt::format("macs {} {} {}", name, structure, job));
    };
    const double macs_ratio = macs("dense") / macs("monarch"), speedup = median_ratio(timings[0], timings[1]);
    result["macs_ratio"] = macs_ratio;
    result["dense_over_monarch"] = speedup;
    const std::string what = fmt::format("{}: {} of {}", where, job, name);
    for (size_t i = 2; i < programs.size(); ++i) {
      const double ratio = median_ratio(timings[i], timings[0]);
      result[programs[i] + "_over_dense"] = ratio;
      if (std::isnan(ratio)) {
        report_["missing"].push_back(fmt::format("{}: torch.compile failed", what));
      } else {
        add_goal(report_, fmt::format("{}, dense, times as fast as PyTorch, {}", what, programs[i]), ratio, dense_goal,
                 true);
      }
    }
    if (job == "step") {
      add_goal(report_, what + ", Monarch against dense, of the ratio of multiplications", speedup / macs_ratio,
               step_goal, true);
    } else {
      add_goal(report_, what + ", Monarch, times as fast as dense", speedup,
               job == "inference-1" ? single_goal : batch_goal, true);
    }
    return result;
  }

  ModelsBenchmarkOptions options_;
  ScratchFolder folder_;
  std::string program_, python_;
  nlohmann::json report_;
};

void print(const nlohmann::json& r) {
  const auto& s = r["settings"];
  fmt::print("{} blocks, float32; a step: GPT-2 {} tokens, others {} samples\n", s["depth"].get<int64_t>(),
             s["step_tokens"].get<int64_t>(), s["step_batch"].get<int64_t>());
  for (const auto& c : r["cases"]) {
    fmt::print("\n{}\n  {:<8} {:<13} {:>10} {:>10} {:>10} {:>10} {:>14} {:>16}\n",
               threads_text(c["threads"].get<int>()), "model", "job", "dense", "Monarch", "eager", "compiled",
               "dense/Monarch", "multiplications");
    for (const auto& [name, model] : c["models"].items()) {
      for (const std::string& job : job_names) {
        const auto& t = model["jobs"][job];
        const auto cell = [&](const char* program) {
          if (!t.contains(program) || !t[program]["seconds"].is_number()) return std::string("-");
          return fmt::format("{:.1f} ms", 1e3 * t[program]["seconds"].get<double>());
        };
        fmt::print("  {:<8} {:<13} {:>10} {:>10} {:>10} {:>10} {:>13.2f}× {:>15.2f}×\n", name, job, cell("dense"),
                   cell("monarch"), cell("eager"), cell("compiled"), t["dense_over_monarch"].get<double>(),
                   t["macs_ratio"].get<double>());
      }
    }
  }
  print_outcome(r);
}

ModelsBenchmarkOptions checked(ModelsBenchmarkOptions options) {
  if (options.quick) {
    options.sizes = {.depth = 1, .step_tokens = 32, .step_batch = 1};
    options.repeats = 1;
    options.warm_ups = 0;
    options.compile = false;
  }
  const ModelsCase& sizes = options.sizes;
  check<ConfigError>(sizes.depth >= 1 && sizes.step_batch >= 1 && sizes.step_tokens >= 1 && sizes.step_tokens <= 1024,
                     "depth and batch of at least 1 and 1 to 1024 tokens");
  check<ConfigError>(!options.models.empty() && options.repeats >= 1 && options.warm_ups >= 0,
                     "no models or rounds to measure");
  check_thread_counts(options.threads);
  const auto& known = benchmark_models();
  for (const std::string& name : options.models) {
    check<ConfigError>(std::find(known.begin(), known.end(), name) != known.end(),
                       [&] { return fmt::format("model '{}' is none of {}", name, join_or(known)); });
  }
  return options;
}

}  // namespace

int run_models_benchmark(const ModelsBenchmarkOptions& given) {
  const ModelsBenchmarkOptions options = checked(given);
  return finish(Benchmark(options).run(), print, options.json, options.goals_decide);
}

}  // namespace monarch::bench
