// Transforms from one kernel: T[m, j] = c_out[m] exp(2 pi i alpha(j) beta(m) / N) c_in[j], or the real part of it.
#include "monarch/operators/monarch/transform.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <numbers>
#include <numeric>

#include "monarch/core/error.hpp"
#include "monarch/operators/monarch/roots.hpp"

namespace monarch::operators {
namespace {

/// T[m, j] = out_scale[m] in_scale[j] exp(2 pi i (in_phase[j] + out_phase[m] + (unit/period) alpha[j] beta[m]) / unit),
/// with alpha and beta permutations of [0, n). It splits wherever K and P divide n and the period divides K·P: with
/// alpha = iK + kappa and beta = sP + q the product alpha·beta is i s K P, whole periods, plus iKq + kappa (sP + q).
struct Kernel {
  Kernel(int64_t size, int64_t kernel_period, int64_t phase_unit)
      : n(size),
        period(kernel_period),
        unit(phase_unit),
        alpha(n),
        beta(n),
        in_phase(n),
        out_phase(n),
        in_scale(n, 1.0),
        out_scale(n, 1.0) {
    std::iota(alpha.begin(), alpha.end(), 0);
    std::iota(beta.begin(), beta.end(), 0);
  }

  int64_t n, period, unit;
  std::vector<int64_t> alpha, beta, in_phase, out_phase;
  std::vector<double> in_scale, out_scale;
};

/// The kernel's transpose: inputs become outputs.
Kernel transposed(Kernel kernel) {
  std::swap(kernel.alpha, kernel.beta);
  std::swap(kernel.in_phase, kernel.out_phase);
  std::swap(kernel.in_scale, kernel.out_scale);
  return kernel;
}

TransformFactors build(const Kernel& kernel, int64_t blocks, int64_t size, double first_scale, double second_scale) {
  const int64_t n = kernel.n, in_rows = n / blocks, out_rows = n / size, step = kernel.unit / kernel.period;
  const RootsOfUnity root(kernel.unit);
  const std::vector<int64_t> from = inverse_of(kernel.alpha), to = inverse_of(kernel.beta);
  std::vector<int64_t> input(n);
  std::vector<std::complex<double>> w1(blocks * size * in_rows), w2(size * out_rows * blocks);
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t i = 0; i < in_rows; ++i) {
      const int64_t j = from[i * blocks + b];
      input[b * in_rows + i] = j;
      for (int64_t q = 0; q < size; ++q) {
        const int64_t turns = i * blocks % kernel.period * q % kernel.period;
        w1[(b * size + q) * in_rows + i] = first_scale * kernel.in_scale[j] * root(kernel.in_phase[j] + step * turns);
      }
    }
  }
  for (int64_t q = 0; q < size; ++q) {
    for (int64_t s = 0; s < out_rows; ++s) {
      const int64_t m = to[s * size + q];
      for (int64_t b = 0; b < blocks; ++b) {
        const int64_t turns = b * (s * size + q) % kernel.period;
        w2[(q * out_rows + s) * blocks + b] =
            second_scale * kernel.out_scale[m] * root(kernel.out_phase[m] + step * turns);
      }
    }
  }
  TransformFactors f{
      {complex_tensor(w1, {blocks, size, in_rows}), complex_tensor(w2, {size, out_rows, blocks})}, {}, {}, n, n};
  if (!is_identity(input)) f.input = index_tensor(input);
  if (!is_identity(kernel.beta)) f.output = index_tensor(kernel.beta);
  return f;
}

TransformFactors finished(TransformFactors f, const ConstructionOptions& options) {
  check<DtypeError>(
      options.precision == at::kFloat || options.precision == at::kDouble,
      [&] { return fmt::format("Monarch transform: precision {} is not supported", dtype_text(options.precision)); },
      "float32 or float64; convert the factors afterwards with to()");
  const auto dtype = f.factors.w1.is_complex() ? c10::toComplexType(options.precision) : options.precision;
  const auto move = [&](const at::Tensor& t, at::ScalarType type) {
    return t.defined() ? t.to(at::TensorOptions().dtype(type).device(options.device)) : t;
  };
  f.factors = {move(f.factors.w1, dtype), move(f.factors.w2, dtype)};
  f.input = move(f.input, at::kLong);
  f.output = move(f.output, at::kLong);
  return f;
}

int64_t smallest_divisor(int64_t n) {
  for (int64_t d = 2; d * d <= n; ++d) {
    if (n % d == 0) return d;
  }
  return n;
}

bool is_composite(int64_t n) {
  return n >= 4 && smallest_divisor(n) < n;
}

std::array<int64_t, 2> nearest_split(int64_t n) {
  int64_t small = 1;
  for (int64_t d = 1; d * d <= n; ++d) {
    if (n % d == 0) small = d;
  }
  return {n / small, small};
}

