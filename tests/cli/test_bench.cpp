#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <set>

#include "scans.hpp"

using namespace monarch::test;
using Catch::Matchers::Contains;

namespace fs = std::filesystem;

TEST_CASE("the multiply benchmark times every case and writes JSON and chart") {
  const TemporaryFolder folder;
  const auto run = run_monarch(folder.path(), "bench multiply --quick --json-file report.json --svg roofline.svg");
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  REQUIRE_THAT(run.output, Contains("64→128") && Contains("forward and backward, 2 threads") && Contains("goals"));
  REQUIRE_THAT(read_bytes(folder / "roofline.svg"), Contains("<svg") && Contains("large matrix product"));

  const auto report = read_json(folder / "report.json");
  REQUIRE(report["benchmark"] == "multiply");
  for (const auto* key : {"cpu", "version", "revision", "libtorch", "command", "OMP_WAIT_POLICY"}) {
    INFO(key);
    REQUIRE(report["machine"].contains(key));
  }
  REQUIRE(report["limits"].size() == 2);
  // 2 shapes × 2 batches × 2 block counts × 2 passes × 2 thread counts.
  REQUIRE(report["cases"].size() == 32);
  std::set<std::string> passes;
  for (const auto& entry : report["cases"]) {
    passes.insert(entry["pass"].get<std::string>());
    REQUIRE(entry["difference_to_bmm"].get<double>() <= entry["tolerance"].get<double>());
    for (const auto* program : {"monarch", "bmm", "dense"}) {
      const auto& timing = entry["programs"][program];
      REQUIRE(timing["samples"].size() == 3);
      REQUIRE(timing["minimum_seconds"].get<double>() > 0);
      REQUIRE(timing["seconds"].get<double>() >= timing["minimum_seconds"].get<double>());
      REQUIRE(entry["flops_per_second"][program].get<double>() > 0);
    }
    REQUIRE(entry["fraction_of_ideal"].get<double>() * entry["ideal_speedup"].get<double>() ==
            Approx(entry["speedup_over_dense"].get<double>()));
    REQUIRE(entry["fraction_of_peak"].get<double>() > 0);
    REQUIRE_FALSE(entry["goals"].empty());
  }
  REQUIRE(passes == std::set<std::string>{"forward", "training"});
  REQUIRE(report["memory"].size() == 4);
  REQUIRE(report["goals"].size() == 9);
  REQUIRE(report["memory"][0]["bmm"]["kept_bytes"].get<double>() > 0);
}

TEST_CASE("every dtype of the product can be timed") {
  const TemporaryFolder folder;
  for (const std::string dtype : {"float64", "bfloat16", "complex64", "complex128"}) {
    const auto run = run_monarch(folder.path(), "bench multiply --quick --threads-list 1 --json --dtype " + dtype);
    INFO(dtype << ": " << run.errors);
    REQUIRE(run.exit_code == 0);
    const auto report = nlohmann::json::parse(run.output);
    REQUIRE(report["settings"]["dtype"] == dtype);
    REQUIRE(report["cases"].size() == 16);
  }
}

TEST_CASE("the multiply benchmark refuses options that make no sense") {
  const TemporaryFolder folder;
  for (const auto* arguments :
       {"--shapes 0", "--shapes ten", "--shapes 16:", "--nblocks 0", "--nblocks root", "--shapes 16 --nblocks 32",
        "--shapes 17 --nblocks sqrt", "--batches 0", "--batches -3", "--threads-list 0", "--repeats 0",
        "--passes backward", "--passes training --svg roofline.svg", "--dtype float31", "--dtype float16",
        "--device tpu", "--no-such-option"}) {
    const auto run = run_monarch(folder.path(), std::string("bench multiply --json-file report.json ") + arguments);
    INFO(arguments << ": " << run.errors);
    REQUIRE(run.exit_code == 2);
    REQUIRE_FALSE(run.errors.empty());
  }
  REQUIRE_THAT(run_monarch(folder.path(), "bench multiply --dtype float31").errors, Contains("did you mean"));
  REQUIRE(fs::is_empty(folder.path()));
  if (!at::hasCUDA()) {
    const auto run = run_monarch(folder.path(), "bench multiply --quick --device cuda");
    REQUIRE(run.exit_code == 1);
    REQUIRE_THAT(run.errors, Contains("no CUDA device"));
  }
}

TEST_CASE("with --strict a missed goal shows in the exit code and without it does not") {
  const TemporaryFolder folder;
  const std::string common = "bench multiply --quick --threads-list 1 --passes forward --json-file report.json";
  REQUIRE(run_monarch(folder.path(), common).exit_code == 0);
  const auto strict = run_monarch(folder.path(), common + " --strict");
  const auto report = read_json(folder / "report.json");
  bool missed = false;
  for (const auto& goal : report["goals"]) missed = missed || goal["met"] == false;
  REQUIRE(strict.exit_code == (missed ? 1 : 0));
  // Layers this small do not come near the peak of a large product.
  REQUIRE(missed);
}

