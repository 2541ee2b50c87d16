// monarch count MODEL: parameters and multiplications of the paper's models, dense and Monarch, beside its tables.

#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "command.hpp"
#include "monarch/experiments/models.hpp"
#include "monarch/experiments/paper_counts.hpp"

namespace monarch::apps {
namespace {

using namespace experiments;

/// What is compared in one row: our count, and the paper's where it has this form.
struct Row {
  const Model* model;
  bool monarch;
  Count count;
  std::optional<PaperCount> paper;
};

std::string millions(int64_t parameters) {
  return fmt::format("{:.2f} M", static_cast<double>(parameters) * 1e-6);
}

std::string giga(int64_t macs) {
  const double g = static_cast<double>(macs) * 1e-9;
  return fmt::format("{:.{}f} G", g, g < 100 ? 2 : 1);
}

double percent(double ours, double paper) {
  return 100 * (ours / paper - 1);
}

double parameter_difference(const Row& row) {
  return percent(static_cast<double>(row.count.parameters) * 1e-6, row.paper->parameters_M);
}

double mac_difference(const Row& row) {
  return percent(static_cast<double>(row.count.macs) * 1e-9, row.paper->macs_G);
}

/// The paper's number with the decimals of its table.
std::string printed(double value, bool decimal) {
  return fmt::format("{:.{}f}", value, decimal ? 1 : 0);
}

void print_rows(const std::vector<Row>& rows) {
  fmt::print("{:<12} {:<8} {:>11} {:>8} {:>8}  {:>9} {:>8} {:>8}  {:<7}  {}\n", "model", "form", "parameters", "paper",
             "diff", "MACs", "paper", "diff", "source", "note");
  for (const Row& row : rows) {
    std::string parameters = "-", parameters_diff = "-", macs = "-", macs_diff = "-", source = "-",
                note = "the paper has no such row";
    if (row.paper) {
      parameters = printed(row.paper->parameters_M, row.paper->source == "Table 1") + " M";
      parameters_diff = fmt::format("{:+.1f} %", parameter_difference(row));
      macs = printed(row.paper->macs_G, row.paper->source != "Table 2") + " G";
      macs_diff = fmt::format("{:+.1f} %", mac_difference(row));
      source = row.paper->source;
      note = row.paper->note;
    }
    fmt::print("{:<12} {:<8} {:>11} {:>8} {:>8}  {:>9} {:>8} {:>8}  {}{}\n", row.model->name,
               row.monarch ? "Monarch" : "dense", millions(row.count.parameters), parameters, parameters_diff,
               giga(row.count.macs), macs, macs_diff, source, note.empty() ? "" : "  " + note);
  }
}

void print_layers(const Row& row) {
  fmt::print("\n{}, {}\n", row.model->title, row.monarch ? "Monarch" : "dense");
  fmt::print("  {:<40} {:>6} {:>14} {:<8} {:>11} {:>9}\n", "layer", "copies", "in -> out", "weight", "parameters",
             "MACs");
  for (const LayerCount& c : row.count.layers) {
    const Layer& layer = *c.layer;
    const std::string shape =
        layer.in == 0
            ? ""
            : fmt::format("{}{} -> {}", layer.parts > 1 ? fmt::format("{} x ", layer.parts) : "", layer.in, layer.out);
    fmt::print("  {:<40} {:>6} {:>14} {:<8} {:>11} {:>9}\n", layer.name, layer.copies, shape,
               layer.in == 0 ? ""
               : c.monarch   ? "Monarch"
                             : "dense",
               millions(c.parameters), giga(c.macs));
  }
}

nlohmann::json to_json(const Row& row, bool with_layers) {
  nlohmann::json result = {{"model", row.model->name},
                           {"title", row.model->title},
                           {"form", row.monarch ? "monarch" : "dense"},
                           {"parameters", row.count.parameters},
                           {"macs", row.count.macs},
                           {"macs_per", row.model->sample},
                           {"paper", nullptr}};
  if (row.paper) {
    result["paper"] = {{"parameters_M", row.paper->parameters_M},
                       {"macs_G", row.paper->macs_G},
                       {"source", row.paper->source},
                       {"note", row.paper->note},
                       {"parameters_difference_percent", parameter_difference(row)},
                       {"macs_difference_percent", mac_difference(row)}};
  }
  if (with_layers) {
    result["layers"] = nlohmann::json::array();
    for (const LayerCount& c : row.count.layers) {
      result["layers"].push_back({{"name", c.layer->name},
                                  {"role", role_name(c.layer->role)},
                                  {"copies", c.layer->copies},
                                  {"in", c.layer->in},
                                  {"out", c.layer->out},
                                  {"parts", c.layer->parts},
                                  {"rows", c.layer->rows},
                                  {"monarch", c.monarch},
                                  {"parameters", c.parameters},
                                  {"macs", c.macs}});
    }
  }
  return result;
}

}  // namespace

void add_count(CLI::App& app) {
  struct Arguments {
    std::string model, choice = "paper";
    int64_t nblocks = 4;
    bool packed = false, layers = false, json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  std::string names = "all";
  for (const Model& model : models()) names += ", " + model.name;
  CLI::App* command = app.add_subcommand("count", "Parameters and MACs of the paper's models, beside its tables");
  command->add_option("model", arguments->model, names)->required();
  command->add_option("--nblocks", arguments->nblocks, "Blocks of each Monarch factor")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--monarch", arguments->choice, "Layers that are Monarch: paper, mlp-only, all")
      ->capture_default_str();
  command->add_flag("--packed-qkv", arguments->packed, "q, k, v as one Monarch d -> 3d instead of three d -> d");
  command->add_flag("--layers", arguments->layers, "Layer by layer");
  command->add_flag("--json", arguments->json, "JSON on stdout");
  command->callback([arguments] {
    const MonarchForm form{arguments->nblocks, choice_from_name(arguments->choice), arguments->packed};
    const bool as_printed = form.nblocks == 4 && form.choice == Choice::paper && !form.packed_qkv;
    std::vector<const Model*> wanted;
    if (arguments->model == "all") {
      for (const Model& model : models()) wanted.push_back(&model);
    } else {
      wanted.push_back(&model_named(arguments->model));
    }
    std::vector<Row> rows;
    for (const Model* model : wanted) {
      rows.push_back({model, false, count_dense(*model), paper_count(model->name, false)});
      rows.push_back({model, true, count_monarch(*model, form),
                      as_printed ? std::optional(paper_count(model->name, true)) : std::nullopt});
    }
    if (arguments->json) {
      nlohmann::json all = nlohmann::json::array();
      for (const Row& row : rows) all.push_back(to_json(row, arguments->layers));
      const nlohmann::json result = {{"nblocks", form.nblocks},
                                     {"monarch_layers", arguments->choice},
                                     {"packed_qkv", form.packed_qkv},
                                     {"rows", all}};
      fmt::print("{}\n", result.dump(2));
      return;
    }
    print_rows(rows);
    if (arguments->layers) {
      for (const Row& row : rows) print_layers(row);
    }
    fmt::print("\nMACs: multiply-accumulates of one sample's forward pass, which the paper's tables call FLOPs.\n");
    for (const Model* model : wanted) fmt::print("  {:<12} {}, per {}\n", model->name, model->title, model->sample);
  });
}

}  // namespace monarch::apps
