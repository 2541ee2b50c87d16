#include "rounds.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "monarch/core/error.hpp"

namespace monarch::bench {
namespace {

constexpr std::chrono::milliseconds peer_calms_down{20};

}  // namespace

double ask_number(Dialogue& program, const std::string& question) {
  const std::string answer = program.ask(question);
  char* end = nullptr;
  const double value = std::strtod(answer.c_str(), &end);
  check<BackendError>(end != answer.c_str() && *end == '\0',
                      [&] { return fmt::format("'{}' was answered with '{}'", question, answer); });
  return value;
}

std::vector<Timing> time_in_turn(const std::vector<Contestant>& contestants, int rounds, int warm_ups) {
  std::vector<Timing> timings(contestants.size());
  for (int round = -warm_ups; round < rounds; ++round) {
    for (size_t i = 0; i < contestants.size(); ++i) {
      if (contestants[i].after_peer) std::this_thread::sleep_for(peer_calms_down);
      const double seconds = ask_number(*contestants[i].program, contestants[i].question);
      if (round >= 0) timings[i].samples.push_back(seconds);
    }
  }
  return timings;
}

std::vector<double> load_average() {
  std::vector<double> load(3);
  load.resize(static_cast<size_t>(std::max(0, getloadavg(load.data(), 3))));
  return load;
}

std::map<std::string, std::string> speed_environment() {
  std::map<std::string, std::string> found = {{"OMP_WAIT_POLICY", thread_environment(1).at("OMP_WAIT_POLICY")}};
  for (const char* name : {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "MALLOC_MMAP_MAX_",
                           "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD", "MONARCH_CPU"}) {
    if (const char* value = std::getenv(name)) found[name] = value;
  }
  return found;
}

std::string program_or_self(const std::string& given) {
  return given.empty() ? std::filesystem::read_symlink("/proc/self/exe").string() : given;
}

void check_thread_counts(const std::vector<int>& threads) {
  check<ConfigError>(!threads.empty(), "no thread counts to measure");
  for (const int n : threads) {
    check<ConfigError>(n >= 1, [&] { return fmt::format("{} threads; expected 1 or more", n); });
  }
}

std::string threads_text(int threads) {
  return fmt::format("{} thread{}", threads, threads == 1 ? "" : "s");
}

}  // namespace monarch::bench
