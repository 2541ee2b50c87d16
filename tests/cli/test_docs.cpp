#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <sstream>

#include "monarch/data/image_io.hpp"
#include "monarch/data/safetensors.hpp"
#include "radial_scan.hpp"
#include "scans.hpp"

using namespace monarch::test;

namespace fs = std::filesystem;

namespace {

/// The commands in ```sh blocks of a Markdown file that start with `monarch`.
std::vector<std::string> commands_in(const fs::path& page) {
  std::vector<std::string> commands;
  std::istringstream lines(read_bytes(page));
  bool shell = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("```")) {
      shell = line == "```sh";
    } else if (shell && line.starts_with("monarch ")) {
      commands.push_back(line.substr(0, line.find("  #")));
    }
  }
  return commands;
}

}  // namespace

TEST_CASE("every monarch command in README and docs runs as written") {
  std::vector<fs::path> pages = {fs::path(MONARCH_SOURCE_DIR) / "README.md"};
  for (const auto& entry : fs::directory_iterator(fs::path(MONARCH_SOURCE_DIR) / "docs")) {
    if (entry.path().extension() == ".md") pages.push_back(entry.path());
  }
  const TemporaryFolder folder;
  shepp_logan(folder, "-n 0.01");
  fs::create_directory(folder / "bin");
  fs::create_directory_symlink(fs::path(MONARCH_SOURCE_DIR) / "experiments", folder / "experiments");
  fs::create_symlink(MONARCH_PROGRAM, folder / "bin/monarch");
  // The page's truth.h5 is a reconstruction of the fully sampled scan.
  fs::rename(folder / "scan.h5", folder / "accelerated.h5");
  shepp_logan(folder, "-n 0");
  REQUIRE(run_monarch(folder.path(), "recon scan.h5 --out truth").exit_code == 0);
  fs::rename(folder / "truth/image.h5", folder / "truth.h5");
  fs::remove(folder / "scan.h5");
  fs::rename(folder / "accelerated.h5", folder / "scan.h5");
  write_ismrmrd(folder / "radial.h5", RadialScan(32).scan);
  // The pages' BERT: two small layers under the real names.
  std::vector<std::pair<std::string, at::Tensor>> weights = {
      {"embeddings.word_embeddings.weight", at::randn({40, 32})}};
  for (const std::string layer : {"encoder.layer.0.", "encoder.layer.1."}) {
    for (const std::string name :
         {"attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"})
      weights.emplace_back(layer + name + ".weight", at::randn({32, 32}));
    weights.emplace_back(layer + "intermediate.dense.weight", at::randn({128, 32}));
    weights.emplace_back(layer + "output.dense.weight", at::randn({32, 128}));
  }
  monarch::data::save_safetensors(folder / "model.safetensors", weights);
  fs::copy_file(fs::path(MONARCH_SOURCE_DIR) / "tests/golden/checkpoints/trainer.pt", folder / "trainer.pt");
  // The pages' vocabularies and texts: small ones under the real names.
  for (const std::string kind : {"gpt2", "bert"})
    fs::copy(fs::path(MONARCH_SOURCE_DIR) / "tests/golden/tokenizers" / kind, folder / kind);
  write_text(folder / "book.txt", "The first chapter.\n\nThe second chapter, longer than the first.\n");
  write_text(folder / "wiki.train.tokens",
             " \n = First = \n \n A text . \n = = Part = = \n More . \n = Second = \n Text . \n");
  write_text(folder / "wiki.valid.tokens", " \n = Third = \n \n A text . \n");
  // The pages' digits and photograph. Sixty digits: each has a bright row of its own.
  std::string digits;
  for (int i = 0; i < 60; ++i) {
    for (int k = 0; k < 64; ++k) digits += k / 8 == i % 5 ? (i % 10 < 5 ? "16," : "8,") : "1,";
    digits += std::to_string(i % 10) + "\n";
  }
  write_text(folder / "digits.csv.gz", digits);
  fs::copy_file(fs::path(MONARCH_SOURCE_DIR) / "tests/golden/images/small.jpg", folder / "photo.jpg");
  int count = 0;
  for (const auto& page : pages) {
    for (const auto& command : commands_in(page)) {
      if (command.starts_with("monarch bench")) continue;  // minutes long; the benchmark has tests of its own
      const auto result =
          run_command("cd '" + folder.path().string() + "' && export PATH=\"$PWD/bin:$PATH\" && " + command);
      INFO(page.filename().string() << ": " << command << "\n" << result.errors);
      REQUIRE(result.exit_code == 0);
      ++count;
    }
  }
  REQUIRE(count >= 4);
}
