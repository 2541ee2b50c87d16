#include <catch2/catch.hpp>
#include "monarch/core/text.hpp"
TEST_CASE("bytes are told in the largest unit that keeps them above one") { REQUIRE(monarch::bytes_text(1536) == "1.5 KiB"); }
