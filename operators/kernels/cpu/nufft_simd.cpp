// Vector primitives of gridding, compiled once per instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "monarch/operators/kernels/cpu/nufft_simd.cpp"
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "monarch/operators/kernels/nufft.hpp"

HWY_BEFORE_NAMESPACE();
namespace monarch::operators::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Kernel values at the padded grid points of one axis, by Horner's rule.
template <class T>
void axis_weights(const GriddingBlock<T>& block, T place, T* HWY_RESTRICT out) {
  const hn::CappedTag<T, 32 / sizeof(T)> d;
  const auto t = hn::Set(d, place);
  for (int64_t i = 0; i < block.padded; i += static_cast<int64_t>(hn::Lanes(d))) {
    const T* c = block.coefficients + i;
    auto value = hn::LoadU(d, c);
    for (int64_t power = 0; power < block.degree; ++power) {
      c += block.padded;
      value = hn::MulAdd(value, t, hn::LoadU(d, c));
    }
    hn::StoreU(value, d, out + i);
  }
}

template <class T>
void weights_of(const GriddingBlock<T>& block, T* HWY_RESTRICT along, T* HWY_RESTRICT across) {
  T x[widest_gridding_kernel], y[widest_gridding_kernel], z[widest_gridding_kernel];
  for (int64_t s = 0; s < block.count; ++s) {
    axis_weights(block, block.place[0][s], x);
    for (int64_t i = 0; i < block.padded; ++i) along[2 * i] = along[2 * i + 1] = x[i];
    along += 2 * block.padded;
    if (!block.place[1]) {
      *across++ = 1;
      continue;
    }
    axis_weights(block, block.place[1][s], y);
    if (!block.place[2]) {
      for (int64_t j = 0; j < block.width; ++j) *across++ = y[j];
      continue;
    }
    axis_weights(block, block.place[2][s], z);
    for (int64_t k = 0; k < block.width; ++k) {
      for (int64_t j = 0; j < block.width; ++j) *across++ = z[k] * y[j];
    }
  }
}

template <class T>
void gather_of(const GriddingBlock<T>& block, const T* HWY_RESTRICT along, const T* HWY_RESTRICT across,
               const T* HWY_RESTRICT tile, T* HWY_RESTRICT values) {
  const int64_t height = block.place[1] ? block.width : 1, depth = block.place[2] ? block.width : 1;
  for (int64_t s = 0; s < block.count; ++s) {
    const T* base = tile + 2 * int64_t{block.offset[s]};
    T re = 0, im = 0;
#if HWY_TARGET == HWY_SCALAR
    for (int64_t k = 0; k < depth; ++k) {
      for (int64_t j = 0; j < height; ++j) {
        const T* from = base + 2 * (k * block.plane + j * block.row);
        const T weight = across[k * height + j];
        for (int64_t i = 0; i < 2 * block.padded; i += 2) {
          re += weight * along[i] * from[i];
          im += weight * along[i] * from[i + 1];
        }
      }
    }
#else
    const hn::CappedTag<T, 64 / sizeof(T)> d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    auto total = hn::Zero(d);
    for (int64_t i = 0; i < 2 * block.padded; i += lanes) {
      auto sum = hn::Zero(d);
      const T* weight = across;
      for (int64_t k = 0; k < depth; ++k) {
        const T* from = base + 2 * k * block.plane + i;
        for (int64_t j = 0; j < height; ++j, from += 2 * block.row) {
          sum = hn::MulAdd(hn::Set(d, *weight++), hn::LoadU(d, from), sum);
        }
      }
      total = hn::MulAdd(sum, hn::LoadU(d, along + i), total);
    }
    const auto zero = hn::Zero(d);
    re = hn::GetLane(hn::SumOfLanes(d, hn::OddEven(zero, total)));
    im = hn::GetLane(hn::SumOfLanes(d, hn::OddEven(total, zero)));
#endif
    values[2 * s] = re;
    values[2 * s + 1] = im;
    along += 2 * block.padded;
    across += height * depth;
  }
}

