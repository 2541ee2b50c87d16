#pragma once
// The reconstruction report: one HTML page that needs nothing else.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "monarch/data/image.hpp"
#include "monarch/mri/metrics.hpp"

namespace monarch::report {

/// Rows of a table, in order. Any text: the page escapes it.
using Facts = std::vector<std::pair<std::string, std::string>>;

struct FactTable {
  std::string title;  ///< "Scan", "Parameters", "Timings", "Provenance"
  Facts rows;
};

struct ReportContent {
  std::string title;                           ///< headline: the scan's file name, say
  std::string method;                          ///< one or two sentences: how the images were made
  data::ImageSeries images;                    ///< shown as magnitudes
  std::optional<data::ImageSeries> reference;  ///< of the same number of slices and extents (after a transpose
                                               ///< where the readout axes differ), else it is left out, with a note
  std::vector<mri::MetricSet> metrics;
  std::vector<FactTable> tables;
  std::vector<std::string> warnings;  ///< shown on top
  at::Tensor line_map;                ///< [z, y] int32: times each k-space line was acquired; undefined for none
  at::Tensor coil_maps;  ///< [coil, y, x] coil sensitivities of one slice, real or complex; undefined for none
  int64_t pixel_budget_bytes = int64_t{60} << 20;  ///< above it slices become 8-bit, then are thinned; the page says so
};

/// The page as HTML text: slice slider (arrow keys, wheel), window and level (drag, sliders, reset), zoom, the
/// reference side by side with the difference times k, metrics, tables, pictures of coils and of the k-space lines.
/// It loads nothing (a content security policy forbids it) and works from file://. Not-a-number pixels show as 0.
///
/// Pixels travel as little-endian 16-bit codes in base64, decoded slice by slice: value = code * max / 65535.
/// Cost: about 4/3 of 2 bytes per pixel, for images and reference each. Throws ShapeError for malformed tensors.
std::string render_report(const ReportContent& content);

}  // namespace monarch::report
