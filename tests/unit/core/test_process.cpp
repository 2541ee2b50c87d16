#include <catch2/catch.hpp>

#include "monarch/core/error.hpp"
#include "monarch/core/process.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::test;
using Catch::Matchers::Contains;

TEST_CASE("a dialogue returns one answer to each line") {
  const TemporaryFolder folder;
  Dialogue echo({"cat"}, folder.path());
  REQUIRE(echo.ask("first") == "first");
  REQUIRE(echo.ask("") == "");
  const std::string longer(100'000, 'x');
  REQUIRE(echo.ask(longer) == longer);
  Dialogue other({"sh", "-c", "while read line; do echo \"$WORD $line\"; pwd; done"}, folder.path(), {{"WORD", "said"}},
                 "other.log");
  REQUIRE(other.ask("yes") == "said yes");
  REQUIRE(other.ask("no") == folder.path());  // the second line of the first answer
  REQUIRE(echo.ask("still there") == "still there");
}

TEST_CASE("a program that ends instead of answering is an error with its last words") {
  const TemporaryFolder folder;
  Dialogue child({"sh", "-c", "read line; echo out of $line >&2"}, folder.path());
  try {
    child.ask("memory");
    FAIL("no error");
  } catch (const BackendError& error) {
    REQUIRE_THAT(error.message(), Contains("no answer to 'memory'") && Contains("out of memory"));
  }
  REQUIRE_THROWS_AS(child.ask("again"), BackendError);  // and no signal
  REQUIRE_THROWS_AS(Dialogue({"no-such-program-here"}, folder.path()), BackendError);
}
