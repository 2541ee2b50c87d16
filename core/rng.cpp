#include "monarch/core/rng.hpp"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

namespace monarch {

Rng::Rng(uint64_t seed, std::string_view stream)
    : key_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)} {
  // FNV-1a of the stream's name fills the upper half of the counter, so that streams never overlap.
  uint64_t hash = 14695981039346656037ULL;
  for (const unsigned char byte : stream) hash = (hash ^ byte) * 1099511628211ULL;
  counter_[2] = static_cast<uint32_t>(hash);
  counter_[3] = static_cast<uint32_t>(hash >> 32);
}

void Rng::refill() {
  uint32_t c[4] = {counter_[0], counter_[1], counter_[2], counter_[3]};
  uint32_t k0 = key_[0], k1 = key_[1];
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * c[2];
    const uint32_t next[4] = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
                              static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    std::copy(std::begin(next), std::end(next), std::begin(c));
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  std::copy(std::begin(c), std::end(c), std::begin(block_));
  if (++counter_[0] == 0) ++counter_[1];
  used_ = 0;
}

uint32_t Rng::bits() {
  if (used_ == 4) refill();
  return block_[used_++];
}

double Rng::uniform() {
  const uint64_t high = bits() >> 5, low = bits() >> 6;
  return static_cast<double>(high * 67108864 + low) / 9007199254740992.0;
}

int64_t Rng::below(int64_t bound) {
  return static_cast<int64_t>(uniform() * static_cast<double>(bound));
}

double Rng::normal() {
  const double radius = std::sqrt(-2 * std::log1p(-uniform()));
  return radius * std::cos(2 * std::numbers::pi * uniform());
}

at::Tensor Rng::normal(std::vector<int64_t> shape, at::ScalarType dtype) {
  const bool complex = at::isComplexType(dtype);
  at::Tensor values = at::empty(shape, complex ? at::kComplexDouble : at::kDouble);
  double* data = static_cast<double*>(values.data_ptr());
  const int64_t count = values.numel() * (complex ? 2 : 1);
  const double scale = complex ? std::numbers::sqrt2 / 2 : 1.0;
  for (int64_t i = 0; i < count; ++i) data[i] = scale * normal();
  return values.to(dtype);
}

}  // namespace monarch
