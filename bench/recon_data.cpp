#include "recon_data.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <fstream>
#include <sstream>

#include "monarch/core/error.hpp"
#include "monarch/core/process.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/mri/espirit.hpp"
#include "monarch/operators/nufft.hpp"

namespace fs = std::filesystem;

namespace monarch::bench {
namespace {

constexpr int64_t kCoils = 8;
constexpr int64_t kMatrix = 256;
constexpr int64_t kCalibrationLines = 24;

at::Tensor inverse_fourier(const at::Tensor& kspace) {
  const std::array<int64_t, 2> axes = {-2, -1};
  return at::fft_fftshift(at::fft_ifft2(at::fft_ifftshift(kspace, axes), std::nullopt, axes, "ortho"), axes);
}

at::Tensor forward_fourier(const at::Tensor& image) {
  const std::array<int64_t, 2> axes = {-2, -1};
  return at::fft_fftshift(at::fft_fft2(at::fft_ifftshift(image, axes), std::nullopt, axes, "ortho"), axes);
}

void bart(const fs::path& folder, std::vector<std::string> words) {
  words.insert(words.begin(), "bart");
  const auto result = run_child(words, folder, thread_environment(1));
  check<BackendError>(result.exit_code == 0, [&] {
    return fmt::format("bart {} ended with code {}: {}", words[1], result.exit_code, result.output);
  });
}

// k-space without noise of an object of ellipses, seen by Gaussian coils on a ring.
at::Tensor own_phantom() {
  struct Ellipse {
    double value, half_x, half_y, x, y, degrees;
  };
  constexpr std::array<Ellipse, 8> kEllipses = {{{1, .69, .92, 0, 0, 0},
                                                 {-.8, .6624, .874, 0, -.0184, 0},
                                                 {-.2, .11, .31, .22, 0, -18},
                                                 {-.2, .16, .41, -.22, 0, 18},
                                                 {.1, .21, .25, 0, .35, 0},
                                                 {.1, .046, .046, 0, .1, 0},
                                                 {.1, .046, .023, -.08, -.605, 0},
                                                 {.1, .023, .046, .06, -.605, 0}}};
  const auto axis = at::arange(kMatrix, at::kDouble).sub(kMatrix / 2).div(kMatrix / 2.0);
  const auto grid_x = axis.unsqueeze(0);
  const auto grid_y = axis.unsqueeze(1);
  auto object = at::zeros({kMatrix, kMatrix}, at::kDouble);
  for (const auto& e : kEllipses) {
    const double cosine = std::cos(e.degrees * M_PI / 180), sine = std::sin(e.degrees * M_PI / 180);
    const auto u = ((grid_x - e.x) * cosine + (grid_y - e.y) * sine) / e.half_x;
    const auto v = ((grid_y - e.y) * cosine - (grid_x - e.x) * sine) / e.half_y;
    object += (u * u + v * v <= 1).to(at::kDouble) * e.value;
  }
  std::vector<at::Tensor> coils;
  for (int64_t c = 0; c < kCoils; ++c) {
    const double angle = 2 * M_PI * static_cast<double>(c) / kCoils;
    const auto dx = grid_x - 1.2 * std::cos(angle), dy = grid_y - 1.2 * std::sin(angle);
    coils.push_back(at::polar((dx * dx + dy * dy).mul(-0.6).exp(), (grid_x * std::sin(angle) + grid_y).add(angle)));
  }
  return forward_fourier(at::mul(at::stack(coils), object)).mul(256).to(at::kComplexFloat).unsqueeze(1);
}

}  // namespace

at::Tensor read_cfl(const fs::path& stem) {
  std::ifstream header(stem.string() + ".hdr");
  std::string line;
  std::getline(header, line);
  std::getline(header, line);
  std::istringstream words(line);
  std::vector<int64_t> extents;
  for (int64_t extent = 0; words >> extent;) extents.push_back(extent);
  check<DataError>(header.good() && extents.size() >= 4, stem.string() + ".hdr: no dimensions");
  return read_raw(stem.string() + ".cfl", {extents[3], extents[2], extents[1], extents[0]});
}

at::Tensor read_raw(const fs::path& path, const std::vector<int64_t>& shape) {
  auto array = at::empty(shape, at::kComplexFloat);
  const auto bytes = static_cast<std::streamsize>(array.nbytes());
  std::ifstream file(path, std::ios::binary);
  file.read(static_cast<char*>(array.mutable_data_ptr()), bytes);
  check<DataError>(file.gcount() == bytes,
                   [&] { return fmt::format("{}: {} bytes expected, {} found", path.string(), bytes, file.gcount()); });
  return array;
}

void write_cfl(const fs::path& stem, const at::Tensor& array) {
  const auto contiguous = array.contiguous();
  std::ofstream(stem.string() + ".hdr") << fmt::format("# Dimensions\n{} {} {} {} 1 1 1 1 1 1 1 1 1 1 1 1\n",
                                                       array.size(3), array.size(2), array.size(1), array.size(0));
  std::ofstream(stem.string() + ".cfl", std::ios::binary)
      .write(static_cast<const char*>(contiguous.const_data_ptr()), static_cast<std::streamsize>(contiguous.nbytes()));
}

at::Tensor calibration_region(const at::Tensor& kspace) {
  auto region = kspace;
  for (int64_t axis = 2; axis < 4; ++axis) {
    const int64_t extent = std::min<int64_t>(kCalibrationLines, kspace.size(axis));
    region = region.narrow(axis, kspace.size(axis) / 2 - extent / 2, extent);
  }
  return region.contiguous();
}

std::vector<BenchScan> make_scans(const fs::path& folder, bool with_bart) {
  if (with_bart) {
    bart(folder, {"phantom", "-x", std::to_string(kMatrix), "-s", std::to_string(kCoils), "-k", "ideal"});
    bart(folder, {"noise", "-s", "1", "-n", "1", "ideal", "full"});
  } else {
    const auto ideal = own_phantom();
    write_cfl(folder / "ideal", ideal);
    write_cfl(folder / "full", ideal + Rng(1, "noise").normal(ideal.sizes().vec(), at::kComplexFloat));
  }
  const auto ideal_images = inverse_fourier(read_cfl(folder / "ideal"));
  const auto full = read_cfl(folder / "full");

  std::vector<BenchScan> scans;
  for (int acceleration : {2, 4}) {
    BenchScan scan;
    scan.acceleration = acceleration;
    scan.name = fmt::format("scan{}x", acceleration);
    const fs::path stem = folder / scan.name;
    if (with_bart) {
      const std::string factor = std::to_string(acceleration), pattern = "pattern" + factor;
      bart(folder, {"upat", "-Y", std::to_string(kMatrix), "-Z", "1", "-y", factor, "-z", "1", "-c",
                    std::to_string(kCalibrationLines), pattern});
      bart(folder, {"fmac", "full", pattern, scan.name});
      bart(folder, {"ecalib", "-m", "1", "-r", std::to_string(kCalibrationLines), scan.name, scan.name + "_maps"});
      scan.kspace = read_cfl(stem);
      scan.maps = read_cfl(stem.string() + "_maps").unsqueeze(0);
    } else {
      auto lines = at::zeros({kMatrix, 1}, at::kBool);
      lines.slice(0, 0, kMatrix, acceleration).fill_(true);
      lines.narrow(0, (kMatrix - kCalibrationLines) / 2, kCalibrationLines).fill_(true);
      scan.kspace = at::mul(full, lines).contiguous();
      scan.maps = mri::espirit(calibration_region(scan.kspace), {kMatrix, kMatrix, 1}).maps;
      write_cfl(stem, scan.kspace);
      write_cfl(stem.string() + "_maps", scan.maps[0]);
    }
    scan.mask = scan.kspace.ne(0).any(0);
    scan.truth = at::mul(scan.maps.conj(), ideal_images).sum(1);
    scans.push_back(std::move(scan));
  }
  return scans;
}

RadialBenchScan make_radial_scan(const fs::path& folder, const BenchScan& scan, int64_t spokes) {
  constexpr int64_t kSamples = 512;
  RadialBenchScan radial;
  radial.name = "radial";
  radial.maps = scan.maps;
  radial.truth = scan.truth;
  const auto angle = at::arange(spokes, at::kDouble).mul(M_PI / static_cast<double>(spokes)).unsqueeze(1);
  const auto radius = at::arange(kSamples, at::kDouble).sub(kSamples / 2).mul(static_cast<double>(kMatrix) / kSamples);
  radial.trajectory = at::stack({angle.cos() * radius, angle.sin() * radius}, -1).flatten(0, 1);
  const operators::Nufft nufft({{scan.maps.size(1), kMatrix, kMatrix}, at::kComplexFloat}, radial.trajectory);
  const auto ideal = nufft.apply(at::mul(scan.maps, scan.truth.unsqueeze(1)).sum(0).squeeze(1));
  radial.samples = ideal + Rng(2, "noise").normal(ideal.sizes().vec(), at::kComplexFloat);
  write_cfl(folder / radial.name, radial.samples.reshape({-1, spokes, kSamples, 1}));
  const auto places = at::constant_pad_nd(radial.trajectory, {0, 1}).to(at::kComplexFloat);
  write_cfl(folder / (radial.name + "_trajectory"), places.reshape({1, spokes, kSamples, 3}));
  return radial;
}

double nrmse(const at::Tensor& image, const at::Tensor& truth) {
  const auto a = image.reshape({-1}).to(at::kComplexDouble);
  const auto b = truth.reshape({-1}).to(at::kComplexDouble);
  const auto scale = at::vdot(a, b).div(at::vdot(a, a));
  return at::linalg_vector_norm(a.mul(scale).sub(b)).div(at::linalg_vector_norm(b)).item<double>();
}

double difference_up_to_phase(const at::Tensor& a, const at::Tensor& b) {
  const auto overlap = at::mul(a.conj(), b).sum(0);
  const auto aligned = at::mul(a, at::sgn(overlap));
  return at::linalg_vector_norm(aligned - b).div(at::linalg_vector_norm(b)).item<double>();
}

}  // namespace monarch::bench
