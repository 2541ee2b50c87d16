#include "monarch/data/ismrmrd_scan.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "monarch/core/error.hpp"
#include "monarch/data/ismrmrd_sort.hpp"

namespace monarch::data {

using ismrmrd::AcquisitionHeader;

namespace {

/// Noise readouts beyond this are not read: a covariance of 128 coils needs far fewer samples.
constexpr int64_t largest_noise_bytes = int64_t{256} << 20;

Orientation orientation_of(const AcquisitionHeader& header) {
  Orientation result;
  // The struct is packed, so that its floats may lie at odd multiples of two bytes: no pointers into it.
  float directions[3][3];
  std::memcpy(directions[0], &header.read_dir, sizeof header.read_dir);
  std::memcpy(directions[1], &header.phase_dir, sizeof header.phase_dir);
  std::memcpy(directions[2], &header.slice_dir, sizeof header.slice_dir);
  Vector3* vectors[3] = {&result.x_direction, &result.y_direction, &result.z_direction};
  bool known = true;
  for (int a = 0; a < 3; ++a) {
    for (int b = 0; b <= a; ++b) {
      double dot = 0;
      for (int i = 0; i < 3; ++i) dot += double{directions[a][i]} * directions[b][i];
      known &= std::abs(dot - (a == b)) <= 1e-3;  // NaN fails
    }
  }
  for (int i = 0; i < 3; ++i) {
    known &= std::isfinite(header.position[i]);
    if (std::isfinite(header.patient_table_position[i]))
      result.table_position_mm[static_cast<size_t>(i)] = header.patient_table_position[i];
  }
  result.known = known;
  if (!known) return result;
  for (size_t i = 0; i < 3; ++i) {
    result.centre_mm[i] = header.position[i];
    for (int a = 0; a < 3; ++a) (*vectors[a])[i] = directions[a][i];
  }
  return result;
}

class IsmrmrdScan final : public ScanSource {
 public:
  IsmrmrdScan(std::unique_ptr<AcquisitionStore> store, const IsmrmrdDocument& document, const ScanOptions& options,
              std::vector<std::string> datasets, const std::string& format)
      : store_(std::move(store)),
        header_(document.general),
        datasets_(std::move(datasets)),
        conjugate_(options.conjugate.value_or(false)),
        centre_overridden_(options.centre.has_value()) {
    header_.format = format;
    header_.readout = ReadoutAxis::x;
    sorted_ = sort_acquisitions(*store_, document, options, header_);
    for (const auto& image : sorted_.images) images_.push_back(image.index);
  }

  const ScanHeader& header() const override { return header_; }
  const std::vector<ImageIndex>& images() const override { return images_; }

  KSpace read(size_t image) const override {
    check<DataError>(image < images_.size(), [&] {
      return fmt::format("{}: image {} was asked for, the scan has {} (0 to {})", store_->name(), image, images_.size(),
                         images_.size() - 1);
    });
    const ImageLines& lines = sorted_.images[image];
    KSpace result = sorted_.non_cartesian ? read_samples(*store_, sorted_, header_, lines) : read_grid(lines);
    if (conjugate_ && sorted_.non_cartesian) result.samples = result.samples.conj().resolve_conj();
    const AcquisitionHeader& first = store_->headers()[lines.imaging.front()];
    result.index = lines.index;
    result.orientation = orientation_of(first);
    result.time_stamp = first.acquisition_time_stamp;
    return result;
  }

  std::optional<NoiseMeasurement> noise() const override {
    if (sorted_.noise.empty()) return std::nullopt;
    const auto headers = store_->headers();
    std::vector<size_t> wanted;
    int64_t samples = 0;
    for (const size_t i : sorted_.noise) {
      const int64_t kept = int64_t{headers[i].number_of_samples} - headers[i].discard_pre - headers[i].discard_post;
      if (!wanted.empty() && 8 * header_.coils * (samples + kept) > largest_noise_bytes) break;
      wanted.push_back(i);
      samples += kept;
    }
    NoiseMeasurement result;
    result.samples = at::empty({header_.coils, samples}, at::kComplexFloat);
    auto* to = reinterpret_cast<std::complex<float>*>(result.samples.data_ptr<c10::complex<float>>());
    int64_t position = 0;
    store_->fetch(wanted, [&](size_t i, std::span<const std::complex<float>> values) {
      const AcquisitionHeader& header = headers[i];
      const int64_t length = header.number_of_samples;
      const int64_t kept = length - header.discard_pre - header.discard_post;
      for (int64_t coil = 0; coil < header_.coils; ++coil) {
        std::copy_n(values.data() + coil * length + header.discard_pre, kept, to + coil * samples + position);
      }
      position += kept;
    });
    check<DataError>(
        at::isfinite(at::view_as_real(result.samples)).all().item<bool>(),
        [&] {
          return fmt::format("{}: a noise readout (the first is acquisition {}) holds NaN or infinity", store_->name(),
                             wanted.front());
        },
        "the receiver chain or the converter failed; leave the noise out");
    if (conjugate_) result.samples = result.samples.conj().resolve_conj();
    const auto dwell = [](float time_us) { return std::isfinite(time_us) && time_us > 0 ? double{time_us} : 0.0; };
    result.dwell_time_us = dwell(headers[wanted.front()].sample_time_us);
    result.imaging_dwell_time_us = dwell(headers[sorted_.images.front().imaging.front()].sample_time_us);
    return result;
  }

