// Derivatives of the Monarch product in PyTorch's dispatcher: first, second, third; what is saved; autocast.

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <c10/core/CPUAllocator.h>
#include <torch/csrc/autograd/autograd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "monarch/core/error.hpp"
#include "monarch_cases.hpp"
#include "support/support.hpp"

namespace {

using monarch::operators::Activation;
using monarch::operators::monarch_multiply;
using monarch::operators::monarch_multiply_composite;
using monarch::operators::MonarchSizes;
using monarch::operators::MultiplyOptions;
using monarch::test::check_gradient;
using monarch::test::gradient_of;
using monarch::test::monarch_arguments;
using monarch::test::MonarchArguments;
using monarch::test::MonarchCase;
using monarch::test::relative_error;
using monarch::test::TensorFunction;

/// The product as a function of x, w1, w2 and, where the case has one, the bias.
TensorFunction product_of(const MonarchCase& shape) {
  const MultiplyOptions base = monarch_arguments(shape).options;
  return [base](const std::vector<at::Tensor>& t) {
    MultiplyOptions options = base;
    if (options.bias) options.bias = t[3];
    return monarch_multiply(t[0], t[1], t[2], options);
  };
}

std::vector<at::Tensor> tensors_of(const MonarchCase& shape) {
  const MonarchArguments a = monarch_arguments(shape);
  std::vector<at::Tensor> all = {a.x, a.w1, a.w2};
  if (a.options.bias) all.push_back(*a.options.bias);
  return all;
}

/// Real and complex, all activations, saved and recomputed, padded and cropped.
std::vector<MonarchCase> gradient_cases() {
  std::vector<MonarchCase> all;
  for (const bool recompute : {false, true}) {
    MonarchCase shape{.sizes = {2, 3, 4, 3, 3, 2}, .batch = 2, .dtype = at::kDouble};
    shape.bias = true;
    shape.recompute = recompute;
    shape.in = 7;
    shape.out = 8;
    for (const auto activation : {Activation::none, Activation::gelu, Activation::gelu_tanh, Activation::relu}) {
      shape.activation = activation;
      all.push_back(shape);
    }
    shape.activation = Activation::none;
    shape.dtype = at::kComplexDouble;
    all.push_back(shape);
    shape.real_input = true;
    all.push_back(shape);
  }
  return all;
}

at::Tensor cotangent_of(const at::Tensor& y) {
  return at::linspace(-1, 1, y.numel(), at::kDouble).view(y.sizes()).to(y.scalar_type()) *
         (y.is_complex() ? c10::Scalar(c10::complex<double>(0.8, 0.6)) : c10::Scalar(1.0));
}

}  // namespace

TEST_CASE("Monarch gradients: equal differences, real and complex, saved and recomputed") {
  for (const MonarchCase& shape : gradient_cases()) {
    INFO(shape.text());
    REQUIRE(check_gradient(product_of(shape), tensors_of(shape)) == "");
  }
}

TEST_CASE("Monarch gradients: second derivatives equal differences of the first") {
  for (const MonarchCase& shape : gradient_cases()) {
    INFO(shape.text());
    std::vector<at::Tensor> tensors = tensors_of(shape);
    tensors.push_back(cotangent_of(product_of(shape)(tensors)));
    REQUIRE(check_gradient(gradient_of(product_of(shape)), tensors) == "");
  }
}

TEST_CASE("Monarch gradients: third derivatives equal differences of the second") {
  for (const auto dtype : {at::kDouble, at::kComplexDouble}) {
    MonarchCase shape{.sizes = {2, 2, 2, 2, 2, 2}, .batch = 1, .dtype = dtype, .bias = true};
    if (dtype == at::kDouble) shape.activation = Activation::gelu;
    std::vector<at::Tensor> tensors = tensors_of(shape);
    tensors.push_back(cotangent_of(product_of(shape)(tensors)));
    const TensorFunction first = gradient_of(product_of(shape));
    tensors.push_back(cotangent_of(first(tensors)).detach());
    REQUIRE(check_gradient(gradient_of(first), tensors) == "");
  }
}

