#include "monarch/mri/metrics.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::mri {

namespace {

constexpr int64_t kUniformWindow = 7;
constexpr int64_t kGaussianWindow = 11;
constexpr double kGaussianSigma = 1.5;
constexpr double kK1 = 0.01;
constexpr double kK2 = 0.03;

/// Refuses NaN and infinity, and says where the first one is.
void check_finite(const at::Tensor& pixels, const char* what) {
  const at::Tensor finite = at::isfinite(pixels);
  if (finite.all().item<bool>()) return;
  const int64_t flat = at::logical_not(finite).flatten().to(at::kByte).argmax().item<int64_t>();
  const int64_t ny = pixels.size(1), nx = pixels.size(2);
  fail<DataError>(fmt::format("the {} holds a value that is not finite at slice {}, y {}, x {}", what, flat / (nx * ny),
                              flat / nx % ny, flat % nx),
                  "no metric is defined for it; look at the images for where they break");
}

struct Pair {
  at::Tensor image;      // [slice, y, x] double, or complex double where both were complex
  at::Tensor reference;  // the same
};

Pair checked(const at::Tensor& image, const at::Tensor& reference) {
  const auto shapes = [&] {
    return fmt::format("image {}, reference {}", shape_text({image.sizes().data(), image.sizes().size()}),
                       shape_text({reference.sizes().data(), reference.sizes().size()}));
  };
  check<ShapeError>(image.dim() == 3 && reference.dim() == 3,
                    [&] { return "metrics compare [slice, y, x] with [slice, y, x]; found " + shapes(); });
  check<ShapeError>(
      image.sizes() == reference.sizes() && image.numel() > 0,
      [&] { return "metrics need two equal, non-empty shapes; found " + shapes(); },
      "align_for_comparison transposes and crops");
  check_finite(image, "image");
  check_finite(reference, "reference");
  const bool complex = image.is_complex() && reference.is_complex();
  const auto convert = [&](const at::Tensor& t) {
    if (complex) return t.to(at::kComplexDouble);
    return (t.is_complex() ? t.abs() : t).to(at::kDouble);
  };
  Pair pair{convert(image), convert(reference)};
  check<DataError>(pair.reference.abs().max().item<double>() > 0, "the reference image is zero everywhere",
                   "metrics divide by its norm: compare with another reference");
  return pair;
}

double l2_norm(const at::Tensor& t) {
  return t.abs().square().sum().sqrt().item<double>();
}
double largest(const at::Tensor& t) {
  return t.abs().max().item<double>();
}
at::Tensor magnitude(const at::Tensor& t) {
  return t.is_complex() ? t.abs() : t;
}

double ratio_db(double peak, double rms) {
  return rms > 0 ? 20 * std::log10(peak / rms) : std::numeric_limits<double>::infinity();
}

/// Mean of the SSIM map of one slice [y, x] over the window positions inside it. `window` weights rows and columns
/// and sums to 1; `covariance_factor` turns population into sample covariance. About 10 k multiply-adds a pixel for k
/// taps; rows are summed in order, so that the result does not depend on the number of threads.
double mean_ssim(const at::Tensor& image, const at::Tensor& reference, const std::vector<double>& window, double range,
                 double covariance_factor) {
  const at::Tensor first = image.contiguous(), second = reference.contiguous();
  const double* const a = first.const_data_ptr<double>();
  const double* const b = second.const_data_ptr<double>();
  const int64_t taps = static_cast<int64_t>(window.size()), nx = first.size(1);
  const int64_t rows = first.size(0) - taps + 1, columns = nx - taps + 1;
  const double c1 = (kK1 * range) * (kK1 * range), c2 = (kK2 * range) * (kK2 * range);
  std::vector<double> row_sums(static_cast<size_t>(rows));
  at::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
    constexpr size_t kMoments = 5;  // a, b, a a, b b, a b
    std::array<std::vector<double>, kMoments> vertical;
    for (std::vector<double>& v : vertical) v.resize(static_cast<size_t>(nx));
    for (int64_t y = begin; y < end; ++y) {
      for (std::vector<double>& v : vertical) std::fill(v.begin(), v.end(), 0.0);
      for (int64_t t = 0; t < taps; ++t) {
        const double w = window[static_cast<size_t>(t)];
        const double* const pa = a + (y + t) * nx;
        const double* const pb = b + (y + t) * nx;
        for (int64_t x = 0; x < nx; ++x) {
          const auto k = static_cast<size_t>(x);
          vertical[0][k] += w * pa[x];
          vertical[1][k] += w * pb[x];
          vertical[2][k] += w * pa[x] * pa[x];
          vertical[3][k] += w * pb[x] * pb[x];
          vertical[4][k] += w * pa[x] * pb[x];
        }
      }
      double sum = 0;
      for (int64_t x = 0; x < columns; ++x) {
        std::array<double, kMoments> m{};
        for (int64_t t = 0; t < taps; ++t)
          for (size_t i = 0; i < kMoments; ++i)
            m[i] += window[static_cast<size_t>(t)] * vertical[i][static_cast<size_t>(x + t)];
        const double vaa = (m[2] - m[0] * m[0]) * covariance_factor, vbb = (m[3] - m[1] * m[1]) * covariance_factor;
        const double vab = (m[4] - m[0] * m[1]) * covariance_factor;
        sum += (2 * m[0] * m[1] + c1) * (2 * vab + c2) / ((m[0] * m[0] + m[1] * m[1] + c1) * (vaa + vbb + c2));
      }
      row_sums[static_cast<size_t>(y)] = sum;
    }
  });
  return std::accumulate(row_sums.begin(), row_sums.end(), 0.0) / static_cast<double>(rows * columns);
}

