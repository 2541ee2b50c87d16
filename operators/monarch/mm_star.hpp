#pragma once
// MM* and M*M: products of two Monarch matrices, one of them adjoint, and their factorisation (Algorithm 2).

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "monarch/operators/linear_operator.hpp"
#include "monarch/operators/monarch/projection.hpp"

namespace monarch::operators {

/// y = M1 M2^H x, [..., l2·s2] -> [..., l1·s1]; the middle vectors must agree: k1·p1 = k2·p2. Any rectangular factors.
/// Differentiable. Throws ShapeError.
at::Tensor mm_star_multiply(const at::Tensor& x, const MonarchFactors& m1, const MonarchFactors& m2);
/// y = M1^H M2 x, [..., k2·p2] -> [..., k1·p1]; l1·s1 = l2·s2.
at::Tensor m_star_m_multiply(const at::Tensor& x, const MonarchFactors& m1, const MonarchFactors& m2);

/// The same as operators. rows and columns: the leading part of the matrix (default all of it), as in Monarch.
OperatorPtr mm_star(const MonarchFactors& m1, const MonarchFactors& m2, std::optional<int64_t> rows = std::nullopt,
                    std::optional<int64_t> columns = std::nullopt);
OperatorPtr m_star_m(const MonarchFactors& m1, const MonarchFactors& m2, std::optional<int64_t> rows = std::nullopt,
                     std::optional<int64_t> columns = std::nullopt);

/// A square member of a class in three factors, with m = n/b (paper, Propositions 13 and 14). With BD(w) the
/// block-diagonal matrix of w [blocks, rows, columns] and DB(w) the one that applies w[j] to the elements j, j + b,
/// ...:
///   MM*^(b,n) = DB(left [b, m, m]) BD(middle [m, b, b]) DB(right [b, m, m]),
///   M*M^(b,n) = BD(left [m, b, b]) DB(middle [b, m, m]) BD(right [m, b, b]).
struct ThreeFactors {
  at::Tensor left, middle, right;
};
/// The three factors of M1 M2^H and of M1^H M2 for square factors of equal sizes, w1 [m, b, b] and w2 [b, m, m]: the
/// inner two are multiplied. Differentiable. Throws ShapeError.
ThreeFactors mm_star_factors(const MonarchFactors& m1, const MonarchFactors& m2);
ThreeFactors m_star_m_factors(const MonarchFactors& m1, const MonarchFactors& m2);
/// y = A x of a member in three factors, over the last axis. Differentiable in x and the factors. 2n(n/b) + nb
/// multiplications a row, of M*M 2nb + n(n/b). Throws ShapeError.
at::Tensor mm_star_multiply(const at::Tensor& x, const ThreeFactors& f);
at::Tensor m_star_m_multiply(const at::Tensor& x, const ThreeFactors& f);

struct Factorisation {
  ThreeFactors factors;
  double relative_error = 0;  ///< ||A - product|| / ||A||, measured
};

/// Algorithm 2: the factors of a [n, n] in MM*^(b,n). With P A P^T in b × b blocks A_ij = L_i D_ij R_j of m × m, D_ij
/// diagonal, the matrices A_ij0^-1 A_ij A_i0j^-1 A_i0j0 have the rows of R_j0 as eigenvectors in common; those of a
/// random combination (fixed seed) are taken, the reference block (i0, j0) being the one whose row and column of blocks
/// are farthest from singular. Real and complex; computed in double, returned in a's precision, complex where a real
/// matrix has complex eigenvalues.
/// Assumes what Theorem 7 does: A invertible, and one row and one column of blocks without a zero in the middle factor.
/// Throws ShapeError (not square, b not a divisor of n) and DataError: NaN, singular blocks (names the block), or a
/// relative error above `tolerance` (the matrix is not in the class).
/// Cost: b² inversions of m × m for the choice, one eigendecomposition, b² products.
Factorisation factor_mm_star(const at::Tensor& a, int64_t b, double tolerance = 1e-6);
/// The factors of a [n, n] in M*M^(b,n), which P maps to MM*^(n/b,n) (Proposition 14).
Factorisation factor_m_star_m(const at::Tensor& a, int64_t b, double tolerance = 1e-6);

}  // namespace monarch::operators
