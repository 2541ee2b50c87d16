#include "monarch/core/colour.hpp"

#include <algorithm>
#include <cmath>
#include <span>

namespace monarch {

namespace {

// Equidistant anchors; between them colours are interpolated linearly.
constexpr uint32_t kSequential[] = {0x440154, 0x482878, 0x3e4989, 0x31688e, 0x26828e,
                                    0x1f9e89, 0x35b779, 0x6ece58, 0xb5de2b, 0xfde725};
constexpr uint32_t kDiverging[] = {0x053061, 0x2166ac, 0x4393c3, 0x92c5de, 0xd1e5f0, 0xf7f7f7,
                                   0xfddbc7, 0xf4a582, 0xd6604d, 0xb2182b, 0x67001f};
constexpr uint32_t kGrey[] = {0x000000, 0xffffff};

std::span<const uint32_t> anchors_of(ColourMap map) {
  switch (map) {
    case ColourMap::diverging: return kDiverging;
    case ColourMap::grey: return kGrey;
    default: return kSequential;
  }
}

}  // namespace

Rgb colour(ColourMap map, double x) {
  if (std::isnan(x)) return {160, 160, 160};
  const std::span<const uint32_t> anchors = anchors_of(map);
  // Levels lie symmetrically, so that values of opposite sign get colours of equal strength.
  const double level = std::min(std::floor(std::clamp(x, 0.0, 1.0) * kColourLevels), kColourLevels - 1.0);
  const double place = level / (kColourLevels - 1) * static_cast<double>(anchors.size() - 1);
  const size_t below = std::min(static_cast<size_t>(place), anchors.size() - 2);
  const double part = place - static_cast<double>(below);
  Rgb out{};
  for (size_t i = 0; i < 3; ++i) {
    const auto channel = [&](size_t anchor) { return static_cast<double>(anchors[anchor] >> (16 - 8 * i) & 255u); };
    out[i] = static_cast<uint8_t>(std::lround((1 - part) * channel(below) + part * channel(below + 1)));
  }
  return out;
}

}  // namespace monarch
