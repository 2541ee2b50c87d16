#include "mri_learned.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/text.hpp"
#include "mri_learned_script.hpp"
#include "outcome.hpp"
#include "peer_python.hpp"
#include "rounds.hpp"

namespace monarch::bench {
namespace {

constexpr double output_tolerance = 1e-4;
constexpr double network_goal = 1.5, transform_goal = 1.5;
const std::vector<std::string> job_names = {"inference", "step"};

const MriLearnedModel* find_model(const std::string& name) {
  for (const MriLearnedModel& model : mri_learned_models()) {
    if (model.name == name) return &model;
  }
  return nullptr;
}

class Benchmark {
 public:
  explicit Benchmark(const MriLearnedBenchmarkOptions& options)
      : options_(options), program_(program_or_self(options.monarch_program)), report_(start_report("mri-learned")) {
    report_["settings"] = {{"shape", options.shape},    {"coils", options.coils},
                           {"rounds", options.repeats}, {"warm_ups", options.warm_ups},
                           {"loss", "complex l1"},      {"optimiser", "AdamW"},
                           {"precision", "float32"},    {"environment", speed_environment()}};
    python_ = find_torch(options.python, folder_.path(), report_);
  }

  nlohmann::json run() {
    Progress progress("benchmark", static_cast<int64_t>(options_.threads.size() * (options_.models.size() + 1)));
    report_["load_average"]["before"] = load_average();
    for (const int threads : options_.threads) measure(threads, progress);
    report_["load_average"]["after"] = load_average();
    return std::move(report_);
  }

 private:
  std::vector<std::string> numbers(int threads) const {
    return {std::to_string(options_.shape[0]), std::to_string(options_.shape[1]), std::to_string(options_.coils),
            std::to_string(threads)};
  }

  std::unique_ptr<Dialogue> start_ours(int threads) const {
    const auto n = numbers(threads);
    const std::vector<std::string> words = {program_,   "--quiet", "--threads",       n[3],      "bench", "mri-learned",
                                            "--worker", "--shape", n[0] + "," + n[1], "--coils", n[2]};
    return std::make_unique<Dialogue>(words, folder_.path(), thread_environment(threads), "monarch.log");
  }

  std::unique_ptr<Dialogue> start_peer(int threads) const {
    if (python_.empty()) return nullptr;
    std::vector<std::string> words = python_command(python_);
    words.emplace_back(kMriLearnedScript);
    for (const std::string& number : numbers(threads)) words.push_back(number);
    return std::make_unique<Dialogue>(words, folder_.path(), python_environment(threads), "peer.log");
  }

  static nlohmann::json check_agreement(const std::string& model, Dialogue& ours, Dialogue& peer) {
    peer.ask(fmt::format("reference {} reference.pt", model));
    const auto found = nlohmann::json::parse(ours.ask(fmt::format("check {} reference.pt", model)));
    for (const auto& [what, tolerance] :
         {std::pair{"output", output_tolerance}, {"gradient", find_model(model)->gradient_tolerance}}) {
      const double difference = found[what].is_number() ? found[what].get<double>() : std::nan("");
      check<BackendError>(difference <= tolerance, [&] {
        return fmt::format("{}: our {} and that of the script in PyTorch differ by {:.2e}, more than {:.0e}", model,
                           what, difference, tolerance);
      });
    }
    return found;
  }

  void measure(int threads, Progress& progress) {
    nlohmann::json entry = {{"threads", threads}, {"models", nlohmann::json::object()}};
    const auto ours = start_ours(threads), peer = start_peer(threads);
    const std::string where = threads_text(threads);
    progress.note(where + ", transforms");
    measure_transforms(entry, *ours, peer.get(), where);
    progress.advance();
    for (const std::string& name : options_.models) {
      progress.note(fmt::format("{}, {}", where, name));
      auto& model = entry["models"][name];
      if (peer) model["agreement"] = check_agreement(name, *ours, *peer);
      for (const std::string& job : job_names) {
        const std::string question = fmt::format("time {} {}", name, job);
        std::vector<Contestant> contestants = {{ours.get(), question, peer != nullptr}};
        if (peer) contestants.push_back({peer.get(), question});
        const auto timings = time_in_turn(contestants, options_.repeats, options_.warm_ups);
        model["jobs"][job]["monarch"] = timing_json(timings[0]);
        if (!peer) continue;
        auto& theirs = model["jobs"][job]["torch"];
        theirs = timing_json(timings[1]);
        const double ratio = median_ratio(timings[1], timings[0]);
        theirs["over_monarch"] = ratio;
        if (!find_model(name)->unrolled) continue;
        add_goal(report_, fmt::format("{}: {} of {}, times as fast as PyTorch", where, job, name), ratio, network_goal,
                 true);
      }
      progress.advance();
    }
    report_["cases"].push_back(std::move(entry));
  }

