#include "monarch/experiments/runner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <fstream>
#include <functional>
#include <limits>
#include <mutex>
#include <sstream>
#include <thread>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/process.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/provenance.hpp"
#include "monarch/core/text.hpp"

namespace fs = std::filesystem;

namespace monarch::experiments {
namespace {

constexpr const char* kResult = "result.json";

/// One training to make: its config and its folder.
struct Job {
  std::string title;
  fs::path folder;
  Config config;
  std::function<void(const nlohmann::json&)> done;
  bool may_diverge = false;
};

std::string last_lines(const std::string& text, size_t count) {
  size_t at = text.size();
  while (count > 0 && at > 0 && (at = text.rfind('\n', at - 1)) != std::string::npos) --count;
  return at == std::string::npos || at == 0 ? text : text.substr(at + 1);
}

std::optional<nlohmann::json> finished(const fs::path& folder, const std::string& hash) {
  std::ifstream file(folder / kResult);
  if (!file) return std::nullopt;
  const auto json = nlohmann::json::parse(file, nullptr, false);
  std::ifstream known(folder / "experiment.hash");
  std::string text;
  std::getline(known, text);
  if (json.is_discarded() || text != hash) return std::nullopt;
  return json;
}

class Runner {
 public:
  Runner(const Experiment& experiment, const RunnerOptions& options) : experiment_(experiment), options_(options) {
    std::error_code ignored;
    program_ = options.program.empty() ? fs::read_symlink("/proc/self/exe", ignored) : options.program;
    threads_ = options.threads > 0
                   ? options.threads
                   : std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / std::max(1, options.jobs));
  }

  void make_data() {
    for (const Simulated& data : experiment_.simulated) {
      const fs::path file = options_.out / data.file, note = file.string() + ".command";
      std::string command;
      for (const auto& word : data.words) command += word + " ";
      std::error_code ignored;
      std::string made;
      std::getline(std::ifstream(note), made);
      if (fs::exists(file, ignored) && made == command) continue;
      fs::create_directories(file.parent_path());
      fs::remove_all(file, ignored);
      log::info(fmt::format("making {}: monarch {} {}", data.label, data.command, command));
      std::vector<std::string> words{program_, data.command};
      words.insert(words.end(), data.words.begin(), data.words.end());
      words.insert(words.end(), {"-o", fs::absolute(file)});
      const auto child = run_child(words, file.parent_path(), {}, file.stem().string() + ".log");
      check<BackendError>(child.exit_code == 0, [&] {
        return fmt::format("monarch {} {} ended with code {}:\n{}", data.command, command, child.exit_code,
                           last_lines(child.output, 8));
      });
      write_file_atomically(note, command + "\n");
    }
  }

  void run(std::vector<Job> jobs, const std::string& title) {
    if (jobs.empty()) return;
    Progress progress(title, static_cast<int64_t>(jobs.size()));
    std::atomic<size_t> next = 0;
    std::mutex mutex;
    std::exception_ptr failure;
    const auto work = [&] {
      for (size_t i = next++; i < jobs.size(); i = next++) {
        {
          const std::lock_guard lock(mutex);
          if (failure) return;
        }
        try {
          const auto result = run_one(jobs[i]);
          const std::lock_guard lock(mutex);
          jobs[i].done(result);
          progress.note(jobs[i].title);
          progress.advance();
        } catch (...) {
          const std::lock_guard lock(mutex);
          if (!failure) failure = std::current_exception();
        }
      }
    };
    std::vector<std::thread> workers;
    for (int k = 1; k < options_.jobs; ++k) workers.emplace_back(work);
    work();
    for (auto& worker : workers) worker.join();
    if (failure) std::rethrow_exception(failure);
  }

 private:
  nlohmann::json run_one(const Job& job) const {
    const std::string text = job.config.toml(), hash = text_hash(text);
    if (const auto known = finished(job.folder, hash)) return *known;
    std::error_code ignored;
    std::string previous;
    std::getline(std::ifstream(job.folder / "experiment.hash"), previous);
    if (!previous.empty() && previous != hash) fs::remove_all(job.folder, ignored);  // ours, from an older config
    fs::create_directories(job.folder);
    write_file_atomically(job.folder / "experiment.hash", hash + "\n");
    write_file_atomically(job.folder / "run.toml", text);
    const auto child = run_child({program_, "train", fs::absolute(job.folder / "run.toml"), "-o",
                                  fs::absolute(job.folder), "--resume", "--threads", std::to_string(threads_)},
                                 job.folder, thread_environment(threads_), "train.log");
    if (child.exit_code != 0 && job.may_diverge && child.output.find("not finite") != std::string::npos)
      return {{"diverged", true}};
    check<BackendError>(child.exit_code == 0, [&] {
      return fmt::format("{}: monarch train {} ended with code {}:\n{}", job.title, (job.folder / "run.toml").string(),
                         child.exit_code, last_lines(child.output, 8));
    });
    const auto result = finished(job.folder, hash);
    check<BackendError>(result.has_value(),
                        [&] { return fmt::format("{}: the training left no {}", job.folder.string(), kResult); });
    return *result;
  }

