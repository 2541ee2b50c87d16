#include "monarch/mri/grappa.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <vector>

#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/text.hpp"
#include "monarch/mri/arrays.hpp"
#include "monarch/mri/calibration_region.hpp"

namespace monarch::mri {
namespace {

using Index3 = std::array<int64_t, 3>;  // [z, y, x]
constexpr std::array<const char*, 3> axis_names{"z", "y", "x"};
constexpr const char* regular_hint =
    "GRAPPA needs every R-th line along an axis; use cg-sense or l1-wavelet for other sampling patterns";

// Indices along `axis` at which anything was acquired.
std::vector<int64_t> acquired_lines(const at::Tensor& mask, int64_t axis) {
  const at::Tensor lines = mask.movedim(axis, 0).reshape({mask.size(axis), -1}).any(1).contiguous();
  std::vector<int64_t> found;
  for (int64_t i = 0; i < lines.numel(); ++i) {
    if (lines.data_ptr<bool>()[i]) found.push_back(i);
  }
  return found;
}

// Distance of lattice lines along one axis; lines in [begin, end) are the fully sampled centre and do not count.
int64_t lattice_distance(const std::vector<int64_t>& lines, int64_t begin, int64_t end, const char* axis) {
  std::set<int64_t> gaps;
  for (size_t i = 1; i < lines.size(); ++i) {
    const bool outside = lines[i] < begin || lines[i - 1] >= end;
    if (outside) gaps.insert(lines[i] - lines[i - 1]);
  }
  if (gaps.empty()) return 1;
  check<DataError>(
      gaps.size() == 1,
      [&] {
        return fmt::format(
            "GRAPPA: the sampling along {} is not regular: outside its fully sampled centre ({} of {} lines) "
            "distances between lines are {}",
            axis, end - begin, lines.size(), fmt::join(gaps, ", "));
      },
      regular_hint);
  return *gaps.begin();
}

// One kernel: displacements of the sources from the cell's first sample, and of the targets.
struct Kernel {
  std::vector<Index3> sources;
  std::vector<Index3> targets;
  Index3 low{}, high{};  // least and greatest displacement of sources, per axis; targets lie between
};

Kernel make_kernel(const SamplingLattice& lattice, const Index3& shape, const GrappaOptions& options) {
  std::array<std::vector<int64_t>, 3> along;
  Kernel kernel;
  for (size_t axis = 0; axis < 3; ++axis) {
    const int64_t r = lattice.acceleration[axis];
    if (r > 1) {
      for (int64_t i = 1 - options.kernel_phase / 2; i <= options.kernel_phase / 2; ++i) along[axis].push_back(i * r);
    } else {
      const int64_t reach = shape[axis] > 1 ? options.kernel_readout / 2 : 0;
      for (int64_t i = -reach; i <= reach; ++i) along[axis].push_back(i);
    }
    kernel.low[axis] = along[axis].front();
    kernel.high[axis] = along[axis].back();
  }
  for (const int64_t z : along[0]) {
    for (const int64_t y : along[1]) {
      for (const int64_t x : along[2]) kernel.sources.push_back({z, y, x});
    }
  }
  const Index3& r = lattice.acceleration;
  for (int64_t t = 1; t < lattice.total_acceleration(); ++t) {
    kernel.targets.push_back({t / (r[1] * r[2]), t / r[2] % r[1], t % r[2]});
  }
  return kernel;
}

// Samples at displacement `shift` from the cells first, first + step, ... (count of them): [coil, cells of z, y, x].
at::Tensor cells(const at::Tensor& array, const Index3& first, const Index3& count, const Index3& step,
                 const Index3& shift) {
  at::Tensor view = array;
  for (size_t axis = 0; axis < 3; ++axis) {
    const int64_t begin = first[axis] + shift[axis];
    view = view.slice(static_cast<int64_t>(axis) + 1, begin, begin + (count[axis] - 1) * step[axis] + 1, step[axis]);
  }
  return view;
}

// [coil * displacement, cells]: what the kernel multiplies.
at::Tensor gather(const at::Tensor& array, const Index3& first, const Index3& count, const Index3& step,
                  const std::vector<Index3>& shifts) {
  std::vector<at::Tensor> parts;
  for (const Index3& shift : shifts) parts.push_back(cells(array, first, count, step, shift));
  return at::stack(parts, 1).reshape({array.size(0) * static_cast<int64_t>(shifts.size()), -1});
}

// Weights [coil * target, coil * source].
at::Tensor train(const at::Tensor& calibration, const Kernel& kernel, const SamplingLattice& lattice, double lambda) {
  Index3 first{}, count{};
  int64_t cells_in_block = 1;
  for (size_t axis = 0; axis < 3; ++axis) {
    const int64_t n = calibration.size(static_cast<int64_t>(axis) + 1);
    const int64_t needed = kernel.high[axis] - kernel.low[axis] + 1;
    check<DataError>(
        n >= needed,
        [&] {
          return fmt::format("GRAPPA: the calibration block has {} samples along {}, the kernel at {} spans {}", n,
                             axis_names[axis], lattice.text(), needed);
        },
        "a smaller kernel fits a smaller block; cg-sense needs fewer calibration lines");
    first[axis] = -kernel.low[axis];
    count[axis] = n - needed + 1;
    cells_in_block *= count[axis];
  }
  const at::Tensor a = gather(calibration, first, count, {1, 1, 1}, kernel.sources);
  const at::Tensor b = gather(calibration, first, count, {1, 1, 1}, kernel.targets);
  if (cells_in_block < a.size(0)) {
    log::warning(
        fmt::format("GRAPPA: {} equations for {} weights: the calibration block is small for this kernel, and "
                    "regularisation decides",
                    cells_in_block, a.size(0)));
  }
  at::Tensor gram = at::mm(a, a.mH()).to(at::kComplexDouble);
  const double mean = at::real(gram.diagonal()).mean().item<double>();
  // A floor at single precision's rounding keeps lambda = 0 solvable where coils are linearly dependent.
  gram.diagonal().add_(std::max(lambda, 1e-9) * mean);
  const at::Tensor right = at::mm(a, b.mH()).to(at::kComplexDouble);
  return at::linalg_solve(gram, right).mH().to(at::kComplexFloat).contiguous();
}

// Fills all positions of all cells that touch the matrix within the lattice's range.
void fill(at::Tensor& kspace, const at::Tensor& weights, const Kernel& kernel, const SamplingLattice& lattice) {
  const int64_t coils = kspace.size(0);
  Index3 n{}, margin{}, first{}, count{}, low_line{}, high_line{};
  std::vector<int64_t> pads;
  for (size_t axis = 0; axis < 3; ++axis) {
    const int64_t r = lattice.acceleration[axis];
    n[axis] = kspace.size(static_cast<int64_t>(axis) + 1);
    // Lines next to the matrix's edge are filled from one side; those that partial Fourier left out are not.
    low_line[axis] = lattice.first[axis] < r ? 0 : lattice.first[axis];
    high_line[axis] = lattice.last[axis] + r >= n[axis] ? n[axis] - 1 : lattice.last[axis];
    margin[axis] = std::max(-kernel.low[axis], kernel.high[axis]) + r;
    const int64_t begin = lattice.first[axis] - (r > 1 && low_line[axis] < lattice.first[axis] ? r : 0);
    count[axis] = r > 1 ? (lattice.last[axis] - begin) / r + 1 : n[axis];
    first[axis] = (r > 1 ? begin : 0) + margin[axis];
    pads.insert(pads.begin(), {margin[axis], margin[axis]});
  }
  const at::Tensor source = at::constant_pad_nd(kspace, pads);
  at::Tensor target = source.clone();
  // Neighbours of a block of cells, at most about 16 MiB of them.
  const int64_t plane = count[2] * weights.size(1) * 8;
  const int64_t block = std::clamp<int64_t>((int64_t{16} << 20) / std::max<int64_t>(plane, 1), 1, count[1]);
  for (int64_t z = 0; z < count[0]; ++z) {
    for (int64_t y = 0; y < count[1]; y += block) {
      const Index3 begin{first[0] + z * lattice.acceleration[0], first[1] + y * lattice.acceleration[1], first[2]};
      const Index3 size{1, std::min(block, count[1] - y), count[2]};
      const at::Tensor neighbours = gather(source, begin, size, lattice.acceleration, kernel.sources);
      const int64_t targets = static_cast<int64_t>(kernel.targets.size());
      const at::Tensor found = at::mm(weights, neighbours).view({coils, targets, size[0], size[1], size[2]});
      for (int64_t t = 0; t < targets; ++t) {
        cells(target, begin, size, lattice.acceleration, kernel.targets[static_cast<size_t>(t)])
            .copy_(found.select(1, t));
      }
    }
  }
  for (size_t axis = 0; axis < 3; ++axis) {
    const auto dim = static_cast<int64_t>(axis) + 1;
    target = target.narrow(dim, margin[axis], n[axis]);
    if (low_line[axis] > 0) target.narrow(dim, 0, low_line[axis]).zero_();
    if (high_line[axis] + 1 < n[axis]) target.narrow(dim, high_line[axis] + 1, n[axis] - high_line[axis] - 1).zero_();
  }
  kspace.copy_(target);
}

// The weights as convolution filters w[i, j, dz, dy, dx], and the least displacement per axis.
at::Tensor filters(const at::Tensor& weights, const Kernel& kernel, int64_t coils, Index3& least) {
  Index3 extent{};
  for (size_t axis = 0; axis < 3; ++axis) {
    int64_t reach = 0;
    for (const Index3& target : kernel.targets) reach = std::max(reach, target[axis]);
    least[axis] = kernel.low[axis] - reach;
    extent[axis] = kernel.high[axis] - least[axis] + 1;
  }
  at::Tensor w = at::zeros({coils, coils, extent[0], extent[1], extent[2]}, at::kComplexFloat);
  const int64_t sources = static_cast<int64_t>(kernel.sources.size()),
                targets = static_cast<int64_t>(kernel.targets.size());
  const at::Tensor view = weights.view({coils, targets, coils, sources});
  for (int64_t t = 0; t < targets; ++t) {
    for (int64_t s = 0; s < sources; ++s) {
      Index3 d{};
      for (size_t axis = 0; axis < 3; ++axis) {
        d[axis] =
            kernel.sources[static_cast<size_t>(s)][axis] - kernel.targets[static_cast<size_t>(t)][axis] - least[axis];
      }
      w.select(2, d[0]).select(2, d[1]).select(2, d[2]).add_(view.select(1, t).select(2, s));
    }
  }
  w.select(2, -least[0]).select(2, -least[1]).select(2, -least[2]).diagonal().add_(1);
  return w;
}

at::Tensor g_factor_map(const at::Tensor& w, const Index3& least, const at::Tensor& p, int64_t acceleration) {
  const int64_t coils = p.size(0), nz = p.size(1), ny = p.size(2), nx = p.size(3);
  const auto along = [&](int64_t n, size_t axis) {
    return dft_matrix(n, least[axis], w.size(static_cast<int64_t>(axis) + 2), -1).to(at::kComplexFloat);
  };
  const at::Tensor along_z = along(nz, 0), along_y = along(ny, 1), along_x = along(nx, 2).t().contiguous();
  at::Tensor g = at::empty({nz, ny, nx}, at::kFloat);
  for (int64_t z = 0; z < nz; ++z) {
    const at::Tensor plane = at::tensordot(w, along_z[z], {2}, {0});  // [i, j, dy, dx]
    const at::Tensor lines = at::matmul(plane, along_x);              // [i, j, dy, x]
    const at::Tensor weight = p.select(1, z).conj();                  // [i, y, x]
    at::Tensor power = at::zeros({ny, nx}, at::kFloat);
    for (int64_t j = 0; j < coils; ++j) {
      const at::Tensor unmixing = (weight * at::matmul(along_y, lines.select(1, j))).sum(0);
      power.add_(at::abs(unmixing).square());
    }
    const at::Tensor norm = at::sqrt(at::abs(weight).square().sum(0));
    const at::Tensor ratio = at::sqrt(power) / (norm * static_cast<double>(acceleration));
    g.select(0, z).copy_(at::where(norm > 0, ratio, at::zeros_like(ratio)));
  }
  return g;
}

}  // namespace

std::string SamplingLattice::text() const {
  std::string words;
  for (size_t axis = 0; axis < 3; ++axis) {
    if (acceleration[axis] == 1) continue;
    words += fmt::format("{}{}x along {} (offset {})", words.empty() ? "" : ", ", acceleration[axis], axis_names[axis],
                         offset[axis]);
  }
  return words.empty() ? "fully sampled" : words;
}

SamplingLattice sampling_lattice(const at::Tensor& mask) {
  const at::Tensor sampled = mask_array(mask, {}, "sampling mask");
  const SampledBox centre = sampled_centre(sampled);
  SamplingLattice lattice;
  at::Tensor expected = at::ones(sampled.sizes(), at::kBool), ranges = expected;
  int undersampled = 0;
  for (int64_t axis = 0; axis < 3; ++axis) {
    const auto a = static_cast<size_t>(axis), box = 2 - a;
    const std::vector<int64_t> lines = acquired_lines(sampled, axis);
    check<DataError>(!lines.empty(), "GRAPPA: nothing was acquired (the sampling mask is empty)");
    const int64_t begin = centre.first[box], end = begin + centre.extent[box];
    const int64_t r = lattice_distance(lines, begin, end, axis_names[a]);
    lattice.acceleration[a] = r;
    lattice.first[a] = lines.front();
    lattice.last[a] = lines.back();
    // Any line outside the centre lies on the lattice; without one, the first line does.
    const auto outside = std::find_if(lines.begin(), lines.end(), [&](int64_t i) { return i < begin || i >= end; });
    lattice.offset[a] = (outside == lines.end() ? lines.front() : *outside) % r;
    if (r > 1) {
      ++undersampled;
      // The centre may reach further out than the lattice does.
      while (lattice.first[a] % r != lattice.offset[a]) ++lattice.first[a];
      while (lattice.last[a] % r != lattice.offset[a]) --lattice.last[a];
    }
    std::vector<int64_t> view(3, 1);
    view[a] = sampled.size(axis);
    const at::Tensor index = at::arange(sampled.size(axis), at::kLong).view(view);
    expected = at::logical_and(expected, at::remainder(index - lattice.offset[a], r) == 0);
    ranges = at::logical_and(ranges, at::logical_and(index >= lattice.first[a], index <= lattice.last[a]));
  }
  at::Tensor inside = at::zeros(sampled.sizes(), at::kBool);
  if (centre.extent[0] > 0) {
    inside.narrow(0, centre.first[2], centre.extent[2])
        .narrow(1, centre.first[1], centre.extent[1])
        .narrow(2, centre.first[0], centre.extent[0])
        .fill_(true);
  }
  const int64_t stray =
      at::logical_and(at::logical_and(sampled, expected.logical_not()), inside.logical_not()).sum().item<int64_t>();
  const int64_t missing =
      at::logical_and(at::logical_and(expected, ranges), sampled.logical_not()).sum().item<int64_t>();
  check<DataError>(
      stray == 0 && (undersampled > 1 || missing == 0),
      [&] {
        return fmt::format(
            "GRAPPA: the sampling is not regular: {} would be {}, but {} samples lie off that lattice and {} of "
            "its samples are missing",
            shape_text(sampled.sizes()), lattice.text(), stray, missing);
      },
      regular_hint);
  return lattice;
}

Grappa grappa(const at::Tensor& kspace, const at::Tensor& mask, const at::Tensor& calibration,
              const GrappaOptions& options, const at::Tensor& combination) {
  const at::Tensor data = coil_array(kspace, "GRAPPA: k-space");
  const at::Tensor sampled = mask_array(mask, data.sizes().slice(1).vec(), "GRAPPA: sampling mask");
  check<ConfigError>(options.kernel_readout >= 1 && options.kernel_readout % 2 == 1 && options.kernel_phase >= 2 &&
                         options.kernel_phase % 2 == 0 && options.lambda >= 0,
                     [&] {
                       return fmt::format(
                           "GRAPPA: the kernel must be odd along the readout and even along phase encoding, "
                           "lambda >= 0; found {}, {} and {}",
                           options.kernel_readout, options.kernel_phase, options.lambda);
                     });
  check_finite(data, "GRAPPA: k-space");
  Grappa result;
  result.lattice = sampling_lattice(sampled);
  const int64_t coils = data.size(0), acceleration = result.lattice.total_acceleration();
  result.kspace = data.clone();
  at::Tensor weights;
  Kernel kernel;
  if (acceleration > 1) {
    const at::Tensor block = coil_array(calibration, "GRAPPA: calibration block");
    check<ShapeError>(block.size(0) == coils, [&] {
      return fmt::format("GRAPPA: the calibration block has {} coils, k-space has {}", block.size(0), coils);
    });
    check_finite(block, "GRAPPA: calibration block");
    const float largest = at::abs(block).max().item<float>();
    check<DataError>(largest > 0, "GRAPPA: the calibration block holds no signal (all zero)",
                     "check that calibration lines are marked and that DC is in the centre of k-space");
    kernel = make_kernel(result.lattice, {data.size(1), data.size(2), data.size(3)}, options);
    weights = train(block / largest, kernel, result.lattice, options.lambda);
    fill(result.kspace, weights, kernel, result.lattice);
    result.kspace = at::where(sampled, data, result.kspace);
  }
  result.images = to_image(result.kspace);
  at::Tensor p = combination;
  if (p.defined()) {
    p = coil_array(p, "GRAPPA: combination weights");
    check<ShapeError>(p.sizes() == data.sizes(), [&] {
      return fmt::format("GRAPPA: combination weights must be {}, found {}", shape_text(data.sizes()),
                         shape_text(p.sizes()));
    });
  } else {
    const at::Tensor rss = at::linalg_vector_norm(result.images, 2, {0}, true);
    p = at::where(rss > 0, result.images / rss, at::zeros_like(result.images));
  }
  result.combined = (p.conj() * result.images).sum(0);
  if (acceleration > 1) {
    Index3 least{};
    const at::Tensor w = filters(weights, kernel, coils, least);
    result.g_factor = g_factor_map(w, least, p, acceleration);
  } else {
    result.g_factor = (at::linalg_vector_norm(p, 2, {0}) > 0).to(at::kFloat);
  }
  return result;
}

}  // namespace monarch::mri
