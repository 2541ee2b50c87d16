#include "monarch/training/launch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "monarch/core/error.hpp"

namespace monarch::training {

namespace {

int64_t number(const std::string& name, const std::string& text, int64_t lowest, int64_t highest) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  check<ConfigError>(error == std::errc{} && end == text.data() + text.size() && value >= lowest && value <= highest,
                     [&] {
                       return fmt::format("environment variable {} is '{}', expected a number from {} to {}", name,
                                          text, lowest, highest);
                     });
  return value;
}

constexpr int64_t kMostProcesses = int64_t{1} << 20;

class Reader {
 public:
  Reader(const Environment& environment, std::string launcher)
      : environment_(environment), launcher_(std::move(launcher)) {}

  bool has(const std::string& name) const { return environment_(name).has_value(); }
  std::optional<std::string> text(const std::string& name) const { return environment_(name); }
  std::string needed(const std::string& name, const std::string& hint) const {
    const std::optional<std::string> value = environment_(name);
    check<ConfigError>(
        value && !value->empty(),
        [&] { return fmt::format("the environment looks like {}, but {} is not set", launcher_, name); }, hint);
    return *value;
  }
  int64_t integer(const std::string& name, int64_t lowest, int64_t highest, const std::string& hint = {}) const {
    return number(name, needed(name, hint), lowest, highest);
  }
  std::optional<int64_t> maybe(const std::string& name, int64_t lowest, int64_t highest) const {
    const std::optional<std::string> value = environment_(name);
    if (!value) return std::nullopt;
    return number(name, *value, lowest, highest);
  }

 private:
  const Environment& environment_;
  std::string launcher_;
};

/// A port below the range that systems hand out by themselves, the same for everybody who knows `key`.
uint16_t derived_port(const std::string& key) {
  uint32_t hash = 2166136261u;  // FNV-1a
  for (const char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return static_cast<uint16_t>(20000 + hash % 12000);
}

/// Fills rank and size from two variables, of which one may be missing by mistake.
void read_place(const Reader& reader, const std::string& rank, const std::string& size, Launch& launch) {
  const std::string hint = "start all processes with the launcher, or unset " + rank + " and " + size;
  launch.size = reader.integer(size, 1, kMostProcesses, hint);
  launch.rank = reader.integer(rank, 0, kMostProcesses, hint);
  check<ConfigError>(launch.rank < launch.size, [&] {
    return fmt::format("environment variable {} is {}, but {} is {}: ranks count from 0", rank, launch.rank, size,
                       launch.size);
  });
}

Launch torchrun(const Environment& environment) {
  Launch launch;
  launch.launcher = "torchrun";
  const Reader reader(environment, launch.launcher);
  read_place(reader, "RANK", "WORLD_SIZE", launch);
  if (launch.size == 1) return launch;
  launch.local_rank = reader.maybe("LOCAL_RANK", 0, kMostProcesses).value_or(launch.rank);
  launch.one_machine = reader.maybe("LOCAL_WORLD_SIZE", 1, kMostProcesses).value_or(0) == launch.size;
  launch.host = reader.needed("MASTER_ADDR", "it is the host of rank 0");
  launch.port =
      static_cast<uint16_t>(reader.integer("MASTER_PORT", 1, 65535, "it is a free port on the host of rank 0"));
  launch.store_exists = reader.text("TORCHELASTIC_USE_AGENT_STORE").value_or("") == "True";
  if (const auto restart = reader.text("TORCHELASTIC_RESTART_COUNT")) launch.prefix = "worker/attempt_" + *restart;
  return launch;
}

Launch open_mpi(const Environment& environment) {
  Launch launch;
  launch.launcher = "Open MPI";
  const Reader reader(environment, launch.launcher);
  read_place(reader, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", launch);
  if (launch.size == 1) return launch;
  launch.local_rank = reader.maybe("OMPI_COMM_WORLD_LOCAL_RANK", 0, kMostProcesses).value_or(launch.rank);
  launch.one_machine = reader.maybe("OMPI_COMM_WORLD_LOCAL_SIZE", 1, kMostProcesses).value_or(0) == launch.size;
  if (launch.one_machine) {
    launch.host = reader.text("MASTER_ADDR").value_or("127.0.0.1");
  } else {
    launch.host = reader.needed("MASTER_ADDR", "name the host of rank 0: mpirun -x MASTER_ADDR=<host> …");
  }
  const std::string job =
      reader.text("PMIX_NAMESPACE").value_or(reader.text("OMPI_MCA_orte_ess_jobid").value_or("monarch"));
  launch.port = static_cast<uint16_t>(reader.maybe("MASTER_PORT", 1, 65535).value_or(derived_port(job)));
  return launch;
}

Launch slurm(const Environment& environment) {
  Launch launch;
  launch.launcher = "Slurm";
  const Reader reader(environment, launch.launcher);
  read_place(reader, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", launch);
  if (launch.size == 1) return launch;
  launch.local_rank = reader.maybe("SLURM_LOCALID", 0, kMostProcesses).value_or(launch.rank);
  launch.one_machine = reader.maybe("SLURM_STEP_NUM_NODES", 1, kMostProcesses).value_or(0) == 1;
  const auto host = reader.text("MASTER_ADDR");
  launch.host = host ? *host : first_slurm_host(reader.needed("SLURM_STEP_NODELIST", "or set MASTER_ADDR"));
  const std::string job = reader.text("SLURM_JOB_ID").value_or("") + "." + reader.text("SLURM_STEP_ID").value_or("");
  launch.port = static_cast<uint16_t>(reader.maybe("MASTER_PORT", 1, 65535).value_or(derived_port(job)));
  return launch;
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

}  // namespace

std::optional<std::string> system_environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value ? std::optional<std::string>(value) : std::nullopt;
}

std::string first_slurm_host(const std::string& list) {
  std::string host;
  for (size_t i = 0; i < list.size() && list[i] != ','; ++i) {
    if (list[i] != '[') {
      host += list[i];
      continue;
    }
    const size_t close = list.find(']', i);
    check<ConfigError>(close != std::string::npos,
                       [&] { return fmt::format("the list of hosts '{}' has an open bracket", list); });
    host += list.substr(i + 1, std::min(list.find_first_of(",-]", i), close) - i - 1);
    i = close;
  }
  check<ConfigError>(!host.empty(), [&] { return fmt::format("the list of hosts '{}' names none", list); });
  return host;
}

std::optional<Launch> launch_from_environment(const Environment& environment) {
  std::optional<Launch> launch;
  if (environment("RANK") || environment("WORLD_SIZE")) {
    launch = torchrun(environment);
  } else if (environment("OMPI_COMM_WORLD_RANK") || environment("OMPI_COMM_WORLD_SIZE")) {
    launch = open_mpi(environment);
  } else if (environment("SLURM_STEP_NUM_TASKS")) {
    launch = slurm(environment);
  }
  if (!launch || launch->size == 1) return std::nullopt;
  launch->one_machine = launch->one_machine || is_loopback(launch->host);
  if (const auto timeout = environment("MONARCH_PEER_TIMEOUT"))
    launch->timeout_seconds = static_cast<double>(number("MONARCH_PEER_TIMEOUT", *timeout, 1, 1000000));
  return launch;
}

}  // namespace monarch::training
