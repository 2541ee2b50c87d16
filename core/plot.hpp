#pragma once
// Small charts as SVG text: curves and points over linear or logarithmic axes, with tooltips. (Debian's plotting
// libraries for C++, PLplot, MathGL and plotutils, are GPL or LGPL and bring graphics stacks of their own.)

#include <optional>
#include <string>
#include <vector>

namespace monarch::plot {

enum class Scale { linear, log };

struct Axis {
  std::string label = {};
  Scale scale = Scale::linear;
  std::optional<double> minimum = {};  ///< default: the data and reference lines with a small margin
  std::optional<double> maximum = {};
};

enum class Style { line, points, line_and_points };

/// One curve or cloud of points. Series take the colours of a palette that colour-blind people can tell apart
/// (Okabe and Ito) in turn, and each colour has a marker of its own.
struct Series {
  std::string name = {};  ///< in the legend; empty: not listed
  std::vector<double> x = {}, y = {};
  Style style = Style::line;
  std::vector<std::string> labels = {};    ///< text beside each point, as long as x, or none; drawn where there is room
  std::vector<std::string> tooltips = {};  ///< shown with the values when the mouse rests on a point; as labels
  std::optional<int> colour = {};          ///< index into the palette; default: the place among the series
  bool dashed = false;                     ///< the line
  bool hollow = false;                     ///< the markers
};

/// A thin grey line with its text on it, such as a limit or a roof. Horizontal at y[0] when x is empty, vertical at
/// x[0] when y is empty, else the polyline through the points.
struct Reference {
  std::string label;
  std::vector<double> x, y;
};
Reference horizontal(const std::string& label, double y);
Reference vertical(const std::string& label, double x);

struct Chart {
  std::string title;
  std::string subtitle = {};
  Axis x = {}, y = {};
  std::vector<Series> series = {};
  std::vector<Reference> references = {};
  int width = 900, height = 560;  ///< pixels, legend included
};

/// The chart as one SVG document. Points have tooltips; points and lines beyond limits set in an axis are not drawn.
/// Throws ConfigError (no series, limits the wrong way round, a size below 200), ShapeError (lengths that differ),
/// and DataError naming series and point for a value that is not finite or, on a logarithmic axis, not positive:
/// nothing is left out silently.
std::string svg(const Chart& chart);

/// Several charts below each other in one SVG document. Throws as svg does, and ConfigError for no chart.
std::string stacked_svg(const std::vector<Chart>& charts);

/// Where an axis from `low` to `high` has its labelled ticks, ascending, within the range. Linear: multiples of 1, 2 or
/// 5 times a power of ten, about six. Log: powers of ten (every second or third where there are many), or 1, 2, 5
/// times powers of ten where fewer than two powers lie within.
std::vector<double> ticks(double low, double high, Scale scale);

}  // namespace monarch::plot