TEST_CASE("Monarch gradients: the checker rejects a missing conjugate, a wrong factor and a lost second derivative") {
  MonarchCase shape{.sizes = {2, 3, 4, 3, 3, 2}, .batch = 2, .dtype = at::kComplexDouble};
  const auto graft = [](const at::Tensor& value, const at::Tensor& other) {
    return value.detach() + (other - other.detach());
  };
  const TensorFunction right = product_of(shape);
  const std::vector<at::Tensor> tensors = tensors_of(shape);
  REQUIRE(check_gradient(right, tensors) == "");
  const TensorFunction unconjugated = [&](const std::vector<at::Tensor>& t) {
    return graft(right(t), right({t[0], t[1].conj(), t[2]}));
  };
  REQUIRE(check_gradient(unconjugated, tensors) != "");
  const TensorFunction scaled = [&](const std::vector<at::Tensor>& t) {
    return graft(right(t), right({t[0], t[1], t[2] * (1 + 1e-6)}));
  };
  REQUIRE(check_gradient(scaled, tensors) != "");
  // First derivatives right, but constants for autograd: d/dx by way of a detached product.
  std::vector<at::Tensor> with_cotangent = tensors;
  with_cotangent.push_back(cotangent_of(right(tensors)));
  const TensorFunction first_only = [&](const std::vector<at::Tensor>& t) {
    return gradient_of(right)({t[0].detach().requires_grad_(), t[1], t[2], t[3]});
  };
  REQUIRE(check_gradient(gradient_of(right), with_cotangent) == "");
  REQUIRE(check_gradient(first_only, with_cotangent) != "");
}

TEST_CASE("Monarch gradients: each argument alone gets the gradient that it gets among all") {
  for (MonarchCase shape : gradient_cases()) {
    INFO(shape.text());
    const TensorFunction f = product_of(shape);
    std::vector<at::Tensor> all = tensors_of(shape);
    for (at::Tensor& t : all) t.requires_grad_();
    const at::Tensor y = f(all);
    const at::Tensor cotangent = cotangent_of(y);
    const auto expected = torch::autograd::grad({y}, all, {cotangent});
    for (size_t subset = 1; subset < (size_t{1} << all.size()); ++subset) {
      INFO("arguments " << subset);
      std::vector<at::Tensor> some = tensors_of(shape), wanted;
      std::vector<size_t> which;
      for (size_t i = 0; i < some.size(); ++i) {
        if (subset >> i & 1) wanted.push_back(some[i].requires_grad_()), which.push_back(i);
      }
      for (const bool create_graph : {false, true}) {
        const auto found = torch::autograd::grad({f(some)}, wanted, {cotangent}, std::nullopt, create_graph);
        for (size_t i = 0; i < wanted.size(); ++i) REQUIRE(relative_error(found[i], expected[which[i]]) <= 1e-14);
      }
    }
  }
}

TEST_CASE("Monarch gradients: a broadcast or transposed gradient is taken as it comes") {
  const MonarchCase shape{.sizes = {2, 3, 4, 3, 3, 2}, .batch = 6, .dtype = at::kComplexDouble};
  std::vector<at::Tensor> all = tensors_of(shape);
  for (at::Tensor& t : all) t.requires_grad_();
  const at::Tensor x = all[0].view({2, 3, 8});
  const at::Tensor y = monarch_multiply(x, all[1], all[2]);
  const at::Tensor expected = monarch_multiply_composite(x, all[1], all[2]);
  const std::vector<at::Tensor> cotangents = {
      at::ones({}, at::kComplexDouble).expand({2, 3, 9}),
      at::view_as_complex(at::linspace(-1, 2, 108, at::kDouble).view({9, 3, 2, 2})).permute({2, 1, 0}),
      at::view_as_complex(at::linspace(-1, 2, 108, at::kDouble).view({2, 3, 9, 2})).conj()};
  for (const at::Tensor& cotangent : cotangents) {
    const auto found = torch::autograd::grad({y}, all, {cotangent}, /*retain_graph=*/true);
    const auto right = torch::autograd::grad({expected}, all, {cotangent}, /*retain_graph=*/true);
    for (size_t i = 0; i < all.size(); ++i) REQUIRE(relative_error(found[i], right[i]) <= 1e-14);
  }
}

