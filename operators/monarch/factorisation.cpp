// Algorithm 2: factors of a matrix in MM*.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/monarch/mm_star.hpp"

namespace monarch::operators {
namespace {

void check_matrix(const char* what, const at::Tensor& a, int64_t b) {
  check<ShapeError>(a.defined() && a.dim() == 2 && a.size(0) == a.size(1) && a.numel() > 0, [&] {
    return fmt::format("{}: expected a square matrix, got {}", what,
                       a.defined() ? shape_text(a.sizes()) : "an undefined tensor");
  });
  check<DtypeError>(a.is_floating_point() || a.is_complex(), [&] {
    return fmt::format("{}: expected real or complex numbers, got {}", what, dtype_text(a.scalar_type()));
  });
  check<ShapeError>(b >= 1 && a.size(0) % b == 0,
                    [&] { return fmt::format("{}: block size b = {} does not divide n = {}", what, b, a.size(0)); });
  check<DataError>(at::isfinite(a).all().item<bool>(),
                   [&] { return fmt::format("{}: the matrix holds NaN or infinity", what); });
}

/// Rows and columns (rho, j) -> (j, rho): the blocks [j, j', rho, rho'] of P A P^T.
at::Tensor blocks_of(const at::Tensor& a, int64_t b) {
  const int64_t m = a.size(0) / b;
  return a.view({m, b, m, b}).permute({1, 3, 0, 2}).contiguous();
}

/// 1 / (||A_ij|| ||A_ij^-1||) of all blocks, [b, b]; 0 for a singular one.
at::Tensor reciprocal_conditions(const at::Tensor& blocks) {
  const at::Tensor sigma = at::linalg_svdvals(blocks);
  const at::Tensor largest = sigma.select(-1, 0), smallest = sigma.select(-1, -1);
  return at::where(largest > 0, smallest / largest, at::zeros_like(largest));
}

struct Reference {
  int64_t row, column;
};

/// The block whose row and column of blocks are farthest from singular.
Reference reference_block(const char* what, const at::Tensor& blocks) {
  const int64_t b = blocks.size(0), m = blocks.size(2);
  const at::Tensor good = reciprocal_conditions(blocks);
  const auto [row_worst, row_place] = good.min(1);
  const auto [column_worst, column_place] = good.min(0);
  const at::Tensor worst = at::minimum(row_worst.unsqueeze(1), column_worst.unsqueeze(0));
  const int64_t best = worst.argmax().item<int64_t>();
  const Reference reference{best / b, best % b};
  const double condition = worst.flatten()[best].item<double>();
  // The rounding of the singular values themselves.
  const double limit = 4 * static_cast<double>(m) * 2.2e-16;
  check<DataError>(
      condition > limit,
      [&] {
        const bool in_row = row_worst[reference.row].item<double>() <= limit;
        const int64_t i = in_row ? reference.row : column_place[reference.column].item<int64_t>();
        const int64_t j = in_row ? row_place[reference.row].item<int64_t>() : reference.column;
        return fmt::format(
            "{}: every row or every column of {} x {} blocks has a singular block; block ({}, {}) has the "
            "reciprocal condition {:.1e}",
            what, m, m, i, j, good[i][j].item<double>());
      },
      "the factorisation needs an invertible matrix and one row and one column of blocks without a zero in the middle "
      "factor");
  return reference;
}

/// A_ij = L_i D_ij R_j: left [b, m, m], the diagonals [b, b, m], right [b, m, m].
struct Trial {
  at::Tensor left, diagonal, right;
  double error = 0;  ///< ||A - product||

