#pragma once
// Which instructions of this processor may be used.

#include <string_view>

namespace monarch::operators::kernels::cpu {

/// In rising order; each includes those before.
enum class Instructions { avx2, avx512, avx512_bf16, amx };

/// "avx2", "avx512", "avx512-bf16" or "amx". Throws ConfigError for anything else.
Instructions instructions_from_text(std::string_view text);

/// The upper bound that the environment variable MONARCH_CPU sets: read once; without it, amx.
/// The processor may have less.
Instructions most_instructions();

}  // namespace monarch::operators::kernels::cpu
