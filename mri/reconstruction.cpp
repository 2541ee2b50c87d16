#include "monarch/mri/reconstruction.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/memory.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/text.hpp"
#include "monarch/mri/arrays.hpp"
#include "monarch/mri/calibration_region.hpp"
#include "monarch/mri/coil_compression.hpp"
#include "monarch/mri/espirit.hpp"
#include "monarch/mri/grappa.hpp"
#include "monarch/mri/iterative.hpp"
#include "monarch/mri/learning/learned_reconstruction.hpp"
#include "monarch/mri/method_choice.hpp"
#include "monarch/mri/noise.hpp"
#include "monarch/mri/non_cartesian.hpp"
#include "monarch/mri/partial_fourier.hpp"
#include "monarch/mri/resize.hpp"
#include "monarch/mri/walsh.hpp"
#include "monarch/operators/fourier.hpp"

namespace monarch::mri {
namespace {

using data::KSpace;
using data::ScanHeader;

/// Adds the time of a scope to a stage.
class Stage {
 public:
  Stage(std::map<std::string, double>& seconds, std::string name)
      : seconds_(seconds), name_(std::move(name)), start_(std::chrono::steady_clock::now()) {}
  ~Stage() { seconds_[name_] += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

 private:
  std::map<std::string, double>& seconds_;
  std::string name_;
  std::chrono::steady_clock::time_point start_;
};

/// Coil images on the part of the encoded grid that the reconstructed field of view covers: inverse transform axis by
/// axis, cropping the readout first, which halves the work for oversampled scans. [coil, z, y, x].
at::Tensor coil_images(const at::Tensor& samples, const ScanHeader& header) {
  const int64_t readout = readout_dimension(header);
  at::Tensor image = operators::fourier_transform(samples, {readout}, {.inverse = true, .centred = true});
  const int64_t covered = covered_extent(header, 0);
  if (covered < image.size(readout)) image = centre_crop_or_pad(image, image.dim() + readout, covered);
  std::vector<int64_t> others = {readout == -1 ? int64_t{-2} : int64_t{-1}};
  if (image.size(-3) > 1) others.push_back(-3);
  return operators::fourier_transform(image, others, {.inverse = true, .centred = true});
}

/// sqrt(sum over the first axis of |x|^2).
at::Tensor root_sum_of_squares_over_coils(const at::Tensor& images) {
  if (images.size(0) == 1) return images[0].abs();
  const at::Tensor parts = at::view_as_real(images.contiguous());
  return at::linalg_vector_norm(parts, 2, {0, -1});
}

/// One run over a scan: what is settled once, and one function per image.
class Pipeline {
 public:
  Pipeline(const data::ScanSource& scan, const ReconOptions& options,
           const std::function<void(const std::string&)>& say)
      : scan_(scan), header_(scan.header()), options_(options), say_(say) {}

  ReconResult run() {
    std::vector<size_t> chosen = choose_images();
    settle_noise();
    Progress progress("reconstructing", static_cast<int64_t>(chosen.size()));
    std::vector<at::Tensor> pixels, g_factors;
    for (size_t i = 0; i < chosen.size(); ++i) {
      image_ = chosen[i];
      KSpace kspace = read(chosen[i]);
      if (i == 0) settle_method(kspace);
      prepare(kspace);
      const bool middle = i == chosen.size() / 2;
      at::Tensor g_factor;
      const at::Tensor image = solve(kspace, middle, g_factor);
      pixels.push_back(image);
      if (g_factor.defined()) g_factors.push_back(g_factor);
      result_.images.index.push_back(kspace.index);
      result_.images.orientation.push_back(kspace.orientation);
      result_.images.time_stamp.push_back(kspace.time_stamp);
      progress.advance();
    }
    result_.images.pixels = at::stack(pixels);
    result_.images.readout = header_.readout;
    result_.images.field_of_view_mm = image_field_of_view();
    if (!g_factors.empty()) {
      result_.g_factor = result_.images;
      result_.g_factor->pixels = at::stack(g_factors);
    }
    return std::move(result_);
  }

 private:
  void note(const std::string& name, const std::string& value) { result_.parameters.emplace_back(name, value); }
  void warn(const std::string& text) {
    if (std::find(result_.warnings.begin(), result_.warnings.end(), text) == result_.warnings.end()) {
      result_.warnings.push_back(text);
    }
  }

