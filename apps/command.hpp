#pragma once
// What the subcommands share. Each apps/<name>.cpp registers itself with add_<name>(app).

#include <CLI/CLI.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "monarch/data/image.hpp"
#include "monarch/mri/metrics.hpp"

namespace monarch::apps {

void add_recon(CLI::App& app);
void add_info(CLI::App& app);
void add_compare(CLI::App& app);
void add_bench(CLI::App& app);
void add_project(CLI::App& app);
void add_densify(CLI::App& app);
void add_inspect(CLI::App& app);
void add_count(CLI::App& app);
void add_transform(CLI::App& app);
void add_reproduce(CLI::App& app);
void add_simulate(CLI::App& app);
void add_train(CLI::App& app);
void add_predict(CLI::App& app);
void add_prepare(CLI::App& app);
void add_generate(CLI::App& app);

/// Two columns, aligned, on stdout.
void print_table(const std::vector<std::pair<std::string, std::string>>& rows);

/// What `info` says about a folder of token files.
void print_token_set(const std::string& folder, bool json);

/// A picture of an [z, y] count map for a terminal: rows of block characters, empty to full.
std::vector<std::string> map_picture(const at::Tensor& counts, int64_t width, int64_t height);

/// The metric conventions that `recon --reference` and `compare` print.
struct Comparison {
  std::vector<mri::MetricSet> sets;
  std::vector<std::string> notes;
  double fitted_nrmse = 0;  ///< NRMSE after the best (complex or real) scale factor
};
Comparison compare_images(const data::ImageSeries& image, const data::ImageSeries& reference, bool crop);
void print_comparison(const Comparison& comparison);
nlohmann::json to_json(const Comparison& comparison);

}  // namespace monarch::apps
