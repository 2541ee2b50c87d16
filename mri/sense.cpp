#include "monarch/mri/sense.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/mri/kernels/complex_arrays.hpp"
#include "monarch/operators/fourier.hpp"
#include "monarch/operators/kernels/fourier.hpp"

namespace monarch::mri {
namespace {

using kernels::complex64;
using operators::Space;
using operators::kernels::cpu::Dimension;
using Plan = operators::kernels::cpu::Plan<float>;

const complex64* pointer(const at::Tensor& t) {
  return reinterpret_cast<const complex64*>(t.const_data_ptr<c10::complex<float>>());
}
complex64* pointer_to_write(const at::Tensor& t) {
  return reinterpret_cast<complex64*>(t.mutable_data_ptr<c10::complex<float>>());
}

const at::Tensor& checked_maps(const at::Tensor& maps) {
  check_maps(maps, "CartesianSense");
  return maps;
}

Space image_space(const at::Tensor& maps) {
  return {.shape = {maps.size(0), maps.size(2), maps.size(3), maps.size(4)}, .dtype = at::kComplexFloat};
}
Space kspace_space(const at::Tensor& maps) {
  return {.shape = {maps.size(1), maps.size(2), maps.size(3), maps.size(4)}, .dtype = at::kComplexFloat};
}

// Largest infinity norm of the maps' Gram matrices: no eigenvalue exceeds it.
double gram_bound(const at::Tensor& maps) {
  const int64_t count = maps.size(0), coils = maps.size(1), points = maps[0][0].numel();
  const complex64* data = pointer(maps);
  constexpr int64_t kChunk = 2048;
  const int64_t chunks = (points + kChunk - 1) / kChunk;
  std::vector<float> largest(static_cast<size_t>(chunks), 0.0f);
  at::parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
    std::vector<complex64> entry(kChunk);
    std::vector<float> row(kChunk);
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * kChunk, size = std::min(kChunk, points - first);
      for (int64_t m = 0; m < count; ++m) {
        std::fill(row.begin(), row.end(), 0.0f);
        for (int64_t k = 0; k < count; ++k) {
          std::fill(entry.begin(), entry.end(), complex64{});
          for (int64_t c = 0; c < coils; ++c) {
            kernels::conjugate_multiply_add(data + (m * coils + c) * points + first,
                                            data + (k * coils + c) * points + first, entry.data(), size);
          }
          for (size_t i = 0; i < row.size(); ++i) row[i] += std::sqrt(std::norm(entry[i]));
        }
        float& bound = largest[static_cast<size_t>(chunk)];
        for (const float value : row) bound = value <= bound ? bound : value;  // NaN counts as large
      }
    }
  });
  double result = 0;
  for (const float value : largest) result = value <= result ? result : value;
  return result;
}

bool varies(const at::Tensor& mask, int64_t axis) {
  return !mask.eq(mask.narrow(axis, 0, 1)).all().item<bool>();
}

}  // namespace

void check_maps(const at::Tensor& maps, const std::string& who) {
  check<ShapeError>(maps.dim() == 5 && maps.numel() > 0, [&] {
    return fmt::format("{}: coil sensitivities have shape {}, expected [map, coil, z, y, x]", who,
                       shape_text(maps.sizes()));
  });
  check<DtypeError>(maps.is_cpu() && maps.scalar_type() == at::kComplexFloat, [&] {
    return fmt::format("{}: coil sensitivities are {} on {}, expected complex64 on cpu", who,
                       c10::toString(maps.scalar_type()), maps.device().str());
  });
}

// The image seen as [outer, points, inner], where `points` runs over the transformed axes, and cut into tiles of a few
// lines of points that stay in cache. A tile is [line, points] with contiguous points, whose transforms are the
// fastest: where something lies inside (columns of an image), the tile is transposed once per application, not once per
// coil.
struct CartesianSense::Blocks {
  Blocks(const at::Tensor& maps, const at::Tensor& mask, int64_t first_axis, int64_t last_axis);

