#pragma once
// The convolutional baselines of the FNO paper's table, on two-dimensional grids, and the two that know nothing.

#include "monarch/solvers/neural/neural_solver.hpp"

namespace monarch::solvers {

/// "u-net": five stride-2 convolutions (widths w, 2w, 4w, 8w, 16w, w = 64; the last three followed by one of stride 1;
/// each without bias, with batch normalisation, LeakyReLU 0.1 and dropout), five 4 × 4 stride-2 transposed ones (4w,
/// 2w, w, w/2, w/4, LeakyReLU 0.1) whose results are joined with the encoder's of the same size, and a 3 × 3
/// convolution over the last and the input. 24,950,491 parameters for 10 channels in and 1 out: the table's number.
/// Grids: multiples of 32. Keys: model.width (a multiple of 4), model.dropout.
NeuralSolverPtr make_unet(const Config& config, const FieldShape& shape);

/// "tf-net" (Wang et al., KDD 2020). Of the last T + I - 1 frames u (T = model.time_range 3, I = model.frames 7), with
/// a learned 3 × 3 filter S and learned weights of T frames: ũ = S u, ū = sum_t c_t ũ_t; three encoders of four
/// stride-2 convolutions (w, 2w, 4w, 8w) see ū, ũ - ū and u - S u; their sums enter a decoder with sum skips. 7,451,724
/// parameters with I = 7, T = 3: the table's number. Channels are frames, oldest first; with model.components c > 1
/// each frame is c channels. Grids: multiples of 16. Keys: model.width, model.dropout, model.frames, model.time_range,
/// model.components.
NeuralSolverPtr make_tfnet(const Config& config, const FieldShape& shape);

/// "resnet": a 3 × 3 convolution to w = 40 channels, 9 residual blocks (convolution, batch normalisation, ReLU,
/// convolution, batch normalisation, sum, ReLU), a pointwise layer w, ReLU, and one to the output. 18 layers in the
/// blocks and 266,641 parameters for 10 channels in and 1 out, as the table says; its own definition was never
/// published, so that this is a network of that size and kind, not necessarily that one.
/// Keys: model.width, model.blocks, model.boundary ("zeros" or "circular" continuation at the edges).
NeuralSolverPtr make_resnet(const Config& config, const FieldShape& shape);

/// "persistence": the last frame, over and over. The last model.components channels (default: all outputs where the
/// input has as many, else 1), repeated to fill the output. No parameters; any grid.
NeuralSolverPtr make_persistence(const Config& config, const FieldShape& shape);
/// "mean": the same field for every input, one learned number per channel and point, starting at 0. Under a squared
/// error it trains to the mean of the targets. On another grid: resampled.
NeuralSolverPtr make_mean(const Config& config, const FieldShape& shape);

}  // namespace monarch::solvers
