#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <pugixml.hpp>

#include "monarch/core/error.hpp"
#include "monarch/core/plot.hpp"

using namespace monarch;
using namespace monarch::plot;
using Catch::Matchers::Contains;

namespace {

pugi::xml_document parsed(const Chart& chart) {
  pugi::xml_document document;
  const auto result = document.load_string(svg(chart).c_str(), pugi::parse_full);
  INFO(result.description());
  REQUIRE(result);
  REQUIRE(std::string(document.document_element().name()) == "svg");
  return document;
}

std::vector<pugi::xml_node> of_class(const pugi::xml_document& document, const std::string& name) {
  std::vector<pugi::xml_node> nodes;
  for (const auto& found : document.select_nodes(("//*[@class='" + name + "']").c_str())) nodes.push_back(found.node());
  return nodes;
}

/// Where the markers are, from their transforms.
std::vector<std::pair<double, double>> markers(const pugi::xml_document& document) {
  std::vector<std::pair<double, double>> places;
  for (const auto& node : of_class(document, "point")) {
    double x = 0, y = 0;
    REQUIRE(std::sscanf(node.attribute("transform").value(), "translate(%lf %lf)", &x, &y) == 2);
    places.emplace_back(x, y);
  }
  return places;
}

/// The pixel of the tick that reads `text`.
double tick_place(const pugi::xml_document& document, const std::string& axis, const std::string& text) {
  for (const auto& node : of_class(document, axis + "-tick")) {
    if (node.child_value() == text) {
      return node.attribute(axis.c_str()).as_double() - (axis == "y" ? 4 : 0);  // text sits 4 pixels lower
    }
  }
  FAIL("no tick " << text);
  return 0;
}

Chart decades() {
  return {.title = "decades",
          .x = {.label = "x", .scale = Scale::log},
          .y = {.label = "y", .scale = Scale::log},
          .series = {{.name = "power law", .x = {1, 10, 100, 1000}, .y = {2, 20, 200, 2000}, .style = Style::points}}};
}

}  // namespace

TEST_CASE("points on logarithmic axes lie where the logarithm puts them") {
  const auto document = parsed(decades());
  const auto places = markers(document);
  REQUIRE(places.size() == 4);
  const double dx = places[1].first - places[0].first, dy = places[1].second - places[0].second;
  REQUIRE(dx > 20);
  REQUIRE(dy < -20);  // larger is higher
  for (size_t i = 1; i < 4; ++i) {
    REQUIRE(std::abs(places[i].first - places[i - 1].first - dx) <= 0.03);
    REQUIRE(std::abs(places[i].second - places[i - 1].second - dy) <= 0.03);
  }
  REQUIRE(std::abs(places[2].first - tick_place(document, "x", "100")) <= 0.02);
  // 20 lies log10(2) of a decade above 10.
  const double ten = tick_place(document, "y", "10"), hundred = tick_place(document, "y", "100");
  REQUIRE(std::abs(places[1].second - (ten + std::log10(2.0) * (hundred - ten))) <= 0.03);
}

TEST_CASE("points on linear axes lie in proportion and limits cut") {
  Chart chart{.title = "linear", .series = {{.name = "a", .x = {0, 1, 3}, .y = {-1, 0, 2}, .style = Style::points}}};
  const auto document = parsed(chart);
  const auto places = markers(document);
  REQUIRE(places.size() == 3);
  REQUIRE(std::abs((places[2].first - places[0].first) - 3 * (places[1].first - places[0].first)) <= 0.04);
  REQUIRE(std::abs(places[1].second - tick_place(document, "y", "0")) <= 1.0);
  chart.x.maximum = 2;
  REQUIRE(markers(parsed(chart)).size() == 2);
}

TEST_CASE("ticks are round numbers within the range") {
  REQUIRE(ticks(0, 1, Scale::linear) == std::vector<double>{0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0});
  REQUIRE(ticks(0.3, 2e4, Scale::log) == std::vector<double>{1, 10, 100, 1000, 10000});
  REQUIRE(ticks(1, 50, Scale::log) == std::vector<double>{1, 2, 5, 10, 20, 50});
  const auto many = ticks(1e-12, 1e12, Scale::log);
  REQUIRE(many.size() >= 5);
  REQUIRE(many.size() <= 13);
  for (const double span : {1e-9, 0.37, 12.0, 9999.0, 3e12}) {
    const auto list = ticks(-span / 3, span, Scale::linear);
    REQUIRE(list.size() >= 4);
    REQUIRE(list.size() <= 11);
    REQUIRE(list.front() >= -span / 3 * (1 + 1e-9));
    REQUIRE(list.back() <= span * (1 + 1e-9));
  }
}

