#include "monarch/operators/sampling.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::operators {

Sampling::Sampling(Space space, const at::Tensor& mask) : LinearOperator(space, space), mask_(mask) {
  check<ShapeError>(mask.defined(), "Sampling: the mask is an undefined tensor", "fill the tensor before");
  const auto found = [&] {
    return fmt::format("Sampling on {}: got a mask {} {} on {}", space.text(), dtype_text(mask.scalar_type()),
                       shape_text(mask.sizes()), mask.device().str());
  };
  const auto rank = static_cast<int64_t>(space.shape.size());
  bool fits = mask.dim() <= rank;
  for (int64_t a = 1; fits && a <= mask.dim(); ++a) {
    fits = mask.size(-a) == 1 || mask.size(-a) == space.shape[rank - a];
  }
  check<ShapeError>(fits, found, "each extent of the mask must be 1 or that of the space, aligned at the last axis");
  check<DtypeError>(mask.scalar_type() == at::kBool, found, "give a bool mask, such as mask != 0");
  check<DtypeError>(mask.device().type() == space.device.type(), found,
                    "move the mask to the space's device with to()");
  zero_ = at::zeros({}, at::TensorOptions().dtype(space.dtype).device(mask.device()));
}

std::string Sampling::describe() const {
  return fmt::format("Sampling(mask {}): {}", shape_text(mask_.sizes()), domain().text());
}
at::Tensor Sampling::do_apply(const at::Tensor& x) const { return at::where(mask_, x, zero_); }
at::Tensor Sampling::do_adjoint(const at::Tensor& y) const { return do_apply(y); }
at::Tensor Sampling::do_normal(const at::Tensor& x) const { return do_apply(x); }

}  // namespace monarch::operators