TEST_CASE("threads wait passively whatever the environment holds unless the user says otherwise") {
  const TemporaryFolder folder;
  const std::string command =
      std::string(" '") + MONARCH_PROGRAM + "' bench multiply --quick --threads-list 1 --passes forward --json";
  for (const std::string environment : {"env -u OMP_WAIT_POLICY -u _", "env -u OMP_WAIT_POLICY _=/bin/program"}) {
    const auto run = run_command(environment + command);
    INFO(environment << run.errors);
    REQUIRE(run.exit_code == 0);
    REQUIRE(nlohmann::json::parse(run.output)["machine"]["OMP_WAIT_POLICY"] == "passive");
  }
  const auto run = run_command("env OMP_WAIT_POLICY=active" + command);
  REQUIRE(nlohmann::json::parse(run.output)["machine"]["OMP_WAIT_POLICY"] == "active");
}

TEST_CASE("the simulate benchmark times every case and says what it is missing") {
  const TemporaryFolder folder;
  const auto run = run_monarch(folder.path(), "bench simulate --quick --json-file report.json");
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  const auto report = read_json(folder / "report.json");
  REQUIRE(report["cases"].size() == 4);
  const bool peer = report["missing"].empty();
  REQUIRE(report["goals"].size() == (peer ? 5 : 0));
  for (const auto& entry : report["cases"]) {
    REQUIRE(entry["seconds"].get<double>() > 0);
    REQUIRE(entry["euler_cn_seconds"].get<double>() > 0);
    REQUIRE(entry.contains("ratio") == peer);
    if (peer) REQUIRE(entry["difference"].get<double>() <= 1e-5);
  }
  REQUIRE(report["equal_error"]["steps"].size() >= 5);
  REQUIRE(run_monarch(folder.path(), "bench simulate --sizes 63").exit_code == 2);
  REQUIRE(run_monarch(folder.path(), "bench simulate --threads-list 0").exit_code == 2);
}

TEST_CASE("the FNO benchmark times every job and says what it is missing") {
  const TemporaryFolder folder;
  const auto run = run_monarch(folder.path(), "bench fno --quick --json-file report.json --python '" MONARCH_SOURCE_DIR
                                              "/.deps/peers/bin/python'");
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  REQUIRE_THAT(run.output, Contains("16², modes 4, 1 thread") && Contains("Peak memory") && Contains("goals"));
  const auto report = read_json(folder / "report.json");
  const bool script = report["versions"].contains("torch"), library = report["versions"].contains("neuraloperator");
  REQUIRE(report["missing"].size() == (script && library ? 0 : 1));
  REQUIRE(report["cases"].size() == 2);
  for (const auto& entry : report["cases"]) {
    for (const auto* job : {"forward", "step", "rollout"}) {
      const auto& programs = entry["jobs"][job];
      for (const auto& [name, timing] : programs.items()) {
        INFO(job << ", " << name);
        REQUIRE(timing["minimum_seconds"].get<double>() > 0);
        REQUIRE(timing.contains("over_fno") == (name != "fno"));
      }
      REQUIRE(programs.contains("fno"));
      REQUIRE(programs.contains("script") == script);
      REQUIRE(programs.contains("neuraloperator") == library);
    }
    REQUIRE(entry["jobs"]["step"].contains("monarch-no"));
    REQUIRE(entry["jobs"]["rollout"].contains("fno-recompute"));
    REQUIRE(entry.contains("agreement") == script);
    if (script) REQUIRE(entry["agreement"]["rollout-recompute"].get<double>() <= 1e-4);
  }
  REQUIRE(report["memory"][0]["bytes"]["fno"].get<double>() > 0);
  REQUIRE(report["goals"].size() == size_t(2 * (1 + 4 * (script + library))));
}

TEST_CASE("the FNO benchmark runs without any peer and refuses options that make no sense") {
  const TemporaryFolder folder;
  const std::string alone = std::string("cd '") + folder.path().string() + "' && PATH=/nowhere '" + MONARCH_PROGRAM +
                            "' --quiet bench fno --quick --threads-list 1 --jobs step --json";
  const auto run = run_command(alone);
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  const auto report = nlohmann::json::parse(run.output);
  REQUIRE(report["missing"].size() == 1);
  REQUIRE(report["goals"].size() == 1);
  REQUIRE_FALSE(report["cases"][0].contains("agreement"));
  for (const auto* arguments :
       {"--sizes 63", "--sizes 16 --modes 9", "--modes 1", "--threads-list 0", "--jobs epoch"}) {
    const auto refused = run_monarch(folder.path(), std::string("bench fno ") + arguments);
    INFO(arguments << ": " << refused.errors);
    REQUIRE(refused.exit_code == 2);
    REQUIRE_FALSE(refused.errors.empty());
  }
}

