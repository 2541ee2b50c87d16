#include "monarch/data/ismrmrd_sort.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/trajectory.hpp"

namespace monarch::data {

using ismrmrd::AcquisitionHeader;
using ismrmrd::has;

namespace {

bool is_line(Role role) {
  return role == Role::imaging || role == Role::calibration || role == Role::calibration_and_imaging;
}

bool is_imaging(Role role) {
  return role == Role::imaging || role == Role::calibration_and_imaging;
}

Role role_of(const AcquisitionHeader& header) {
  if (has(header, ismrmrd::noise_measurement)) return Role::noise;
  if (drop_reason(header)) return Role::dropped;
  if (has(header, ismrmrd::parallel_calibration_and_imaging)) return Role::calibration_and_imaging;
  return has(header, ismrmrd::parallel_calibration) ? Role::calibration : Role::imaging;
}

ImageIndex index_of(const AcquisitionHeader& header) {
  ImageIndex index;
  index.slice = header.idx.slice;
  index.contrast = header.idx.contrast;
  index.phase = header.idx.phase;
  index.repetition = header.idx.repetition;
  index.set = header.idx.set;
  return index;
}

auto sort_key(const ImageIndex& index) {
  return std::make_tuple(index.contrast, index.set, index.phase, index.repetition, index.slice);
}

int64_t kept_samples(const AcquisitionHeader& header) {
  return int64_t{header.number_of_samples} - header.discard_pre - header.discard_post;
}

/// The state of one sorting.
class Sorter {
 public:
  Sorter(const AcquisitionStore& store, const IsmrmrdDocument& document, const ScanOptions& options, ScanHeader& header)
      : store_(store), headers_(store.headers()), document_(document), options_(options), header_(header) {}

  SortedAcquisitions run() {
    check<DataError>(
        !headers_.empty(), [&] { return fmt::format("{}: holds no acquisitions", store_.name()); },
        "the export that made the file may have failed");
    assign_roles();
    check_trajectory();
    check_lengths();
    collect_images();
    if (sorted_.non_cartesian) {
      check_grid_size();
      choose_trajectory();
      choose_noise();
      return std::move(sorted_);
    }
    choose_columns();
    choose_partitions();
    choose_centre();
    check_grid_size();
    check_places();
    choose_noise();
    return std::move(sorted_);
  }

 private:
  std::string at(size_t acquisition) const { return fmt::format("{}[{}]", store_.name(), acquisition); }
  void warn(std::string text) { header_.warnings.push_back(std::move(text)); }
  template <class Each>
  void for_lines(Each each) const {
    for (size_t i = 0; i < headers_.size(); ++i) {
      if (is_line(sorted_.roles[i])) each(i, headers_[i]);
    }
  }

  /// Calibration readouts of a separate measurement may have other coils or another matrix: they are left out.
  void demote(size_t acquisition) {
    sorted_.roles[acquisition] = Role::dropped;
    ++demoted_;
  }

  void assign_roles() {
    sorted_.roles.resize(headers_.size());
    std::transform(headers_.begin(), headers_.end(), sorted_.roles.begin(), role_of);
    const auto count = static_cast<int64_t>(document_.encodings.size());
    sorted_.encoding = options_.encoding;
    if (sorted_.encoding < 0) {
      int64_t lowest = 65536;
      for (size_t i = 0; i < headers_.size(); ++i) {
        if (is_imaging(sorted_.roles[i])) lowest = std::min<int64_t>(lowest, headers_[i].encoding_space_ref);
      }
      check<DataError>(
          lowest < 65536,
          [&] {
            return fmt::format("{}: none of its {} acquisitions is an imaging readout", store_.name(), headers_.size());
          },
          "`monarch info` lists the flags that were met; this may be a noise or calibration measurement");
      sorted_.encoding = lowest;
    }
    check<DataError>(
        sorted_.encoding < count,
        [&] {
          return fmt::format("{}: encoding space {} is {}, but the header defines {} (0 to {})", store_.name(),
                             sorted_.encoding, options_.encoding < 0 ? "used by imaging readouts" : "asked for", count,
                             count - 1);
        },
        "choose with --encoding");
    bool any = false;
    for (size_t i = 0; i < headers_.size(); ++i) {
      if (!is_line(sorted_.roles[i])) continue;
      if (headers_[i].encoding_space_ref != sorted_.encoding) sorted_.roles[i] = Role::other_encoding;
      any |= is_imaging(sorted_.roles[i]);
    }
    check<DataError>(
        any,
        [&] { return fmt::format("{}: no imaging readout uses encoding space {}", store_.name(), sorted_.encoding); },
        "choose another with --encoding");
    set_encoding(header_, document_.encodings[static_cast<size_t>(sorted_.encoding)]);
    if (count > 1) {
      warn(fmt::format("the header defines {} encoding spaces; space {} is read (choose with --encoding)", count,
                       sorted_.encoding));
    }
  }

