// A training in a process of its own, to be killed: worker CONFIG FOLDER [key=value …]. Ends with 0, 2 (ConfigError),
// 3 (DataError) or 1, the error on stdout.
//   kill=N    SIGKILL just before the Nth call that changes the disk
//   pause=MS  sleeps in each gradient;  announce=1  prints "gradient of step N"
//   limit=N   from step N on no file may grow beyond 2000 bytes
//   moments=1 prints the bytes of moments that this process keeps
//   nan=N     the loss of step N is not finite (in the process rank=R only, where given)
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <csignal>

#include <atomic>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "monarch/core/error.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/training/communicator.hpp"
#include "monarch/training/trainer.hpp"
#include "small_task.hpp"

namespace {

std::atomic<int64_t> calls_left = -1;

void count_call() {
  if (calls_left > 0 && --calls_left == 0) kill(getpid(), SIGKILL);
}

}  // namespace

// The executable's own definitions come before those of the C library, for the libraries as well.
extern "C" {
int fsync(int file) {
  count_call();
  return static_cast<int>(syscall(SYS_fsync, file));
}
ssize_t write(int file, const void* data, size_t size) {
  if (file > 2) count_call();
  return syscall(SYS_write, file, data, size);
}
ssize_t writev(int file, const struct iovec* data, int count) {
  if (file > 2) count_call();
  return syscall(SYS_writev, file, data, count);
}
int mkdir(const char* path, mode_t mode) noexcept {
  count_call();
  return static_cast<int>(syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}
int rename(const char* from, const char* to) noexcept {
  count_call();
  return static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) noexcept {
  count_call();
  return static_cast<int>(syscall(SYS_renameat2, from_folder, from, to_folder, to, flags));
}
int unlinkat(int folder, const char* path, int flags) noexcept {
  count_call();
  return static_cast<int>(syscall(SYS_unlinkat, folder, path, flags));
}
}

namespace {

using namespace monarch;

int run(int argc, char** argv) {
  std::map<std::string, int64_t> flags;
  for (int i = 3; i < argc; ++i) {
    const std::string word = argv[i];
    flags[word.substr(0, word.find('='))] = std::stoll(word.substr(word.find('=') + 1));
  }
  const auto flag = [&](const std::string& name) { return flags.contains(name) ? flags.at(name) : -1; };
  std::ostringstream text;
  text << std::ifstream(argv[1]).rdbuf();
  const test::SmallRun config(text.str());
  const auto group = training::communicator_from_environment(false);
  test::SmallOptions small = config.small;
  small.seed += static_cast<uint64_t>(group->rank());  // the leader's start counts
  test::SmallTask task(small);
  task.before = [&](std::span<const int64_t>, const training::Step& step) {
    if (flag("announce") > 0) {
      fmt::print("gradient of step {}\n", step.step);
      std::fflush(stdout);
    }
    if (flag("pause") > 0) usleep(static_cast<useconds_t>(1000 * flag("pause")));
    if (flag("limit") >= 0 && step.step >= flag("limit")) {
      const rlimit limit{2000, 2000};
      setrlimit(RLIMIT_FSIZE, &limit);
    }
    const bool here = flag("rank") < 0 || flag("rank") == group->rank();
    task.loss_factor = here && flag("nan") == step.step ? std::nan("") : 1;
  };
  if (flag("kill") > 0) calls_left = flag("kill");
  const auto result = training::train(task, config.options, config.config, argv[2], true, group);
  fmt::print("best {} last {} epochs {}{}\n", result.best, result.last[1].second, result.epochs,
             result.stopped_early ? " early" : "");
  if (flag("moments") > 0)
    fmt::print("moments {}\n", std::llround(result.throughput.at("optimiser_mib").get<double>() * (1 << 20)));
  if (calls_left > 0) fmt::print("calls {}\n", flag("kill") - calls_left);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  std::signal(SIGXFSZ, SIG_IGN);
  at::set_num_threads(1);
  Progress::enable(false);
  int code = 1;
  try {
    return run(argc, argv);
  } catch (const ConfigError& error) {
    fmt::print("ConfigError: {}\n", error.what());
    code = 2;
  } catch (const DataError& error) {
    fmt::print("DataError: {}\n", error.what());
    code = 3;
  } catch (const Error& error) {
    fmt::print("Error: {}\n", error.what());
  } catch (const std::exception& error) {
    fmt::print("exception: {}\n", error.what());
  }
  std::fflush(stdout);
  return code;
}