  int64_t tile_size() const { return lines * points; }
  /// Index in the image of the first point of a block, and how many of its lines are inside the image.
  std::pair<int64_t, int64_t> locate(int64_t block) const;
  void gather(const complex64* image, int64_t block, complex64* tile) const;
  void scatter(const complex64* tile, int64_t block, complex64* image) const;
  void make_plans(at::IntArrayRef transformed_extents);
  /// tile = F^H M F tile, on every line.
  void convolve(complex64* tile) const;
  /// sum[map, tile] += Σ_{coils begin..end} conj(S) F^H M F Σ_map S image[map, tile]; `tile` is scratch.
  void accumulate(const complex64* image, int64_t block, int64_t begin, int64_t end, complex64* tile,
                  complex64* sum) const;

  int64_t map_count;
  int64_t coils;
  int64_t outer = 1;
  int64_t points = 1;
  int64_t inner = 1;
  int64_t lines = 1;
  int64_t block_count;
  at::Tensor maps;     // [block, map, coil, line, points]
  at::Tensor weights;  // [points, 2]: mask over transformed axes, DC first, times 1/N, once for re and im
  std::shared_ptr<const Plan> forward;  // null where nothing is transformed
  std::shared_ptr<const Plan> inverse;
};

CartesianSense::Blocks::Blocks(const at::Tensor& all_maps, const at::Tensor& mask, int64_t first_axis,
                               int64_t last_axis)
    : map_count(all_maps.size(0)), coils(all_maps.size(1)) {
  const auto extents = mask.sizes();
  for (int64_t axis = 0; axis < 3; ++axis) {
    (axis < first_axis ? outer : axis <= last_axis ? points : inner) *= extents[static_cast<size_t>(axis)];
  }
  if (points == 1) {
    lines = std::min<int64_t>(outer * inner, 2048);
    inner *= outer;
    outer = 1;
  } else if (inner > 1) {
    lines = 8;  // neighbours in memory that share a cache line
  } else {
    constexpr int64_t kTileElements = (32 << 10) / sizeof(complex64);
    lines = std::clamp<int64_t>(kTileElements / points, 1, std::min<int64_t>(outer, 16));
  }
  const auto blocks_of = [this](int64_t count) { return (count + lines - 1) / lines; };
  block_count = inner > 1 ? outer * blocks_of(inner) : blocks_of(outer);

  at::Tensor reduced = mask;
  std::vector<int64_t> transformed;
  for (int64_t axis = 0; axis < 3; ++axis) {
    if (axis >= first_axis && axis <= last_axis) {
      transformed.push_back(axis);
    } else {
      reduced = reduced.narrow(axis, 0, 1);
    }
  }
  if (!transformed.empty()) reduced = at::fft_ifftshift(reduced, transformed);
  weights = reduced.to(at::kFloat).reshape({points, 1}).div(static_cast<double>(points)).repeat({1, 2}).contiguous();
  make_plans(extents.slice(static_cast<size_t>(first_axis),
                           static_cast<size_t>(std::max<int64_t>(0, last_axis + 1 - first_axis))));

  if (block_count == 1 && inner == 1 && lines == outer) {
    maps = all_maps.reshape({1, map_count, coils, lines, points});
    return;
  }
  maps = at::empty({block_count, map_count, coils, lines, points}, all_maps.options());
  const complex64* from = pointer(all_maps);
  complex64* to = pointer_to_write(maps);
  const int64_t per_block = map_count * coils;
  at::parallel_for(0, block_count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * per_block; i < end * per_block; ++i) {
      gather(from + (i % per_block) * outer * points * inner, i / per_block, to + i * tile_size());
    }
  });
}

void CartesianSense::Blocks::make_plans(at::IntArrayRef transformed_extents) {
  if (points == 1) return;
  operators::kernels::cpu::PlanShape shape;
  int64_t stride = 1;
  for (size_t i = transformed_extents.size(); i-- > 0;) {
    // An extent of 1 has nothing to transform.
    if (transformed_extents[i] > 1) shape.dims.insert(shape.dims.begin(), Dimension{transformed_extents[i], stride});
    stride *= transformed_extents[i];
  }
  if (lines > 1) shape.batch.push_back({lines, points});
  forward = operators::kernels::cpu::get_plan<float>(shape);
  shape.inverse = true;
  inverse = operators::kernels::cpu::get_plan<float>(shape);
}

void CartesianSense::Blocks::convolve(complex64* tile) const {
  const float* weight = weights.const_data_ptr<float>();
  if (points == 1) {
    if (weight[0] == 0) std::fill(tile, tile + tile_size(), complex64{});
    return;
  }
  forward->execute(tile);
  for (int64_t line = 0; line < lines; ++line) kernels::scale_pairs(weight, tile + line * points, points);
  inverse->execute(tile);
}

