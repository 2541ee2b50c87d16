#pragma once
// The linear operator: the one abstraction that transforms, encoding models and solvers share.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace monarch::operators {

/// Shape, element type and device of the vectors on one side of an operator.
struct Space {
  std::vector<int64_t> shape;
  at::ScalarType dtype = at::kComplexFloat;
  at::Device device = at::kCPU;

  /// A device without an index ("cuda") equals any of its type ("cuda:0").
  bool operator==(const Space& other) const;
  int64_t numel() const;
  /// "complex64 [8, 256, 256] on cpu".
  std::string text() const;
};

/// NumPy's name of an element type: "complex64", "float32", "bool".
std::string dtype_text(at::ScalarType dtype);

/// Over which numbers an operator is linear. `real`: A(ax + by) = aAx + bAy for real a, b only (taking a real
/// part, say); its adjoint is the one of the real inner product Re<x, y>.
enum class Field { complex, real };

/// A linear map A between two spaces, with its adjoint A^H and normal operator A^H A.
///
/// Trailing dimensions of the argument must equal the space exactly; leading ones are batch dimensions. The public
/// functions check rank, extents, dtype and device and then call do_apply and its kin with exactly one batch
/// dimension in front. The result never shares memory with the argument.
/// They are differentiable: gradients flow through A^H (and on, for higher orders). The graph keeps an operator alive
/// that a shared_ptr owns; one on the stack must outlive it (backward throws BackendError otherwise).
/// Operators are immutable and hold no scratch, so one operator may serve many threads.
/// Throws ShapeError and DtypeError, naming the operator, what it expects and what it got.
class LinearOperator : public std::enable_shared_from_this<LinearOperator> {
 public:
  virtual ~LinearOperator() = default;

  /// y = A x. Shapes: [..., domain] -> [..., codomain].
  at::Tensor apply(const at::Tensor& x) const;
  /// x = A^H y. Shapes: [..., codomain] -> [..., domain].
  at::Tensor adjoint(const at::Tensor& y) const;
  /// A^H A x. Shapes: [..., domain] -> [..., domain].
  at::Tensor normal(const at::Tensor& x) const;

  const Space& domain() const { return domain_; }
  const Space& codomain() const { return codomain_; }
  Field field() const { return field_; }
  /// One line: name, parameters, shapes. Used in every error message.
  virtual std::string describe() const = 0;

 protected:
  /// Throws ShapeError for an extent below 1.
  LinearOperator(Space domain, Space codomain, Field field = Field::complex);

  /// x: [batch, domain], any strides, no lazy conjugation, batch >= 1. Returns [batch, codomain], which may be x
  /// itself. Never changes x.
  virtual at::Tensor do_apply(const at::Tensor& x) const = 0;
  /// y: [batch, codomain], likewise. Returns [batch, domain]. Never changes y.
  virtual at::Tensor do_adjoint(const at::Tensor& y) const = 0;
  /// x: [batch, domain]. Override where A^H A is cheaper than its two halves; the contract suite compares.
  virtual at::Tensor do_normal(const at::Tensor& x) const;

 private:
  enum class Action { apply, adjoint, normal };
  struct Holder;
  struct Differentiable;
  /// Expires with the operator; copies of an operator get one of their own.
  struct Life {
    Life() = default;
    Life(const Life&) {}
    Life& operator=(const Life&) { return *this; }
    std::shared_ptr<const char> token = std::make_shared<const char>();
  };

  at::Tensor run(Action action, const at::Tensor& x) const;
  at::Tensor run_checked(Action action, const at::Tensor& x) const;

  Life life_;
  Space domain_;
  Space codomain_;
  Field field_;
};

using OperatorPtr = std::shared_ptr<const LinearOperator>;

}  // namespace monarch::operators
