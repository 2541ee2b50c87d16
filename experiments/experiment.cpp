#include "monarch/experiments/experiment.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace fs = std::filesystem;

namespace monarch::experiments {
namespace {

/// Words in braces and what stands for them: {out}, {data}, {here} of a file, {row} and {seed} of a run.
using Places = std::map<std::string, std::string>;

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size()))
    text.replace(at, what.size(), by);
  return text;
}

std::string filled_in(std::string text, const Places& places) {
  for (const auto& [name, value] : places) text = replaced(std::move(text), "{" + name + "}", value);
  return text;
}

/// The words between spaces, then filled in: a path with spaces stays one word.
std::vector<std::string> words(const std::string& text, const Places& places) {
  std::istringstream stream(text);
  std::vector<std::string> all;
  for (std::string word; stream >> word;) all.push_back(filled_in(word, places));
  return all;
}

/// Where the experiments of this build or installation are.
std::vector<fs::path> experiment_folders() {
  std::vector<fs::path> folders;
  if (const char* set = std::getenv("MONARCH_EXPERIMENTS")) folders.emplace_back(set);
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
  if (!ignored) folders.push_back(program.parent_path().parent_path() / "share/monarch/experiments");
  folders.emplace_back(MONARCH_EXPERIMENTS_FOLDER);
  return folders;
}

std::vector<fs::path> experiment_files() {
  std::vector<fs::path> files;
  std::set<std::string> seen;
  std::error_code ignored;
  for (const auto& folder : experiment_folders())
    for (const auto& place : {folder, folder / "tables"})
      for (const auto& entry : fs::directory_iterator(place, ignored))
        if (entry.path().extension() == ".toml" && seen.insert(entry.path().stem()).second) {
          // A training config without rows is no experiment.
          if (!preset_names(entry.path()).empty()) files.push_back(entry.path());
        }
  std::sort(files.begin(), files.end());
  return files;
}

Config load_file(const fs::path& file, const Places& places) {
  Config config = Config::load(file);
  config.rewrite_texts([&](std::string_view key, const std::string& text) {
    return key == "simulate" || key == "prepare" ? text : filled_in(text, places);  // words() fills those in
  });
  return config;
}

std::vector<std::string> names_of(const std::vector<Config>& tables) {
  std::vector<std::string> names;
  for (const auto& table : tables) names.push_back(table.text("name"));
  return names;
}

/// Sections [preset.P.row.R]: every R must be a row.
void check_names(const Config& preset, const std::string& kind, const std::vector<std::string>& known) {
  for (const std::string& name : preset.names(kind))
    check<ConfigError>(std::find(known.begin(), known.end(), name) != known.end(), [&] {
      return fmt::format("{}.{}.{}: no {} has that name; expected {}", preset.name(), kind, name, kind, join_or(known));
    });
}

size_t index_of(const std::vector<std::string>& names, const std::string& name, const std::string& what) {
  const auto found = std::find(names.begin(), names.end(), name);
  check<ConfigError>(found != names.end(), [&] {
    const std::string near = closest_match(name, names);
    return fmt::format("no {} is named '{}'{}", what, name,
                       near.empty() ? "; there are " + join_or(names) : fmt::format("; did you mean '{}'?", near));
  });
  return static_cast<size_t>(found - names.begin());
}

/// What `simulate` or `prepare` of a table says, an own one of the preset first; no words where neither is there.
Simulated made_data(const Config& from, const Config& own, const std::string& label, const std::string& file,
                    const Places& places) {
  Simulated made{label, "", {}, file};
  for (const Config* config : {&own, &from}) {
    for (const char* command : {"simulate", "prepare"}) {
      if (!config->has(command)) continue;
      const std::string text = config->text(command);
      if (!made.command.empty()) continue;
      made.command = command;
      made.words = words(text, places);
    }
  }
  return made;
}

TimeTo time_to_of(const Config& from) {
  TimeTo t;
  t.metric = from.text("time_to.metric");
  t.of_row = from.text("time_to.of_row");
  t.axis = from.choice<std::string>("time_to.axis", "seconds", {{"seconds", "seconds"}, {"step", "step"}});
  t.higher_is_better = from.boolean("time_to.higher_is_better", false);
  return t;
}

Also also_of(const Config& from) {
  Also a;
  if (from.has("time_to")) {
    a.time_to = time_to_of(from);
    a.metric = "time_to_" + a.time_to->metric;
  } else {
    a.metric = from.text("metric");
  }
  a.relative_to = from.text("relative_to", "");
  a.name = from.text("name", a.relative_to.empty() ? a.metric : a.metric + "_ratio");
  a.label = from.text("label", a.name);
  a.inverse = from.boolean("inverse", false);
  a.optional = from.boolean("optional", false);
  if (from.has("digits")) a.digits = from.integer("digits");
  from.finish();
  return a;
}

