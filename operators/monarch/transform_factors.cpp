// What is done with the factors of a transform: real pairs, truncation, application.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/operators/monarch/roots.hpp"
#include "monarch/operators/monarch/transform.hpp"

namespace monarch::operators {
namespace {

/// The permutation as numbers: that of a tensor, or the identity.
std::vector<int64_t> places(const at::Tensor& permutation, int64_t count) {
  std::vector<int64_t> result(count);
  if (!permutation.defined()) {
    std::iota(result.begin(), result.end(), 0);
  } else {
    const at::Tensor cpu = permutation.cpu().contiguous();
    std::copy_n(cpu.const_data_ptr<int64_t>(), count, result.begin());
  }
  return result;
}

at::Tensor permutation_tensor(const std::vector<int64_t>& permutation, at::Device device) {
  return is_identity(permutation) ? at::Tensor() : index_tensor(permutation).to(device);
}

void check_wanted(const char* what, const std::vector<int64_t>& wanted, int64_t count) {
  check<ShapeError>(!wanted.empty(), [&] { return fmt::format("Monarch transform: no {} are to be kept", what); });
  std::vector<bool> seen(count, false);
  for (const int64_t i : wanted) {
    check<ShapeError>(
        i >= 0 && i < count,
        [&] { return fmt::format("Monarch transform: {} {} is to be kept, there are {}", what, i, count); },
        fmt::format("0 to {}", count - 1));
    check<ShapeError>(!seen[i], [&] { return fmt::format("Monarch transform: {} {} is named twice", what, i); });
    seen[i] = true;
  }
}

/// Row `rows[g][c]` of block g of w [blocks, rows, columns] at place c of a smaller block; zeros where a block has
/// fewer.
at::Tensor picked_rows(const at::Tensor& w, const std::vector<std::vector<int64_t>>& rows, int64_t most) {
  std::vector<int64_t> index;
  for (size_t g = 0; g < rows.size(); ++g) {
    for (int64_t c = 0; c < most; ++c) {
      const bool real = c < static_cast<int64_t>(rows[g].size());
      index.push_back(real ? static_cast<int64_t>(g) * w.size(1) + rows[g][c] : w.size(0) * w.size(1));
    }
  }
  const at::Tensor flat = at::constant_pad_nd(w.reshape({-1, w.size(2)}), {0, 0, 0, 1});
  return flat.index_select(0, index_tensor(index).to(w.device())).view({w.size(0), most, w.size(2)});
}

int64_t longest(const std::vector<std::vector<int64_t>>& lists) {
  size_t most = 0;
  for (const auto& list : lists) most = std::max(most, list.size());
  return static_cast<int64_t>(most);
}

/// The numbers of [0, count) that are not in `used`, behind it.
void complete(std::vector<int64_t>& used, int64_t count) {
  std::vector<bool> seen(count, false);
  for (const int64_t i : used) seen[i] = true;
  for (int64_t i = 0; i < count; ++i) {
    if (!seen[i]) used.push_back(i);
  }
}

MonarchSizes checked(const TransformFactors& f) {
  const MonarchSizes z = monarch_sizes(f.factors.w1, f.factors.w2);
  check<ShapeError>(f.in >= 1 && f.in <= z.in() && f.out >= 1 && f.out <= z.out(), [&] {
    return fmt::format("Monarch transform: {} inputs and {} outputs of a product that takes {} and gives {}", f.in,
                       f.out, z.in(), z.out());
  });
  const auto fits = [](const at::Tensor& t, int64_t count) {
    return !t.defined() || (t.dim() == 1 && t.size(0) == count && t.scalar_type() == at::kLong);
  };
  check<ShapeError>(fits(f.input, z.in()) && fits(f.output, z.out()), [&] {
    return fmt::format("Monarch transform: the permutations must be int64 [{}] and [{}]", z.in(), z.out());
  });
  return z;
}

at::Tensor padded(const at::Tensor& x, int64_t width) {
  return x.size(-1) == width ? x : at::constant_pad_nd(x, {0, width - x.size(-1)});
}

at::Tensor inverse_permutation(const at::Tensor& permutation) {
  return at::empty_like(permutation).scatter_(0, permutation, at::arange(permutation.size(0), permutation.options()));
}

/// Real factors for complex vectors become complex.
MonarchFactors factors_for(const at::Tensor& x, const MonarchFactors& f) {
  if (!x.is_complex() || f.w1.is_complex()) return f;
  return {f.w1.to(c10::toComplexType(f.w1.scalar_type())), f.w2.to(c10::toComplexType(f.w2.scalar_type()))};
}

void check_length(const at::Tensor& x, int64_t length, const char* what) {
  check<ShapeError>(x.defined() && x.dim() >= 1 && x.size(-1) == length, [&] {
    return fmt::format("Monarch transform: expected [..., {}] {}, got {}", length, what,
                       x.defined() ? shape_text(x.sizes()) : "an undefined tensor");
  });
}

}  // namespace

std::vector<int64_t> first_indices(int64_t count) {
  std::vector<int64_t> result(std::max<int64_t>(count, 0));
  std::iota(result.begin(), result.end(), 0);
  return result;
}

std::vector<int64_t> low_frequencies(int64_t n, int64_t m) {
  check<ShapeError>(
      m >= 1 && 2 * m <= n,
      [&] { return fmt::format("{} frequencies of each sign of a transform of length {}", m, n); },
      "at least 1 and at most half of the length");
  std::vector<int64_t> result = first_indices(m);
  for (int64_t i = n - m; i < n; ++i) result.push_back(i);
  return result;
}

TransformFactors monarch_real_pairs(const TransformFactors& f, bool real_in, bool real_out) {
  const MonarchSizes z = checked(f);
  check<DtypeError>(f.factors.w1.is_complex() && f.factors.w2.is_complex(), "Monarch real pairs: the factors are real",
                    "a real matrix is its own real form");
  check<ShapeError>(
      z.q % z.l == 0, [&] { return fmt::format("Monarch real pairs: l = {} does not divide q = {}", z.l, z.q); },
      "both parts of a middle number must meet the same block of the second factor");
  const int64_t rank = z.q / z.l;
  // Middle row r' l + j becomes (2 r' + c) l + j, c = 0 for the real and 1 for the imaginary part.
  const at::Tensor a = at::real(f.factors.w1).view({z.k, rank, z.l, z.p});
  const at::Tensor b = at::imag(f.factors.w1).view({z.k, rank, z.l, z.p});
  const at::Tensor w1 =
      real_in ? at::stack({a, b}, 2).reshape({z.k, 2 * z.q, z.p})
              : at::stack({at::stack({a, -b}, -1), at::stack({b, a}, -1)}, 2).reshape({z.k, 2 * z.q, 2 * z.p});
  const at::Tensor c = at::real(f.factors.w2), d = at::imag(f.factors.w2);  // [l, s, r]
  at::Tensor w2 = at::stack({c, -d}, -1).reshape({z.l, z.s, 2 * z.r});
  if (!real_out) w2 = at::cat({w2, at::stack({d, c}, -1).reshape({z.l, z.s, 2 * z.r})}, 1);

  TransformFactors result{{w1, w2}, f.input, f.output, f.in, f.out};
  const at::Device device = f.factors.w1.device();
  if (!real_in) {
    // Place (i, c) of a block takes element i of part c.
    std::vector<int64_t> input;
    for (const int64_t from : places(f.input, z.in())) {
      for (const int64_t part : {0, 1}) {
        input.push_back(from < f.in ? part * f.in + from : 2 * f.in + part * (z.in() - f.in) + from - f.in);
      }
    }
    result.input = permutation_tensor(input, device);
    result.in = 2 * f.in;
  }
  if (!real_out) {
    const std::vector<int64_t> from = places(f.output, z.out());
    std::vector<int64_t> output;
    for (const int64_t part : {0, 1}) {
      for (int64_t m = 0; m < f.out; ++m) output.push_back(part * z.out() + from[m]);
    }
    complete(output, 2 * z.out());
    result.output = permutation_tensor(output, device);
    result.out = 2 * f.out;
  }
  return result;
}

TransformFactors monarch_keep_outputs(const TransformFactors& f, const std::vector<int64_t>& wanted) {
  const MonarchSizes z = checked(f);
  check_wanted("output", wanted, f.out);
  const std::vector<int64_t> from = places(f.output, z.out());
  std::vector<std::vector<int64_t>> rows(z.l);
  std::vector<int64_t> output;
  for (const int64_t m : wanted) {
    auto& list = rows[from[m] % z.l];
    output.push_back(static_cast<int64_t>(list.size()) * z.l + from[m] % z.l);
    list.push_back(from[m] / z.l);
  }
  const int64_t most = longest(rows);
  complete(output, most * z.l);
  return {{f.factors.w1, picked_rows(f.factors.w2, rows, most)},
          f.input,
          permutation_tensor(output, f.factors.w1.device()),
          f.in,
          static_cast<int64_t>(wanted.size())};
}

TransformFactors monarch_keep_inputs(const TransformFactors& f, const std::vector<int64_t>& wanted) {
  const MonarchSizes z = checked(f);
  check_wanted("input", wanted, f.in);
  const std::vector<int64_t> at_place = inverse_of(places(f.input, z.in()));
  std::vector<std::vector<int64_t>> columns(z.k);
  std::vector<std::pair<int64_t, int64_t>> where;  // of each wanted element: block and column
  for (const int64_t j : wanted) {
    auto& list = columns[at_place[j] / z.p];
    where.emplace_back(at_place[j] / z.p, static_cast<int64_t>(list.size()));
    list.push_back(at_place[j] % z.p);
  }
  const int64_t most = longest(columns);
  std::vector<int64_t> target;
  for (const auto& [block, column] : where) target.push_back(block * most + column);
  complete(target, z.k * most);
  const at::Tensor w1 = picked_rows(f.factors.w1.transpose(1, 2), columns, most).transpose(1, 2).contiguous();
  return {{w1, f.factors.w2},
          permutation_tensor(inverse_of(target), f.factors.w1.device()),
          f.output,
          static_cast<int64_t>(wanted.size()),
          f.out};
}

at::Tensor transform_multiply(const at::Tensor& x, const TransformFactors& f) {
  const MonarchSizes z = checked(f);
  check_length(x, f.in, "of the input");
  at::Tensor in = padded(x, z.in());
  if (f.input.defined()) in = in.index_select(-1, f.input);
  const MonarchFactors w = factors_for(x, f.factors);
  MultiplyOptions options;
  if (!f.output.defined() && f.out > z.l * (z.s - 1)) options.out_features = f.out;
  const at::Tensor y = monarch_multiply(in, w.w1, w.w2, options);
  if (f.output.defined()) return y.index_select(-1, f.output.narrow(0, 0, f.out));
  return y.size(-1) == f.out ? y : y.narrow(-1, 0, f.out);
}

at::Tensor transform_adjoint(const at::Tensor& y, const TransformFactors& f) {
  const MonarchSizes z = checked(f);
  check_length(y, f.out, "of the output");
  const MonarchFactors w = factors_for(y, f.factors);
  at::Tensor out = padded(y.to(w.w1.scalar_type()), z.out());
  if (f.output.defined()) out = out.index_select(-1, inverse_permutation(f.output));
  at::Tensor x = monarch_multiply_adjoint(out, w.w1, w.w2);
  if (f.input.defined()) return x.index_select(-1, inverse_permutation(f.input).narrow(0, 0, f.in));
  return f.in == z.in() ? x : x.narrow(-1, 0, f.in);
}

at::Tensor transform_dense(const TransformFactors& f) {
  return transform_multiply(at::eye(f.in, f.factors.w1.options()), f).transpose(0, 1);
}

}  // namespace monarch::operators
