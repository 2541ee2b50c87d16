#include "monarch/operators/nn/plane_transform.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <map>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/fourier.hpp"
#include "monarch/operators/monarch/columns.hpp"

namespace monarch::operators {
namespace {

constexpr TransformOptions kInverse{.inverse = true, .centred = true, .normalisation = Normalisation::ortho};

/// {K, P} of an axis; a prime one takes one dense block.
std::array<int64_t, 2> split(int64_t n) {
  for (int64_t k = 2; k * k <= n; ++k)
    if (n % k == 0) return monarch_split(n);
  return {1, n};
}

TransformFactors exact_factors(int64_t n, int64_t image) {
  TransformFactors f = monarch_dft(n, kInverse, {.sizes = split(n), .precision = at::kFloat});
  if (image < n) {
    std::vector<int64_t> wanted = first_indices(image);
    for (int64_t& i : wanted) i += n / 2 - image / 2;
    f = monarch_keep_outputs(f, wanted);
  }
  return f;
}

at::Tensor exact_matrix(int64_t n) {
  return fourier_transform(at::eye(n, at::kComplexDouble), {0}, kInverse);
}

at::Tensor members(const at::Tensor& t, int64_t count) {
  std::vector<int64_t> repeats(static_cast<size_t>(t.dim()) + 1, 1);
  repeats[0] = count;
  return t.unsqueeze(0).repeat(repeats);
}

at::Tensor centre_padded(const at::Tensor& x, int64_t dim, int64_t n) {
  const int64_t kept = x.size(dim), before = n / 2 - kept / 2;
  if (kept == n) return x;
  std::vector<int64_t> pad(2 * static_cast<size_t>(x.dim() - dim), 0);
  pad[pad.size() - 2] = before;
  pad[pad.size() - 1] = n - kept - before;
  return at::constant_pad_nd(x, pad);
}

at::Tensor centre_cropped(const at::Tensor& x, int64_t dim, int64_t kept) {
  const int64_t n = x.size(dim);
  return kept == n ? x : x.narrow(dim, n / 2 - kept / 2, kept);
}

/// The input order of monarch_dft along an axis, [outer, n/outer] -> [n/outer, outer]. A strided copy moves whole runs
/// where a gather and its gradient go number by number.
at::Tensor regrouped(const at::Tensor& x, int64_t dim, int64_t outer) {
  return x.unflatten(dim, {outer, x.size(dim) / outer}).transpose(dim, dim + 1).flatten(dim, dim + 1);
}

/// Fourier over one axis of any tensor, differentiable: FFTW through an operator on [n, the rest].
class AxisFourier final : public torch::autograd::Function<AxisFourier> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const std::vector<int64_t>& axes, bool inverse) {
    context->saved_data["axes"] = axes;
    context->saved_data["inverse"] = inverse;
    TransformOptions options = kInverse;
    options.inverse = inverse;
    return fourier_transform(x, axes, options);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto axes = context->saved_data["axes"].toIntVector();
    const bool inverse = context->saved_data["inverse"].toBool();
    return {AxisFourier::apply(gradients[0], axes, !inverse), at::Tensor(), at::Tensor()};
  }
};

at::Tensor fourier(const at::Tensor& x, std::vector<int64_t> axes, bool inverse) {
  return AxisFourier::apply(x, axes, inverse);
}

}  // namespace

at::Tensor plane_fourier(const at::Tensor& x, bool inverse) {
  return fourier(x, {x.dim() - 2, x.dim() - 1}, inverse);
}

PlaneTransform::PlaneTransform(int64_t ny, int64_t nx, PlaneOptions options)
    : ny_(ny), nx_(nx), options_(std::move(options)) {
  check<ShapeError>(ny >= 1 && nx >= 1, [&] { return fmt::format("a transform of planes of {} × {}", ny, nx); });
  check<ShapeError>(!options_.tied_axes || ny == nx,
                    [&] { return fmt::format("tied axes need planes as high as wide, these are {} × {}", ny, nx); });
  check<ShapeError>(options_.sets >= 1 && options_.coils >= 0,
                    [&] { return fmt::format("a transform of {} sets and {} coils", options_.sets, options_.coils); });
  const std::array<int64_t, 2> image = options_.image.value_or(std::array<int64_t, 2>{ny, nx});
  check<ShapeError>(image[0] >= 1 && image[0] <= ny && image[1] >= 1 && image[1] <= nx, [&] {
    return fmt::format("an image of {} × {} from planes of {} × {}", image[0], image[1], ny, nx);
  });
  y_ = make_axis("y", ny, image[0]);
  if (!options_.tied_axes) x_ = make_axis("x", nx, image[1]);
}

