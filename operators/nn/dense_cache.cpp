#include "monarch/operators/nn/dense_cache.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <limits>
#include <map>
#include <mutex>

#include "monarch/core/log.hpp"

namespace monarch::operators {
namespace {

constexpr int64_t most_rows = 127;
constexpr int repetitions = 5;
constexpr double margin = 0.95;

double wall_clock(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

bool cacheable(const std::vector<at::Tensor>& sources) {
  return std::none_of(sources.begin(), sources.end(), [](const at::Tensor& t) { return t.is_inference(); });
}

}  // namespace

struct DenseCache::Decisions {
  using Case = std::tuple<std::string, int, int, int8_t>;  ///< name, log2 of rows, threads, element type

  static Decisions& of_process() {
    static Decisions decisions;
    return decisions;
  }

  std::mutex mutex;  ///< held while a case is measured, so that no two measurements disturb each other
  std::map<Case, bool> dense_is_faster;
};

DenseCache::DenseCache(const DenseCache& other) : path_(other.path_) {
  if (other.stopwatch_) set_stopwatch(other.stopwatch_);
}

DenseCache& DenseCache::operator=(const DenseCache& other) {
  if (this == &other) return *this;
  const std::lock_guard lock(mutex_);
  path_ = other.path_;
  stopwatch_ = other.stopwatch_;
  own_decisions_ = stopwatch_ ? std::make_shared<Decisions>() : nullptr;
  weight_.reset();
  return *this;
}

void DenseCache::set_path(InferencePath path) {
  const std::lock_guard lock(mutex_);
  path_ = path;
  weight_.reset();
}

void DenseCache::set_stopwatch(Stopwatch stopwatch) {
  const std::lock_guard lock(mutex_);
  stopwatch_ = std::move(stopwatch);
  own_decisions_ = stopwatch_ ? std::make_shared<Decisions>() : nullptr;
}

void DenseCache::forget() {
  const std::lock_guard lock(mutex_);
  weight_.reset();
}

bool DenseCache::holds_weight() const {
  const std::lock_guard lock(mutex_);
  return weight_.defined();
}

at::Tensor DenseCache::cached(const std::vector<at::Tensor>& sources, const std::function<at::Tensor()>& build) {
  std::vector<State> states;
  for (const auto& t : sources) {
    states.emplace_back(t.const_data_ptr(), t._version(), static_cast<int8_t>(t.scalar_type()));
  }
  if (!weight_.defined() || states != states_) {
    const c10::NoGradGuard no_gradient;
    weight_ = build().contiguous();
    states_ = std::move(states);
  }
  return weight_;
}

bool DenseCache::measure(const at::Tensor& weight, const Ways& ways, int64_t rows) const {
  const Stopwatch& seconds = stopwatch_ ? stopwatch_ : wall_clock;
  const std::function<void()> with_dense = [&] { ways.dense(weight); };
  with_dense();
  ways.monarch();
  double dense = std::numeric_limits<double>::infinity(), monarch = dense;
  for (int i = 0; i < repetitions; ++i) {
    dense = std::min(dense, seconds(with_dense));
    monarch = std::min(monarch, seconds(ways.monarch));
  }
  const bool faster = dense < margin * monarch;
  log::debug(fmt::format("{}: {} rows take {:.1f} us dense, {:.1f} us as Monarch; using {}", ways.name, rows,
                         dense * 1e6, monarch * 1e6, faster ? "a cached dense weight" : "the factors"));
  return faster;
}

at::Tensor DenseCache::weight_for(int64_t rows, const std::vector<at::Tensor>& sources, const Ways& ways) {
  const std::lock_guard lock(mutex_);
  if (path_ == InferencePath::monarch || rows < 1 || !cacheable(sources)) return {};
  if (path_ == InferencePath::dense) return cached(sources, ways.build);
  if (rows > most_rows || !sources.front().is_cpu()) return {};
  return dense_is_faster(rows, sources, ways) ? cached(sources, ways.build) : at::Tensor();
}

bool DenseCache::dense_is_faster(int64_t rows, const std::vector<at::Tensor>& sources, const Ways& ways) {
  Decisions& decisions = own_decisions_ ? *own_decisions_ : Decisions::of_process();
  const Decisions::Case asked(ways.name, std::bit_width(static_cast<uint64_t>(rows)), at::get_num_threads(),
                              static_cast<int8_t>(sources.front().scalar_type()));
  const std::lock_guard lock(decisions.mutex);
  const auto known = decisions.dense_is_faster.find(asked);
  if (known != decisions.dense_is_faster.end()) return known->second;
  const bool held = weight_.defined();
  const bool faster = measure(cached(sources, ways.build), ways, rows);
  if (!faster && !held) weight_.reset();
  return decisions.dense_is_faster.emplace(asked, faster).first->second;
}

at::Tensor DenseCache::weight(const std::vector<at::Tensor>& sources, const std::function<at::Tensor()>& build) {
  const std::lock_guard lock(mutex_);
  if (!cacheable(sources)) return build();
  return cached(sources, build);
}

}  // namespace monarch::operators
