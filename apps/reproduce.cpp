// monarch reproduce: the paper's tables, and experiments of one's own.

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#include "command.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/text.hpp"
#include "monarch/experiments/summary.hpp"

namespace fs = std::filesystem;

namespace monarch::apps {
namespace {

struct Options {
  std::string name;
  std::string preset = "small";
  std::string out;
  std::string data;
  int jobs = 1;
  bool list = false;
  bool json = false;
};

void list(bool as_json) {
  nlohmann::json all = nlohmann::json::array();
  for (const auto& name : experiments::experiment_names()) {
    const auto file = experiments::find_experiment(name);
    const auto presets = experiments::preset_names(file);
    const auto e = experiments::load_experiment(file, presets.front(), "out", "data");
    if (as_json) {
      all.push_back({{"name", name}, {"title", e.title}, {"presets", presets}, {"file", file.string()}});
    } else {
      std::string text;
      for (const auto& preset : presets) text += (text.empty() ? "" : ", ") + preset;
      fmt::print("{:<20} {}\n{:<20} presets: {}\n", name, e.title, "", text);
    }
  }
  if (as_json) fmt::print("{}\n", all.dump(2));
}

void run(const Options& o) {
  if (o.list) return list(o.json);
  check<ConfigError>(!o.name.empty(), "name an experiment", "monarch reproduce --list shows them");
  const fs::path out = o.out.empty() ? fs::path("results") / fs::path(o.name).stem() / o.preset : fs::path(o.out);
  const auto e = experiments::load_experiment(experiments::find_experiment(o.name), o.preset, out, o.data);
  log::info(fmt::format("{}: {} models × {} columns × {} seeds into {}", e.title, e.rows.size(), e.columns.size(),
                        e.seeds.size(), out.string()));
  experiments::RunnerOptions runner;
  runner.out = out;
  runner.jobs = o.jobs;
  const auto result = experiments::run_experiment(e, runner);
  experiments::write_report(e, result, out);
  const auto summary = experiments::summarise(e, result);
  if (o.json) {
    fmt::print("{}\n", experiments::to_json(e, result, summary).dump(2));
    return;
  }
  fmt::print("{}\n", e.title);
  for (size_t r = 0; r < e.rows.size(); ++r) {
    std::string line = fmt::format("  {:<34}", e.rows[r].label);
    for (size_t c = 0; c < e.columns.size(); ++c) {
      const auto& cell = summary.cells[r][c];
      line += fmt::format("  {:>8.{}f}", cell.mean, e.digits);
      const std::string change = !cell.change           ? std::string(9, ' ')
                                 : e.higher_is_better ? fmt::format(" ({:+.{}f})", *cell.change, e.digits)
                                                      : fmt::format(" ({:+.0f} %)", 100 * *cell.change);
      line += change;
    }
    fmt::print("{}\n", line);
  }
  fmt::print("report: {}\n", (out / "report.html").string());
}

}  // namespace

void add_reproduce(CLI::App& app) {
  auto options = std::make_shared<Options>();
  const char* data = std::getenv("MONARCH_DATA");
  options->data = data ? data : "../shared/data";
  CLI::App* command = app.add_subcommand("reproduce", "Run a table of the paper, or an experiment file, and report");
  command->add_option("experiment", options->name, "Name (see --list) or path of a TOML file");
  command->add_option("-p,--preset", options->preset, "Budget: smoke, small or paper")->capture_default_str();
  command->add_option("-o,--out", options->out, "Folder of data, runs and report (default: results/NAME/PRESET)");
  command->add_option("--data", options->data, "Folder of real data, {data} in the file (default: $MONARCH_DATA)")
      ->capture_default_str();
  command->add_option("-j,--jobs", options->jobs, "Trainings at a time, which share the cores")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command->add_flag("--list", options->list, "List the experiments");
  command->add_flag("--json", options->json, "Print the summary as JSON");
  command->callback([options] { run(*options); });
}

}  // namespace monarch::apps
