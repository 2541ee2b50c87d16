#include "monarch/operators/kernels/cpu/target.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <string_view>

#include "monarch/core/error.hpp"

namespace monarch::operators::kernels::cpu {

Instructions instructions_from_text(std::string_view text) {
  if (text == "avx2") return Instructions::avx2;
  if (text == "avx512") return Instructions::avx512;
  if (text == "avx512-bf16") return Instructions::avx512_bf16;
  if (text == "amx") return Instructions::amx;
  fail<ConfigError>(fmt::format("the environment variable MONARCH_CPU is '{}'", text),
                    "the most that may be used: avx2, avx512, avx512-bf16 or amx");
}

Instructions most_instructions() {
  static const Instructions most = [] {
    const char* const set = std::getenv("MONARCH_CPU");
    return set ? instructions_from_text(set) : Instructions::amx;
  }();
  return most;
}

}  // namespace monarch::operators::kernels::cpu
