// Both ways of the CUDA back end of the Monarch product against the composite form in double precision on the CPU.
// Skipped where no device is.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <catch2/catch.hpp>
#include <optional>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/operators/kernels/cuda/monarch_paths.hpp"
#include "monarch/operators/monarch/multiply.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::operators;
namespace cuda = monarch::operators::kernels::cuda;
using kernels::MonarchBackwardTask;
using kernels::MonarchForward;
using kernels::MonarchGradients;
using test::relative_error;

namespace {

at::Device device() {
  if (!at::hasCUDA()) test::skip("no CUDA device");
  return {at::kCUDA, 0};
}

struct Case {
  MonarchSizes sizes;
  int64_t batch, in, out;
  bool bias = true;

  std::string text() const {
    return fmt::format("w1 [{}, {}, {}], w2 [{}, {}, {}], {} rows, {} -> {}{}", sizes.k, sizes.q, sizes.p, sizes.l,
                       sizes.s, sizes.r, batch, in, out, bias ? ", bias" : "");
  }
};

const std::vector<Case> cases = {
    {{1, 1, 1, 1, 1, 1}, 1, 1, 1},              // tiny
    {{2, 3, 4, 3, 2, 2}, 5, 7, 5, false},       // k != l, padded and cropped
    {{1, 7, 5, 7, 3, 1}, 3, 5, 21},             // prime, one block, contraction over one number
    {{3, 5, 7, 5, 11, 3}, 13, 20, 53},          // prime, padded and cropped
    {{8, 4, 3, 4, 5, 8}, 9, 17, 18},            // blocks that have no column at all
    {{8, 8, 8, 8, 8, 8}, 64, 64, 64, false},    // square
    {{4, 24, 20, 6, 18, 16}, 200, 80, 108},     // more rows than a tile
    {{2, 40, 70, 5, 33, 16}, 37, 139, 163},     // contraction longer than a chunk
    {{4, 64, 48, 32, 16, 8}, 33, 192, 512},     // rectangular, many interleaved blocks
    {{8, 64, 128, 16, 40, 32}, 30, 1023, 635},  // input staged in several groups of blocks
    {{2, 8, 400, 4, 250, 4}, 20, 800, 999},     // output staged in several chunks of a block
};

/// Inputs in their own dtype on the CPU. `real`: real x with complex factors.
struct Data {
  at::Tensor x, w1, w2, bias, gradient;
};

at::Tensor noise(std::vector<int64_t> shape, at::ScalarType dtype, uint64_t seed, double scale = 1) {
  const bool narrow = dtype == at::kHalf || dtype == at::kBFloat16;
  return (Rng(seed, "monarch").normal(std::move(shape), narrow ? at::kFloat : dtype) * scale).to(dtype);
}

Data make(const Case& c, at::ScalarType dtype, bool real) {
  const MonarchSizes& z = c.sizes;
  Data d;
  d.x = noise({c.batch, c.in}, real ? c10::toRealValueType(dtype) : dtype, 1);
  d.w1 = noise({z.k, z.q, z.p}, dtype, 2, 1 / std::sqrt(static_cast<double>(z.p)));
  d.w2 = noise({z.l, z.s, z.r}, dtype, 3, 1 / std::sqrt(static_cast<double>(z.r)));
  if (c.bias) d.bias = noise({c.out}, dtype, 4);
  d.gradient = noise({c.batch, c.out}, dtype, 5);
  return d;
}

at::Tensor wide(const at::Tensor& t) {
  return t.defined() ? t.detach().cpu().to(t.is_complex() ? at::kComplexDouble : at::kDouble) : t;
}

MultiplyOptions options_of(const at::Tensor& bias, int64_t out, Activation activation) {
  MultiplyOptions options;
  if (bias.defined()) options.bias = bias;
  options.out_features = out;
  options.activation = activation;
  return options;
}

/// The result, and the gradients by autograd; for relu those of the sides that `y` took (a rounded z may change its).
struct Expected {
  at::Tensor y;
  MonarchGradients gradients;
};

Expected expected(const Data& d, Activation activation, const at::Tensor& y) {
  const int64_t out = d.gradient.size(1);
  std::array<at::Tensor, 4> leaf = {wide(d.x), wide(d.w1), wide(d.w2), wide(d.bias)};
  for (at::Tensor& t : leaf) {
    if (t.defined()) t.requires_grad_();
  }
  Expected e;
  e.y = monarch_multiply_composite(leaf[0], leaf[1], leaf[2], options_of(leaf[3], out, activation));
  if (activation == Activation::relu) {
    const MultiplyOptions linear = options_of(leaf[3], out, Activation::none);
    const at::Tensor z = monarch_multiply_composite(leaf[0], leaf[1], leaf[2], linear);
    z.backward(wide(d.gradient) * wide(y).gt(0));
  } else {
    e.y.backward(wide(d.gradient));
  }
  e.y = e.y.detach();
  for (size_t i = 0; i < 4; ++i) {
    if (leaf[i].defined()) e.gradients[i] = leaf[i].grad();
  }
  return e;
}

/// A relative error that rounding explains: sums of n terms in their precision; a few roundings of 16-bit numbers.
double limit(at::ScalarType dtype, int64_t n, bool tf32 = false) {
  if (dtype == at::kBFloat16) return 4 * std::ldexp(1.0, -8);
  if (dtype == at::kHalf) return 4 * std::ldexp(1.0, -11);
  if (tf32) return 4 * std::ldexp(1.0, -10);
  return test::tolerance(dtype, n);
}

/// One way through the back end.
struct Path {
  bool fused;
  int rows;

