#include "monarch/training/communicator.hpp"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <map>
#include <regex>

#include "group.hpp"
#include "monarch/core/error.hpp"
#include "monarch/data/safetensors.hpp"
#include "monarch/training/launch.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::test;
using namespace monarch::training;

namespace {

Environment environment_of(const std::map<std::string, std::string>& variables) {
  return [variables](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
}

std::vector<Outcome> group(int processes, const std::string& act, const std::string& more = {}, int seconds = 60) {
  return run_group(processes, torchrun_environment(processes, free_port(), more), MONARCH_WORKER, act + " .", seconds);
}

using Tensors = std::vector<std::pair<std::string, at::Tensor>>;

/// What the workers kept, by rank.
std::vector<Tensors> kept(const TemporaryFolder& folder, int processes) {
  std::vector<Tensors> all;
  for (int rank = 0; rank < processes; ++rank) {
    const auto file = data::open_safetensors(folder / (std::to_string(rank) + ".safetensors"));
    Tensors tensors;
    for (const data::TensorInfo& info : file->tensors()) tensors.emplace_back(info.name, file->load(info.name));
    all.push_back(std::move(tensors));
  }
  return all;
}

bool bit_identical(const Tensors& a, const Tensors& b) {
  if (a.size() != b.size() || a.empty()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].first != b[i].first || a[i].second.scalar_type() != b[i].second.scalar_type() ||
        !at::equal(a[i].second, b[i].second))
      return false;
  }
  return true;
}

/// The sum of sin((i + salt)(1.7 + rank)) over the ranks: what worker.cpp makes, added up in double.
at::Tensor sum_of_sines(int64_t count, int processes, double salt) {
  at::Tensor sum = at::zeros({count}, at::kDouble);
  for (int rank = 0; rank < processes; ++rank) sum += at::sin((at::arange(count, at::kDouble) + salt) * (1.7 + rank));
  return sum;
}

void check_sums(const TemporaryFolder& folder, int processes) {
  const std::vector<Tensors> results = kept(folder, processes);
  for (int rank = 1; rank < processes; ++rank) REQUIRE(bit_identical(results[0], results[static_cast<size_t>(rank)]));
  std::map<std::string, at::Tensor> sum(results[0].begin(), results[0].end());
  const double tolerance = 1e-6;
  REQUIRE((sum.at("0") - sum_of_sines(3, processes, 0)).abs().max().item<double>() <= tolerance);
  REQUIRE((at::select(sum.at("1"), -1, 0).flatten() - sum_of_sines(10, processes, 1)).abs().max().item<double>() <=
          tolerance);
  REQUIRE((sum.at("2") - sum_of_sines(7000000, processes, 2)).abs().max().item<double>() <= tolerance);
  REQUIRE((sum.at("3") - sum_of_sines(24, processes, 3).view({4, 6}).transpose(0, 1)).abs().max().item<double>() <=
          1e-12);
  REQUIRE((at::select(sum.at("4"), -1, 0).flatten() - sum_of_sines(6, processes, 4)).abs().max().item<double>() <=
          1e-12);
  REQUIRE(sum.at("5").scalar_type() == at::kLong);
  REQUIRE((sum.at("5") - 1000 * sum_of_sines(5, processes, 5)).abs().max().item<double>() <= processes);
  REQUIRE((sum.at("6") - sum_of_sines(1, processes, 6)[0]).abs().item<double>() <= tolerance);
  REQUIRE(
      (sum.at("8").flatten() - sum_of_sines(24, processes, 8).view({8, 3}).select(1, 1)).abs().max().item<double>() <=
      tolerance);
  REQUIRE((sum.at("9") - sum_of_sines(4, processes, 9)).abs().max().item<double>() <= tolerance);
  // The same check of another number of processes fails.
  REQUIRE_FALSE((sum.at("0") - sum_of_sines(3, processes + 1, 0)).abs().max().item<double>() <= tolerance);
}

}  // namespace