std::array<int64_t, 2> sizes_of(const char* what, int64_t n, const ConstructionOptions& options) {
  check<ShapeError>(
      n >= 1, [&] { return fmt::format("{}: a transform of length {}", what, n); }, "at least 1");
  if (!options.sizes) return monarch_split(n);
  const auto [blocks, size] = *options.sizes;
  check<ShapeError>(
      blocks >= 1 && size >= 1 && n % blocks == 0 && n / blocks == size,
      [&] { return fmt::format("{}: sizes {} x {} do not make a transform of length {}", what, blocks, size, n); },
      "their product must be the length");
  return {blocks, size};
}

/// How one factor takes its half of the scale: 1, 1/sqrt(size) or 1/size.
double share(Normalisation normalisation, double size) {
  switch (normalisation) {
    case Normalisation::none:
      return 1;
    case Normalisation::ortho:
      return 1 / std::sqrt(size);
    case Normalisation::inverse:
      return 1 / size;
  }
  fail<ConfigError>(fmt::format("Monarch transform: {} is no normalisation", static_cast<int>(normalisation)),
                    "none, ortho or inverse");
}

/// a = +-a' with a' = 1 (mod 4): a = 2j + 1 for a cosine keeps its value, a sine changes its sign with a.
struct Folded {
  int64_t value;
  bool negative;
};
Folded folded(int64_t j) {
  const int64_t a = 2 * j + 1;
  return a % 4 == 1 ? Folded{a, false} : Folded{-a, true};
}

int64_t modulo(int64_t a, int64_t n) {
  return (a % n + n) % n;
}

/// cos(pi (j + 1/2) m / n), or sin(pi (j + 1/2) (m + 1) / n): with a' = 4 alpha + 1 the phase of the product is
/// 2 pi alpha b / n + 2 pi b / (4n), b = m or m + 1.
Kernel type_two(int64_t n, bool sine) {
  Kernel kernel(n, n, 4 * n);
  for (int64_t j = 0; j < n; ++j) {
    const Folded a = folded(j);
    const int64_t alpha = (a.value - 1) / 4;
    kernel.alpha[j] = modulo(alpha, n);
    kernel.in_phase[j] = sine ? 4 * alpha + (a.negative ? 2 * n : 0) : 0;
  }
  // A sine is the real part of -i exp(...).
  for (int64_t m = 0; m < n; ++m) kernel.out_phase[m] = sine ? m + 1 - n : m;
  return kernel;
}

/// cos or sin of pi (j + 1/2) (m + 1/2) / n = 2 pi a b / (8n). Even n: a' = 4 alpha + 1 and b' = 4 beta + 1 give
/// 2 alpha beta / n turns: period n/2. Odd n: adding 4n to a' changes the sign of both functions and reaches
/// a' = 1 (mod 8); a' = 8 alpha + 1 and b' = 8 beta + 1 give 8 alpha beta / n turns: period n, 8 alpha a permutation.
Kernel type_four(int64_t n, bool sine) {
  const bool even = n % 2 == 0;
  Kernel kernel(n, even ? n / 2 : n, 8 * n);
  const int64_t divisor = even ? 4 : 8;
  for (int64_t j = 0; j < n; ++j) {
    Folded a = folded(j);
    bool negative = sine && a.negative;
    if (!even && modulo(a.value, 8) == 5) {
      a.value += 4 * n;
      negative = !negative;
    }
    const int64_t reduced = (a.value - 1) / divisor, phase = divisor * reduced + (negative ? 4 * n : 0);
    kernel.alpha[j] = modulo(even ? reduced : 8 * reduced, n);
    kernel.beta[j] = modulo(reduced, n);
    kernel.in_phase[j] = phase;
    kernel.out_phase[j] = phase + 1 - (sine ? 2 * n : 0);
  }
  return kernel;
}

}  // namespace

std::array<int64_t, 2> monarch_split(int64_t n) {
  check<ShapeError>(
      n >= 1, [&] { return fmt::format("a Monarch transform of length {}", n); }, "at least 1");
  const auto split = nearest_split(n);
  if (n == 1 || split[1] > 1) return split;
  const int64_t padded = monarch_composite_size(n);
  const auto [blocks, size] = nearest_split(padded);
  fail<ShapeError>(
      fmt::format("a Monarch transform of length {}: a prime has no two smaller factors", n),
      fmt::format(
          "pad to {} = {} x {} ({} weights in a DFT), or ask for the sizes {{1, {}}}, which is one dense block ({} "
          "weights)",
          padded, blocks, size, padded * (blocks + size), n, n * (n + 1)));
}

int64_t monarch_composite_size(int64_t n) {
  check<ShapeError>(n >= 1 && n <= int64_t{1} << 40,
                    [&] { return fmt::format("a Monarch transform of length {}", n); });
  const int64_t last = std::max<int64_t>(4, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(n))));
  const auto cost = [](int64_t m) {
    const auto [blocks, size] = nearest_split(m);
    return m * (blocks + size);
  };
  int64_t best = last, best_cost = cost(last);
  // Nothing beyond m is cheaper than 2 m sqrt(m).
  for (int64_t m = std::max<int64_t>(n, 4); m < last; ++m) {
    if (2 * static_cast<double>(m) * std::sqrt(static_cast<double>(m)) >= static_cast<double>(best_cost)) break;
    if (is_composite(m) && cost(m) < best_cost) {
      best = m;
      best_cost = cost(m);
    }
  }
  return best;
}

