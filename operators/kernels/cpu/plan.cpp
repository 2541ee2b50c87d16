// FFTW plans: made once per shape, measured once per machine.
#include <fftw3.h>
#include <fmt/format.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <sstream>
#include <tuple>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/provenance.hpp"
#include "monarch/operators/kernels/fourier.hpp"

namespace monarch::operators::kernels::cpu {
namespace {

/// One candidate is timed to its end, so a plan may take a little longer than this.
constexpr double planning_limit_seconds = 0.5;
/// Cheaper plans are not worth a write to disk.
constexpr double worth_keeping_seconds = 2e-3;
constexpr size_t most_plans = 2048;
constexpr std::uintmax_t most_wisdom_bytes = 64 << 20;

// The two precisions of FFTW are two libraries with two sets of names.
template <class T>
struct Fftw;
#define MONARCH_FFTW(T, X, precision)                                                                               \
  template <>                                                                                                       \
  struct Fftw<T> {                                                                                                  \
    using Handle = X##plan;                                                                                         \
    using Number = X##complex;                                                                                      \
    static constexpr const char* name = precision;                                                                  \
    static Handle plan(int rank, const fftw_iodim64* dims, int batch_rank, const fftw_iodim64* batch, Number* data, \
                       int sign, unsigned flags) {                                                                  \
      return X##plan_guru64_dft(rank, dims, batch_rank, batch, data, data, sign, flags);                            \
    }                                                                                                               \
    static void execute(Handle handle, Number* data) { X##execute_dft(handle, data, data); }                        \
    static void destroy(Handle handle) { X##destroy_plan(handle); }                                                 \
    static void* allocate(size_t bytes) { return X##malloc(bytes); }                                                \
    static void release(void* memory) { X##free(memory); }                                                          \
    static int alignment(void* data) { return X##alignment_of(static_cast<decltype(X##alloc_real(0))>(data)); }     \
    static void limit(double seconds) { X##set_timelimit(seconds); }                                                \
    static char* wisdom() { return X##export_wisdom_to_string(); }                                                  \
    static bool learn(const std::string& text) { return X##import_wisdom_from_string(text.c_str()) != 0; }          \
    static std::string version() { return X##version; }                                                             \
  }
MONARCH_FFTW(float, fftwf_, "float");
MONARCH_FFTW(double, fftw_, "double");
#undef MONARCH_FFTW

struct Planner {
  std::mutex building;     ///< one get_plan() at a time makes a plan; taken before `library`
  std::mutex library;      ///< FFTW's planner, wisdom and destructors are not thread-safe
  PlanStatistics figures;  ///< under `library`
};
// Never destroyed: plans may be released after the statics of this file.
Planner& planner() {
  static auto* one = new Planner;
  return *one;
}

/// What timings depend on: the processor and the library.
std::string machine() {
  std::ifstream file("/proc/cpuinfo");
  std::string text;
  for (std::string line; std::getline(file, line) && !line.empty();) {
    if (line.starts_with("model name") || line.starts_with("flags") || line.starts_with("Features")) text += line;
  }
  return text;
}

/// Where wisdom is kept; empty where there is no cache folder.
template <class T>
std::filesystem::path wisdom_file() {
  const std::filesystem::path folder = cache_folder();
  if (folder.empty()) return {};
  static const std::string key = text_hash(machine() + Fftw<T>::version()).substr(0, 12);
  return folder / fmt::format("fftw-{}-{}.wisdom", Fftw<T>::name, key);
}

/// Adds the file's wisdom to the process's. FFTW refuses text that it did not write itself.
template <class T>
void load_wisdom(const std::filesystem::path& path) {
  std::error_code error;
  if (path.empty() || !std::filesystem::is_regular_file(path, error)) return;
  const auto bytes = std::filesystem::file_size(path, error);
  if (error || bytes > most_wisdom_bytes) return;
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  if (!file || !Fftw<T>::learn(text.str())) {
    log::debug(fmt::format("{}: not usable as FFTW wisdom; plans are measured again", path.string()));
  }
}

template <class T>
void save_wisdom(const std::filesystem::path& path) {
  if (path.empty()) return;
  load_wisdom<T>(path);  // what other programs have learned since
  char* text = Fftw<T>::wisdom();
  if (!text) return;
  try {
    write_file_atomically(path, text);
  } catch (const Error& e) {
    log::debug(fmt::format("FFTW wisdom is not kept: {}", e.message()));
  }
  std::free(text);
}

/// Elements from the first to one past the last of a plan's data.
int64_t reach(const PlanShape& shape) {
  int64_t last = 0;
  for (const auto* dims : {&shape.dims, &shape.batch}) {
    for (const Dimension& d : *dims) {
      int64_t distance = 0;
      const bool fits = d.n >= 1 && d.stride >= 1 && !__builtin_mul_overflow(d.n - 1, d.stride, &distance) &&
                        !__builtin_add_overflow(last, distance, &last) && last < (int64_t{1} << 58);
      check<ShapeError>(fits, [&] {
        return fmt::format("Fourier plan: extent {} with stride {} is not possible; both are at least 1", d.n,
                           d.stride);
      });
    }
  }
  return last + 1;
}

std::vector<fftw_iodim64> fftw_dims(const std::vector<Dimension>& dims) {
  std::vector<fftw_iodim64> result;
  for (const Dimension& d : dims) result.push_back({d.n, d.stride, d.stride});
  return result;
}

/// A plan for data at `offset` bytes past a 16-byte boundary. Called under planner().library.
template <class T>
typename Fftw<T>::Handle make(const PlanShape& shape, Effort effort, int offset, unsigned flags) {
  static std::once_flag first;
  std::call_once(first, [] { load_wisdom<T>(wisdom_file<T>()); });
  const size_t bytes = static_cast<size_t>(reach(shape)) * 2 * sizeof(T) + 16;
  const std::unique_ptr<void, void (*)(void*)> scratch(Fftw<T>::allocate(bytes), Fftw<T>::release);
  check<BackendError>(scratch != nullptr,
                      [&] { return fmt::format("FFTW: no memory to plan with ({} bytes)", bytes); });
  auto* data = reinterpret_cast<typename Fftw<T>::Number*>(static_cast<char*>(scratch.get()) + offset);
  const auto dims = fftw_dims(shape.dims);
  const auto batch = fftw_dims(shape.batch);
  const int sign = shape.inverse ? FFTW_BACKWARD : FFTW_FORWARD;
  const auto plan = [&](unsigned extra) {
    return Fftw<T>::plan(static_cast<int>(dims.size()), dims.data(), static_cast<int>(batch.size()), batch.data(), data,
                         sign, flags | extra);
  };
  const auto start = std::chrono::steady_clock::now();
  PlanStatistics& figures = planner().figures;
  // Wisdom first, for an estimate as well: it costs nothing and is as good as measuring.
  auto handle = plan(FFTW_MEASURE | FFTW_WISDOM_ONLY);
  const bool known = handle != nullptr;
  if (!known) {
    Fftw<T>::limit(planning_limit_seconds);
    handle = plan(effort == Effort::measure ? FFTW_MEASURE : FFTW_ESTIMATE);
  }
  check<BackendError>(handle != nullptr, "FFTW: the planner found no algorithm for this transform");
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  ++figures.planned;
  figures.from_wisdom += known;
  figures.planning_seconds += seconds;
  if (!known && effort == Effort::measure) {
    ++figures.measured;
    if (seconds >= worth_keeping_seconds) save_wisdom<T>(wisdom_file<T>());
  }
  return handle;
}

}  // namespace

/// One FFTW plan per alignment of the data: its vector code for 16-byte boundaries differs from that for the middle
/// between two; at odd places (an array of floats seen as complex) it uses none.
template <class T>
struct Plan<T>::Variants {
  PlanShape shape;
  Effort effort;
  struct Variant {
    std::once_flag once;
    typename Fftw<T>::Handle handle = nullptr;
  };
  std::array<Variant, 3> variants;

  typename Fftw<T>::Handle find(std::complex<T>* data) {
    const int offset = Fftw<T>::alignment(data);
    const int index = offset == 0 ? 0 : offset == 8 ? 1 : 2;
    Variant& variant = variants[index];
    std::call_once(variant.once, [&] {
      const std::lock_guard lock(planner().library);
      variant.handle = make<T>(shape, effort, index == 1 ? 8 : 0, index == 2 ? FFTW_UNALIGNED : 0u);
    });
    return variant.handle;
  }

  ~Variants() {
    const std::lock_guard lock(planner().library);
    for (Variant& variant : variants) {
      if (variant.handle) Fftw<T>::destroy(variant.handle);
    }
  }
};

template <class T>
Plan<T>::Plan(std::unique_ptr<Variants> variants) : variants_(std::move(variants)) {}
template <class T>
Plan<T>::~Plan() = default;

template <class T>
void Plan<T>::execute(std::complex<T>* data) const {
  Fftw<T>::execute(variants_->find(data), reinterpret_cast<typename Fftw<T>::Number*>(data));
}

template <class T>
std::shared_ptr<const Plan<T>> get_plan(const PlanShape& shape, Effort effort) {
  using Cache = std::map<std::pair<PlanShape, Effort>, std::shared_ptr<const Plan<T>>>;
  static auto* mutex = new std::shared_mutex;
  static auto* cache = new Cache;
  const std::pair key(shape, effort);
  const auto cached = [&]() -> std::shared_ptr<const Plan<T>> {
    const std::shared_lock lock(*mutex);
    const auto found = cache->find(key);
    return found == cache->end() ? nullptr : found->second;
  };
  if (auto plan = cached()) return plan;

  check<ShapeError>(!shape.dims.empty() && shape.dims.size() <= 3,
                    [&] { return fmt::format("Fourier plan: {} dimensions; expected 1, 2 or 3", shape.dims.size()); });
  reach(shape);
  Cache dropped;  // destroyed last, when no lock is held
  const std::lock_guard lock(planner().building);
  if (auto plan = cached()) return plan;
  auto variants = std::make_unique<typename Plan<T>::Variants>();
  variants->shape = shape;
  variants->effort = effort;
  variants->find(nullptr);  // address 0 is aligned
  auto plan = std::make_shared<const Plan<T>>(std::move(variants));
  const std::unique_lock write(*mutex);
  if (cache->size() >= most_plans) cache->swap(dropped);
  cache->emplace(key, plan);
  return plan;
}

PlanStatistics plan_statistics() {
  const std::lock_guard lock(planner().library);
  return planner().figures;
}

std::mutex& planner_mutex() {
  return planner().library;
}

template class Plan<float>;
template class Plan<double>;
template std::shared_ptr<const Plan<float>> get_plan<float>(const PlanShape&, Effort);
template std::shared_ptr<const Plan<double>> get_plan<double>(const PlanShape&, Effort);

}  // namespace monarch::operators::kernels::cpu
