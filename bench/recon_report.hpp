#pragma once
// What the reconstruction benchmark found, as a table and as JSON.

#include <iosfwd>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace monarch::bench {

/// One peer in one job. Seconds are medians.
struct PeerResult {
  std::string program;
  std::string command;
  std::optional<double> process_seconds = {};  ///< wall time of the whole process
  std::optional<double> solver_seconds = {};   ///< work alone, as the peer itself states it or as timed inside Python
  std::optional<double> nrmse = {};
  std::optional<double> goal = {};  ///< we want to be that many times faster …
  bool quality_goal = false;        ///< … at an NRMSE not above the peer's

  /// The time that the ratio is taken of: solver where known, else process.
  double seconds() const { return solver_seconds ? *solver_seconds : process_seconds.value_or(0); }
};

/// One job at one thread count.
struct JobResult {
  std::string job;
  int threads = 1;
  double seconds = 0;        ///< ours, in process: median
  double first_seconds = 0;  ///< ours, first call: plans transforms, touches memory
  std::optional<double> nrmse = {};
  std::optional<double> difference = {};  ///< to the peer's result, where that is the measure (ESPIRiT maps, RSS image)
  std::optional<double> difference_limit = {};
  std::vector<PeerResult> peers = {};
};

/// A whole command line against a peer's, file to file.
struct ProcessResult {
  std::string what;
  int threads = 1;
  double seconds = 0;
  std::string command;
};

struct ReconReport {
  std::map<std::string, std::string> machine;   ///< provenance of this run
  std::map<std::string, std::string> versions;  ///< peer -> version
  std::vector<std::string> missing;             ///< peers that are not installed, with what is skipped
  std::vector<JobResult> jobs;
  std::vector<ProcessResult> processes;
};

/// Ratio peer/ours of one job, and whether its goals (speed, quality) are met.
double speed_ratio(const JobResult& job, const PeerResult& peer);
bool goal_met(const JobResult& job, const PeerResult& peer);

void print_report(const ReconReport& report, std::ostream& out);
std::string report_json(const ReconReport& report);

}  // namespace monarch::bench
