#include "monarch/training/communicator.hpp"

#include "monarch/training/launch.hpp"

namespace monarch::training {

namespace {

class SingleProcess final : public Communicator {
 public:
  int64_t rank() const override { return 0; }
  int64_t size() const override { return 1; }
  void all_reduce(const std::vector<at::Tensor>&) override {}
  void broadcast(const std::vector<at::Tensor>&, int64_t) override {}
  void barrier() override {}
  std::string describe() const override { return "one process"; }
};

}  // namespace

std::shared_ptr<Communicator> single_process() {
  return std::make_shared<SingleProcess>();
}

std::shared_ptr<Communicator> communicator_from_environment(bool cuda) {
  const std::optional<Launch> launch = launch_from_environment();
  return launch ? join_group(*launch, cuda) : single_process();
}

}  // namespace monarch::training
