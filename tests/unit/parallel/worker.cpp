// One process of a group, started by test_communicator.cpp: worker ACT FOLDER. Says on stdout what happened, and keeps
// tensors as FOLDER/<rank>.safetensors.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <string>

#include "monarch/core/error.hpp"
#include "monarch/data/safetensors.hpp"
#include "monarch/training/communicator.hpp"

using namespace monarch;
using namespace monarch::training;

namespace {

/// Irregular numbers that differ between ranks.
at::Tensor numbers(std::vector<int64_t> shape, at::ScalarType dtype, int64_t rank, double salt) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  const at::Tensor angle = (at::arange(count, at::kDouble) + salt) * (1.7 + static_cast<double>(rank));
  if (c10::isComplexType(dtype)) return at::complex(at::sin(angle), at::cos(3 * angle)).to(dtype).view(shape);
  if (c10::isIntegralType(dtype, false)) return (at::sin(angle) * 1000).to(dtype).view(shape);
  return at::sin(angle).to(dtype).view(shape);
}

std::vector<at::Tensor> tensors_of(int64_t rank) {
  return {numbers({3}, at::kFloat, rank, 0),
          numbers({2, 5}, at::kComplexFloat, rank, 1),
          numbers({7000000}, at::kFloat, rank, 2),  // more than one bucket
          numbers({4, 6}, at::kDouble, rank, 3).transpose(0, 1),
          numbers({3, 2}, at::kComplexDouble, rank, 4).conj(),
          numbers({5}, at::kLong, rank, 5),
          numbers({}, at::kFloat, rank, 6),
          numbers({0, 3}, at::kFloat, rank, 7),
          numbers({8, 3}, at::kFloat, rank, 8).narrow(1, 1, 1),
          numbers({4}, at::kFloat, rank, 9).requires_grad_(true)};
}

void keep(const std::filesystem::path& folder, int64_t rank, const std::vector<at::Tensor>& tensors) {
  std::vector<std::pair<std::string, at::Tensor>> named;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const at::Tensor dense = tensors[i].detach().resolve_conj().contiguous();
    named.emplace_back(std::to_string(i), dense.is_complex() ? at::view_as_real(dense).clone() : dense);
  }
  data::save_safetensors(folder / (std::to_string(rank) + ".safetensors"), named);
}

/// Trains a small network by gradient descent with momentum on batches of 8 samples, each process with its share of
/// them: what a trainer does with a group. The start differs between the processes until rank 0 hands its weights
/// around.
std::vector<at::Tensor> train(Communicator& group, int64_t share) {
  const int64_t rank = group.rank();
  const std::vector<at::Tensor> weights = {numbers({5, 16}, at::kFloat, rank, 1),
                                           numbers({16}, at::kComplexFloat, rank, 2),
                                           numbers({16, 3}, at::kFloat, rank, 3)};
  group.broadcast(weights);
  std::vector<at::Tensor> velocity;
  for (const at::Tensor& w : weights) {
    w.requires_grad_(true);
    velocity.push_back(at::zeros_like(w));
  }
  for (int step = 0; step < 40; ++step) {
    const at::Tensor x = numbers({8, 5}, at::kFloat, 0, 10 + step).narrow(0, rank * share, share);
    const at::Tensor y = at::sin(3 * x.narrow(1, 0, 3));
    const at::Tensor hidden = (at::tanh(at::matmul(x, weights[0])) * weights[1]).abs();
    ((at::matmul(hidden, weights[2]) - y).square().sum() / 8).backward();
    std::vector<at::Tensor> gradients;
    for (const at::Tensor& w : weights) gradients.push_back(w.grad());
    group.all_reduce(gradients);
    for (size_t i = 0; i < weights.size(); ++i) {
      velocity[i].mul_(0.9).add_(gradients[i]);
      weights[i].detach().sub_(velocity[i], 0.01);
      weights[i].mutable_grad().reset();
    }
  }
  return weights;
}

int act(const std::string& what, const std::filesystem::path& folder) {
  const std::shared_ptr<Communicator> group = communicator_from_environment(false);
  const int64_t rank = group->rank();
  fmt::print("{}\n", group->describe());
  if (what == "sum") {
    const std::vector<at::Tensor> tensors = tensors_of(rank);
    group->all_reduce(tensors);
    keep(folder, rank, tensors);
  } else if (what == "broadcast") {
    std::vector<at::Tensor> tensors = tensors_of(rank);
    tensors.push_back(numbers({9}, at::kDouble, rank, 10) > 0);
    tensors.push_back(numbers({9}, at::kBFloat16, rank, 11));
    group->broadcast(tensors);
    keep(folder, rank, tensors);
  } else if (what == "train") {
    keep(folder, rank, train(*group, 8 / group->size()));
  } else if (what == "train-share") {
    keep(folder, rank, train(*group, 4));
  } else if (what == "barrier") {
    if (rank == 1) ::usleep(700000);
    const auto begin = std::chrono::steady_clock::now();
    group->barrier();
    fmt::print("waited {}\n", std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  } else if (what == "shapes") {
    group->all_reduce({at::ones({2}), at::ones({rank == 0 ? 3 : 4})});
  } else if (what == "types") {
    group->all_reduce({at::ones({2}, rank == 0 ? at::kFloat : at::kDouble)});
  } else if (what == "calls") {
    rank == 0 ? group->all_reduce({at::ones({2})}) : group->barrier();
  } else if (what == "die" && rank == 1) {
    ::_exit(3);
  } else if (what == "die") {
    for (int i = 0; i < 100; ++i) group->all_reduce({at::ones({1000})});
  } else if (what == "hang") {
    if (rank == 1) ::usleep(6000000);
    group->barrier();
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // as the program does: a peer that has gone shows as an error
  if (argc != 3) return 2;
  try {
    return act(argv[1], argv[2]);
  } catch (const ShapeError& error) {
    fmt::print("ShapeError: {}\n", error.what());
  } catch (const BackendError& error) {
    fmt::print("BackendError: {}\n", error.what());
  } catch (const ConfigError& error) {
    fmt::print("ConfigError: {}\n", error.what());
  } catch (const std::exception& error) {
    fmt::print("exception: {}\n", error.what());
  }
  std::fflush(stdout);
  return 1;
}
