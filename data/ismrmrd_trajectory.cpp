// Images of non-Cartesian acquisitions.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "monarch/core/error.hpp"
#include "monarch/data/ismrmrd_sort.hpp"
#include "monarch/data/trajectory.hpp"

namespace monarch::data {

using ismrmrd::AcquisitionHeader;

at::Tensor image_trajectory(const AcquisitionStore& store, const SortedAcquisitions& sorted, const ImageLines& lines) {
  const auto headers = store.headers();
  int64_t samples = 0;
  for (const size_t i : lines.imaging) samples += headers[i].number_of_samples;
  if (sorted.trajectory.defined()) {
    const at::Tensor& given = sorted.trajectory;
    check<DataError>(
        given.size(0) * given.size(1) == samples,
        [&] {
          return fmt::format("{}: {} has {} imaging readouts with {} samples, the trajectory given has {} ({} x {})",
                             store.name(), lines.index.text(), lines.imaging.size(), samples,
                             given.size(0) * given.size(1), given.size(0), given.size(1));
        },
        "it needs a place for every stored sample of an image, in the order of the readouts");
    return given.flatten(0, 1);
  }
  const int64_t axes = headers[lines.imaging.front()].trajectory_dimensions;
  for (const size_t i : lines.imaging) {
    const int64_t found = headers[i].trajectory_dimensions;
    check<DataError>((found == 2 || found == 3) && found == axes,
                     [&] {
                       return fmt::format("{}[{}]: trajectory_dimensions = {}, expected {}", store.name(), i, found,
                                          found == axes ? "2 or 3" : fmt::format("{} as before", axes));
                     },
                     found == 0 ? "this readout carries no trajectory; pass one with --trajectory FILE.npy"
                                : "trajectories with kx, ky (and kz) are supported");
  }
  at::Tensor result = at::empty({samples, axes}, at::kDouble);
  double* to = result.mutable_data_ptr<double>();
  store.fetch_trajectory(
      lines.imaging, [&](size_t, std::span<const float> values) { to = std::copy(values.begin(), values.end(), to); });
  return result;
}

KSpace read_samples(const AcquisitionStore& store, const SortedAcquisitions& sorted, const ScanHeader& header,
                    const ImageLines& lines) {
  const auto headers = store.headers();
  const at::Tensor stored = image_trajectory(store, sorted, lines);
  const auto kept_of = [&](size_t i) {
    return int64_t{headers[i].number_of_samples} - headers[i].discard_pre - headers[i].discard_post;
  };
  int64_t kept = 0;
  bool equal = true;
  for (const size_t i : lines.imaging) {
    kept += kept_of(i);
    equal &= kept_of(i) == kept_of(lines.imaging.front());
  }
  at::Tensor samples = at::empty({header.coils, kept}, at::kComplexFloat);
  std::vector<at::Tensor> places;
  auto* to = reinterpret_cast<std::complex<float>*>(samples.mutable_data_ptr<c10::complex<float>>());
  int64_t position = 0, place = 0;
  store.fetch(lines.imaging, [&](size_t i, std::span<const std::complex<float>> values) {
    const int64_t length = headers[i].number_of_samples, count = kept_of(i), before = headers[i].discard_pre;
    for (int64_t coil = 0; coil < header.coils; ++coil) {
      std::copy_n(values.data() + coil * length + before, count, to + coil * kept + position);
    }
    places.push_back(stored.narrow(0, place + before, count));
    position += count;
    place += length;
  });
  const int64_t readouts = equal ? static_cast<int64_t>(lines.imaging.size()) : 1;
  KSpace result;
  set_samples(result, samples.reshape({header.coils, readouts, kept / readouts}),
              at::cat(places).reshape({readouts, kept / readouts, stored.size(1)}), sorted.unit, header,
              fmt::format("{}: {}", store.name(), lines.index.text()));
  return result;
}

}  // namespace monarch::data
