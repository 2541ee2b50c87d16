#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <vector>

#include "catch2/catch.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/experiments/evaluations.hpp"
#include "monarch/experiments/summary.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::experiments;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;

namespace {

constexpr const char* kText = R"(
title = "A table"
metric = "l2"
selection = "l2_valid"
baseline = "base"
[run.training]
epochs = 100
batch = 20
[run.data]
file = "{out}/data/easy.mat"
[[column]]
name = "easy"
label = "Easy"
simulate = "burgers --samples 100"
file = "data/easy.mat"
[[column]]
name = "hard"
[column.run.data]
file = "{data}/hard.mat"
[[row]]
name = "base"
label = "Baseline"
paper = { easy = 0.2, hard = 0.4 }
[row.run.model]
name = "fno"
[[row]]
name = "ours"
paper = { easy = 0.1 }
note = "a note"
[row.run.model]
name = "monarch-no"
[[also]]
metric = "l2_fine"
label = "Finer"
[[reference]]
label = "Peer"
parameters = 1234
note = "another note"
values = { hard = 0.625, l2_fine = 4.5 }
[preset.smoke]
seeds = [1, 2]
scaled = ["2 epochs instead of 100"]
[preset.smoke.run.training]
epochs = 2
[preset.smoke.column.easy]
simulate = "burgers --samples 3"
[preset.smoke.row.ours.run.training]
batch = 5
[preset.smoke.tune]
key = "training.rate"
values = [0.5, 0.25, 8]
settings = ["training.epochs=1"]
columns = ["hard"]
[preset.paper]
)";

/// Stands for the program: simulate makes the file; train writes a result that depends on the config, fails when told.
constexpr const char* kProgram = R"(#!/bin/sh
echo "$@" >> "$CALLS"
case $1 in
simulate | prepare) while [ $# -gt 1 ]; do shift; [ "$1" = -o ] && echo data > "$2"; done; exit 0 ;;
esac
config=$2 out=$4
rate=$(sed -n 's/^rate = //p' "$config"); seed=$(sed -n 's/^seed = //p' "$config")
if grep -q monarch-no "$config"; then factor=1; else factor=2; fi
[ -f "$FAIL" ] && { echo "cannot go on"; exit 1; }
[ "$rate" = 8 ] && { echo "the loss is not finite"; exit 1; }
value=$(awk "BEGIN { print $factor * (0.1 * $seed + ${rate:-0}) }")
echo "{\"test\": {\"l2\": $value, \"l2_fine\": 3}, \"validation\": {\"l2_valid\": $value}, \"parameters\": 10, \"epochs\": 2, \"seconds\": 1.5}" > "$out/result.json"
)";

std::string content(const fs::path& file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

struct Fixture {
  test::TemporaryFolder folder;
  fs::path toml = folder.path() / "t.toml", program = folder.path() / "program", out = folder.path() / "out";
  Fixture() {
    std::ofstream(toml) << kText;
    std::ofstream(program) << kProgram;
    fs::permissions(program, fs::perms::owner_all);
    setenv("CALLS", (folder.path() / "calls").c_str(), 1);
    setenv("FAIL", (folder.path() / "fail").c_str(), 1);
  }
  Experiment load(const std::string& preset = "smoke") { return load_experiment(toml, preset, out, folder.path()); }
  int64_t calls(const std::string& word) {
    std::ifstream file(folder.path() / "calls");
    int64_t count = 0;
    for (std::string line; std::getline(file, line);) count += line.starts_with(word);
    return count;
  }
};

}  // namespace

TEST_CASE("an experiment's settings merge from general to special") {
  Fixture f;
  const Experiment e = f.load();
  REQUIRE(e.rows.size() == 2);
  REQUIRE(e.columns.size() == 2);
  REQUIRE(e.simulated[0].words == std::vector<std::string>{"burgers", "--samples", "3"});
  const Config config = e.run_config(1, 1, 7);
  REQUIRE(config.integer("training.epochs") == 2);
  REQUIRE(config.integer("training.batch") == 5);
  REQUIRE(config.integer("training.seed") == 7);
  REQUIRE(config.text("model.name") == "monarch-no");
  REQUIRE(config.text("data.file") == (f.folder.path() / "hard.mat").string());
  REQUIRE(e.run_config(0, 0, 1).integer("training.batch") == 20);
  REQUIRE(e.run_config(0, 0, 1).text("data.file") == (f.out / "data/easy.mat").string());
  REQUIRE(f.load("paper").run_config(1, 0, 1).integer("training.epochs") == 100);
  REQUIRE(f.load("paper").scaled.empty());
}

