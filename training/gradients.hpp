#pragma once
// The gradients of a list of parameters as one vector.

#include <span>

#include "monarch/operators/nn/parameter_groups.hpp"

namespace monarch::training {

/// Forgets every gradient: undefined rather than zero, so that a parameter that gets none is not stepped.
void clear_gradients(std::span<const operators::ParameterGroup> parameters);
/// ‖g‖₂ over all gradients together, complex numbers by their modulus; NaN or infinite where one of them is. One read
/// from the device.
double gradient_norm(std::span<const operators::ParameterGroup> parameters);
/// g ← g · limit / norm where norm > limit, `norm` being gradient_norm's.
void clip_gradients(std::span<const operators::ParameterGroup> parameters, double norm, double limit);

}  // namespace monarch::training
