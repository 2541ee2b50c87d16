#include "monarch/data/ismrmrd_header.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <pugixml.hpp>

#include "monarch/core/error.hpp"

namespace monarch::data {

namespace {

/// Walks the document by local names (some writers put a namespace prefix before every element), and knows the
/// path it took for the messages.
class Element {
 public:
  Element(pugi::xml_node node, std::string path, const std::string* place)
      : node_(node), path_(std::move(path)), place_(place) {}

  explicit operator bool() const { return bool(node_); }

  Element find(const char* name) const {
    return {first(node_.first_child(), name), path_.empty() ? name : path_ + "/" + name, place_};
  }

  Element next() const { return {first(node_.next_sibling(), local(node_)), path_, place_}; }

  Element need(const char* name, const std::string& hint = "the ISMRMRD schema requires it; repair the header") const {
    Element child = find(name);
    check<DataError>(
        bool(child), [&] { return fmt::format("{}: <{}> is missing", *place_, child.path_); }, hint);
    return child;
  }

  std::string text() const {
    std::string value = node_.text().get();
    const auto first_letter = value.find_first_not_of(" \t\r\n");
    if (first_letter == std::string::npos) return {};
    return value.substr(first_letter, value.find_last_not_of(" \t\r\n") - first_letter + 1);
  }

  std::string text_or_empty(const char* name) const { return find(name).text(); }

  double number() const {
    const std::string value = text();
    double result = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result);
    check<DataError>(
        error == std::errc() && end == value.data() + value.size() && std::isfinite(result),
        [&] { return fmt::format("{}: <{}>: expected a number, found \"{}\"", *place_, path_, shorten(value)); },
        "repair the header");
    return result;
  }

  double number_or(const char* name, double fallback) const {
    const Element child = find(name);
    return child && !child.text().empty() ? child.number() : fallback;
  }

  /// A whole number within [low, high]; fractions (seen from converters) are rounded and reported.
  int64_t whole(int64_t low, int64_t high, std::vector<std::string>& warnings) const {
    const double value = number();
    check<DataError>(
        value >= static_cast<double>(low) - 0.5 && value <= static_cast<double>(high) + 0.5,
        [&] { return fmt::format("{}: <{}>: expected {} to {}, found {}", *place_, path_, low, high, text()); },
        "repair the header");
    const auto rounded = std::clamp(static_cast<int64_t>(std::lround(value)), low, high);
    if (static_cast<double>(rounded) != value) {
      warnings.push_back(fmt::format("<{}> is {}, expected a whole number; taken as {}", path_, text(), rounded));
    }
    return rounded;
  }

  const std::string& path() const { return path_; }

 private:
  static const char* local(pugi::xml_node node) {
    const char* colon = std::strrchr(node.name(), ':');
    return colon ? colon + 1 : node.name();
  }
  static pugi::xml_node first(pugi::xml_node node, const char* name) {
    while (node && std::strcmp(local(node), name) != 0) node = node.next_sibling();
    return node;
  }
  static std::string shorten(const std::string& value) {
    return value.size() <= 40 ? value : value.substr(0, 40) + "…";
  }