  std::string text() const { return fused ? fmt::format("fused, tiles of {} rows", rows) : "batched products"; }
  MonarchForward forward(const Data& d, int64_t out, Activation activation, bool keep) const {
    return fused ? cuda::monarch_forward_fused(d.x, d.w1, d.w2, d.bias, out, activation, keep, rows)
                 : cuda::monarch_forward_gemm(d.x, d.w1, d.w2, d.bias, out, activation, keep);
  }
  MonarchGradients backward(const MonarchBackwardTask& task) const {
    return fused ? cuda::monarch_backward_fused(task, rows) : cuda::monarch_backward_gemm(task);
  }
};

/// Batched products, and the fused kernel with the tile that it would take and with every other that fits.
std::vector<Path> paths(const Data& d) {
  std::vector<Path> all = {{false, 0}};
  MonarchBackwardTask task;
  task.x = d.x;
  task.w1 = d.w1;
  task.w2 = d.w2;
  task.gradient = d.gradient;
  for (const int rows : {0, 8, 16, 32, 48, 80}) {
    if (cuda::fused_forward_fits(d.x, d.w1, d.w2, rows) && cuda::fused_backward_fits(task, rows)) {
      all.push_back({true, rows});
    }
  }
  REQUIRE(all.size() > 1);
  return all;
}

Data on_device(const Data& d, at::Device gpu) {
  const auto move = [&](const at::Tensor& t) { return t.defined() ? t.to(gpu) : t; };
  return {move(d.x), move(d.w1), move(d.w2), move(d.bias), move(d.gradient)};
}

MonarchBackwardTask task_of(const Data& d, const MonarchForward& forward, Activation activation) {
  MonarchBackwardTask task;
  task.x = d.x;
  task.w1 = d.w1;
  task.w2 = d.w2;
  task.bias = d.bias;
  task.gradient = d.gradient;
  task.y = forward.y;
  task.middle = forward.middle;
  task.input_of_activation = forward.input_of_activation;
  task.activation = activation;
  task.wanted = {true, true, true, d.bias.defined()};
  return task;
}

void require_gradients(const MonarchGradients& found, const MonarchGradients& wanted, double tolerance) {
  for (size_t i = 0; i < 4; ++i) {
    INFO("gradient " << i);
    REQUIRE(found[i].defined() == wanted[i].defined());
    if (found[i].defined()) REQUIRE(relative_error(found[i], wanted[i]) <= tolerance);
  }
}

void require_equivalence(const Case& c, at::ScalarType dtype, bool real, Activation activation, bool tf32 = false) {
  const at::Device gpu = device();
  const Data here = make(c, dtype, real), there = on_device(here, gpu);
  const MonarchSizes& z = c.sizes;
  const double tolerance = limit(dtype, z.p + z.r, tf32);
  const double gradient_tolerance = limit(dtype, z.p + z.q + z.r + z.s + c.batch, tf32);
  for (const Path& path : paths(there)) {
    INFO(c.text() << ", " << c10::toString(dtype) << (real ? ", real x, " : ", ") << activation_name(activation) << ", "
                  << path.text());
    const MonarchForward forward = path.forward(there, c.out, activation, true);
    const Expected e = expected(here, activation, forward.y);
    REQUIRE(forward.y.scalar_type() == dtype);
    REQUIRE(relative_error(forward.y, e.y) <= tolerance);
    const bool gelu = activation == Activation::gelu || activation == Activation::gelu_tanh;
    REQUIRE(forward.middle.numel() >= c.batch * z.middle());
    REQUIRE(forward.input_of_activation.defined() == gelu);

    const MonarchForward bare = path.forward(there, c.out, activation, false);
    REQUIRE(at::equal(bare.y, forward.y));
    REQUIRE(!bare.middle.defined());
    REQUIRE(!bare.input_of_activation.defined());

    MonarchBackwardTask task = task_of(there, forward, activation);
    const MonarchGradients kept = path.backward(task);
    require_gradients(kept, e.gradients, gradient_tolerance);
    REQUIRE(kept[0].scalar_type() == there.x.scalar_type());
    REQUIRE(at::equal(path.backward(task)[1], kept[1]));  // the same in every run
    REQUIRE(at::equal(path.backward(task)[2], kept[2]));

    task.middle = at::Tensor();
    task.input_of_activation = at::Tensor();
    require_gradients(path.backward(task), e.gradients, gradient_tolerance);
  }
}

}  // namespace

