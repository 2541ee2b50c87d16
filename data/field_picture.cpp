#include "monarch/data/field_picture.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/lettering.hpp"

namespace monarch::data {

namespace {

constexpr int64_t kMargin = 12, kGap = 18, kBarGap = 6, kBarWidth = 12, kTickGap = 4, kLabelGap = 6;
constexpr int kTitleSize = 16, kLabelSize = 14, kTickSize = 11;
constexpr uint8_t kFrame = 102;  // a grey among those of draw_text
constexpr int64_t kTicks = 3;

struct Extent {
  int64_t y = 0, x = 0;
};

/// Pixels of a field.
Extent extent_of(const at::Tensor& values, int64_t target) {
  const int64_t ny = values.size(0), nx = values.size(1), longer = std::max(ny, nx), shorter = std::min(ny, nx);
  if (longer > 4 * shorter) return {target, target};
  // A whole number of pixels for each point keeps points alike.
  const double scale = longer <= target ? std::floor(static_cast<double>(target) / static_cast<double>(longer))
                                        : static_cast<double>(target) / static_cast<double>(longer);
  const auto pixels = [&](int64_t n) { return std::max<int64_t>(1, std::llround(static_cast<double>(n) * scale)); };
  return {pixels(ny), pixels(nx)};
}

/// The field with one value for each pixel.
at::Tensor resized(const at::Tensor& values, const Extent& extent, bool smooth) {
  at::Tensor v = values.detach().to(at::kCPU).to(at::kDouble).unsqueeze(0).unsqueeze(0);
  const int64_t ny = std::min(extent.y, v.size(2)), nx = std::min(extent.x, v.size(3));
  if (ny < v.size(2) || nx < v.size(3)) v = at::adaptive_avg_pool2d(v, {ny, nx});
  v = smooth ? at::upsample_bilinear2d(v, {extent.y, extent.x}, false)
             : at::upsample_nearest2d(v, {extent.y, extent.x});
  return v.squeeze(0).squeeze(0).contiguous();
}

void check_panel(const FieldPanel& panel) {
  check<ShapeError>(panel.values.defined() && panel.values.dim() == 2 && panel.values.numel() > 0, [&] {
    return fmt::format(
        "panel '{}' needs a field [y, x], found {}", panel.label,
        panel.values.defined() ? shape_text({panel.values.sizes().data(), panel.values.sizes().size()}) : "none");
  });
  check<ConfigError>(std::isfinite(panel.low) && std::isfinite(panel.high) && panel.low < panel.high, [&] {
    return fmt::format("panel '{}': limits {} to {}, expected a finite interval", panel.label, panel.low, panel.high);
  });
}

std::string tick_text(const FieldPanel& panel, int64_t tick) {
  const double part = static_cast<double>(tick) / (kTicks - 1), value = panel.low + part * (panel.high - panel.low);
  const double size = std::max(std::abs(panel.low), std::abs(panel.high));
  return std::abs(value) < 1e-9 * size ? "0" : fmt::format("{:.3g}", value);
}

int64_t tick_width(const FieldPanel& panel) {
  int64_t width = 0;
  for (int64_t tick = 0; tick < kTicks; ++tick) width = std::max(width, text_width(tick_text(panel, tick), kTickSize));
  return width;
}

/// Everything of a panel but its label is as high as the field.
struct Layout {
  Extent field;
  int64_t width = 0;  // field, bar and ticks, or the label
};

Layout layout_of(const FieldPanel& panel, const PictureOptions& options) {
  Layout layout;
  layout.field = extent_of(panel.values, options.panel_pixels);
  const int64_t drawn = layout.field.x + kBarGap + kBarWidth + kTickGap + tick_width(panel);
  layout.width = std::max(drawn, text_width(panel.label, kLabelSize));
  return layout;
}

class Painter {
 public:
  explicit Painter(at::Tensor& picture) : picture_(picture), rgb_(picture.data_ptr<uint8_t>()), nx_(picture.size(1)) {}

  void pixel(int64_t y, int64_t x, const Rgb& colour) {
    std::copy(colour.begin(), colour.end(), rgb_ + 3 * (y * nx_ + x));
  }