  pugi::xml_node node_;
  std::string path_;
  const std::string* place_;
};

EncodingSpace parse_space(const Element& space, std::vector<std::string>& warnings) {
  EncodingSpace result;
  const Element matrix = space.need("matrixSize");
  const Element view = space.need("fieldOfView_mm");
  for (size_t axis = 0; axis < 3; ++axis) {
    const char name[2] = {"xyz"[axis], '\0'};
    result.matrix[axis] = matrix.need(name).whole(1, 65535, warnings);
    const double length = view.need(name).number();
    result.field_of_view_mm[axis] = std::max(length, 0.0);
  }
  if (result.field_of_view_mm[0] <= 0 || result.field_of_view_mm[1] <= 0) {
    warnings.push_back(fmt::format("<{}> is {} x {} mm: voxel sizes are unknown", view.path(),
                                   result.field_of_view_mm[0], result.field_of_view_mm[1]));
  }
  return result;
}

std::optional<EncodingLimit> parse_limit(const Element& limits, const char* name, std::vector<std::string>& warnings) {
  const Element limit = limits.find(name);
  if (!limit) return std::nullopt;
  EncodingLimit result;
  result.minimum = limit.need("minimum").whole(0, 65535, warnings);
  result.maximum = limit.need("maximum").whole(0, 65535, warnings);
  result.centre = limit.need("center").whole(0, 65535, warnings);
  return result;
}

bool states_ramp(const Element& encoding) {
  const Element description = encoding.find("trajectoryDescription");
  if (!description) return false;
  for (const char* kind : {"userParameterLong", "userParameterDouble"}) {
    for (Element parameter = description.find(kind); parameter; parameter = parameter.next()) {
      const std::string name = parameter.text_or_empty("name");
      if (name.find("ramp") != std::string::npos && parameter.number_or("value", 0) > 0) return true;
    }
  }
  return false;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

IsmrmrdEncoding parse_encoding(const Element& element, bool assume_recon_space_encoded,
                               std::vector<std::string>& warnings) {
  IsmrmrdEncoding result;
  result.encoded = parse_space(element.need("encodedSpace"), warnings);
  if (assume_recon_space_encoded && !element.find("reconSpace")) {
    result.recon = result.encoded;
    warnings.push_back(fmt::format("<{}/reconSpace> is missing; encodedSpace is taken, as asked", element.path()));
  } else {
    result.recon =
        parse_space(element.need("reconSpace", "pass --assume-recon-space encoded to take encodedSpace"), warnings);
  }
  if (const Element limits = element.find("encodingLimits")) {
    result.limit_y = parse_limit(limits, "kspace_encoding_step_1", warnings);
    result.limit_z = parse_limit(limits, "kspace_encoding_step_2", warnings);
  } else {
    warnings.push_back(
        fmt::format("<{}/encodingLimits> is missing: line numbers are taken as rows of the matrix", element.path()));
  }
  result.trajectory = lower(element.need("trajectory").text());
  result.ramp_sampled = states_ramp(element);
  if (const Element parallel = element.find("parallelImaging")) {
    if (const Element factor = parallel.find("accelerationFactor")) {
      result.acceleration = {factor.number_or("kspace_encoding_step_1", 1),
                             factor.number_or("kspace_encoding_step_2", 1)};
    }
    result.calibration_mode = lower(parallel.text_or_empty("calibrationMode"));
  }
  return result;
}

}  // namespace

IsmrmrdDocument parse_ismrmrd_header(const std::string& xml, const std::string& place,
                                     bool assume_recon_space_encoded) {
  pugi::xml_document parsed;
  const pugi::xml_parse_result outcome = parsed.load_buffer(xml.data(), xml.size());
  check<DataError>(
      bool(outcome),
      [&] {
        return fmt::format("{}: is not well-formed XML: {} (byte {} of {})", place, outcome.description(),
                           outcome.offset, xml.size());
      },
      "the header may be cut off");
  const Element root = Element(parsed, "", &place).find("ismrmrdHeader");
  check<DataError>(
      bool(root),
      [&] {
        return fmt::format("{}: expected the root element <ismrmrdHeader>, found <{}>", place,
                           parsed.document_element().name());
      },
      "this is not the header of an ISMRMRD measurement");

  IsmrmrdDocument document;
  ScanHeader& general = document.general;
  if (const Element system = root.find("acquisitionSystemInformation")) {
    general.vendor = system.text_or_empty("systemVendor");
    general.model = system.text_or_empty("systemModel");
    general.field_strength_T = system.number_or("systemFieldStrength_T", 0);
    if (system.find("relativeReceiverNoiseBandwidth")) {
      general.relative_noise_bandwidth = system.number_or("relativeReceiverNoiseBandwidth", 1);
    }
  }
  if (const Element conditions = root.find("experimentalConditions")) {
    general.resonance_frequency_Hz = conditions.number_or("H1resonanceFrequency_Hz", 0);
  } else {
    general.warnings.push_back("<ismrmrdHeader/experimentalConditions> is missing");
  }
  if (const Element measurement = root.find("measurementInformation")) {
    general.protocol = measurement.text_or_empty("protocolName");
    general.patient_position = measurement.text_or_empty("patientPosition");
  }
  for (Element encoding = root.need("encoding"); encoding; encoding = encoding.next()) {
    document.encodings.push_back(parse_encoding(encoding, assume_recon_space_encoded, general.warnings));
  }
  return document;
}

void set_encoding(ScanHeader& header, const IsmrmrdEncoding& encoding) {
  header.encoded = encoding.encoded;
  header.recon = encoding.recon;
  header.limit_y = encoding.limit_y;
  header.limit_z = encoding.limit_z;
  header.trajectory = encoding.trajectory;
  header.calibration_mode = encoding.calibration_mode;
  header.acceleration = encoding.acceleration;
  header.volume = encoding.encoded.matrix[2] > 1;
}

}  // namespace monarch::data