TEST_CASE("a column can go on from another's runs, and a row can differ in one column") {
  Fixture f;
  std::string text = kText;
  const auto replace = [&](const std::string& what, const std::string& by) { text.replace(text.find(what), what.size(), by); };
  replace("name = \"hard\"\n", "name = \"hard\"\nafter = \"easy\"\n");
  replace("file = \"{data}/hard.mat\"", "start = \"{out}/runs/{row}/easy/seed{seed}\"");
  replace("name = \"monarch-no\"", "name = \"monarch-no\"\n[row.column.hard.run.training]\nbatch = 7");
  replace("[preset.paper]", "[preset.paper]\nseeds = [1, 2, 3]\n[preset.paper.row.base.column.hard.run.training]\nbatch = 9");
  std::ofstream(f.toml) << text;
  const Experiment e = f.load("paper");
  REQUIRE(e.columns[1].after == "easy");
  REQUIRE(e.run_config(1, 1, 2).text("data.start") == (f.out / "runs/ours/easy/seed2").string());
  REQUIRE(e.run_config(1, 1, 2).integer("training.batch") == 7);
  REQUIRE(e.run_config(1, 0, 2).integer("training.batch") == 20);
  REQUIRE(e.run_config(0, 1, 2).integer("training.batch") == 9);
  run_experiment(e, {f.out, f.program, 2, 1});
  std::ifstream calls(f.folder.path() / "calls");
  int64_t trained = 0;
  for (std::string line; std::getline(calls, line);) {
    if (!line.starts_with("train")) continue;
    REQUIRE((line.find("/hard/") != std::string::npos) == (trained >= 6));
    ++trained;
  }
  REQUIRE(trained == 12);
  replace("after = \"easy\"", "after = \"hard\"");
  std::ofstream(f.toml) << text;
  REQUIRE_THROWS_WITH(f.load("paper"), Contains("must stand before it"));
}

TEST_CASE("paths with spaces and quotes stay whole in settings and in commands that make data") {
  Fixture f;
  std::string text = kText;
  const std::string simulate = "simulate = \"burgers --samples 3\"";
  text.replace(text.find(simulate), simulate.size(), "prepare = \"text {data}/a.txt --seed 1\"");
  std::ofstream(f.toml) << text;
  const fs::path data = f.folder.path() / "my \"own\" data";
  const Experiment e = load_experiment(f.toml, "smoke", f.out, data);
  REQUIRE(e.simulated[0].command == "prepare");
  REQUIRE(e.simulated[0].words == std::vector<std::string>{"text", data.string() + "/a.txt", "--seed", "1"});
  REQUIRE(e.run_config(0, 1, 1).text("data.file") == data.string() + "/hard.mat");
}

TEST_CASE("mistakes in an experiment file are named") {
  Fixture f;
  REQUIRE_THROWS_WITH(f.load("smok"), Contains("did you mean 'smoke'?"));
  const auto with = [&](const std::string& more) {
    std::ofstream(f.toml) << kText << more;
    return f.load("paper");
  };
  REQUIRE_THROWS_WITH(with("lables = 3\n"), Contains("nothing reads 'lables'"));
  REQUIRE_THROWS_WITH(with("[preset.paper.row.our]\nx = 1\n"), Contains("no row has that name"));
  REQUIRE_THROWS_WITH(with("columns = ['esy']\n"), Contains("did you mean 'easy'?"));
  REQUIRE_THROWS_WITH(with("[[reference]]\nlabel = 'x'\nvalues = { l2_fin = 1 }\n"),
                      Contains("did you mean 'l2_fine'?"));
  REQUIRE_THROWS_AS(find_experiment("table99x"), ConfigError);
}

