#include "monarch/mri/coil_compression.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/mri/arrays.hpp"

namespace monarch::mri {
namespace {

struct Spectrum {
  at::Tensor share;    // [coil] descending
  at::Tensor vectors;  // [coil, component] descending
};

Spectrum spectrum(const at::Tensor& data) {
  check<ShapeError>(data.defined() && data.dim() >= 2 && data.numel() > 0, [&] {
    return fmt::format("coil compression: expected data [coil, ...], found {}",
                       data.defined() ? shape_text(data.sizes()) : "nothing");
  });
  check<DtypeError>(data.scalar_type() == at::kComplexFloat && data.device().is_cpu(), [&] {
    return fmt::format("coil compression: expected complex64 on cpu, found {}", c10::toString(data.scalar_type()));
  });
  check_finite(data, "coil compression data [coil, ...]");
  const auto [values, vectors] = coil_spectrum(data);
  const double total = values.sum().item<double>();
  check<DataError>(total > 0, "coil compression: the data hold no signal (all zero)");
  return {values.flip(0).clamp_min(0) / total, vectors.flip(1)};
}

CoilCompression keep(const Spectrum& s, int64_t count) {
  CoilCompression result;
  result.matrix = s.vectors.narrow(1, 0, count).mH().to(at::kComplexFloat).contiguous();
  result.energy = s.share;
  result.kept_energy = s.share.narrow(0, 0, count).sum().item<double>();
  return result;
}

}  // namespace

CoilCompression compress_coils(const at::Tensor& data, int64_t virtual_coils) {
  const Spectrum s = spectrum(data);
  check<ConfigError>(virtual_coils >= 1 && virtual_coils <= data.size(0), [&] {
    return fmt::format("coil compression: {} virtual coils asked for, the scan has {} coils", virtual_coils,
                       data.size(0));
  });
  return keep(s, virtual_coils);
}

CoilCompression compress_coils_by_energy(const at::Tensor& data, double energy) {
  check<ConfigError>(energy > 0 && energy <= 1, [&] {
    return fmt::format("coil compression: the share of energy kept must be in (0, 1], found {}", energy);
  });
  const Spectrum s = spectrum(data);
  // A share of 1 must not hang on the rounding of the sum.
  const at::Tensor enough = s.share.cumsum(0) >= energy - 1e-12;
  const int64_t count = s.share.numel() - enough.sum().item<int64_t>() + 1;
  return keep(s, std::min(count, s.share.numel()));
}

}  // namespace monarch::mri