  void measure_transforms(nlohmann::json& entry, Dialogue& ours, Dialogue* peer, const std::string& where) {
    std::vector<std::string> names = {"fourier", "monarch"};
    std::vector<Contestant> contestants = {{&ours, "time fourier transform", peer != nullptr},
                                           {&ours, "time monarch transform"}};
    if (peer) {
      names.insert(names.end(), {"torch.fft", "torch bmm"});
      contestants.push_back({peer, "time fourier transform"});
      contestants.push_back({peer, "time monarch transform"});
    }
    const auto timings = time_in_turn(contestants, 2 * options_.repeats, options_.warm_ups);
    for (size_t i = 0; i < names.size(); ++i) {
      auto& transform = entry["transforms"][names[i]];
      transform = timing_json(timings[i]);
      if (i > 0) transform["over_fourier"] = median_ratio(timings[i], timings[0]);
    }
    add_goal(report_, where + ": the learned transform over the FFT that it replaces",
             median_ratio(timings[1], timings[0]), transform_goal, false);
  }

  MriLearnedBenchmarkOptions options_;
  ScratchFolder folder_;
  std::string program_, python_;
  nlohmann::json report_;
};

void print(const nlohmann::json& r) {
  const auto& s = r["settings"];
  fmt::print("one slice of {} × {}, {} coils, float32\n", s["shape"][0].get<int64_t>(), s["shape"][1].get<int64_t>(),
             s["coils"].get<int64_t>());
  for (const auto& c : r["cases"]) {
    fmt::print("\n{}\n\n", threads_text(c["threads"]));
    fmt::print("  {:<13} {:<10} {:>11} {:>11} {:>8}\n", "model", "job", "monarch", "PyTorch", "faster");
    for (const auto& [name, model] : c["models"].items()) {
      for (const std::string& job : job_names) {
        const auto& timings = model["jobs"][job];
        const bool peer = timings.contains("torch");
        const auto seconds = [&](const char* who) {
          return fmt::format("{:.1f} ms", 1e3 * timings[who]["seconds"].get<double>());
        };
        fmt::print("  {:<13} {:<10} {:>11} {:>11} {:>8}\n", name, job, seconds("monarch"), peer ? seconds("torch") : "",
                   peer ? fmt::format("{:.2f}×", timings["torch"]["over_monarch"].get<double>()) : "");
      }
    }
    fmt::print("\n  {:<24} {:>11} {:>17}\n", "inverse transform", "median", "over our FFT");
    for (const auto& [name, t] : c["transforms"].items()) {
      fmt::print("  {:<24} {:>8.2f} ms {:>17}\n", name, 1e3 * t["seconds"].get<double>(),
                 t.contains("over_fourier") ? fmt::format("{:.2f}×", t["over_fourier"].get<double>()) : "");
    }
    fmt::print("\n  differences from PyTorch (output, gradient):");
    for (const auto& [name, model] : c["models"].items()) {
      if (!model.contains("agreement")) continue;
      fmt::print(" {} {:.1e} {:.1e};", name, model["agreement"]["output"].get<double>(),
                 model["agreement"]["gradient"].get<double>());
    }
    fmt::print("\n");
  }
  print_outcome(r);
}

MriLearnedBenchmarkOptions checked(MriLearnedBenchmarkOptions options) {
  if (options.quick) {
    options.shape = {48, 32};
    options.coils = 2;
    options.repeats = 1;
    options.warm_ups = 0;
  }
  check<ConfigError>(options.shape.size() == 2, "--shape takes two numbers, rows and columns");
  for (const int64_t n : options.shape) {
    // The U-Nets have four poolings, the patches lie 4 apart; the peer pads nothing.
    check<ConfigError>(n >= 32 && n <= 4096 && n % 16 == 0,
                       [&] { return fmt::format("extent {}; expected a multiple of 16 from 32 to 4096", n); });
  }
  check<ConfigError>(options.coils >= 1, [&] { return fmt::format("{} coils; expected 1 or more", options.coils); });
  check<ConfigError>(!options.models.empty() && options.repeats >= 1 && options.warm_ups >= 0,
                     "no models or rounds to measure");
  check_thread_counts(options.threads);
  for (const std::string& name : options.models) {
    std::vector<std::string> known;
    for (const MriLearnedModel& model : mri_learned_models()) known.push_back(model.name);
    check<ConfigError>(find_model(name) != nullptr,
                       [&] { return fmt::format("model '{}' is none of {}", name, join_or(known)); });
  }
  return options;
}

}  // namespace

int run_mri_learned_benchmark(const MriLearnedBenchmarkOptions& given) {
  const MriLearnedBenchmarkOptions options = checked(given);
  return finish(Benchmark(options).run(), print, options.json, options.goals_decide);
}

}  // namespace monarch::bench
