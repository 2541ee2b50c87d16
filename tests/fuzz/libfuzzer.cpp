// Entry point of one libFuzzer program; CMake defines MONARCH_FUZZ_TARGET.
#include "fuzz/targets.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  monarch::fuzz::MONARCH_FUZZ_TARGET(bytes, count);
  return 0;
}