  void check_trajectory() {
    const auto& encoding = document_.encodings[static_cast<size_t>(sorted_.encoding)];
    const bool given = !options_.trajectory.empty();
    sorted_.non_cartesian = given || (encoding.trajectory != "cartesian" && encoding.trajectory != "epi");
    if (sorted_.non_cartesian) {
      if (encoding.trajectory == "cartesian" || encoding.trajectory == "epi") header_.trajectory = "other";
      if (given) sorted_.trajectory = load_trajectory(options_.trajectory);
      for (Role& role : sorted_.roles) {
        if (role == Role::calibration) role = Role::dropped;
      }
      return;
    }
    check<DataError>(
        !encoding.ramp_sampled,
        [&] {
          return fmt::format(
              "{}: EPI with samples on the gradient ramps lies on no Cartesian grid, and is not supported "
              "by this reader",
              store_.name());
        },
        "pass the places of the samples with --trajectory FILE.npy");
    if (encoding.trajectory == "epi") {
      warn(
          "EPI: reversed readouts are flipped, but no phase correction is done; expect ghosts at half the field of "
          "view");
    }
  }

  /// Sample counts, channels, and the sum of what the headers claim. After this, claims are no larger than the file.
  void check_lengths() {
    size_t first = headers_.size();
    for_lines([&](size_t i, const AcquisitionHeader& header) {
      if (!is_imaging(sorted_.roles[i])) return;
      check<DataError>(
          header.number_of_samples > 0 && header.active_channels > 0,
          [&] {
            return fmt::format("{}: number_of_samples = {}, active_channels = {}: an imaging readout without data",
                               at(i), header.number_of_samples, header.active_channels);
          },
          "some exports leave these fields empty; convert the raw data again");
      check<DataError>(
          kept_samples(header) > 0,
          [&] {
            return fmt::format("{}: discard_pre = {} and discard_post = {} leave none of {} samples", at(i),
                               header.discard_pre, header.discard_post, header.number_of_samples);
          },
          "the converter filled these fields wrongly; convert the raw data again");
      if (first == headers_.size()) first = i;
      check<DataError>(
          header.active_channels == headers_[first].active_channels,
          [&] {
            return fmt::format("{}: active_channels = {}, but {} in acquisition {}", at(i), header.active_channels,
                               headers_[first].active_channels, first);
          },
          "all imaging readouts need the same coils");
    });
    for_lines([&](size_t i, const AcquisitionHeader& header) {
      const bool usable = header.active_channels == headers_[first].active_channels && kept_samples(header) > 0;
      if (!usable) demote(i);
    });
    sorted_.coils = headers_[first].active_channels;
    header_.coils = sorted_.coils;
  }

  void collect_images() {
    std::map<decltype(sort_key(ImageIndex())), ImageLines> images;
    for_lines([&](size_t i, const AcquisitionHeader& header) {
      const ImageIndex index = index_of(header);
      ImageLines& lines = images[sort_key(index)];
      lines.index = index;
      if (is_imaging(sorted_.roles[i])) lines.imaging.push_back(i);
      if (sorted_.roles[i] != Role::imaging) lines.calibration.push_back(i);
    });
    for (auto& [key, lines] : images) {
      if (!lines.imaging.empty()) continue;
      // Calibration readouts alone make no image: they serve the images of their slice that have none.
      for (auto& [other_key, other] : images) {
        if (!other.imaging.empty() && other.calibration.empty() && other.index.slice == lines.index.slice) {
          other.calibration = lines.calibration;
        }
      }
    }
    for (auto& [key, lines] : images) {
      if (!lines.imaging.empty()) sorted_.images.push_back(std::move(lines));
    }
    // Calibration that was done once, in the first repetition say, serves the others.
    for (auto& image : sorted_.images) {
      if (!image.calibration.empty()) continue;
      for (const auto& other : sorted_.images) {
        if (other.index.slice == image.index.slice && !other.calibration.empty()) {
          image.calibration = other.calibration;
          break;
        }
      }
    }
  }

