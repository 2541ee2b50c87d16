#include "monarch/data/field_cache.hpp"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/text.hpp"

namespace monarch::data {

namespace {

namespace fs = std::filesystem;

/// FNV-1a.
uint64_t digest(const std::string& text) {
  uint64_t hash = 14695981039346656037ull;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  return hash;
}

bool write_all(int file, const void* from, size_t count, off_t at) {
  const auto* bytes = static_cast<const char*>(from);
  while (count > 0) {
    const ssize_t done = ::pwrite(file, bytes, count, at);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    bytes += done;
    at += done;
    count -= static_cast<size_t>(done);
  }
  return true;
}

bool read_all(int file, void* to, size_t count, off_t at) {
  auto* bytes = static_cast<char*>(to);
  while (count > 0) {
    const ssize_t done = ::pread(file, bytes, count, at);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    bytes += done;
    at += done;
    count -= static_cast<size_t>(done);
  }
  return true;
}

class CachedArray final : public StoredArray {
 public:
  CachedArray(StoredArrayPtr array, int sample_axis, const fs::path& path, const std::string& variable,
              CacheLimits limits)
      : array_(std::move(array)), axis_(static_cast<size_t>(sample_axis)), limits_(limits) {
    shape_ = array_->shape();
    dtype_ = array_->dtype();
    storage_ = array_->storage();
    complex_ = array_->complex();
    type_ = dtype_ == "float64" || dtype_ == "complex128" ? at::kDouble : at::kFloat;
    for (size_t d = 0; d < shape_.size(); ++d) {
      if (d != axis_) order_.push_back(static_cast<int64_t>(d));
    }
    if (axis_ == 0) std::reverse(order_.begin(), order_.end());  // MATLAB's order
    order_.insert(order_.begin(), static_cast<int64_t>(axis_));
    back_.resize(order_.size());
    for (size_t i = 0; i < order_.size(); ++i) {
      back_[static_cast<size_t>(order_[i])] = static_cast<int64_t>(i);
      sample_shape_.push_back(i == 0 ? 1 : shape_[static_cast<size_t>(order_[i])]);
    }
    sample_bytes_ = static_cast<int64_t>(c10::elementSize(type_)) *
                    std::accumulate(sample_shape_.begin(), sample_shape_.end(), int64_t{1}, std::multiplies<>());
    std::error_code error;
    struct stat status {};
    const fs::path full = fs::absolute(path, error);
    if (!error && ::stat(full.c_str(), &status) == 0) {
      identity_ = fmt::format("monarch field cache 1\n{}\n{} bytes, changed {}.{:09}\n{}\naxis {} of {}, {}\n",
                              full.string(), status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec, variable,
                              axis_, shape_text(shape_), c10::toString(type_));
      identity_.resize((identity_.size() + 4095) / 4096 * 4096, '\n');
    }
  }
  ~CachedArray() override {
    if (file_ >= 0) ::close(file_);
  }
  CachedArray(const CachedArray&) = delete;
  CachedArray& operator=(const CachedArray&) = delete;

  at::Tensor read(const Block& block) const override {
    const int64_t samples = shape_[axis_];
    if (samples * sample_bytes_ < limits_.smallest_bytes) {
      const std::lock_guard lock(mutex_);
      if (!values_.defined()) values_ = array_->read(Block::all(shape_)).to(type_);
      return select(values_, block, block.first[axis_]);
    }
    if (4 * block.count[axis_] >= samples || !open()) return array_->read(block);
    std::vector<at::Tensor> parts;
    for (int64_t i = 0; i < block.count[axis_]; ++i) {
      at::Tensor one = at::empty(sample_shape_, type_);
      const int64_t index = block.first[axis_] + i * block.stride[axis_];
      const auto at = static_cast<off_t>(identity_.size()) + index * sample_bytes_;
      check<DataError>(
          read_all(file_, one.data_ptr(), one.nbytes(), at), [&] { return fmt::format("{}: cannot be read", place_); },
          "remove it; it is made anew");
      Block inner = block;
      inner.count[axis_] = inner.stride[axis_] = 1;
      parts.push_back(select(one.permute(back_), inner, 0));
    }
    return at::cat(parts, static_cast<int64_t>(axis_));
  }

