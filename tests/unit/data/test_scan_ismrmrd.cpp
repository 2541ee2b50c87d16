// ISMRMRD files written here: every rule that places, drops, merges or splits readouts.
#include "scan_checks.hpp"
#include "support/ismrmrd_writer.hpp"

using namespace monarch;
using namespace monarch::test;
using data::open_scan;

namespace {

/// Writes one scan and opens it.
std::unique_ptr<data::ScanSource> opened(const TemporaryFolder& folder, const TestScan& scan,
                                         const data::ScanOptions& options = {}) {
  static int count = 0;
  const auto path = folder / ("scan" + std::to_string(count++) + ".h5");
  write_ismrmrd(path, scan);
  return open_scan(path, options);
}

/// A readout filled with one value, in row y.
TestReadout constant(const at::Tensor& like, int64_t y, float value) {
  auto readout = test_readout(like, y);
  std::fill(readout.data.begin(), readout.data.end(), std::complex<float>(value, 0));
  return readout;
}

}  // namespace

TEST_CASE("ISMRMRD: k-space comes back exactly for even and odd and 3-D matrices") {
  const TemporaryFolder folder;
  const auto [coils, nz, ny, nx] = GENERATE(table<int64_t, int64_t, int64_t, int64_t>(
      {{1, 1, 8, 8}, {3, 1, 7, 9}, {2, 5, 6, 7}, {2, 4, 3, 16}, {1, 1, 1, 5}}));
  const auto kspace = random_kspace(coils, nz, ny, nx);
  const auto scan = opened(folder, test_scan(kspace));
  REQUIRE(scan->images().size() == 1);
  const auto image = scan->read(0);
  REQUIRE(same(image.samples, kspace));
  REQUIRE(image.mask.all().item<bool>());
  REQUIRE(!image.calibration.defined());
  REQUIRE(image.orientation.known);
  REQUIRE(scan->header().volume == (nz > 1));
  REQUIRE(scan->header().coils == coils);
  REQUIRE(!scan->noise());
  // Negative control: another k-space does not compare equal.
  REQUIRE(!same(image.samples, random_kspace(coils, nz, ny, nx, 2)));
}

TEST_CASE("ISMRMRD: all four string kinds and any group name are read") {
  const TemporaryFolder folder;
  const auto kspace = random_kspace(2, 1, 4, 6);
  auto scan = test_scan(kspace);
  scan.xml_kind = {
      .utf8 = GENERATE(false, true), .fixed_length = GENERATE(false, true), .scalar = GENERATE(false, true)};
  scan.group =
      GENERATE(std::string("dataset"), std::string("2019-05-09 15:16:46"), std::string("outer/inner"), std::string(""));
  REQUIRE(same(opened(folder, scan)->read(0).samples, kspace));
}

TEST_CASE("ISMRMRD: of several measurements the asked one is read and an unknown name lists those that exist") {
  const TemporaryFolder folder;
  const auto a = random_kspace(1, 1, 4, 4, 1), b = random_kspace(1, 1, 4, 4, 2);
  auto first = test_scan(a), second = test_scan(b);
  first.group = "dataset";
  second.group = "dataset_1";
  write_ismrmrd(folder / "two.h5", std::vector<TestScan>{first, second});
  const auto scan = open_scan(folder / "two.h5");
  REQUIRE(same(scan->read(0).samples, a));
  REQUIRE_THAT(scan->header().warnings.at(0), Catch::Contains("dataset_1"));
  REQUIRE(scan->summarise().datasets == std::vector<std::string>{"dataset", "dataset_1"});
  data::ScanOptions options;
  options.dataset = GENERATE("dataset_1", "/dataset_1/");
  REQUIRE(same(open_scan(folder / "two.h5", options)->read(0).samples, b));
  options.dataset = "dataset_2";
  const auto message = data_error([&] { open_scan(folder / "two.h5", options); });
  REQUIRE_THAT(message, Catch::Contains("dataset or dataset_1") && Catch::Contains("--dataset"));
}

