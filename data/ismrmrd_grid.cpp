#include "monarch/data/ismrmrd_grid.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

namespace monarch::data {

namespace {

/// NaN and infinity have all exponent bits set; the loop vectorises.
bool all_finite(const std::complex<float>* samples, int64_t count) {
  uint32_t bad = 0;
  const auto* bytes = reinterpret_cast<const char*>(samples);
  for (int64_t i = 0; i < 2 * count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, bytes + 4 * i, 4);
    bad |= (bits & 0x7f800000u) == 0x7f800000u;
  }
  return bad == 0;
}

/// Cuts a placement to the matrix. Nothing where less than half remains.
std::optional<ReadoutPlace> clip(ReadoutPlace place, int64_t columns) {
  const int64_t before = std::max<int64_t>(0, -place.first_column);
  const int64_t after = std::max<int64_t>(0, place.first_column + place.samples - columns);
  place.outside = before + after;
  if (2 * place.outside > place.samples) return std::nullopt;
  // Stored order runs against the columns in a reversed readout.
  place.first_sample += place.reversed ? after : before;
  place.first_column += before;
  place.samples -= place.outside;
  return place;
}

}  // namespace

std::optional<ReadoutPlace> place_readout(const ismrmrd::AcquisitionHeader& header, int64_t columns) {
  const int64_t length = header.number_of_samples;
  const int64_t kept = length - header.discard_pre - header.discard_post;
  if (kept <= 0) return std::nullopt;
  ReadoutPlace place;
  place.first_sample = header.discard_pre;
  place.samples = kept;
  place.reversed = ismrmrd::has(header, ismrmrd::reverse_readout);
  int64_t centre = header.center_sample;
  if ((centre == 0 || centre == length) && length > 1 && kept >= columns) {
    centre = length / 2;
    place.centre_assumed = true;
  }
  const int64_t middle = columns / 2;
  if (!place.reversed) {
    place.first_column = header.discard_pre - centre + middle;
    return clip(place, columns);
  }
  // After reversal the kept samples start with what was stored last.
  ReadoutPlace mirrored = place;
  mirrored.first_column = centre - (length - 1 - header.discard_post) + middle;
  ReadoutPlace forward = place;
  forward.first_column = header.discard_post - centre + middle;
  if (2 * centre == length) return clip(forward, columns);
  const auto best = clip(mirrored, columns);
  if (best && best->outside == 0) return best;
  auto other = clip(forward, columns);
  if (other && other->outside == 0) {
    other->centre_unmirrored = true;
    return other;
  }
  return best;
}

KSpaceGrid::KSpaceGrid(int64_t coils, const Extent3& matrix)
    : coils_(coils),
      matrix_(matrix),
      samples_(at::zeros({coils, matrix[2], matrix[1], matrix[0]}, at::kComplexFloat)),
      visits_(static_cast<size_t>(matrix[1] * matrix[2]), 0),
      range_(visits_.size(), {0, 0}) {}

void KSpaceGrid::start_counting() {
  const auto columns = static_cast<size_t>(matrix_[0]);
  counts_.assign(visits_.size() * columns, 0);
  for (size_t row = 0; row < visits_.size(); ++row) {
    for (int64_t x = range_[row][0]; x < range_[row][1]; ++x) counts_[row * columns + static_cast<size_t>(x)] = 1;
  }
}

bool KSpaceGrid::add(std::span<const std::complex<float>> samples, const ReadoutPlace& place, int64_t y, int64_t z) {
  const auto row = static_cast<size_t>(z * matrix_[1] + y);
  const auto length = static_cast<int64_t>(samples.size()) / coils_;
  const bool again = visits_[row]++ > 0;
  if (again && counts_.empty()) start_counting();
  if (!again) range_[row] = {place.first_column, place.first_column + place.samples};
  if (!counts_.empty()) {
    uint32_t* count = counts_.data() + row * static_cast<size_t>(matrix_[0]) + place.first_column;
    for (int64_t i = 0; i < place.samples; ++i) ++count[i];
  }
  auto* grid = reinterpret_cast<std::complex<float>*>(samples_.data_ptr<c10::complex<float>>());
  bool finite = true;
  for (int64_t coil = 0; coil < coils_; ++coil) {
    const std::complex<float>* from = samples.data() + coil * length + place.first_sample;
    std::complex<float>* to = grid +
                              (coil * static_cast<int64_t>(visits_.size()) + static_cast<int64_t>(row)) * matrix_[0] +
                              place.first_column;
    finite &= all_finite(from, place.samples);
    if (again) {
      for (int64_t i = 0; i < place.samples; ++i) to[i] += from[place.reversed ? place.samples - 1 - i : i];
    } else if (place.reversed) {
      std::reverse_copy(from, from + place.samples, to);
    } else {
      std::copy(from, from + place.samples, to);
    }
  }
  return finite;
}

KSpaceGrid::Result KSpaceGrid::finish(bool conjugate) {
  Result result;
  result.mask = at::zeros({matrix_[2], matrix_[1], matrix_[0]}, at::kBool);
  bool* mask = result.mask.data_ptr<bool>();
  const auto columns = static_cast<size_t>(matrix_[0]);
  if (counts_.empty()) {
    for (size_t row = 0; row < visits_.size(); ++row) {
      std::fill(mask + row * columns + range_[row][0], mask + row * columns + range_[row][1], true);
    }
  } else {
    auto* grid = reinterpret_cast<std::complex<float>*>(samples_.data_ptr<c10::complex<float>>());
    for (size_t i = 0; i < counts_.size(); ++i) mask[i] = counts_[i] > 0;
    for (int64_t coil = 0; coil < coils_; ++coil) {
      std::complex<float>* values = grid + static_cast<size_t>(coil) * counts_.size();
      for (size_t i = 0; i < counts_.size(); ++i) {
        if (counts_[i] > 1) values[i] /= static_cast<float>(counts_[i]);
      }
    }
  }
  result.samples = conjugate ? samples_.conj().resolve_conj() : samples_;
  samples_ = at::Tensor();
  return result;
}

}  // namespace monarch::data