PlaneTransform::Axis PlaneTransform::make_axis(const std::string& name, int64_t n, int64_t image) {
  Axis axis{.n = n, .image = image, .layout = {}, .w1 = {}, .w2 = {}, .weight = {}};
  const int64_t count = options_.sets * std::max<int64_t>(options_.coils, 1);
  auto module = std::make_shared<torch::nn::Module>(name);
  if (options_.kind == PlaneKind::monarch) {
    axis.layout = exact_factors(n, image);
    axis.w1 = module->register_parameter("w1", members(axis.layout.factors.w1, count));
    axis.w2 = module->register_parameter("w2", members(axis.layout.factors.w2, count));
    axis.layout.factors = {};
    axis.layout.input = at::Tensor();  // regrouped()
  } else if (options_.kind == PlaneKind::dense) {
    const at::Tensor exact = centre_cropped(exact_matrix(n), 0, image).to(at::kComplexFloat);
    axis.weight = module->register_parameter("weight", members(exact, count));
  } else if (options_.kind == PlaneKind::weights) {
    axis.weight = module->register_parameter("weight", at::ones({count, n}));
  }
  if (options_.kind != PlaneKind::fourier) register_module(name, module);
  return axis;
}

TransformFactors PlaneTransform::factors(const Axis& axis, int64_t member) const {
  TransformFactors f = axis.layout;
  f.factors = {axis.w1[member], axis.w2[member]};
  if (f.output.defined()) f.output = f.output.to(axis.w1.device());
  return f;
}

/// One axis of [batch, coil, y, x].
at::Tensor PlaneTransform::along(const Axis& axis, const at::Tensor& x, int64_t dim, int64_t member,
                                 Direction direction) const {
  const bool inverse = direction == Direction::inverse;
  if (options_.kind == PlaneKind::fourier || options_.kind == PlaneKind::weights) {
    std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
    shape[static_cast<size_t>(dim)] = axis.n;
    const auto weighted = [&](const at::Tensor& t) {
      return axis.weight.defined() ? t * axis.weight[member].view(shape) : t;
    };
    if (!inverse)
      return weighted(fourier(centre_padded(centre_cropped(x, dim, axis.image), dim, axis.n), {dim}, false));
    return centre_padded(centre_cropped(fourier(weighted(x), {dim}, true), dim, axis.image), dim, axis.n);
  }
  const at::Tensor given = inverse ? x : centre_cropped(x, dim, axis.image);
  at::Tensor result;
  if (options_.kind == PlaneKind::dense) {
    const at::Tensor& g = axis.weight;
    const at::Tensor rows = given.transpose(dim, -1);
    result = at::matmul(rows, inverse ? g[member].transpose(0, 1) : g[member].conj()).transpose(dim, -1);
  } else {
    const bool columns = dim == 2 && axis.image == axis.n && !axis.layout.output.defined();
    if (columns) {
      const at::Tensor w1 = axis.w1[member], w2 = axis.w2[member], planes = x.flatten(0, 1);
      const auto adjoint = [](const at::Tensor& w) { return w.conj().transpose(1, 2); };
      return (inverse ? monarch_columns(planes, w1, w2) : monarch_columns(planes, adjoint(w2), adjoint(w1))).view_as(x);
    }
    const TransformFactors f = factors(axis, member);
    const int64_t k = f.factors.w1.size(0);
    if (inverse) {
      const at::Tensor rows = regrouped(given, dim, axis.n / k).transpose(dim, -1);
      result = transform_multiply(rows.contiguous(), f).transpose(dim, -1);
    } else {
      const at::Tensor rows = given.transpose(dim, -1);
      result = regrouped(transform_adjoint(rows.contiguous(), f).transpose(dim, -1), dim, k);
    }
  }
  return inverse ? centre_padded(result, dim, axis.n) : result;
}

at::Tensor PlaneTransform::run_set(const at::Tensor& planes, int64_t set, Direction direction) const {
  if (options_.kind == PlaneKind::fourier && !options_.image)
    return plane_fourier(planes, direction == Direction::inverse);
  const auto member = [&](int64_t coil) { return set * std::max<int64_t>(options_.coils, 1) + coil; };
  if (options_.coils == 0) {
    return along(axis(0), along(axis(1), planes, 3, member(0), direction), 2, member(0), direction);
  }
  std::vector<at::Tensor> coils;
  for (int64_t c = 0; c < options_.coils; ++c) {
    const at::Tensor plane = planes.narrow(1, c, 1);
    coils.push_back(along(axis(0), along(axis(1), plane, 3, member(c), direction), 2, member(c), direction));
  }
  return at::cat(coils, 1);
}