TEST_CASE("ISMRMRD: noise is kept apart and navigators and their kin are dropped and counted") {
  const TemporaryFolder folder;
  const auto kspace = random_kspace(2, 1, 8, 8);
  auto scan = test_scan(kspace);
  const int flag = GENERATE(19, 23, 24, 26, 27, 28, 29, 30, 31);
  auto extra = constant(kspace, 3, 1e6F);
  extra.header.sample_time_us = 10;
  set_flag(extra, flag);
  scan.readouts.insert(scan.readouts.begin(), extra);
  scan.readouts.push_back(extra);
  const auto source = opened(folder, scan);
  REQUIRE(same(source->read(0).samples, kspace));
  const auto summary = source->summarise();
  REQUIRE(summary.flags.size() == 1);
  REQUIRE(summary.flags[0].count == 2);
  REQUIRE(summary.flags[0].name.starts_with(std::to_string(flag)));
  const auto noise = source->noise();
  REQUIRE(noise.has_value() == (flag == 19));
  if (noise) {
    REQUIRE(same(noise->samples, at::full({2, 16}, 1e6, at::kComplexFloat)));
    REQUIRE(noise->dwell_time_us == 10);
    REQUIRE(noise->imaging_dwell_time_us == 5);
  } else {
    bool counted = false;
    for (const auto& entry : summary.contents) counted |= entry.name.starts_with("dropped") && entry.count == 2;
    REQUIRE(counted);
  }
}

TEST_CASE("ISMRMRD: calibration lines go to the calibration and fill the image only where they are embedded") {
  const TemporaryFolder folder;
  const auto kspace = random_kspace(2, 1, 8, 8);
  auto xml = test_xml(kspace);
  xml.acceleration = 2;
  xml.calibration_mode = GENERATE("embedded", "separate", "");
  TestScan scan = test_scan(kspace);
  scan.readouts.clear();
  scan.xml = xml.text();
  for (int64_t y = 0; y < 8; y += 2) {
    scan.readouts.push_back(test_readout(kspace, y));
    if (y == 4) set_flag(scan.readouts.back(), 21);
  }
  for (const int64_t y : {3, 5}) {
    scan.readouts.push_back(test_readout(kspace, y));
    set_flag(scan.readouts.back(), 20);
  }
  const auto source = opened(folder, scan);
  const auto image = source->read(0);
  const auto rows_of = [](const at::Tensor& mask) {
    std::vector<int64_t> rows;
    for (int64_t y = 0; y < 8; ++y)
      if (mask[0][y].all().item<bool>()) rows.push_back(y);
    return rows;
  };
  REQUIRE(rows_of(image.calibration_mask) == std::vector<int64_t>{3, 4, 5});
  REQUIRE(same(image.calibration.narrow(2, 3, 3), kspace.narrow(2, 3, 3)));
  REQUIRE(image.calibration.narrow(2, 0, 3).abs().max().item<float>() == 0);
  const bool embedded = xml.calibration_mode == "embedded";
  REQUIRE(rows_of(image.mask) ==
          (embedded ? std::vector<int64_t>{0, 2, 3, 4, 5, 6} : std::vector<int64_t>{0, 2, 4, 6}));
  REQUIRE(same(image.samples, kspace * image.mask));
  const auto summary = source->summarise();
  REQUIRE(summary.acceleration == Approx(embedded ? 8 / 6.0 : 2.0));
  REQUIRE(summary.calibration == data::Extent3{8, 5, 1});  // rows 2 to 6 have no gap
  REQUIRE(source->header().acceleration[0] == 2);
}

TEST_CASE("ISMRMRD: a reversed readout equals the forward one it mirrors") {
  const TemporaryFolder folder;
  const int64_t nx = GENERATE(8, 9);
  const auto kspace = random_kspace(2, 1, 4, nx);
  auto scan = test_scan(kspace);
  const auto flip = [&](TestReadout& readout) {
    const auto n = readout.header.number_of_samples;
    for (int coil = 0; coil < 2; ++coil)
      std::reverse(readout.data.begin() + coil * n, readout.data.begin() + (coil + 1) * n);
    set_flag(readout, 22);
  };
  SECTION("centre as in a forward readout, which converters write") {
    flip(scan.readouts[1]);
    REQUIRE(same(opened(folder, scan)->read(0).samples, kspace));
  }
  SECTION("centre mirrored with the samples") {
    flip(scan.readouts[1]);
    scan.readouts[1].header.center_sample = static_cast<uint16_t>(nx - 1 - nx / 2);
    REQUIRE(same(opened(folder, scan)->read(0).samples, kspace));
  }
  SECTION("asymmetric echo with discarded samples") {
    // Columns 2 … nx - 1, with two samples to discard before and one behind, in stored order.
    TestReadout& readout = scan.readouts[1];
    const auto row = kspace.select(1, 0).select(1, 1);
    const auto kept = row.narrow(1, 2, nx - 2).flip(1);
    const auto stored =
        at::cat({at::full({2, 2}, 99.0, at::kComplexFloat), kept, at::full({2, 1}, 77.0, at::kComplexFloat)}, 1)
            .contiguous();
    const auto* values = reinterpret_cast<const std::complex<float>*>(stored.data_ptr());
    readout.data.assign(values, values + stored.numel());
    readout.header.number_of_samples = static_cast<uint16_t>(nx + 1);
    readout.header.discard_pre = 2;
    readout.header.discard_post = 1;
    readout.header.center_sample = static_cast<uint16_t>(2 + (nx - 1 - nx / 2));  // stored position of DC
    set_flag(readout, 22);
    auto expected = kspace.clone();
    expected.select(2, 1).narrow(2, 0, 2).zero_();
    const auto image = opened(folder, scan)->read(0);
    REQUIRE(same(image.samples, expected));
    REQUIRE(!image.mask[0][1][0].item<bool>());
    REQUIRE(image.mask[0][1][2].item<bool>());
  }
}

