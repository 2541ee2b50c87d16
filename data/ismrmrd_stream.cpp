#include "monarch/data/ismrmrd_stream.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstring>
#include <istream>
#include <ostream>

#include "monarch/core/error.hpp"
#include "monarch/core/text.hpp"
#include "monarch/data/ismrmrd_scan.hpp"

namespace monarch::data {

using namespace ismrmrd;

namespace {

constexpr size_t config_file_bytes = 1024;
constexpr size_t waveform_header_bytes = 40;

/// Counts bytes, and takes memory only for those that arrive.
class Input {
 public:
  explicit Input(std::istream& stream) : stream_(stream) {}

  /// Identifier of the next message; nothing at the end of the stream.
  std::optional<uint16_t> next() {
    uint16_t id = 0;
    stream_.read(reinterpret_cast<char*>(&id), sizeof id);
    const auto got = stream_.gcount();
    if (got == 0) return std::nullopt;
    message_ = "message identifier";
    check<DataError>(got == sizeof id, [&] { return ends("2 bytes", static_cast<uint64_t>(got)); });
    position_ += sizeof id;
    return id;
  }

  void set_message(std::string name) { message_ = std::move(name); }
  uint64_t position() const { return position_; }

  template <class T>
  T value() {
    T result{};
    stream_.read(reinterpret_cast<char*>(&result), sizeof result);
    check<DataError>(
        stream_.gcount() == sizeof result,
        [&] { return ends(fmt::format("{} bytes", sizeof result), static_cast<uint64_t>(stream_.gcount())); },
        truncated_hint);
    position_ += sizeof result;
    return result;
  }

  /// Reads `count` elements in pieces.
  template <class T>
  std::vector<T> values(uint64_t count) {
    std::vector<T> result;
    constexpr uint64_t piece = (uint64_t{1} << 20) / sizeof(T);
    while (result.size() < count) {
      const uint64_t want = std::min<uint64_t>(piece, count - result.size());
      const size_t before = result.size();
      result.resize(before + want);
      stream_.read(reinterpret_cast<char*>(result.data() + before), static_cast<std::streamsize>(want * sizeof(T)));
      const auto got = static_cast<uint64_t>(stream_.gcount());
      check<DataError>(
          got == want * sizeof(T),
          [&] { return ends(fmt::format("{} bytes", count * sizeof(T)), before * sizeof(T) + got); }, truncated_hint);
      position_ += got;
    }
    return result;
  }

  std::string text(uint64_t length) {
    const auto bytes = values<char>(length);
    std::string result(bytes.begin(), bytes.end());
    while (!result.empty() && result.back() == '\0') result.pop_back();  // old writers counted the terminator
    return result;
  }

  void skip(uint64_t count) {
    char scratch[4096];
    for (uint64_t left = count; left > 0;) {
      const uint64_t want = std::min<uint64_t>(left, sizeof scratch);
      stream_.read(scratch, static_cast<std::streamsize>(want));
      const auto got = static_cast<uint64_t>(stream_.gcount());
      check<DataError>(
          got == want, [&] { return ends(fmt::format("{} bytes", count), count - left + got); }, truncated_hint);
      position_ += got;
      left -= got;
    }
  }

 private:
  static constexpr const char* truncated_hint = "the sender stopped early; look at its messages";

  std::string ends(const std::string& expected, uint64_t found) const {
    return fmt::format("ISMRMRD stream: ends at byte {} inside {}: expected {}, found {}", position_ + found, message_,
                       expected, found);
  }