  /// Compares the length of the readouts with the encoded matrix; the data wins.
  void choose_columns() {
    EncodingSpace& encoded = header_.encoded;
    int64_t longest = 0;
    bool equal = true, middle = true;
    size_t where = 0;
    for_lines([&](size_t i, const AcquisitionHeader& header) {
      if (!is_imaging(sorted_.roles[i])) return;
      const int64_t kept = kept_samples(header);
      equal &= longest == 0 || kept == longest;
      middle &=
          header.center_sample == header.number_of_samples / 2 || header.center_sample == header.number_of_samples;
      if (kept > longest) {
        longest = kept;
        where = i;
      }
    });
    const int64_t stated = encoded.matrix[0];
    const double ratio = static_cast<double>(longest) / static_cast<double>(stated);
    if (longest > stated) {
      warn(
          fmt::format("readouts have {} samples (acquisition {}), the encoded matrix only {} columns; the data is "
                      "trusted, and the encoded field of view along x taken as {:.6g} instead of {:.6g} mm",
                      longest, where, stated, encoded.field_of_view_mm[0] * ratio, encoded.field_of_view_mm[0]));
    } else if (equal && middle && longest == header_.recon.matrix[0] && stated == 2 * longest &&
               std::abs(encoded.field_of_view_mm[0] - 2 * header_.recon.field_of_view_mm[0]) <
                   0.01 * encoded.field_of_view_mm[0]) {
      warn(
          fmt::format("the header states {} columns with readout oversampling, the readouts have {}: the oversampling "
                      "was removed by whoever wrote the file",
                      stated, longest));
    } else {
      return;
    }
    encoded.matrix[0] = longest;
    encoded.field_of_view_mm[0] *= ratio;
  }

  /// Unit and number of axes, by the first image.
  void choose_trajectory() {
    const at::Tensor k = image_trajectory(store_, sorted_, sorted_.images.front());
    header_.volume = header_.encoded.matrix[2] > 1;
    if (header_.volume && !(k.size(1) == 3 && k.select(1, 2).abs().max().item<double>() > 0)) {
      bool partitions = false;
      for_lines([&](size_t, const AcquisitionHeader& header) { partitions |= header.idx.kspace_encode_step_2 > 0; });
      check<DataError>(
          !partitions,
          [&] {
            return fmt::format("{}: readouts have kspace_encode_step_2 > 0, but the trajectory has no kz",
                               store_.name());
          },
          "a stack of stars or spirals needs kz in its trajectory (--trajectory FILE.npy with three axes)");
      read_as_flat("the trajectory has no kz");
    }
    sorted_.unit =
        settle_unit(options_.trajectory_unit, k, header_.encoded.matrix,
                    sorted_.trajectory.defined() ? options_.trajectory.string() : store_.name(), header_.warnings);
  }

  void read_as_flat(const char* reason) {
    warn(fmt::format("the header states {} partitions, but {}: read as 2-D", header_.encoded.matrix[2], reason));
    for (EncodingSpace* space : {&header_.encoded, &header_.recon}) {
      space->field_of_view_mm[2] /= static_cast<double>(space->matrix[2]);
      space->matrix[2] = 1;
    }
    header_.volume = false;
  }

  /// A stack of slices whose header states the number of slices as z of the matrix is not a 3-D scan.
  void choose_partitions() {
    header_.volume = header_.encoded.matrix[2] > 1;
    if (!header_.volume) return;
    bool partitions = false;
    for_lines([&](size_t, const AcquisitionHeader& header) { partitions |= header.idx.kspace_encode_step_2 > 0; });
    if (partitions || (header_.limit_z && header_.limit_z->maximum > 0)) return;
    read_as_flat("every readout has kspace_encode_step_2 = 0");
  }

  int64_t centre_of(const std::optional<EncodingLimit>& limit, int64_t extent, const char* name) {
    if (!limit) return extent / 2;
    if (limit->centre == 0 && limit->minimum == 0 && limit->maximum > 0 && limit->maximum + extent / 2 >= extent) {
      warn(
          fmt::format("encodingLimits/{} states centre 0 for counters 0 to {}, which would leave the matrix of {}; "
                      "{} is taken (override with --centre)",
                      name, limit->maximum, extent, extent / 2));
      return extent / 2;
    }
    return limit->centre;
  }

  void choose_centre() {
    const Extent3& matrix = header_.encoded.matrix;
    sorted_.centre_y =
        options_.centre ? (*options_.centre)[0] : centre_of(header_.limit_y, matrix[1], "kspace_encoding_step_1");
    sorted_.centre_z = options_.centre  ? (*options_.centre)[1]
                       : header_.volume ? centre_of(header_.limit_z, matrix[2], "kspace_encoding_step_2")
                                        : 0;
  }

  void check_grid_size() const {
    const Extent3& matrix = header_.encoded.matrix;
    const double grid = 8.0 * static_cast<double>(sorted_.coils) * static_cast<double>(matrix[0]) *
                        static_cast<double>(matrix[1]) * static_cast<double>(matrix[2]);
    double acquired = 0;
    for (const auto& image : sorted_.images) {
      double bytes = 0;
      for (const size_t i : image.imaging)
        bytes += 8.0 * static_cast<double>(sorted_.coils) * headers_[i].number_of_samples;
      acquired = std::max(acquired, bytes);
    }
    check<DataError>(
        grid <= std::max(256 * acquired, 64.0 * 1024 * 1024),
        [&] {
          return fmt::format(
              "{}: the header claims an encoded matrix of {} with {} coils ({}), but at most {} were acquired "
              "for one image",
              store_.name(), shape_text(matrix), sorted_.coils, bytes_text(grid), bytes_text(acquired));
        },
        "the header does not belong to this data, or is damaged");
  }