TEST_CASE("the benchmark of learned reconstruction compares with PyTorch and times every model") {
  const TemporaryFolder folder;
  const auto run =
      run_monarch(folder.path(), "bench mri-learned --quick --threads-list 1 --json-file report.json --python '" +
                                     std::string(MONARCH_SOURCE_DIR) + "/.deps/peers/bin/python'");
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  REQUIRE_THAT(run.output, Contains("48 × 32, 2 coils") && Contains("inverse transform") && Contains("goals"));
  const auto report = read_json(folder / "report.json");
  const bool peer = report["versions"].contains("torch");
  REQUIRE(report["missing"].size() == (peer ? 0 : 1));
  REQUIRE(report["cases"].size() == 1);
  const auto& entry = report["cases"][0];
  REQUIRE(entry["models"].size() == 6);
  for (const auto& [name, model] : entry["models"].items()) {
    INFO(name);
    REQUIRE(model.contains("agreement") == peer);
    if (peer) REQUIRE(model["agreement"]["output"].get<double>() <= 1e-4);
    for (const auto* job : {"inference", "step"}) {
      REQUIRE(model["jobs"][job]["monarch"]["seconds"].get<double>() > 0);
      REQUIRE(model["jobs"][job].contains("torch") == peer);
    }
  }
  REQUIRE(entry["transforms"]["monarch"]["over_fourier"].get<double>() > 0);
  REQUIRE(report["goals"].size() == (peer ? 9 : 1));
}

TEST_CASE("the benchmark of non-uniform transforms checks its accuracy and says what it is missing") {
  const TemporaryFolder folder;
  const auto run =
      run_monarch(folder.path(), "bench nufft --quick --threads-list 1 --json-file report.json --python '" +
                                     std::string(MONARCH_SOURCE_DIR) + "/.deps/peers/bin/python'");
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  REQUIRE_THAT(run.output, Contains("13 spokes") && Contains("cg-sense") && Contains("goals"));
  const auto report = read_json(folder / "report.json");
  const bool bart = report["versions"].contains("bart"), sigpy = report["versions"].contains("sigpy");
  REQUIRE(report["missing"].size() == size_t(!bart + !sigpy));
  for (const auto* job : {"forward", "adjoint", "cg-sense"}) {
    INFO(job);
    const auto& programs = report["cases"][0]["jobs"][job];
    REQUIRE(programs["monarch"]["seconds"].get<double>() > 0);
    REQUIRE(programs.contains("bart") == bart);
    REQUIRE(programs.contains("sigpy") == sigpy);
    REQUIRE(programs.contains("monarch planned") == (std::string(job) != "cg-sense"));
  }
  REQUIRE(report["cases"][0]["jobs"]["forward"]["monarch"]["error"].get<double>() <= 1e-5);
  REQUIRE(report["cases"][0]["jobs"]["adjoint"]["monarch"]["error"].get<double>() <= 1e-5);
  REQUIRE(report["goals"].size() == size_t(bart ? 4 : 2));
}

TEST_CASE("the MRI benchmarks run without peers and refuse options that make no sense") {
  const TemporaryFolder folder;
  const auto run = run_command(std::string("cd '") + folder.path().string() + "' && PATH=/nowhere '" + MONARCH_PROGRAM +
                               "' --quiet bench mri-learned --quick --threads-list 1 --models patch --json");
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  const auto report = nlohmann::json::parse(run.output);
  REQUIRE(report["missing"].size() == 1);
  REQUIRE(report["goals"].size() == 1);
  for (const auto* arguments :
       {"mri-learned --shape 512", "mri-learned --shape 500,160", "mri-learned --models gan", "mri-learned --coils 0",
        "mri-learned --threads-list 0", "nufft --threads-list 0", "nufft --repeats 0"}) {
    const auto refused = run_monarch(folder.path(), std::string("bench ") + arguments);
    INFO(arguments << ": " << refused.errors);
    REQUIRE(refused.exit_code == 2);
    REQUIRE_FALSE(refused.errors.empty());
  }
}

TEST_CASE("the models benchmark compares with PyTorch, counts multiplications and refuses unknown models") {
  const TemporaryFolder folder;
  const auto run =
      run_monarch(folder.path(), "bench models --quick --models vit,mixer --threads-list 1 --json-file report.json");
  INFO(run.errors);
  REQUIRE(run.exit_code == 0);
  REQUIRE_THAT(run.output, Contains("inference-32") && Contains("goals"));
  const auto report = read_json(folder / "report.json");
  for (const auto* name : {"vit", "mixer"}) {
    const auto& model = report["cases"][0]["models"][name];
    if (report["missing"].empty()) REQUIRE(model["agreement"].get<double>() <= 1e-4);
    for (const auto* job : {"step", "inference-1", "inference-32"}) {
      for (const auto* program : {"dense", "monarch"})
        REQUIRE(model["jobs"][job][program]["seconds"].get<double>() > 0);
      REQUIRE(model["jobs"][job]["macs_ratio"].get<double>() > 1.2);
    }
  }
  const auto unknown = run_monarch(folder.path(), "bench models --quick --models gpt3");
  REQUIRE(unknown.exit_code == 2);
  REQUIRE_THAT(unknown.errors, Contains("gpt3") && Contains("gpt2"));
}