std::vector<double> gaussian_window() {
  std::vector<double> window;
  for (int64_t t = 0; t < kGaussianWindow; ++t) {
    const double d = static_cast<double>(t - kGaussianWindow / 2) / kGaussianSigma;
    window.push_back(std::exp(-0.5 * d * d));
  }
  const double sum = std::accumulate(window.begin(), window.end(), 0.0);
  for (double& w : window) w /= sum;
  return window;
}

void check_range(double range) {
  check<ConfigError>(range > 0 && std::isfinite(range),
                     [&] { return fmt::format("SSIM data range {}: expected > 0", range); });
}

}  // namespace

double MetricSet::value(const std::string& metric_name) const {
  std::vector<std::string> names;
  for (const Metric& m : metrics) {
    if (m.name == metric_name) return m.value;
    names.push_back(m.name);
  }
  fail<ConfigError>(fmt::format("{} has no metric '{}'", convention, metric_name), "there are " + join_or(names));
}

double nrmse(const at::Tensor& image, const at::Tensor& reference) {
  const Pair p = checked(image, reference);
  return l2_norm(p.image - p.reference) / l2_norm(p.reference);
}

double ssim_uniform(const at::Tensor& image, const at::Tensor& reference, double data_range) {
  const Pair p = checked(image, reference);
  check_range(data_range);
  check<ShapeError>(image.size(1) >= kUniformWindow && image.size(2) >= kUniformWindow, [&] {
    return fmt::format("SSIM with a 7x7 window needs images of 7x7 or more; found {}x{}", image.size(1), image.size(2));
  });
  constexpr double n = kUniformWindow * kUniformWindow;
  const std::vector<double> window(kUniformWindow, 1.0 / kUniformWindow);
  double sum = 0;
  for (int64_t slice = 0; slice < image.size(0); ++slice)
    sum += mean_ssim(magnitude(p.image[slice]), magnitude(p.reference[slice]), window, data_range, n / (n - 1));
  return sum / static_cast<double>(image.size(0));
}