  std::vector<size_t> choose_images() const {
    const auto& images = scan_.images();
    check<DataError>(!images.empty(), "the scan holds no imaging readouts", "monarch info lists what is in the file");
    std::vector<size_t> chosen;
    for (size_t i = 0; i < images.size(); ++i) {
      const bool wanted = options_.slices.empty() || std::find(options_.slices.begin(), options_.slices.end(),
                                                               images[i].slice) != options_.slices.end();
      if (wanted) chosen.push_back(i);
    }
    if (chosen.empty()) {
      int64_t last = 0;
      for (const auto& index : images) last = std::max(last, index.slice);
      fail<ConfigError>(fmt::format("--slices: none of them is in the scan, which holds slices 0 to {}", last));
    }
    return chosen;
  }

  void settle_noise() {
    if (!options_.prewhiten) return;
    std::optional<data::NoiseMeasurement> noise;
    if (options_.noise_from) {
      const auto other = data::open_scan(*options_.noise_from);
      noise = other->noise();
      check<DataError>(noise.has_value(),
                       [&] { return fmt::format("{}: holds no noise readouts (flag 19)", *options_.noise_from); });
      check<DataError>(noise->samples.size(0) == header_.coils, [&] {
        return fmt::format("{}: noise of {} coils, the scan has {}", *options_.noise_from, noise->samples.size(0),
                           header_.coils);
      });
    } else {
      noise = scan_.noise();
    }
    if (!noise) return;
    const Stage stage(result_.seconds, "noise");
    whitening_ = prewhitening(*noise, header_.relative_noise_bandwidth);
    note("prewhitening", fmt::format("{} noise samples, condition number {:.3g}, scale {:.4g} (bandwidth {:g})",
                                     noise->samples.size(1), whitening_->condition, whitening_->scale,
                                     header_.relative_noise_bandwidth.value_or(kRelativeNoiseBandwidth)));
    if (whitening_->regularisation > 0) {
      warn(fmt::format("the noise covariance is singular (a dead or doubled coil?); {:.3g} was added to its diagonal",
                       whitening_->regularisation));
    }
  }

  KSpace read(size_t image) {
    const Stage stage(result_.seconds, "read");
    return scan_.read(image);
  }

  void settle_method(const KSpace& kspace) {
    const auto& matrix = header_.encoded.matrix;
    const bool cartesian = !kspace.trajectory.defined();
    auto choice = choose_method(options_, kspace, matrix[0] * matrix[1] * matrix[2]);
    result_.method = choice.method;
    result_.reason = choice.reason;
    if (say_) say_(fmt::format("method {}: {}", method_name(choice.method), choice.reason));
    check<ConfigError>(
        cartesian || (choice.method != Method::grappa && choice.method != Method::learned),
        [&] {
          return fmt::format("--method {} needs Cartesian samples, the scan is non-Cartesian",
                             method_name(choice.method));
        },
        "choose cg-sense, l1-wavelet, tv, sense or rss");
    if (choice.method == Method::learned) {
      check<ConfigError>(options_.model != nullptr, "--method learned needs a trained network", "name it with --model");
      check<ConfigError>(options_.map_count == 1, "networks take one set of sensitivities", "leave --map-count out");
      note("network", options_.model->model().describe());
      note("trained with", options_.model->training());
    }
    if (cartesian && options_.method == Method::automatic && choice.method == Method::rss &&
        !without_holes(kspace.mask)) {
      warn("aliasing is to be expected: " + choice.reason);
    }
    result_.peak_memory_estimate_bytes = memory_estimate(header_, kspace, choice.method, options_);
    const double limit = options_.memory_limit_bytes > 0 ? options_.memory_limit_bytes : available_memory_bytes();
    planewise_ = false;
    if (result_.peak_memory_estimate_bytes > limit) {
      // A volume with whole readouts separates into independent planes after a transform along the readout.
      planewise_ = cartesian && header_.volume && constant_along(kspace.mask, readout_dimension(header_)) &&
                   header_.readout == data::ReadoutAxis::x;
      const std::string need = fmt::format("about {} needed for an image, {} free",
                                           bytes_text(result_.peak_memory_estimate_bytes), bytes_text(limit));
      if (planewise_) {
        warn(need + ": the volume is reconstructed plane by plane along the readout");
      } else {
        warn(need + ": the machine may swap; --compress reduces the need");
      }
    }
    note("method", method_name(result_.method));
    if (!cartesian && options_.partial_fourier == PartialFourier::pocs) {
      warn("--partial-fourier pocs goes with Cartesian scans only");
    } else if (options_.partial_fourier == PartialFourier::pocs && result_.method != Method::rss &&
               result_.method != Method::grappa) {
      warn("--partial-fourier pocs goes with rss and grappa; " + method_name(result_.method) +
           " estimates what is missing itself");
    }
  }

