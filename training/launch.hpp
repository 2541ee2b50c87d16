#pragma once
// Who started this process, and with how many others: torchrun, Open MPI or Slurm.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "monarch/training/communicator.hpp"

namespace monarch::training {

/// A place in a group of processes, and where they meet.
struct Launch {
  std::string launcher;  ///< "torchrun", "Open MPI", "Slurm"
  int64_t rank = 0, size = 1;
  int64_t local_rank = 0;    ///< among the processes of this machine: the number of its GPU
  bool one_machine = false;  ///< all processes are known to run on this machine: they meet on the loopback device
  std::string host;          ///< of rank 0
  uint16_t port = 0;
  bool store_exists = false;      ///< torchrun's agent already serves host:port; rank 0 must not
  std::string prefix;             ///< of the keys in the store: a restarted group must not meet its predecessor's
  double timeout_seconds = 1800;  ///< how long a process waits for another one (MONARCH_PEER_TIMEOUT)
};

/// Reads a variable of the environment.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;
std::optional<std::string> system_environment(const std::string& name);

/// What the environment says; nothing where no launcher, or a group of one, is in it. Looked for in this order, because
/// the first may run inside the second: RANK and WORLD_SIZE (torchrun), OMPI_COMM_WORLD_* (Open MPI),
/// SLURM_STEP_NUM_TASKS and SLURM_PROCID (Slurm's srun; a batch script itself is one process). MASTER_ADDR and
/// MASTER_PORT say where to meet; without them Slurm's first node and a port made of the job number are taken, and for
/// Open MPI this machine when all processes run on it. Throws ConfigError naming the variable that is missing,
/// contradicts another or is no number.
std::optional<Launch> launch_from_environment(const Environment& environment = system_environment);

/// The first host of a Slurm list: "gpu[007-012,20],login" -> "gpu007".
std::string first_slurm_host(const std::string& list);

/// Joins the group (c10d). Throws as communicator_from_environment.
std::shared_ptr<Communicator> join_group(const Launch& launch, bool cuda);

}  // namespace monarch::training
