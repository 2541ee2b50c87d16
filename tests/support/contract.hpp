#pragma once
// The laws that every linear operator keeps, as functions that any test may call.

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "monarch/operators/linear_operator.hpp"

namespace monarch::test {

/// Each checker returns "" where the law holds, else one line with what was measured and what was allowed.
/// Vectors are random, from a fixed seed. Tolerances are `tolerance(dtype, n)` of the larger side, relative to the
/// norms of what is compared; NaN and infinity never pass.
using Checker = std::string (*)(const operators::LinearOperator& op);

/// A(ax + by) = a Ax + b Ay and the same for the adjoint; a and b are complex where field() says so.
std::string check_linearity(const operators::LinearOperator& op);
/// <Ax, y> = <x, A^H y>, relative to |Ax||y|; the real part alone where field() is real.
std::string check_dot(const operators::LinearOperator& op);
/// A^H A x = A^H (A x).
std::string check_normal(const operators::LinearOperator& op);
/// The matrix of the adjoint is the transpose of the operator's; passes unchecked where the matrix has more than 10^6
/// elements.
std::string check_dense_adjoint(const operators::LinearOperator& op);
/// A batch [2, 3, ...] gives what its entries give one by one; an empty batch gives an empty one.
std::string check_batch(const operators::LinearOperator& op);
/// A wrong rank or extent throws ShapeError, a wrong dtype or device throws DtypeError, and the message holds what was
/// expected and what was found.
std::string check_refusals(const operators::LinearOperator& op);
/// The result does not depend on what its memory held before. On the CPU only.
std::string check_overwriting(const operators::LinearOperator& op);
/// Transposed, strided, expanded and lazily conjugated arguments give what contiguous copies give.
std::string check_strides(const operators::LinearOperator& op);
/// The argument is as it was, and the result does not share its memory.
std::string check_argument_unchanged(const operators::LinearOperator& op);
/// First and second derivatives of a quartic of apply, adjoint and normal equal finite differences, whose formula is
/// exact for polynomials of that degree.
std::string check_gradient(const operators::LinearOperator& op);
/// Four threads that share the operator get what one gets. On the CPU only.
std::string check_threads(const operators::LinearOperator& op);
/// describe() is one line that holds the shape of the domain or of the codomain.
std::string check_description(const operators::LinearOperator& op);

struct Law {
  const char* name;
  Checker check;
};

/// All of the above.
const std::vector<Law>& contract();

/// "law: finding" for each law that does not hold. An exception out of the operator is a finding.
std::vector<std::string> contract_violations(const operators::LinearOperator& op);

/// The operator as a real matrix [rows, columns] in float64 on the CPU; a complex vector counts as its (re, im) pairs.
at::Tensor dense_matrix(const operators::LinearOperator& op);
/// The adjoint's matrix, made by adjoint().
at::Tensor dense_adjoint_matrix(const operators::LinearOperator& op);

/// A random vector of a space, with batch dimensions in front.
at::Tensor random_vector(const operators::Space& space, const std::string& stream, std::vector<int64_t> batch = {});

}  // namespace monarch::test