  const Experiment& experiment_;
  const RunnerOptions& options_;
  std::string program_;
  int threads_;
};

double metric_of(const nlohmann::json& json, const char* split, const std::string& metric, const fs::path& folder) {
  const auto place = nlohmann::json::json_pointer(fmt::format("/{}/{}", split, metric));
  check<BackendError>(json.contains(place) && json[place].is_number(), [&] {
    return fmt::format("{}: {} has no {} metric '{}'", folder.string(), kResult, split, metric);
  });
  return json[place];
}

/// The folder belongs to one experiment and preset.
void claim(const Experiment& e, const fs::path& out) {
  fs::create_directories(out);
  const fs::path file = out / "experiment.json";
  std::ifstream stream(file);
  if (stream) {
    const auto json = nlohmann::json::parse(stream, nullptr, false);
    const std::string found = json.is_object() ? json.value("name", "") + " " + json.value("preset", "") : "?";
    check<ConfigError>(
        found == e.name + " " + e.preset,
        [&] { return fmt::format("{} holds results of '{}', not of '{} {}'", out.string(), found, e.name, e.preset); },
        "choose another --out");
    return;
  }
  write_file_atomically(file, nlohmann::json{{"name", e.name}, {"preset", e.preset}}.dump(2) + "\n");
}

}  // namespace

ExperimentResult run_experiment(const Experiment& e, const RunnerOptions& options) {
  claim(e, options.out);
  Runner runner(e, options);
  runner.make_data();
  ExperimentResult result;
  const auto count_time = [&](const nlohmann::json& json) { result.seconds += json.value("seconds", 0.0); };

  std::map<std::pair<size_t, size_t>, double> chosen;
  if (e.tuning) {
    const Tuning& t = *e.tuning;
    std::vector<Job> jobs;
    std::map<std::pair<size_t, size_t>, TuningResult> found;
    for (size_t r = 0; r < e.rows.size(); ++r) {
      if (!e.rows[r].train) continue;
      for (const auto& name : t.columns) {
        const size_t c = e.column_index(name);
        found[{r, c}] = {r, c, {}, 0};
        for (const double value : t.values) {
          Config config = e.run_config(r, c, e.seeds.front());
          for (const auto& setting : t.settings) config.set(setting);
          config.set(fmt::format("{}={}", t.key, value));
          const fs::path folder = options.out / "tuning" / e.rows[r].name / name / fmt::format("{}", value);
          jobs.push_back({fmt::format("{}, {}, {} = {}", e.rows[r].label, e.columns[c].label, t.key, value), folder,
                          std::move(config),
                          [&, r, c, value, folder](const nlohmann::json& json) {
                            count_time(json);
                            found[{r, c}].scores[value] = json.value("diverged", false)
                                                              ? std::numeric_limits<double>::quiet_NaN()
                                                              : metric_of(json, "validation", e.selection, folder);
                          },
                          true});
        }
      }
    }
    runner.run(std::move(jobs), "tuning");
    for (auto& [place, tuned] : found) {
      double best = std::numeric_limits<double>::infinity();
      for (const auto& [value, score] : tuned.scores)
        if (score < best) {
          best = score;
          tuned.chosen = value;
        }
      check<BackendError>(std::isfinite(best), [&] {
        return fmt::format("tuning of {}: every value of {} diverged", e.rows[tuned.row].label, t.key);
      });
      result.tuning.push_back(tuned);
    }
    for (size_t r = 0; r < e.rows.size(); ++r) {
      if (!e.rows[r].train) continue;
      for (size_t c = 0; c < e.columns.size(); ++c) {
        const auto own = found.find({r, c});
        chosen[{r, c}] =
            own != found.end() ? own->second.chosen : found.at({r, e.column_index(t.columns.back())}).chosen;
      }
    }
  }

  // Columns that others must wait for come first.
  std::vector<size_t> stage(e.columns.size(), 0);
  for (size_t c = 0; c < e.columns.size(); ++c)
    for (size_t before = 0; before < c; ++before)
      if (e.columns[before].name == e.columns[c].after) stage[c] = stage[before] + 1;
  std::vector<std::vector<Job>> stages(1 + *std::max_element(stage.begin(), stage.end()));
  // Seeds outermost: an experiment that is stopped early has whole tables of the first seeds.
  for (size_t s = 0; s < e.seeds.size(); ++s)
    for (size_t c = 0; c < e.columns.size(); ++c)
      for (size_t r = 0; r < e.rows.size(); ++r) {
        if (s > 0 && !e.rows[r].train) continue;
        const int64_t seed = e.seeds[s];
        Config config = e.run_config(r, c, seed);
        if (const auto value = chosen.find({r, c}); value != chosen.end())
          config.set(fmt::format("{}={}", e.tuning->key, value->second));
        const fs::path folder = options.out / "runs" / e.rows[r].name / e.columns[c].name / fmt::format("seed{}", seed);
        stages[stage[c]].push_back(
            {fmt::format("{}, {}, seed {}", e.rows[r].label, e.columns[c].label, seed), folder, std::move(config),
             [&, r, c, seed, folder](const nlohmann::json& json) {
               count_time(json);
               result.runs.push_back({r, c, seed, metric_of(json, "test", e.metric, folder), folder, json});
             }});
      }
  for (auto& jobs : stages) runner.run(std::move(jobs), "training");
  std::sort(result.runs.begin(), result.runs.end(), [](const RunResult& a, const RunResult& b) {
    return std::tie(a.row, a.column, a.seed) < std::tie(b.row, b.column, b.seed);
  });
  return result;
}

}  // namespace monarch::experiments