template <class T>
void scatter_of(const GriddingBlock<T>& block, const T* HWY_RESTRICT along, const T* HWY_RESTRICT across,
                const T* HWY_RESTRICT values, T* HWY_RESTRICT tile) {
  const int64_t height = block.place[1] ? block.width : 1, depth = block.place[2] ? block.width : 1;
  for (int64_t s = 0; s < block.count; ++s) {
    T* base = tile + 2 * int64_t{block.offset[s]};
#if HWY_TARGET == HWY_SCALAR
    for (int64_t k = 0; k < depth; ++k) {
      for (int64_t j = 0; j < height; ++j) {
        T* to = base + 2 * (k * block.plane + j * block.row);
        for (int64_t i = 0; i < 2 * block.padded; ++i)
          to[i] += across[k * height + j] * along[i] * values[2 * s + i % 2];
      }
    }
#else
    const hn::CappedTag<T, 64 / sizeof(T)> d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    const auto value = hn::OddEven(hn::Set(d, values[2 * s + 1]), hn::Set(d, values[2 * s]));
    for (int64_t i = 0; i < 2 * block.padded; i += lanes) {
      const auto part = hn::Mul(value, hn::LoadU(d, along + i));
      const T* weight = across;
      for (int64_t k = 0; k < depth; ++k) {
        T* to = base + 2 * k * block.plane + i;
        for (int64_t j = 0; j < height; ++j, to += 2 * block.row) {
          hn::StoreU(hn::MulAdd(hn::Set(d, *weight++), part, hn::LoadU(d, to)), d, to);
        }
      }
    }
#endif
    along += 2 * block.padded;
    across += height * depth;
  }
}

// HWY_EXPORT takes plain functions only.
void weights_float(const GriddingBlock<float>& block, float* along, float* across) {
  weights_of(block, along, across);
}
void weights_double(const GriddingBlock<double>& block, double* along, double* across) {
  weights_of(block, along, across);
}
void gather_float(const GriddingBlock<float>& block, const float* along, const float* across, const float* tile,
                  float* values) {
  gather_of(block, along, across, tile, values);
}
void gather_double(const GriddingBlock<double>& block, const double* along, const double* across, const double* tile,
                   double* values) {
  gather_of(block, along, across, tile, values);
}
void scatter_float(const GriddingBlock<float>& block, const float* along, const float* across, const float* values,
                   float* tile) {
  scatter_of(block, along, across, values, tile);
}
void scatter_double(const GriddingBlock<double>& block, const double* along, const double* across, const double* values,
                    double* tile) {
  scatter_of(block, along, across, values, tile);
}

}  // namespace monarch::operators::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace monarch::operators::kernels::cpu {

HWY_EXPORT(weights_float);
HWY_EXPORT(weights_double);
HWY_EXPORT(gather_float);
HWY_EXPORT(gather_double);
HWY_EXPORT(scatter_float);
HWY_EXPORT(scatter_double);

void gridding_weights(const GriddingBlock<float>& block, float* along, float* across) {
  HWY_DYNAMIC_DISPATCH(weights_float)(block, along, across);
}
void gridding_weights(const GriddingBlock<double>& block, double* along, double* across) {
  HWY_DYNAMIC_DISPATCH(weights_double)(block, along, across);
}
void gridding_gather(const GriddingBlock<float>& block, const float* along, const float* across, const float* tile,
                     float* values) {
  HWY_DYNAMIC_DISPATCH(gather_float)(block, along, across, tile, values);
}
void gridding_gather(const GriddingBlock<double>& block, const double* along, const double* across, const double* tile,
                     double* values) {
  HWY_DYNAMIC_DISPATCH(gather_double)(block, along, across, tile, values);
}
void gridding_scatter(const GriddingBlock<float>& block, const float* along, const float* across, const float* values,
                      float* tile) {
  HWY_DYNAMIC_DISPATCH(scatter_float)(block, along, across, values, tile);
}
void gridding_scatter(const GriddingBlock<double>& block, const double* along, const double* across,
                      const double* values, double* tile) {
  HWY_DYNAMIC_DISPATCH(scatter_double)(block, along, across, values, tile);
}

}  // namespace monarch::operators::kernels::cpu
#endif
