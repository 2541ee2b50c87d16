// The fused Monarch product on the CPU: which path a call takes, and who does what.
//
// Rows of the batch are cut into tiles. Inside a tile the columns are batch-innermost (monarch_block.hpp), so that the
// two block stages are products with unit stride and the permutations are places that columns are written to; the only
// traffic beside x, y and the factors is a transposition on the way in and out, and the tile of middle rows, which
// stays in the second-level cache. Threads take whole tiles; where the batch has fewer panels than there are threads,
// or gradients of large factors would need a copy per thread, they share a tile and take blocks instead. A few rows
// have dot products along the rows of the factors, which are then read once, at the speed of memory. bfloat16 has tiles
// of its own (monarch_bfloat16.hpp) where the processor multiplies it; else, and in backward, it is widened to float32.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/operators/kernels/cpu/monarch_bfloat16.hpp"
#include "monarch/operators/kernels/cpu/monarch_few_rows.hpp"
#include "monarch/operators/kernels/cpu/monarch_tasks.hpp"
#include "monarch/operators/kernels/cpu/monarch_tile.hpp"
#include "monarch/operators/kernels/monarch.hpp"

namespace monarch::operators::kernels::cpu {

Curve curve_of(Activation activation) {
  switch (activation) {
    case Activation::relu:
      return Curve::relu;
    case Activation::gelu:
      return Curve::gelu;
    case Activation::gelu_tanh:
      return Curve::gelu_tanh;
    case Activation::none:
      break;
  }
  return Curve::none;
}

namespace {

constexpr int64_t kMostRows = 256;         // of a tile; monarch_bfloat16.cpp counts on it
constexpr double kCachedBytes = 1 << 18;   // of middle rows in a tile
constexpr double kLargeFactors = 1 << 20;  // bytes from which more rows share one reading of the factors,
constexpr int64_t kLargeBlock = 128;       // where blocks are so large that middle rows may leave the cache
constexpr double kFlopsPerSecond = 1e11;   // of one thread, about; to estimate what threads would save
constexpr double kBytesPerSecond = 3e10;   // of factors that a thread reads

template <class T>
T* memory_of_tile(int64_t count, int which) {
  static thread_local Scratch<T> memory[3];
  return memory[which].get(count);
}

/// A new tensor; large ones in huge pages, since touching fresh memory page by page can cost as much as the product.
at::Tensor new_result(at::IntArrayRef shape, const at::TensorOptions& options) {
  constexpr size_t page = size_t{1} << 21;
  at::Tensor t = at::empty(shape, options);
  if (t.nbytes() >= 4 * page) {
    const auto begin = (reinterpret_cast<uintptr_t>(t.data_ptr()) + page - 1) / page * page;
    const auto end = (reinterpret_cast<uintptr_t>(t.data_ptr()) + t.nbytes()) / page * page;
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
  }
  return t;
}

template <class T>
const T* data(const at::Tensor& t) {
  return t.defined() ? static_cast<const T*>(t.const_data_ptr()) : nullptr;
}
template <class T>
T* mutable_data(const at::Tensor& t) {
  return t.defined() ? static_cast<T*>(t.mutable_data_ptr()) : nullptr;
}

/// The arguments as a problem; `out` from y or, in backward, the gradient.
template <class T, class Io>
MonarchProblem<T, Io> problem_of(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2,
                                 const at::Tensor& bias, int64_t out, bool dense) {
  MonarchProblem<T, Io> problem;
  problem.z = {w1.size(0), w1.size(1), w1.size(2), w2.size(0), w2.size(1), w2.size(2)};
  problem.batch = x.size(0);
  problem.in = x.size(1);
  problem.out = out;
  problem.complex = w1.is_complex();
  problem.first = !problem.complex ? Numbers::real : x.is_complex() ? Numbers::complex : Numbers::real_columns;
  problem.x = data<Io>(x);
  problem.w1 = data<T>(w1);
  problem.w2 = data<T>(w2);
  problem.bias = data<T>(bias);
  problem.make_places(dense);
  return problem;
}

template <class T, class Io>
double flops(const MonarchProblem<T, Io>& problem) {
  return 2.0 * static_cast<double>(problem.batch * problem.z.parameters()) * (problem.complex ? 4 : 1);
}
template <class T, class Io>
double factor_bytes(const MonarchProblem<T, Io>& problem) {
  return static_cast<double>(problem.z.parameters() * problem.unit()) * sizeof(T);
}

/// Rows of a tile: as many as the cache holds middle rows for, more where large factors are read anew for each tile,
/// and at least one tile for each thread.
template <class T, class Io>
int64_t tile_rows(const MonarchProblem<T, Io>& problem, int64_t threads) {
  const int64_t width = panel_width<T>();
  const double row = static_cast<double>(problem.z.middle() * problem.unit()) * sizeof(T);
  const bool reread = factor_bytes(problem) >= kLargeFactors && std::min(problem.z.q, problem.z.s) >= kLargeBlock;
  int64_t rows = reread ? kMostRows : static_cast<int64_t>(kCachedBytes / row);
  rows = std::clamp(rows / width * width, width, std::max(width, kMostRows));
  const int64_t share = ((problem.batch + threads - 1) / threads + width - 1) / width * width;
  return std::min(rows, share);
}

/// In hardware bfloat16 the arithmetic is cheap: as many as make reading the factors no dearer than reading the rows.
int64_t tile_rows(const PairProblem& problem, int64_t threads) {
  const int64_t width = panel_width<float>();
  int64_t rows = width;
  while (rows < kMostRows && rows * (problem.in + problem.z.middle() + problem.out) < problem.z.parameters()) rows *= 2;
  const int64_t share = ((problem.batch + threads - 1) / threads + width - 1) / width * width;
  return std::min(rows, share);
}

// ---- forward -------------------------------------------------------------------------------------------------------

/// Tile: ForwardTile or PairTile.
template <class Tile>
void forward_tiles(const typename Tile::Problem& problem, typename Tile::Kept* kept) {
  using Middle = typename Tile::Middle;
  const int64_t threads = at::get_num_threads();
  const bool worth = worth_sharing(flops(problem) / kFlopsPerSecond, 1);
  const int64_t rows = tile_rows(problem, worth ? threads : 1);
  const int64_t tiles = (problem.batch + rows - 1) / rows;
  if (!worth || tiles >= threads) {
    for_each(tiles, worth, [&](int64_t i) {
      const Tile tile(problem, i * rows, std::min(rows, problem.batch - i * rows));
      Middle* const in_place = tile.in_place(kept);
      Middle* middle = in_place ? in_place : memory_of_tile<Middle>(tile.middle_size(), 0);
      tile.run(middle);
      if (kept && !in_place) tile.keep(middle, kept);
    });
    return;
  }
  const Tasks first(problem.z.k, problem.z.q, threads);
  const int64_t step = std::min(Tile::second_step(problem), (problem.z.s + threads - 1) / threads);
  const int64_t steps = (problem.z.s + step - 1) / step;
  for (int64_t i = 0; i < tiles; ++i) {
    const Tile tile(problem, i * rows, std::min(rows, problem.batch - i * rows));
    Middle* const in_place = tile.in_place(kept);
    Middle* middle = in_place ? in_place : memory_of_tile<Middle>(tile.middle_size(), 0);
    tile.prepare(middle);
    for_each(first.count(), true,
             [&](int64_t task) { tile.first_stage(first.block(task), first.begin(task), first.size(task), middle); });
    for_each(steps, true,
             [&](int64_t task) { tile.second_stage(task * step, std::min(step, problem.z.s - task * step), middle); });
    if (kept && !in_place) tile.keep(middle, kept);
  }
}

/// Few rows' middle numbers between [row][j][middle_step] and the kept [row][j][rho].
template <class T, class Io>
void copy_few_rows(const MonarchProblem<T, Io>& problem, T* middle, T* kept, bool keep) {
  const int64_t block = problem.z.r * problem.unit(), step = problem.middle_step * problem.unit();
  for (int64_t i = 0; i < problem.batch * problem.z.l; ++i) {
    T *padded = middle + i * step, *dense = kept + i * block;
    std::memcpy(keep ? dense : padded, keep ? padded : dense, static_cast<size_t>(block) * sizeof(T));
  }
}

/// x in the type of the factors, with the columns that it lacks.
at::Tensor whole_rows(const at::Tensor& x, at::ScalarType dtype, int64_t columns) {
  const at::Tensor rows = x.to(dtype);
  return x.size(1) < columns ? at::constant_pad_nd(rows, {0, columns - x.size(1)}) : rows;
}

/// Threads share the factors of few rows where these come from memory.
template <class T, class Io>
bool share_few_rows(const MonarchProblem<T, Io>& problem) {
  return worth_sharing(factor_bytes(problem) / kBytesPerSecond, 2);
}

/// Kept for backward: [batch, k q], rows of a panel [j][rho][row] one panel after the other; few rows [row][j][rho].
template <class T, class Io>
void forward(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2, const at::Tensor& bias, int64_t out,
             Activation activation, const MonarchForward& result) {
  constexpr auto dtype = c10::CppTypeToScalarType<T>::value;
  constexpr bool narrow = !std::is_same_v<T, Io>;
  const bool few = x.size(0) <= kFewRows;
  const auto wide = [&](const at::Tensor& t) { return narrow && t.defined() ? t.to(dtype) : t; };
  const at::Tensor v1 = few ? w1 : wide(w1), v2 = few ? w2 : wide(w2), shift = wide(bias);
  auto problem = problem_of<T, Io>(x, v1, v2, shift, out, result.middle.defined());
  problem.curve = curve_of(activation);
  problem.y = mutable_data<Io>(result.y);
  problem.before = mutable_data<Io>(result.input_of_activation);
  T* kept = mutable_data<T>(result.middle);
  if (!few) {
    forward_tiles<ForwardTile<T, Io>>(problem, kept);
    return;
  }
  using Weight = std::conditional_t<narrow, uint16_t, T>;
  const at::Tensor rows = whole_rows(x, narrow ? dtype : w1.scalar_type(), problem.z.in());
  const bool share = share_few_rows(problem);
  T* middle = memory_of_tile<T>(few_rows_middle_size(problem), 0);
  few_rows_middle(problem, data<Weight>(w1), data<T>(rows), middle, share);
  few_rows_result(problem, data<Weight>(w2), middle, share);
  if (kept) copy_few_rows(problem, middle, kept, true);
}

/// In hardware bfloat16; `result.middle` is bfloat16. False, and nothing done, where that is not possible.
bool forward_pairs(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2, const at::Tensor& bias, int64_t out,
                   Activation activation, const MonarchForward& result) {
  if (x.size(0) <= kFewRows || bfloat16_in_use() == Bfloat16::widened) return false;
  const at::Tensor shift = bias.defined() ? bias.to(at::kFloat) : bias;
  auto problem = problem_of<float, uint16_t>(x, w1, w2, shift, out, false);
  if (!PairProblem::possible(problem)) return false;
  problem.curve = curve_of(activation);
  problem.y = mutable_data<uint16_t>(result.y);
  problem.before = mutable_data<uint16_t>(result.input_of_activation);
  const PairProblem pairs(problem, data<uint16_t>(w1), data<uint16_t>(w2), bfloat16_in_use());
  forward_tiles<PairTile>(pairs, mutable_data<uint16_t>(result.middle));
  return true;
}

// ---- backward ------------------------------------------------------------------------------------------------------

/// dL/dz of rows whose activation is not the identity.
template <class T>
void activation_gradient(const MonarchBackwardTask& task, const at::Tensor& z, const at::Tensor& dz) {
  const Curve curve = curve_of(task.activation);
  const int64_t row = dz.size(1);
  const T *g = data<T>(task.gradient), *input = data<T>(z);
  T* to = mutable_data<T>(dz);
  at::parallel_for(0, dz.size(0), std::max<int64_t>(1, 32768 / row), [&](int64_t begin, int64_t end) {
    curve_gradient(g + begin * row, input + begin * row, curve, to + begin * row, (end - begin) * row);
  });
}

template <class T>
class Backward {
 public:
  Backward(const MonarchBackwardTask& task, const at::Tensor& gradient, MonarchGradients& result)
      : problem_(problem_of<T, T>(task.x, task.w1, task.w2, {}, gradient.size(1), task.middle.defined())),
        kept_(const_cast<T*>(data<T>(task.middle))),
        wanted_(task.wanted),
        x_(task.x),
        result_(result) {
    tile_task_.gradient = data<T>(gradient);
    tile_task_.dx = mutable_data<T>(result[0]);
    const auto& z = problem_.z;
    const int64_t unit = problem_.unit();
    result_place_.resize(static_cast<size_t>(z.out() * unit));
    for (int64_t s = 0, c = 0; s < z.s; ++s) {
      for (int64_t j = 0; j < z.l; ++j) {
        for (int64_t u = 0; u < unit; ++u, ++c) {
          result_place_[static_cast<size_t>(c)] = static_cast<int32_t>((j * spread(z.s) + s) * unit + u);
        }
      }
    }
    tile_task_.result_place = result_place_.data();
  }

