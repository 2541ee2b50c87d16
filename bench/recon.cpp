#include "recon.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>

#include "monarch/core/error.hpp"
#include "monarch/core/files.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/process.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/provenance.hpp"
#include "monarch/data/scan.hpp"
#include "monarch/mri/espirit.hpp"
#include "monarch/mri/iterative.hpp"
#include "monarch/mri/resize.hpp"
#include "peer_python.hpp"
#include "recon_data.hpp"
#include "recon_report.hpp"
#include "rounds.hpp"
#include "sigpy_script.hpp"
#include "timing.hpp"

namespace fs = std::filesystem;

namespace monarch::bench {
namespace {

std::string joined(const std::vector<std::string>& words) {
  return fmt::format("{}", fmt::join(words, " "));
}

// The number after "Total Time: " of `bart -d5`.
std::optional<double> stated_seconds(const std::string& output) {
  const std::string key = "Total Time: ";
  const size_t at = output.rfind(key);
  if (at == std::string::npos) return std::nullopt;
  return std::strtod(output.c_str() + at + key.size(), nullptr);
}

class Benchmark {
 public:
  explicit Benchmark(const ReconBenchmarkOptions& options) : options_(options) { find_peers(); }

  ReconReport run() {
    scans_ = make_scans(folder_.path(), has_bart_);
    Progress progress("benchmark", static_cast<int64_t>(options_.threads.size()) * 8);
    for (const int threads : options_.threads) {
      at::set_num_threads(threads);
      for (const auto& scan : scans_) cg_sense(scan, threads), progress.advance();
      for (const auto& scan : scans_) l1_wavelet(scan, threads), progress.advance();
      radial_cg_sense(threads), progress.advance();
      espirit(threads), progress.advance();
      scan_file(threads), progress.advance();
      processes(threads), progress.advance();
    }
    return std::move(report_);
  }

 private:
  void find_peers() {
    report_.machine = provenance();
    report_.machine["cores"] = std::to_string(at::get_num_threads());
    const char* policy = std::getenv("OMP_WAIT_POLICY");
    report_.machine["OMP_WAIT_POLICY"] = policy ? policy : "";
    has_bart_ = !find_program("bart").empty();
    if (has_bart_) {
      report_.versions["bart"] = first_line(run_child({"bart", "version"}, folder_.path()).output);
    } else {
      report_.missing.push_back("bart is not on PATH: all comparisons with BART, and its phantom (ours is used)");
    }
    const PeerPython python = find_peer_python({options_.sigpy_python, ".deps/peers/bin/python", "python3"},
                                               "import sigpy; print('sigpy', sigpy.__version__)", folder_.path());
    sigpy_python_ = python.program;
    if (!python.answer.empty()) report_.versions["sigpy"] = python.answer[0];
    if (sigpy_python_.empty()) {
      report_.missing.push_back(
          "no Python that imports sigpy (--sigpy-python, .deps/peers/bin/python, python3): SigPy");
    }
    has_ismrmrd_ = !find_program("ismrmrd_generate_cartesian_shepp_logan").empty() &&
                   !find_program("ismrmrd_recon_cartesian_2d").empty();
    if (!has_ismrmrd_) report_.missing.push_back("ISMRMRD's tools are not on PATH: scan file to RSS image");
  }

  static std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

  // Times our work and the peers' runs in turn, so that a busy moment of the machine hits all of them.
  void alternate(JobResult& job, const std::function<void()>& ours, const std::vector<std::function<void()>>& peers) {
    std::vector<double> times;
    job.first_seconds = seconds_of(ours);
    for (int repeat = 0; repeat < options_.repeats; ++repeat) {
      times.push_back(seconds_of(ours));
      for (const auto& peer : peers) peer();
    }
    job.seconds = median(times);
  }

