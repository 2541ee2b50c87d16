#include <catch2/catch.hpp>

#include "monarch/core/error.hpp"
#include "monarch/core/log.hpp"
#include "monarch/core/progress.hpp"
#include "monarch/core/provenance.hpp"
#include "monarch/core/text.hpp"

using namespace monarch;

TEST_CASE("bytes and durations are told in fitting units") {
  REQUIRE(bytes_text(17) == "17 B");
  REQUIRE(bytes_text(1536) == "1.5 KiB");
  REQUIRE(bytes_text(3.0 * (1ULL << 40)) == "3.0 TiB");
  REQUIRE(duration_text(0.0415) == "41.5 ms");
  REQUIRE(duration_text(2.345) == "2.35 s");
  REQUIRE(duration_text(125) == "2 min 05 s");
  REQUIRE(duration_text(3780) == "1 h 03 min");
}

TEST_CASE("the closest match tolerates a typing error and nothing wilder") {
  REQUIRE(closest_match("lamda", {"lambda", "iterations"}) == "lambda");
  REQUIRE(closest_match("iteratoins", {"lambda", "iterations"}) == "iterations");
  REQUIRE(closest_match("xyzzyplugh", {"lambda", "tv"}).empty());
  REQUIRE(closest_match("x", {}).empty());
}

TEST_CASE("a failed check throws message hint and place; a passed one evaluates nothing") {
  bool evaluated = false;
  check<DataError>(true, [&] {
    evaluated = true;
    return std::string("never");
  });
  REQUIRE_FALSE(evaluated);
  try {
    check<DataError>(
        false, [] { return std::string("scan.h5: broken"); }, "mend it");
    FAIL("nothing was thrown");
  } catch (const Error& error) {
    REQUIRE(error.message() == "scan.h5: broken");
    REQUIRE(std::string(error.what()) == "scan.h5: broken\nhint: mend it");
    REQUIRE(std::string(error.where().file_name()).find("test_text.cpp") != std::string::npos);
  }
  const double nan = std::numeric_limits<double>::quiet_NaN();
  REQUIRE_THROWS_AS(check<ShapeError>(nan <= 1.0, "NaN must fail"), ShapeError);
}

TEST_CASE("provenance names version command and machine") {
  const char* words[] = {"monarch", "recon", "my scan.h5"};
  set_command_line(3, words);
  const auto facts = provenance();
  REQUIRE(facts.at("command") == "monarch recon 'my scan.h5'");
  for (const auto* key : {"version", "revision", "compiler", "libtorch", "cpu", "threads", "time_utc"}) {
    INFO(key);
    REQUIRE_FALSE(facts.at(key).empty());
  }
  REQUIRE(text_hash("abc") == "a9993e364706816aba3e25717850c26c9cd0d89d");
}

TEST_CASE("progress may nest and advance past its total") {
  Progress outer("outer", 2);
  for (int i = 0; i < 2; ++i) {
    Progress inner("inner", 1);
    inner.advance(3);
    outer.advance();
  }
  SUCCEED();
}

TEST_CASE("UTF-8 is told from other bytes") {
  for (const std::string good : {"", "plain", "λ", "€", "𝄞", "a\u00e9b", "\xf4\x8f\xbf\xbf"}) REQUIRE(is_utf8(good));
  for (const std::string bad : {"\xff", "\x80", "\xc3", "a\xc3", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80",
                                "\xf0\x82\x82\xac", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\xc3g"})
    REQUIRE_FALSE(is_utf8(bad));
}

TEST_CASE("thousands are set apart by commas") {
  REQUIRE(thousands(0) == "0");
  REQUIRE(thousands(999) == "999");
  REQUIRE(thousands(1000) == "1,000");
  REQUIRE(thousands(-123456) == "-123,456");
  REQUIRE(thousands(6558537) == "6,558,537");
}

TEST_CASE("base64 and HTML escapes") {
  REQUIRE(base64("") == "");
  REQUIRE(base64("Ma") == "TWE=");
  REQUIRE(base64(std::string(300, 'M')).find('\n') == std::string::npos);
  REQUIRE(html_escape("a<b> & \"c\"") == "a&lt;b&gt; &amp; &quot;c&quot;");
}