  void run() {
    if (problem_.batch <= kFewRows) return run_few_rows();
    const int64_t threads = at::get_num_threads();
    const bool worth = worth_sharing(2 * flops(problem_) / kFlopsPerSecond, 1);
    const int64_t rows = tile_rows(problem_, worth ? threads : 1);
    const int64_t tiles = (problem_.batch + rows - 1) / rows;
    // A copy of the weights' gradients per thread costs their size thrice; that must be small beside the work.
    const bool copies = factor_bytes(problem_) < kLargeFactors || problem_.batch >= 4096 * threads;
    if (!worth) {
      for (int64_t i = 0; i < tiles; ++i) tile(i * rows, rows, weights(result_[1]), weights(result_[2]), i > 0);
    } else if (tiles >= threads && copies) {
      run_by_rows(rows, tiles, threads);
    } else {
      const int64_t shared =
          std::min<int64_t>(kMostRows, (problem_.batch + panel_width<T>() - 1) / panel_width<T>() * panel_width<T>());
      for (int64_t row0 = 0; row0 < problem_.batch; row0 += shared) shared_tile(row0, shared, threads);
    }
  }

 private:
  static T* weights(const at::Tensor& t) { return mutable_data<T>(t); }

  void run_few_rows() const {
    FewRowsGradients<T> gradients;
    gradients.gradient = tile_task_.gradient;
    gradients.dx = tile_task_.dx;
    gradients.dw1 = weights(result_[1]);
    gradients.dw2 = weights(result_[2]);
    const bool share = share_few_rows(problem_);
    if (wants_middle()) {
      T* middle = memory_of_tile<T>(few_rows_middle_size(problem_), 0);
      if (kept_) {
        copy_few_rows(problem_, middle, kept_, false);
      } else {
        const at::Tensor rows = whole_rows(x_, x_.scalar_type(), problem_.z.in());
        few_rows_middle(problem_, problem_.w1, data<T>(rows), middle, share);
      }
      gradients.middle = middle;
    }
    few_rows_backward(problem_, gradients, share);
  }