TEST_CASE("an experiment tunes, trains, and a second run repeats nothing") {
  Fixture f;
  const Experiment e = f.load();
  const auto result = run_experiment(e, {f.out, f.program, 2, 1});
  REQUIRE(result.tuning.size() == 2);
  REQUIRE(result.tuning[0].chosen == 0.25);
  REQUIRE(std::isnan(result.tuning[0].scores.at(8)));
  REQUIRE(result.runs.size() == 8);
  REQUIRE(f.calls("simulate burgers --samples 3") == 1);
  REQUIRE(f.calls("train") == 2 * 3 + 8);
  const Summary s = summarise(e, result);
  REQUIRE(std::abs(s.cells[0][0].mean - 2 * 0.4) <= 1e-12);
  REQUIRE(std::abs(s.cells[0][0].spread - 2 * 0.1 / std::sqrt(2.0)) <= 1e-12);
  REQUIRE(std::abs(*s.cells[1][0].change + 0.5) <= 1e-12);
  REQUIRE(std::abs(*s.cells[1][0].paper_change + 0.5) <= 1e-12);
  REQUIRE(!s.cells[1][1].paper_change);
  REQUIRE(!s.cells[0][0].change);
  REQUIRE(std::abs(average_of(s.cells[0]) - (s.cells[0][0].mean + s.cells[0][1].mean) / 2) <= 1e-12);

  fs::remove(f.out / "runs/ours/hard/seed2/result.json");
  const auto again = run_experiment(e, {f.out, f.program, 1, 1});
  REQUIRE(again.runs.size() == 8);
  // The one that was lost, and the two that diverge leave no result.
  REQUIRE(f.calls("train") == 2 * 3 + 8 + 1 + 2);
  REQUIRE(f.calls("simulate") == 1);

  write_report(e, again, f.out);
  const std::string page = content(f.out / "report.md"), html_page = content(f.out / "report.html");
  REQUIRE_THAT(page, Contains("2 epochs instead of 100") && Contains("a note") && Contains("-50 % → -50 %") &&
                         Contains("diverged") && Contains("0.200"));
  // Other metrics of the same runs, and what another program reached.
  REQUIRE_THAT(page, Contains("| *Peer* | 1,234 | – | – | – | – | 0.6250 | – |") && Contains("another note") &&
                         Contains("| Baseline | 3.0000 ± 0.0000 | 3.0000 ± 0.0000 |") &&
                         Contains("| *Peer* | 4.5000 | – |"));
  REQUIRE_THAT(html_page, Contains("data:image/svg+xml;base64,") && !Contains("src=\"figures"));
  REQUIRE(nlohmann::json::parse(content(f.out / "summary.json"))["rows"].size() == 2);
}

TEST_CASE("a failing run ends the experiment with its last words and keeps what is finished") {
  Fixture f;
  const Experiment e = f.load();
  run_experiment(e, {f.out, f.program, 1, 1});
  fs::remove(f.out / "runs/ours/hard/seed2/result.json");
  std::ofstream(f.folder.path() / "fail") << "x";
  REQUIRE_THROWS_WITH(run_experiment(e, {f.out, f.program, 1, 1}), Contains("cannot go on"));
  REQUIRE(fs::exists(f.out / "runs/base/hard/seed1/result.json"));
  REQUIRE_THROWS_WITH(run_experiment(f.load("paper"), {f.out, f.program, 1, 1}), Contains("t smoke"));
}

TEST_CASE("a document is the same in Markdown and HTML and escapes its texts") {
  Document d{"A <title>", {}};
  d.add(Paragraph{"**bold** `a<b` & more"});
  d.add(Table{{"name", "x"}, {{"a", "1"}}, 1});
  REQUIRE_THAT(markdown(d, "."), Contains("# A <title>") && Contains("| a | 1 |") && Contains("| --- | ---: |"));
  REQUIRE_THAT(html(d), Contains("<h1>A &lt;title&gt;</h1>") && Contains("<strong>bold</strong>") &&
                            Contains("<code>a&lt;b</code> &amp; more") && Contains("<td class=\"n\">1</td>"));
  d.add(Picture{"/no/such.png", "lost"});
  REQUIRE_THROWS_AS(html(d), DataError);
}

TEST_CASE("time to a value is interpolated between evaluations") {
  const std::vector<Evaluation> course{{1, 10, 2, 3.0}, {2, 20, 4, 2.0}, {3, 30, 8, 1.0}, {4, 40, 10, 1.5}};
  REQUIRE(time_to_value(course, 1.25, true, false) == 27.5);
  REQUIRE(time_to_value(course, 1.25, false, false) == 7);
  REQUIRE(time_to_value(course, 3.5, true, false) == 10);  // better from the first evaluation on
  REQUIRE(time_to_value(course, 0.5, true, false) == std::nullopt);
  REQUIRE(time_to_value({{1, 1, 1, 0.2}, {2, 2, 3, 0.6}}, 0.4, false, true) == 2);
}

