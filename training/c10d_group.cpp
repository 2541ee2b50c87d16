// Groups of processes over LibTorch's c10d. The only file that sees it: its interfaces change between releases.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#ifdef USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#endif
#ifdef USE_C10D_NCCL
#include <c10/cuda/CUDAFunctions.h>

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/training/launch.hpp"

namespace monarch::training {

namespace {

constexpr int64_t kBucketBytes = int64_t{25} << 20;
constexpr double kLongestRendezvous = 300;  // seconds

/// Runs a call into c10d and says in our words what it throws.
template <class Call>
auto guarded(const std::string& what, const std::string& hint, Call&& call) {
  const auto refuse = [&](std::string reason) {
    reason = reason.substr(0, reason.find('\n'));
    reason = reason.substr(0, reason.find(" This is typically caused by"));  // Gloo's guesses
    if (const size_t bracket = reason.find("] "); reason.starts_with('[') && bracket != std::string::npos)
      reason = reason.substr(bracket + 2);  // "[/pytorch/…/pair.cc:534] Connection closed by peer"
    fail<BackendError>(what + ": " + reason, hint);
  };
  try {
    return call();
  } catch (const Error&) {
    throw;
  } catch (const c10::Error& error) {
    refuse(error.what_without_backtrace());
  } catch (const std::exception& error) {
    refuse(error.what());
  }
  std::abort();  // refuse throws
}

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

/// A tensor as one contiguous row of numbers that can be cut, and where it belongs if that is a copy.
struct Row {
  at::Tensor numbers;
  at::Tensor target;
};

Row row_of(const at::Tensor& tensor, bool as_bytes) {
  const at::Tensor detached = tensor.detach();
  const bool in_place = detached.is_contiguous() && !detached.is_conj() && !detached.is_neg();
  const at::Tensor dense = in_place ? detached : detached.resolve_conj().resolve_neg().contiguous();
  Row row;
  if (!in_place) row.target = detached;
  if (as_bytes) {
    row.numbers = dense.view({-1}).view(at::kByte);
  } else {
    row.numbers = (dense.is_complex() ? at::view_as_real(dense) : dense).view({-1});
  }
  return row;
}

class C10dGroup final : public Communicator {
 public:
  C10dGroup(Launch launch, c10::intrusive_ptr<c10d::Store> store, c10::intrusive_ptr<c10d::Backend> backend,
            at::Device device, std::string name)
      : launch_(std::move(launch)),
        store_(std::move(store)),
        backend_(std::move(backend)),
        device_(device),
        name_(std::move(name)) {}

  int64_t rank() const override { return launch_.rank; }
  int64_t size() const override { return launch_.size; }
  std::string describe() const override {
    return fmt::format("process {} of {}, {}, started by {}", launch_.rank, launch_.size, name_, launch_.launcher);
  }

  void all_reduce(const std::vector<at::Tensor>& tensors) override {
    agree(Call::all_reduce, tensors);
    in_buckets(tensors, false, [&](std::vector<at::Tensor>& bucket) { return backend_->allreduce(bucket); });
  }

  void broadcast(const std::vector<at::Tensor>& tensors, int64_t root) override {
    agree(Call::broadcast, tensors);
    c10d::BroadcastOptions options;
    options.rootRank = root;
    in_buckets(tensors, true, [&](std::vector<at::Tensor>& bucket) { return backend_->broadcast(bucket, options); });
  }

  void barrier() override { agree(Call::barrier, {}); }  // nobody has everybody's words before everybody has come

 private:
  enum class Call : int64_t { all_reduce, broadcast, barrier };
  static constexpr const char* kNames[] = {"all_reduce", "broadcast", "barrier"};
  static constexpr const char* kPeerHint =
      "another process has ended or hangs: its own messages say why; MONARCH_PEER_TIMEOUT sets the seconds to wait";

  template <class Function>
  auto talk(const char* what, Function&& function) const {
    return guarded(fmt::format("process {} of {}, {}", launch_.rank, launch_.size, what), kPeerHint,
                   std::forward<Function>(function));
  }