  /// Every thread takes rows, and adds to gradients of its own.
  void run_by_rows(int64_t rows, int64_t tiles, int64_t threads) {
    std::vector<std::array<at::Tensor, 2>> sums(static_cast<size_t>(threads));
    sums[0] = {result_[1], result_[2]};
    for (size_t t = 1; t < sums.size(); ++t) {
      for (size_t f = 0; f < 2; ++f) {
        if (sums[0][f].defined()) sums[t][f] = at::zeros_like(sums[0][f]);
      }
    }
    at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const auto& sum = sums[static_cast<size_t>(t)];
        const int64_t first = t * tiles / threads;  // tiles >= threads: every sum is written
        for (int64_t i = first; i < (t + 1) * tiles / threads; ++i) {
          tile(i * rows, rows, weights(sum[0]), weights(sum[1]), i > first);
        }
      }
    });
    for (size_t t = 1; t < sums.size(); ++t) {
      for (size_t f = 0; f < 2; ++f) {
        if (sums[0][f].defined()) sums[0][f].add_(sums[t][f]);
      }
    }
  }

  bool wants_middle() const { return wanted_[2]; }
  bool wants_first() const { return wanted_[0] || wanted_[1]; }

  void tile(int64_t row0, int64_t rows, T* dw1, T* dw2, bool accumulate) const {
    const auto& z = problem_.z;
    rows = std::min(rows, problem_.batch - row0);
    const ForwardTile<T, T> forward(problem_, row0, rows);
    const BackwardTile<T> backward(problem_, tile_task_, row0, rows);
    T* dz = memory_of_tile<T>(backward.result_size(), 1);
    backward.pack_gradient(dz);
    if (wants_middle()) {
      T* middle = forward.in_place(kept_);
      if (!middle) {
        middle = memory_of_tile<T>(forward.middle_size(), 0);
        if (kept_) forward.restore(kept_, middle);
      }
      if (!kept_) {
        for (int64_t k = 0; k < z.k; ++k) forward.first_stage(k, 0, z.q, middle);
      }
      for (int64_t j = 0; j < z.l; ++j) backward.second_weights(j, 0, z.s, dz, middle, dw2, accumulate);
    }
    if (!wants_first()) return;
    T* dmiddle = memory_of_tile<T>(backward.middle_size(), 2);
    for (int64_t j = 0; j < z.l; ++j) backward.middle_gradient(j, 0, z.r, dz, dmiddle);
    for (int64_t k = 0; k < z.k; ++k) {
      if (wanted_[1]) backward.first_weights(k, 0, z.q, dmiddle, dw1, accumulate);
      if (wanted_[0]) backward.input_gradient(k, 0, z.p, dmiddle);
    }
  }

  /// All threads on one tile: no two of them write to the same weights.
  void shared_tile(int64_t row0, int64_t rows, int64_t threads) const {
    const auto& z = problem_.z;
    rows = std::min(rows, problem_.batch - row0);
    const ForwardTile<T, T> forward(problem_, row0, rows);
    const BackwardTile<T> backward(problem_, tile_task_, row0, rows);
    T* dz = memory_of_tile<T>(backward.result_size(), 1);
    T* middle = forward.in_place(kept_);
    if (!middle) middle = memory_of_tile<T>(forward.middle_size(), 0);
    T* dmiddle = memory_of_tile<T>(backward.middle_size(), 2);
    backward.pack_gradient(dz);
    if (wants_middle()) {
      if (kept_) {
        if (!forward.in_place(kept_)) forward.restore(kept_, middle);
      } else {
        const Tasks tasks(z.k, z.q, threads);
        for_each(tasks.count(), true, [&](int64_t task) {
          forward.first_stage(tasks.block(task), tasks.begin(task), tasks.size(task), middle);
        });
      }
    }
    const Tasks second(z.l, z.s, threads), inner(z.l, z.r, threads);
    const int64_t outer = wants_middle() ? second.count() : 0;
    for_each(outer + (wants_first() ? inner.count() : 0), true, [&](int64_t task) {
      if (task < outer) {
        backward.second_weights(second.block(task), second.begin(task), second.size(task), dz, middle,
                                weights(result_[2]), row0 > 0);
      } else {
        task -= outer;
        backward.middle_gradient(inner.block(task), inner.begin(task), inner.size(task), dz, dmiddle);
      }
    });
    if (!wants_first()) return;
    const Tasks first(z.k, z.q, threads), input(z.k, z.p, threads);
    const int64_t weight_tasks = wanted_[1] ? first.count() : 0;
    for_each(weight_tasks + (wanted_[0] ? input.count() : 0), true, [&](int64_t task) {
      if (task < weight_tasks) {
        backward.first_weights(first.block(task), first.begin(task), first.size(task), dmiddle, weights(result_[1]),
                               row0 > 0);
      } else {
        task -= weight_tasks;
        backward.input_gradient(input.block(task), input.begin(task), input.size(task), dmiddle);
      }
    });
  }

  MonarchProblem<T, T> problem_;
  typename BackwardTile<T>::Task tile_task_;
  std::vector<int32_t> result_place_;
  T* kept_;  // is only read
  std::array<bool, 4> wanted_;
  at::Tensor x_;
  MonarchGradients& result_;
};

