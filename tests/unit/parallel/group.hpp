#pragma once
// Groups of worker processes.

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/support.hpp"

namespace monarch::test {

/// A socket that listens on a free port of this machine, until it dies.
class Listener {
 public:
  Listener() : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    socklen_t size = sizeof address;
    if (::bind(socket_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(socket_, 4) != 0 ||
        ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      throw std::runtime_error("no port is free");
    port_ = ntohs(address.sin_port);
  }
  ~Listener() { ::close(socket_); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  int port() const { return port_; }

 private:
  int socket_;
  int port_ = 0;
};

inline int free_port() {
  return Listener().port();
}

struct Outcome {
  int exit_code = -1;  ///< 124: it hung and was ended
  std::string output, errors;
};

/// Starts `processes` workers at once, each with environment(rank) ("A=1 B=2") before it, and waits for all; one that
/// takes longer than `seconds` is ended.
inline std::vector<Outcome> run_group(int processes, const std::function<std::string(int)>& environment,
                                      const std::string& program, const std::string& arguments, int seconds = 60) {
  const TemporaryFolder folder;
  std::string script;
  for (int rank = 0; rank < processes; ++rank) {
    const std::string file = (folder / std::to_string(rank)).string();
    script += fmt::format("( env {} timeout {} '{}' {} >{}.out 2>{}.err; echo $? >{}.code ) & ", environment(rank),
                          seconds, program, arguments, file, file, file);
  }
  run_command("unset RANK WORLD_SIZE MASTER_ADDR MASTER_PORT; export OMP_NUM_THREADS=1; " + script + " wait");
  std::vector<Outcome> outcomes;
  for (int rank = 0; rank < processes; ++rank) {
    const auto text = [&](const std::string& kind) {
      std::ostringstream content;
      content << std::ifstream(folder / (std::to_string(rank) + kind)).rdbuf();
      return content.str();
    };
    outcomes.push_back({std::stoi("0" + text(".code")), text(".out"), text(".err")});
  }
  return outcomes;
}

/// The environment that torchrun gives.
inline std::function<std::string(int)> torchrun_environment(int processes, int port, const std::string& more = {}) {
  return [=](int rank) {
    return fmt::format(
        "RANK={} LOCAL_RANK={} WORLD_SIZE={} LOCAL_WORLD_SIZE={} MASTER_ADDR=127.0.0.1 MASTER_PORT={} {}", rank, rank,
        processes, processes, port, more);
  };
}

}  // namespace monarch::test
