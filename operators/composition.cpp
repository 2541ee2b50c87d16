#include "monarch/operators/composition.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::operators {
namespace {

/// The operator behind the pointer. Used for every argument of a base constructor, since their order is unspecified.
const LinearOperator& need(const OperatorPtr& op) {
  check<ConfigError>(op != nullptr, "an operator of a composition is an empty pointer", "make the operator first");
  return *op;
}

Field common_field(const LinearOperator& a, const LinearOperator& b) {
  return a.field() == Field::real || b.field() == Field::real ? Field::real : Field::complex;
}

std::string number_text(std::complex<double> z) {
  return z.imag() == 0 ? fmt::format("{}", z.real()) : fmt::format("({}{:+}i)", z.real(), z.imag());
}

at::Tensor scaled(const at::Tensor& x, std::complex<double> factor) {
  if (factor.imag() == 0) return x * factor.real();
  return x * c10::Scalar(c10::complex<double>(factor.real(), factor.imag()));
}

/// Domain and codomain of `sum` or `stack` parts must agree.
void check_parallel(const char* name, const LinearOperator& a, const LinearOperator& b) {
  check<ShapeError>(a.domain() == b.domain() && a.codomain() == b.codomain(),
                    [&] { return fmt::format("{}: its parts map {} -> {} and {} -> {}: {} and {}", name,
                                             a.domain().text(), a.codomain().text(), b.domain().text(),
                                             b.codomain().text(), a.describe(), b.describe()); },
                    "all parts need the same domain and the same codomain");
}

const std::vector<OperatorPtr>& check_stack(const std::vector<OperatorPtr>& operators) {
  check<ShapeError>(!operators.empty(), "Stack: no operator was given", "a stack has at least one");
  for (const auto& op : operators) check_parallel("Stack", need(operators[0]), need(op));
  return operators;
}

Space stacked_codomain(const std::vector<OperatorPtr>& operators) {
  Space space = operators[0]->codomain();
  space.shape.insert(space.shape.begin(), static_cast<int64_t>(operators.size()));
  return space;
}

Field stack_field(const std::vector<OperatorPtr>& operators) {
  return std::any_of(operators.begin(), operators.end(), [](const auto& op) { return op->field() == Field::real; })
             ? Field::real
             : Field::complex;
}

const LinearOperator& check_product(const OperatorPtr& a, const OperatorPtr& b) {
  check<ShapeError>(need(b).codomain() == need(a).domain(),
                    [&] { return fmt::format("Product: the right operator gives {}, the left one takes {}: {} * {}",
                                             b->codomain().text(), a->domain().text(), a->describe(),
                                             b->describe()); },
                    "the product applies the right operator first");
  return *b;
}

}  // namespace

// --- Identity

Identity::Identity(Space space) : LinearOperator(space, space) {}
std::string Identity::describe() const { return fmt::format("Identity: {}", domain().text()); }
at::Tensor Identity::do_apply(const at::Tensor& x) const { return x; }
at::Tensor Identity::do_adjoint(const at::Tensor& y) const { return y; }
at::Tensor Identity::do_normal(const at::Tensor& x) const { return x; }

// --- Scaled

Scaled::Scaled(std::complex<double> factor, OperatorPtr op)
    : LinearOperator(need(op).domain(), need(op).codomain(), need(op).field()), factor_(factor), op_(std::move(op)) {
  check<DtypeError>(factor.imag() == 0 || at::isComplexType(codomain().dtype),
                    [&] { return fmt::format("Scaled: the factor {} is complex, the codomain is {}",
                                             number_text(factor), codomain().text()); },
                    "a real codomain takes real factors");
}

std::string Scaled::describe() const { return fmt::format("{} * {}", number_text(factor_), op_->describe()); }
at::Tensor Scaled::do_apply(const at::Tensor& x) const { return scaled(op_->apply(x), factor_); }
at::Tensor Scaled::do_adjoint(const at::Tensor& y) const { return op_->adjoint(scaled(y, std::conj(factor_))); }
at::Tensor Scaled::do_normal(const at::Tensor& x) const { return op_->normal(x) * std::norm(factor_); }

// --- Diagonal

Diagonal::Diagonal(Space space, const at::Tensor& d) : LinearOperator(space, space) {
  check<ShapeError>(d.defined(), "Diagonal: the diagonal is an undefined tensor", "fill the tensor before");
  const auto found = [&] {
    return fmt::format("Diagonal on {}: got a diagonal {} {} on {}", space.text(), dtype_text(d.scalar_type()),
                       shape_text(d.sizes()), d.device().str());
  };
  const auto rank = static_cast<int64_t>(space.shape.size());
  bool fits = d.dim() <= rank;
  for (int64_t a = 1; fits && a <= d.dim(); ++a) fits = d.size(-a) == 1 || d.size(-a) == space.shape[rank - a];
  check<ShapeError>(fits, found, "its shape must be broadcastable to the space's, aligned at the last axis");
  check<DtypeError>(d.scalar_type() == space.dtype ||
                        (at::isComplexType(space.dtype) && d.scalar_type() == at::toRealValueType(space.dtype)),
                    found, "use the space's element type, or the real type of its precision");
  check<DtypeError>(d.device().type() == space.device.type(), found, "move it to the space's device with to()");
  // In the space's own type: ATen would convert a real factor again in every call.
  d_ = d.detach().resolve_conj().resolve_neg().to(space.dtype);
  conjugate_ = d.is_complex() ? at::conj_physical(d_) : d_;
  square_ = d_ * conjugate_;
}

