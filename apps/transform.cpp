// monarch transform KIND N: an exact transform as a Monarch product, checked against its definition, as a file.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <complex>
#include <numbers>

#include "command.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/provenance.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/safetensors.hpp"
#include "monarch/operators/monarch/transform.hpp"

namespace monarch::apps {
namespace {

using operators::Normalisation;
using operators::RealTransform;
using operators::TransformFactors;
using Exact = std::complex<long double>;

struct Arguments {
  std::string kind, normalisation = "ortho", dtype = "float64", output;
  int64_t n = 0, first = 0, low = 0;
  std::vector<int64_t> sizes;
  bool inverse = false, centred = false, real_pairs = false, json = false;
};

const std::vector<std::string> kinds = {"dft", "dct2", "dct3", "dct4", "dst2", "dst3", "dst4", "hadamard"};
const std::vector<std::string> normalisations = {"none", "ortho", "inverse"};

Normalisation normalisation_of(const Arguments& a) {
  return a.normalisation == "none"    ? Normalisation::none
         : a.normalisation == "ortho" ? Normalisation::ortho
                                      : Normalisation::inverse;
}

bool is_real(const Arguments& a) {
  return a.kind[0] == 'd' && a.kind != "dft";
}

/// What the transform is by definition: the entry of output m and input j.
Exact entry(const Arguments& a, int64_t m, int64_t j) {
  constexpr long double pi = std::numbers::pi_v<long double>;
  const auto n = static_cast<long double>(a.n);
  const Normalisation norm = normalisation_of(a);
  if (!is_real(a)) {
    const long double scale = norm == Normalisation::none ? 1 : norm == Normalisation::ortho ? 1 / std::sqrt(n) : 1 / n;
    if (a.kind == "hadamard") return std::popcount(static_cast<uint64_t>(m & j)) % 2 ? -scale : scale;
    const int64_t origin = a.centred ? a.n / 2 : 0;
    const auto product = static_cast<__int128>(m - origin) * (j - origin) % a.n;
    return std::polar(scale, (a.inverse ? 2 : -2) * pi * static_cast<long double>(product) / n);
  }
  // Type III is the transpose of type II, when both are orthogonal.
  const bool cosine = a.kind[1] == 'c';
  const char type = a.kind[3];
  int64_t row = m, column = j;
  if (type == '3') std::swap(row, column);
  const long double half = 0.5L;
  const long double at = static_cast<long double>(column) + half;
  const long double frequency =
      type == '4' ? static_cast<long double>(row) + half : static_cast<long double>(row) + (cosine ? 0 : 1);
  const long double value = cosine ? std::cos(pi * at * frequency / n) : std::sin(pi * at * frequency / n);
  const bool alone = type != '4' && row == (cosine ? 0 : a.n - 1);  // the term without a mirror image
  if (norm == Normalisation::ortho) return value * std::sqrt((alone ? 1 : 2) / n);
  const long double twice = type == '3' && alone ? 1 : 2;
  return value * twice / (norm == Normalisation::inverse ? 2 * n : 1);
}

TransformFactors make(const Arguments& a) {
  operators::ConstructionOptions options;
  options.precision = a.dtype == "float32" ? at::kFloat : at::kDouble;
  if (!a.sizes.empty()) options.sizes = {a.sizes[0], a.sizes[1]};
  const Normalisation normalisation = normalisation_of(a);
  if (a.kind == "dft") return operators::monarch_dft(a.n, {a.inverse, a.centred, normalisation}, options);
  if (a.kind == "hadamard") return operators::monarch_hadamard(a.n, normalisation, options);
  for (int kind = 0;; ++kind) {
    const auto real = static_cast<RealTransform>(kind);
    if (operators::real_transform_name(real) == a.kind) {
      return operators::monarch_real_transform(a.n, real, normalisation, options);
    }
  }
}

/// ||y - exact|| / ||exact|| over up to 64 outputs of one random complex (real for real transforms) vector.
double error_of(const Arguments& a, const TransformFactors& f, const std::vector<int64_t>& outputs) {
  const bool complex = !is_real(a) && a.kind != "hadamard";
  const auto dtype =
      a.dtype == "float32" ? (complex ? at::kComplexFloat : at::kFloat) : (complex ? at::kComplexDouble : at::kDouble);
  const at::Tensor x = Rng(0, "transform").normal({a.n}, dtype);
  const at::Tensor y = operators::transform_multiply(x, f).to(at::kComplexDouble).contiguous();
  const at::Tensor wide = x.to(at::kComplexDouble).contiguous();
  const auto* input = reinterpret_cast<const std::complex<double>*>(wide.const_data_ptr());
  const auto* result = reinterpret_cast<const std::complex<double>*>(y.const_data_ptr());
  const auto all = static_cast<int64_t>(outputs.size());
  const int64_t checked = std::clamp<int64_t>(8'000'000 / a.n, 1, std::min<int64_t>(64, all));
  long double difference = 0, norm = 0;
  for (int64_t i = 0; i < checked; ++i) {
    const int64_t place = i * all / checked, m = outputs[static_cast<size_t>(place)];
    Exact sum = 0;
    for (int64_t j = 0; j < a.n; ++j) sum += entry(a, m, j) * Exact(input[j].real(), input[j].imag());
    difference += std::norm(Exact(result[place].real(), result[place].imag()) - sum);
    norm += std::norm(sum);
  }
  return static_cast<double>(std::sqrt(difference / norm));
}

void save(const Arguments& a, const TransformFactors& f, nlohmann::json description) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  const auto add = [&](const std::string& name, const at::Tensor& t) {
    if (!t.defined()) return;
    if (t.scalar_type() == at::kComplexDouble) {  // the format has no complex128
      tensors.emplace_back(name + ".real", at::real(t).contiguous());
      tensors.emplace_back(name + ".imag", at::imag(t).contiguous());
    } else {
      tensors.emplace_back(name, t);
    }
  };
  add("w1", f.factors.w1);
  add("w2", f.factors.w2);
  add("input", f.input);
  add("output", f.output);
  description["provenance"] = provenance();
  data::save_safetensors(a.output, tensors, {{"monarch_transform", description.dump()}});
}

void run(const Arguments& a) {
  check<ConfigError>(a.kind == "dft" || !(a.inverse || a.centred || a.real_pairs || a.low > 0),
                     "--inverse, --centred, --low and --real-pairs belong to dft",
                     "the inverse of dct2 is dct3 and the other way round, that of dct4 is itself; likewise dst");
  check<ConfigError>(a.first == 0 || a.low == 0, "--first and --low exclude each other");
  check<ConfigError>(a.low == 0 || !a.centred, "--low is for transforms that are not centred");
  TransformFactors f = make(a);
  std::vector<int64_t> outputs = operators::first_indices(a.n);
  if (a.first > 0 || a.low > 0) {
    check<ConfigError>(std::max(a.first, 2 * a.low) <= a.n,
                       [&] { return fmt::format("more outputs were asked for than the transform of {} has", a.n); });
    outputs = a.first > 0 ? operators::first_indices(a.first) : operators::low_frequencies(a.n, a.low);
    f = operators::monarch_keep_outputs(f, outputs);
  }
  const double error = error_of(a, f, outputs);
  if (a.real_pairs) f = operators::monarch_real_pairs(f);
  const auto z = operators::monarch_sizes(f.factors.w1, f.factors.w2);
  const bool complex = f.factors.w1.is_complex();
  const int64_t reals = z.parameters() * (complex ? 2 : 1);
  nlohmann::json result = {{"transform", a.kind},
                           {"n", a.n},
                           {"inverse", a.inverse},
                           {"centred", a.centred},
                           {"normalisation", a.normalisation},
                           {"dtype", f.factors.w1.dtype().name()},
                           {"outputs", outputs.size()},
                           {"w1", {z.k, z.q, z.p}},
                           {"w2", {z.l, z.s, z.r}},
                           {"real_pairs", a.real_pairs},
                           {"input_permutation", f.input.defined()},
                           {"output_permutation", f.output.defined()},
                           {"real_parameters", reals},
                           {"relative_error", error}};
  if (!a.output.empty()) save(a, f, result);
  if (a.json) {
    result["file"] = a.output;
    result["provenance"] = provenance();
    fmt::print("{}\n", result.dump(2));
    return;
  }
  const auto dense = static_cast<double>(a.n) * static_cast<double>(outputs.size());
  const auto weights = static_cast<double>(z.parameters()) / (a.real_pairs ? 2 : 1);
  print_table(
      {{"transform",
        fmt::format("{} of length {}, {} outputs, normalisation {}", a.kind, a.n, outputs.size(), a.normalisation)},
       {"factors", fmt::format("w1 [{}, {}, {}], w2 [{}, {}, {}], {}", z.k, z.q, z.p, z.l, z.s, z.r,
                               complex        ? "complex"
                               : a.real_pairs ? "real pairs (planar)"
                                              : "real")},
       {"permutations", f.input.defined() && f.output.defined() ? "of the input and of the output"
                        : f.input.defined()                     ? "of the input"
                        : f.output.defined()                    ? "of the output"
                                                                : "none"},
       {"parameters", fmt::format("{} real numbers; {:.1f} % of the dense matrix", reals, 100 * weights / dense)},
       {"relative error", fmt::format("{:.2e} against the definition (in extended precision)", error)}});
  if (!a.output.empty()) fmt::print("written to {}\n", a.output);
}

}  // namespace

