#include "monarch/core/plot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"

namespace monarch::plot {
namespace {

// Okabe and Ito's colours without the yellow, which is too light for thin lines.
constexpr std::array<const char*, 7> kPalette = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                                 "#E69F00", "#56B4E9", "#444444"};
// Circle, square, triangle, diamond, inverted triangle, cross, bar: outlines around the origin.
constexpr std::array<const char*, 7> kMarkers = {"M-4.2 0a4.2 4.2 0 1 0 8.4 0a4.2 4.2 0 1 0-8.4 0z",
                                                 "M-3.8-3.8h7.6v7.6h-7.6z",
                                                 "M0-5L4.8 3.6H-4.8z",
                                                 "M0-5.2L5.2 0L0 5.2L-5.2 0z",
                                                 "M0 5L4.8-3.6H-4.8z",
                                                 "M-4.5-1.6h2.9v-2.9h3.2v2.9h2.9v3.2h-2.9v2.9h-3.2v-2.9h-2.9z",
                                                 "M-5-2.2h10v4.4h-10z"};
constexpr const char* kInk = "#333333";
constexpr const char* kFont = "Inter, 'Segoe UI', 'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif";

struct Point {
  double x = 0, y = 0;
};

/// Estimated width of a text in pixels: the average of sans-serif faces.
double text_width(std::string_view text, double size) {
  const auto characters = std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
  return 0.6 * size * static_cast<double>(characters);
}

std::string power_of_ten(int exponent) {
  static constexpr std::array<const char*, 10> digits = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string text = "10";
  for (const char c : std::to_string(exponent)) text += c == '-' ? "⁻" : digits[static_cast<size_t>(c - '0')];
  return text;
}

/// The text of a tick; all ticks of one axis come alike.
std::string tick_text(double value, const std::vector<double>& all, Scale scale) {
  if (value == 0) return "0";
  double largest = 0, step = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < all.size(); ++i) {
    largest = std::max(largest, std::abs(all[i]));
    if (i > 0) step = std::min(step, all[i] - all[i - 1]);
  }
  const bool plain =
      scale == Scale::log ? all.front() >= 0.999e-3 && largest < 1.001e4 : largest < 1e6 && step >= 0.9e-4;
  if (plain && scale == Scale::log) return fmt::format("{:g}", value);
  if (plain) {
    const int decimals = std::isfinite(step) ? std::max(0, -static_cast<int>(std::floor(std::log10(step) + 1e-9))) : 2;
    return fmt::format("{:.{}f}", value, decimals);
  }
  const int exponent = static_cast<int>(std::floor(std::log10(std::abs(value)) + 1e-9));
  const double mantissa = value / std::pow(10.0, exponent);
  if (std::abs(mantissa - 1) < 1e-6) return power_of_ten(exponent);
  return fmt::format("{:.4g}·{}", mantissa, power_of_ten(exponent));
}

double linear_step(double span) {
  const double raw = span / 6, power = std::pow(10.0, std::floor(std::log10(raw)));
  const double multiple = raw / power;
  return power * (multiple <= 1.5 ? 1 : multiple <= 3.2 ? 2 : multiple <= 7.1 ? 5 : 10);
}

/// 1, 2 or 5 times a power of ten at or beyond `value`.
double round_log(double value, bool up) {
  const double power = std::pow(10.0, std::floor(std::log10(value) + 1e-12));
  const double multiple = value / power;
  if (up) return power * (multiple <= 1 + 1e-9 ? 1 : multiple <= 2 + 1e-9 ? 2 : multiple <= 5 + 1e-9 ? 5 : 10);
  return power * (multiple >= 5 - 1e-9 ? 5 : multiple >= 2 - 1e-9 ? 2 : 1);
}

