#include "monarch/operators/kernels/cpu/target.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <string_view>

#include "monarch/core/error.hpp"

namespace monarch::operators::kernels::cpu {

Instructions most_instructions() {
  static const Instructions most = [] {
    const char* const set = std::getenv("MONARCH_CPU");
    const std::string_view name = set ? set : "amx";
    if (name == "avx2") return Instructions::avx2;
    if (name == "avx512") return Instructions::avx512;
    if (name == "avx512-bf16") return Instructions::avx512_bf16;
    check<ConfigError>(name == "amx",
                       [&] { return fmt::format("the environment variable MONARCH_CPU is '{}'", name); },
                       "the most that may be used: avx2, avx512, avx512-bf16 or amx");
    return Instructions::amx;
  }();
  return most;
}

}  // namespace monarch::operators::kernels::cpu