 private:
  at::Tensor select(at::Tensor values, const Block& block, int64_t first_sample) const {
    for (size_t d = 0; d < shape_.size(); ++d) {
      const int64_t first = d == axis_ ? first_sample : block.first[d];
      values = values.slice(static_cast<int64_t>(d), first, first + (block.count[d] - 1) * block.stride[d] + 1,
                            block.stride[d]);
    }
    return values;
  }

  bool open() const {
    const std::lock_guard lock(mutex_);
    if (file_ >= 0) return true;
    if (failed_ || identity_.empty()) return false;
    failed_ = true;
    const fs::path folder = cache_folder();
    std::error_code error;
    if (folder.empty()) return false;
    fs::create_directories(folder / "fields", error);
    const fs::path path = folder / "fields" / fmt::format("{:016x}.bin", digest(identity_));
    place_ = path.string();
    file_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file_ >= 0 && !is_ours(file_)) {
      ::close(file_);
      file_ = -1;
    }
    if (file_ < 0) file_ = make(path);
    failed_ = file_ < 0;
    return file_ >= 0;
  }

  bool is_ours(int file) const {
    struct stat status {};
    std::string start(identity_.size(), '\0');
    return ::fstat(file, &status) == 0 &&
           status.st_size == static_cast<off_t>(identity_.size()) + shape_[axis_] * sample_bytes_ &&
           read_all(file, start.data(), start.size(), 0) && start == identity_;
  }

  /// Copies the array block by block along the slowest axis of the file; the copy gets its name when it is whole.
  int make(const fs::path& path) const {
    std::string name = path.string() + ".XXXXXX";
    const int file = ::mkstemp(name.data());
    if (file < 0) return -1;
    const int64_t samples = shape_[axis_];
    log::info(fmt::format("copying {} sample by sample into {}",
                          bytes_text(static_cast<double>(samples * sample_bytes_)), path.parent_path().string()));
    const size_t slow = order_.size() > 1 ? static_cast<size_t>(order_[1]) : axis_;
    const int64_t slice_bytes = samples * sample_bytes_ / std::max<int64_t>(shape_[slow], 1);
    const int64_t step = std::max<int64_t>(1, limits_.block_bytes / std::max<int64_t>(slice_bytes, 1));
    const int64_t inner = sample_bytes_ / std::max<int64_t>(shape_[slow], 1);
    bool fine = write_all(file, identity_.data(), identity_.size(), 0);
    try {
      for (int64_t first = 0; fine && first < shape_[slow]; first += step) {
        Block block = Block::all(shape_);
        block.first[slow] = first;
        block.count[slow] = std::min(step, shape_[slow] - first);
        const at::Tensor values = array_->read(block).to(type_).permute(order_).contiguous();
        const auto* from = static_cast<const char*>(values.const_data_ptr());
        const int64_t run = block.count[slow] * inner;
        for (int64_t s = 0; fine && s < samples; ++s, from += run) {
          fine =
              write_all(file, from, static_cast<size_t>(run),
                        static_cast<off_t>(static_cast<int64_t>(identity_.size()) + s * sample_bytes_ + first * inner));
        }
      }
    } catch (...) {
      ::close(file);
      ::unlink(name.c_str());
      throw;
    }
    fine = fine && ::rename(name.c_str(), path.c_str()) == 0;
    if (fine) return file;
    log::warning(fmt::format("{}: the cache cannot be written ({}); reading from the file itself, which is slower",
                             path.string(), std::strerror(errno)));
    ::close(file);
    ::unlink(name.c_str());
    return -1;
  }

  StoredArrayPtr array_;
  size_t axis_;
  CacheLimits limits_;
  at::ScalarType type_ = at::kFloat;
  std::vector<int64_t> order_;         ///< axes of the cache: samples, then from the slowest in the file to the fastest
  std::vector<int64_t> back_;          ///< undoes order_
  std::vector<int64_t> sample_shape_;  ///< in the order of the cache
  int64_t sample_bytes_ = 0;
  std::string identity_;
  mutable std::mutex mutex_;
  mutable at::Tensor values_;
  mutable int file_ = -1;
  mutable bool failed_ = false;
  mutable std::string place_;
};

}  // namespace

StoredArrayPtr cached_array(StoredArrayPtr array, int sample_axis, const fs::path& path, const std::string& variable,
                            CacheLimits limits) {
  return std::make_shared<CachedArray>(std::move(array), sample_axis, path, variable, limits);
}

}  // namespace monarch::data