  /// Backends neither notice nor survive processes that call different functions or bring tensors of different shapes,
  /// so everybody says first what it is about to do: 32 bytes, small beside any training step.
  void agree(Call call, const std::vector<at::Tensor>& tensors) {
    int64_t numbers = 0;
    uint64_t hash = 14695981039346656037u;  // FNV-1a over types and shapes
    const auto mix = [&](int64_t value) { hash = (hash ^ static_cast<uint64_t>(value)) * 1099511628211u; };
    for (const at::Tensor& tensor : tensors) {
      check<DtypeError>(tensor.defined() && tensor.device() == device_, [&] {
        return fmt::format("{}: a tensor lies on {}, expected {} ({})", kNames[static_cast<size_t>(call)],
                           tensor.defined() ? tensor.device().str() : "nothing", device_.str(), name_);
      });
      numbers += tensor.numel();
      mix(static_cast<int64_t>(tensor.scalar_type()));
      mix(tensor.dim());
      for (const int64_t extent : tensor.sizes()) mix(extent);
    }
    const std::array<int64_t, 4> words = {static_cast<int64_t>(call), static_cast<int64_t>(tensors.size()), numbers,
                                          static_cast<int64_t>(hash)};
    at::Tensor mine = at::empty({4}, at::kLong);
    std::memcpy(mine.data_ptr<int64_t>(), words.data(), sizeof words);
    mine = mine.to(device_);
    std::vector<std::vector<at::Tensor>> all(1);
    for (int64_t r = 0; r < launch_.size; ++r) all[0].push_back(at::empty_like(mine));
    std::vector<at::Tensor> input = {mine};
    talk(kNames[static_cast<size_t>(call)], [&] { backend_->allgather(all, input)->wait(); });
    for (int64_t r = 0; r < launch_.size; ++r) {
      const at::Tensor theirs = all[0][static_cast<size_t>(r)].cpu();
      const int64_t* said = theirs.data_ptr<int64_t>();
      check<ShapeError>(
          std::equal(words.begin(), words.end(), said),
          [&] {
            const auto text = [](const int64_t* w) {
              return w[0] == static_cast<int64_t>(Call::barrier)
                         ? std::string("waits at a barrier")
                         : fmt::format("calls {} with {} tensors of {} numbers", kNames[w[0]], w[1], w[2]);
            };
            return fmt::format("process {} {}, but process {} {}", launch_.rank, text(words.data()), r, text(said));
          },
          "every process must make the same calls with tensors of the same types and shapes: same model, same config");
    }
  }

  /// Cuts the tensors, one type after the other, into flat buckets, and starts the next before it waits for the last.
  template <class Start>
  void in_buckets(const std::vector<at::Tensor>& tensors, bool as_bytes, Start&& start) {
    struct Bucket {
      std::vector<at::Tensor> flat;    // one tensor
      std::vector<at::Tensor> pieces;  // of the rows that it is made of
      c10::intrusive_ptr<c10d::Work> work;
    };
    std::vector<Row> rows;
    for (const at::Tensor& tensor : tensors) rows.push_back(row_of(tensor, as_bytes));
    std::vector<at::ScalarType> types;
    for (const Row& row : rows) {
      if (std::find(types.begin(), types.end(), row.numbers.scalar_type()) == types.end())
        types.push_back(row.numbers.scalar_type());
    }
    const char* const what = as_bytes ? "broadcast" : "all_reduce";
    std::deque<Bucket> flying;
    const auto land = [&] {
      Bucket bucket = std::move(flying.front());
      flying.pop_front();
      talk(what, [&] { bucket.work->wait(); });
      int64_t offset = 0;
      for (const at::Tensor& piece : bucket.pieces) {
        piece.copy_(bucket.flat[0].narrow(0, offset, piece.numel()));
        offset += piece.numel();
      }
    };
    for (const at::ScalarType type : types) {
      const int64_t capacity = kBucketBytes / static_cast<int64_t>(c10::elementSize(type));
      std::vector<at::Tensor> pieces;
      int64_t filled = 0;
      const auto launch = [&] {
        if (pieces.empty()) return;
        Bucket bucket;
        bucket.flat = {at::cat(pieces)};
        bucket.pieces = std::move(pieces);
        talk(what, [&] { bucket.work = start(bucket.flat); });
        flying.push_back(std::move(bucket));
        if (flying.size() > 1) land();
        pieces.clear();
        filled = 0;
      };
      for (const Row& row : rows) {
        if (row.numbers.scalar_type() != type) continue;
        for (int64_t begin = 0; begin < row.numbers.numel();) {
          const int64_t count = std::min(capacity - filled, row.numbers.numel() - begin);
          pieces.push_back(row.numbers.narrow(0, begin, count));
          begin += count;
          filled += count;
          if (filled == capacity) launch();
        }
      }
      launch();
    }
    while (!flying.empty()) land();
    for (const Row& row : rows) {
      if (!row.target.defined()) continue;
      const at::Tensor typed = as_bytes                  ? row.numbers.view(row.target.scalar_type())
                               : row.target.is_complex() ? at::view_as_complex(row.numbers.view({-1, 2}))
                                                         : row.numbers;
      row.target.copy_(typed.view(row.target.sizes()));
    }
  }

