#include "multiply_cases.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::bench {
namespace {

int64_t whole_number(const std::string& text, const std::string& what) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  check<ConfigError>(error == std::errc() && end == text.data() + text.size() && value >= 1 && value <= (1 << 20),
                     [&] { return fmt::format("{}: '{}' is no whole number from 1 to {}", what, text, 1 << 20); });
  return value;
}

double epsilon(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble:
    case at::kComplexDouble:
      return 2.3e-16;
    case at::kBFloat16:
      return 7.9e-3;
    case at::kHalf:
      return 9.8e-4;
    default:
      return 1.2e-7;
  }
}

double operations(at::ScalarType dtype, bool training) {
  return (at::isComplexType(dtype) ? 8.0 : 2.0) * (training ? 3 : 1);
}

}  // namespace

LayerShape layer_shape_from_text(const std::string& text) {
  for (const std::string arrow : {"->", ":"}) {
    const size_t at = text.find(arrow);
    if (at == std::string::npos) continue;
    return {whole_number(text.substr(0, at), "shape '" + text + "'"),
            whole_number(text.substr(at + arrow.size()), "shape '" + text + "'")};
  }
  const int64_t n = whole_number(text, "shape");
  return {n, n};
}

std::string layer_shape_text(const LayerShape& shape) {
  return shape.in == shape.out ? std::to_string(shape.in) : fmt::format("{}→{}", shape.in, shape.out);
}

operators::MonarchSizes monarch_linear_sizes(const LayerShape& shape, int64_t nblocks) {
  check<ConfigError>(nblocks >= 1 && nblocks <= std::min(shape.in, shape.out),
                     [&] { return fmt::format("a layer {} cannot have {} blocks", layer_shape_text(shape), nblocks); });
  const int64_t in_block = (shape.in + nblocks - 1) / nblocks, out_block = (shape.out + nblocks - 1) / nblocks;
  const int64_t middle = std::min(in_block, out_block);
  return {.k = nblocks, .q = middle, .p = in_block, .l = nblocks, .s = out_block, .r = middle};
}

operators::MonarchSizes sqrt_blocks_sizes(const LayerShape& shape) {
  const int64_t m = std::min(shape.in, shape.out);
  for (int64_t l = static_cast<int64_t>(std::sqrt(static_cast<double>(m)) + 1e-9); l >= 2; --l) {
    if (m % l != 0) continue;
    const int64_t k = m / l;
    if (shape.in % k == 0 && shape.out % l == 0) {
      return {.k = k, .q = l, .p = shape.in / k, .l = l, .s = shape.out / l, .r = k};
    }
  }
  fail<ConfigError>(fmt::format("a layer {} has no block counts k and l with k·l = {} that divide its sides",
                                layer_shape_text(shape), m),
                    "give a number of blocks instead of sqrt");
}

operators::MonarchSizes sizes_for(const LayerShape& shape, const std::string& nblocks) {
  if (nblocks == "sqrt") return sqrt_blocks_sizes(shape);
  return monarch_linear_sizes(shape, whole_number(nblocks, "blocks (a number or sqrt)"));
}

double MultiplyCase::flops() const {
  return operations(dtype, training) * static_cast<double>(batch) * static_cast<double>(sizes.parameters());
}

double MultiplyCase::dense_flops() const {
  return operations(dtype, training) * static_cast<double>(batch) * static_cast<double>(shape.in * shape.out);
}

double MultiplyCase::bytes() const {
  return static_cast<double>((batch * (shape.in + shape.out) + sizes.parameters()) *
                             static_cast<int64_t>(at::elementSize(dtype)));
}

double MultiplyCase::dense_bytes() const {
  return static_cast<double>((batch * (shape.in + shape.out) + shape.in * shape.out) *
                             static_cast<int64_t>(at::elementSize(dtype)));
}

double MultiplyCase::middle_bytes() const {
  return static_cast<double>(batch * sizes.middle() * static_cast<int64_t>(at::elementSize(dtype)));
}

std::string MultiplyCase::text() const {
  return fmt::format("{}, nblocks {}, batch {}, {}, {} thread{}", layer_shape_text(shape), nblocks, batch,
                     training ? "training" : "forward", threads, threads == 1 ? "" : "s");
}

double agreement_tolerance(const MultiplyCase& what) {
  if (what.dtype == at::kBFloat16 || what.dtype == at::kHalf) return 16 * epsilon(what.dtype);
  const int64_t terms = std::max({what.sizes.p, what.sizes.r, what.sizes.s, what.training ? what.batch : 1});
  return epsilon(what.dtype) * (64 + 8 * std::sqrt(static_cast<double>(terms)));
}

double check_agreement(const MultiplyCase& what, const std::string& name, const at::Tensor& ours,
                       const at::Tensor& peer) {
  check<BackendError>(ours.sizes() == peer.sizes(), [&] {
    return fmt::format("{}: {} has shape {}, but {} by the composite form", what.text(), name, shape_text(ours.sizes()),
                       shape_text(peer.sizes()));
  });
  const auto wide = at::isComplexType(peer.scalar_type()) ? at::kComplexDouble : at::kDouble;
  const at::Tensor expected = peer.detach().to(wide), rms = expected.abs().square().mean().sqrt();
  const double difference = ((ours.detach().to(wide) - expected).abs().max() / rms).item<double>();
  check<BackendError>(
      difference <= agreement_tolerance(what),
      [&] {
        return fmt::format("{}: {} deviates from that of the composite form by {:.2e} of its RMS (tolerance {:.1e})",
                           what.text(), name, difference, agreement_tolerance(what));
      },
      "the product is wrong at this size: nothing was timed");
  return difference;
}

}  // namespace monarch::bench