double ssim_gaussian(const at::Tensor& image, const at::Tensor& reference, double data_range) {
  check<ShapeError>(
      image.dim() == 2 && reference.dim() == 2 && image.size(0) >= kGaussianWindow && image.size(1) >= kGaussianWindow,
      "SSIM with an 11x11 window needs two images [y, x] of 11x11 or more");
  const Pair p = checked(image.unsqueeze(0), reference.unsqueeze(0));
  check_range(data_range);
  return mean_ssim(magnitude(p.image)[0], magnitude(p.reference)[0], gaussian_window(), data_range, 1.0);
}

MetricSet fastmri_metrics(const at::Tensor& image, const at::Tensor& reference) {
  const Pair p = checked(image, reference);
  const at::Tensor a = magnitude(p.image), g = magnitude(p.reference);
  const double peak = g.max().item<double>();
  check<DataError>(peak > 0, "the reference holds no positive value", "the data range of PSNR and SSIM is its maximum");
  const double error = l2_norm(a - g), reference_norm = l2_norm(g);
  MetricSet set{"fastMRI", "Zbontar et al. 2018, arXiv:1811.08839; facebookresearch/fastMRI evaluate.py", {}, {}};
  set.metrics.push_back({"NMSE", error * error / (reference_norm * reference_norm), "",
                         "||g - p||^2 / ||g||^2 of magnitudes over the volume", false});
  set.metrics.push_back({"PSNR", ratio_db(peak, error / std::sqrt(static_cast<double>(g.numel()))), "dB",
                         "20 log10(max g / RMSE) of magnitudes over the volume", true});
  if (g.size(1) >= kUniformWindow && g.size(2) >= kUniformWindow) {
    set.metrics.push_back(
        {"SSIM", ssim_uniform(a, g, peak), "",
         "7x7 uniform window, k1 .01, k2 .03, sample covariance, interior, range max g of the volume, "
         "mean over slices",
         true});
  } else {
    set.notes.push_back("SSIM needs images of 7x7 pixels or more");
  }
  return set;
}

MetricSet meddlr_metrics(const at::Tensor& image, const at::Tensor& reference) {
  const Pair p = checked(image, reference);
  MetricSet set{"meddlr", "Desai et al. 2021, arXiv:2203.06823 (SKM-TEA); ad12/meddlr metrics", {}, {}};
  double psnr = 0, psnr_magnitude = 0, error = 0, error_magnitude = 0, ssim = 0;
  int64_t slices = 0;
  const bool windowed = p.image.size(1) >= kGaussianWindow && p.image.size(2) >= kGaussianWindow;
  const auto rms = [](const at::Tensor& t) { return l2_norm(t) / std::sqrt(static_cast<double>(t.numel())); };
  for (int64_t slice = 0; slice < p.image.size(0); ++slice) {
    const at::Tensor a = p.image[slice], g = p.reference[slice];
    const double peak = largest(g);
    if (!(peak > 0)) continue;
    ++slices;
    const double rmse = rms(a - g), rmse_magnitude = rms(magnitude(a) - magnitude(g));
    psnr += ratio_db(peak, rmse);
    psnr_magnitude += ratio_db(peak, rmse_magnitude);
    error += rmse / rms(g);
    error_magnitude += rmse_magnitude / rms(g);
    if (windowed) ssim += ssim_gaussian(magnitude(a), magnitude(g), peak);
  }
  const auto mean = [&](double sum) { return sum / static_cast<double>(slices); };
  const char* kind = p.image.is_complex() ? "complex" : "magnitude";
  set.metrics.push_back({"PSNR", mean(psnr), "dB",
                         fmt::format("20 log10(max |g| / RMSE of the {} error) per slice, mean over slices", kind),
                         true});
  set.metrics.push_back({"PSNR_mag", mean(psnr_magnitude), "dB", "the same of magnitudes", true});
  set.metrics.push_back({"PSNR_scan", ratio_db(largest(p.reference), rms(p.image - p.reference)), "dB",
                         fmt::format("20 log10(max |g| / RMSE of the {} error) over the volume", kind), true});
  set.metrics.push_back({"nRMSE", mean(error), "",
                         fmt::format("RMSE of the {} error / sqrt(mean |g|^2) per slice, mean over slices", kind),
                         false});
  set.metrics.push_back({"nRMSE_mag", mean(error_magnitude), "", "the same of magnitudes", false});
  set.metrics.push_back({"nRMSE_scan", l2_norm(p.image - p.reference) / l2_norm(p.reference), "",
                         fmt::format("RMSE of the {} error / sqrt(mean |g|^2) over the volume", kind), false});
  if (windowed) {
    set.metrics.push_back({"SSIM", mean(ssim), "",
                           "Wang et al. 2004: magnitudes, Gaussian 11x11 window, sigma 1.5, k1 .01, k2 .03, population "
                           "covariance, interior, range max |g| per slice, mean over slices",
                           true});
  } else {
    set.notes.push_back("SSIM needs images of 11x11 pixels or more");
  }
  if (slices < p.image.size(0))
    set.notes.push_back(
        fmt::format("{} of {} slices have a reference of zero and are left out of the means over slices",
                    p.image.size(0) - slices, p.image.size(0)));
  return set;
}

