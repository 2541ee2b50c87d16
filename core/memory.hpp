#pragma once
// How much memory this process may still take.

namespace monarch {

/// Bytes that can be allocated without swapping: the smaller of the system's available memory and what the control
/// group (container) leaves; 1 GiB where neither can be read.
double available_memory_bytes();

}  // namespace monarch