  void apply_to_coils(KSpace& kspace, const at::Tensor& matrix) {
    mixing_.push_back(matrix);
    kspace.samples = mix_coils(matrix, kspace.samples);
    if (kspace.calibration.defined()) kspace.calibration = mix_coils(matrix, kspace.calibration);
  }

  void prepare(KSpace& kspace) {
    mixing_.clear();
    if (whitening_) {
      const Stage stage(result_.seconds, "prewhiten");
      apply_to_coils(kspace, whitening_->matrix);
    }
    if (options_.virtual_coils > 0 && options_.virtual_coils < kspace.samples.size(0)) {
      const Stage stage(result_.seconds, "coil compression");
      const at::Tensor& source = kspace.calibration.defined() ? kspace.calibration : kspace.samples;
      const auto compression = compress_coils(source, options_.virtual_coils);
      apply_to_coils(kspace, compression.matrix);
      if (!compression_noted_) {
        note("coil compression", fmt::format("{} of {} coils, {:.4g} % of the energy", compression.matrix.size(0),
                                             compression.matrix.size(1), 100 * compression.kept_energy));
        compression_noted_ = true;
      }
    }
  }

  /// Fills the part of k-space that a partial-Fourier scan left out, where that was asked for.
  at::Tensor fill_partial_fourier(const at::Tensor& samples, const at::Tensor& mask) {
    if (options_.partial_fourier == PartialFourier::zero_fill) return samples;
    const auto axes = detect_partial_fourier(mask);
    if (axes.empty()) {
      warn("--partial-fourier pocs: this is no partial-Fourier scan");
      return samples;
    }
    const Stage stage(result_.seconds, "partial Fourier");
    if (!pocs_noted_) {
      for (const auto& axis : axes) note("partial Fourier", "POCS: " + axis.text());
    }
    pocs_noted_ = true;
    return pocs(samples, mask);
  }

  /// [z', y', x'] on the reconstructed matrix.
  at::Tensor solve(KSpace& kspace, bool keep_maps, at::Tensor& g_factor) {
    if (kspace.trajectory.defined()) return solve_samples(kspace, keep_maps);
    if (result_.method == Method::rss) {
      const at::Tensor filled = fill_partial_fourier(kspace.samples, kspace.mask);
      const Stage stage(result_.seconds, "transform");
      const at::Tensor images = resize_to_recon(coil_images(filled, header_), header_);
      return combine_coils(images);
    }
    {
      const Stage stage(result_.seconds, "transform");
      remove_oversampling(kspace, header_);
    }
    const at::Tensor stored = result_.method == Method::grappa ? at::Tensor() : stored_sensitivities(kspace);
    const bool planes = planewise_ || (result_.method == Method::learned && kspace.samples.size(1) > 1);
    return planes ? solve_planes(kspace, stored) : solve_volume(kspace, stored, keep_maps, g_factor, true);
  }

  /// The image of method rss: [coil, z, y, x] -> [z, y, x].
  at::Tensor combine_coils(const at::Tensor& images) const {
    check<ConfigError>(!options_.complex_images || images.size(0) == 1, "--complex: a root sum of squares has no phase",
                       "choose --method sense or cg-sense");
    return options_.complex_images ? images[0].clone() : root_sum_of_squares_over_coils(images);
  }