  // A peer that is a command: returns the function that runs and times it once. `result` gets medians in finish().
  struct CommandTimes {
    std::vector<double> process, solver;
    void finish(PeerResult& result) const {
      if (!process.empty()) result.process_seconds = median(process);
      if (!solver.empty() && solver.size() == process.size()) result.solver_seconds = median(solver);
    }
  };
  std::function<void()> timed_command(const std::vector<std::string>& words, int threads, CommandTimes& times) {
    return [this, words, threads, &times] {
      const auto child = run_child(words, folder_.path(), thread_environment(threads));
      check<BackendError>(child.exit_code == 0, [&] {
        return fmt::format("'{}' ended with code {}: {}", joined(words), child.exit_code, child.output);
      });
      times.process.push_back(child.seconds);
      if (const auto stated = stated_seconds(child.output)) times.solver.push_back(*stated);
    };
  }

  // The SigPy counterpart of a job: times of all repeats in one child, whose numerical start-up does not count.
  void add_sigpy(JobResult& job, const std::string& what, const BenchScan& scan, double lambda,
                 std::optional<double> goal, bool image) {
    if (sigpy_python_.empty() || job.threads != 1) return;
    const std::vector<std::string> words = {sigpy_python_,
                                            "-c",
                                            kSigpyScript,
                                            what,
                                            scan.name,
                                            std::to_string(scan.kspace.size(0)),
                                            std::to_string(scan.kspace.size(2)),
                                            std::to_string(scan.kspace.size(3)),
                                            fmt::format("{}", lambda),
                                            fmt::format("{}", mri::data_scale(scan.kspace)),
                                            std::to_string(options_.repeats)};
    const auto child = run_child(words, folder_.path(), thread_environment(1));
    check<BackendError>(child.exit_code == 0, [&] {
      return fmt::format("SigPy ({}) ended with code {}: {}", what, child.exit_code, child.output);
    });
    const size_t at = child.output.rfind("seconds ");
    PeerResult peer{.program = "SigPy " + what, .command = "sigpy.mri.app, see bench/sigpy_script.hpp"};
    peer.solver_seconds = std::strtod(child.output.c_str() + at + 8, nullptr);
    if (image) {
      peer.nrmse =
          nrmse(read_raw(folder_.path() / "sigpy.raw", {scan.kspace.size(2), scan.kspace.size(3)}), scan.truth);
    }
    peer.goal = goal;
    job.peers.push_back(std::move(peer));
  }

  void image_job(const std::string& name, const BenchScan& scan, int threads, const std::function<at::Tensor()>& ours,
                 const std::vector<std::string>& bart_words, double bart_goal, const std::string& sigpy_app,
                 double lambda, std::optional<double> sigpy_goal) {
    JobResult job{.job = fmt::format("{} {}x", name, scan.acceleration), .threads = threads};
    at::Tensor image;
    CommandTimes times;
    std::vector<std::function<void()>> peers;
    if (has_bart_) peers.push_back(timed_command(bart_words, threads, times));
    alternate(
        job, [&] { image = ours(); }, peers);
    job.nrmse = nrmse(image, scan.truth);
    if (has_bart_) {
      PeerResult peer{.program = "BART " + bart_words[1], .command = joined(bart_words)};
      times.finish(peer);
      peer.nrmse = nrmse(read_cfl(folder_.path() / "bart_image"), scan.truth);
      peer.goal = bart_goal;
      peer.quality_goal = true;
      job.peers.push_back(std::move(peer));
    }
    add_sigpy(job, sigpy_app, scan, lambda, sigpy_goal, true);
    report_.jobs.push_back(std::move(job));
  }

  void cg_sense(const BenchScan& scan, int threads) {
    image_job(
        "CG-SENSE", scan, threads, [&] { return mri::cg_sense(scan.kspace, scan.mask, scan.maps).image; },
        {"bart", "pics", "-d5", "-S", "-l2", "-r", "0.001", "-i", "30", scan.name, scan.name + "_maps", "bart_image"},
        4, "SenseRecon", 0.001, 2.5);
  }

  void l1_wavelet(const BenchScan& scan, int threads) {
    image_job(
        "L1-wavelet", scan, threads, [&] { return mri::l1_wavelet(scan.kspace, scan.mask, scan.maps).image; },
        {"bart", "pics", "-d5", "-S", "-l1", "-r", "0.005", "-i", "30", scan.name, scan.name + "_maps", "bart_image"},
        3, "L1WaveletRecon", 0.005, std::nullopt);
  }

