#pragma once
// Colour maps: numbers as colours.

#include <array>
#include <cstdint>

namespace monarch {

using Rgb = std::array<uint8_t, 3>;

enum class ColourMap {
  sequential,  ///< viridis (van der Walt and Smith): dark violet to yellow, lightness rises evenly; magnitudes
  diverging,   ///< ColorBrewer's blue to white to red, white in the middle; signed values, limits ±m
  grey         ///< black to white; images of patients
};

/// Levels that a map has: what is drawn with two of them, and a few greys, fits the 256 colours of a GIF exactly.
constexpr int kColourLevels = 112;

/// The colour of x in [0, 1], clamped; grey (160, 160, 160) where x is NaN.
Rgb colour(ColourMap map, double x);

}  // namespace monarch
