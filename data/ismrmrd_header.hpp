#pragma once
// The XML header of ISMRMRD, which fastMRI files carry as well.

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "monarch/data/scan.hpp"

namespace monarch::data {

/// One <encoding> element.
struct IsmrmrdEncoding {
  EncodingSpace encoded;
  EncodingSpace recon;
  std::optional<EncodingLimit> limit_y;  ///< kspace_encoding_step_1
  std::optional<EncodingLimit> limit_z;  ///< kspace_encoding_step_2
  std::string trajectory;                ///< in lower case
  std::string calibration_mode;
  std::array<double, 2> acceleration{1, 1};
  bool ramp_sampled = false;             ///< the trajectory description states a ramp
};

/// The parts of the header that reconstruction needs.
struct IsmrmrdDocument {
  ScanHeader general;  ///< system, protocol and warnings; nothing of an encoding
  std::vector<IsmrmrdEncoding> encodings;
};

/// Parses the header with pugixml. `place` ("FILE: dataset/xml") begins every message.
///
/// libismrmrd's own parser is not used: it prints to stdout (which carries images in a stream), cuts numbers to
/// 16 bits without a word, and copies parameter names into a buffer of fixed size.
///
/// Throws DataError naming the missing or malformed element. A missing reconSpace is such an error unless
/// `assume_recon_space_encoded`, which takes encodedSpace. Missing encodingLimits and frequency only warn.
IsmrmrdDocument parse_ismrmrd_header(const std::string& xml, const std::string& place,
                                     bool assume_recon_space_encoded = false);

/// Copies the fields of one encoding into a scan's header.
void set_encoding(ScanHeader& header, const IsmrmrdEncoding& encoding);

}  // namespace monarch::data
