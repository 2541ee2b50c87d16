// The Monarch product in bfloat16, by every way that this processor has.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "monarch/core/error.hpp"
#include "monarch/operators/kernels/cpu/monarch_bfloat16.hpp"
#include "monarch/operators/kernels/cpu/target.hpp"
#include "monarch/operators/kernels/monarch.hpp"
#include "monarch_cases.hpp"
#include "support/poison.hpp"
#include "support/support.hpp"

namespace {

using monarch::operators::Activation;
using monarch::operators::MonarchSizes;
using monarch::operators::kernels::MonarchForward;
using monarch::test::monarch_arguments;
using monarch::test::MonarchArguments;
using monarch::test::MonarchCase;
using monarch::test::relative_error;
namespace cpu = monarch::operators::kernels::cpu;
namespace reference = monarch::operators::kernels::reference;
using cpu::Bfloat16;

/// One way of multiplying while it lives.
struct Way {
  explicit Way(Bfloat16 how) { cpu::limit_bfloat16(how); }
  ~Way() { cpu::limit_bfloat16(Bfloat16::tiles); }
};

std::vector<Bfloat16> ways() {
  std::vector<Bfloat16> all = {Bfloat16::widened};
  for (const auto how : {Bfloat16::dots, Bfloat16::tiles}) {
    if (how <= cpu::bfloat16_available()) all.push_back(how);
  }
  return all;
}

at::Tensor wide(const at::Tensor& t) {
  return t.defined() ? t.to(at::kDouble) : t;
}

MonarchForward run(const MonarchArguments& a, bool keep = false) {
  return cpu::monarch_forward(a.x.contiguous(), a.w1, a.w2, a.options.bias.value_or(at::Tensor()),
                              *a.options.out_features, a.options.activation, keep);
}

MonarchForward reference_run(const MonarchArguments& a) {
  return reference::monarch_forward(wide(a.x).contiguous(), wide(a.w1), wide(a.w2),
                                    wide(a.options.bias.value_or(at::Tensor())), *a.options.out_features,
                                    a.options.activation, true);
}

/// Compares y with the reference in double on the same numbers. Rounding to bfloat16 changes a number by a part of at
/// most u = 2^-8, and does so twice: to the middle vector and to the result. Sums in float32 of p and r terms add
/// (p + r + 4) 2^-23 of the sum of absolute values. So, with |act'| < 1.13,
///   |y - y'| <= u |y'| + 1.13 (1 + u) (u |W2| |mid| + (p + r + 4) 2^-23 |W2| |W1| |x|)
/// for each element. Over many elements the roundings are independent, each 2^-7 / sqrt(12) of a number at most:
/// together less than u in the norm. Returns "" or a finding.
std::string check_rounding(const MonarchCase& shape, const MonarchArguments& a, const at::Tensor& y) {
  const MonarchSizes& z = shape.sizes;
  const int64_t batch = shape.batch, out = *a.options.out_features;
  const double u = std::ldexp(1, -8), sums = static_cast<double>(z.p + z.r + 4) * std::ldexp(1, -23);
  const MonarchForward expected = reference_run(a);
  const auto second = [&](const at::Tensor& middle) {  // |W2| |middle|, in the order of y
    const at::Tensor columns = middle.abs().view({batch, z.r, z.l}).permute({2, 1, 0});
    return at::matmul(wide(a.w2).abs(), columns).permute({2, 1, 0}).reshape({batch, z.out()}).slice(1, 0, out);
  };
  const at::Tensor x = at::constant_pad_nd(wide(a.x).abs(), {0, z.in() - a.x.size(1)}).view({batch, z.k, z.p});
  const at::Tensor whole =
      at::matmul(wide(a.w1).abs(), x.permute({1, 2, 0})).permute({2, 0, 1}).reshape({batch, z.middle()});
  const at::Tensor allowed =
      u * expected.y.abs() + 1.13 * (1 + u) * (u * second(expected.middle) + sums * second(whole));
  if (y.sizes() != expected.y.sizes() || y.scalar_type() != at::kBFloat16)
    return shape.text() + ": another shape or type";
  const at::Tensor error = (wide(y) - expected.y).abs();
  if (!(error <= allowed).all().item<bool>()) {
    return fmt::format("{}: an element is off by {:.3} times what rounding explains", shape.text(),
                       (error / allowed).max().item<double>());
  }
  if (y.numel() >= 256 && !(relative_error(y, expected.y) <= u)) {
    return fmt::format("{}: relative error {:.2e}", shape.text(), relative_error(y, expected.y));
  }
  return "";
}

/// Even and odd numbers, below and above 16, 32 and 64, blocks that do not divide one another, more than 512 columns.
const std::vector<MonarchSizes>& sizes() {
  static const std::vector<MonarchSizes> all = {
      {1, 2, 2, 1, 2, 2},       {2, 3, 4, 3, 3, 2},        {4, 3, 6, 6, 3, 2},       {2, 4, 3, 4, 5, 2},
      {3, 2, 2, 2, 5, 3},       {5, 6, 8, 3, 9, 10},       {4, 17, 34, 2, 65, 34},   {16, 16, 16, 16, 16, 16},
      {3, 31, 62, 31, 33, 3},   {32, 32, 32, 32, 32, 32},  {33, 33, 34, 33, 35, 33}, {4, 64, 96, 4, 48, 64},
      {1, 129, 66, 3, 43, 43},  {7, 40, 50, 4, 70, 70},    {2, 70, 514, 2, 33, 70},  {2, 600, 20, 2, 40, 600},
      {2, 40, 1100, 4, 17, 20}, {2, 521, 33, 1, 19, 1042},
  };
  return all;
}

}  // namespace

