#include "monarch/mri/learning/slices.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/memory.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/scan_list.hpp"
#include "monarch/mri/arrays.hpp"
#include "monarch/mri/calibration_region.hpp"
#include "monarch/mri/coil_compression.hpp"
#include "monarch/mri/espirit.hpp"
#include "monarch/mri/neural/encoding.hpp"
#include "monarch/mri/noise.hpp"
#include "monarch/mri/resize.hpp"
#include "monarch/mri/walsh.hpp"
#include "monarch/operators/fourier.hpp"

namespace fs = std::filesystem;

namespace monarch::mri {
namespace {

constexpr int64_t kKernel = 6;  // of ESPIRiT
constexpr const char* kSkmTeaFolder = "files_recon_calib-24";

bool is_scan_name(const fs::path& path) {
  const std::string extension = path.extension();
  return extension == ".h5" || extension == ".hdf5" || extension == ".mrd" || extension == ".npy" ||
         extension == ".hdr";
}

at::Tensor fourier_over(const at::Tensor& x, std::vector<int64_t> axes, bool inverse) {
  return operators::fourier_transform(x, std::move(axes), {.inverse = inverse, .centred = true});
}

/// The centre of the image of k-space, as k-space again. [coil, y, x].
at::Tensor cropped_kspace(const at::Tensor& kspace, const std::array<int64_t, 2>& extent) {
  at::Tensor image = fourier_over(kspace, {-2, -1}, true);
  for (const int64_t axis : {0, 1}) image = centre_crop_or_pad(image, 1 + axis, extent[static_cast<size_t>(axis)]);
  return fourier_over(image.contiguous(), {-2, -1}, false);
}

at::Tensor cropped_image(at::Tensor image, const std::array<int64_t, 2>& extent) {
  for (const int64_t axis : {0, 1})
    image = centre_crop_or_pad(image, image.dim() - 2 + axis, extent[static_cast<size_t>(axis)]);
  return image.contiguous();
}

double bytes_of(const Slice& slice) {
  double bytes = 0;
  for (const at::Tensor* t : {&slice.kspace, &slice.acquired, &slice.maps, &slice.target})
    if (t->defined()) bytes += static_cast<double>(t->nbytes());
  return bytes;
}

}  // namespace

struct SliceSet::Scan {
  std::string name;
  fs::path file;
  std::unique_ptr<data::ScanSource> source;
  std::optional<Whitening> whitening;
  std::optional<CoilCompression> compression;
};

std::vector<fs::path> expand_files(const std::vector<std::string>& files) {
  std::vector<fs::path> paths;
  for (const std::string& word : files) {
    const size_t before = paths.size();
    std::error_code error;
    const fs::path path = word;
    if (path.extension() == ".json") {
      check<DataError>(
          fs::exists(path, error), [&] { return fmt::format("{}: there is no such list of scans", word); },
          "SKM-TEA is needed: docs/learned-reconstruction.md says where to get it and how to place it below --data");
      // ROOT/annotations/VERSION/SPLIT.json lists scans of ROOT/files_recon_calib-24.
      const fs::path root = fs::absolute(path).parent_path().parent_path().parent_path();
      for (const auto& scan : data::load_scan_list(path)) {
        paths.push_back(root / kSkmTeaFolder / scan.file_name);
        check<DataError>(
            fs::exists(paths.back(), error),
            [&] { return fmt::format("{}: its scan {} is not at {}", word, scan.scan_id, paths.back().string()); },
            "download files_recon_calib-24 of SKM-TEA to there (docs/learned-reconstruction.md)");
      }
    } else if (fs::is_directory(path, error)) {
      for (const auto& entry : fs::directory_iterator(path, error))
        if (is_scan_name(entry.path())) paths.push_back(entry.path());
    } else if (word.find_first_of("*?") != std::string::npos) {
      const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
      for (const auto& entry : fs::directory_iterator(folder, error))
        if (fnmatch(path.filename().c_str(), entry.path().filename().c_str(), 0) == 0) paths.push_back(entry.path());
    } else if (fs::exists(path, error)) {
      paths.push_back(path);
    }
    check<DataError>(
        paths.size() > before, [&] { return fmt::format("{}: no scan file has that name", word); },
        "give files, folders with .h5 files, or patterns such as data/train_*.h5");
  }
  std::sort(paths.begin(), paths.end());
  paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
  return paths;
}

SliceSet::SliceSet(const std::vector<std::string>& files, const SliceOptions& options, int64_t most_scans)
    : options_(options), files_(expand_files(files)) {
  if (most_scans > 0) {
    check<ConfigError>(static_cast<int64_t>(files_.size()) >= most_scans, [&] {
      return fmt::format("data.train_scans = {}, but 'data.train' names {} scans", most_scans, files_.size());
    });
    files_.resize(static_cast<size_t>(most_scans));
  }
  for (const auto& file : files_) add_scan(file);
  check<ConfigError>(
      !places_.empty(),
      [&] {
        return fmt::format("no slice is left of {} scans, with slices from {} on and the contrasts asked for",
                           files_.size(), options_.first_slice);
      },
      "see data.first_slice, data.slice_count and data.contrasts");
  limit_ = options_.memory_bytes > 0 ? options_.memory_bytes : 0.5 * available_memory_bytes();
}

void SliceSet::add_scan(const fs::path& file) {
  auto scan = std::make_shared<Scan>();
  scan->name = file.stem();
  scan->file = file;
  scan->source = data::open_scan(file);
  const data::ScanHeader& header = scan->source->header();
  check<DataError>(header.trajectory == "cartesian", [&] {
    return fmt::format("{}: networks take Cartesian scans, this is {}", file.string(), header.trajectory);
  });
  const auto& matrix = header.encoded.matrix;
  if (options_.matrix && (matrix[1] != (*options_.matrix)[0] || matrix[0] != (*options_.matrix)[1])) {
    note(fmt::format("{}: left out, its slices are {} × {}", scan->name, matrix[1], matrix[0]));
    return;
  }
  if (const auto noise = scan->source->noise()) {
    scan->whitening = prewhitening(*noise, header.relative_noise_bandwidth);
  }
  const size_t number = scans_.size();
  const auto& images = scan->source->images();
  const auto wanted = [&](int64_t slice) {
    const int64_t from = slice - options_.first_slice;
    return from >= 0 && from % options_.slice_stride == 0 &&
           (options_.slice_count == 0 || from / options_.slice_stride < options_.slice_count);
  };
  for (size_t i = 0; i < images.size(); ++i) {
    const int64_t contrast = images[i].contrast;
    if (!options_.contrasts.empty() &&
        std::find(options_.contrasts.begin(), options_.contrasts.end(), contrast) == options_.contrasts.end())
      continue;
    contrasts_ = std::max(contrasts_, contrast + 1);
    if (!header.volume) {
      if (wanted(images[i].slice)) places_.push_back({number, i, -1, images[i].slice, contrast});
      continue;
    }
    check<DataError>(
        header.readout == data::ReadoutAxis::x,
        [&] { return fmt::format("{}: a volume that is read out along y cannot be cut into planes", file.string()); },
        "convert it to ISMRMRD, where the readout is x");
    const int64_t planes = std::min(covered_extent(header, 0), header.encoded.matrix[0]);
    for (int64_t x = 0; x < planes; ++x)
      if (wanted(x)) places_.push_back({number, i, x, x, contrast});
  }
  scans_.push_back(std::move(scan));
}

void SliceSet::note(const std::string& text) const {
  if (std::find(notes_.begin(), notes_.end(), text) != notes_.end()) return;
  notes_.push_back(text);
  log::info(text);
}

std::string SliceSet::scan_name(int64_t index) const {
  return scans_[places_.at(static_cast<size_t>(index)).scan]->name;
}

std::string SliceSet::describe(int64_t index) const {
  const Place& p = places_.at(static_cast<size_t>(index));
  return fmt::format("{} slice {}{}", scans_[p.scan]->name, p.slice,
                     contrasts_ > 1 ? fmt::format(" contrast {}", p.contrast) : "");
}

at::Tensor SliceSet::stored_mask(int64_t index, const std::string& name) const {
  const Scan& scan = *scans_[places_.at(static_cast<size_t>(index)).scan];
  const auto names = scan.source->mask_names();
  const auto found = std::find(names.begin(), names.end(), name);
  check<DataError>(found != names.end(), [&] {
    return fmt::format("{}: holds no mask '{}'{}", scan.file.string(), name,
                       names.empty() ? "" : "; there are " + join_or(names));
  });
  return scan.source->mask(name);
}

Slice SliceSet::read(int64_t index) const {
  const Place& p = places_.at(static_cast<size_t>(index));
  const std::array<int64_t, 3> key{static_cast<int64_t>(p.scan), static_cast<int64_t>(p.image), p.plane};
  auto found = kept_.find(key);
  if (found == kept_.end()) {
    prepare(p);
    found = kept_.find(key);
  }
  return found->second;
}

void SliceSet::prepare(const Place& place) const {
  Scan& scan = *scans_[place.scan];
  const data::ScanHeader& header = scan.source->header();
  if (used_ > limit_) {
    kept_.clear();
    used_ = 0;
    note(fmt::format("the prepared slices need more than {}: they are read again where they are needed",
                     bytes_text(limit_)));
  }
  const auto keep = [&](const Place& p, Slice slice) {
    used_ += bytes_of(slice);
    kept_.insert_or_assign({static_cast<int64_t>(p.scan), static_cast<int64_t>(p.image), p.plane}, std::move(slice));
  };
  data::KSpace kspace = scan.source->read(place.image);
  const auto mix = [&](const at::Tensor& matrix) {
    kspace.samples = mix_coils(matrix, kspace.samples);
    if (kspace.calibration.defined()) kspace.calibration = mix_coils(matrix, kspace.calibration);
  };
  if (scan.whitening) mix(scan.whitening->matrix);
  const bool compress = options_.coils > 0 && options_.coils < kspace.samples.size(0);
  if (compress) {
    // One matrix for the scan: virtual coils mean the same in every slice.
    if (!scan.compression) scan.compression = compress_coils(kspace.samples, options_.coils);
    mix(scan.compression->matrix);
  }
  remove_oversampling(kspace, header);
  at::Tensor maps, target;
  if (options_.maps == TrainingMaps::stored && !scan.whitening) {
    if (auto stored = scan.source->sensitivities(place.image)) maps = *stored;
    if (auto stored = scan.source->target(place.image)) target = *stored;
  }
  if (maps.defined() && compress) {
    std::vector<at::Tensor> sets;
    for (const at::Tensor& set : maps.unbind(0)) sets.push_back(mix_coils(scan.compression->matrix, set.contiguous()));
    maps = at::stack(sets);
  }
  if (place.plane < 0) {
    check<DataError>(kspace.samples.size(1) == 1, [&] {
      return fmt::format("{}: image {} is a volume of {} planes in a scan that is not 3-D", scan.file.string(),
                         place.image, kspace.samples.size(1));
    });
    keep(place, finish(place, kspace.samples.select(1, 0), kspace.mask[0], maps.defined() ? maps[0].select(1, 0) : maps,
                       target.defined() ? target[0][0] : target));
    return;
  }
  check<DataError>(constant_along(kspace.mask, -1), [&] {
    return fmt::format("{}: the readouts of the volume are not whole: it has no planes", scan.file.string());
  });
  const at::Tensor hybrid = fourier_over(kspace.samples, {-1}, true);  // [coil, kz, ky, x]
  for (const Place& p : places_) {
    if (p.scan != place.scan || p.image != place.image) continue;
    const auto plane = [&p](const at::Tensor& t) { return t.defined() ? t[0].select(-1, p.plane) : t; };
    keep(p, finish(p, hybrid.select(-1, p.plane), kspace.mask.select(-1, p.plane), plane(maps), plane(target)));
  }
}

Slice SliceSet::finish(const Place& place, const at::Tensor& kspace, const at::Tensor& mask, const at::Tensor& maps,
                       const at::Tensor& target) const {
  const Scan& scan = *scans_[place.scan];
  const data::ScanHeader& header = scan.source->header();
  const auto where = [&] { return fmt::format("{}, slice {}", scan.file.string(), place.slice); };
  Slice s;
  s.scan = scan.name;
  s.file = scan.file;
  s.slice = place.slice;
  s.contrast = place.contrast;
  s.phase_axis = place.plane >= 0 || header.readout == data::ReadoutAxis::x ? 0 : 1;
  s.kspace = kspace.contiguous();
  s.acquired = mask.contiguous();
  check<DataError>(at::isfinite(at::view_as_real(s.kspace)).all().item<bool>(),
                   [&] { return where() + ": k-space holds NaN or infinity"; });
  const bool whole = s.acquired.all().item<bool>();
  if (options_.crop) {
    check<DataError>(
        whole, [&] { return where() + ": the crop needs fully sampled k-space"; },
        "undersample the cropped slices with data.mask, or leave data.crop out");
    s.kspace = cropped_kspace(s.kspace, *options_.crop);
    s.acquired = at::ones({(*options_.crop)[0], (*options_.crop)[1]}, at::kBool);
  }
  const int64_t coils = s.kspace.size(0), ny = s.kspace.size(1), nx = s.kspace.size(2);
  if (maps.defined()) {
    s.maps = options_.crop ? cropped_image(maps, *options_.crop) : maps.contiguous();
    check<DataError>(s.maps.sizes() == s.kspace.sizes(), [&] {
      return fmt::format("{}: sensitivities {} do not fit k-space {}", where(), shape_text(s.maps.sizes()),
                         shape_text(s.kspace.sizes()));
    });
  } else if (coils == 1) {
    s.maps = at::ones_like(s.kspace);
  } else if (!s.kspace.abs().any().item<bool>()) {
    s.maps = at::zeros_like(s.kspace);
  } else {
    data::KSpace one;
    one.samples = s.kspace.unsqueeze(1);
    one.mask = s.acquired.unsqueeze(0);
    const data::Extent3 extent{nx, ny, 1};
    const bool walsh = options_.maps == TrainingMaps::walsh;
    const CalibrationBlock block = calibration_block(one, options_.calibration, walsh ? 4 : kKernel);
    if (walsh) {
      s.maps = walsh_maps(low_resolution_images(block.samples, extent)).select(1, 0).contiguous();
    } else {
      s.maps = espirit(block.samples, extent, {.kernel = kKernel, .calibration = options_.calibration})
                   .maps[0]
                   .select(1, 0)
                   .contiguous();
    }
    note(fmt::format("{}: sensitivities by {}", scan.name, walsh ? "Walsh's method" : "ESPIRiT"));
  }
  if (target.defined()) {
    s.target = options_.crop ? cropped_image(target, *options_.crop) : target.contiguous();
  } else if (whole) {
    s.target = combine(s.maps.unsqueeze(0), fourier_over(s.kspace, {-2, -1}, true).unsqueeze(0))[0];
  }
  return s;
}

double slice_scale(const at::Tensor& kspace, const at::Tensor& maps, SliceScale rule) {
  if (rule == SliceScale::none) return 1;
  const at::Tensor image =
      combine(maps.unsqueeze(0), fourier_over(kspace, {-2, -1}, true).unsqueeze(0)).abs().flatten();
  const int64_t place = static_cast<int64_t>(0.95 * static_cast<double>(image.numel() - 1)) + 1;
  const double scale =
      rule == SliceScale::maximum ? image.max().item<double>() : std::get<0>(image.kthvalue(place)).item<double>();
  return scale > 0 ? scale : 1;
}

Slice augmented(const Slice& slice, const Augmentation& a, uint64_t seed, const std::string& stream) {
  Slice s = slice;
  if (!a.any()) return s;
  Rng rng(seed, stream);
  const std::array<int64_t, 2> n{s.kspace.size(1), s.kspace.size(2)};
  // Position i of an axis counted from its centre, [n].
  const auto frequency = [&](size_t axis) {
    return at::arange(n[axis], at::kFloat) - static_cast<double>(n[axis] / 2);
  };
  const auto ramp = [&](size_t axis, double pixels) {
    const at::Tensor angle = frequency(axis) * (-2 * M_PI * pixels / static_cast<double>(n[axis]));
    const at::Tensor phase = at::polar(at::ones_like(angle), angle);
    return axis == 0 ? phase.unsqueeze(1) : phase;
  };
  for (size_t axis = 0; axis < 2; ++axis) {
    const int64_t image_axis = static_cast<int64_t>(axis) - 2;
    if (a.flip && rng.uniform() < 0.5) {
      // Index c + j becomes c - j about c = floor(n/2), in both domains.
      const auto reversed = [&](const at::Tensor& t) {
        const at::Tensor flipped = at::flip(t, image_axis);
        return n[axis] % 2 == 0 ? at::roll(flipped, 1, image_axis) : flipped;
      };
      s.kspace = reversed(s.kspace);
      s.acquired = reversed(s.acquired);
      s.maps = reversed(s.maps);
      if (s.target.defined()) s.target = reversed(s.target);
    }
    if (a.shift) {
      const int64_t pixels = rng.below(n[axis]);
      s.kspace = s.kspace * ramp(axis, static_cast<double>(pixels));
      s.maps = at::roll(s.maps, pixels, image_axis);
      if (s.target.defined()) s.target = at::roll(s.target, pixels, image_axis);
    }
  }
  if (a.motion > 0) {
    // Rigid shifts between parts of the scan, each of which acquires a contiguous range of phase encodes.
    const int64_t lines = n[static_cast<size_t>(s.phase_axis)];
    at::Tensor moved = s.kspace.clone();
    for (int64_t part = 1; part < a.motion_parts; ++part) {
      const double dy = a.motion * (2 * rng.uniform() - 1), dx = a.motion * (2 * rng.uniform() - 1);
      const int64_t first = lines * part / a.motion_parts, end = lines * (part + 1) / a.motion_parts;
      const at::Tensor phases = (ramp(0, dy) * ramp(1, dx)).narrow(s.phase_axis, first, end - first);
      moved.narrow(1 + s.phase_axis, first, end - first).mul_(phases);
    }
    s.kspace = moved;
  }
  if (a.noise > 0) {
    const double scale = slice_scale(s.kspace, s.maps, SliceScale::percentile);
    s.kspace = s.kspace + rng.normal(s.kspace.sizes().vec(), at::kComplexFloat) * (a.noise * rng.uniform() * scale);
  }
  return s;
}

}  // namespace monarch::mri