TEST_CASE("Monarch on CUDA: both ways equal the composite form for every size and element type") {
  device();
  for (const auto dtype : {at::kFloat, at::kDouble, at::kComplexFloat, at::kComplexDouble, at::kHalf, at::kBFloat16}) {
    for (const Case& c : cases) require_equivalence(c, dtype, false, Activation::none);
  }
}

TEST_CASE("Monarch on CUDA: real x with complex factors equals the composite form") {
  device();
  for (const auto dtype : {at::kComplexFloat, at::kComplexDouble}) {
    for (const Case& c : cases) require_equivalence(c, dtype, true, Activation::none);
  }
}

TEST_CASE("Monarch on CUDA: activations and their gradients equal ATen's") {
  device();
  for (const auto dtype : {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16}) {
    for (const auto activation : {Activation::gelu, Activation::gelu_tanh, Activation::relu}) {
      for (const size_t i : {1, 3, 6}) require_equivalence(cases[i], dtype, false, activation);
    }
  }
}

TEST_CASE("Monarch on CUDA: TF32 is used where PyTorch's settings allow it, with its rounding") {
  device();
  struct Restore {
    bool before = at::globalContext().allowTF32CuBLAS();
    ~Restore() { at::globalContext().setAllowTF32CuBLAS(before); }
  } restore;
  at::globalContext().setAllowTF32CuBLAS(true);
  REQUIRE(cuda::numbers_of(at::kFloat) == cuda::Numbers::tf32);
  for (const Case& c : cases) require_equivalence(c, at::kFloat, false, Activation::none, true);
  require_equivalence(cases[3], at::kFloat, false, Activation::gelu, true);
}

TEST_CASE("Monarch on CUDA: each gradient may be had alone") {
  const at::Device gpu = device();
  const Case c = cases[3];
  const Data here = make(c, at::kDouble, false), there = on_device(here, gpu);
  for (const Path& path : paths(there)) {
    INFO(path.text());
    const MonarchForward forward = path.forward(there, c.out, Activation::gelu, false);
    const Expected e = expected(here, Activation::gelu, forward.y);
    for (size_t wanted = 0; wanted < 4; ++wanted) {
      if (path.fused && wanted > 1) continue;  // nothing to fuse; refused by fused_backward_fits
      MonarchBackwardTask task = task_of(there, forward, Activation::gelu);
      task.wanted = {};
      task.wanted[wanted] = true;
      const MonarchGradients gradients = path.backward(task);
      for (size_t i = 0; i < 4; ++i) REQUIRE(gradients[i].defined() == (i == wanted));
      REQUIRE(relative_error(gradients[wanted], e.gradients[wanted]) <= limit(at::kDouble, 100));
    }
  }
  MonarchBackwardTask weights = task_of(there, {}, Activation::none);
  weights.wanted = {false, false, true, true};
  REQUIRE(!cuda::fused_backward_fits(weights));
}

TEST_CASE("Monarch on CUDA: what one way kept the other can use") {
  const at::Device gpu = device();
  const Case c = cases[6];
  const Data here = make(c, at::kFloat, false), there = on_device(here, gpu);
  const Path gemm{false, 0}, fused{true, 0};
  for (const bool swapped : {false, true}) {
    const MonarchForward forward = (swapped ? fused : gemm).forward(there, c.out, Activation::gelu, true);
    const MonarchGradients found = (swapped ? gemm : fused).backward(task_of(there, forward, Activation::gelu));
    require_gradients(found, expected(here, Activation::gelu, forward.y).gradients, limit(at::kFloat, c.batch));
  }
}

