#pragma once
// Operators made of operators: `encode = sampling * fourier * coils`.

#include <complex>
#include <vector>

#include "monarch/operators/linear_operator.hpp"

namespace monarch::operators {

/// y = x.
class Identity final : public LinearOperator {
 public:
  explicit Identity(Space space);
  std::string describe() const override;

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override;
  at::Tensor do_adjoint(const at::Tensor& y) const override;
  at::Tensor do_normal(const at::Tensor& x) const override;
};

/// y = factor · A x; adjoint A^H (conj(factor) · y). Throws DtypeError for a factor with an imaginary part on a real
/// codomain.
class Scaled final : public LinearOperator {
 public:
  Scaled(std::complex<double> factor, OperatorPtr op);
  std::string describe() const override;

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override;
  at::Tensor do_adjoint(const at::Tensor& y) const override;
  at::Tensor do_normal(const at::Tensor& x) const override;

 private:
  std::complex<double> factor_;
  OperatorPtr op_;
};

/// y = d · x element by element; normal |d|² x.
class Diagonal final : public LinearOperator {
 public:
  /// d: real or complex, of the space's precision and device, broadcastable to the space's shape (weights [z, y, x]
  /// serve k-space [coil, z, y, x]). It is taken as a constant (no gradient) and must not be modified afterwards.
  /// Throws ShapeError and DtypeError.
  Diagonal(Space space, const at::Tensor& d);
  std::string describe() const override;

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override;
  at::Tensor do_adjoint(const at::Tensor& y) const override;
  at::Tensor do_normal(const at::Tensor& x) const override;

 private:
  at::Tensor d_;
  at::Tensor conjugate_;
  at::Tensor square_;
};

/// y = A B x; adjoint B^H A^H y; normal B^H (A^H A) B x with A's own shortcut.
class Product final : public LinearOperator {
 public:
  /// Throws ShapeError unless codomain(b) equals domain(a).
  Product(OperatorPtr a, OperatorPtr b);
  std::string describe() const override;

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override;
  at::Tensor do_adjoint(const at::Tensor& y) const override;
  at::Tensor do_normal(const at::Tensor& x) const override;

 private:
  OperatorPtr a_;
  OperatorPtr b_;
};

/// y = A x + B x.
class Sum final : public LinearOperator {
 public:
  /// Throws ShapeError unless both have the same domain and the same codomain.
  Sum(OperatorPtr a, OperatorPtr b);
  std::string describe() const override;

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override;
  at::Tensor do_adjoint(const at::Tensor& y) const override;

 private:
  OperatorPtr a_;
  OperatorPtr b_;
};

/// y_i = A_i x, stacked along a new leading axis: domain -> [operator, codomain]. Adjoint Σ_i A_i^H y_i; normal
/// Σ_i A_i^H A_i x with each one's own shortcut.
class Stack final : public LinearOperator {
 public:
  /// Throws ShapeError unless there is at least one operator, and all have the same domain and the same codomain.
  explicit Stack(std::vector<OperatorPtr> operators);
  std::string describe() const override;

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override;
  at::Tensor do_adjoint(const at::Tensor& y) const override;
  at::Tensor do_normal(const at::Tensor& x) const override;

 private:
  std::vector<OperatorPtr> operators_;
};

/// A^H as an operator. adjoint_of() makes one, and undoes one.
class Adjoint final : public LinearOperator {
 public:
  explicit Adjoint(OperatorPtr op);
  std::string describe() const override;
  const OperatorPtr& original() const { return op_; }

 protected:
  at::Tensor do_apply(const at::Tensor& x) const override;
  at::Tensor do_adjoint(const at::Tensor& y) const override;

 private:
  OperatorPtr op_;
};

/// The operators above, as formulas. Argument-dependent lookup finds them for any OperatorPtr. An empty pointer throws
/// ConfigError, here and in every constructor.
OperatorPtr operator*(const OperatorPtr& a, const OperatorPtr& b);
OperatorPtr operator*(std::complex<double> factor, const OperatorPtr& op);
OperatorPtr operator+(const OperatorPtr& a, const OperatorPtr& b);
/// A^H; the adjoint of an Adjoint is the original object.
OperatorPtr adjoint_of(const OperatorPtr& op);

}  // namespace monarch::operators