/// The range of one axis and its map to pixels.
class Map {
 public:
  Map(const Axis& axis, double low, double high) : scale_(axis.scale), low_(low), high_(high) {
    if (scale_ == Scale::log) {
      if (low_ >= high_ * (1 - 1e-9)) low_ /= 2, high_ *= 2;
      low_ = round_log(low_ / 1.05, false), high_ = round_log(high_ * 1.05, true);
    } else {
      if (low_ >= high_) {
        const double margin = low_ == 0 ? 1 : 0.1 * std::abs(low_);
        low_ -= margin, high_ += margin;
      }
      const double margin = 0.04 * (high_ - low_);
      if (low_ != 0) low_ -= margin;
      if (high_ != 0) high_ += margin;
    }
    if (axis.minimum) low_ = *axis.minimum;
    if (axis.maximum) high_ = *axis.maximum;
  }
  void place(double from, double to) { from_ = from, to_ = to; }
  double operator()(double value) const {
    const double share =
        scale_ == Scale::log ? std::log(value / low_) / std::log(high_ / low_) : (value - low_) / (high_ - low_);
    return from_ + share * (to_ - from_);
  }
  bool holds(double value) const { return value >= low_ - slack() && value <= high_ + slack(); }
  double low() const { return low_; }
  double high() const { return high_; }
  Scale scale() const { return scale_; }

 private:
  double slack() const { return 1e-9 * (high_ - low_); }

  Scale scale_;
  double low_, high_;
  double from_ = 0, to_ = 1;
};

class Drawing {
 public:
  explicit Drawing(const Chart& chart) : chart_(chart), x_(range(true)), y_(range(false)) {
    double legend = 0;
    for (const auto& series : chart.series) {
      if (!series.name.empty()) legend = std::max(legend, text_width(series.name, 12.5));
    }
    double tick_width = 0;
    const auto y_ticks = ticks(y_.low(), y_.high(), y_.scale());
    for (const double t : y_ticks) tick_width = std::max(tick_width, text_width(tick_text(t, y_ticks, y_.scale()), 12));
    left_ = 34 + tick_width + (chart.y.label.empty() ? 0 : 18);
    right_ = std::max(left_ + 80, chart.width - 24 - (legend > 0 ? legend + 44 : 0));
    top_ = 22 + (chart.title.empty() ? 0 : 26) + (chart.subtitle.empty() ? 0 : 18);
    bottom_ = chart.height - 34 - (chart.x.label.empty() ? 0 : 24);
    x_.place(left_, right_);
    y_.place(bottom_, top_);
  }

  std::string text() {
    put("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
        "font-family=\"{2}\" font-size=\"12\" fill=\"{3}\" role=\"img\">\n<title>{4}</title>\n",
        chart_.width, chart_.height, kFont, kInk, html_escape(chart_.title));
    put("<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n");
    double y = 12;
    if (!chart_.title.empty()) {
      y += 18;
      put("<text class=\"title\" x=\"{:.2f}\" y=\"{}\" font-size=\"17\" font-weight=\"600\" fill=\"#111111\">{}"
          "</text>\n",
          left_, y, html_escape(chart_.title));
    }
    if (!chart_.subtitle.empty()) {
      put("<text class=\"subtitle\" x=\"{:.2f}\" y=\"{}\" font-size=\"12.5\" fill=\"#666666\">{}</text>\n", left_,
          y + 19, html_escape(chart_.subtitle));
    }
    axes();
    // A viewport of its own cuts lines at the edges of the plot area (ids of clip paths would clash inside one page).
    put("<svg x=\"{0:.2f}\" y=\"{1:.2f}\" width=\"{2:.2f}\" height=\"{3:.2f}\" viewBox=\"{0:.2f} {1:.2f} {2:.2f} "
        "{3:.2f}\">"
        "\n",
        left_, top_, right_ - left_, bottom_ - top_);
    for (const auto& reference : chart_.references) reference_line(reference);
    for (size_t i = 0; i < chart_.series.size(); ++i) line(chart_.series[i], i);
    put("</svg>\n");
    for (const auto& reference : chart_.references) reference_label(reference.label, path_of(reference));
    for (size_t i = 0; i < chart_.series.size(); ++i) points(chart_.series[i], i);
    for (size_t i = 0; i < chart_.series.size(); ++i) labels(chart_.series[i], i);
    legend();
    out_ += "</svg>\n";
    return std::move(out_);
  }