namespace {

/// While it lives, counts the bytes that tensors made since then hold.
class LiveBytes final : public at::Allocator {
 public:
  LiveBytes() : original_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, 255); }
  ~LiveBytes() override { c10::SetCPUAllocator(original_, 255); }
  at::DataPtr allocate(size_t bytes) override {
    char* base = static_cast<char*>(std::aligned_alloc(header, (bytes + 2 * header - 1) / header * header));
    new (base) Block{static_cast<int64_t>(bytes), count_};
    *count_ += static_cast<int64_t>(bytes);
    return {base + header, base + header, release, at::kCPU};
  }
  at::DeleterFnPtr raw_deleter() const override { return release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
  int64_t count() const { return *count_; }

 private:
  static constexpr size_t header = 64;
  /// Lies in front of the memory that is given out.
  struct Block {
    int64_t bytes;
    std::shared_ptr<std::atomic<int64_t>> count;  // blocks may outlive the counter
  };
  static void release(void* memory) {
    char* base = static_cast<char*>(memory) - header;
    auto* block = reinterpret_cast<Block*>(base);
    *block->count -= block->bytes;
    block->~Block();
    std::free(base);
  }
  at::Allocator* original_;
  std::shared_ptr<std::atomic<int64_t>> count_ = std::make_shared<std::atomic<int64_t>>(0);
};

/// Bytes that live between forward and backward beside arguments and result.
int64_t kept_bytes(const MonarchCase& shape, const std::vector<bool>& requires_grad) {
  std::vector<at::Tensor> tensors = tensors_of(shape);
  for (size_t i = 0; i < tensors.size(); ++i) tensors[i].requires_grad_(requires_grad[i]);
  const TensorFunction f = product_of(shape);
  const LiveBytes live;
  const at::Tensor y = f(tensors);
  const int64_t kept = live.count() - static_cast<int64_t>(y.nbytes());
  y.backward(at::ones_like(y));
  for (size_t i = 0; i < tensors.size(); ++i) REQUIRE(tensors[i].grad().defined() == requires_grad[i]);
  return kept;
}

}  // namespace

TEST_CASE("Monarch gradients: one middle vector a row is kept for backward, with recompute nothing") {
  MonarchCase shape{.sizes = {8, 16, 8, 16, 4, 8}, .batch = 64, .bias = true};
  const int64_t middle = 64 * 128 * 4, out = 64 * 64 * 4, little = 1024;
  const std::vector<bool> all(4, true), input_only = {true, false, false, false},
                                        first_only = {false, true, false, false};
  REQUIRE(kept_bytes(shape, all) >= middle);  // so the counter counts
  REQUIRE(kept_bytes(shape, all) <= middle + little);
  REQUIRE(kept_bytes(shape, input_only) <= little);
  REQUIRE(kept_bytes(shape, first_only) <= little);
  shape.activation = Activation::relu;
  REQUIRE(kept_bytes(shape, all) <= middle + little);
  REQUIRE(kept_bytes(shape, input_only) <= little);
  shape.activation = Activation::gelu;
  REQUIRE(kept_bytes(shape, all) <= middle + out + little);
  REQUIRE(kept_bytes(shape, input_only) <= out + little);
  shape.recompute = true;
  for (const auto activation : {Activation::none, Activation::gelu, Activation::gelu_tanh, Activation::relu}) {
    shape.activation = activation;
    REQUIRE(kept_bytes(shape, all) <= little);
  }
}

TEST_CASE("Monarch gradients: x that serves no gradient is let go") {
  const MonarchCase shape{.sizes = {8, 16, 8, 16, 4, 8}, .batch = 64};
  for (const bool train_factors : {false, true}) {
    std::vector<at::Tensor> tensors = tensors_of(shape);
    const at::Tensor x0 = tensors[0].detach().clone().requires_grad_();
    tensors[1].requires_grad_(train_factors);
    at::Tensor x = x0 * 2;
    const c10::weak_intrusive_ptr<at::StorageImpl> storage(x.storage().getWeakStorageImpl());
    const at::Tensor y = monarch_multiply(x, tensors[1], tensors[2]);
    x.reset();
    REQUIRE(storage.expired() == !train_factors);
    REQUIRE(relative_error(torch::autograd::grad({y}, {x0}, {at::ones_like(y)})[0],
                           2 * monarch::operators::monarch_multiply_adjoint(at::ones_like(y), tensors[1].detach(),
                                                                            tensors[2])) <= 1e-5);
  }
}

