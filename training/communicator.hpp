#pragma once
// Processes that train together.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace monarch::training {

/// A group of processes, each with a copy of the model. Every function is collective.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int64_t rank() const = 0;
  virtual int64_t size() const = 0;
  /// Sums the tensors over all processes, in place, in flat buckets of one dtype (at most 25 MiB each). Complex tensors
  /// travel as pairs. Every process gets bit-identical results.
  virtual void all_reduce(const std::vector<at::Tensor>& tensors) = 0;
  /// Everybody gets the tensors of rank `root`.
  virtual void broadcast(const std::vector<at::Tensor>& tensors, int64_t root) = 0;
  void broadcast(const std::vector<at::Tensor>& tensors) { broadcast(tensors, 0); }
  virtual void barrier() = 0;
  virtual std::string describe() const = 0;
};

/// One process alone: nothing to do.
std::shared_ptr<Communicator> single_process();

/// The group that the environment describes: torchrun (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT), Slurm
/// (SLURM_PROCID …) or Open MPI (OMPI_COMM_WORLD_RANK …); single_process() where it describes none. Gloo on the CPU, NCCL
/// for CUDA. Throws BackendError (no such back end in this build, peers that do not answer in time) and ConfigError
/// (contradicting or missing variables, named).
std::shared_ptr<Communicator> communicator_from_environment(bool cuda);

}  // namespace monarch::training