TEST_CASE("Monarch on CUDA: NaN and infinity stay in their row") {
  const at::Device gpu = device();
  const Case c = cases[3];
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    Data d = make(c, dtype, false);
    d.x.select(0, 4).fill_(std::numeric_limits<double>::infinity());
    d.x.select(0, 7).fill_(std::nan(""));
    const Data there = on_device(d, gpu);
    for (const Path& path : paths(there)) {
      INFO(path.text());
      const at::Tensor y = path.forward(there, c.out, Activation::none, false).y.cpu().to(at::kFloat);
      const at::Tensor finite = at::isfinite(y);
      for (int64_t row = 0; row < c.batch; ++row) {
        REQUIRE(finite.select(0, row).any().item<bool>() == (row != 4 && row != 7));
        REQUIRE(finite.select(0, row).all().item<bool>() == (row != 4 && row != 7));
      }
    }
  }
}

TEST_CASE("Monarch on CUDA: the comparison rejects interleaved blocks that are read as contiguous ones") {
  const at::Device gpu = device();
  const Case c = cases[6];
  const Data here = make(c, at::kFloat, false), there = on_device(here, gpu);
  const at::Tensor z = Path{false, 0}.forward(there, c.out, Activation::none, false).y - there.bias;
  // Columns j s + i in place of i l + j.
  const at::Tensor turned = z.reshape({c.batch, c.sizes.s, c.sizes.l}).transpose(1, 2).reshape({c.batch, c.out});
  const at::Tensor wrong = turned + there.bias;
  const at::Tensor right = z + there.bias;
  const at::Tensor y = expected(here, Activation::none, right).y;
  REQUIRE(relative_error(right, y) <= limit(at::kFloat, 36));
  REQUIRE_FALSE(relative_error(wrong, y) <= limit(at::kFloat, 36));
}

TEST_CASE("Monarch on CUDA: a tile that does not fit is refused, and the product is computed all the same") {
  const at::Device gpu = device();
  const Case c{{2, 8192, 4, 2, 4, 8192}, 3, 8, 8, false};
  const Data here = make(c, at::kComplexDouble, false), there = on_device(here, gpu);
  REQUIRE(!cuda::fused_forward_fits(there.x, there.w1, there.w2));
  REQUIRE_THROWS_AS(Path({true, 0}).forward(there, c.out, Activation::none, false), BackendError);
  const at::Tensor y = cuda::monarch_forward(there.x, there.w1, there.w2, {}, c.out, Activation::none, false).y;
  REQUIRE(relative_error(y, expected(here, Activation::none, y).y) <= limit(at::kComplexDouble, 8192));
}

TEST_CASE("Monarch on CUDA: the faster way is measured once for sizes and power of two of the batch") {
  const at::Device gpu = device();
  Case c{{4, 32, 32, 8, 24, 16}, 100, 125, 190};
  const size_t before = cuda::monarch_choices();
  size_t choices = before;
  for (const int64_t batch : {100, 100, 65, 127, 128}) {
    c.batch = batch;
    const Data here = make(c, at::kFloat, false), there = on_device(here, gpu);
    const MonarchForward forward =
        cuda::monarch_forward(there.x, there.w1, there.w2, there.bias, c.out, Activation::gelu, true);
    const MonarchGradients gradients = cuda::monarch_backward(task_of(there, forward, Activation::gelu));
    const Expected e = expected(here, Activation::gelu, forward.y);
    REQUIRE(relative_error(forward.y, e.y) <= limit(at::kFloat, 48));
    require_gradients(gradients, e.gradients, limit(at::kFloat, batch));
    if (batch == 100 || batch == 128) choices = batch == 128 ? before + 4 : before + 2;
    REQUIRE(cuda::monarch_choices() == choices);
  }
}

TEST_CASE("Monarch on CUDA: monarch_multiply takes strided rows and leading dimensions") {
  const at::Device gpu = device();
  const Case c = cases[3];
  const Data here = make(c, at::kFloat, false), there = on_device(here, gpu);
  const at::Tensor wider = noise({3, c.in, 4}, at::kFloat, 9);
  const MultiplyOptions cpu = options_of(here.bias, c.out, Activation::relu);
  const MultiplyOptions on_gpu = options_of(there.bias, c.out, Activation::relu);
  const at::Tensor y = monarch_multiply(wider.to(gpu).transpose(1, 2), there.w1, there.w2, on_gpu);
  REQUIRE(y.sizes() == at::IntArrayRef({3, 4, c.out}));
  const at::Tensor reference = monarch_multiply_composite(wider.transpose(1, 2), here.w1, here.w2, cpu);
  REQUIRE(relative_error(y, reference) <= limit(at::kFloat, 10));
}
