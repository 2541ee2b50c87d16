// A bounded, seeded run of the fuzz targets: mutations of valid inputs, the same on every machine.
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "fuzz/targets.hpp"
#include "monarch/core/rng.hpp"

using namespace monarch;

namespace {

std::string mutated(const std::string& seed, const std::vector<std::string>& seeds, Rng& rng) {
  static constexpr uint64_t interesting[] = {
      0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0xffff, 0x7fffffff, 0xffffffff, 0x7fffffffffffffff, 0xffffffffffffffff};
  std::string bytes = seed;
  const int64_t edits = 1 + rng.below(6);
  for (int64_t e = 0; e < edits && !bytes.empty(); ++e) {
    const auto size = static_cast<int64_t>(bytes.size());
    const auto at = static_cast<size_t>(rng.below(size));
    switch (rng.below(7)) {
      case 0:
        bytes[at] = static_cast<char>(rng.bits());
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << rng.below(8)));
        break;
      case 2: {
        const uint64_t value = interesting[rng.below(std::size(interesting))];
        for (size_t i = 0, width = size_t{1} << rng.below(4); i < width && at + i < bytes.size(); ++i)
          bytes[at + i] = static_cast<char>(value >> (8 * i));
        break;
      }
      case 3:
        bytes.resize(at);
        break;
      case 4:
        bytes.erase(at, static_cast<size_t>(1 + rng.below(16)));
        break;
      case 5:
        bytes.insert(at, bytes.substr(static_cast<size_t>(rng.below(size)), static_cast<size_t>(1 + rng.below(16))));
        break;
      default: {
        const std::string& other = seeds[static_cast<size_t>(rng.below(static_cast<int64_t>(seeds.size())))];
        const auto from = static_cast<size_t>(rng.below(static_cast<int64_t>(other.size())));
        bytes.replace(at, static_cast<size_t>(1 + rng.below(32)),
                      other.substr(from, static_cast<size_t>(1 + rng.below(32))));
      }
    }
  }
  return bytes;
}

/// Value of an environment variable, or a fallback.
double setting(const char* name, double fallback) {
  const char* text = std::getenv(name);
  return text ? std::atof(text) : fallback;
}

/// MONARCH_FUZZ_MUTATIONS and MONARCH_FUZZ_SECONDS make a longer run; MONARCH_FUZZ_FIRST starts it at a mutation that
/// failed before (its number is in the message; after a crash, MONARCH_FUZZ_TRACE=1 prints numbers as they come).
void run(const fuzz::Target& target) {
  const auto seeds = target.seeds();
  for (const auto& seed : seeds) target.run(reinterpret_cast<const uint8_t*>(seed.data()), seed.size());
  const double seconds = setting("MONARCH_FUZZ_SECONDS", 3);
  const auto first = static_cast<int64_t>(setting("MONARCH_FUZZ_FIRST", 0));
  const auto count = static_cast<int64_t>(setting("MONARCH_FUZZ_MUTATIONS", static_cast<double>(target.mutations)));
  const bool trace = setting("MONARCH_FUZZ_TRACE", 0) != 0;
  const auto start = std::chrono::steady_clock::now();
  int64_t runs = 0;
  for (int64_t i = first; i < first + count; ++i, ++runs) {
    Rng rng(static_cast<uint64_t>(i), target.name);
    const std::string bytes = mutated(seeds[static_cast<size_t>(i) % seeds.size()], seeds, rng);
    if (trace) std::fprintf(stderr, "%s %lld\n", target.name, static_cast<long long>(i));
    const auto before = std::chrono::steady_clock::now();
    INFO("mutation " << i);
    target.run(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    const auto now = std::chrono::steady_clock::now();
    REQUIRE(std::chrono::duration<double>(now - before).count() <= 20);  // no hang
    if (std::chrono::duration<double>(now - start).count() > seconds) break;
  }
  REQUIRE(runs > 0);
}

const fuzz::Target& find(const std::string& name) {
  for (const auto& target : fuzz::targets())
    if (name == target.name) return target;
  FAIL("no fuzz target " << name);
  std::abort();
}

}  // namespace

TEST_CASE("damaged XML headers end in a message") {
  run(find("xml_header"));
}
TEST_CASE("damaged streams end in a message") {
  run(find("stream"));
}
TEST_CASE("damaged BART headers end in a message") {
  run(find("cfl_header"));
}
TEST_CASE("damaged NumPy files end in a message") {
  run(find("npy"));
}
TEST_CASE("damaged HDF5 files end in a message") {
  run(find("hdf5_file"));
}
TEST_CASE("damaged SKM-TEA files end in a message") {
  run(find("skm_tea"));
}
TEST_CASE("damaged lists of scans end in a message") {
  run(find("scan_list"));
}
TEST_CASE("damaged MATLAB files end in a message") {
  run(find("mat5"));
}
TEST_CASE("intact compressed elements around damaged MATLAB variables end in a message") {
  run(find("mat5_inner"));
}
TEST_CASE("damaged HDF5 files of PDE data end in a message") {
  run(find("hdf5_fields"));
}
TEST_CASE("damaged PyTorch files of PDE data end in a message") {
  run(find("torch_fields"));
}
TEST_CASE("damaged NumPy files of PDE data end in a message") {
  run(find("npy_fields"));
}
TEST_CASE("texts of any bytes are refused or encoded") {
  run(find("encode_text"));
}
TEST_CASE("damaged BPE vocabularies end in a message") {
  run(find("bpe_vocabulary"));
}
TEST_CASE("damaged WordPiece vocabularies end in a message") {
  run(find("wordpiece_vocabulary"));
}
TEST_CASE("damaged tokenizer.json files end in a message") {
  run(find("tokenizer_json"));
}
TEST_CASE("damaged tokens.json files end in a message") {
  run(find("token_set"));
}
TEST_CASE("damaged token files end in a message") {
  run(find("token_file"));
}
TEST_CASE("damaged files of GLUE end in a message") {
  run(find("glue"));
}
TEST_CASE("damaged MNIST files end in a message") {
  run(find("idx"));
}
TEST_CASE("damaged CIFAR files end in a message") {
  run(find("cifar"));
}
TEST_CASE("damaged tables of digits end in a message") {
  run(find("digits"));
}
TEST_CASE("damaged JPEG and PNG files end in a message") {
  run(find("picture"));
}
TEST_CASE("damaged safetensors files end in a message") {
  run(find("safetensors"));
}
TEST_CASE("damaged pickles end in a message") {
  run(find("pickle"));
}
TEST_CASE("damaged PyTorch checkpoints end in a message") {
  run(find("torch_checkpoint"));
}
TEST_CASE("intact PyTorch archives around damaged pickles end in a message") {
  run(find("torch_pickle"));
}
TEST_CASE("absurd readout headers end in a message") {
  run(find("acquisitions"));
}
