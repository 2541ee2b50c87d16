#include "monarch/operators/linear_operator.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::operators {
namespace {

const char* const batch_hint = "leading dimensions are batch, the trailing ones must equal the operator's exactly";

std::string found_text(const at::Tensor& x) {
  return fmt::format("{} {} on {}", dtype_text(x.scalar_type()), shape_text(x.sizes()), x.device().str());
}

bool same_device(const at::Device& a, const at::Device& b) {
  return a.type() == b.type() && (!a.has_index() || !b.has_index() || a.index() == b.index());
}

/// Checks [..., space] in the order rank, extents, dtype, device.
void check_argument(const LinearOperator& op, const char* action, const Space& space, const at::Tensor& x) {
  const auto message = [&] {
    return fmt::format("{}: {} expected {} (after any batch dimensions), got {}", op.describe(), action, space.text(),
                       found_text(x));
  };
  check<ShapeError>(x.defined(),
                    [&] { return fmt::format("{}: {} got an undefined tensor, expected {}", op.describe(), action,
                                             space.text()); },
                    "fill the tensor before");
  const auto rank = static_cast<int64_t>(space.shape.size());
  check<ShapeError>(x.dim() >= rank, message, fmt::format("at least {} dimensions are needed; {}", rank, batch_hint));
  check<ShapeError>(std::equal(space.shape.begin(), space.shape.end(), x.sizes().end() - rank), message, batch_hint);
  check<DtypeError>(x.scalar_type() == space.dtype, message, "convert it with to(), or make the operator for its type");
  check<DtypeError>(same_device(space.device, x.device()), message, "move it to the operator's device with to()");
  check<DtypeError>(x.layout() == at::kStrided, message, "only dense tensors are taken: use to_dense()");
}

std::vector<int64_t> with_front(at::IntArrayRef front, const std::vector<int64_t>& shape) {
  std::vector<int64_t> all(front.begin(), front.end());
  all.insert(all.end(), shape.begin(), shape.end());
  return all;
}

}  // namespace

std::string dtype_text(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat: return "float32";
    case at::kDouble: return "float64";
    case at::kComplexFloat: return "complex64";
    case at::kComplexDouble: return "complex128";
    case at::kBool: return "bool";
    case at::kByte: return "uint8";
    case at::kShort: return "int16";
    case at::kInt: return "int32";
    case at::kLong: return "int64";
    case at::kHalf: return "float16";
    case at::kBFloat16: return "bfloat16";
    default: return at::toString(dtype);
  }
}

bool Space::operator==(const Space& other) const {
  return shape == other.shape && dtype == other.dtype && same_device(device, other.device);
}

int64_t Space::numel() const { return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()); }

std::string Space::text() const {
  return fmt::format("{} {} on {}", dtype_text(dtype), shape_text(shape), device.str());
}

/// What a graph remembers of an operator.
struct LinearOperator::Holder : torch::CustomClassHolder {
  std::shared_ptr<const LinearOperator> shared;  // null where no shared_ptr owns the operator
  const LinearOperator* plain = nullptr;
  std::weak_ptr<const char> life;
  Action action = Action::apply;

  const LinearOperator& get() const {
    check<BackendError>(!life.expired(), "backward through a linear operator that no longer exists",
                        "make the operator with std::make_shared, so that the graph keeps it");
    return *plain;
  }
};

/// y = A x as a node of the graph. For real-linear operators, too, PyTorch's gradient is the adjoint of Re<x, y>.
struct LinearOperator::Differentiable : torch::autograd::Function<Differentiable> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                                                const LinearOperator* op, Action action) {
    auto holder = c10::make_intrusive<Holder>();
    holder->shared = op->weak_from_this().lock();
    holder->plain = op;
    holder->life = op->life_.token;
    holder->action = action;
    context->saved_data["operator"] = c10::IValue::make_capsule(holder);
    return {op->run_checked(action, x)};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto capsule = context->saved_data["operator"].toCapsule();
    const auto& holder = static_cast<const Holder&>(*capsule);
    const LinearOperator& op = holder.get();
    at::Tensor gradient;
    switch (holder.action) {
      case Action::apply: gradient = op.adjoint(gradients[0]); break;
      case Action::adjoint: gradient = op.apply(gradients[0]); break;
      case Action::normal: gradient = op.normal(gradients[0]); break;
    }
    return {gradient, at::Tensor(), at::Tensor()};
  }
};

LinearOperator::LinearOperator(Space domain, Space codomain, Field field)
    : domain_(std::move(domain)), codomain_(std::move(codomain)), field_(field) {
  for (const Space* space : {&domain_, &codomain_}) {
    check<ShapeError>(std::all_of(space->shape.begin(), space->shape.end(), [](int64_t n) { return n >= 1; }),
                      [&] { return fmt::format("a linear operator {} -> {} has an extent below 1", domain_.text(),
                                               codomain_.text()); },
                      "every axis needs at least one sample");
  }
}

at::Tensor LinearOperator::do_normal(const at::Tensor& x) const { return do_adjoint(do_apply(x)); }

at::Tensor LinearOperator::apply(const at::Tensor& x) const { return run(Action::apply, x); }
at::Tensor LinearOperator::adjoint(const at::Tensor& y) const { return run(Action::adjoint, y); }
at::Tensor LinearOperator::normal(const at::Tensor& x) const { return run(Action::normal, x); }

at::Tensor LinearOperator::run(Action action, const at::Tensor& x) const {
  const char* const names[] = {"apply", "adjoint", "normal"};
  check_argument(*this, names[static_cast<int>(action)], action == Action::adjoint ? codomain_ : domain_, x);
  if (at::GradMode::is_enabled() && x.requires_grad()) return Differentiable::apply(x, this, action)[0];
  return run_checked(action, x);
}

at::Tensor LinearOperator::run_checked(Action action, const at::Tensor& x) const {
  const Space& from = action == Action::adjoint ? codomain_ : domain_;
  const Space& to = action == Action::apply ? codomain_ : domain_;
  const at::IntArrayRef front = x.sizes().slice(0, x.dim() - from.shape.size());
  const int64_t batch = std::accumulate(front.begin(), front.end(), int64_t{1}, std::multiplies<>());
  const std::vector<int64_t> shape = with_front(front, to.shape);
  if (batch == 0) return at::empty(shape, x.options().dtype(to.dtype));

  const at::Tensor flat = x.resolve_conj().resolve_neg().reshape(with_front({batch}, from.shape));
  at::Tensor result;
  switch (action) {
    case Action::apply: result = do_apply(flat); break;
    case Action::adjoint: result = do_adjoint(flat); break;
    case Action::normal: result = do_normal(flat); break;
  }
  const std::vector<int64_t> expected = with_front({batch}, to.shape);
  check<ShapeError>(result.defined() && result.sizes().equals(expected) && result.scalar_type() == to.dtype,
                    [&] { return fmt::format("{}: its implementation returned {}, expected {} {}", describe(),
                                             result.defined() ? found_text(result) : "an undefined tensor",
                                             dtype_text(to.dtype), shape_text(expected)); },
                    "this is a defect of the operator, not of the call");
  if (result.is_alias_of(x)) result = result.clone();
  return result.reshape(shape);
}

}  // namespace monarch::operators
