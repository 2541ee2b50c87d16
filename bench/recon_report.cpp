#include "recon_report.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <ostream>

namespace monarch::bench {
namespace {

std::string seconds_text(double seconds) {
  return seconds < 0.01 ? fmt::format("{:.2f} ms", seconds * 1e3)
         : seconds < 1  ? fmt::format("{:.0f} ms", seconds * 1e3)
                        : fmt::format("{:.2f} s", seconds);
}

std::string optional_seconds(const std::optional<double>& seconds) {
  return seconds ? seconds_text(*seconds) : "-";
}
std::string optional_nrmse(const std::optional<double>& value) {
  return value ? fmt::format("{:.5f}", *value) : "-";
}

nlohmann::json optional_json(const std::optional<double>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

}  // namespace

double speed_ratio(const JobResult& job, const PeerResult& peer) {
  return peer.seconds() / job.seconds;
}

// The same minimum found by two programs differs by rounding.
constexpr double kEqualNrmse = 1.001;

bool goal_met(const JobResult& job, const PeerResult& peer) {
  const bool fast = !peer.goal || speed_ratio(job, peer) >= *peer.goal;
  const bool good = !peer.quality_goal || (job.nrmse && peer.nrmse && *job.nrmse <= kEqualNrmse * *peer.nrmse);
  const bool same = !job.difference || !job.difference_limit || *job.difference <= *job.difference_limit;
  return fast && good && same;
}

void print_report(const ReconReport& report, std::ostream& out) {
  constexpr auto kRow = "{:<22} {:>3}  {:<26} {:>9} {:>9} {:>8} {:>8}  {}\n";
  out << fmt::format(kRow, "job", "thr", "program", "work", "process", "NRMSE", "ratio", "goal");
  for (const auto& job : report.jobs) {
    const std::string note = job.difference ? fmt::format("difference to peer {:.2e}", *job.difference) : "";
    out << fmt::format(
        kRow, job.job, job.threads, "monarch", seconds_text(job.seconds), "-", optional_nrmse(job.nrmse), "",
        fmt::format("first call {}{}{}", seconds_text(job.first_seconds), note.empty() ? "" : ", ", note));
    for (const auto& peer : job.peers) {
      std::string goal = "-";
      if (peer.goal) {
        goal = fmt::format(">= {:g}x{}: {}", *peer.goal, peer.quality_goal ? " at NRMSE <= peer's" : "",
                           goal_met(job, peer) ? "met" : "MISSED");
      }
      out << fmt::format(kRow, "", "", peer.program, optional_seconds(peer.solver_seconds),
                         optional_seconds(peer.process_seconds), optional_nrmse(peer.nrmse),
                         fmt::format("{:.1f}x", speed_ratio(job, peer)), goal);
    }
  }
  if (!report.processes.empty()) out << "\nWhole processes, start-up included\n";
  for (const auto& process : report.processes) {
    out << fmt::format("{:<40} {:>2} thr {:>9}   {}\n", process.what, process.threads, seconds_text(process.seconds),
                       process.command);
  }
  out << "\nMedians. Ratios are peer over monarch: the peer's own work where it states it, else its process; monarch's "
         "work in a running process. An NRMSE (to the noise-free coil combination, best complex scale) within 0.1 % "
         "counts as equal.\n";
  for (const auto& text : report.missing) out << "not measured: " << text << "\n";
}

std::string report_json(const ReconReport& report) {
  nlohmann::json root;
  root["machine"] = report.machine;
  root["versions"] = report.versions;
  root["not_measured"] = report.missing;
  for (const auto& job : report.jobs) {
    nlohmann::json entry = {{"job", job.job},
                            {"threads", job.threads},
                            {"seconds", job.seconds},
                            {"first_call_seconds", job.first_seconds},
                            {"nrmse", optional_json(job.nrmse)},
                            {"difference_to_peer", optional_json(job.difference)},
                            {"difference_limit", optional_json(job.difference_limit)},
                            {"peers", nlohmann::json::array()}};
    for (const auto& peer : job.peers) {
      entry["peers"].push_back({{"program", peer.program},
                                {"command", peer.command},
                                {"process_seconds", optional_json(peer.process_seconds)},
                                {"solver_seconds", optional_json(peer.solver_seconds)},
                                {"nrmse", optional_json(peer.nrmse)},
                                {"ratio", speed_ratio(job, peer)},
                                {"goal", optional_json(peer.goal)},
                                {"goal_includes_nrmse", peer.quality_goal},
                                {"goal_met", peer.goal ? nlohmann::json(goal_met(job, peer)) : nlohmann::json()}});
    }
    root["jobs"].push_back(std::move(entry));
  }
  for (const auto& process : report.processes) {
    root["processes"].push_back({{"what", process.what},
                                 {"threads", process.threads},
                                 {"seconds", process.seconds},
                                 {"command", process.command}});
  }
  return root.dump(2) + "\n";
}

}  // namespace monarch::bench