  void frame(int64_t top, int64_t left, const Extent& inside) {
    const Rgb grey = {kFrame, kFrame, kFrame};
    for (int64_t x = -1; x <= inside.x; ++x) {
      pixel(top - 1, left + x, grey);
      pixel(top + inside.y, left + x, grey);
    }
    for (int64_t y = 0; y < inside.y; ++y) {
      pixel(top + y, left - 1, grey);
      pixel(top + y, left + inside.x, grey);
    }
  }

  void panel(const FieldPanel& panel, const Layout& layout, int64_t top, int64_t left, bool smooth) {
    draw_text(picture_, panel.label, left, top - kLabelGap, kLabelSize);
    const at::Tensor values = resized(panel.values, layout.field, smooth);
    const double* v = values.data_ptr<double>();
    for (int64_t y = 0; y < layout.field.y; ++y) {
      for (int64_t x = 0; x < layout.field.x; ++x)
        pixel(top + y, left + x, colour(panel.map, (*v++ - panel.low) / (panel.high - panel.low)));
    }
    frame(top, left, layout.field);
    const Extent bar = {layout.field.y, kBarWidth};
    const int64_t bar_left = left + layout.field.x + kBarGap;
    for (int64_t y = 0; y < bar.y; ++y) {
      const double part = 1 - (static_cast<double>(y) + 0.5) / static_cast<double>(bar.y);
      for (int64_t x = 0; x < bar.x; ++x) pixel(top + y, bar_left + x, colour(panel.map, part));
    }
    frame(top, bar_left, bar);
    for (int64_t tick = 0; tick < kTicks; ++tick) {
      // The outer ticks stay beside the bar.
      const int64_t middle = top + bar.y - tick * bar.y / (kTicks - 1);
      const int64_t baseline = std::clamp(middle + kTickSize * 4 / 10, top + kTickSize * 8 / 10, top + bar.y);
      draw_text(picture_, tick_text(panel, tick), bar_left + kBarWidth + kTickGap, baseline, kTickSize);
    }
  }

