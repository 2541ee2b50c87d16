// OpenMP threads that wait for work by sleeping.
//
// libgomp's default is to spin. On a machine that has anything else to do, a spinning thread takes the core from the
// one that it waits for, and a short parallel region costs milliseconds instead of microseconds: programs with many
// small regions (ours, BART) become several times slower. libgomp reads the policy once, when it is loaded, which is
// before main. Functions in .preinit_array run earlier still, but a variable that they add is lost: glibc resets
// `environ` to the kernel's array after them. So the policy takes the place of `_` in that array (shells put the path
// of the command there, which nobody reads); where there is none, the program starts once more with the policy in its
// environment, before any library has been initialised (40 ms). A policy that the user has set is left alone.

#include <unistd.h>

#include <cstring>
#include <vector>

namespace {

void prefer_passive_waiting(int, char** words, char** environment) {
  static char policy[] = "OMP_WAIT_POLICY=passive";
  const size_t name = std::strlen("OMP_WAIT_POLICY=");
  char** shells_own = nullptr;
  std::vector<char*> extended = {policy};
  for (char** entry = environment; *entry != nullptr; ++entry) {
    if (std::strncmp(*entry, policy, name) == 0) return;
    if (std::strncmp(*entry, "_=", 2) == 0) shells_own = entry;
    extended.push_back(*entry);
  }
  if (shells_own != nullptr) {
    *shells_own = policy;
    return;
  }
  extended.push_back(nullptr);
  char program[4096] = {};
  const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
  // Started as an argument of the dynamic linker, this would be the linker.
  if (length <= 0 || length == sizeof program - 1 || std::strstr(program, "/ld-") != nullptr) return;
  execve(program, words, extended.data());  // on failure: libgomp's default
}

[[gnu::section(".preinit_array"), gnu::used]] void (*const before_libraries)(int, char**,
                                                                             char**) = prefer_passive_waiting;

}  // namespace
