#pragma once
// Shows results that depend on what their memory held before.

#include <c10/core/CPUAllocator.h>

#include <cstring>

namespace monarch::test {

/// While it lives, every new block of CPU memory that a tensor gets is filled with one byte: 0xff makes NaN of both
/// precisions, 0x45 a number of both.
class Poison final : public at::Allocator {
 public:
  explicit Poison(unsigned char byte) : byte_(byte), original_(c10::GetCPUAllocator()) {
    c10::SetCPUAllocator(this, 255);
  }
  ~Poison() override { c10::SetCPUAllocator(original_, 255); }
  at::DataPtr allocate(size_t bytes) override {
    at::DataPtr block = original_->allocate(bytes);
    if (bytes > 0) std::memset(block.get(), byte_, bytes);
    return block;
  }
  at::DeleterFnPtr raw_deleter() const override { return original_->raw_deleter(); }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }

 private:
  unsigned char byte_;
  at::Allocator* original_;
};

}  // namespace monarch::test