 private:
  at::Tensor& picture_;
  uint8_t* rgb_;
  int64_t nx_;
};

/// Least and largest finite value; 0, 0 where there is none.
std::pair<double, double> finite_range(const at::Tensor& values) {
  const at::Tensor v = values.detach().to(at::kCPU).to(at::kDouble).flatten();
  const at::Tensor finite = v.masked_select(at::isfinite(v));
  if (finite.numel() == 0) return {0, 0};
  return {finite.min().item<double>(), finite.max().item<double>()};
}

FieldPanel symmetric(double size) {
  FieldPanel style;
  style.map = ColourMap::diverging;
  style.high = size > 0 ? size : 1;
  style.low = -style.high;
  return style;
}

}  // namespace

at::Tensor draw_panels(const std::vector<PanelRow>& rows, const PictureOptions& options) {
  check<ConfigError>(options.panel_pixels >= 8 && options.panel_pixels <= 4096,
                     [&] { return fmt::format("panels of {} pixels: expected 8 to 4096", options.panel_pixels); });
  std::vector<int64_t> column_widths, row_heights;
  std::vector<std::vector<Layout>> layouts;
  int64_t titles = 0;
  for (const PanelRow& row : rows) {
    std::vector<Layout>& line = layouts.emplace_back();
    int64_t height = 0;
    for (const FieldPanel& panel : row.panels) {
      check_panel(panel);
      line.push_back(layout_of(panel, options));
      if (column_widths.size() < line.size()) column_widths.push_back(0);
      column_widths[line.size() - 1] = std::max(column_widths[line.size() - 1], line.back().width);
      height = std::max(height, line.back().field.y);
    }
    row_heights.push_back(height + kLabelSize + kLabelGap);
    if (!row.title.empty()) titles = std::max(titles, text_width(row.title, kLabelSize) + kGap);
  }
  check<ShapeError>(!column_widths.empty(), "a picture of fields needs at least one panel");

  const int64_t head = options.title.empty() ? 0 : kTitleSize + kGap / 2;
  int64_t width = 2 * kMargin + titles - kGap, height = 2 * kMargin + head - kGap;
  for (const int64_t column : column_widths) width += column + kGap;
  for (const int64_t row : row_heights) height += row + kGap;
  width = std::max(width, 2 * kMargin + text_width(options.title, kTitleSize));

  at::Tensor picture = at::full({height, width, 3}, 255, at::kByte);
  Painter painter(picture);
  if (head > 0) draw_text(picture, options.title, kMargin, kMargin + kTitleSize - 3, kTitleSize);
  int64_t top = kMargin + head;
  for (size_t r = 0; r < rows.size(); ++r) {
    const int64_t fields = top + kLabelSize + kLabelGap;
    int64_t left = kMargin + titles;
    for (size_t c = 0; c < layouts[r].size(); ++c) {
      painter.panel(rows[r].panels[c], layouts[r][c], fields, left, options.smooth);
      left += column_widths[c] + kGap;
    }
    const int64_t middle = fields + (row_heights[r] - kLabelSize - kLabelGap) / 2;
    draw_text(picture, rows[r].title, kMargin, middle + kLabelSize * 4 / 10, kLabelSize);
    top += row_heights[r] + kGap;
  }
  return picture;
}

FieldPanel panel_style(const at::Tensor& values) {
  const auto [low, high] = finite_range(values);
  if (low < 0 && high > 0 && std::min(-low, high) * 5 >= std::max(-low, high)) return symmetric(std::max(-low, high));
  FieldPanel style;
  style.low = low;
  style.high = high;
  if (!(high - low > 1e-12 * std::max(std::abs(low), std::abs(high)))) {  // constant
    const double size = std::max(std::abs(low), 1.0);
    style.low = low - size / 2;
    style.high = low + size / 2;
  }
  return style;
}

std::vector<PanelRow> comparison_rows(const at::Tensor& truth, const at::Tensor& prediction,
                                      const std::vector<std::string>& titles) {
  const auto text = [](const at::Tensor& t) { return shape_text({t.sizes().data(), t.sizes().size()}); };
  check<ShapeError>(truth.dim() == 3 && truth.sizes() == prediction.sizes() && truth.numel() > 0, [&] {
    return fmt::format("a comparison needs truth and prediction [row, y, x] of one shape, found {} and {}", text(truth),
                       text(prediction));
  });
  check<ShapeError>(titles.empty() || static_cast<int64_t>(titles.size()) == truth.size(0), [&] {
    return fmt::format("a comparison of {} rows with {} titles", truth.size(0), titles.size());
  });
  const at::Tensor t = truth.detach().to(at::kCPU).to(at::kDouble),
                   p = prediction.detach().to(at::kCPU).to(at::kDouble);
  const at::Tensor error = p - t;
  const FieldPanel style = panel_style(t);
  const auto [low, high] = finite_range(error);
  const FieldPanel error_style = symmetric(std::max(-low, high));
  const auto panel = [](const std::string& label, const at::Tensor& values, FieldPanel like) {
    like.label = label;
    like.values = values;
    return like;
  };
  std::vector<PanelRow> rows;
  for (int64_t i = 0; i < t.size(0); ++i) {
    PanelRow row;
    if (!titles.empty()) row.title = titles[static_cast<size_t>(i)];
    row.panels = {panel("truth", t[i], style), panel("prediction", p[i], style),
                  panel("prediction − truth", error[i], error_style)};
    rows.push_back(std::move(row));
  }
  return rows;
}

at::Tensor draw_frames(const std::vector<PanelRow>& rows, const PictureOptions& options) {
  // Titles differ in width: every frame leaves room for the widest.
  std::vector<at::Tensor> frames;
  PictureOptions frame_options = options;
  int64_t ny = 0, nx = 0;
  for (const PanelRow& row : rows) {
    PanelRow untitled = row;
    untitled.title.clear();
    frame_options.title =
        options.title.empty() ? row.title : options.title + (row.title.empty() ? "" : ", " + row.title);
    frames.push_back(draw_panels({untitled}, frame_options));
    ny = std::max(ny, frames.back().size(0));
    nx = std::max(nx, frames.back().size(1));
  }
  check<ShapeError>(!frames.empty(), "an animation needs at least one frame");
  at::Tensor all = at::full({static_cast<int64_t>(frames.size()), ny, nx, 3}, 255, at::kByte);
  for (size_t i = 0; i < frames.size(); ++i)
    all[static_cast<int64_t>(i)].narrow(0, 0, frames[i].size(0)).narrow(1, 0, frames[i].size(1)).copy_(frames[i]);
  return all;
}

}  // namespace monarch::data