std::pair<int64_t, int64_t> CartesianSense::Blocks::locate(int64_t block) const {
  if (inner == 1) return {block * lines * points, std::min(lines, outer - block * lines)};
  const int64_t across = (inner + lines - 1) / lines;
  const int64_t column = block % across * lines;
  return {block / across * points * inner + column, std::min(lines, inner - column)};
}

void CartesianSense::Blocks::gather(const complex64* image, int64_t block, complex64* tile) const {
  const auto [start, filled] = locate(block);
  const complex64* from = image + start;
  if (inner == 1) {
    std::copy_n(from, filled * points, tile);
  } else {
    for (int64_t r = 0; r < points; ++r, from += inner) {
      for (int64_t line = 0; line < filled; ++line) tile[line * points + r] = from[line];
    }
  }
  std::fill(tile + filled * points, tile + tile_size(), complex64{});
}

void CartesianSense::Blocks::scatter(const complex64* tile, int64_t block, complex64* image) const {
  const auto [start, filled] = locate(block);
  complex64* to = image + start;
  if (inner == 1) {
    std::copy_n(tile, filled * points, to);
    return;
  }
  for (int64_t r = 0; r < points; ++r, to += inner) {
    for (int64_t line = 0; line < filled; ++line) to[line] = tile[line * points + r];
  }
}

void CartesianSense::Blocks::accumulate(const complex64* image, int64_t block, int64_t begin, int64_t end,
                                        complex64* tile, complex64* sum) const {
  const int64_t size = tile_size();
  const complex64* block_maps = pointer(maps) + block * map_count * coils * size;
  for (int64_t c = begin; c < end; ++c) {
    kernels::multiply(block_maps + c * size, image, tile, size);
    for (int64_t m = 1; m < map_count; ++m) {
      kernels::multiply_add(block_maps + (m * coils + c) * size, image + m * size, tile, size);
    }
    convolve(tile);
    for (int64_t m = 0; m < map_count; ++m) {
      kernels::conjugate_multiply_add(block_maps + (m * coils + c) * size, tile, sum + m * size, size);
    }
  }
}

CartesianSense::CartesianSense(const at::Tensor& maps, const at::Tensor& mask)
    : LinearOperator(image_space(checked_maps(maps)), kspace_space(checked_maps(maps))),
      maps_(maps.detach().resolve_conj().resolve_neg().contiguous()) {
  check<ShapeError>(mask.sizes() == maps_.sizes().slice(2), [&] {
    return fmt::format("CartesianSense: the mask has shape {}, the coil sensitivities {}; expected [z, y, x] = {}",
                       shape_text(mask.sizes()), shape_text(maps_.sizes()), shape_text(maps_.sizes().slice(2)));
  });
  check<DtypeError>(mask.is_cpu() && mask.scalar_type() == at::kBool, [&] {
    return fmt::format("CartesianSense: the mask is {} on {}, expected bool on cpu", c10::toString(mask.scalar_type()),
                       mask.device().str());
  });
  const c10::NoGradGuard no_grad;
  missing_ = mask.logical_not();
  // The image must split into [outer, transformed, inner]: an axis between two transformed ones is transformed, too.
  int64_t first = 3, last = -1;
  for (int64_t axis = 0; axis < 3; ++axis) {
    if (varies(mask, axis)) {
      first = std::min(first, axis);
      last = axis;
    }
  }
  for (int64_t axis = first; axis <= last; ++axis) transformed_[static_cast<size_t>(axis)] = true;
  if (last < 0) first = 0;
  blocks_ = std::make_unique<const Blocks>(maps_, mask, first, last);
  norm_bound_ = gram_bound(maps_);
  fourier_ = std::make_shared<const operators::Fourier>(codomain(),
                                                        operators::FourierOptions{.dimensions = 3, .centred = true});
}

CartesianSense::~CartesianSense() = default;

std::string CartesianSense::describe() const {
  std::string axes;
  for (size_t axis = 0; axis < 3; ++axis) {
    if (transformed_[axis]) axes += "zyx"[axis];
  }
  return fmt::format("Cartesian SENSE: {} maps, {} coils, {:.0f} of {} samples, sampling varies along {}; {} -> {}",
                     maps_.size(0), maps_.size(1), missing_.logical_not().sum(at::kDouble).item<double>(),
                     missing_.numel(), axes.empty() ? "no axis" : axes, domain().text(), codomain().text());
}