template <class T>
MonarchGradients backward(const MonarchBackwardTask& task) {
  at::Tensor gradient = task.gradient;
  if (task.activation != Activation::none) {
    at::Tensor z = task.activation == Activation::relu ? task.y : task.input_of_activation;
    if (!z.defined()) {
      z = monarch_forward(task.x, task.w1, task.w2, task.bias, gradient.size(1), Activation::none, false).y;
    }
    const at::Tensor dz = at::empty_like(gradient);
    activation_gradient<T>(task, z, dz);
    gradient = dz;
  }
  MonarchGradients result;
  if (task.wanted[0]) result[0] = new_result(task.x.sizes(), task.x.options());
  if (task.wanted[1]) {
    // Columns that x lacks are not written.
    const bool whole = task.x.size(1) == task.w1.size(0) * task.w1.size(2);
    result[1] = whole ? new_result(task.w1.sizes(), task.w1.options()) : at::zeros_like(task.w1);
  }
  if (task.wanted[2]) result[2] = new_result(task.w2.sizes(), task.w2.options());
  if (task.wanted[3]) result[3] = gradient.sum(0);
  if (task.wanted[0] || task.wanted[1] || task.wanted[2]) Backward<T>(task, gradient, result).run();
  return result;
}

}  // namespace

std::string instructions() {
  if (!has_vectors()) return "none";
  switch (bfloat16_in_use()) {
    case Bfloat16::tiles:
      return fmt::format("{}, AMX for bfloat16", vector_target());
    case Bfloat16::dots:
      return fmt::format("{}, AVX512-BF16 for bfloat16", vector_target());
    case Bfloat16::widened:
      break;
  }
  return vector_target();
}

