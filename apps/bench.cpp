// monarch bench WHAT: side-by-side timings against peers.

#include "command.hpp"

#ifdef MONARCH_HAS_BENCH
#include "monarch/bench/recon.hpp"
#endif

namespace monarch::apps {

#ifdef MONARCH_HAS_BENCH
namespace {

void add_bench_recon(CLI::App& bench) {
  struct Arguments {
    bench::ReconBenchmarkOptions options;
    bool json = false;
    std::string json_file;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      bench.add_subcommand("recon", "CG-SENSE, L1-wavelet, ESPIRiT and RSS against BART, SigPy and ISMRMRD");
  command->add_option("--repeats", arguments->options.repeats, "Timings per job and program")
      ->check(CLI::Range(1, 1000));
  command->add_option("--bench-threads", arguments->options.threads, "Thread counts, such as 1,2")->delimiter(',');
  command->add_option("--sigpy-python", arguments->options.sigpy_python,
                      "A Python that has sigpy (default: .deps/peers)");
  command->add_flag("--strict", arguments->options.goals_decide, "Exit with 1 when a goal is missed");
  command->add_flag("--json", arguments->json, "JSON on stdout instead of the table");
  command->add_option("--json-file", arguments->json_file, "The table on stdout, and JSON into this file");
  command->callback([arguments] {
    arguments->options.json = arguments->json ? "-" : arguments->json_file;
    if (bench::run_recon_benchmark(arguments->options) != 0) throw CLI::RuntimeError(1);
  });
}

}  // namespace
#endif

void add_bench([[maybe_unused]] CLI::App& app) {
#ifdef MONARCH_HAS_BENCH
  CLI::App* command = app.add_subcommand("bench", "Measure against other programs, side by side");
  command->require_subcommand(1);
  add_bench_recon(*command);
#endif
}

}  // namespace monarch::apps