template <class T>
std::vector<std::string> names_of(const std::vector<T>& items) {
  std::vector<std::string> names;
  for (const T& item : items) names.push_back(item.name);
  return names;
}

}  // namespace

Experiment load_experiment(const fs::path& file, const std::string& preset_name, const fs::path& out,
                           const fs::path& data) {
  const Places places = {{"out", fs::absolute(out).string()},
                         {"data", fs::absolute(data).string()},
                         {"here", fs::absolute(file).parent_path().string()}};
  const Config config = load_file(file, places);
  Experiment e;
  e.name = file.stem();
  e.title = config.text("title");
  e.source = config.text("source", "");
  e.question = config.text("question", "");
  e.metric = config.text("metric");
  e.metric_label = config.text("metric_label", e.metric);
  e.higher_is_better = config.boolean("higher_is_better", false);
  e.selection = config.text("selection", e.metric);
  e.baseline = config.text("baseline", "");
  e.average = config.text("average", "");
  e.digits = config.integer("digits", 4);
  e.curves = config.texts("curves", {});
  e.preset = preset_name;

  const auto presets = config.names("preset");
  index_of(presets, preset_name, "preset of " + file.string());
  for (const auto& other : presets) config.section("preset." + other);  // the keys of the others are read by them
  const Config preset = config.section("preset." + preset_name);
  e.scaled = preset.texts("scaled", {});
  for (const double seed : preset.numbers("seeds", {0})) e.seeds.push_back(static_cast<int64_t>(seed));
  check<ConfigError>(!e.seeds.empty(), [&] { return fmt::format("{}: seeds is empty", preset.name()); });

  Config base = config.section("run");
  base.merge(preset.section("run"));
  const auto rows = config.tables("row"), columns = config.tables("column");
  check<ConfigError>(!rows.empty() && !columns.empty(),
                     [&] { return fmt::format("{}: no [[row]] or no [[column]]", file.string()); });
  const auto row_names = names_of(rows), column_names = names_of(columns);
  check_names(preset, "row", row_names);
  check_names(preset, "column", column_names);
  const auto wanted_rows = preset.texts("rows", row_names), wanted_columns = preset.texts("columns", column_names);
  for (const auto& name : wanted_rows) index_of(row_names, name, "row");
  for (const auto& name : wanted_columns) index_of(column_names, name, "column");

  const auto shared = config.tables("simulated");
  const auto shared_names = names_of(shared);
  check_names(preset, "simulated", shared_names);
  const auto wanted_data = preset.texts("make", shared_names);
  for (const auto& name : wanted_data) index_of(shared_names, name, "simulated data");
  for (size_t i = 0; i < shared.size(); ++i) {
    const bool wanted = std::find(wanted_data.begin(), wanted_data.end(), shared_names[i]) != wanted_data.end();
    const Config own = preset.section("simulated." + shared_names[i]);
    Simulated made = made_data(shared[i], own, shared_names[i], shared[i].text("file"), places);
    check<ConfigError>(!made.words.empty(), [&] {
      return fmt::format("{}: '{}' has neither simulate nor prepare", shared[i].name(), shared_names[i]);
    });
    if (wanted) e.simulated.push_back(std::move(made));
    shared[i].finish();
    own.finish();
  }
  for (size_t i = 0; i < columns.size(); ++i) {
    const Config& from = columns[i];
    const Config own = preset.section("column." + column_names[i]);
    Column column;
    column.name = column_names[i];
    column.label = from.text("label", column.name);
    column.after = from.text("after", "");
    if (!column.after.empty()) {
      const size_t before = index_of(column_names, column.after, "column");
      check<ConfigError>(before < i, [&] {
        return fmt::format("{}: column '{}' comes after '{}', which must stand before it", file.string(), column.name,
                           column.after);
      });
    }
    Simulated made = made_data(from, own, column.label, from.text("file", ""), places);
    Config settings = base.copy();
    settings.merge(from.section("run"));
    settings.merge(own.section("run"));
    from.finish();
    own.finish();
    if (std::find(wanted_columns.begin(), wanted_columns.end(), column.name) == wanted_columns.end()) continue;
    if (!made.words.empty()) e.simulated.push_back(std::move(made));
    e.columns.push_back(std::move(column));
    e.column_settings.push_back(std::move(settings));
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    const Config& from = rows[i];
    const Config own = preset.section("row." + row_names[i]);
    Row row;
    row.name = row_names[i];
    row.label = from.text("label", row.name);
    row.note = from.text("note", "");
    row.train = from.boolean("train", true);
    row.control = from.boolean("control", false);
    row.partner = from.text("partner", "");
    if (!row.partner.empty()) index_of(row_names, row.partner, "row");
    if (from.has("paper_average")) row.paper_average = from.number("paper_average");
    for (const std::string& name : from.names("paper")) {
      index_of(column_names, name, "column");
      row.paper[name] = from.number("paper." + name);
    }
    for (const std::string& metric : from.names("paper_also")) {
      for (const std::string& name : from.names("paper_also." + metric)) {
        index_of(column_names, name, "column");
        row.paper[metric + " " + name] = from.number("paper_also." + metric + "." + name);
      }
    }
    Config settings = from.section("run");
    settings.merge(own.section("run"));
    std::map<std::string, Config> cells;  // by column
    for (const Config* table : {&from, &own}) {
      for (const std::string& name : table->names("column")) {
        index_of(column_names, name, "column");
        const Config cell = table->section("column." + name);
        cells.try_emplace(name, Config::parse("", cell.name())).first->second.merge(cell.section("run"));
        cell.finish();
      }
    }
    from.finish();
    own.finish();
    if (std::find(wanted_rows.begin(), wanted_rows.end(), row.name) == wanted_rows.end()) continue;
    e.rows.push_back(std::move(row));
    for (size_t c = 0; c < e.columns.size(); ++c)
      if (const auto cell = cells.find(e.columns[c].name); cell != cells.end())
        e.cell_settings.emplace(std::pair(e.row_settings.size(), c), std::move(cell->second));
    e.row_settings.push_back(std::move(settings));
  }
  std::vector<std::string> measured = column_names;
  for (const Config& from : config.tables("also")) {
    Also also = also_of(from);
    for (const std::string& name : {also.relative_to, also.time_to ? also.time_to->of_row : std::string()})
      if (!name.empty() && name != "partner") index_of(row_names, name, "row");
    measured.push_back(also.name);
    e.also.push_back(std::move(also));
  }
  for (const Config& from : config.tables("reference")) {
    Reference reference{from.text("label"), from.text("note", ""), from.integer("parameters", 0), {}};
    for (const std::string& name : from.names("values")) {
      index_of(measured, name, "column or metric of [[also]]");
      reference.values[name] = from.number("values." + name);
    }
    from.finish();
    e.references.push_back(std::move(reference));
  }
  if (preset.has("tune")) {
    Tuning tuning;
    tuning.key = preset.text("tune.key");
    tuning.values = preset.numbers("tune.values", {});
    tuning.settings = preset.texts("tune.settings", {});
    tuning.columns = preset.texts("tune.columns", names_of(e.columns));
    for (const auto& column : tuning.columns) index_of(names_of(e.columns), column, "column");
    check<ConfigError>(!tuning.values.empty() && !tuning.columns.empty(),
                       [&] { return fmt::format("{}: tune needs values and columns", preset.name()); });
    e.tuning = std::move(tuning);
  }
  if (!e.baseline.empty()) index_of(row_names, e.baseline, "row");
  preset.finish();
  config.finish();
  return e;
}

