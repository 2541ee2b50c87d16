#pragma once
// The ISMRMRD stream protocol: messages of a 16-bit identifier and a body, little-endian.

#include <ATen/core/Tensor.h>

#include <complex>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "monarch/data/ismrmrd_layout.hpp"
#include "monarch/data/scan.hpp"

namespace monarch::data {

/// An image message.
struct StreamImage {
  ismrmrd::ImageHeader header{};
  std::string attributes;  ///< ISMRMRD meta XML
  at::Tensor pixels;       ///< [channel, z, y, x] in the message's own type (unsigned types become the next signed)
};

/// What a stream held until its close message.
struct ScanStream {
  std::unique_ptr<ScanSource> scan;
  std::string header_xml;  ///< to pass on before the images
};

/// Reads a whole stream of raw data into memory, which grows only with bytes that arrived, never by what a length
/// field claims. Configurations, texts, waveforms, arrays and images on the way are skipped. Throws DataError naming
/// the message and the byte where the stream ends too early or holds what the protocol does not know.
ScanStream read_scan_stream(std::istream& stream, const ScanOptions& options = {});
/// The scan alone.
std::unique_ptr<ScanSource> open_scan_stream(std::istream& stream, const ScanOptions& options = {});

/// Reads the image messages of a stream, skipping everything else. Throws DataError.
std::vector<StreamImage> read_image_stream(std::istream& stream);

/// Writes messages. Throws DataError when the stream fails (a closed pipe, a full disk).
class StreamWriter {
 public:
  explicit StreamWriter(std::ostream& stream) : stream_(stream) {}

  void header(const std::string& xml);
  /// samples: [coil, sample]; trajectory: [sample, dimension]. Lengths must agree with the header (ShapeError).
  void acquisition(const ismrmrd::AcquisitionHeader& header, std::span<const std::complex<float>> samples,
                   std::span<const float> trajectory = {});
  /// data_type, matrix_size, channels and attribute_string_len are set from pixels: [channel, z, y, x], float32,
  /// float64, int16, int32, complex64 or complex128.
  void image(ismrmrd::ImageHeader header, const at::Tensor& pixels, const std::string& attributes = {});
  /// Image `i` of a series: geometry, counters and time stamp go into the header; image_index counts from 1.
  void image(const ImageSeries& series, int64_t i, const std::string& attributes = {});
  void text(const std::string& message);
  void close();

 private:
  void put(const void* bytes, size_t count);
  void id(ismrmrd::Message message);

  std::ostream& stream_;
};

}  // namespace monarch::data