TEST_CASE("ratios to a partner, times to its loss, and curves are read from the runs") {
  Fixture f;
  // "ours" takes half the time a step, and reaches the base's last loss (2) after 15 of 30 steps; "late" never does.
  std::ofstream(f.program) << R"(#!/bin/sh
echo "$@" >> "$CALLS"
case $1 in
prepare) while [ $# -gt 1 ]; do shift; [ "$1" = -o ] && mkdir "$2"; done; exit 0 ;;
esac
out=$4 name=$(sed -n "s/^name = ['\"]\(.*\)['\"]/\1/p" "$2")
line() { echo "{\"epoch\": 1, \"step\": $1, \"seconds\": $2, \"metrics\": {\"loss\": $3}}" >> "$out/log.jsonl"; }
rm -f "$out/log.jsonl"; echo '{"epoch": 0, "step": 5, "loss": 9}' > "$out/log.jsonl"
case $name in
dense) line 10 20 4; line 20 40 3; line 30 60 2; step=2 ;;
ours) line 10 10 3; line 20 20 1; step=1 ;;
late) line 10 10 5; line 30 30 4; step=1 ;;
esac
epochs=0; [ "$name" = late ] && epochs=1  # the others are shorter than an epoch
echo "{\"test\": {\"loss\": 2}, \"parameters\": 1234567, \"epochs\": $epochs, \"steps\": 30, \"seconds\": 6, \"throughput\": {\"seconds_per_step\": $step}}" > "$out/result.json"
)";
  const std::string text = R"(
title = "Times"
metric = "loss"
baseline = "base"
curves = ["loss"]
[[simulated]]
name = "words"
prepare = "text {data}/a.txt --tokenizer bytes"
file = "words"
[[column]]
name = "c"
[[row]]
name = "base"
label = "Dense"
run.model.name = "dense"
[[row]]
name = "ours"
run.model.name = "ours"
[[row]]
name = "late"
partner = "ours"
run.model.name = "late"
[[also]]
metric = "throughput.seconds_per_step"
relative_to = "base"
inverse = true
label = "speed-up"
digits = 1
[[also]]
name = "to_loss"
time_to = { metric = "loss", of_row = "base" }
relative_to = "base"
label = "time to the loss"
digits = 3
[[also]]
metric = "parameters"
digits = 0
[[also]]
name = "to_loss_steps"
time_to = { metric = "loss", of_row = "base", axis = "step" }
label = "steps to the loss"
[preset.smoke]
)";
  std::ofstream(f.toml) << text;
  const Experiment e = f.load();
  REQUIRE(e.simulated.at(0).command == "prepare");
  const auto result = run_experiment(e, {f.out, f.program, 1, 1});
  REQUIRE(fs::is_directory(f.out / "words"));
  const auto json = to_json(e, result, summarise(e, result));
  const auto number = [&](size_t row, const char* name) { return json["rows"][row]["also"][name]["c"]; };
  REQUIRE(number(0, "throughput.seconds_per_step_ratio")["mean"] == 1);
  REQUIRE(number(1, "throughput.seconds_per_step_ratio")["mean"] == 2);
  REQUIRE(number(0, "to_loss")["mean"] == 1);
  REQUIRE(number(1, "to_loss")["mean"] == 15. / 60);
  REQUIRE(number(1, "to_loss_steps")["mean"] == 15);
  REQUIRE(number(2, "to_loss")["not_reached"] == 1);
  write_report(e, result, f.out);
  const std::string page = content(f.out / "report.md");
  REQUIRE_THAT(page, Contains("not reached") && Contains("2.0 ×") && Contains("0.250 ×"));
  REQUIRE_THAT(page, Contains("late against ours"));
  REQUIRE_THAT(page, Contains("| Dense | 1.0 × | 1.000 × | 1,234,567 |"));
  REQUIRE_THAT(page, Contains("seconds per step") && Contains("| late | 1,234,567 | 0.200 |"));
  for (const auto* axis : {"steps", "seconds"}) {
    const std::string picture = content(f.out / "figures" / fmt::format("training-c-loss-{}.svg", axis));
    REQUIRE_THAT(picture, Contains("validation loss") && Contains("Dense"));
  }
  const auto with = [&](const std::string& more) {
    std::ofstream(f.toml) << text << more;
    return f.load();
  };
  REQUIRE_THROWS_WITH(with("[[also]]\nmetric = 'loss'\nrelative_to = 'bse'\n"), Contains("did you mean 'base'?"));
  REQUIRE_THROWS_WITH(with("[[simulated]]\nname = 'x'\nfile = 'x'\n"), Contains("neither simulate nor prepare"));
}
