#include "monarch/core/progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <mutex>

#include "monarch/core/log.hpp"
#include "monarch/core/text.hpp"

namespace monarch {
namespace {

using Seconds = std::chrono::duration<double>;

std::atomic<bool> enabled{true};
std::atomic<bool> in_use{false};
std::mutex mutex;

bool on_terminal() {
  static const bool terminal = isatty(STDERR_FILENO) != 0;
  return terminal;
}

int terminal_width() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

void clear_line() {
  std::fputs("\r\033[K", stderr);
}

}  // namespace

Progress::Progress(std::string title, int64_t total)
    : title_(std::move(title)),
      total_(std::max<int64_t>(total, 1)),
      start_(std::chrono::steady_clock::now()),
      last_draw_(start_) {
  active_ = enabled && !in_use.exchange(true);
  if (active_ && on_terminal()) log::set_line_guard(clear_line, nullptr);
}

Progress::~Progress() {
  if (!active_) return;
  {
    const std::lock_guard lock(mutex);
    const double elapsed = Seconds(std::chrono::steady_clock::now() - start_).count();
    if (drawn_ || (on_terminal() && elapsed >= 0.5)) draw(true);
  }
  if (on_terminal()) log::set_line_guard(nullptr, nullptr);
  in_use = false;
}

void Progress::advance(int64_t steps) {
  const std::lock_guard lock(mutex);
  done_ += steps;
  if (!active_) return;
  const auto now = std::chrono::steady_clock::now();
  if (Seconds(now - start_).count() < 0.5) return;
  if (done_ >= total_) return;  // the last line comes when the object dies
  const double interval = on_terminal() ? 0.1 : 10.0;
  if (drawn_ && Seconds(now - last_draw_).count() < interval) return;
  if (!drawn_ && !on_terminal() && Seconds(now - start_).count() < 5.0) return;
  last_draw_ = now;
  draw(false);
}

void Progress::note(const std::string& text) {
  const std::lock_guard lock(mutex);
  note_ = text;
}

void Progress::enable(bool on) {
  enabled = on;
}

void Progress::draw(bool last) {
  const double elapsed = Seconds(std::chrono::steady_clock::now() - start_).count();
  const double fraction = std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_));
  const double left = fraction > 0 ? elapsed * (1 - fraction) / fraction : 0;
  const std::string times = last ? duration_text(elapsed) : fmt::format("{} left", duration_text(left));
  const std::string tail = fmt::format(" {}/{}  {}{}{}", done_, total_, times, note_.empty() ? "" : "  ", note_);
  if (on_terminal()) {
    const int width = std::clamp(terminal_width() - static_cast<int>(title_.size() + tail.size()) - 8, 0, 40);
    const int filled = static_cast<int>(fraction * width);
    std::fprintf(stderr, "\r\033[K%s [%s%s]%s%s", title_.c_str(), std::string(filled, '#').c_str(),
                 std::string(width - filled, '-').c_str(), tail.c_str(), last ? "\n" : "");
    std::fflush(stderr);
  } else {
    std::fprintf(stderr, "%s: %.0f %%%s\n", title_.c_str(), 100 * fraction, tail.c_str());
  }
  drawn_ = true;
}

}  // namespace monarch