TEST_CASE("text of every kind is escaped and the document stays well formed") {
  Chart chart{
      .title = "a < b & \"c\" > 'd' — δ\x01",
      .subtitle = "<script>",
      .x = {.label = "x & y"},
      .y = {.label = "<y>"},
      .series = {{.name = "s<1>", .x = {1, 2}, .y = {3, 4}, .style = Style::line_and_points, .labels = {"<&>", "b"}},
                 {.name = "dashed", .x = {1, 2}, .y = {4, 3}, .dashed = true}},
      .references = {horizontal("roof <1>", 5), vertical("edge & end", 1.5), {"ramp", {1, 2}, {1, 5}}}};
  const auto document = parsed(chart);
  REQUIRE(std::string(of_class(document, "title").at(0).child_value()) == "a < b & \"c\" > 'd' — δ ");
  REQUIRE(std::string(of_class(document, "legend").at(0).child_value()) == "s<1>");
  REQUIRE(std::string(of_class(document, "point-label").at(0).child_value()) == "<&>");
  REQUIRE(of_class(document, "reference").size() == 3);
  REQUIRE(of_class(document, "reference-label").size() == 3);
  REQUIRE(of_class(document, "line").size() == 2);
  REQUIRE(document.select_nodes("//script").empty());
}

TEST_CASE("labels never lie on each other and reference lines stay inside") {
  Chart chart{.title = "crowd", .series = {{.name = "same place", .style = Style::points}}};
  for (int i = 0; i < 50; ++i) {
    chart.series[0].x.push_back(1 + 1e-4 * i);
    chart.series[0].y.push_back(1);
    chart.series[0].labels.push_back("label");
  }
  chart.x.minimum = 0, chart.x.maximum = 2;
  const auto document = parsed(chart);
  REQUIRE(markers(document).size() == 50);
  REQUIRE(of_class(document, "point-label").size() <= 4);
  REQUIRE(of_class(document, "point-label").size() >= 1);
}

TEST_CASE("a single value and a constant series make a chart") {
  for (const Scale scale : {Scale::linear, Scale::log}) {
    const Chart chart{.title = "constant",
                      .x = {.scale = scale},
                      .y = {.scale = scale},
                      .series = {{.name = "one", .x = {7}, .y = {1e-9}, .style = Style::points}}};
    const auto places = markers(parsed(chart));
    REQUIRE(places.size() == 1);
    REQUIRE(std::isfinite(places[0].first));
    REQUIRE(std::isfinite(places[0].second));
  }
}

TEST_CASE("stacked charts make one document that holds them all") {
  pugi::xml_document document;
  REQUIRE(document.load_string(stacked_svg({decades(), decades()}).c_str()));
  REQUIRE(document.document_element().attribute("height").as_int() == 2 * decades().height);
  REQUIRE(of_class(document, "point").size() == 8);
  REQUIRE_THROWS_AS(stacked_svg({}), ConfigError);
}

TEST_CASE("tooltips say what the labels do not") {
  Chart chart = decades();
  chart.series[0].tooltips = {"a", "b & c", "d", "e"};
  const auto document = parsed(chart);
  REQUIRE(std::string(of_class(document, "point").at(1).child("title").child_value()) == "power law, b & c: 10, 20");
  REQUIRE(of_class(document, "point-label").empty());
  chart.series[0].tooltips.pop_back();
  REQUIRE_THROWS_AS(svg(chart), ShapeError);
}

TEST_CASE("values that no axis can show are named and refused") {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity(), 0.0, -1.0}) {
    Chart chart = decades();
    chart.series[0].y[2] = bad;
    REQUIRE_THROWS_AS(svg(chart), DataError);
    REQUIRE_THROWS_WITH(svg(chart), Contains("power law") && Contains("point 2") && Contains("y ="));
  }
  Chart linear = decades();
  linear.x.scale = linear.y.scale = Scale::linear;
  linear.series[0].y[2] = -1;
  REQUIRE_NOTHROW(svg(linear));
  linear.series[0].x[0] = std::nan("");
  REQUIRE_THROWS_AS(svg(linear), DataError);
  Chart line = decades();
  line.references = {horizontal("roof", std::nan(""))};
  REQUIRE_THROWS_AS(svg(line), DataError);
  Chart limit = decades();
  limit.x.minimum = 0;
  REQUIRE_THROWS_AS(svg(limit), DataError);
}

TEST_CASE("charts that make no sense are refused") {
  Chart chart = decades();
  chart.series[0].y.pop_back();
  REQUIRE_THROWS_AS(svg(chart), ShapeError);
  chart = decades();
  chart.series[0].labels = {"one"};
  REQUIRE_THROWS_AS(svg(chart), ShapeError);
  chart = decades();
  chart.references = {{"half a line", {1, 2}, {1}}};
  REQUIRE_THROWS_AS(svg(chart), ShapeError);
  chart = decades();
  chart.x.minimum = 10, chart.x.maximum = 1;
  REQUIRE_THROWS_AS(svg(chart), ConfigError);
  chart = decades();
  chart.series.clear();
  REQUIRE_THROWS_AS(svg(chart), ConfigError);
  chart = decades();
  chart.width = 20;
  REQUIRE_THROWS_AS(svg(chart), ConfigError);
}
