// monarch bench WHAT: side-by-side timings against peers.

#include <iostream>

#include "command.hpp"

#ifdef MONARCH_HAS_BENCH
#include "monarch/bench/fno.hpp"
#include "monarch/bench/models.hpp"
#include "monarch/bench/mri_learned.hpp"
#include "monarch/bench/multiply.hpp"
#include "monarch/bench/nufft.hpp"
#include "monarch/bench/recon.hpp"
#include "monarch/bench/simulate.hpp"
#endif

namespace monarch::apps {

#ifdef MONARCH_HAS_BENCH
namespace {

/// Where the figures go, and whether a missed goal is a failure: options of every benchmark.
struct Reporting {
  bool json = false;
  std::string json_file;
  /// Of the benchmark's options: "-" is stdout, "" none.
  std::string place() const { return json ? "-" : json_file; }
};

void add_reporting(CLI::App& command, Reporting& reporting, bool& goals_decide) {
  command.add_flag("--strict", goals_decide, "Exit with 1 when a goal is missed");
  command.add_flag("--json", reporting.json, "JSON on stdout instead of the table");
  command.add_option("--json-file", reporting.json_file, "The table on stdout, and JSON into this file");
}

void add_bench_recon(CLI::App& bench) {
  struct Arguments {
    bench::ReconBenchmarkOptions options;
    Reporting reporting;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      bench.add_subcommand("recon", "CG-SENSE, L1-wavelet, ESPIRiT and RSS against BART, SigPy and ISMRMRD");
  command->add_option("--repeats", arguments->options.repeats, "Timings per job and program")
      ->check(CLI::Range(1, 1000));
  command->add_option("--bench-threads", arguments->options.threads, "Thread counts, such as 1,2")->delimiter(',');
  command->add_option("--sigpy-python", arguments->options.sigpy_python,
                      "A Python that has sigpy (default: .deps/peers)");
  add_reporting(*command, arguments->reporting, arguments->options.goals_decide);
  command->callback([arguments] {
    arguments->options.json = arguments->reporting.place();
    if (bench::run_recon_benchmark(arguments->options) != 0) throw CLI::RuntimeError(1);
  });
}

void add_bench_multiply(CLI::App& bench) {
  struct Arguments {
    bench::MultiplyBenchmarkOptions options;
    Reporting reporting;
  };
  auto arguments = std::make_shared<Arguments>();
  bench::MultiplyBenchmarkOptions& options = arguments->options;
  CLI::App* command =
      bench.add_subcommand("multiply", "The Monarch product against a dense one and against two batched products");
  command->add_option("--shapes", options.shapes, "Layers: n or in:out, such as 1024,768:3072")->delimiter(',');
  command->add_option("--batches", options.batches, "Rows, such as 1,256")->delimiter(',');
  command->add_option("--nblocks", options.nblocks, "Block counts, and sqrt for block rank 1")->delimiter(',');
  command->add_option("--passes", options.passes, "forward, training (forward and all gradients)")->delimiter(',');
  command->add_option("--threads-list", options.threads, "Thread counts, such as 1,2")->delimiter(',');
  command->add_option("--dtype", options.dtype, "float32, float64, bfloat16, complex64, complex128 or float16 (CUDA)");
  command->add_option("--device", options.device, "cpu or cuda");
  command->add_option("--repeats", options.repeats, "Rounds, in each of which every program runs in turn")
      ->check(CLI::Range(1, 1000));
  command->add_flag("--fresh-memory", options.fresh_memory, "Count the page faults of large results");
  command->add_flag("--quick", options.quick, "Tiny shapes and few rounds: does everything work?");
  add_reporting(*command, arguments->reporting, options.goals_decide);
  command->add_option("--svg", options.svg, "A roofline chart into this file");
  command->callback([arguments] {
    arguments->options.json = arguments->reporting.place();
    if (bench::run_multiply_benchmark(arguments->options) != 0) throw CLI::RuntimeError(1);
  });
}

void add_bench_simulate(CLI::App& bench) {
  struct Arguments {
    bench::SimulateBenchmarkOptions options;
    Reporting reporting;
  };
  auto arguments = std::make_shared<Arguments>();
  bench::SimulateBenchmarkOptions& options = arguments->options;
  CLI::App* command =
      bench.add_subcommand("simulate", "The Navier-Stokes solver against the published scheme in PyTorch");
  command->add_option("--sizes", options.sizes, "Points along an axis, such as 64,256")->delimiter(',');
  command->add_option("--threads-list", options.threads, "Thread counts, such as 1,2")->delimiter(',');
  command->add_option("--batch", options.batch, "Samples at once (default 20)")->check(CLI::Range(1, 10000));
  command->add_option("--repeats", options.repeats, "Timings, of which the least counts")->check(CLI::Range(1, 1000));
  command->add_option("--python", options.python, "A Python that has torch (default: .deps/venv, python3)");
  command->add_flag("--quick", options.quick, "Small and short: does everything work?");
  add_reporting(*command, arguments->reporting, options.goals_decide);
  command->callback([arguments] {
    arguments->options.json = arguments->reporting.place();
    if (bench::run_simulate_benchmark(arguments->options) != 0) throw CLI::RuntimeError(1);
  });
}

void add_bench_fno(CLI::App& bench) {
  struct Arguments {
    bench::FnoBenchmarkOptions options;
    Reporting reporting;
    bool worker = false;
  };
  auto arguments = std::make_shared<Arguments>();
  bench::FnoBenchmarkOptions& options = arguments->options;
  CLI::App* command = bench.add_subcommand("fno", "FNO and Monarch-NO in training against FNOs in PyTorch");
  command->add_option("--sizes", options.sizes, "Points along both axes, such as 64,128")->delimiter(',');
  command->add_option("--modes", options.modes, "Modes, counted as in the published script, such as 8,12")
      ->delimiter(',');
  command->add_option("--threads-list", options.threads, "Thread counts, such as 1,2")->delimiter(',');
  command->add_option("--jobs", options.jobs, "forward, step, rollout, memory (of a rollout)")->delimiter(',');
  command->add_option("--batch", options.batch, "Samples at once (default 20)")->check(CLI::Range(1, 10000));
  command->add_option("--steps", options.steps, "Steps of a rollout (default 10)")->check(CLI::Range(1, 1000));
  command->add_option("--repeats", options.repeats, "Rounds, in each of which every program runs in turn (default 20)")
      ->check(CLI::Range(1, 1000));
  command->add_option("--rollout-repeats", options.rollout_repeats, "The same of rollouts (default 5)")
      ->check(CLI::Range(1, 1000));
  command->add_option("--python", options.python,
                      "A Python that has torch and neuraloperator (default: .deps/peers, .deps/venv, python3)");
  command->add_flag("--quick", options.quick, "Small and short: does everything work?");
  add_reporting(*command, arguments->reporting, options.goals_decide);
  // What the benchmark starts itself with: answers questions about the first size and modes (bench/fno_worker.hpp).
  command->add_flag("--worker", arguments->worker)->group("");
  command->callback([arguments] {
    bench::FnoBenchmarkOptions& given = arguments->options;
    given.json = arguments->reporting.place();
    const int code =
        arguments->worker
            ? bench::run_fno_worker(
                  {.size = given.sizes.at(0), .modes = given.modes.at(0), .batch = given.batch, .steps = given.steps},
                  std::cin, std::cout)
            : bench::run_fno_benchmark(given);
    if (code != 0) throw CLI::RuntimeError(code);
  });
}

void add_bench_mri_learned(CLI::App& bench) {
  struct Arguments {
    bench::MriLearnedBenchmarkOptions options;
    Reporting reporting;
    bool worker = false;
  };
  auto arguments = std::make_shared<Arguments>();
  bench::MriLearnedBenchmarkOptions& options = arguments->options;
  CLI::App* command =
      bench.add_subcommand("mri-learned", "Learned reconstruction against the same networks in PyTorch");
  command
      ->add_option("--models", options.models,
                   "Of msense, u-net, unrolled, unrolled-128, modl, varnet, patch (default: all but unrolled-128)")
      ->delimiter(',');
  command->add_option("--shape", options.shape, "Rows and columns of a slice (default 512,160)")->delimiter(',');
  command->add_option("--coils", options.coils, "Coils (default 8)")->check(CLI::Range(1, 128));
  command->add_option("--threads-list", options.threads, "Thread counts, such as 1,2")->delimiter(',');
  command->add_option("--repeats", options.repeats, "Rounds, in each of which every program runs in turn (default 5)")
      ->check(CLI::Range(1, 1000));
  command->add_option("--python", options.python,
                      "A Python that has torch (default: .deps/peers, .deps/venv, python3)");
  command->add_flag("--quick", options.quick, "Small and short: does everything work?");
  add_reporting(*command, arguments->reporting, options.goals_decide);
  // What the benchmark starts itself with: answers questions about its models (bench/mri_learned_worker.hpp).
  command->add_flag("--worker", arguments->worker)->group("");
  command->callback([arguments] {
    bench::MriLearnedBenchmarkOptions& given = arguments->options;
    given.json = arguments->reporting.place();
    const int code = arguments->worker ? bench::run_mri_learned_worker(
                                             {.ny = given.shape.at(0), .nx = given.shape.at(1), .coils = given.coils},
                                             std::cin, std::cout)
                                       : bench::run_mri_learned_benchmark(given);
    if (code != 0) throw CLI::RuntimeError(code);
  });
}

void add_bench_models(CLI::App& bench) {
  struct Arguments {
    bench::ModelsBenchmarkOptions options;
    bool json = false, worker = false, no_compile = false;
    std::string json_file;
  };
  auto arguments = std::make_shared<Arguments>();
  bench::ModelsBenchmarkOptions& options = arguments->options;
  CLI::App* command =
      bench.add_subcommand("models", "GPT-2, BERT, ViT and Mixer, dense and Monarch, against the same in PyTorch");
  command->add_option("--models", options.models, "Of gpt2, bert, vit, mixer (default: all)")->delimiter(',');
  command->add_option("--depth", options.sizes.depth, "Blocks (default 4)")->check(CLI::Range(1, 100));
  command->add_option("--tokens", options.sizes.step_tokens, "Tokens of GPT-2's training step (default 1024)");
  command->add_option("--batch", options.sizes.step_batch, "Samples of the other models' training step (default 8)");
  command->add_option("--threads-list", options.threads, "Thread counts, such as 1,2")->delimiter(',');
  command->add_option("--repeats", options.repeats, "Rounds, in each of which every program runs in turn (default 5)")
      ->check(CLI::Range(1, 1000));
  command->add_option("--python", options.python,
                      "A Python that has torch (default: .deps/peers, .deps/venv, python3)");
  command->add_flag("--no-compile", arguments->no_compile, "Leave torch.compile out");
  command->add_flag("--quick", options.quick, "Small and short: does everything work?");
  command->add_flag("--strict", options.goals_decide, "Exit with 1 when a goal is missed");
  command->add_flag("--json", arguments->json, "JSON on stdout instead of the table");
  command->add_option("--json-file", arguments->json_file, "The table on stdout, and JSON into this file");
  // What the benchmark starts itself with: answers questions about its models (bench/models_worker.hpp).
  command->add_flag("--worker", arguments->worker)->group("");
  command->callback([arguments] {
    bench::ModelsBenchmarkOptions& given = arguments->options;
    given.json = arguments->json ? "-" : arguments->json_file;
    given.compile = !arguments->no_compile;
    const int code = arguments->worker ? bench::run_models_worker(given.sizes, std::cin, std::cout)
                                       : bench::run_models_benchmark(given);
    if (code != 0) throw CLI::RuntimeError(code);
  });
}

void add_bench_nufft(CLI::App& bench) {
  struct Arguments {
    bench::NufftBenchmarkOptions options;
    Reporting reporting;
  };
  auto arguments = std::make_shared<Arguments>();
  bench::NufftBenchmarkOptions& options = arguments->options;
  CLI::App* command =
      bench.add_subcommand("nufft", "Non-uniform transforms and radial CG-SENSE against BART and SigPy");
  command->add_option("--threads-list", options.threads, "Thread counts, such as 1,2")->delimiter(',');
  command->add_option("--repeats", options.repeats, "Rounds, in each of which every program runs in turn (default 5)")
      ->check(CLI::Range(1, 1000));
  command->add_option("--python", options.python, "A Python that has sigpy (default: .deps/peers, python3)");
  command->add_flag("--quick", options.quick, "Few spokes and iterations: does everything work?");
  add_reporting(*command, arguments->reporting, options.goals_decide);
  command->callback([arguments] {
    arguments->options.json = arguments->reporting.place();
    if (bench::run_nufft_benchmark(arguments->options) != 0) throw CLI::RuntimeError(1);
  });
}

}  // namespace
#endif

void add_bench([[maybe_unused]] CLI::App& app) {
#ifdef MONARCH_HAS_BENCH
  CLI::App* command = app.add_subcommand("bench", "Measure against other programs, side by side");
  command->require_subcommand(1);
  add_bench_recon(*command);
  add_bench_multiply(*command);
  add_bench_simulate(*command);
  add_bench_fno(*command);
  add_bench_mri_learned(*command);
  add_bench_models(*command);
  add_bench_nufft(*command);
#endif
}

}  // namespace monarch::apps