  // The set-up, gridding and the Toeplitz spectrum included, is part of the work of both.
  void radial_cg_sense(int threads) {
    const RadialBenchScan radial = make_radial_scan(folder_.path(), scans_.back());
    JobResult job{.job = "CG-SENSE radial", .threads = threads};
    const std::vector<std::string> words = {"bart",
                                            "pics",
                                            "-d5",
                                            "-S",
                                            "-l2",
                                            "-r",
                                            "0.001",
                                            "-i",
                                            "30",
                                            "-t",
                                            radial.name + "_trajectory",
                                            radial.name,
                                            scans_.back().name + "_maps",
                                            "bart_image"};
    at::Tensor image;
    CommandTimes times;
    std::vector<std::function<void()>> peers;
    if (has_bart_) peers.push_back(timed_command(words, threads, times));
    alternate(
        job,
        [&] {
          image = mri::cg_sense(mri::non_cartesian_problem(radial.samples, radial.trajectory, radial.maps)).image;
        },
        peers);
    job.nrmse = nrmse(image, radial.truth);
    if (has_bart_) {
      PeerResult peer{.program = "BART pics -t", .command = joined(words)};
      times.finish(peer);
      const auto theirs = read_cfl(folder_.path() / "bart_image");
      peer.nrmse = nrmse(theirs, radial.truth);
      peer.goal = 3;
      // The same iterates, to the accuracy of BART's gridding, which is lowest at the rim of k-space.
      job.difference = nrmse(image, theirs);
      job.difference_limit = 0.005;
      job.peers.push_back(std::move(peer));
    }
    report_.jobs.push_back(std::move(job));
  }

  void espirit(int threads) {
    const BenchScan& scan = scans_.back();
    JobResult job{.job = "ESPIRiT", .threads = threads};
    at::Tensor maps;
    CommandTimes times;
    std::vector<std::function<void()>> peers;
    const std::vector<std::string> words = {"bart", "ecalib", "-m", "1", "-r", "24", scan.name, "bart_maps"};
    if (has_bart_) peers.push_back(timed_command(words, threads, times));
    const data::Extent3 extents{scan.kspace.size(3), scan.kspace.size(2), scan.kspace.size(1)};
    // BART's start of the power iteration, so that pixels where it does not converge can be compared, too.
    const mri::EspiritOptions settings{.start = mri::EigenStart::first_coil};
    alternate(
        job, [&] { maps = mri::espirit(calibration_region(scan.kspace), extents, settings).maps; }, peers);
    if (has_bart_) {
      PeerResult peer{.program = "BART ecalib", .command = joined(words)};
      times.finish(peer);
      peer.goal = 1.5;
      job.difference = difference_up_to_phase(maps[0], read_cfl(folder_.path() / "bart_maps"));
      job.difference_limit = 0.01;
      job.peers.push_back(std::move(peer));
    }
    add_sigpy(job, "EspiritCalib", scan, 0, std::nullopt, false);
    report_.jobs.push_back(std::move(job));
  }

  // The root-sum-of-squares image of a scan file, without readout oversampling.
  static at::Tensor image_of(const fs::path& file) {
    const auto scan = data::open_scan(file);
    const auto kspace = scan->read(0).samples;
    const int64_t width = mri::covered_extent(scan->header(), 0);
    return mri::root_sum_of_squares(kspace, width);
  }

