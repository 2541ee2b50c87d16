#include "apps/report/report.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <map>

#include "apps/report/assets.hpp"
#include "monarch/core/error.hpp"
#include "monarch/core/provenance.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/png.hpp"

namespace monarch::report {

namespace {

/// JSON that may stand in a script element: no '<' that could end it, and valid UTF-8 whatever the texts hold.
std::string script_json(const nlohmann::json& json) {
  std::string out;
  for (const char c : json.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace)) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

std::string data_element(const std::string& id, const at::Tensor& bytes) {
  const at::Tensor flat = bytes.contiguous();
  return fmt::format("<script type=\"text/plain\" id=\"{}\">{}</script>\n", id,
                     base64({static_cast<const char*>(flat.const_data_ptr()), flat.nbytes()}));
}

/// Finite magnitudes [slice, y, x] float32.
at::Tensor magnitudes(const at::Tensor& pixels) {
  return at::nan_to_num(pixels.abs().to(at::kFloat), 0.0, 0.0, 0.0).reshape({-1, pixels.size(-2), pixels.size(-1)});
}

/// What the viewer shows, after the budget was applied.
struct Pictures {
  at::Tensor image;                 // [slice, y, x]
  at::Tensor reference;             // the same, or undefined
  std::vector<std::string> labels;  // one per slice
  int bits = 16;
  std::vector<std::string> notes;
};

std::string slice_label(const data::ImageIndex& index, int64_t z, int64_t nz) {
  std::string label = fmt::format("slice {}", index.slice);
  const std::pair<const char*, int64_t> others[] = {
      {"contrast", index.contrast}, {"phase", index.phase}, {"repetition", index.repetition}, {"set", index.set}};
  for (const auto& [name, value] : others)
    if (value != 0) label += fmt::format(", {} {}", name, value);
  return nz > 1 ? fmt::format("{}, z {}", label, z) : label;
}

Pictures prepare(const ReportContent& content) {
  const data::ImageSeries& series = content.images;
  check<ShapeError>(series.pixels.defined() && series.pixels.dim() == 4 && series.pixels.numel() > 0 &&
                        series.pixels.size(0) == series.size(),
                    "a report needs images [image, z, y, x] with an index per image");
  Pictures p;
  p.image = magnitudes(series.pixels);
  for (const data::ImageIndex& index : series.index)
    for (int64_t z = 0; z < series.pixels.size(1); ++z)
      p.labels.push_back(slice_label(index, z, series.pixels.size(1)));
  if (content.reference) {
    try {  // the reference is turned into the layout of the images, not the other way round
      p.reference = magnitudes(mri::align_for_comparison(*content.reference, series).image);
    } catch (const ShapeError& error) {
      p.notes.push_back("The reference is not shown: as the reference for " + content.title + ", " + error.message() +
                        ".");
    }
  }
  const auto bytes = [&] { return p.image.numel() * (p.reference.defined() ? 2 : 1) * (p.bits / 8); };
  if (bytes() > content.pixel_budget_bytes) {
    p.bits = 8;
    p.notes.push_back(fmt::format("Pixels are shown with 8 instead of 16 bits, to keep this page below {}.",
                                  bytes_text(static_cast<double>(content.pixel_budget_bytes))));
  }
  if (bytes() > content.pixel_budget_bytes) {
    const int64_t slices = p.image.size(0);
    const int64_t room = std::max<int64_t>(1, content.pixel_budget_bytes / std::max<int64_t>(1, bytes() / slices));
    const int64_t step = (slices + room - 1) / room;
    p.image = p.image.slice(0, 0, slices, step);
    if (p.reference.defined()) p.reference = p.reference.slice(0, 0, slices, step);
    std::vector<std::string> labels;
    for (int64_t i = 0; i < slices; i += step) labels.push_back(p.labels[static_cast<size_t>(i)]);
    p.labels = std::move(labels);
    p.notes.push_back(fmt::format("One in {} of the {} slices is shown; the image files hold all.", step, slices));
  }
  return p;
}

/// One data element per slice, codes little-endian, value = code * maximum / (2^bits - 1).
std::string slice_elements(const std::string& name, const at::Tensor& slices, double maximum, int bits) {
  std::string out;
  for (int64_t i = 0; i < slices.size(0); ++i) {
    at::Tensor codes = data::grey_values(slices[i], {0, maximum}, bits);
    if (bits == 16) {
      const at::Tensor pairs = at::stack({codes.bitwise_and(255), codes.bitwise_right_shift(8)}, -1);
      codes = pairs.to(at::kByte);
    }
    out += data_element(fmt::format("{}-{}", name, i), codes);
  }
  return out;
}

double largest(const at::Tensor& t) {
  const double maximum = t.max().item<double>();
  return maximum > 0 ? maximum : 1;
}

std::string list_card(const std::vector<std::string>& lines) {
  if (lines.empty()) return {};
  std::string out = "<section class=\"card warnings\" role=\"note\" aria-label=\"Warnings\"><ul>";
  for (const std::string& line : lines) out += "<li>" + html_escape(line) + "</li>";
  return out + "</ul></section>";
}

std::string number_text(double value) {
  if (std::isinf(value)) return value > 0 ? "∞" : "−∞";
  return fmt::format("{:.5g}", value);
}

std::string metrics_card(const std::vector<mri::MetricSet>& sets) {
  if (sets.empty()) return {};
  std::string out = "<section class=\"card\" id=\"metrics\"><h2>Against the reference</h2>";
  for (const mri::MetricSet& set : sets) {
    out += fmt::format("<h3>{}</h3><p class=\"source\">{}</p><table>", html_escape(set.convention), html_escape(set.source));
    for (const mri::Metric& m : set.metrics)
      out +=
          fmt::format("<tr><th scope=\"row\">{}</th><td class=\"number\">{}{}{}</td><td>{}</td></tr>", html_escape(m.name),
                      number_text(m.value), m.unit.empty() ? "" : " ", html_escape(m.unit), html_escape(m.definition));
    out += "</table>";
    for (const std::string& note : set.notes) out += "<p class=\"note\">" + html_escape(note) + "</p>";
  }
  return out + "</section>";
}

std::string tables(const std::vector<FactTable>& list) {
  std::string out = "<div class=\"columns\">";
  for (const FactTable& table : list) {
    if (table.rows.empty()) continue;
    out += fmt::format("<section class=\"card\"><h2>{}</h2><table>", html_escape(table.title));
    for (const auto& [key, value] : table.rows)
      out += fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td></tr>", html_escape(key), html_escape(value));
    out += "</table></section>";
  }
  return out + "</div>";
}

/// Pictures of coils and lines: markup, and the data that the script draws into it.
void add_small_pictures(const ReportContent& content, std::string* markup, std::string* elements) {
  if (content.line_map.defined()) {
    check<ShapeError>(content.line_map.dim() == 2 && content.line_map.numel() > 0, "the line map needs shape [z, y]");
    const at::Tensor counts = content.line_map.to(at::kFloat).clamp_min(0);
    const double most = largest(counts);
    const int64_t acquired = counts.gt(0).sum().item<int64_t>();
    *elements += data_element("lines", data::grey_values(counts, {0, most}));
    *markup += fmt::format(
        "<section class=\"card\" id=\"line-map\"><h2>k-space lines</h2><p class=\"note\">{} of {} lines acquired, at "
        "most "
        "{:.0f} times; y to the right{}.</p><canvas class=\"lines\" data-source=\"lines\" width=\"{}\" height=\"{}\" "
        "style=\"height:{}px\" role=\"img\" aria-label=\"Map of the acquired k-space lines\"></canvas></section>",
        acquired, counts.numel(), most, counts.size(0) > 1 ? ", z down" : "", counts.size(1), counts.size(0),
        std::clamp<int64_t>(2 * counts.size(0), 28, 400));
  }
  if (content.coil_maps.defined()) {
    check<ShapeError>(content.coil_maps.dim() == 3 && content.coil_maps.numel() > 0,
                      "coil maps need shape [coil, y, x]");
    at::Tensor maps = magnitudes(content.coil_maps);
    const int64_t factor = (std::max(maps.size(1), maps.size(2)) + 127) / 128;
    if (factor > 1) maps = at::avg_pool2d(maps, {factor, factor}, {factor, factor}, {0, 0}, true, false);
    const double most = largest(maps);
    *markup +=
        "<section class=\"card\" id=\"coils\"><h2>Coil sensitivities</h2><p class=\"note\">Magnitudes on one "
        "scale.</p><div class=\"thumbnails\">";
    for (int64_t coil = 0; coil < maps.size(0); ++coil) {
      *elements += data_element(fmt::format("coil-{}", coil), data::grey_values(maps[coil], {0, most}));
      *markup += fmt::format(
          "<canvas data-source=\"coil-{0}\" width=\"{1}\" height=\"{2}\" role=\"img\" "
          "aria-label=\"Sensitivity of coil {0}\" title=\"coil {0}\"></canvas>",
          coil, maps.size(2), maps.size(1));
    }
    *markup += "</div></section>";
  }
}

/// Replaces {{tokens}} in one pass, so that inserted text is never searched again.
std::string fill(std::string_view page, const std::map<std::string, std::string>& values) {
  size_t total = page.size();
  for (const auto& [key, value] : values) total += value.size();
  std::string out;
  out.reserve(total);
  while (true) {
    const size_t open = page.find("{{");
    if (open == std::string_view::npos) break;
    const size_t close = page.find("}}", open);
    out += page.substr(0, open);
    out += values.at(std::string(page.substr(open + 2, close - open - 2)));
    page.remove_prefix(close + 2);
  }
  out += page;
  return out;
}

}  // namespace

std::string render_report(const ReportContent& content) {
  const Pictures pictures = prepare(content);
  const bool compared = pictures.reference.defined();
  const double maximum = largest(pictures.image);
  const data::Window window = data::display_window(pictures.image);
  const int64_t ny = pictures.image.size(1), nx = pictures.image.size(2);
  const auto& fov = content.images.field_of_view_mm;
  const double aspect =
      fov[0] > 0 && fov[1] > 0 ? (fov[1] / static_cast<double>(ny)) / (fov[0] / static_cast<double>(nx)) : 1;

  nlohmann::json settings;
  settings["width"] = nx;
  settings["height"] = ny;
  settings["bits"] = pictures.bits;
  settings["labels"] = pictures.labels;
  settings["window"] = {{"lower", window.lower}, {"upper", window.upper}};
  settings["pixelAspect"] = aspect > 0.05 && aspect < 20 ? aspect : 1;
  settings["image"] = {{"maximum", maximum}};
  settings["reference"] = nullptr;
  settings["matchScale"] = 1;

  std::string elements = slice_elements("image", pictures.image, maximum, pictures.bits);
  if (compared) {
    const double reference_maximum = largest(pictures.reference);
    settings["reference"] = {{"maximum", reference_maximum}};
    elements += slice_elements("reference", pictures.reference, reference_maximum, pictures.bits);
    const at::Tensor image = pictures.image.to(at::kDouble), reference = pictures.reference.to(at::kDouble);
    const double power = image.square().sum().item<double>();
    const double fit = power > 0 ? (image * reference).sum().item<double>() / power : 1;
    settings["matchScale"] = fit > 0 ? fit : 1;
  }
  std::string small_pictures;
  add_small_pictures(content, &small_pictures, &elements);

  std::vector<std::string> notes = content.warnings;
  notes.insert(notes.end(), pictures.notes.begin(), pictures.notes.end());
  return fill(assets::html, {{"title", html_escape(content.title)},
                             {"style", std::string(assets::css)},
                             {"method", html_escape(content.method)},
                             {"warnings", list_card(notes)},
                             {"metrics", metrics_card(content.metrics)},
                             {"pictures", small_pictures},
                             {"tables", tables(content.tables)},
                             {"footer", html_escape("Made by Monarch " + version() + " (" + revision() + ").")},
                             {"settings", script_json(settings)},
                             {"data", elements},
                             {"script", std::string(assets::js)}});
}

}  // namespace monarch::report
