#include "monarch/operators/monarch/projection.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/linear_operator.hpp"

namespace monarch::operators {
namespace {

std::string sizes_text(const MonarchSizes& z) {
  return fmt::format("w1 [{}, {}, {}], w2 [{}, {}, {}]", z.k, z.q, z.p, z.l, z.s, z.r);
}

/// The largest number of middle rows t of one block k with t mod l = j.
int64_t largest_rank(const MonarchSizes& z) {
  // Block k holds the q rows from kq on: a window of q consecutive numbers holds floor(q/l) or ceil(q/l) of a residue.
  return (z.q + z.l - 1) / z.l;
}

void check_arguments(const at::Tensor& a, const MonarchSizes& z) {
  check<ShapeError>(a.defined() && a.dim() == 2 && a.numel() > 0, [&] {
    return fmt::format("Monarch projection: expected a matrix [rows, columns], got {}",
                       a.defined() ? shape_text(a.sizes()) : "an undefined tensor");
  });
  check<DtypeError>(a.is_floating_point() || a.is_complex(), [&] {
    return fmt::format("Monarch projection: expected real or complex numbers, got {}", dtype_text(a.scalar_type()));
  });
  check<ShapeError>(std::min({z.k, z.q, z.p, z.l, z.s, z.r}) >= 1,
                    [&] { return fmt::format("Monarch projection: an extent below 1 in {}", sizes_text(z)); });
  check<ShapeError>(
      z.l * z.r == z.k * z.q,
      [&] {
        return fmt::format("Monarch projection: {} do not meet: k*q = {}, l*r = {}", sizes_text(z), z.k * z.q,
                           z.l * z.r);
      },
      "choose sizes with l*r = k*q, or take them from monarch_sizes_of_rank");
  const int64_t rows = a.size(0), columns = a.size(1);
  check<ShapeError>(
      z.l * (z.s - 1) < rows && rows <= z.out() && z.k * (z.p - 1) < columns && columns <= z.in(),
      [&] {
        return fmt::format("Monarch projection: {} describe a matrix of {} to {} rows and {} to {} columns, got {}",
                           sizes_text(z), z.l * (z.s - 1) + 1, z.out(), z.k * (z.p - 1) + 1, z.in(),
                           shape_text(a.sizes()));
      },
      "s = ceil(rows / l) and p = ceil(columns / k)");
  check<ShapeError>(
      largest_rank(z) <= std::min(z.s, z.p),
      [&] {
        return fmt::format("Monarch projection: {} ask for rank {} of slices {} x {}", sizes_text(z), largest_rank(z),
                           z.s, z.p);
      },
      fmt::format("a slice has at most rank {}: choose q <= {}", std::min(z.s, z.p), z.l * std::min(z.s, z.p)));
  const int64_t bad = a.numel() - at::isfinite(a).sum().item<int64_t>();
  check<DataError>(
      bad == 0,
      [&] {
        const at::Tensor place = at::isfinite(a).logical_not().nonzero()[0];
        return fmt::format(
            "Monarch projection: {} of {} elements of the matrix are NaN or infinite, the first at "
            "[{}, {}]",
            bad, a.numel(), place[0].item<int64_t>(), place[1].item<int64_t>());
      },
      "look for the layer or file that they come from");
}

}  // namespace

MonarchSizes monarch_sizes_of_rank(int64_t rows, int64_t columns, int64_t k, int64_t l, int64_t rank) {
  check<ShapeError>(rows >= 1 && columns >= 1 && k >= 1 && l >= 1 && rank >= 1, [&] {
    return fmt::format("Monarch sizes: rows {}, columns {}, k {}, l {} and rank {} must all be at least 1", rows,
                       columns, k, l, rank);
  });
  const MonarchSizes z{k, l * rank, (columns + k - 1) / k, l, (rows + l - 1) / l, k * rank};
  check<ShapeError>(
      rank <= std::min(z.s, z.p),
      [&] {
        return fmt::format("Monarch sizes: rank {} of the {} x {} slices of a {} x {} matrix with k = {}, l = {}", rank,
                           z.s, z.p, rows, columns, k, l);
      },
      fmt::format("a slice has at most rank {}", std::min(z.s, z.p)));
  return z;
}

Projection monarch_project(const at::Tensor& a, const MonarchSizes& z) {
  check_arguments(a, z);
  const c10::NoGradGuard no_grad;
  const auto wide = a.is_complex() ? at::kComplexDouble : at::kDouble;
  at::Tensor m = a.to(wide).resolve_conj();
  if (m.size(0) != z.out() || m.size(1) != z.in()) {
    m = at::constant_pad_nd(m, {0, z.in() - m.size(1), 0, z.out() - m.size(0)});
  }
  // a[s l + j, k p + i] -> slices[k, j, s, i].
  const at::Tensor slices = m.view({z.s, z.l, z.k, z.p}).permute({2, 1, 0, 3}).reshape({z.k * z.l, z.s, z.p});
  auto [u, sigma, vh] = at::linalg_svd(slices, /*full_matrices=*/false);

  // Middle row t lies in block k = t div q of the first factor and in block j = t mod l of the second; it carries
  // singular triple c of slice (k, j), c counting the rows of that slice from its first one on.
  const int64_t middle = z.middle(), most = sigma.size(1);
  std::vector<int64_t> triple(middle);
  std::vector<int64_t> used(z.k * z.l, 0);
  for (int64_t t = 0; t < middle; ++t) {
    const int64_t slice = t / z.q * z.l + t % z.l;
    triple[t] = slice * most + used[slice]++;
  }
  const at::Tensor index = at::tensor(triple, at::kLong).to(a.device());
  const at::Tensor root = sigma.flatten().index_select(0, index).sqrt().unsqueeze(1);          // [kq, 1]
  const at::Tensor right = vh.reshape({-1, z.p}).index_select(0, index) * root;                // [kq, p]
  const at::Tensor left = u.transpose(1, 2).reshape({-1, z.s}).index_select(0, index) * root;  // [kq, s]

  Projection result;
  result.factors.w1 = right.view({z.k, z.q, z.p}).to(a.scalar_type());
  result.factors.w2 = left.view({z.r, z.l, z.s}).permute({1, 2, 0}).contiguous().to(a.scalar_type());
  result.spectrum = sigma.view({z.k, z.l, most});
  // Relative to the largest value, so that squares neither overflow nor vanish.
  const double largest = sigma.max().item<double>();
  if (largest > 0) {
    const at::Tensor square = (sigma / largest).square();
    const at::Tensor kept = at::tensor(used, at::kLong).to(a.device()).unsqueeze(1);  // [kl, 1]
    const at::Tensor discarded = at::arange(most, kept.options()).unsqueeze(0).ge(kept);
    result.relative_error = std::sqrt(((square * discarded).sum() / square.sum()).item<double>());
  }
  return result;
}

}  // namespace monarch::operators