 private:
  template <class... Values>
  void put(fmt::format_string<Values...> format, Values&&... values) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Values>(values)...);
  }

  /// Checks every value along one axis and returns the range that holds them.
  Map range(bool along_x) const {
    const Axis& axis = along_x ? chart_.x : chart_.y;
    const char* name = along_x ? "x" : "y";
    double low = std::numeric_limits<double>::infinity(), high = -low;
    const auto take = [&](const std::string& what, const std::vector<double>& values) {
      for (size_t i = 0; i < values.size(); ++i) {
        check<DataError>(
            std::isfinite(values[i]) && (axis.scale == Scale::linear || values[i] > 0),
            [&] {
              return fmt::format("chart '{}': {}, point {}: {} = {}, but {} axis needs {} numbers", chart_.title, what,
                                 i, name, values[i], axis.scale == Scale::log ? "a logarithmic" : "an",
                                 axis.scale == Scale::log ? "positive finite" : "finite");
            },
            "leave such points out");
        low = std::min(low, values[i]), high = std::max(high, values[i]);
      }
    };
    for (const auto& series : chart_.series) {
      take(fmt::format("series '{}'", series.name), along_x ? series.x : series.y);
    }
    for (const auto& line : chart_.references) take(fmt::format("line '{}'", line.label), along_x ? line.x : line.y);
    for (const auto& limit : {axis.minimum, axis.maximum}) {
      if (limit) take(fmt::format("limit of the {} axis", name), {*limit});
    }
    if (low > high) low = 1, high = 1;
    const Map map(axis, low, high);
    check<ConfigError>(map.low() < map.high(), [&] {
      return fmt::format("chart '{}': the {} axis runs from {} to {}", chart_.title, name, map.low(), map.high());
    });
    return map;
  }

  void axes() {
    const auto x_ticks = ticks(x_.low(), x_.high(), x_.scale()), y_ticks = ticks(y_.low(), y_.high(), y_.scale());
    const auto grid = [&](const Map& map, const std::vector<double>& at, bool along_x, const char* kind,
                          const char* colour) {
      for (const double t : at) {
        const double place = map(t);
        put("<line class=\"{}\" x1=\"{:.2f}\" y1=\"{:.2f}\" x2=\"{:.2f}\" y2=\"{:.2f}\" stroke=\"{}\"/>\n", kind,
            along_x ? place : left_, along_x ? top_ : place, along_x ? place : right_, along_x ? bottom_ : place,
            colour);
      }
    };
    grid(x_, minor(x_, x_ticks), true, "minor", "#f2f2f2");
    grid(y_, minor(y_, y_ticks), false, "minor", "#f2f2f2");
    grid(x_, x_ticks, true, "grid", "#dddddd");
    grid(y_, y_ticks, false, "grid", "#dddddd");
    put("<path class=\"frame\" d=\"M{0:.2f} {1:.2f}V{3:.2f}H{2:.2f}\" fill=\"none\" stroke=\"#666666\"/>\n", left_,
        top_, right_, bottom_);
    for (const double t : x_ticks) {
      put("<text class=\"x-tick\" x=\"{:.2f}\" y=\"{:.2f}\" text-anchor=\"middle\">{}</text>\n", x_(t), bottom_ + 18,
          tick_text(t, x_ticks, x_.scale()));
    }
    for (const double t : y_ticks) {
      put("<text class=\"y-tick\" x=\"{:.2f}\" y=\"{:.2f}\" text-anchor=\"end\">{}</text>\n", left_ - 8, y_(t) + 4,
          tick_text(t, y_ticks, y_.scale()));
    }
    if (!chart_.x.label.empty()) {
      put("<text class=\"x-label\" x=\"{:.2f}\" y=\"{:.2f}\" text-anchor=\"middle\" font-size=\"13\">{}</text>\n",
          (left_ + right_) / 2, bottom_ + 42, html_escape(chart_.x.label));
    }
    if (!chart_.y.label.empty()) {
      put("<text class=\"y-label\" transform=\"translate(22 {:.2f}) rotate(-90)\" text-anchor=\"middle\" "
          "font-size=\"13\">{}</text>\n",
          (top_ + bottom_) / 2, html_escape(chart_.y.label));
    }
  }

  /// Grid lines between the labelled ones of a logarithmic axis: 2 … 9 times each power of ten.
  static std::vector<double> minor(const Map& map, const std::vector<double>& labelled) {
    std::vector<double> result;
    if (map.scale() == Scale::linear || map.high() / map.low() > 1e7) return result;
    for (double power = std::pow(10.0, std::floor(std::log10(map.low()))); power <= map.high(); power *= 10) {
      for (int multiple = 1; multiple <= 9; ++multiple) {
        const double value = multiple * power;
        const bool taken =
            std::any_of(labelled.begin(), labelled.end(), [&](double t) { return std::abs(t / value - 1) < 1e-6; });
        if (map.holds(value) && !taken) result.push_back(value);
      }
    }
    return result;
  }

  Point pixel(double x, double y) const { return {x_(x), y_(y)}; }

  std::vector<Point> path_of(const Reference& reference) const {
    if (reference.x.empty()) return {pixel(x_.low(), reference.y[0]), pixel(x_.high(), reference.y[0])};
    if (reference.y.empty()) return {pixel(reference.x[0], y_.low()), pixel(reference.x[0], y_.high())};
    std::vector<Point> path;
    for (size_t i = 0; i < reference.x.size(); ++i) path.push_back(pixel(reference.x[i], reference.y[i]));
    return path;
  }

  void polyline(const char* kind, const std::vector<Point>& path, const std::string& stroke) {
    put("<polyline class=\"{}\" points=\"", kind);
    for (const auto& p : path) put("{:.2f},{:.2f} ", p.x, p.y);
    put("\" fill=\"none\" {}/>\n", stroke);
  }

  void reference_line(const Reference& reference) {
    polyline("reference", path_of(reference), "stroke=\"#555555\" stroke-width=\"1.4\" stroke-dasharray=\"6 4\"");
  }

  /// Text above the longest segment of the line, along it.
  void reference_label(const std::string& label, const std::vector<Point>& path) {
    if (label.empty()) return;
    Point from = path[0], to = path[0];
    for (size_t i = 1; i < path.size(); ++i) {
      Point a = path[i - 1], b = path[i];
      if (!clip(a, b)) continue;
      if (std::hypot(b.x - a.x, b.y - a.y) > std::hypot(to.x - from.x, to.y - from.y)) from = a, to = b;
    }
    if (from.x > to.x) std::swap(from, to);
    const bool flat = std::abs(to.y - from.y) < 1;
    const double angle = std::atan2(to.y - from.y, to.x - from.x) * 180 / M_PI;
    const double share = std::abs(to.x - from.x) < 1 ? 0.5 : 0;  // a vertical line has its text in the middle
    const Point at =
        flat ? Point{to.x - 6, to.y} : Point{from.x + share * (to.x - from.x), from.y + share * (to.y - from.y)};
    put("<text class=\"reference-label\" transform=\"translate({:.2f} {:.2f}) rotate({:.2f})\" dx=\"{}\" dy=\"-5\" "
        "text-anchor=\"{}\" font-size=\"11.5\" fill=\"#555555\" stroke=\"white\" stroke-width=\"3\" "
        "paint-order=\"stroke\">{}</text>\n",
        at.x, at.y, angle, flat || share > 0 ? 0 : 14,
        flat        ? "end"
        : share > 0 ? "middle"
                    : "start",
        html_escape(label));
    const double width = text_width(label, 11.5);
    if (flat) taken_.push_back({at.x - width, at.y - 18, at.x, at.y});
  }

  /// Liang and Barsky: the part of a segment inside the plot area, false when there is none.
  bool clip(Point& a, Point& b) const {
    double from = 0, to = 1;
    const double dx = b.x - a.x, dy = b.y - a.y;
    const std::array<std::pair<double, double>, 4> sides = {
        std::pair{-dx, a.x - left_}, {dx, right_ - a.x}, {-dy, a.y - top_}, {dy, bottom_ - a.y}};
    for (const auto& [direction, distance] : sides) {
      if (direction == 0 && distance < -1e-6) return false;
      if (direction < 0) from = std::max(from, distance / direction);
      if (direction > 0) to = std::min(to, distance / direction);
    }
    if (from > to) return false;
    const Point start = a;
    a = {start.x + from * dx, start.y + from * dy};
    b = {start.x + to * dx, start.y + to * dy};
    return true;
  }

  static size_t style_index(const Series& series, size_t place) {
    return static_cast<size_t>(series.colour.value_or(static_cast<int>(place))) % kPalette.size();
  }

  void line(const Series& series, size_t place) {
    if (series.style == Style::points || series.x.empty()) return;
    std::vector<Point> path;
    for (size_t i = 0; i < series.x.size(); ++i) path.push_back(pixel(series.x[i], series.y[i]));
    polyline("line", path,
             fmt::format("stroke=\"{}\" stroke-width=\"2\" stroke-linejoin=\"round\"{}",
                         kPalette[style_index(series, place)], series.dashed ? " stroke-dasharray=\"7 4\"" : ""));
  }

  void marker(const char* kind, const Series& series, size_t place, double x, double y, const std::string& tooltip) {
    const size_t index = style_index(series, place);
    put("<path class=\"{}\" transform=\"translate({:.2f} {:.2f})\" d=\"{}\" fill=\"{}\" stroke=\"{}\" "
        "stroke-width=\"{}\">",
        kind, x, y, kMarkers[index], series.hollow ? "white" : kPalette[index],
        series.hollow ? kPalette[index] : "white", series.hollow ? 1.6 : 0.8);
    if (!tooltip.empty()) put("<title>{}</title>", html_escape(tooltip));
    put("</path>\n");
  }

  bool inside(const Series& series, size_t i) const { return x_.holds(series.x[i]) && y_.holds(series.y[i]); }

  void points(const Series& series, size_t place) {
    if (series.style == Style::line) return;
    for (size_t i = 0; i < series.x.size(); ++i) {
      if (!inside(series, i)) continue;
      const Point at = pixel(series.x[i], series.y[i]);
      const auto& texts = series.tooltips.empty() ? series.labels : series.tooltips;
      const std::string more = texts.empty() ? "" : texts[i];
      marker("point", series, place, at.x, at.y,
             fmt::format("{}{}{}: {:.4g}, {:.4g}", series.name, series.name.empty() || more.empty() ? "" : ", ", more,
                         series.x[i], series.y[i]));
      taken_.push_back({at.x - 5, at.y - 5, at.x + 5, at.y + 5});
    }
  }

  struct Box {
    double left, top, right, bottom;
    bool meets(const Box& b) const { return left < b.right && b.left < right && top < b.bottom && b.top < bottom; }
  };

  /// Beside each point the first of four places where the text meets no other; without room the tooltip remains.
  void labels(const Series& series, size_t place) {
    for (size_t i = 0; i < series.labels.size(); ++i) {
      if (series.labels[i].empty() || !inside(series, i)) continue;
      const Point at = pixel(series.x[i], series.y[i]);
      const double width = text_width(series.labels[i], 10.5);
      const std::array<Point, 4> starts = {Point{at.x + 8, at.y + 4},
                                           {at.x - width / 2, at.y - 9},
                                           {at.x - width / 2, at.y + 17},
                                           {at.x - width - 8, at.y + 4}};
      for (const auto& start : starts) {
        const Box box{start.x, start.y - 9, start.x + width, start.y + 2};
        if (box.left < left_ || box.right > right_ || box.top < top_ || box.bottom > bottom_) continue;
        if (std::any_of(taken_.begin(), taken_.end(), [&](const Box& other) { return box.meets(other); })) continue;
        put("<text class=\"point-label\" x=\"{:.2f}\" y=\"{:.2f}\" font-size=\"10.5\" fill=\"{}\">{}</text>\n", start.x,
            start.y, kPalette[style_index(series, place)], html_escape(series.labels[i]));
        taken_.push_back(box);
        break;
      }
    }
  }

  void legend() {
    double y = top_ + 10;
    const double x = right_ + 20;
    for (size_t i = 0; i < chart_.series.size(); ++i) {
      const Series& series = chart_.series[i];
      if (series.name.empty()) continue;
      if (series.style != Style::points) {
        put("<line x1=\"{:.2f}\" y1=\"{:.2f}\" x2=\"{:.2f}\" y2=\"{:.2f}\" stroke=\"{}\" stroke-width=\"2\"{}/>\n", x,
            y, x + 22, y, kPalette[style_index(series, i)], series.dashed ? " stroke-dasharray=\"7 4\"" : "");
      }
      if (series.style != Style::line) marker("key", series, i, x + 11, y, "");
      put("<text class=\"legend\" x=\"{:.2f}\" y=\"{:.2f}\" font-size=\"12.5\">{}</text>\n", x + 29, y + 4.5,
          html_escape(series.name));
      y += 21;
    }
  }

  const Chart& chart_;
  Map x_, y_;
  double left_ = 0, right_ = 0, top_ = 0, bottom_ = 0;
  std::vector<Box> taken_;
  std::string out_;
};

}  // namespace

