// The program `monarch`: parses the command line and turns errors into messages and exit codes.

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <iostream>
#include <new>

#include "command.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/provenance.hpp"

namespace {

enum ExitCode { ok = 0, failure = 1, usage = 2, bad_input = 3 };

void print_error(const monarch::Error& error) {
  monarch::log::error(error.message() + (error.hint().empty() ? "" : "\n  hint: " + error.hint()));
  monarch::log::debug(fmt::format("raised at {}:{}", error.where().file_name(), error.where().line()));
}

int run(int count, char** words) {
  using namespace monarch;
  CLI::App app{"Monarch: structured matrices, neural PDE solvers, and MRI reconstruction from raw scan files.", "monarch"};
  app.set_version_flag("--version", fmt::format("monarch {} ({})", version(), revision()));
  app.require_subcommand(1);
  app.fallthrough();
  app.footer("Exit codes: 0 done, 1 failure, 2 wrong usage, 3 bad input data.");
  app.get_formatter()->column_width(34);

  bool quiet = false, verbose = false;
  int threads = 0;
  app.add_flag("-q,--quiet", quiet, "Only errors on stderr");
  app.add_flag("-v,--verbose", verbose, "Debug messages on stderr");
  app.add_option("--threads", threads, "CPU threads (default: all cores)")->check(CLI::PositiveNumber);
  app.parse_complete_callback([&] {
    if (quiet) log::set_level(log::Level::error);
    if (verbose) log::set_level(log::Level::debug);
    Progress::enable(!quiet);
    if (threads > 0) at::set_num_threads(threads);
  });
  apps::add_recon(app);
  apps::add_info(app);
  apps::add_compare(app);
  apps::add_bench(app);
  apps::add_project(app);
  apps::add_densify(app);
  apps::add_inspect(app);
  apps::add_count(app);
  apps::add_transform(app);
  apps::add_reproduce(app);
  apps::add_simulate(app);
  apps::add_prepare(app);
  apps::add_train(app);
  apps::add_predict(app);
  apps::add_generate(app);

  try {
    app.parse(count, words);
  } catch (const CLI::RuntimeError& error) {
    return error.get_exit_code();  // a subcommand that did its work and has something to say by its code
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error, std::cout, std::cerr);
    return code == 0 ? ok : usage;
  } catch (const ConfigError& error) {
    print_error(error);
    return usage;
  } catch (const DataError& error) {
    print_error(error);
    return bad_input;
  } catch (const Error& error) {
    print_error(error);
    return failure;
  }
  std::cout.flush();
  if (!std::cout) {
    log::error("stdout cannot be written (disk full, or its reader has gone)");
    return failure;
  }
  return ok;
}

}  // namespace

int main(int count, char** words) {
  // A reader that goes away and a file that may not grow show as write errors, which are told.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  monarch::set_command_line(count, words);
  try {
    return run(count, words);
  } catch (const std::bad_alloc&) {
    monarch::log::error("out of memory\n  hint: take less at a time (recon: --slices, or compress coils; project: --layers)");
  } catch (const std::exception& error) {
    // LibTorch's messages carry a stack trace behind the first line.
    const std::string text = error.what();
    monarch::log::error("internal: " + text.substr(0, text.find('\n')));
  }
  return failure;
}