  std::istream& stream_;
  uint64_t position_ = 0;
  std::string message_ = "a message";
};

/// Product of extents times element size, or an error where it exceeds 2^62.
uint64_t checked_bytes(std::span<const uint64_t> extents, uint64_t element, const char* what) {
  uint64_t bytes = element;
  for (const uint64_t extent : extents) {
    check<DataError>(extent == 0 || bytes <= (uint64_t{1} << 62) / extent,
                     [&] { return fmt::format("ISMRMRD stream: {} claims an absurd size", what); });
    bytes *= extent;
  }
  return bytes;
}

void skip_array(Input& in) {
  const auto type = in.value<uint16_t>();
  in.value<uint16_t>();  // version
  const auto rank = in.value<uint16_t>();
  const auto dims = in.values<uint64_t>(rank);
  in.skip(checked_bytes(dims, element_bytes(type), "an array"));
}

void skip_waveform(Input& in) {
  const auto header = in.values<char>(waveform_header_bytes);
  uint16_t samples, channels;  // offsets 28 and 30 of the naturally aligned header
  std::memcpy(&samples, header.data() + 28, 2);
  std::memcpy(&channels, header.data() + 30, 2);
  in.skip(uint64_t{4} * samples * channels);
}

/// Header, attributes and pixels of an image message; with `keep` false the pixels are skipped.
StreamImage read_image(Input& in, bool keep) {
  StreamImage image;
  image.header = in.value<ImageHeader>();
  const auto attribute_bytes = in.value<uint64_t>();
  image.attributes = in.text(attribute_bytes);
  const ImageHeader& head = image.header;
  const uint64_t element = element_bytes(head.data_type);
  check<DataError>(element > 0, [&] {
    return fmt::format("ISMRMRD stream: image with unknown data_type {} before byte {}", head.data_type, in.position());
  });
  const uint64_t extents[] = {head.channels, head.matrix_size[2], head.matrix_size[1], head.matrix_size[0]};
  const uint64_t bytes = checked_bytes(extents, element, "an image");
  if (!keep) {
    in.skip(bytes);
    return image;
  }
  auto data = in.values<char>(bytes);
  static constexpr at::ScalarType types[] = {at::kByte,  at::kShort,  at::kShort,        at::kInt,          at::kInt,
                                             at::kFloat, at::kDouble, at::kComplexFloat, at::kComplexDouble};
  const std::vector<int64_t> shape(std::begin(extents), std::end(extents));
  at::Tensor pixels = at::empty(shape, types[head.data_type]);
  if (!data.empty()) std::memcpy(pixels.data_ptr(), data.data(), data.size());
  if (head.data_type == type_u16) pixels = pixels.to(at::kInt).bitwise_and(0xffff);
  if (head.data_type == type_u32) pixels = pixels.to(at::kLong).bitwise_and(0xffffffffLL);
  image.pixels = pixels;
  return image;
}

/// Reads messages until close or the end, giving acquisitions, header and images to `take_*` where they are set.
struct MessageLoop {
  std::function<void(std::string)> take_header;
  std::function<void(AcquisitionHeader, std::vector<float>, std::vector<std::complex<float>>)> take_acquisition;
  std::function<void(StreamImage)> take_image;

  /// True when the stream was closed by a message.
  bool run(std::istream& stream) const {
    Input in(stream);
    int64_t count = 0;
    while (const auto id = in.next()) {
      const uint64_t start = in.position() - 2;
      in.set_message(fmt::format("message {} (identifier {})", count++, *id));
      switch (*id) {
        case message_close:
          return true;
        case message_config_file:
          in.skip(config_file_bytes);
          break;
        case message_config_text:
        case message_text:
          in.skip(in.value<uint32_t>());
          break;
        case message_header: {
          const auto length = in.value<uint32_t>();
          std::string xml = in.text(length);
          if (take_header) take_header(std::move(xml));
          break;
        }
        case message_acquisition: {
          const auto header = in.value<AcquisitionHeader>();
          auto trajectory = in.values<float>(uint64_t{header.trajectory_dimensions} * header.number_of_samples);
          auto samples = in.values<std::complex<float>>(uint64_t{header.number_of_samples} * header.active_channels);
          if (take_acquisition) take_acquisition(header, std::move(trajectory), std::move(samples));
          break;
        }
        case message_image: {
          auto image = read_image(in, bool(take_image));
          if (take_image) take_image(std::move(image));
          break;
        }
        case message_waveform:
          skip_waveform(in);
          break;
        case message_array:
          skip_array(in);
          break;
        default:
          fail<DataError>(
              fmt::format("ISMRMRD stream: unknown message identifier {} at byte {}", *id, start),
              start == 0 ? "this does not look like an ISMRMRD stream" : "the stream is damaged before this");
      }
    }
    return false;
  }
};

class MemoryAcquisitions final : public AcquisitionStore {
 public:
  const std::string& name() const override { return name_; }
  std::span<const AcquisitionHeader> headers() const override { return headers_; }
  void fetch(std::span<const size_t> acquisitions, const Visit& visit) const override {
    for (const size_t i : acquisitions) visit(i, samples_[i]);
  }
  void fetch_trajectory(std::span<const size_t> acquisitions, const VisitTrajectory& visit) const override {
    for (const size_t i : acquisitions) visit(i, trajectories_[i]);
  }
  void append(const AcquisitionHeader& header, std::vector<float> trajectory,
              std::vector<std::complex<float>> samples) {
    headers_.push_back(header);
    trajectories_.push_back(std::move(trajectory));
    samples_.push_back(std::move(samples));
  }