Config Experiment::run_config(size_t row, size_t column, int64_t seed) const {
  Config config = column_settings.at(column).copy();
  config.merge(row_settings.at(row));
  if (const auto cell = cell_settings.find({row, column}); cell != cell_settings.end()) config.merge(cell->second);
  const Places places = {{"row", rows.at(row).name}, {"seed", std::to_string(seed)}};
  config.rewrite_texts([&](std::string_view, const std::string& text) { return filled_in(text, places); });
  config.set(fmt::format("training.seed={}", seed));
  return config;
}

size_t Experiment::row_index(const std::string& row) const {
  return index_of(names_of(rows), row, "row");
}
size_t Experiment::column_index(const std::string& column) const {
  return index_of(names_of(columns), column, "column");
}

const std::string& Experiment::partner_of(size_t row, const std::string& other) const {
  if (other != "partner") return other;
  const std::string& own = rows.at(row).partner;
  return own.empty() ? baseline : own;
}

std::optional<size_t> Experiment::compared_with(size_t row, const std::string& other) const {
  const std::string& wanted = partner_of(row, other);
  for (size_t r = 0; r < rows.size(); ++r)
    if (rows[r].name == wanted && r != row) return r;
  return std::nullopt;
}

std::vector<std::string> preset_names(const fs::path& file) {
  return Config::load(file).names("preset");
}

std::vector<std::string> experiment_names() {
  std::vector<std::string> names;
  for (const auto& file : experiment_files()) names.push_back(file.stem());
  return names;
}

fs::path find_experiment(const std::string& name) {
  std::error_code ignored;
  if (fs::is_regular_file(name, ignored)) return name;
  for (const auto& file : experiment_files())
    if (file.stem() == name) return file;
  const auto names = experiment_names();
  const std::string near = closest_match(name, names);
  fail<ConfigError>(
      fmt::format("no experiment is named '{}'{}", name,
                  near.empty() ? "; there are " + join_or(names) : fmt::format("; did you mean '{}'?", near)),
      "give a name from `monarch reproduce --list`, or the path of a TOML file");
}

}  // namespace monarch::experiments