TEST_CASE("Monarch bfloat16: every way, any size, batch and number of threads gives the reference but for rounding") {
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    int64_t turn = threads;
    for (const MonarchSizes& z : sizes()) {
      for (const int64_t batch : {5, 16, 17, 48, 64, 100, 257}) {
        ++turn;
        MonarchCase shape{.sizes = z, .batch = batch, .dtype = at::kBFloat16, .bias = turn % 3 != 0};
        shape.activation = static_cast<Activation>(turn % 4);
        if (turn % 5 == 0) shape.in = z.k * (z.p - 1) + 1;
        if (turn % 5 == 1) shape.in = std::max<int64_t>(1, z.in() - z.in() / 3) / 2 * 2;
        if (turn % 2 == 0) shape.out = z.l * (z.s - 1) + 1;
        const MonarchArguments a = monarch_arguments(shape);
        for (const Bfloat16 how : ways()) {
          const Way way(how);
          INFO(cpu::instructions());
          REQUIRE(check_rounding(shape, a, run(a).y) == "");
        }
      }
    }
  }
  at::set_num_threads(2);
}

TEST_CASE("Monarch bfloat16: the checker rejects what rounding does not explain") {
  const MonarchCase shape{.sizes = {4, 64, 96, 4, 48, 64}, .batch = 20, .dtype = at::kBFloat16};
  const MonarchArguments a = monarch_arguments(shape);
  const at::Tensor y = run(a).y;
  REQUIRE(check_rounding(shape, a, y) == "");
  at::Tensor one = y.clone();
  one[19][191] += 1;
  REQUIRE(check_rounding(shape, a, one) != "");
  one[19][191] = std::nan("");
  REQUIRE(check_rounding(shape, a, one) != "");
  REQUIRE(check_rounding(shape, a, (y.to(at::kFloat) * 1.01).to(at::kBFloat16)) != "");
  REQUIRE(check_rounding(shape, a, y.to(at::kFloat)) != "");
  MonarchArguments swapped = a;  // the halves of the pairs of the middle vector
  swapped.w2 = a.w2.view({4, 48, 32, 2}).flip(3).reshape({4, 48, 64});
  REQUIRE(check_rounding(shape, a, run(swapped).y) != "");
  MonarchArguments unlike = a;  // a pair of x missing
  unlike.x = a.x.clone();
  unlike.x.slice(1, 94, 96).zero_();
  REQUIRE(check_rounding(shape, a, run(unlike).y) != "");
}

TEST_CASE("Monarch bfloat16: what is kept serves backward, by every way") {
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    for (const Bfloat16 how : ways()) {
      const Way way(how);
      for (const MonarchSizes& z : {MonarchSizes{4, 17, 34, 2, 65, 34}, MonarchSizes{3, 31, 62, 31, 33, 3},
                                    MonarchSizes{4, 64, 96, 4, 48, 64}}) {
        for (const int64_t batch : {7, 70}) {
          for (const auto activation : {Activation::none, Activation::relu, Activation::gelu, Activation::gelu_tanh}) {
            const MonarchCase shape{
                .sizes = z, .batch = batch, .dtype = at::kBFloat16, .bias = true, .activation = activation};
            INFO(cpu::instructions());
            const std::string finding = monarch::test::check_against_reference(shape);
            REQUIRE(finding == "");
          }
        }
      }
    }
  }
}