  /// A non-Cartesian image, [z', y', x'] on the reconstructed matrix.
  at::Tensor solve_samples(const KSpace& kspace, bool keep_maps) {
    const at::Tensor samples = kspace.samples.flatten(1), trajectory = kspace.trajectory.flatten(0, 1);
    at::Tensor weights, gridded;  // [sample], [coil, z, y, x]
    if (result_.method != Method::cg_sense || samples.size(0) > 1) {
      const Stage stage(result_.seconds, "gridding");
      weights = density(kspace);
      gridded = gridded_images(samples, trajectory, weights, header_.encoded.matrix);
    }
    if (result_.method == Method::rss) return combine_coils(resize_to_recon(gridded, header_));
    const auto& matrix = header_.encoded.matrix;
    const at::Tensor maps = samples.size(0) == 1 ? constant_map(matrix) : sensitivities(centre_of(gridded), matrix);
    if (keep_maps) result_.sensitivities = maps;
    const Stage stage(result_.seconds, "solve");
    // Conjugate gradients need no help; the gradient methods would not come far without the weights.
    if (result_.method == Method::cg_sense) weights = at::Tensor();
    const at::Tensor image = result_.method == Method::sense
                                 ? at::mul(maps.conj(), gridded).sum(1)
                                 : iterate(non_cartesian_problem(samples, trajectory, maps, weights)).image;
    return finish(image.size(0) == 1 ? image[0] : combine_maps(image));
  }

  /// [sample]
  at::Tensor density(const KSpace& kspace) {
    if (!density_noted_) note("density", density_name(options_.density));
    density_noted_ = true;
    const at::Tensor trajectory = kspace.trajectory.flatten(0, 1);
    if (options_.density == Density::ramp) return ramp_density(kspace.trajectory).flatten();
    if (options_.density == Density::none) return at::ones({trajectory.size(0)}, at::kDouble);
    return pipe_menon_density(trajectory, header_.encoded.matrix);
  }

  /// Calibration block of gridded images: their k-space is sampled on the matrix, and its centre densely seen.
  CalibrationBlock centre_of(const at::Tensor& gridded) const {
    CalibrationBlock block;
    block.source = "gridded centre";
    for (size_t axis = 0; axis < 3; ++axis) {
      block.extent[axis] = std::min(gridded.size(3 - static_cast<int64_t>(axis)), options_.calibration_size);
    }
    block.samples = centre_block(to_kspace(gridded), block.extent).contiguous();
    return block;
  }

  /// One plane [coil, kz, ky] after another along the readout, each with maps of its own.
  at::Tensor solve_planes(const KSpace& kspace, const at::Tensor& stored) {
    check<DataError>(header_.readout == data::ReadoutAxis::x && constant_along(kspace.mask, -1),
                     "the readouts of the volume have gaps: it has no planes along them",
                     "choose cg-sense, l1-wavelet or tv");
    const at::Tensor hybrid = operators::fourier_transform(kspace.samples, {-1}, {.inverse = true, .centred = true});
    at::Tensor calibration;
    if (kspace.calibration.defined() && constant_along(kspace.calibration_mask, -1)) {
      calibration = operators::fourier_transform(kspace.calibration, {-1}, {.inverse = true, .centred = true});
    }
    const int64_t planes = hybrid.size(-1);
    Progress progress("planes", planes);
    std::vector<at::Tensor> images;
    for (int64_t x = 0; x < planes; ++x) {
      KSpace plane = kspace;
      // [coil, z, y] becomes [coil, 1, z, y].
      plane.samples = hybrid.select(-1, x).unsqueeze(1).contiguous();
      plane.mask = kspace.mask.select(-1, x).unsqueeze(0).contiguous();
      plane.calibration = calibration.defined() ? calibration.select(-1, x).unsqueeze(1).contiguous() : at::Tensor();
      plane.calibration_mask =
          calibration.defined() ? kspace.calibration_mask.select(-1, x).unsqueeze(0).contiguous() : at::Tensor();
      const at::Tensor maps = stored.defined() ? stored.select(-1, x).unsqueeze(2).contiguous() : stored;
      at::Tensor unused;
      images.push_back(solve_volume(plane, maps, false, unused, false).select(-3, 0));
      progress.advance();
    }
    return finish(at::stack(images, -1));
  }

