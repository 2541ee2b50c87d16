// OpenMP threads that wait for work by sleeping.
//
// libgomp's default is to spin. On a machine that has anything else to do, a spinning thread takes the core from the
// one that it waits for, and a short parallel region costs milliseconds instead of microseconds: programs with many
// small regions (ours, BART) become several times slower. libgomp reads the policy once, when it is loaded, which is
// before main; functions in .preinit_array run earlier still. A policy that the user has set is left alone.

#include <cstdlib>

namespace {

void prefer_passive_waiting(int, char**, char**) { setenv("OMP_WAIT_POLICY", "passive", 0); }

[[gnu::section(".preinit_array"), gnu::used]] void (*const before_libraries)(int, char**, char**) =
    prefer_passive_waiting;

}  // namespace