  void check_places() {
    const Extent3& matrix = header_.encoded.matrix;
    int64_t outside = 0, assumed = 0, unmirrored = 0, readouts = 0;
    for_lines([&](size_t i, const AcquisitionHeader& header) {
      ++readouts;
      const auto place = place_readout(header, matrix[0]);
      const auto [y, z] = row_of(header, sorted_, header_);
      if (!is_imaging(sorted_.roles[i]) && (!place || y < 0 || y >= matrix[1] || z < 0 || z >= matrix[2])) {
        demote(i);
        return;
      }
      check<DataError>(
          place.has_value(),
          [&] {
            return fmt::format("{}: number_of_samples = {} with center_sample = {} does not fit a matrix of {} columns",
                               at(i), header.number_of_samples, header.center_sample, matrix[0]);
          },
          "center_sample should be the sample of the echo");
      outside += place->outside > 0;
      assumed += place->centre_assumed;
      unmirrored += place->centre_unmirrored;
      check_row(i, 0, header.idx.kspace_encode_step_1, sorted_.centre_y, matrix[1]);
      if (header_.volume) check_row(i, 1, header.idx.kspace_encode_step_2, sorted_.centre_z, matrix[2]);
    });
    for (auto& image : sorted_.images) {
      std::erase_if(image.calibration, [&](size_t i) { return sorted_.roles[i] == Role::dropped; });
    }
    if (demoted_) {
      warn(fmt::format("{} calibration readouts have other coils or do not fit the encoded matrix; they are not used",
                       demoted_));
    }
    if (outside)
      warn(fmt::format(
          "{} of {} readouts reach beyond the encoded matrix by their center_sample; the samples outside are dropped",
          outside, readouts));
    if (assumed)
      warn(fmt::format("center_sample is not filled in ({} of {} readouts); the middle of the readout is taken",
                       assumed, readouts));
    if (unmirrored)
      warn(fmt::format("center_sample of {} reversed readouts only fits when counted after reversal, and is taken so",
                       unmirrored));
  }

  void check_row(size_t i, int axis, int64_t step, int64_t centre, int64_t extent) const {
    const int64_t row = step - centre + extent / 2;
    check<DataError>(
        row >= 0 && row < extent,
        [&] {
          return fmt::format(
              "{}: kspace_encode_step_{} = {} lies outside the matrix: with centre {} it is row {} of {}", at(i),
              axis + 1, step, centre, row, extent);
        },
        "encodedSpace or the centre in encodingLimits is wrong; --centre overrides the centre");
  }

  void choose_noise() {
    size_t others = 0;
    for (size_t i = 0; i < headers_.size(); ++i) {
      if (sorted_.roles[i] != Role::noise) continue;
      if (headers_[i].active_channels == sorted_.coils && kept_samples(headers_[i]) > 0) {
        sorted_.noise.push_back(i);
      } else {
        ++others;
      }
    }
    if (others) {
      warn(fmt::format("{} noise readouts have no samples or other coils than the {} of the images; they are not used",
                       others, sorted_.coils));
    }
  }

  const AcquisitionStore& store_;
  std::span<const AcquisitionHeader> headers_;
  const IsmrmrdDocument& document_;
  const ScanOptions& options_;
  ScanHeader& header_;
  SortedAcquisitions sorted_;
  int64_t demoted_ = 0;
};

}  // namespace

const char* drop_reason(const AcquisitionHeader& header) {
  static constexpr std::pair<int, const char*> reasons[] = {
      {ismrmrd::navigation_data, "navigation"},
      {ismrmrd::phase_correction_data, "phase correction"},
      {ismrmrd::hp_feedback_data, "feedback"},
      {ismrmrd::dummy_scan, "dummy scan"},
      {ismrmrd::rt_feedback_data, "real-time feedback"},
      {ismrmrd::surface_coil_correction, "surface coil correction"},
      {ismrmrd::phase_stabilization_reference, "phase stabilisation reference"},
      {ismrmrd::phase_stabilization, "phase stabilisation"},
  };
  for (const auto& [flag, reason] : reasons) {
    if (has(header, flag)) return reason;
  }
  return nullptr;
}

SortedAcquisitions sort_acquisitions(const AcquisitionStore& store, const IsmrmrdDocument& document,
                                     const ScanOptions& options, ScanHeader& header) {
  return Sorter(store, document, options, header).run();
}

}  // namespace monarch::data