TEST_CASE("Monarch bfloat16: NaN and infinity go where they go in the reference, and nowhere else") {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const MonarchSizes& z : {MonarchSizes{4, 17, 34, 2, 65, 34}, MonarchSizes{3, 31, 62, 31, 33, 3},
                                MonarchSizes{32, 32, 32, 32, 32, 32}, MonarchSizes{2, 40, 1100, 4, 17, 20}}) {
    const MonarchCase shape{.sizes = z, .batch = 40, .dtype = at::kBFloat16};
    for (int what = 0; what < 5; ++what) {
      MonarchArguments a = monarch_arguments(shape);
      if (what == 0) a.x[3][z.in() - 1] = nan;
      if (what == 1) a.x[39][0] = infinity;
      if (what == 2) a.w1[0][z.q - 1][z.p - 1] = nan;
      if (what == 3) a.w2[0][1][0] = nan;
      if (what == 4) a.w2[z.l - 1][0][z.r - 1] = -infinity;
      const at::Tensor expected = reference_run(a).y;
      for (const Bfloat16 how : ways()) {
        const Way way(how);
        INFO(shape.text() << ", case " << what << ", " << cpu::instructions());
        const at::Tensor y = wide(run(a).y);
        REQUIRE(at::equal(y.isnan(), expected.isnan()));
        REQUIRE(at::equal(y.isinf(), expected.isinf()));
        REQUIRE(at::equal(y.masked_select(y.isinf()), expected.masked_select(expected.isinf())));
        REQUIRE(y.isfinite().any().item<bool>());
        REQUIRE_FALSE(y.isfinite().all().item<bool>());
      }
    }
  }
}

TEST_CASE("Monarch bfloat16: the result does not depend on what memory held, nor on where x begins") {
  for (const MonarchSizes& z : {MonarchSizes{4, 17, 34, 2, 65, 34}, MonarchSizes{3, 31, 62, 31, 33, 3}}) {
    const MonarchCase shape{.sizes = z, .batch = 65, .dtype = at::kBFloat16, .in = z.in() - 4, .bias = true};
    MonarchArguments a = monarch_arguments(shape);
    for (const Bfloat16 how : ways()) {
      const Way way(how);
      INFO(cpu::instructions());
      const auto poisoned = [&](unsigned char byte) {
        const monarch::test::Poison poison(byte);
        return run(a, true);
      };
      const MonarchForward after_nan = poisoned(0xff), after_number = poisoned(0x45);
      REQUIRE(at::equal(after_nan.y, after_number.y));
      REQUIRE(at::equal(after_nan.middle, after_number.middle));
      MonarchArguments shifted = a;  // by two bytes, so that pairs are not aligned
      shifted.x = at::cat({at::zeros({1}, at::kBFloat16), a.x.flatten()}).slice(0, 1).view(a.x.sizes());
      REQUIRE(check_rounding(shape, shifted, run(shifted).y) == "");
    }
  }
}

TEST_CASE("Monarch bfloat16: MONARCH_CPU bounds the instructions in use") {
  using cpu::Instructions;
  REQUIRE(cpu::instructions_from_text("avx2") == Instructions::avx2);
  REQUIRE(cpu::instructions_from_text("avx512") == Instructions::avx512);
  REQUIRE(cpu::instructions_from_text("avx512-bf16") == Instructions::avx512_bf16);
  REQUIRE(cpu::instructions_from_text("amx") == Instructions::amx);
  for (const char* const wrong : {"", "AVX2", "avx", "amx "}) {
    REQUIRE_THROWS_AS(cpu::instructions_from_text(wrong), monarch::ConfigError);
  }
  const char* const set = std::getenv("MONARCH_CPU");
  const Instructions most = set ? cpu::instructions_from_text(set) : Instructions::amx;
  REQUIRE(cpu::most_instructions() == most);
  const std::string text = cpu::instructions();
  INFO(text);
  if (most <= Instructions::avx512) REQUIRE(cpu::bfloat16_available() == Bfloat16::widened);
  if (most <= Instructions::avx512_bf16) REQUIRE(cpu::bfloat16_available() <= Bfloat16::dots);
  if (most == Instructions::avx2) REQUIRE(text.find("AVX-512") == std::string::npos);
  REQUIRE((text.find("AMX") != std::string::npos) == (cpu::bfloat16_available() == Bfloat16::tiles));
}