 private:
  std::string name_ = "ISMRMRD stream: acquisition";
  std::vector<AcquisitionHeader> headers_;
  std::vector<std::vector<float>> trajectories_;
  std::vector<std::vector<std::complex<float>>> samples_;
};

}  // namespace

ScanStream read_scan_stream(std::istream& stream, const ScanOptions& options) {
  ScanStream result;
  bool has_header = false;
  auto store = std::make_unique<MemoryAcquisitions>();
  MessageLoop loop;
  loop.take_header = [&](std::string xml) {
    result.header_xml = std::move(xml);
    has_header = true;
  };
  loop.take_acquisition = [&](const AcquisitionHeader& header, std::vector<float> trajectory,
                              std::vector<std::complex<float>> samples) {
    store->append(header, std::move(trajectory), std::move(samples));
  };
  const bool closed = loop.run(stream);
  check<DataError>(
      has_header,
      [&] {
        return fmt::format("ISMRMRD stream: ended after {} acquisitions without a header message",
                           store->headers().size());
      },
      "send the XML header (message 3) first");
  IsmrmrdDocument document =
      parse_ismrmrd_header(result.header_xml, "ISMRMRD stream: header", options.assume_recon_space_encoded);
  if (!closed) document.general.warnings.push_back("the stream ended without a close message; it may be incomplete");
  result.scan = make_ismrmrd_scan(std::move(store), document, options, {}, "ISMRMRD stream");
  return result;
}

std::unique_ptr<ScanSource> open_scan_stream(std::istream& stream, const ScanOptions& options) {
  return read_scan_stream(stream, options).scan;
}

std::vector<StreamImage> read_image_stream(std::istream& stream) {
  std::vector<StreamImage> images;
  MessageLoop loop;
  loop.take_image = [&](StreamImage image) { images.push_back(std::move(image)); };
  loop.run(stream);
  return images;
}

void StreamWriter::put(const void* bytes, size_t count) {
  stream_.write(static_cast<const char*>(bytes), static_cast<std::streamsize>(count));
  check<DataError>(stream_.good(), "ISMRMRD stream: cannot be written",
                   "the receiver closed the pipe, or the disk is full");
}

void StreamWriter::id(Message message) {
  const uint16_t value = message;
  put(&value, sizeof value);
}

void StreamWriter::header(const std::string& xml) {
  id(message_header);
  const auto length = static_cast<uint32_t>(xml.size());
  put(&length, sizeof length);
  put(xml.data(), xml.size());
}

void StreamWriter::acquisition(const AcquisitionHeader& header, std::span<const std::complex<float>> samples,
                               std::span<const float> trajectory) {
  const size_t expected = size_t{header.number_of_samples} * header.active_channels;
  const size_t points = size_t{header.number_of_samples} * header.trajectory_dimensions;
  check<ShapeError>(samples.size() == expected && trajectory.size() == points, [&] {
    return fmt::format("stream acquisition: the header says {} samples and {} trajectory values, given {} and {}",
                       expected, points, samples.size(), trajectory.size());
  });
  id(message_acquisition);
  put(&header, sizeof header);
  put(trajectory.data(), trajectory.size_bytes());
  put(samples.data(), samples.size_bytes());
}

void StreamWriter::image(ImageHeader header, const at::Tensor& pixels, const std::string& attributes) {
  check<ShapeError>(pixels.dim() == 4 && *std::max_element(pixels.sizes().begin(), pixels.sizes().end()) <= 65535, [&] {
    return fmt::format("stream image: expected [channel, z, y, x] up to 65535, found {}", shape_text(pixels.sizes()));
  });
  switch (pixels.scalar_type()) {
    case at::kShort:
      header.data_type = type_i16;
      break;
    case at::kInt:
      header.data_type = type_i32;
      break;
    case at::kFloat:
      header.data_type = type_f32;
      break;
    case at::kDouble:
      header.data_type = type_f64;
      break;
    case at::kComplexFloat:
      header.data_type = type_c32;
      break;
    case at::kComplexDouble:
      header.data_type = type_c64;
      break;
    default:
      fail<DtypeError>(fmt::format("stream image: cannot send {}", toString(pixels.scalar_type())));
  }
  const at::Tensor values = pixels.cpu().contiguous().resolve_conj().resolve_neg();
  header.channels = static_cast<uint16_t>(pixels.size(0));
  for (int axis = 0; axis < 3; ++axis) header.matrix_size[axis] = static_cast<uint16_t>(pixels.size(3 - axis));
  header.attribute_string_len = static_cast<uint32_t>(attributes.size());
  const uint64_t length = attributes.size();
  id(message_image);
  put(&header, sizeof header);
  put(&length, sizeof length);
  put(attributes.data(), attributes.size());
  put(values.data_ptr(), values.nbytes());
}

void StreamWriter::image(const ImageSeries& series, int64_t i, const std::string& attributes) {
  check<ShapeError>(i >= 0 && i < series.size() && i < series.pixels.size(0),
                    [&] { return fmt::format("stream image: index {} of a series of {}", i, series.size()); });
  ImageHeader header{};
  header.version = 1;
  header.image_type = series.pixels.is_complex() ? 5 : 1;
  const ImageIndex& index = series.index[static_cast<size_t>(i)];
  header.slice = static_cast<uint16_t>(index.slice);
  header.contrast = static_cast<uint16_t>(index.contrast);
  header.phase = static_cast<uint16_t>(index.phase);
  header.repetition = static_cast<uint16_t>(index.repetition);
  header.set = static_cast<uint16_t>(index.set);
  header.image_index = static_cast<uint16_t>(i + 1);
  const Orientation where =
      static_cast<size_t>(i) < series.orientation.size() ? series.orientation[static_cast<size_t>(i)] : Orientation{};
  for (size_t axis = 0; axis < 3; ++axis) {
    header.field_of_view[axis] = static_cast<float>(series.field_of_view_mm[axis]);
    header.patient_table_position[axis] = static_cast<float>(where.table_position_mm[axis]);
    if (!where.known) continue;  // directions of zero say "unknown"
    header.position[axis] = static_cast<float>(where.centre_mm[axis]);
    header.read_dir[axis] = static_cast<float>(where.x_direction[axis]);
    header.phase_dir[axis] = static_cast<float>(where.y_direction[axis]);
    header.slice_dir[axis] = static_cast<float>(where.z_direction[axis]);
  }
  if (static_cast<size_t>(i) < series.time_stamp.size())
    header.acquisition_time_stamp = series.time_stamp[static_cast<size_t>(i)];
  image(header, series.pixels.select(0, i).unsqueeze(0), attributes);
}

void StreamWriter::text(const std::string& message) {
  id(message_text);
  const auto length = static_cast<uint32_t>(message.size());
  put(&length, sizeof length);
  put(message.data(), message.size());
}

void StreamWriter::close() {
  id(message_close);
  stream_.flush();
  check<DataError>(stream_.good(), "ISMRMRD stream: cannot be written",
                   "the receiver closed the pipe, or the disk is full");
}

}  // namespace monarch::data
