// The ISMRMRD stream protocol, both ways.
#include <sstream>

#include "monarch/data/ismrmrd_stream.hpp"
#include "scan_checks.hpp"
#include "support/ismrmrd_writer.hpp"

using namespace monarch;
using namespace monarch::test;

namespace {

std::string to_stream(const TestScan& scan, bool close = true) {
  std::ostringstream out;
  data::StreamWriter writer(out);
  writer.header(*scan.xml);
  for (const auto& readout : scan.readouts) writer.acquisition(readout.header, readout.data, readout.trajectory);
  if (close) writer.close();
  return out.str();
}

template <class T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

}  // namespace

TEST_CASE("a stream gives the same images as the file that it was made from") {
  const TemporaryFolder folder;
  auto scan = test_scan(random_kspace(3, 1, 8, 12));
  set_flag(scan.readouts[1], 22);
  set_flag(scan.readouts[2], 19);
  set_flag(scan.readouts[4], 21);
  scan.readouts[5].header.idx.slice = 1;
  write_ismrmrd(folder / "scan.h5", scan);
  const auto file = data::open_scan(folder / "scan.h5");
  std::istringstream in(to_stream(scan) + "bytes behind the close message are not touched");
  const auto result = data::read_scan_stream(in);
  REQUIRE(result.header_xml == *scan.xml);
  REQUIRE(result.scan->header().format == "ISMRMRD stream");
  REQUIRE((result.scan->images() == file->images()));
  for (const size_t i : {1, 0}) {
    const auto a = result.scan->read(i), b = file->read(i);
    REQUIRE(same(a.samples, b.samples));
    REQUIRE(same(a.mask, b.mask));
    REQUIRE(a.calibration.defined() == b.calibration.defined());
    if (a.calibration.defined()) REQUIRE(same(a.calibration, b.calibration));
  }
  REQUIRE(same(result.scan->noise()->samples, file->noise()->samples));
  REQUIRE(in.peek() == 'b');
}

TEST_CASE("messages beside the raw data are skipped and trajectories do not disturb") {
  const auto kspace = random_kspace(2, 1, 4, 6);
  auto scan = test_scan(kspace);
  for (auto& readout : scan.readouts) {
    readout.header.trajectory_dimensions = 2;
    readout.trajectory.assign(12, 0.5F);
  }
  std::string waveform(40, '\0');
  waveform[28] = 5;
  waveform[30] = 2;
  std::ostringstream image;
  data::StreamWriter(image).image(data::ismrmrd::ImageHeader{}, at::ones({1, 1, 2, 3}), "<meta/>");
  const std::string extras = raw<uint16_t>(1) + std::string(1024, 'c') + raw<uint16_t>(2) + raw<uint32_t>(3) + "abc" +
                             raw<uint16_t>(5) + raw<uint32_t>(2) + "hi" + raw<uint16_t>(1026) + waveform +
                             std::string(40, 'w') + raw<uint16_t>(1030) + raw<uint16_t>(5) + raw<uint16_t>(1) +
                             raw<uint16_t>(2) + raw<uint64_t>(2) + raw<uint64_t>(3) + std::string(24, 'a') +
                             image.str();
  std::istringstream in(extras + to_stream(scan));
  REQUIRE(same(data::open_scan_stream(in)->read(0).samples, kspace));
}

TEST_CASE("a stream that ends early or lies about lengths ends in a message") {
  const auto scan = test_scan(random_kspace(2, 1, 4, 6));
  const std::string whole = to_stream(scan);
  const auto says = [](const std::string& bytes) {
    std::istringstream in(bytes);
    return data_error([&] { read_all(*data::open_scan_stream(in)); });
  };
  SECTION("cut anywhere inside a message") {
    for (size_t cut = 1; cut < 40; ++cut) {
      const size_t at = whole.size() * cut / 40;
      std::istringstream in(whole.substr(0, at));
      try {
        const auto source = data::open_scan_stream(in);
        CHECK(!source->header().warnings.empty());  // a cut between messages is only suspicious
      } catch (const DataError& error) {
        CHECK_THAT(error.what(), Catch::Contains("ISMRMRD stream"));
      }
    }
  }
  SECTION("no close message") {
    std::istringstream in(to_stream(scan, false));
    REQUIRE_THAT(data::open_scan_stream(in)->header().warnings.at(0), Catch::Contains("without a close message"));
  }
  SECTION("nothing") {
    REQUIRE_THAT(says(""), Catch::Contains("without a header"));
  }
  SECTION("a header of 4 GiB that does not come") {
    REQUIRE_THAT(says(raw<uint16_t>(3) + raw<uint32_t>(0xffffffff) + "<xml"),
                 Catch::Contains("expected 4294967295 bytes, found 4"));
  }
  SECTION("an image of absurd size") {
    data::ismrmrd::ImageHeader header{};
    header.data_type = 8;
    header.channels = header.matrix_size[0] = header.matrix_size[1] = header.matrix_size[2] = 65535;
    std::istringstream in(raw<uint16_t>(1022) + raw(header) + raw<uint64_t>(0) + "pixels");
    REQUIRE_THAT(data_error([&] { data::read_image_stream(in); }),
                 Catch::Contains("absurd") || Catch::Contains("found 6"));
  }
  SECTION("not a stream") {
    REQUIRE_THAT(says("\x89HDF\r\n\x1a\n"),
                 Catch::Contains("unknown message identifier") && Catch::Contains("does not look like"));
  }
  SECTION("an acquisition whose data is cut") {
    REQUIRE_THAT(says(whole.substr(0, whole.size() - 30)), Catch::Contains("inside message"));
  }
}

TEST_CASE("image messages come back with header and attributes and pixels of every type") {
  const auto type = GENERATE(at::kShort, at::kInt, at::kFloat, at::kDouble, at::kComplexFloat, at::kComplexDouble);
  const at::Tensor pixels = at::arange(24, at::kDouble).reshape({1, 2, 3, 4}).to(type);
  data::ImageSeries series;
  series.pixels = at::arange(24, at::kFloat).reshape({2, 1, 3, 4});
  series.index = {{.slice = 3, .contrast = 1}, {.slice = 4}};
  series.orientation.resize(2);
  series.orientation[0] = {.centre_mm = {1, 2, 3}, .known = true};
  series.field_of_view_mm = {200, 100, 5};
  series.time_stamp = {7, 8};
  std::stringstream stream;
  data::StreamWriter writer(stream);
  writer.header("<ismrmrdHeader/>");
  writer.image(data::ismrmrd::ImageHeader{}, pixels, "<ismrmrdMeta/>");
  writer.image(series, 0);
  writer.image(series, 1);
  writer.close();
  const auto images = data::read_image_stream(stream);
  REQUIRE(images.size() == 3);
  REQUIRE(images[0].pixels.scalar_type() == type);
  REQUIRE(same(images[0].pixels, pixels));
  REQUIRE(images[0].attributes == "<ismrmrdMeta/>");
  const auto& head = images[1].header;
  REQUIRE(same(images[1].pixels[0], series.pixels[0]));
  REQUIRE((head.slice == 3 && head.contrast == 1 && head.image_index == 1 && head.acquisition_time_stamp == 7));
  REQUIRE((head.position[2] == 3 && head.read_dir[0] == 1 && head.field_of_view[1] == 100 && head.matrix_size[0] == 4));
  REQUIRE(images[2].header.read_dir[0] == 0);  // unknown orientation
}