  /// `stored`: sensitivities of the file, or undefined.
  at::Tensor solve_volume(const KSpace& kspace, const at::Tensor& stored, bool keep_maps, at::Tensor& g_factor,
                          bool finish_image) {
    if (result_.method == Method::grappa) return solve_grappa(kspace, g_factor);
    const at::Tensor maps = stored.defined() ? stored : sensitivities(kspace);
    if (keep_maps) result_.sensitivities = maps;
    const Stage stage(result_.seconds, "solve");
    if (result_.method == Method::learned) {
      const at::Tensor image =
          options_.model
              ->reconstruct(kspace.samples.select(1, 0), kspace.mask[0], maps[0].select(1, 0), kspace.index.contrast)
              .unsqueeze(0);
      return finish_image ? finish(image) : image;
    }
    const IterativeReconstruction solved = result_.method == Method::sense
                                               ? sense_adjoint(kspace.samples, kspace.mask, maps)
                                               : iterate(cartesian_problem(kspace.samples, kspace.mask, maps));
    // [map, z, y, x]
    const at::Tensor image = solved.image.size(0) == 1 ? solved.image[0] : combine_maps(solved.image);
    return finish_image ? finish(image) : image;
  }

  /// Runs the chosen iterative method with the options given, and notes what took effect once.
  IterativeReconstruction iterate(const SenseProblem& problem) {
    const auto settle = [this](auto settings) {
      if (options_.lambda) settings.lambda = *options_.lambda;
      if (options_.iterations) settings.iterations = *options_.iterations;
      settings.tolerance = options_.tolerance;
      if (!solver_noted_) note("lambda", fmt::format("{:g}", settings.lambda));
      return settings;
    };
    IterativeReconstruction solved;
    if (result_.method == Method::cg_sense) {
      solved = cg_sense(problem, settle(CgSenseOptions()));
    } else if (result_.method == Method::tv) {
      solved = total_variation(problem, settle(TotalVariationOptions()));
    } else {
      L1WaveletOptions settings = settle(L1WaveletOptions());
      settings.wavelet_order = options_.wavelet_order;
      settings.seed = options_.seed;
      solved = l1_wavelet(problem, settings);
      if (!solver_noted_)
        note("wavelet",
             fmt::format("Daubechies {}, random shifts with seed {}", settings.wavelet_order, settings.seed));
    }
    if (!solver_noted_) {
      note("iterations", fmt::format("{}{}", solved.iterations, solved.converged ? " (stopped by the tolerance)" : ""));
      note("data scale", fmt::format("{:.6g}", solved.data_scale));
    }
    solver_noted_ = true;
    return solved;
  }

  /// The first map carries the phase, all maps the magnitude.
  static at::Tensor combine_maps(const at::Tensor& image) {
    return at::polar(root_sum_of_squares_over_coils(image), at::angle(image[0]));
  }

  at::Tensor finish(const at::Tensor& image) {
    const Stage stage(result_.seconds, "resize");
    const at::Tensor resized = resize_to_recon(image, header_);
    return options_.complex_images ? resized.contiguous() : resized.abs();
  }

  /// The file's own sensitivities as the coils are now, [map, coil, z, y, x]; undefined where they are not wanted or
  /// not there.
  at::Tensor stored_sensitivities(const KSpace& kspace) {
    if (options_.maps != MapMethod::automatic && options_.maps != MapMethod::stored) return {};
    const auto found = scan_.sensitivities(image_);
    check<DataError>(found || options_.maps != MapMethod::stored, "--maps stored: the file holds no sensitivities",
                     "choose espirit or walsh");
    if (!found) return {};
    at::Tensor maps = found->narrow(0, 0, std::min(found->size(0), options_.map_count));
    for (const at::Tensor& matrix : mixing_) {
      std::vector<at::Tensor> sets;
      for (const at::Tensor& set : maps.unbind(0)) sets.push_back(mix_coils(matrix, set.contiguous()));
      maps = at::stack(sets);
    }
    if (maps.sizes().slice(1) != kspace.samples.sizes()) {
      warn(
          fmt::format("the sensitivities in the file are {} [coil, z, y, x], k-space is {}: they are estimated instead",
                      shape_text(maps.sizes().slice(1)), shape_text(kspace.samples.sizes())));
      return {};
    }
    if (!maps_noted_) note("sensitivities", "of the file");
    maps_noted_ = true;
    return maps.contiguous();
  }

