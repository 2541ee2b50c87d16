#pragma once
// A dense weight kept beside the factors of a layer, for batches too small for the structure to pay.

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

namespace monarch::operators {

/// automatic: measured once per batch class (CPU, fewer than 128 rows); monarch, dense: always that one.
enum class InferencePath { automatic, monarch, dense };

/// Chooses between the structured product and a dense weight in inference, and keeps that weight.
///
/// A batch class is a power of two of rows, with the element type and the number of threads. The first product of a
/// class times both ways (one unmeasured run, then five of each by turns, the fastest counts); dense must be 5 %
/// faster, because it costs memory. All layers of one name in the process share the decision, which is logged once at
/// level debug and stays; a cache with a stopwatch of its own decides for itself. The weight is built when first
/// needed, rebuilt when one of its sources was changed, and dropped by forget(). Sources are compared by storage and
/// PyTorch's version counter, which writes through Tensor::data() bypass: call forget() after those. Tensors made in
/// inference mode have no counter and are never cached. Thread-safe. A copy starts with the settings and nothing else.
class DenseCache {
 public:
  /// Runs the work once and returns the seconds it took.
  using Stopwatch = std::function<double(const std::function<void()>& work)>;

  DenseCache() = default;
  DenseCache(const DenseCache& other);
  DenseCache& operator=(const DenseCache& other);

  void set_path(InferencePath path);
  InferencePath path() const { return path_; }
  /// Replaces the wall clock, and forgets what was decided by the one before.
  void set_stopwatch(Stopwatch stopwatch);

  struct Ways {
    std::function<at::Tensor()> build;                    ///< the dense weight of the sources
    std::function<void(const at::Tensor& weight)> dense;  ///< one product with it
    std::function<void()> monarch;                        ///< one structured product
    std::string name;                                     ///< kind and sizes of the layer
  };
  /// The weight to multiply `rows` rows of x by, or an undefined tensor: use the factors.
  at::Tensor weight_for(int64_t rows, const std::vector<at::Tensor>& sources, const Ways& ways);

  /// The dense weight, from the cache where the sources are as they were.
  at::Tensor weight(const std::vector<at::Tensor>& sources, const std::function<at::Tensor()>& build);

  /// Drops the weight; decisions stay.
  void forget();
  /// A weight is held.
  bool holds_weight() const;

 private:
  struct Decisions;
  using State = std::tuple<const void*, int64_t, int8_t>;  ///< storage, version, element type

  at::Tensor cached(const std::vector<at::Tensor>& sources, const std::function<at::Tensor()>& build);
  bool dense_is_faster(int64_t rows, const std::vector<at::Tensor>& sources, const Ways& ways);
  bool measure(const at::Tensor& weight, const Ways& ways, int64_t rows) const;

  InferencePath path_ = InferencePath::automatic;
  Stopwatch stopwatch_;
  mutable std::mutex mutex_;
  at::Tensor weight_;
  std::vector<State> states_;
  std::shared_ptr<Decisions> own_decisions_;  ///< with a stopwatch
};

}  // namespace monarch::operators