TEST_CASE("torchrun's variables place a process in its group") {
  const std::map<std::string, std::string> variables = {{"RANK", "3"},
                                                        {"LOCAL_RANK", "1"},
                                                        {"WORLD_SIZE", "4"},
                                                        {"LOCAL_WORLD_SIZE", "2"},
                                                        {"MASTER_ADDR", "node1"},
                                                        {"MASTER_PORT", "29400"},
                                                        {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                                                        {"TORCHELASTIC_RESTART_COUNT", "2"}};
  const auto launch = launch_from_environment(environment_of(variables));
  REQUIRE(launch);
  REQUIRE((launch->rank == 3 && launch->size == 4 && launch->local_rank == 1));
  REQUIRE((launch->host == "node1" && launch->port == 29400));
  REQUIRE((launch->store_exists && launch->prefix == "worker/attempt_2" && !launch->one_machine));
  std::map<std::string, std::string> changed = variables;
  changed["LOCAL_WORLD_SIZE"] = "4";
  REQUIRE(launch_from_environment(environment_of(changed))->one_machine);
  changed = variables;
  changed["MASTER_ADDR"] = "127.0.0.1";
  REQUIRE(launch_from_environment(environment_of(changed))->one_machine);
  changed["MONARCH_PEER_TIMEOUT"] = "90";
  REQUIRE(launch_from_environment(environment_of(changed))->timeout_seconds == 90);
}

TEST_CASE("Open MPI's and Slurm's variables place a process in its group") {
  std::map<std::string, std::string> mpi = {{"OMPI_COMM_WORLD_RANK", "1"},
                                            {"OMPI_COMM_WORLD_SIZE", "2"},
                                            {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                                            {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                                            {"PMIX_NAMESPACE", "prterun-host-77@1"},
                                            {"SLURM_PROCID", "0"},  // mpirun inside a Slurm job
                                            {"SLURM_STEP_NUM_TASKS", "1"}};
  auto launch = launch_from_environment(environment_of(mpi));
  REQUIRE(launch);
  REQUIRE((launch->launcher == "Open MPI" && launch->rank == 1 && launch->size == 2 && launch->local_rank == 1));
  REQUIRE((launch->host == "127.0.0.1" && launch->one_machine && launch->port >= 20000 && launch->port < 32000));
  const uint16_t port = launch->port;
  mpi["PMIX_NAMESPACE"] = "prterun-host-78@1";
  REQUIRE(launch_from_environment(environment_of(mpi))->port != port);  // jobs side by side do not meet
  mpi["OMPI_COMM_WORLD_LOCAL_SIZE"] = "1";
  REQUIRE_THROWS_WITH(launch_from_environment(environment_of(mpi)), Catch::Contains("MASTER_ADDR"));

  std::map<std::string, std::string> slurm = {{"SLURM_PROCID", "5"},
                                              {"SLURM_STEP_NUM_TASKS", "8"},
                                              {"SLURM_LOCALID", "1"},
                                              {"SLURM_STEP_NUM_NODES", "2"},
                                              {"SLURM_JOB_ID", "123"},
                                              {"SLURM_STEP_ID", "0"},
                                              {"SLURM_STEP_NODELIST", "gpu[007-012,20],login"}};
  launch = launch_from_environment(environment_of(slurm));
  REQUIRE(launch);
  REQUIRE((launch->launcher == "Slurm" && launch->rank == 5 && launch->size == 8 && launch->local_rank == 1));
  REQUIRE((launch->host == "gpu007" && !launch->one_machine && launch->port >= 20000));
  slurm["MASTER_PORT"] = "4321";
  slurm["MASTER_ADDR"] = "elsewhere";
  launch = launch_from_environment(environment_of(slurm));
  REQUIRE((launch->host == "elsewhere" && launch->port == 4321));
  // A batch script that asks for 8 tasks is itself one process until srun starts them.
  REQUIRE_FALSE(launch_from_environment(environment_of({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}})));
}

TEST_CASE("lists of Slurm hosts: the first one") {
  REQUIRE(first_slurm_host("node") == "node");
  REQUIRE(first_slurm_host("a,b") == "a");
  REQUIRE(first_slurm_host("n[3,5-9]") == "n3");
  REQUIRE(first_slurm_host("rack[1-2]n[04-08]-ib,x") == "rack1n04-ib");
  REQUIRE_THROWS_AS(first_slurm_host("n[3"), ConfigError);
  REQUIRE_THROWS_AS(first_slurm_host(""), ConfigError);
}

TEST_CASE("no launcher, or one process: single_process") {
  REQUIRE_FALSE(launch_from_environment(environment_of({})));
  REQUIRE_FALSE(launch_from_environment(environment_of({{"RANK", "0"}, {"WORLD_SIZE", "1"}})));
  const auto alone = single_process();
  REQUIRE((alone->rank() == 0 && alone->size() == 1));
  const at::Tensor t = at::ones({3});
  alone->all_reduce({t});
  alone->broadcast({t});
  alone->barrier();
  REQUIRE(at::equal(t, at::ones({3})));
}

TEST_CASE("variables that are missing or contradict are named") {
  const auto refusal = [](const std::map<std::string, std::string>& variables) -> std::string {
    try {
      launch_from_environment(environment_of(variables));
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "accepted";
  };
  using Catch::Contains;
  REQUIRE_THAT(refusal({{"RANK", "0"}}), Contains("WORLD_SIZE is not set"));
  REQUIRE_THAT(refusal({{"WORLD_SIZE", "2"}}), Contains("RANK is not set"));
  REQUIRE_THAT(refusal({{"RANK", "2"}, {"WORLD_SIZE", "2"}}), Contains("RANK is 2, but WORLD_SIZE is 2"));
  REQUIRE_THAT(refusal({{"RANK", "one"}, {"WORLD_SIZE", "2"}}), Contains("RANK is 'one'"));
  REQUIRE_THAT(refusal({{"RANK", "1"}, {"WORLD_SIZE", "2"}}), Contains("MASTER_ADDR is not set"));
  REQUIRE_THAT(refusal({{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "h"}}), Contains("MASTER_PORT is not set"));
  REQUIRE_THAT(refusal({{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "h"}, {"MASTER_PORT", "70000"}}),
               Contains("MASTER_PORT is '70000'"));
  REQUIRE_THAT(refusal({{"OMPI_COMM_WORLD_SIZE", "2"}}), Contains("OMPI_COMM_WORLD_RANK is not set"));
  REQUIRE_THAT(refusal({{"SLURM_STEP_NUM_TASKS", "2"}}), Contains("SLURM_PROCID is not set"));
  REQUIRE_THAT(refusal({{"SLURM_STEP_NUM_TASKS", "2"}, {"SLURM_PROCID", "1"}}),
               Contains("SLURM_STEP_NODELIST is not set"));
}

TEST_CASE("CUDA is refused where this build or machine has none") {
  Launch launch;
  launch.launcher = "torchrun";
  launch.size = 2;
  launch.local_rank = 1000;
  try {
    join_group(launch, true);
    REQUIRE(false);
  } catch (const Error& error) {
    REQUIRE_THAT(error.what(), Catch::Contains("NCCL") || Catch::Contains("CUDA devices"));
  }
}

#ifdef MONARCH_WITH_GLOO

TEST_CASE("all_reduce sums on every process, bit for bit the same, for every type and layout") {
  for (const int processes : {2, 3}) {
    const TemporaryFolder folder;
    const auto outcomes = run_group(processes, torchrun_environment(processes, free_port()), MONARCH_WORKER,
                                    "sum '" + folder.path().string() + "'");
    for (const Outcome& outcome : outcomes) {
      CAPTURE(outcome.output, outcome.errors);
      REQUIRE(outcome.exit_code == 0);
    }
    REQUIRE_THAT(outcomes[1].output, Catch::Contains("process 1 of " + std::to_string(processes) + ", Gloo"));
    check_sums(folder, processes);
  }
}

TEST_CASE("broadcast gives everybody the tensors of rank 0, bit for bit") {
  const TemporaryFolder folder;
  for (const Outcome& outcome : run_group(2, torchrun_environment(2, free_port()), MONARCH_WORKER,
                                          "broadcast '" + folder.path().string() + "'")) {
    CAPTURE(outcome.output, outcome.errors);
    REQUIRE(outcome.exit_code == 0);
  }
  const std::vector<Tensors> results = kept(folder, 2);
  REQUIRE(bit_identical(results[0], results[1]));
  const std::map<std::string, at::Tensor> root(results[0].begin(), results[0].end());
  REQUIRE((root.at("2") - sum_of_sines(7000000, 1, 2)).abs().max().item<double>() <= 1e-6);  // rank 0's own
  REQUIRE(root.at("10").scalar_type() == at::kBool);
  REQUIRE(root.at("11").scalar_type() == at::kBFloat16);
  // The comparison notices one bit.
  Tensors changed = results[1];
  changed[0].second = changed[0].second.clone();
  changed[0].second.flatten()[0] += 1e-7;
  REQUIRE_FALSE(bit_identical(results[0], changed));
}

TEST_CASE("training on 2 or 4 processes gives the weights of one process with the whole batch") {
  const TemporaryFolder alone;
  const Outcome one = run_group(
      1, [](int) { return ""; }, MONARCH_WORKER, "train '" + alone.path().string() + "'")[0];
  CAPTURE(one.output, one.errors);
  REQUIRE(one.exit_code == 0);
  REQUIRE_THAT(one.output, Catch::Contains("one process"));
  const Tensors reference = kept(alone, 1)[0];
  for (const int processes : {2, 4}) {
    const TemporaryFolder together;
    for (const Outcome& outcome : run_group(processes, torchrun_environment(processes, free_port()), MONARCH_WORKER,
                                            "train '" + together.path().string() + "'")) {
      CAPTURE(outcome.output, outcome.errors);
      REQUIRE(outcome.exit_code == 0);
    }
    const std::vector<Tensors> results = kept(together, processes);
    for (const Tensors& result : results) REQUIRE(bit_identical(results[0], result));
    for (size_t i = 0; i < reference.size(); ++i)
      REQUIRE(relative_error(results[0][i].second, reference[i].second) <= 1e-6);
  }
  // Gradients that are not added together lead elsewhere: one process with its own share only.
  const TemporaryFolder apart;
  const auto environment = torchrun_environment(1, free_port());
  REQUIRE(run_group(1, environment, MONARCH_WORKER, "train-share '" + apart.path().string() + "'")[0].exit_code == 0);
  REQUIRE_FALSE(relative_error(kept(apart, 1)[0][0].second, reference[0].second) <= 1e-3);
}

TEST_CASE("a barrier holds until the last process comes") {
  const auto outcomes = group(2, "barrier");
  std::smatch waited;
  REQUIRE(outcomes[0].exit_code == 0);
  REQUIRE(std::regex_search(outcomes[0].output, waited, std::regex("waited ([0-9.e-]+)")));
  REQUIRE(std::stod(waited[1]) >= 0.3);
}

TEST_CASE("Open MPI's variables alone are enough on one machine") {
  const TemporaryFolder folder;
  const int port = free_port();
  const auto environment = [port](int rank) {
    return fmt::format(
        "OMPI_COMM_WORLD_RANK={} OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK={} OMPI_COMM_WORLD_LOCAL_SIZE=2 "
        "MASTER_PORT={}",
        rank, rank, port);
  };
  for (const Outcome& outcome : run_group(2, environment, MONARCH_WORKER, "sum '" + folder.path().string() + "'")) {
    CAPTURE(outcome.output, outcome.errors);
    REQUIRE(outcome.exit_code == 0);
  }
  check_sums(folder, 2);
}

TEST_CASE("torchrun itself starts a group that works") {
  const TemporaryFolder folder;
  if (run_command("'" MONARCH_PYTHON "' -c 'import torch.distributed.run'").exit_code != 0)
    skip("needs the full PyTorch wheel (scripts/setup --cuda)");
  const CommandResult result =
      run_command("OMP_NUM_THREADS=1 timeout 120 '" MONARCH_PYTHON
                  "' -m torch.distributed.run --no-python --standalone --nproc-per-node 2 '" MONARCH_WORKER "' sum '" +
                  folder.path().string() + "'");
  CAPTURE(result.output, result.errors);
  REQUIRE(result.exit_code == 0);
  check_sums(folder, 2);
}

TEST_CASE("processes that disagree about shapes, types or calls get an error that says how") {
  using Catch::Contains;
  for (const auto& [act, text] : {std::pair<std::string, std::string>{"shapes", "2 tensors of 6 numbers"},
                                  {"types", "1 tensors of 2 numbers"},
                                  {"calls", "process 1 waits at a barrier"}}) {
    const auto outcomes = group(2, act);
    for (const Outcome& outcome : outcomes) {
      CAPTURE(act, outcome.output, outcome.errors);
      REQUIRE(outcome.exit_code == 1);
      REQUIRE_THAT(outcome.output, Contains("ShapeError: process"));
    }
    REQUIRE_THAT(outcomes[0].output, Contains(text));
  }
}

TEST_CASE("a process that dies, hangs or never comes is an error for the others, not a hang") {
  using Catch::Contains;
  const auto dead = group(2, "die");
  CAPTURE(dead[0].output, dead[0].errors);
  REQUIRE(dead[1].exit_code == 3);
  REQUIRE(dead[0].exit_code == 1);
  REQUIRE_THAT(dead[0].output, Contains("BackendError: process 0 of 2, all_reduce: ") && Contains("hint: "));
  const auto hung = group(2, "hang", "MONARCH_PEER_TIMEOUT=2");
  CAPTURE(hung[0].output, hung[0].errors);
  REQUIRE(hung[0].exit_code == 1);
  REQUIRE_THAT(hung[0].output, Contains("BackendError: process 0 of 2, barrier: "));
  const auto alone =
      run_group(1, torchrun_environment(2, free_port(), "MONARCH_PEER_TIMEOUT=2"), MONARCH_WORKER, "sum .");
  CAPTURE(alone[0].output, alone[0].errors);
  REQUIRE(alone[0].exit_code == 1);
  REQUIRE_THAT(alone[0].output, Contains("BackendError: process 0 cannot gather 2 processes"));
}

TEST_CASE("a port that somebody else has is an error that names it") {
  const Listener taken;
  const auto outcomes =
      run_group(1, torchrun_environment(2, taken.port(), "MONARCH_PEER_TIMEOUT=5"), MONARCH_WORKER, "sum .", 60);
  CAPTURE(outcomes[0].output, outcomes[0].errors);
  REQUIRE(outcomes[0].exit_code == 1);
  REQUIRE_THAT(outcomes[0].output, Catch::Contains("BackendError") && Catch::Contains(std::to_string(taken.port())));
}

#else

TEST_CASE("several processes are refused without Gloo") {
  Launch launch;
  launch.launcher = "torchrun";
  launch.size = 2;
  REQUIRE_THROWS_WITH(join_group(launch, false), Catch::Contains("libgloo-dev"));
}

#endif