MetricSet bart_metrics(const at::Tensor& image, const at::Tensor& reference) {
  const Pair p = checked(image, reference);
  MetricSet set{"BART", "Uecker et al., BART toolbox, nrmse", {}, {}};
  set.metrics.push_back(
      {"NRMSE", l2_norm(p.image - p.reference) / l2_norm(p.reference), "", "||p - g|| / ||g||", false});
  const double square = l2_norm(p.reference) * l2_norm(p.reference);
  const at::Tensor scale = (p.reference.conj() * p.image).sum() / square;
  const at::Tensor fitted = p.reference * scale;
  const double fitted_norm = l2_norm(fitted);
  if (fitted_norm > 0) {
    set.metrics.push_back({"NRMSE_scaled", l2_norm(p.image - fitted) / fitted_norm, "",
                           "||p - s g|| / ||s g|| with s = <g, p> / ||g||^2 (option -s)", false});
  } else {
    set.notes.push_back("NRMSE_scaled is not defined: the image is orthogonal to the reference");
  }
  return set;
}

namespace {

at::Tensor slices_of(const data::ImageSeries& series, const char* what) {
  check<ShapeError>(series.pixels.defined() && series.pixels.dim() == 4 && series.pixels.numel() > 0,
                    [&] { return fmt::format("the {} needs pixels [image, z, y, x]", what); });
  return series.pixels.reshape({-1, series.pixels.size(2), series.pixels.size(3)});
}

double along(const data::Vector3& a, const data::Vector3& b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

/// Images by contrast, set, phase, repetition, then by place along their own normal.
std::vector<int64_t> order_by_place(const data::ImageSeries& series) {
  const auto key = [&](int64_t i) {
    const data::ImageIndex& x = series.index[static_cast<size_t>(i)];
    const data::Orientation& o = series.orientation[static_cast<size_t>(i)];
    return std::tuple(x.contrast, x.set, x.phase, x.repetition, along(o.centre_mm, o.z_direction));
  };
  std::vector<int64_t> order(static_cast<size_t>(series.size()));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return key(a) < key(b); });
  return order;
}

/// Both know where they are, and their normals agree: then slices can be matched by place. NIfTI files hold them in
/// that order, scans in order of slice numbers, which interleaved acquisition scrambles.
bool comparable_places(const data::ImageSeries& a, const data::ImageSeries& b) {
  const auto known = [](const data::ImageSeries& s) {
    return s.orientation.size() == s.index.size() && s.pixels.size(0) == s.size() &&
           std::all_of(s.orientation.begin(), s.orientation.end(), [&](const data::Orientation& o) {
             return o.known && along(o.z_direction, s.orientation.front().z_direction) > 0.99;
           });
  };
  return known(a) && known(b) && along(a.orientation.front().z_direction, b.orientation.front().z_direction) > 0.99;
}

