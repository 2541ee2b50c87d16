#pragma once
// Programs that answer questions with numbers (Dialogue), timed in turn; and what a report says of the machine.

#include <map>
#include <string>
#include <vector>

#include "monarch/core/process.hpp"
#include "timing.hpp"

namespace monarch::bench {

/// The answer to a question as a number. Throws BackendError for another answer.
double ask_number(Dialogue& program, const std::string& question);

/// What one program is asked in each round; it answers with the seconds of one run.
struct Contestant {
  Dialogue* program = nullptr;
  std::string question;
  bool after_peer = false;  ///< waits first until a peer's threads, which spin for a while, sleep
};

/// A B A B: `warm_ups` rounds that do not count, then `rounds` samples of each. In the order of `contestants`.
std::vector<Timing> time_in_turn(const std::vector<Contestant>& contestants, int rounds, int warm_ups);

/// Averages of 1, 5 and 15 minutes; fewer where the system does not tell.
std::vector<double> load_average();

/// What every program finds in its environment that changes its speed. OMP_WAIT_POLICY: ours alone, peers have none.
std::map<std::string, std::string> speed_environment();

/// `given`, or this very program where it is "".
std::string program_or_self(const std::string& given);

/// Throws ConfigError where a benchmark has no thread counts, or one below 1.
void check_thread_counts(const std::vector<int>& threads);

/// "1 thread", "2 threads".
std::string threads_text(int threads);

}  // namespace monarch::bench