  void scan_file(int threads) {
    if (!has_ismrmrd_) return;
    const fs::path file = folder_.path() / "scan.h5", copy = folder_.path() / "copy.h5";
    if (!fs::exists(file)) {
      const auto made = run_child(
          {"ismrmrd_generate_cartesian_shepp_logan", "-m", "256", "-c", "8", "-O", "2", "-n", "0.05", "-o", "scan.h5"},
          folder_.path());
      check<BackendError>(made.exit_code == 0, "ISMRMRD's generator failed: " + made.output);
    }
    JobResult job{.job = "file to RSS 512x256x8", .threads = threads};
    at::Tensor image;
    CommandTimes times;
    const auto peer_run = timed_command({"ismrmrd_recon_cartesian_2d", "copy.h5"}, threads, times);
    alternate(job, [&] { image = image_of(file); }, {[&] {
                // The tool appends its image to its input.
                fs::copy_file(file, copy, fs::copy_options::overwrite_existing);
                peer_run();
              }});
    PeerResult peer{.program = "ismrmrd_recon_cartesian_2d", .command = "ismrmrd_recon_cartesian_2d scan.h5"};
    times.finish(peer);
    peer.goal = 2;
    job.peers.push_back(std::move(peer));
    report_.jobs.push_back(std::move(job));
  }

  void process(const std::string& what, int threads, const std::vector<std::vector<std::string>>& commands) {
    std::vector<double> totals;
    std::vector<std::string> texts;
    for (const auto& words : commands) texts.push_back(joined(words));
    for (int repeat = 0; repeat < options_.repeats; ++repeat) {
      double total = 0;
      for (const auto& words : commands) {
        const auto child = run_child(words, folder_.path(), thread_environment(threads));
        if (child.exit_code != 0) {
          report_.missing.push_back(fmt::format("'{}' ended with code {}", joined(words), child.exit_code));
          return;
        }
        total += child.seconds;
      }
      totals.push_back(total);
    }
    report_.processes.push_back({what, threads, median(totals), fmt::format("{}", fmt::join(texts, " && "))});
  }

  void processes(int threads) {
    const std::string program = program_or_self(options_.monarch_program);
    const std::string count = std::to_string(threads);
    process("start-up: monarch", threads, {{program, "--version"}});
    if (has_bart_) process("start-up: bart", threads, {{"bart", "version"}});
    const std::string& scan = scans_.back().name;
    process("k-space to CG-SENSE image: monarch", threads,
            {{program, "--quiet", "--threads", count, "recon", scan + ".cfl", "--method", "cg-sense", "--formats",
              "npy", "--out", "images"}});
    if (has_bart_) {
      process("k-space to CG-SENSE image: bart", threads,
              {{"bart", "ecalib", "-m", "1", "-r", "24", scan, "bart_maps"},
               {"bart", "pics", "-S", "-l2", "-r", "0.001", "-i", "30", scan, "bart_maps", "bart_image"}});
    }
    if (has_ismrmrd_) {
      process("scan file to RSS image: monarch", threads,
              {{program, "--quiet", "--threads", count, "recon", "scan.h5", "--method", "rss", "--formats", "h5",
                "--out", "images"}});
      process("scan file to RSS image: ISMRMRD", threads, {{"ismrmrd_recon_cartesian_2d", "copy.h5"}});
    }
  }

  ReconBenchmarkOptions options_;
  ScratchFolder folder_;
  ReconReport report_;
  bool has_bart_ = false;
  bool has_ismrmrd_ = false;
  std::string sigpy_python_;
  std::vector<BenchScan> scans_;
};

}  // namespace

int run_recon_benchmark(const ReconBenchmarkOptions& options) {
  check<ConfigError>(options.repeats >= 1 && !options.threads.empty() &&
                         std::all_of(options.threads.begin(), options.threads.end(), [](int n) { return n >= 1; }),
                     "the benchmark needs at least one repeat and thread counts of at least 1");
  const int threads_before = at::get_num_threads();
  const ReconReport report = Benchmark(options).run();
  at::set_num_threads(threads_before);

  const std::string json = report_json(report);
  if (options.json == "-") {
    std::cout << json;
  } else {
    print_report(report, std::cout);
    if (!options.json.empty()) write_file_atomically(options.json, json);
  }
  if (!options.goals_decide) return 0;
  for (const auto& job : report.jobs) {
    for (const auto& peer : job.peers) {
      if (peer.goal && !goal_met(job, peer)) return 1;
    }
  }
  return 0;
}

}  // namespace monarch::bench