void PlaneTransform::check_planes(const at::Tensor& planes, const std::vector<int64_t>& sets) const {
  check<ShapeError>(planes.dim() == 4 && planes.size(2) == ny_ && planes.size(3) == nx_, [&] {
    return fmt::format("the transform of planes takes [batch, coil, {}, {}], found {}", ny_, nx_,
                       shape_text(planes.sizes()));
  });
  check<ShapeError>(options_.coils == 0 || planes.size(1) == options_.coils, [&] {
    return fmt::format("the transform has weights for {} coils, the data have {}", options_.coils, planes.size(1));
  });
  check<ShapeError>(sets.empty() || static_cast<int64_t>(sets.size()) == planes.size(0),
                    [&] { return fmt::format("{} set numbers for a batch of {}", sets.size(), planes.size(0)); });
  for (const int64_t set : sets) {
    check<ShapeError>(set >= 0 && (set < options_.sets || options_.sets == 1), [&] {
      return fmt::format("the transform has weights for {} contrasts, the data have contrast {}", options_.sets, set);
    });
  }
}

at::Tensor PlaneTransform::run(const at::Tensor& planes, const std::vector<int64_t>& sets, Direction direction) const {
  check_planes(planes, sets);
  std::map<int64_t, std::vector<int64_t>> places;  // of each set in the batch
  for (size_t i = 0; i < sets.size(); ++i) places[sets[i]].push_back(static_cast<int64_t>(i));
  if (options_.sets == 1 || places.size() <= 1) {
    return run_set(planes, options_.sets == 1 || sets.empty() ? 0 : sets[0], direction);
  }
  std::vector<at::Tensor> parts(sets.size());
  for (const auto& [set, where] : places) {
    const at::Tensor some = run_set(planes.index_select(0, at::tensor(where)), set, direction);
    for (size_t i = 0; i < where.size(); ++i) parts[static_cast<size_t>(where[i])] = some[static_cast<int64_t>(i)];
  }
  return at::stack(parts);
}

at::Tensor PlaneTransform::inverse(const at::Tensor& kspace, const std::vector<int64_t>& sets) const {
  return run(kspace, sets, Direction::inverse);
}

at::Tensor PlaneTransform::inverse_adjoint(const at::Tensor& image, const std::vector<int64_t>& sets) const {
  return run(image, sets, Direction::adjoint);
}

at::Tensor PlaneTransform::matrix(int64_t which, int64_t set, int64_t coil) const {
  const Axis& a = axis(which);
  const int64_t member = set * std::max<int64_t>(options_.coils, 1) + coil;
  const at::Tensor identity = at::eye(a.n, at::kComplexFloat).view({1, 1, a.n, a.n});
  return along(a, identity, 2, member, Direction::inverse).view({a.n, a.n});
}

at::Tensor PlaneTransform::inverse_diagonal(const at::Tensor& kspace, const std::vector<int64_t>& sets) const {
  check_planes(kspace, sets);
  std::vector<at::Tensor> planes;
  const TransformOptions forward{.inverse = false, .centred = true, .normalisation = Normalisation::ortho};
  const auto diagonal = [&](int64_t which, int64_t set, int64_t coil) {
    return fourier_transform(matrix(which, set, coil).detach(), {0}, forward).diagonal();
  };
  for (int64_t b = 0; b < kspace.size(0); ++b) {
    const int64_t set = options_.sets == 1 || sets.empty() ? 0 : sets[static_cast<size_t>(b)];
    std::vector<at::Tensor> weights;
    for (int64_t c = 0; c < std::max<int64_t>(options_.coils, 1); ++c)
      weights.push_back(at::outer(diagonal(0, set, c), diagonal(1, set, c)));
    planes.push_back(kspace[b] * at::stack(weights));
  }
  return plane_fourier(at::stack(planes), true);
}

double PlaneTransform::macs() const {
  const double ny = static_cast<double>(ny_), nx = static_cast<double>(nx_);
  double total = 0;
  for (const int64_t which : {0, 1}) {
    const Axis& a = axis(which);
    const double lines = which == 0 ? nx : ny;
    if (options_.kind == PlaneKind::monarch) {
      total += 4 * lines * static_cast<double>(a.w1[0].numel() + a.w2[0].numel());
    } else if (options_.kind == PlaneKind::dense) {
      total += 4 * lines * static_cast<double>(a.weight[0].numel());
    } else {
      total += 2.5 * ny * nx * std::log2(static_cast<double>(a.n)) + (a.weight.defined() ? 2 * ny * nx : 0);
    }
  }
  return total;
}

std::string PlaneTransform::describe() const {
  const auto text = [&](const Axis& a) {
    if (options_.kind != PlaneKind::monarch) return std::to_string(a.n);
    return fmt::format("{} = {} · {}", a.n, a.w1.size(1), a.w2.size(1));
  };
  const std::string kind = options_.kind == PlaneKind::fourier   ? "Fourier"
                           : options_.kind == PlaneKind::monarch ? "Monarch"
                           : options_.kind == PlaneKind::dense   ? "dense"
                                                                 : "weighted Fourier";
  return fmt::format("{} {} by {}", kind, text(axis(0)), text(axis(1)));
}

}  // namespace monarch::operators