  at::Tensor sensitivities(const KSpace& kspace) {
    const auto& s = kspace.samples;
    const data::Extent3 extent = {s.size(3), s.size(2), s.size(1)};
    if (s.size(0) == 1) return constant_map(extent);
    const int64_t smallest = options_.maps == MapMethod::walsh ? 4 : options_.kernel_size;
    return sensitivities(calibration_block(kspace, options_.calibration_size, smallest), extent);
  }

  at::Tensor constant_map(const data::Extent3& extent) {
    if (!maps_noted_) note("sensitivities", "one coil: constant");
    maps_noted_ = true;
    return at::ones({1, 1, extent[2], extent[1], extent[0]}, at::kComplexFloat);
  }

  at::Tensor sensitivities(const CalibrationBlock& block, const data::Extent3& extent) {
    const Stage stage(result_.seconds, "sensitivities");
    const std::string region =
        fmt::format("{} × {} × {} {}", block.extent[0], block.extent[1], block.extent[2], block.source);
    if (options_.maps == MapMethod::walsh) {
      if (!maps_noted_) note("sensitivities", "Walsh, " + region);
      maps_noted_ = true;
      return walsh_maps(low_resolution_images(block.samples, extent)).unsqueeze(0);
    }
    EspiritOptions settings;
    settings.kernel = options_.kernel_size;
    settings.calibration = options_.calibration_size;
    settings.crop = options_.crop_threshold;
    settings.threshold_on_singular_values = options_.singular_threshold;
    settings.maps = options_.map_count;
    if (!maps_noted_) {
      note("sensitivities",
           fmt::format("ESPIRiT, {} map{}, {}, kernel {}, threshold {:.4g} on singular values, crop {:g}",
                       settings.maps, settings.maps == 1 ? "" : "s", region, settings.kernel,
                       settings.threshold_on_singular_values, settings.crop));
    }
    maps_noted_ = true;
    return espirit(block.samples, extent, settings).maps;
  }

  at::Tensor solve_grappa(const KSpace& kspace, at::Tensor& g_factor) {
    const Stage stage(result_.seconds, "solve");
    check<ConfigError>(!options_.complex_images, "--complex: grappa ends in a root sum of squares, which has no phase",
                       "choose --method sense or cg-sense");
    GrappaOptions settings;
    if (options_.lambda) settings.lambda = *options_.lambda;
    const auto block = calibration_block(kspace, 0, settings.kernel_readout);
    const Grappa solved = grappa(kspace.samples, kspace.mask, block.samples, settings);
    if (!solver_noted_) {
      note("grappa", fmt::format("{}, kernel {} × {}, lambda {:g}, calibration on {} × {} × {} {}",
                                 solved.lattice.text(), settings.kernel_readout, settings.kernel_phase, settings.lambda,
                                 block.extent[0], block.extent[1], block.extent[2], block.source));
      solver_noted_ = true;
    }
    g_factor = resize_to_recon(solved.g_factor.to(at::kComplexFloat), header_).abs();
    if (options_.partial_fourier == PartialFourier::zero_fill) {
      return root_sum_of_squares_over_coils(resize_to_recon(solved.images, header_));
    }
    const at::Tensor filled = fill_partial_fourier(solved.kspace, kspace.mask);
    return root_sum_of_squares_over_coils(resize_to_recon(coil_images(filled, header_), header_));
  }

  data::Vector3 image_field_of_view() const {
    data::Vector3 fov = header_.recon.field_of_view_mm;
    if (header_.readout == data::ReadoutAxis::y) std::swap(fov[0], fov[1]);
    return fov;
  }

  const data::ScanSource& scan_;
  const ScanHeader& header_;
  const ReconOptions& options_;
  const std::function<void(const std::string&)>& say_;
  std::optional<Whitening> whitening_;
  ReconResult result_;
  size_t image_ = 0;                // which image of the scan is being made
  std::vector<at::Tensor> mixing_;  // matrices that have been applied to its coils
  bool planewise_ = false, compression_noted_ = false, pocs_noted_ = false, maps_noted_ = false, solver_noted_ = false,
       density_noted_ = false;
};

}  // namespace

ReconResult reconstruct(const data::ScanSource& scan, const ReconOptions& options,
                        const std::function<void(const std::string&)>& say) {
  const auto start = std::chrono::steady_clock::now();
  ReconResult result = Pipeline(scan, options, say).run();
  result.seconds["reconstruction"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace monarch::mri