  /// A_ij - L_i D_ij R_j, [b, b, m, m]; notes its norm.
  at::Tensor residual(const at::Tensor& blocks) {
    const at::Tensor e = blocks - at::matmul(left.unsqueeze(1), diagonal.unsqueeze(3) * right.unsqueeze(0));
    error = at::linalg_vector_norm(e).item<double>();
    return e;
  }
};

/// L_i = A_ij0 V with D_ij0 = 1, R_j = L_i0^-1 A_i0j with D_i0j = 1, and D_ij the least-squares diagonal of
/// L_i^-1 A_ij R_j^-1; then the columns of L_i and the rows of R_j to norm 1.
Trial from_eigenvectors(const at::Tensor& blocks, Reference reference, const at::Tensor& vectors) {
  Trial t;
  t.left = at::matmul(blocks.select(1, reference.column), vectors);
  t.right = at::linalg_solve(t.left[reference.row].unsqueeze(0), blocks[reference.row]);
  const at::Tensor inner = at::linalg_solve(t.left.unsqueeze(1), blocks);  // D_ij R_j
  t.diagonal = (inner * t.right.conj().unsqueeze(0)).sum(-1) / t.right.abs().square().sum(-1).unsqueeze(0);
  const at::Tensor columns = at::linalg_vector_norm(t.left, 2, 1), rows = at::linalg_vector_norm(t.right, 2, 2);
  t.left = t.left / columns.unsqueeze(1);
  t.right = t.right / rows.unsqueeze(2);
  t.diagonal = t.diagonal * columns.unsqueeze(1) * rows.unsqueeze(0);
  t.residual(blocks);
  return t;
}

/// One round of least squares for the corrections of L, R and D in turn, which takes the rounding of the inverses back.
Trial refined(Trial t, const at::Tensor& blocks) {
  at::Tensor e = t.residual(blocks);
  const at::Tensor k = t.diagonal.unsqueeze(3) * t.right.unsqueeze(0);  // A_ij = L_i K_ij
  t.left = t.left + at::linalg_solve(at::matmul(k, k.mH()).sum(1), at::matmul(e, k.mH()).sum(1), false);
  e = t.residual(blocks);
  const at::Tensor h = t.left.unsqueeze(1) * t.diagonal.unsqueeze(2);  // A_ij = H_ij R_j
  t.right = t.right + at::linalg_solve(at::matmul(h.mH(), h).sum(0), at::matmul(h.mH(), e).sum(0));
  e = t.residual(blocks);
  const at::Tensor normal =
      at::matmul(t.left.mH(), t.left).unsqueeze(1) * at::matmul(t.right, t.right.mH()).conj().unsqueeze(0);
  const at::Tensor moment = (at::matmul(t.left.mH().unsqueeze(1), e) * t.right.conj().unsqueeze(0)).sum(-1, true);
  t.diagonal = t.diagonal + at::linalg_solve(normal, moment).squeeze(-1);
  t.residual(blocks);
  return t;
}

/// Eigenvectors of a random combination of the F_ij; real where all eigenvalues of a real one are.
at::Tensor eigenvectors(const at::Tensor& f, Rng& rng) {
  const at::Tensor weights = rng.normal({f.size(0), f.size(1)}, at::kDouble).to(f.device());
  const at::Tensor combination = (f * weights.unsqueeze(-1).unsqueeze(-1)).sum(at::IntArrayRef({0, 1}));
  const auto [values, vectors] = at::linalg_eig(combination);
  const bool real = !f.is_complex() && at::imag(values).abs().max().item<double>() == 0;
  return real ? at::real(vectors).contiguous() : vectors;
}

Factorisation factor(const char* what, const at::Tensor& a, int64_t b, double tolerance) {
  constexpr int combinations = 8, rounds = 60;
  const c10::NoGradGuard no_grad;
  const at::Tensor wide = a.to(a.is_complex() ? at::kComplexDouble : at::kDouble).resolve_conj();
  const double norm = at::linalg_norm(wide).item<double>();
  check<DataError>(norm > 0, [&] { return fmt::format("{}: the matrix is zero", what); });
  const at::Tensor blocks = blocks_of(wide.contiguous(), b);
  const Reference reference = reference_block(what, blocks);
  const at::Tensor row = blocks[reference.row], column = blocks.select(1, reference.column);  // [b, m, m]

  Trial best;
  if (b == 1) {
    best = from_eigenvectors(blocks, reference, at::eye(a.size(0), wide.options()));
  } else {
    // F_ij = A_ij0^-1 A_ij A_i0j^-1 A_i0j0 = R^-1 (diagonal) R with R = R_j0, each scaled to norm 1.
    at::Tensor f = at::linalg_solve(row, row[reference.column].expand_as(row)).unsqueeze(0);
    f = at::matmul(at::linalg_solve(column.unsqueeze(1), blocks), f);
    f = f / at::linalg_matrix_norm(f).clamp_min(1e-300).unsqueeze(-1).unsqueeze(-1);
    Rng rng(0, "monarch factorisation");
    for (int c = 0; c < combinations; ++c) {
      const at::Tensor vectors = eigenvectors(f, rng);
      if (!(reciprocal_conditions(vectors).item<double>() > 1e-14)) continue;
      Trial trial = from_eigenvectors(blocks.to(vectors.scalar_type()), reference, vectors);
      if (!best.left.defined() || trial.error < best.error) best = std::move(trial);
    }
  }
  check<DataError>(
      best.left.defined(), [&] { return fmt::format("{}: the blocks have no common eigenvectors", what); },
      "the matrix is not in the class for this b");
  const at::Tensor typed = blocks.to(best.left.scalar_type());
  for (int round = 0; round < rounds && best.error > 1e-12 * norm; ++round) {
    Trial next = refined(best, typed);
    const bool done = !(next.error <= 0.95 * best.error);
    if (next.error <= best.error) best = std::move(next);
    if (done) break;
  }

  Factorisation result;
  result.relative_error = best.error / norm;
  check<DataError>(
      result.relative_error <= tolerance,
      [&] {
        return fmt::format("{}: the product of the factors has a relative error of {:.1e}, more than {:.1e}", what,
                           result.relative_error, tolerance);
      },
      "the matrix is not in the class for this b, or too near to a singular one");
  const auto narrow = best.left.is_complex() ? c10::toComplexType(a.scalar_type()) : a.scalar_type();
  result.factors = {best.left.to(narrow), best.diagonal.permute({2, 0, 1}).contiguous().to(narrow),
                    best.right.to(narrow)};
  return result;
}

}  // namespace

Factorisation factor_mm_star(const at::Tensor& a, int64_t b, double tolerance) {
  check_matrix("MM* factorisation", a, b);
  return factor("MM* factorisation", a, b, tolerance);
}

Factorisation factor_m_star_m(const at::Tensor& a, int64_t b, double tolerance) {
  check_matrix("M*M factorisation", a, b);
  const int64_t n = a.size(0), m = n / b;
  const at::Tensor permuted = a.reshape({m, b, m, b}).permute({1, 0, 3, 2}).reshape({n, n});
  return factor("M*M factorisation", permuted, m, tolerance);
}

}  // namespace monarch::operators
