#pragma once
// A file of fields that is only in memory.

#include <ATen/ATen.h>

#include <map>
#include <memory>
#include <string>

#include "monarch/data/fields.hpp"

namespace monarch::test {

/// Fields [sample, time, channel, grid…], or [sample, channel, grid…] where `timed` is false.
class MemorySource final : public data::FieldSource {
 public:
  MemorySource() : FieldSource("memory.mat", "memory") {}

  MemorySource& add(const std::string& name, const at::Tensor& values, bool timed = true) {
    data::FieldInfo info;
    info.name = name;
    info.samples = values.size(0);
    if (timed) info.times = values.size(1);
    info.channels = values.size(timed ? 2 : 1);
    info.grid = {values.sizes().begin() + (timed ? 3 : 2), values.sizes().end()};
    info.dtype = "float64";
    fields_.push_back(info);
    values_[name] = values;
    return *this;
  }
  MemorySource& coordinate(const std::string& name, const at::Tensor& values) {
    coordinates_[name] = values;
    return *this;
  }
  mutable int64_t reads = 0;

 protected:
  at::Tensor do_read(const data::FieldInfo& field, const data::FieldRange& r) const override {
    ++reads;
    at::Tensor v = values_.at(field.name).slice(0, r.first_sample, r.first_sample + r.samples);
    int64_t axis = 2;
    if (field.times) {
      v = v.slice(1, r.first_time, r.first_time + (r.times - 1) * r.time_stride + 1, r.time_stride);
      axis = 3;
    }
    for (size_t a = 0; a < field.grid.size(); ++a)
      v = v.slice(axis + static_cast<int64_t>(a), 0, field.grid[a], r.grid_stride[a]);
    return v.contiguous();
  }

 private:
  std::map<std::string, at::Tensor> values_;
};

}  // namespace monarch::test