  Launch launch_;
  c10::intrusive_ptr<c10d::Store> store_;
  c10::intrusive_ptr<c10d::Backend> backend_;
  at::Device device_;
  std::string name_;
};

/// The key-value store where the processes find each other. Rank 0 serves it, unless torchrun's agent does already.
[[maybe_unused]] c10::intrusive_ptr<c10d::Store> meet(const Launch& launch) {
  c10d::TCPStoreOptions options;
  options.port = launch.port;
  options.isServer = launch.rank == 0 && !launch.store_exists;
  options.numWorkers = launch.store_exists ? std::nullopt : std::optional<size_t>(static_cast<size_t>(launch.size));
  options.timeout = milliseconds(std::min(launch.timeout_seconds, kLongestRendezvous));
  const std::string host = launch.one_machine && !launch.store_exists ? "127.0.0.1" : launch.host;
  const std::string what =
      options.isServer
          ? fmt::format("process 0 cannot gather {} processes on port {}", launch.size, launch.port)
          : fmt::format("process {} of {} does not reach {}:{}", launch.rank, launch.size, host, launch.port);
  return guarded(what, "are all processes running, and is the port (MASTER_PORT) free and open?", [&] {
    c10::intrusive_ptr<c10d::Store> store = c10::make_intrusive<c10d::TCPStore>(host, options);
    return c10::intrusive_ptr<c10d::Store>(
        c10::make_intrusive<c10d::PrefixStore>("monarch/" + launch.prefix, std::move(store)));
  });
}

#ifdef USE_C10D_GLOO
std::shared_ptr<Communicator> join_gloo(const Launch& launch) {
  c10::intrusive_ptr<c10d::Store> store = meet(launch);
  auto options = c10d::ProcessGroupGloo::Options::create(milliseconds(launch.timeout_seconds));
  const std::string interface = system_environment("GLOO_SOCKET_IFNAME").value_or("");
  auto backend =
      guarded(fmt::format("process {} of {} cannot connect to the others", launch.rank, launch.size),
              "GLOO_SOCKET_IFNAME names the network interface to use", [&]() -> c10::intrusive_ptr<c10d::Backend> {
                if (!interface.empty()) {
                  options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForInterface(interface));
                } else if (launch.one_machine) {
                  options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1"));
                } else {
                  options->devices.push_back(c10d::ProcessGroupGloo::createDefaultDevice());
                }
                return c10::make_intrusive<c10d::ProcessGroupGloo>(store, static_cast<int>(launch.rank),
                                                                   static_cast<int>(launch.size), options);
              });
  return std::make_shared<C10dGroup>(launch, std::move(store), std::move(backend), at::kCPU, "Gloo");
}
#else
std::shared_ptr<Communicator> join_gloo(const Launch& launch) {
  fail<BackendError>(fmt::format("{} started {} processes, but this build cannot train with several on the CPU",
                                 launch.launcher, launch.size),
                     "install libgloo-dev and build again with -DMONARCH_GLOO=ON, or start one process");
}
#endif

#ifdef USE_C10D_NCCL
std::shared_ptr<Communicator> join_nccl(const Launch& launch) {
  const auto devices = static_cast<int64_t>(c10::cuda::device_count());
  check<ConfigError>(
      launch.local_rank < devices,
      [&] {
        return fmt::format("process {} is number {} on its machine, which has {} CUDA devices", launch.rank,
                           launch.local_rank, devices);
      },
      "start one process for each device");
  const auto index = static_cast<c10::DeviceIndex>(launch.local_rank);
  c10::cuda::set_device(index);
  ::setenv("TORCH_NCCL_BLOCKING_WAIT", "1",
           0);  // a peer that is gone becomes an exception here, not an abort elsewhere
  c10::intrusive_ptr<c10d::Store> store = meet(launch);
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = milliseconds(launch.timeout_seconds);
  auto backend = guarded(fmt::format("process {} of {} cannot start NCCL", launch.rank, launch.size),
                         "NCCL_DEBUG=INFO says more", [&]() -> c10::intrusive_ptr<c10d::Backend> {
                           return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, static_cast<int>(launch.rank),
                                                                              static_cast<int>(launch.size), options);
                         });
  return std::make_shared<C10dGroup>(launch, std::move(store), std::move(backend), at::Device(at::kCUDA, index),
                                     "NCCL");
}
#else
std::shared_ptr<Communicator> join_nccl(const Launch& launch) {
  fail<BackendError>(fmt::format("{} started {} processes, but this build has no NCCL", launch.launcher, launch.size),
                     "build with -DMONARCH_CUDA=ON, or start one process");
}
#endif

}  // namespace

std::shared_ptr<Communicator> join_group(const Launch& launch, bool cuda) {
  return cuda ? join_nccl(launch) : join_gloo(launch);
}

}  // namespace monarch::training