TEST_CASE("ISMRMRD: discarded samples and an asymmetric echo find their columns") {
  const TemporaryFolder folder;
  const auto kspace = random_kspace(1, 1, 4, 10);
  auto scan = test_scan(kspace);
  for (auto& readout : scan.readouts) {
    // Only columns 3 … 9 were sampled; two samples in front and one behind are to be discarded.
    std::vector<std::complex<float>> data{{9, 9}, {9, 9}};
    data.insert(data.end(), readout.data.begin() + 3, readout.data.end());
    data.emplace_back(9, 9);
    readout.data = data;
    readout.header.number_of_samples = 10;
    readout.header.discard_pre = 2;
    readout.header.discard_post = 1;
    readout.header.center_sample = 2 + 5 - 3;
  }
  const auto source = opened(folder, scan);
  const auto image = source->read(0);
  auto expected = kspace.clone();
  expected.narrow(3, 0, 3).zero_();
  REQUIRE(same(image.samples, expected));
  REQUIRE(image.mask.sum().item<int64_t>() == 4 * 7);
}

TEST_CASE("ISMRMRD: averages give the mean by count of each sample") {
  const TemporaryFolder folder;
  const auto kspace = random_kspace(2, 1, 4, 8);
  auto scan = test_scan(kspace);
  for (int average = 1; average < 4; ++average) {
    auto again = test_readout(kspace, 2);
    for (auto& value : again.data) value += static_cast<float>(average);
    again.header.idx.average = static_cast<uint16_t>(average);
    again.header.idx.segment = static_cast<uint16_t>(average);
    scan.readouts.push_back(again);
  }
  // A shorter echo in row 1 counts only where it has samples.
  auto half = test_readout(kspace, 1);
  half.data = {{4, 0}, {4, 0}, {4, 0}, {4, 0}, {6, 0}, {6, 0}, {6, 0}, {6, 0}};
  half.header.number_of_samples = 4;
  half.header.center_sample = 0;
  scan.readouts.push_back(half);
  auto expected = kspace.clone();
  expected.select(2, 2).add_(1.5);
  auto tail = expected.select(2, 1).narrow(2, 4, 4);  // [coil, z, x]
  tail.copy_((tail + at::tensor({4.0F, 6.0F}).reshape({2, 1, 1})) / 2);
  const auto source = opened(folder, scan);
  REQUIRE(relative_error(source->read(0).samples, expected) <= tolerance(at::kFloat, 4));
  REQUIRE(source->summarise().line_map[0][2].item<int>() == 4);
}