TEST_CASE("Monarch gradients: no rows give empty and zero gradients") {
  for (const auto dtype : {at::kFloat, at::kComplexDouble}) {
    for (const bool recompute : {false, true}) {
      MonarchCase shape{.sizes = {2, 3, 4, 3, 3, 2}, .batch = 0, .dtype = dtype, .bias = true, .recompute = recompute};
      if (dtype == at::kFloat) shape.activation = Activation::gelu;
      std::vector<at::Tensor> tensors = tensors_of(shape);
      for (at::Tensor& t : tensors) t.requires_grad_();
      const at::Tensor y = product_of(shape)({tensors[0].view({4, 0, 8}), tensors[1], tensors[2], tensors[3]});
      REQUIRE(y.sizes() == at::IntArrayRef({4, 0, 9}));
      for (const bool create_graph : {true, false}) {
        const auto gradients = torch::autograd::grad({y}, tensors, {at::ones_like(y)}, true, create_graph);
        for (size_t i = 0; i < tensors.size(); ++i) {
          REQUIRE(gradients[i].sizes() == tensors[i].sizes());
          REQUIRE(gradients[i].abs().sum().item<double>() == 0);
        }
      }
      REQUIRE(monarch_multiply(tensors[0].detach(), tensors[1], tensors[2]).sizes() == at::IntArrayRef({0, 9}));
    }
  }
}

TEST_CASE("Monarch gradients: a factor that was changed in place after forward is refused in backward") {
  std::vector<at::Tensor> tensors = tensors_of({.sizes = {2, 3, 4, 3, 3, 2}, .batch = 2});
  for (at::Tensor& t : tensors) t.requires_grad_();
  const at::Tensor y = monarch_multiply(tensors[0], tensors[1], tensors[2]);
  {
    const at::NoGradGuard no_graph;
    tensors[1].mul_(2);
  }
  REQUIRE_THROWS_WITH(y.backward(at::ones_like(y)), Catch::Contains("modified by an inplace operation"));
}

TEST_CASE("Monarch autocast: real factors go to the autocast type, float64 and complex stay, gradients come back") {
  struct Autocast {
    Autocast() { at::autocast::set_autocast_enabled(at::kCPU, true); }
    ~Autocast() {
      at::autocast::set_autocast_enabled(at::kCPU, false);
      at::autocast::clear_cache();
    }
  };
  REQUIRE(at::autocast::get_autocast_dtype(at::kCPU) == at::kBFloat16);
  for (const auto dtype : {at::kFloat, at::kDouble, at::kComplexFloat}) {
    for (const bool real_input : {false, true}) {
      if (real_input && dtype != at::kComplexFloat) continue;
      MonarchCase shape{
          .sizes = {4, 6, 5, 3, 4, 8}, .batch = 9, .dtype = dtype, .real_input = real_input, .bias = true};
      std::vector<at::Tensor> tensors = tensors_of(shape);
      for (at::Tensor& t : tensors) t.requires_grad_();
      const auto type = dtype == at::kFloat ? at::kBFloat16 : dtype;
      at::Tensor y;
      {
        const Autocast autocast;
        y = product_of(shape)(tensors);
      }
      std::vector<at::Tensor> cast;
      for (const at::Tensor& t : tensors)
        cast.push_back(real_input && !t.is_complex() ? t.detach() : t.detach().to(type));
      REQUIRE(y.scalar_type() == type);
      REQUIRE(at::equal(y, product_of(shape)(cast)));
      y.backward(at::ones_like(y));
      for (const at::Tensor& t : tensors) REQUIRE(t.grad().scalar_type() == t.scalar_type());
      // Backward inside the region, with a graph, works in the types of forward too.
      const Autocast autocast;
      y = product_of(shape)(tensors);
      const auto graph = torch::autograd::grad({y}, tensors, {at::ones_like(y)}, true, /*create_graph=*/true);
      for (size_t i = 0; i < tensors.size(); ++i) {
        REQUIRE(relative_error(graph[i], tensors[i].grad()) <= (type == at::kBFloat16 ? 0.02 : 1e-5));
      }
    }
  }
}

TEST_CASE("Monarch autocast: mixed real types below float64 are what autocast is for") {
  const std::vector<at::Tensor> t = tensors_of({.sizes = {4, 6, 5, 3, 4, 8}, .batch = 9});
  const at::Tensor x = t[0].to(at::kBFloat16);
  REQUIRE_THROWS_AS(monarch_multiply(x, t[1], t[2]), monarch::DtypeError);
  at::autocast::set_autocast_enabled(at::kCPU, true);
  const at::Tensor y = monarch_multiply(x, t[1], t[2]);
  at::autocast::set_autocast_enabled(at::kCPU, false);
  REQUIRE(y.scalar_type() == at::kBFloat16);
}
