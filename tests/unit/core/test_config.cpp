#include <catch2/catch.hpp>

#include "monarch/core/config.hpp"
#include "monarch/core/error.hpp"
#include "support/support.hpp"

using Catch::Matchers::Contains;
using monarch::Config;
using monarch::ConfigError;

namespace {
const char* text = R"(title = "brain"
[recon]
lambda = 0.01
iterations = 30
fast = true
weights = [1, 2.5]
names = ["a", "b"]
)";
}

TEST_CASE("a config gives typed values defaults and the effective set") {
  const Config config = Config::parse(text, "recon.toml");
  REQUIRE(config.text("title") == "brain");
  REQUIRE(config.number("recon.lambda") == 0.01);
  REQUIRE(config.integer("recon.iterations", 5) == 30);
  REQUIRE(config.number("recon.iterations") == 30);
  REQUIRE(config.boolean("recon.fast", false));
  REQUIRE(config.numbers("recon.weights", {}) == std::vector<double>{1, 2.5});
  REQUIRE(config.texts("recon.names", {}) == std::vector<std::string>{"a", "b"});
  REQUIRE(config.number("recon.tolerance", 1e-6) == 1e-6);
  config.finish();
  REQUIRE(config.effective().at("recon.tolerance") == "1e-06");
  REQUIRE(config.effective().at("title") == "\"brain\"");
}

TEST_CASE("a key that nothing reads is an error naming line and closest key") {
  const Config config = Config::parse("[recon]\nlamda = 1\n", "recon.toml");
  config.number("recon.lambda", 0.1);
  REQUIRE_THROWS_WITH(config.finish(), Contains("recon.toml:2: nothing reads 'recon.lamda'") &&
                                           Contains("did you mean 'recon.lambda'?"));
}

TEST_CASE("wrong types missing keys and broken files are errors that name the place") {
  const Config config = Config::parse(text, "recon.toml");
  REQUIRE_THROWS_WITH(config.integer("recon.lambda", 1), Contains("recon.toml:3: 'recon.lambda' must be an integer"));
  REQUIRE_THROWS_WITH(config.text("recon.method"), Contains("'recon.method' is missing"));
  REQUIRE_THROWS_WITH(config.numbers("recon.names", {}), Contains("must be an array of numbers"));
  REQUIRE_THROWS_WITH(Config::parse("a = \n", "bad.toml"), Contains("bad.toml:1: not valid TOML"));
  REQUIRE_THROWS_AS(Config::load("/no/such/file.toml"), ConfigError);
  REQUIRE_THROWS_AS(Config::load("/tmp"), ConfigError);
}