  ScanSummary summarise() const override {
    return summarise_acquisitions(*store_, sorted_, *this, datasets_, centre_overridden_);
  }

 private:
  KSpace read_grid(const ImageLines& lines) const {
    const Extent3& matrix = header_.encoded.matrix;
    std::vector<size_t> wanted = lines.imaging;
    wanted.insert(wanted.end(), lines.calibration.begin(), lines.calibration.end());
    std::sort(wanted.begin(), wanted.end());
    wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());

    KSpaceGrid grid(header_.coils, matrix);
    std::optional<KSpaceGrid> calibration;
    if (!lines.calibration.empty()) calibration.emplace(header_.coils, matrix);
    store_->fetch(wanted, [&](size_t i, std::span<const std::complex<float>> samples) {
      const Role role = sorted_.roles[i];
      // Calibration borrowed from another image must not become part of this one.
      if (role != Role::calibration && std::binary_search(lines.imaging.begin(), lines.imaging.end(), i)) {
        add(grid, i, samples);
      }
      if (calibration && role != Role::imaging) add(*calibration, i, samples);
    });

    KSpace result;
    auto gridded = grid.finish(conjugate_);
    result.samples = std::move(gridded.samples);
    result.mask = std::move(gridded.mask);
    if (calibration) {
      auto reference = calibration->finish(conjugate_);
      result.calibration = std::move(reference.samples);
      result.calibration_mask = std::move(reference.mask);
      if (header_.calibration_mode == "embedded") fill_empty_rows(result);
    }
    return result;
  }

  void add(KSpaceGrid& grid, size_t acquisition, std::span<const std::complex<float>> samples) const {
    const AcquisitionHeader& header = store_->headers()[acquisition];
    const auto place = place_readout(header, header_.encoded.matrix[0]);
    const auto [y, z] = row_of(header, sorted_, header_);
    if (grid.add(samples, *place, y, z)) return;
    const auto bad = std::find_if(samples.begin(), samples.end(),
                                  [](std::complex<float> value) {
                                    return !std::isfinite(value.real()) || !std::isfinite(value.imag());
                                  }) -
                     samples.begin();
    fail<DataError>(fmt::format("{}[{}]: coil {}, sample {} is NaN or infinite", store_->name(), acquisition,
                                bad / header.number_of_samples, bad % header.number_of_samples),
                    "one bad sample spoils the whole image; the export or an earlier step failed");
  }

  /// Embedded calibration has the contrast of the images, so its lines are image data where no other is.
  static void fill_empty_rows(KSpace& kspace) {
    const at::Tensor empty = kspace.mask.any(-1, true).logical_not();  // [z, y, 1]
    const at::Tensor take = empty.logical_and(kspace.calibration_mask);
    kspace.samples = at::where(take, kspace.calibration, kspace.samples);
    kspace.mask = kspace.mask.logical_or(take);
  }

  std::unique_ptr<AcquisitionStore> store_;
  ScanHeader header_;
  std::vector<std::string> datasets_;
  bool conjugate_;
  bool centre_overridden_;
  SortedAcquisitions sorted_;
  std::vector<ImageIndex> images_;
};

}  // namespace

std::unique_ptr<ScanSource> make_ismrmrd_scan(std::unique_ptr<AcquisitionStore> store, const IsmrmrdDocument& document,
                                              const ScanOptions& options, std::vector<std::string> datasets,
                                              const std::string& format) {
  return std::make_unique<IsmrmrdScan>(std::move(store), document, options, std::move(datasets), format);
}

}  // namespace monarch::data
