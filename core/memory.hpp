#pragma once
// How much memory this process may still take, and what becomes of memory that it frees.

namespace monarch {

/// Bytes that can be allocated without swapping: the smaller of the system's available memory and what the control
/// group (container) leaves; 1 GiB where neither can be read.
double available_memory_bytes();

/// From now on freed memory stays with the process and is used again, large blocks too. glibc gives blocks beyond 32 MB,
/// and whatever is free at the top, back to the system: a training step, which frees all of its activations at once,
/// then pays for a page fault per 4 KB in the next one (a tenth of the time of a small FNO's step). For programs that
/// repeat the same work; their resident size stays at its peak. Other C libraries: no effect.
void keep_freed_memory();

}  // namespace monarch
