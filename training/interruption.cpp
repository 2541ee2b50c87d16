#include "monarch/training/interruption.hpp"

#include <atomic>

namespace monarch::training {
namespace {

constexpr std::array<int, 3> kSignals = {SIGINT, SIGTERM, SIGHUP};
constexpr std::array<const char*, 3> kNames = {"SIGINT", "SIGTERM", "SIGHUP"};
std::atomic<int> requested = 0;
static_assert(std::atomic<int>::is_always_lock_free);

extern "C" void remember_request(int number) {
  if (requested.exchange(number) == 0) return;
  std::signal(number, SIG_DFL);
  std::raise(number);
}

}  // namespace

StopRequests::StopRequests() {
  requested = 0;
  struct sigaction action {};
  action.sa_handler = remember_request;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < kSignals.size(); ++i) {
    sigaction(kSignals[i], nullptr, &before_[i]);
    if (before_[i].sa_handler != SIG_IGN) sigaction(kSignals[i], &action, nullptr);
  }
}

StopRequests::~StopRequests() {
  for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before_[i], nullptr);
}

bool StopRequests::asked() const {
  return requested != 0;
}

std::string StopRequests::signal_name() const {
  for (size_t i = 0; i < kSignals.size(); ++i)
    if (requested == kSignals[i]) return kNames[i];
  return {};
}

}  // namespace monarch::training