TEST_CASE("ISMRMRD: counters split images which are sorted with the slice fastest and read in any order") {
  const TemporaryFolder folder;
  TestScan scan = test_scan(random_kspace(1, 1, 4, 6));
  scan.readouts.clear();
  std::map<std::array<int, 5>, at::Tensor> truth;
  const auto add = [&](int slice, int contrast, int phase, int repetition, int set) {
    const auto kspace = random_kspace(1, 1, 4, 6, 10 + truth.size());
    truth[{slice, contrast, phase, repetition, set}] = kspace;
    for (int y = 0; y < 4; ++y) {
      auto readout = test_readout(kspace, y);
      readout.header.idx.slice = static_cast<uint16_t>(slice);
      readout.header.idx.contrast = static_cast<uint16_t>(contrast);
      readout.header.idx.phase = static_cast<uint16_t>(phase);
      readout.header.idx.repetition = static_cast<uint16_t>(repetition);
      readout.header.idx.set = static_cast<uint16_t>(set);
      readout.header.acquisition_time_stamp = static_cast<uint32_t>(100 * slice + y);
      readout.header.position[2] = static_cast<float>(5 * slice);
      scan.readouts.push_back(readout);
    }
  };
  for (const int contrast : {1, 0})
    for (const int slice : {2, 0, 1}) add(slice, contrast, 0, 0, 0);
  add(0, 0, 0, 1, 0);
  add(0, 0, 1, 0, 0);
  add(0, 0, 0, 0, 1);
  // Interleave: line by line over all images, as scanners do.
  std::vector<TestReadout> interleaved;
  for (size_t y = 0; y < 4; ++y)
    for (size_t i = y; i < scan.readouts.size(); i += 4) interleaved.push_back(scan.readouts[i]);
  scan.readouts = interleaved;
  const auto source = opened(folder, scan);
  REQUIRE(source->images().size() == truth.size());
  REQUIRE(source->images()[1].slice == 1);
  REQUIRE(source->images().back().contrast == 1);
  for (size_t i = source->images().size(); i-- > 0;) {
    const auto& at = source->images()[i];
    const auto image = source->read(i);
    REQUIRE(same(image.samples,
                 truth.at({int(at.slice), int(at.contrast), int(at.phase), int(at.repetition), int(at.set)})));
    REQUIRE(image.index == at);
    REQUIRE(image.time_stamp == 100 * at.slice);
    REQUIRE(image.orientation.centre_mm[2] == 5.0 * static_cast<double>(at.slice));
  }
  REQUIRE_THAT(data_error([&] { source->read(99); }), Catch::Contains("image 99"));
}

TEST_CASE("ISMRMRD: the stated centre moves the rows and an option overrides it") {
  const TemporaryFolder folder;
  const auto kspace = random_kspace(1, 1, 8, 8);
  auto xml = test_xml(kspace);
  xml.limit_y = data::EncodingLimit{0, 5, 2};  // partial Fourier: lines 0 … 5 with DC in line 2
  TestScan scan = test_scan(kspace);
  scan.readouts.resize(6);
  scan.xml = xml.text();
  SECTION("from the header") {
    const auto image = opened(folder, scan)->read(0);
    REQUIRE(same(image.samples.narrow(2, 2, 6), kspace.narrow(2, 0, 6)));
    REQUIRE(image.mask.sum().item<int64_t>() == 6 * 8);
  }
  SECTION("overridden") {
    data::ScanOptions options;
    options.centre = {{4, 0}};
    REQUIRE(same(opened(folder, scan, options)->read(0).samples.narrow(2, 0, 6), kspace.narrow(2, 0, 6)));
  }
  SECTION("missing limits mean that counters are rows") {
    xml.with_limits = false;
    scan.xml = xml.text();
    const auto source = opened(folder, scan);
    REQUIRE(same(source->read(0).samples.narrow(2, 0, 6), kspace.narrow(2, 0, 6)));
    REQUIRE(!source->header().warnings.empty());
  }
  SECTION("a centre of 0 that nobody filled in") {
    xml.limit_y = data::EncodingLimit{0, 7, 0};
    scan.xml = xml.text();
    const auto source = opened(folder, scan);
    REQUIRE(same(source->read(0).samples.narrow(2, 0, 6), kspace.narrow(2, 0, 6)));
    REQUIRE_THAT(source->header().warnings.at(0), Catch::Contains("centre 0"));
  }
}

TEST_CASE("ISMRMRD: readouts of another length than the matrix are understood") {
  const TemporaryFolder folder;
  const auto kspace = random_kspace(2, 1, 8, 16);
  auto xml = test_xml(kspace);
  SECTION("oversampling that the header does not state") {
    xml.encoded = xml.recon = {8, 8, 1};
    auto scan = test_scan(kspace);
    scan.xml = xml.text();
    const auto source = opened(folder, scan);
    REQUIRE(same(source->read(0).samples, kspace));
    REQUIRE(source->header().encoded.matrix[0] == 16);
    REQUIRE(source->header().encoded.field_of_view_mm[0] == 320);
    REQUIRE(source->header().warnings.size() == 1);
  }
  SECTION("oversampling that somebody removed") {
    xml.encoded = {32, 8, 1};
    xml.encoded_fov_mm[0] = 320;
    auto scan = test_scan(kspace);
    scan.xml = xml.text();
    const auto source = opened(folder, scan);
    REQUIRE(same(source->read(0).samples, kspace));
    REQUIRE(source->header().encoded.field_of_view_mm[0] == 160);
  }
  SECTION("a shorter readout in the middle of the matrix") {
    xml.encoded = xml.recon = {20, 8, 1};
    auto scan = test_scan(kspace);
    scan.xml = xml.text();
    const auto image = opened(folder, scan)->read(0);
    REQUIRE(same(image.samples.narrow(3, 2, 16), kspace));
    REQUIRE(image.mask.sum().item<int64_t>() == 8 * 16);
  }
}

