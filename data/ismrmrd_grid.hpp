#pragma once
// Puts readouts into their places on the k-space grid.

#include <ATen/core/Tensor.h>

#include <complex>
#include <optional>
#include <span>
#include <vector>

#include "monarch/data/image.hpp"
#include "monarch/data/ismrmrd_layout.hpp"

namespace monarch::data {

/// Where the samples of one readout go. Sample s (of those kept, after reversal) goes to column first_column + s.
struct ReadoutPlace {
  int64_t first_sample = 0;   ///< first sample that is kept, in stored order
  int64_t samples = 0;        ///< how many are kept
  int64_t first_column = 0;   ///< on the encoded matrix; kept samples lie inside it
  int64_t outside = 0;        ///< samples that were dropped because they fall outside the matrix
  bool reversed = false;      ///< stored from high to low kx
  bool centre_assumed = false;   ///< center_sample was 0 or the length; the middle was taken
  bool centre_unmirrored = false;  ///< reversed: center_sample only fits when counted as in a forward readout
};

/// Places a readout on `columns` columns with DC at floor(columns / 2).
///
/// Forward: sample s goes to column s - center_sample + floor(columns / 2); discard_pre and discard_post samples
/// are left out, whichever the direction. Reversed: column center_sample - s + floor(columns / 2), with two
/// exceptions that files need: a center_sample of exactly number_of_samples / 2 (for an even number) is the
/// forward convention, and stands for the mirrored readout's own middle; and where the mirrored placement leaves
/// the matrix but the forward one does not, center_sample is taken as counted after reversal.
/// A center_sample of 0 or number_of_samples, in a readout as long as the matrix, means that nobody filled it in.
/// Returns nothing where fewer than half of the samples fall on the matrix, or discards leave none.
std::optional<ReadoutPlace> place_readout(const ismrmrd::AcquisitionHeader& header, int64_t columns);

/// Accumulates readouts on a grid; where several fall on one place, the mean by count.
class KSpaceGrid {
 public:
  /// Extents of the grid: coils and [x, y, z].
  KSpaceGrid(int64_t coils, const Extent3& matrix);

  /// samples: [coil, sample] of the whole readout. Returns false when a kept sample is NaN or infinite.
  bool add(std::span<const std::complex<float>> samples, const ReadoutPlace& place, int64_t y, int64_t z);
  /// True where row (y, z) has got a readout.
  bool filled(int64_t y, int64_t z) const { return visits_[static_cast<size_t>(z * matrix_[1] + y)] > 0; }

  /// Divides by counts and hands out; call once. conjugate: negates the imaginary parts.
  struct Result {
    at::Tensor samples;  ///< [coil, z, y, x] complex64
    at::Tensor mask;     ///< [z, y, x] bool
  };
  Result finish(bool conjugate);

 private:
  void start_counting();

  int64_t coils_;
  Extent3 matrix_;
  at::Tensor samples_;                  ///< [coil, z, y, x]
  std::vector<uint32_t> visits_;        ///< [z, y]
  std::vector<std::array<int64_t, 2>> range_;  ///< [z, y]: columns of the first visit
  std::vector<uint32_t> counts_;        ///< [z, y, x], only once some row is visited twice
};

}  // namespace monarch::data