at::Tensor sorted_by_place(const data::ImageSeries& series, const char* what, std::vector<std::string>* notes) {
  const std::vector<int64_t> order = order_by_place(series);
  if (std::is_sorted(order.begin(), order.end())) return series.pixels;
  notes->push_back(fmt::format("slices of the {} put into order of their position", what));
  return series.pixels.index_select(0, at::tensor(at::ArrayRef<int64_t>(order), at::kLong));
}

at::Tensor centre_crop(const at::Tensor& slices, int64_t ny, int64_t nx) {
  return slices.narrow(1, slices.size(1) / 2 - ny / 2, ny).narrow(2, slices.size(2) / 2 - nx / 2, nx);
}

}  // namespace

AlignedImages align_for_comparison(const data::ImageSeries& image, const data::ImageSeries& reference,
                                   const AlignOptions& options) {
  AlignedImages out{slices_of(image, "image"), slices_of(reference, "reference"), {}};
  if (comparable_places(image, reference)) {
    out.image = sorted_by_place(image, "image", &out.notes).reshape(out.image.sizes());
    out.reference = sorted_by_place(reference, "reference", &out.notes).reshape(out.reference.sizes());
  }
  if (image.readout != reference.readout) {
    out.image = out.image.transpose(1, 2);
    out.notes.push_back("image transposed: its readout runs along " +
                        std::string(image.readout == data::ReadoutAxis::x ? "x" : "y") +
                        ", that of the reference along " + (reference.readout == data::ReadoutAxis::x ? "x" : "y"));
  }
  const auto shape = [](const at::Tensor& t) { return shape_text({t.sizes().data(), t.sizes().size()}); };
  check<ShapeError>(
      out.image.size(0) == out.reference.size(0),
      [&] {
        return fmt::format("the image has {} slices, the reference {} ([slice, y, x] {} and {})", out.image.size(0),
                           out.reference.size(0), shape(out.image), shape(out.reference));
      },
      "compare series of the same slices");
  if (out.image.sizes() != out.reference.sizes()) {
    check<ShapeError>(
        options.crop,
        [&] {
          return fmt::format("image {} and reference {} [slice, y, x] differ in size", shape(out.image),
                             shape(out.reference));
        },
        "--crop compares their common centre");
    const int64_t ny = std::min(out.image.size(1), out.reference.size(1));
    const int64_t nx = std::min(out.image.size(2), out.reference.size(2));
    out.notes.push_back(fmt::format("compared the central {} x {} (y x x) pixels of image {} and reference {}", ny, nx,
                                    shape(out.image), shape(out.reference)));
    out.image = centre_crop(out.image, ny, nx);
    out.reference = centre_crop(out.reference, ny, nx);
  }
  const bool complex = out.image.is_complex() && out.reference.is_complex();
  if (!complex && (out.image.is_complex() || out.reference.is_complex()))
    out.notes.push_back(
        fmt::format("magnitudes compared: the {} is real", out.image.is_complex() ? "reference" : "image"));
  const auto convert = [&](const at::Tensor& t) {
    return (complex ? t.to(at::kComplexFloat) : magnitude(t).to(at::kFloat)).contiguous();
  };
  out.image = convert(out.image);
  out.reference = convert(out.reference);
  if (options.fit_scale) {
    const Pair p = checked(out.image, out.reference);
    const double square = l2_norm(p.image) * l2_norm(p.image);
    check<DataError>(square > 0, "the image is zero everywhere", "no scale can fit it to the reference");
    const at::Tensor scale = (p.image.conj() * p.reference).sum() / square;
    out.image = (p.image * scale).to(out.image.scalar_type());
    const c10::complex<double> factor = scale.to(at::kComplexDouble).item<c10::complex<double>>();
    out.notes.push_back(
        complex ? fmt::format("image scaled by {:.6g}{:+.6g}i (least squares)", factor.real(), factor.imag())
                : fmt::format("image scaled by {:.6g} (least squares)", factor.real()));
  }
  return out;
}

}  // namespace monarch::mri