MonarchForward monarch_forward(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& w2, const at::Tensor& bias,
                               int64_t out, Activation activation, bool keep) {
  [[maybe_unused]] static const bool logged = [] {
    log::debug("Monarch product: vector instructions " + instructions());
    return true;
  }();
  if (!has_vectors()) return reference::monarch_forward(x, w1, w2, bias, out, activation, keep);
  const auto dtype = w1.scalar_type();
  MonarchForward result;
  result.y = new_result({x.size(0), out}, w1.options());
  if (keep) {
    result.middle = new_result({x.size(0), w1.size(0) * w1.size(1)}, w1.options());
    if (activation == Activation::gelu || activation == Activation::gelu_tanh) {
      result.input_of_activation = at::empty({x.size(0), out}, w1.options());
    }
  }
  switch (dtype) {
    case at::kFloat:
    case at::kComplexFloat:
      forward<float, float>(x, w1, w2, bias, out, activation, result);
      break;
    case at::kDouble:
    case at::kComplexDouble:
      forward<double, double>(x, w1, w2, bias, out, activation, result);
      break;
    case at::kBFloat16:
      if (forward_pairs(x, w1, w2, bias, out, activation, result)) break;
      if (keep) result.middle = new_result(result.middle.sizes(), w1.options().dtype(at::kFloat));
      forward<float, uint16_t>(x, w1, w2, bias, out, activation, result);
      if (keep) result.middle = result.middle.to(dtype);
      break;
    default:
      fail<DtypeError>("the CPU kernel of the Monarch product has no such element type");
  }
  return result;
}

