#include "monarch/training/profile.hpp"

#include <fmt/format.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "monarch/core/files.hpp"
#include "monarch/core/log.hpp"

namespace monarch::training {
namespace {

namespace profiler = torch::autograd::profiler;
using torch::profiler::impl::ActivityType;

constexpr int64_t kWarmUp = 3, kSteps = 5;

struct Row {
  double self = 0, total = 0;  // nanoseconds
  int64_t calls = 0;
};

/// Operators of one thread are nested in time: what a caller spends in them is not its own.
std::map<std::string, Row> rows_of(const std::vector<profiler::KinetoEvent>& events, c10::DeviceType device) {
  std::map<std::string, Row> rows;
  std::map<uint64_t, std::vector<const profiler::KinetoEvent*>> threads;
  for (const auto& event : events) {
    if (event.deviceType() == device && !event.isHiddenEvent() && !event.isAsync())
      threads[device == c10::kCPU ? event.startThreadId() : static_cast<uint64_t>(event.deviceResourceId())].push_back(
          &event);
  }
  for (auto& [thread, list] : threads) {
    std::stable_sort(list.begin(), list.end(), [](const auto* a, const auto* b) {
      return a->startNs() != b->startNs() ? a->startNs() < b->startNs() : a->durationNs() > b->durationNs();
    });
    std::vector<const profiler::KinetoEvent*> open;
    for (const auto* event : list) {
      while (!open.empty() && open.back()->endNs() <= event->startNs()) open.pop_back();
      const auto took = static_cast<double>(event->durationNs());
      if (!open.empty()) rows[open.back()->name()].self -= took;
      const bool within_itself = std::any_of(open.begin(), open.end(),
                                             [&](const auto* caller) { return caller->name() == event->name(); });
      Row& row = rows[event->name()];
      row.self += took;
      if (!within_itself) row.total += took;
      ++row.calls;
      open.push_back(event);
    }
  }
  return rows;
}

std::string table_of(const std::string& title, const std::map<std::string, Row>& rows, int64_t steps) {
  std::vector<std::pair<std::string, Row>> sorted(rows.begin(), rows.end());
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second.self > b.second.self; });
  double all = 0;
  for (const auto& [name, row] : sorted) all += row.self;
  std::string text = fmt::format("{}: {} steps, {:.3f} ms each\n\n{:>9} {:>7} {:>9} {:>9}  operator\n", title, steps,
                                 all / 1e6 / static_cast<double>(steps), "self ms", "self %", "total ms", "calls");
  for (const auto& [name, row] : sorted) {
    const auto per = static_cast<double>(steps);
    text += fmt::format("{:>9.3f} {:>7.2f} {:>9.3f} {:>9.1f}  {}\n", row.self / 1e6 / per,
                        100 * row.self / std::max(1.0, all), row.total / 1e6 / per,
                        static_cast<double>(row.calls) / per, name);
  }
  return text + "\n";
}

}  // namespace

void StepProfile::before_step() {
  if (!on_) return;
  if (steps_ == kWarmUp) {
    const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
    std::set<ActivityType> activities{ActivityType::CPU};
    if (device_.is_cuda()) activities.insert(ActivityType::CUDA);
    setenv("KINETO_LOG_LEVEL", "99", 0);  // it reports the absence of a GPU as an error
    profiler::prepareProfiler(config, activities);
    profiler::enableProfiler(config, activities, {at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION});
    records_ = true;
  }
  if (steps_ == kWarmUp + kSteps) finish();
  ++steps_;
}

void StepProfile::finish() {
  if (!on_) return;
  on_ = false;
  if (!records_) {
    log::warning(fmt::format("training.profile: fewer than {} steps, nothing was recorded", kWarmUp + 1));
    return;
  }
  const auto result = profiler::disableProfiler();
  const int64_t steps = steps_ - kWarmUp;
  std::string text = "Time per training step by operator; \"self\" is without the operators that it calls.\n\n" +
                     table_of("CPU", rows_of(result->events(), c10::kCPU), steps);
  if (device_.is_cuda()) text += table_of("CUDA", rows_of(result->events(), c10::kCUDA), steps);
  std::error_code ignored;
  std::filesystem::create_directories(folder_, ignored);
  write_file_atomically(folder_ / "profile.txt", text);
  result->save((folder_ / "trace.json").string());
  log::info(fmt::format("profile of {} steps: {}", steps, (folder_ / "profile.txt").string()));
}

}  // namespace monarch::training