TEST_CASE("ISMRMRD: the encoding space is chosen and conjugation is an option") {
  const TemporaryFolder folder;
  const auto kspace = random_kspace(1, 1, 4, 6);
  auto scan = test_scan(kspace);
  std::string encoding = scan.xml->substr(scan.xml->find("<encoding>"));
  encoding = encoding.substr(0, encoding.find("</encoding>") + 11);
  scan.xml->insert(scan.xml->find("</ismrmrdHeader>"), encoding);
  const auto other = random_kspace(1, 1, 4, 6, 5);
  for (int64_t y = 0; y < 4; ++y) {
    scan.readouts.push_back(test_readout(other, y));
    scan.readouts.back().header.encoding_space_ref = 1;
  }
  data::ScanOptions options;
  REQUIRE(same(opened(folder, scan)->read(0).samples, kspace));
  options.encoding = 1;
  REQUIRE(same(opened(folder, scan, options)->read(0).samples, other));
  options.conjugate = true;
  REQUIRE(same(opened(folder, scan, options)->read(0).samples, other.conj().resolve_conj()));
  options.encoding = 2;
  REQUIRE_THAT(data_error([&] { opened(folder, scan, options); }), Catch::Contains("encoding space 2"));
}

TEST_CASE("ISMRMRD: the summary finds what is wrong with a scan") {
  const TemporaryFolder folder;
  auto kspace = random_kspace(3, 1, 32, 32) * 1e-3;
  kspace.select(2, 11).select(2, 16).fill_(5);  // DC is in row 11, the header says 16
  kspace.select(0, 1).zero_();
  auto scan = test_scan(kspace);
  auto xml = test_xml(kspace);
  xml.recon = {16, 32, 1};
  xml.limit_y = data::EncodingLimit{0, 20, 16};
  scan.xml = xml.text();
  scan.readouts.resize(24);
  for (auto& readout : scan.readouts) readout.header.idx.user[5] = 11;
  const auto summary = opened(folder, scan)->summarise();
  std::string all;
  for (const auto& finding : summary.findings) all += finding + "\n";
  CAPTURE(all);
  REQUIRE_THAT(all, Catch::Contains("coil 1 of 3") && Catch::Contains("--centre 11,0") &&
                        Catch::Contains("partial Fourier") && Catch::Contains("up to 23") &&
                        Catch::Contains("user[5]") && Catch::Contains("oversampling") &&
                        Catch::Contains("no noise measurement"));
  REQUIRE(summary.centre_stated == data::Extent3{16, 16, 0});
  REQUIRE(summary.centre_found == data::Extent3{16, 11, 0});
  REQUIRE(summary.line_map.sum().item<int64_t>() == 24);
}

TEST_CASE("ISMRMRD: geometry that is not orthonormal is unknown") {
  const TemporaryFolder folder;
  auto scan = test_scan(random_kspace(1, 1, 4, 4));
  auto& head = scan.readouts[0].header;
  SECTION("zero") {
    for (int i = 0; i < 3; ++i) head.read_dir[i] = 0;  // packed: no pointers into it
  }
  SECTION("skew") {
    head.read_dir[1] = 0.2F;
  }
  SECTION("NaN") {
    head.position[1] = std::nanf("");
  }
  REQUIRE(!opened(folder, scan)->read(0).orientation.known);
}

TEST_CASE("reading leaves the file as it was even when it is read-only or open elsewhere") {
  const TemporaryFolder folder;
  const auto path = folder / "scan.h5";
  write_ismrmrd(path, test_scan(random_kspace(1, 1, 4, 4)));
  const auto before = file_bytes(path);
  const auto time = std::filesystem::last_write_time(path);
  std::filesystem::permissions(path, std::filesystem::perms::owner_read);
  const auto first = open_scan(path), second = open_scan(path);
  read_all(*first);
  read_all(*second);
  REQUIRE(file_bytes(path) == before);
  REQUIRE(std::filesystem::last_write_time(path) == time);
}
