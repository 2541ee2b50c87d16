// The main of every test program. A test case that calls skip() ends the program with code 77, which ctest counts
// as "Skipped"; ctest runs each test case in a process of its own.
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>

#include "support/skip.hpp"

namespace {
bool skipped = false;
}

CATCH_TRANSLATE_EXCEPTION(const monarch::test::Skipped& reason) {
  skipped = true;
  return "skipped: " + reason.reason;
}

int main(int argc, char** argv) {
  Catch::Session session;
  const int result = session.run(argc, argv);
  return skipped ? 77 : result;
}