void add_transform(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("transform", "An exact transform as a Monarch product, checked, as a file");
  command->add_option("kind", arguments->kind, fmt::format("One of {}", join_or(kinds)))
      ->required()
      ->check(CLI::IsMember(kinds));
  command->add_option("n", arguments->n, "Length: any composite number (hadamard: a power of two)")
      ->required()
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  command->add_option("--sizes", arguments->sizes, "K,P with K*P = n (default: near the square root)")
      ->delimiter(',')
      ->expected(2);
  command->add_flag("--inverse", arguments->inverse, "dft: exponent +2 pi i");
  command->add_flag("--centred", arguments->centred, "dft: index floor(n/2) is the origin of both sides");
  command->add_option("--normalisation", arguments->normalisation, "none, ortho (default) or inverse")
      ->check(CLI::IsMember(normalisations));
  command->add_option("--first", arguments->first, "Only the first M outputs")->check(CLI::PositiveNumber);
  command->add_option("--low", arguments->low, "dft: only the frequencies 0 ... M-1 and -M ... -1")
      ->check(CLI::PositiveNumber);
  command->add_flag("--real-pairs", arguments->real_pairs, "dft: real factors acting on [re x, im x]");
  command->add_option("--dtype", arguments->dtype, "float64 (default) or float32: precision of the factors")
      ->check(CLI::IsMember({"float32", "float64"}));
  command->add_option("-o,--output", arguments->output, "Factors and permutations as a safetensors file");
  command->add_flag("--json", arguments->json, "JSON on stdout");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace monarch::apps