MonarchGradients monarch_backward(const MonarchBackwardTask& task) {
  if (!has_vectors()) return reference::monarch_backward(task);
  MonarchBackwardTask wide = task;
  const auto dtype = task.w1.scalar_type();
  const auto x_dtype = task.x.scalar_type();
  const auto to = dtype == at::kBFloat16 ? at::kFloat : dtype;
  for (at::Tensor* t :
       {&wide.x, &wide.w1, &wide.w2, &wide.bias, &wide.gradient, &wide.y, &wide.middle, &wide.input_of_activation}) {
    if (t->defined()) *t = t->to(to);
  }
  MonarchGradients result;
  switch (to) {
    case at::kFloat:
    case at::kComplexFloat:
      result = backward<float>(wide);
      break;
    case at::kDouble:
    case at::kComplexDouble:
      result = backward<double>(wide);
      break;
    default:
      fail<DtypeError>("the CPU kernel of the Monarch product has no such element type");
  }
  if (result[0].defined() && x_dtype != result[0].scalar_type()) {
    result[0] = dtype == at::kBFloat16 ? result[0].to(x_dtype) : at::real(result[0]).contiguous();
  }
  if (dtype == at::kBFloat16) {
    for (size_t i = 1; i < 4; ++i) {
      if (result[i].defined()) result[i] = result[i].to(dtype);
    }
  }
  return result;
}

}  // namespace monarch::operators::kernels::cpu
