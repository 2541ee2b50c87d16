#pragma once
// Which instructions of this processor may be used.

namespace monarch::operators::kernels::cpu {

/// In rising order; each includes those before.
enum class Instructions { avx2, avx512, avx512_bf16, amx };

/// The upper bound that the environment variable MONARCH_CPU sets: "avx2", "avx512", "avx512-bf16" or "amx"; without
/// it, amx. Read once. Throws ConfigError for another value. The processor may have less.
Instructions most_instructions();

}  // namespace monarch::operators::kernels::cpu