Reference horizontal(const std::string& label, double y) {
  return {label, {}, {y}};
}
Reference vertical(const std::string& label, double x) {
  return {label, {x}, {}};
}

std::vector<double> ticks(double low, double high, Scale scale) {
  std::vector<double> result;
  if (scale == Scale::linear) {
    const double step = linear_step(high - low);
    const auto first = static_cast<int64_t>(std::ceil(low / step - 1e-9));
    for (int64_t i = first; static_cast<double>(i) * step <= high + 1e-9 * step; ++i) {
      result.push_back(static_cast<double>(i) * step);
    }
    return result;
  }
  const int first = static_cast<int>(std::ceil(std::log10(low) - 1e-9));
  const int last = static_cast<int>(std::floor(std::log10(high) + 1e-9));
  if (last - first >= 2) {
    const int every = 1 + (last - first) / 9;
    for (int e = first; e <= last; e += every) result.push_back(std::pow(10.0, e));
    return result;
  }
  for (int e = first - 1; e <= last; ++e) {
    for (const double multiple : {1.0, 2.0, 5.0}) {
      const double value = multiple * std::pow(10.0, e);
      if (value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9)) result.push_back(value);
    }
  }
  return result;
}

std::string svg(const Chart& chart) {
  check<ConfigError>(!chart.series.empty(), [&] { return fmt::format("chart '{}' has no series", chart.title); });
  check<ConfigError>(chart.width >= 200 && chart.height >= 200, [&] {
    return fmt::format("chart '{}' is {} x {}; at least 200 x 200 pixels are needed", chart.title, chart.width,
                       chart.height);
  });
  for (const auto& series : chart.series) {
    check<ShapeError>(series.x.size() == series.y.size(), [&] {
      return fmt::format("chart '{}', series '{}': {} x values, but {} y values", chart.title, series.name,
                         series.x.size(), series.y.size());
    });
    for (const auto* texts : {&series.labels, &series.tooltips}) {
      check<ShapeError>(texts->empty() || texts->size() == series.x.size(), [&] {
        return fmt::format("chart '{}', series '{}': {} labels or tooltips for {} points", chart.title, series.name,
                           texts->size(), series.x.size());
      });
    }
    check<ConfigError>(series.colour.value_or(0) >= 0, [&] {
      return fmt::format("chart '{}', series '{}': colour {} is negative", chart.title, series.name, *series.colour);
    });
  }
  for (const auto& line : chart.references) {
    const bool along_axis = line.x.size() + line.y.size() == 1;
    check<ShapeError>(along_axis || (line.x.size() == line.y.size() && line.x.size() >= 2), [&] {
      return fmt::format("chart '{}', line '{}': {} x and {} y values; one value, or two or more points, are needed",
                         chart.title, line.label, line.x.size(), line.y.size());
    });
  }
  return Drawing(chart).text();
}

std::string stacked_svg(const std::vector<Chart>& charts) {
  check<ConfigError>(!charts.empty(), "no chart to draw");
  std::string inner;
  int width = 0, height = 0;
  for (const auto& chart : charts) {
    inner += fmt::format("<g transform=\"translate(0 {})\">\n{}</g>\n", height, svg(chart));
    width = std::max(width, chart.width);
    height += chart.height;
  }
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\">\n{2}</svg>\n",
      width, height, inner);
}

}  // namespace monarch::plot
