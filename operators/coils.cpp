#include "monarch/operators/coils.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::operators {
namespace {

/// The space [maps.size(front), z, y, x].
Space space_of(const at::Tensor& maps, int64_t front) {
  check<ShapeError>(maps.defined(), "CoilSensitivities: the maps are an undefined tensor", "fill the tensor before");
  const auto found = [&] {
    return fmt::format("CoilSensitivities: expected maps [map, coil, z, y, x], got {} {}",
                       dtype_text(maps.scalar_type()), shape_text(maps.sizes()));
  };
  check<ShapeError>(maps.dim() == 5, found, "add axes of extent 1 with unsqueeze(), also for one map or one plane");
  check<DtypeError>(maps.scalar_type() == at::kComplexFloat || maps.scalar_type() == at::kComplexDouble, found,
                    "sensitivities are complex64 or complex128");
  return {{maps.size(front), maps.size(2), maps.size(3), maps.size(4)}, maps.scalar_type(), maps.device()};
}

}  // namespace

CoilSensitivities::CoilSensitivities(const at::Tensor& maps)
    : LinearOperator(space_of(maps, 0), space_of(maps, 1)), maps_(maps.detach().resolve_conj()) {}

std::string CoilSensitivities::describe() const {
  return fmt::format("CoilSensitivities(maps {}): {} -> {}", shape_text(maps_.sizes()), domain().text(),
                     codomain().text());
}

at::Tensor CoilSensitivities::do_apply(const at::Tensor& x) const {
  at::Tensor y = maps_[0] * x.narrow(1, 0, 1);  // [batch, coil, z, y, x]
  for (int64_t m = 1; m < maps_.size(0); ++m) y.addcmul_(maps_[m], x.narrow(1, m, 1));
  return y;
}

at::Tensor CoilSensitivities::do_adjoint(const at::Tensor& y) const {
  std::vector<at::Tensor> images;
  for (int64_t m = 0; m < maps_.size(0); ++m) {
    at::Tensor sum;
    for (int64_t c = 0; c < maps_.size(1); ++c) {
      // Coil by coil, so that the conjugate is made in cache and never for all coils.
      const at::Tensor conjugate = at::conj_physical(maps_[m][c]), coil = y.select(1, c);
      if (c == 0) {
        sum = conjugate * coil;
      } else {
        sum.addcmul_(conjugate, coil);
      }
    }
    images.push_back(sum);
  }
  return at::stack(images, 1);
}

}  // namespace monarch::operators
