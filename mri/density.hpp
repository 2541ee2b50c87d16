#pragma once
// Density compensation: how much of k-space each sample stands for.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "monarch/data/image.hpp"

namespace monarch::mri {

/// How the density of samples is found.
enum class Density { pipe_menon, ramp, none };

/// The name on the command line ("pipe-menon"), and back; parse_density throws ConfigError naming the choices.
std::string density_name(Density density);
Density parse_density(const std::string& name);

/// Weights w such that w, convolved with the gridding kernel twice, is 1 at every sample, by w <- w / (C C^H w):
/// for any trajectory. Their unit is that of an area (a volume in 3-D) of k-space, (cycles per field of view)^axes, so
/// that they sum to about the area that is covered. Samples at the rim of k-space count for what lies beyond, too.
/// trajectory: [sample, axis] float64, matrix: pixels [x, y, z]. Returns [sample] float64.
/// Cost: per iteration, two passes over the samples. Pipe, Menon, Magn. Reson. Med. 41 (1999).
at::Tensor pipe_menon_density(const at::Tensor& trajectory, const data::Extent3& matrix, int64_t iterations = 15);

/// The analytic density of straight spokes through the centre at any set of angles, 2-D: |k| Δk Δθ, Δθ reaching
/// half-way to the neighbouring spokes, and the share of the disc of radius Δk/2 for samples within it. trajectory:
/// [spoke, sample, 2] float64. Returns [spoke, sample] float64, in the unit of pipe_menon_density. Throws DataError
/// where a readout is no straight line past the centre.
at::Tensor ramp_density(const at::Tensor& trajectory);

}  // namespace monarch::mri
