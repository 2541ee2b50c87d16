// The constructions for Python: torch.ops.monarch.dense, project and dft (docs/python.md). C++ has the functions
// themselves, so nothing but the shared library needs this file.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/library.h>

#include <string_view>
#include <tuple>

#include "monarch/core/error.hpp"
#include "monarch/operators/monarch/projection.hpp"
#include "monarch/operators/monarch/transform.hpp"

namespace monarch::operators {
namespace {

using at::Tensor;

std::tuple<Tensor, Tensor, Tensor, double> project(const Tensor& a, at::IntArrayRef sizes) {
  check<ShapeError>(sizes.size() == 6, [&] {
    return fmt::format("project: expected sizes [k, q, p, l, s, r], got {} numbers", sizes.size());
  });
  const Projection p = monarch_project(a, {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]});
  return {p.factors.w1, p.factors.w2, p.spectrum, p.relative_error};
}

Normalisation normalisation_from(std::string_view name) {
  if (name == "none") return Normalisation::none;
  if (name == "inverse") return Normalisation::inverse;
  check<ConfigError>(
      name == "ortho", [&] { return fmt::format("dft: unknown normalisation '{}'", name); }, "none, ortho or inverse");
  return Normalisation::ortho;
}

std::tuple<Tensor, Tensor, Tensor> dft(int64_t n, bool inverse, bool centred, std::string_view normalisation,
                                       at::OptionalIntArrayRef sizes) {
  ConstructionOptions options;
  if (sizes) {
    check<ShapeError>(sizes->size() == 2, "dft: expected sizes [K, P]");
    options.sizes = {(*sizes)[0], (*sizes)[1]};
  }
  const auto f = monarch_dft(n, {inverse, centred, normalisation_from(normalisation)}, options);
  return {f.factors.w1, f.factors.w2, f.input.defined() ? f.input : at::arange(n, at::kLong)};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(monarch, library) {
  library.def("dense(Tensor w1, Tensor w2) -> Tensor", monarch_dense);
  library.def("project(Tensor a, int[] sizes) -> (Tensor w1, Tensor w2, Tensor spectrum, float relative_error)",
              project);
  library.def(
      "dft(int n, *, bool inverse=False, bool centred=False, str normalisation=\"ortho\", int[]? sizes=None) -> "
      "(Tensor w1, Tensor w2, Tensor input)",
      dft);
}

}  // namespace monarch::operators
