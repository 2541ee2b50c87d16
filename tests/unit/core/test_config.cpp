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

TEST_CASE("a config changed by set and merge says so as TOML that parses to itself") {
  Config config = Config::parse("[model]\nname = 'fno'\nmodes = [12, 12]\n[training]\nepochs = 5\n");
  config.set("training.epochs=20");
  config.set("model.name=monarch-no");
  config.merge(Config::parse("[model]\nwidth = 32\n[data]\nfile = 'a.mat'\n"));
  const Config again = Config::parse(config.toml());
  for (const Config* c : {static_cast<const Config*>(&config), &again}) {
    REQUIRE(c->integer("training.epochs") == 20);
    REQUIRE(c->text("model.name") == "monarch-no");
    REQUIRE(c->integer("model.width") == 32);
    REQUIRE(c->numbers("model.modes", {}) == std::vector<double>{12, 12});
    REQUIRE(c->text("data.file") == "a.mat");
    c->finish();
  }
  REQUIRE(again.toml() == config.toml());
  REQUIRE_THROWS_WITH(config.set("epochs"), Contains("is no assignment"));
}

TEST_CASE("texts of a config are rewritten wherever they stand") {
  Config config = Config::parse("a = '{x}/1'\nb = ['{x}', 'c']\nn = 3\n[t]\nkept = '{x}'\n[[r]]\nd = { e = '{x}' }\n");
  config.rewrite_texts([](std::string_view key, const std::string& text) {
    return key == "kept" || !text.starts_with("{x}") ? text : "a \"path\"" + text.substr(3);
  });
  for (const Config& c : {config.copy(), Config::parse(config.toml())}) {
    REQUIRE(c.text("a") == "a \"path\"/1");
    REQUIRE(c.texts("b", {}) == std::vector<std::string>{"a \"path\"", "c"});
    REQUIRE(c.integer("n") == 3);
    REQUIRE(c.text("t.kept") == "{x}");
    REQUIRE(c.tables("r")[0].text("d.e") == "a \"path\"");
  }
}

TEST_CASE("tables and sections of a config are configs of their own") {
  const Config config = Config::parse("[[row]]\nname = 'a'\n[row.model]\nwidth = 3\n[[row]]\nname = 'b'\nwrong = 1\n[x.y]\nz = 2\n");
  const auto rows = config.tables("row");
  REQUIRE(rows.size() == 2);
  REQUIRE(rows[0].text("name") == "a");
  REQUIRE(rows[0].section("model").integer("width") == 3);
  rows[0].finish();
  REQUIRE(rows[1].text("name") == "b");
  REQUIRE_THROWS_WITH(rows[1].finish(), Contains("nothing reads 'wrong'"));
  REQUIRE(config.section("x").integer("y.z") == 2);
  REQUIRE(config.names("x") == std::vector<std::string>{"y"});
  REQUIRE(config.tables("none").empty());
  config.finish();
}
