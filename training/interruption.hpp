#pragma once
// SIGINT, SIGTERM and SIGHUP as requests that a loop asks for.

#include <array>
#include <csignal>
#include <string>

namespace monarch::training {

/// While it lives, the first of these signals only asks to stop; a second one ends the process at once. Signals that
/// are ignored (nohup, background jobs of a script) stay ignored. One at a time.
class StopRequests {
 public:
  StopRequests();
  ~StopRequests();
  StopRequests(const StopRequests&) = delete;
  StopRequests& operator=(const StopRequests&) = delete;

  bool asked() const;
  /// "SIGTERM"; "" where nobody asked.
  std::string signal_name() const;

 private:
  std::array<struct sigaction, 3> before_;
};

}  // namespace monarch::training
