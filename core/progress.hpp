#pragma once
// One progress display for everything that takes long.

#include <chrono>
#include <cstdint>
#include <string>

namespace monarch {

/// Progress of `total` steps: on a terminal a bar with ETA that redraws in place, otherwise plain lines on
/// stderr, at most one every ten seconds; silent for work that ends within half a second.
///
///   Progress progress("reconstructing", images.size());
///   for (...) { ...; progress.advance(); }
///
/// advance() may be called from several threads. At most one bar draws at a time; a nested one stays silent.
class Progress {
 public:
  Progress(std::string title, int64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(int64_t steps = 1);
  /// A few words behind the bar, such as the present loss.
  void note(const std::string& text);

  /// Switches all displays off or on (`--quiet`). Default: on.
  static void enable(bool on);

 private:
  void draw(bool last);

  std::string title_;
  std::string note_;
  int64_t total_;
  int64_t done_ = 0;
  bool active_ = false;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_draw_;
};

}  // namespace monarch