at::Tensor CartesianSense::do_apply(const at::Tensor& x) const {
  // Few calls come here (simulating data, residuals); all the time of a solver is in do_normal.
  const auto coil_images = at::mul(maps_, x.unsqueeze(2)).sum(1);
  return fourier_->apply(coil_images).masked_fill_(missing_, 0);
}

at::Tensor CartesianSense::do_adjoint(const at::Tensor& y) const {
  const auto coil_images = fourier_->adjoint(y.masked_fill(missing_, 0)).contiguous();
  auto result =
      at::zeros({y.size(0), maps_.size(0), maps_.size(2), maps_.size(3), maps_.size(4)}, coil_images.options());
  const int64_t coils = maps_.size(1);
  const int64_t points = missing_.numel();
  const int64_t images = result.size(0) * result.size(1);
  const complex64* maps = pointer(maps_);
  const complex64* from = pointer(coil_images);
  complex64* to = pointer_to_write(result);
  at::parallel_for(0, points, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < images; ++i) {
      const int64_t map = i % maps_.size(0), batch = i / maps_.size(0);
      for (int64_t c = 0; c < coils; ++c) {
        kernels::conjugate_multiply_add(maps + (map * coils + c) * points + begin,
                                        from + (batch * coils + c) * points + begin, to + i * points + begin,
                                        end - begin);
      }
    }
  });
  return result;
}

at::Tensor CartesianSense::do_normal(const at::Tensor& x) const {
  const Blocks& blocks = *blocks_;
  const auto input = x.resolve_conj().resolve_neg().contiguous();
  auto output = at::empty_like(input);
  const int64_t volume = missing_.numel();
  const int64_t image_size = blocks.map_count * volume;
  const int64_t size = blocks.tile_size();
  const int64_t sum_size = blocks.map_count * size;
  const auto options = input.options();

  if (blocks.block_count > 1) {
    at::parallel_for(0, input.size(0) * blocks.block_count, 1, [&](int64_t begin, int64_t end) {
      const auto scratch = at::empty({size + 2 * sum_size}, options);
      complex64* tile = pointer_to_write(scratch);
      complex64* image = tile + size;
      complex64* sum = image + sum_size;
      for (int64_t i = begin; i < end; ++i) {
        const int64_t block = i % blocks.block_count;
        const complex64* from = pointer(input) + i / blocks.block_count * image_size;
        complex64* to = pointer_to_write(output) + i / blocks.block_count * image_size;
        for (int64_t m = 0; m < blocks.map_count; ++m) blocks.gather(from + m * volume, block, image + m * size);
        std::fill(sum, sum + sum_size, complex64{});
        blocks.accumulate(image, block, 0, blocks.coils, tile, sum);
        for (int64_t m = 0; m < blocks.map_count; ++m) blocks.scatter(sum + m * size, block, to + m * volume);
      }
    });
    return output;
  }

  // One block is all there is: threads share the coils, and their sums are added in the order of the coils.
  const int64_t shares = std::min<int64_t>(blocks.coils, at::get_num_threads());
  for (int64_t batch = 0; batch < input.size(0); ++batch) {
    const auto sums = at::zeros({shares, sum_size}, options);
    at::parallel_for(0, shares, 1, [&](int64_t begin, int64_t end) {
      const auto scratch = at::empty({size + sum_size}, options);
      complex64* tile = pointer_to_write(scratch);
      complex64* image = tile + size;
      for (int64_t m = 0; m < blocks.map_count; ++m) {
        blocks.gather(pointer(input) + batch * image_size + m * volume, 0, image + m * size);
      }
      for (int64_t share = begin; share < end; ++share) {
        blocks.accumulate(image, 0, share * blocks.coils / shares, (share + 1) * blocks.coils / shares, tile,
                          pointer_to_write(sums) + share * sum_size);
      }
    });
    const auto total = shares == 1 ? sums[0] : sums.sum(0);
    for (int64_t m = 0; m < blocks.map_count; ++m) {
      blocks.scatter(pointer(total) + m * size, 0, pointer_to_write(output) + batch * image_size + m * volume);
    }
  }
  return output;
}

}  // namespace monarch::mri