std::string Diagonal::describe() const {
  return fmt::format("Diagonal({}): {}", shape_text(d_.sizes()), domain().text());
}
at::Tensor Diagonal::do_apply(const at::Tensor& x) const { return x * d_; }
at::Tensor Diagonal::do_adjoint(const at::Tensor& y) const { return y * conjugate_; }
at::Tensor Diagonal::do_normal(const at::Tensor& x) const { return x * square_; }

// --- Product

Product::Product(OperatorPtr a, OperatorPtr b)
    : LinearOperator(check_product(a, b).domain(), need(a).codomain(), common_field(need(a), need(b))),
      a_(std::move(a)), b_(std::move(b)) {}

std::string Product::describe() const { return fmt::format("({}) * ({})", a_->describe(), b_->describe()); }
at::Tensor Product::do_apply(const at::Tensor& x) const { return a_->apply(b_->apply(x)); }
at::Tensor Product::do_adjoint(const at::Tensor& y) const { return b_->adjoint(a_->adjoint(y)); }
at::Tensor Product::do_normal(const at::Tensor& x) const { return b_->adjoint(a_->normal(b_->apply(x))); }

// --- Sum

Sum::Sum(OperatorPtr a, OperatorPtr b)
    : LinearOperator(need(a).domain(), need(a).codomain(), common_field(need(a), need(b))), a_(std::move(a)),
      b_(std::move(b)) {
  check_parallel("Sum", *a_, *b_);
}

std::string Sum::describe() const { return fmt::format("({}) + ({})", a_->describe(), b_->describe()); }
at::Tensor Sum::do_apply(const at::Tensor& x) const { return a_->apply(x).add_(b_->apply(x)); }
at::Tensor Sum::do_adjoint(const at::Tensor& y) const { return a_->adjoint(y).add_(b_->adjoint(y)); }

// --- Stack

Stack::Stack(std::vector<OperatorPtr> operators)
    : LinearOperator(check_stack(operators)[0]->domain(), stacked_codomain(check_stack(operators)),
                     stack_field(check_stack(operators))),
      operators_(std::move(operators)) {}

std::string Stack::describe() const {
  std::string parts;
  for (const auto& op : operators_) parts += (parts.empty() ? "" : "; ") + op->describe();
  return fmt::format("Stack({})", parts);
}

at::Tensor Stack::do_apply(const at::Tensor& x) const {
  std::vector<at::Tensor> parts;
  for (const auto& op : operators_) parts.push_back(op->apply(x));
  return at::stack(parts, 1);
}

at::Tensor Stack::do_adjoint(const at::Tensor& y) const {
  at::Tensor sum = operators_[0]->adjoint(y.select(1, 0));
  for (size_t i = 1; i < operators_.size(); ++i) sum.add_(operators_[i]->adjoint(y.select(1, static_cast<int64_t>(i))));
  return sum;
}

at::Tensor Stack::do_normal(const at::Tensor& x) const {
  at::Tensor sum = operators_[0]->normal(x);
  for (size_t i = 1; i < operators_.size(); ++i) sum.add_(operators_[i]->normal(x));
  return sum;
}

// --- Adjoint

Adjoint::Adjoint(OperatorPtr op)
    : LinearOperator(need(op).codomain(), need(op).domain(), need(op).field()), op_(std::move(op)) {}

std::string Adjoint::describe() const { return fmt::format("Adjoint of ({})", op_->describe()); }
at::Tensor Adjoint::do_apply(const at::Tensor& x) const { return op_->adjoint(x); }
at::Tensor Adjoint::do_adjoint(const at::Tensor& y) const { return op_->apply(y); }

// --- Formulas

OperatorPtr operator*(const OperatorPtr& a, const OperatorPtr& b) { return std::make_shared<Product>(a, b); }
OperatorPtr operator*(std::complex<double> factor, const OperatorPtr& op) {
  return std::make_shared<Scaled>(factor, op);
}
OperatorPtr operator+(const OperatorPtr& a, const OperatorPtr& b) { return std::make_shared<Sum>(a, b); }

OperatorPtr adjoint_of(const OperatorPtr& op) {
  need(op);
  if (const auto adjoint = std::dynamic_pointer_cast<const Adjoint>(op)) return adjoint->original();
  return std::make_shared<Adjoint>(op);
}

}  // namespace monarch::operators