TransformFactors monarch_dft(int64_t n, const TransformOptions& transform, const ConstructionOptions& options) {
  const auto [blocks, size] = sizes_of("Monarch DFT", n, options);
  Kernel kernel(n, n, n);
  // exp(2 pi i (j - c)(m - c) / n): the inverse; the forward one is its conjugate.
  const int64_t centre = transform.centred ? n / 2 : 0;
  for (int64_t j = 0; j < n; ++j) kernel.in_phase[j] = modulo(-centre * j, n);
  for (int64_t m = 0; m < n; ++m) kernel.out_phase[m] = modulo(centre * centre - centre * m, n);
  TransformFactors f = build(kernel, blocks, size, share(transform.normalisation, static_cast<double>(size)),
                             share(transform.normalisation, static_cast<double>(blocks)));
  if (!transform.inverse) f.factors = {f.factors.w1.conj().resolve_conj(), f.factors.w2.conj().resolve_conj()};
  return finished(std::move(f), options);
}

TransformFactors monarch_real_transform(int64_t n, RealTransform kind, Normalisation normalisation,
                                        const ConstructionOptions& options) {
  const std::string name = "Monarch " + real_transform_name(kind);
  const bool four = kind == RealTransform::dct4 || kind == RealTransform::dst4;
  const bool three = kind == RealTransform::dct3 || kind == RealTransform::dst3;
  const bool sine = kind == RealTransform::dst2 || kind == RealTransform::dst3 || kind == RealTransform::dst4;
  std::array<int64_t, 2> sizes;
  const bool halved = four && n >= 2 && n % 2 == 0;
  if (halved && (options.sizes ? (*options.sizes)[0] * (*options.sizes)[1] == n / 2 : is_composite(n / 2))) {
    sizes = options.sizes.value_or(nearest_split(n / 2));
    check<ShapeError>(sizes[0] >= 1 && sizes[1] >= 1, name + ": sizes below 1");
  } else {
    sizes = sizes_of(name.c_str(), n, options);
  }

  Kernel kernel = four ? type_four(n, sine) : type_two(n, sine);
  double factor = 2;
  if (!four) {
    // The term that stands alone: frequency 0 of the cosine, n of the sine.
    const int64_t alone = sine ? n - 1 : 0;
    if (normalisation == Normalisation::ortho) kernel.out_scale[alone] = 1 / std::numbers::sqrt2;
    if (three && normalisation != Normalisation::ortho) kernel.out_scale[alone] = 0.5;
    if (three) kernel = transposed(std::move(kernel));
  }
  if (normalisation == Normalisation::ortho) factor = std::numbers::sqrt2;
  if (normalisation == Normalisation::inverse) factor = 1;
  const double half = std::sqrt(factor * share(normalisation, static_cast<double>(n)) /
                                share(normalisation, static_cast<double>(sizes[0] * sizes[1])));
  const TransformFactors f =
      build(kernel, sizes[0], sizes[1], half * share(normalisation, static_cast<double>(sizes[1])),
            half * share(normalisation, static_cast<double>(sizes[0])));
  return finished(monarch_real_pairs(f, true, true), options);
}

std::string real_transform_name(RealTransform kind) {
  switch (kind) {
    case RealTransform::dct2:
      return "dct2";
    case RealTransform::dct3:
      return "dct3";
    case RealTransform::dct4:
      return "dct4";
    case RealTransform::dst2:
      return "dst2";
    case RealTransform::dst3:
      return "dst3";
    case RealTransform::dst4:
      return "dst4";
  }
  fail<ConfigError>(fmt::format("{} is no real transform", static_cast<int>(kind)), "dct2 to dct4 or dst2 to dst4");
}

TransformFactors monarch_hadamard(int64_t n, Normalisation normalisation, const ConstructionOptions& options) {
  check<ShapeError>(
      n >= 1 && std::has_single_bit(static_cast<uint64_t>(n)),
      [&] { return fmt::format("Monarch Hadamard transform: length {} is no power of two", n); },
      n >= 1 ? fmt::format("pad to {}", std::bit_ceil(static_cast<uint64_t>(n))) : "at least 1");
  const auto [blocks, size] = sizes_of("Monarch Hadamard transform", n, options);
  const auto sylvester = [&](int64_t m) {
    std::vector<double> h(m * m);
    for (int64_t a = 0; a < m; ++a) {
      for (int64_t b = 0; b < m; ++b) {
        h[a * m + b] =
            (std::popcount(static_cast<uint64_t>(a & b)) % 2 ? -1 : 1) * share(normalisation, static_cast<double>(m));
      }
    }
    return at::tensor(h, at::kDouble).view({1, m, m});
  };
  return finished({{sylvester(size).repeat({blocks, 1, 1}), sylvester(blocks).repeat({size, 1, 1})}, {}, {}, n, n},
                  options);
}

}  // namespace monarch::operators
