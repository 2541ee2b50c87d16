// Damaged and contradictory ISMRMRD files: each ends in a message, or in the right image.
#include <unistd.h>

#include "monarch/data/formats.hpp"
#include "scan_checks.hpp"
#include "support/ismrmrd_writer.hpp"

using namespace monarch;
using namespace monarch::test;
using data::open_scan;

namespace {

/// The message that opening and reading ends in.
std::string error_of(const TestScan& scan) {
  const TemporaryFolder folder;
  write_ismrmrd(folder / "scan.h5", scan);
  const auto message = data_error([&] { read_all(*open_scan(folder / "scan.h5")); });
  CHECK_THAT(message, Catch::Contains("scan.h5") && Catch::Contains("hint: "));
  return message;
}

}  // namespace

TEST_CASE("readout headers that contradict data or matrix end in a message naming the readout") {
  const auto kspace = random_kspace(2, 1, 8, 8);
  auto scan = test_scan(kspace);
  auto& readout = scan.readouts[5];
  SECTION("data shorter than claimed") {
    readout.data.resize(10);
    REQUIRE_THAT(error_of(scan), Catch::Contains("dataset/data[5]") && Catch::Contains("= 32 numbers, found 20"));
  }
  SECTION("data longer than claimed") {
    readout.data.resize(160);
    REQUIRE_THAT(error_of(scan), Catch::Contains("dataset/data[5]") && Catch::Contains("= 32 numbers, found 320"));
  }
  SECTION("no data") {
    readout.data.clear();
    REQUIRE_THAT(error_of(scan), Catch::Contains("found 0"));
  }
  SECTION("more data claimed than the file has") {
    readout.header.number_of_samples = 65535;
    REQUIRE_THAT(error_of(scan), Catch::Contains("whole file"));
  }
  SECTION("line number one beyond the matrix") {
    readout.header.idx.kspace_encode_step_1 = 8;
    REQUIRE_THAT(error_of(scan),
                 Catch::Contains("dataset/data[5]") && Catch::Contains("row 8 of 8") && Catch::Contains("--centre"));
  }
  SECTION("line number far beyond") {
    readout.header.idx.kspace_encode_step_1 = 60000;
    REQUIRE_THAT(error_of(scan), Catch::Contains("60000"));
  }
  SECTION("no samples") {
    readout.header.number_of_samples = 0;
    REQUIRE_THAT(error_of(scan), Catch::Contains("number_of_samples = 0"));
  }
  SECTION("other coils") {
    readout.header.active_channels = 1;
    readout.data.resize(8);
    REQUIRE_THAT(error_of(scan), Catch::Contains("active_channels = 1, but 2 in acquisition 0"));
  }
  SECTION("64 coils in the first readout") {
    scan.readouts[0].header.active_channels = 64;
    error_of(scan);
  }
  SECTION("everything discarded") {
    readout.header.discard_pre = 4;
    readout.header.discard_post = 4;
    REQUIRE_THAT(error_of(scan), Catch::Contains("discard_pre = 4"));
  }
  SECTION("echo far outside") {
    readout.header.center_sample = 60000;
    REQUIRE_THAT(error_of(scan), Catch::Contains("center_sample = 60000"));
  }
  SECTION("NaN") {
    readout.data[11] = {std::nanf(""), 0};
    REQUIRE_THAT(error_of(scan), Catch::Contains("dataset/data[5]: coil 1, sample 3 is NaN"));
  }
  SECTION("infinity in a readout that is averaged") {
    scan.readouts.push_back(readout);
    scan.readouts.back().data[0] = {0, INFINITY};
    REQUIRE_THAT(error_of(scan), Catch::Contains("dataset/data[8]: coil 0, sample 0"));
  }
}

TEST_CASE("a readout shorter than the matrix leaves the rest empty and finite") {
  const TemporaryFolder folder;
  auto scan = test_scan(random_kspace(1, 1, 8, 8));
  scan.readouts[2].header.number_of_samples = 4;
  scan.readouts[2].header.center_sample = 2;
  scan.readouts[2].data.resize(4);
  write_ismrmrd(folder / "scan.h5", scan);
  const auto image = open_scan(folder / "scan.h5")->read(0);
  REQUIRE(image.mask.sum().item<int64_t>() == 60);
  REQUIRE(at::isfinite(at::view_as_real(image.samples)).all().item<bool>());
}

TEST_CASE("a reconstruction matrix larger than the encoded one is no error of the reader") {
  const TemporaryFolder folder;
  const auto kspace = random_kspace(1, 1, 8, 8);
  auto xml = test_xml(kspace);
  xml.recon = {16, 12, 1};
  auto scan = test_scan(kspace);
  scan.xml = xml.text();
  write_ismrmrd(folder / "scan.h5", scan);
  const auto source = open_scan(folder / "scan.h5");
  REQUIRE(source->header().recon.matrix == data::Extent3{16, 12, 1});
  REQUIRE(same(source->read(0).samples, kspace));
}

TEST_CASE("headers that are malformed end in a message naming the element") {
  const auto kspace = random_kspace(1, 1, 8, 8);
  auto scan = test_scan(kspace);
  auto xml = test_xml(kspace);
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string text = xml.text();
    REQUIRE(text.find(from) != std::string::npos);
    scan.xml = text.replace(text.find(from), from.size(), to);
    return error_of(scan);
  };
  SECTION("no reconSpace") {
    xml.with_recon = false;
    scan.xml = xml.text();
    REQUIRE_THAT(error_of(scan),
                 Catch::Contains("reconSpace> is missing") && Catch::Contains("--assume-recon-space encoded"));
  }
  SECTION("no encodedSpace") {
    REQUIRE_THAT(replaced("<encodedSpace>", "<encoded>"), Catch::Contains("not well-formed"));
  }
  SECTION("no matrix") {
    REQUIRE_THAT(replaced("<y>8</y>", ""), Catch::Contains("encodedSpace/matrixSize/y> is missing"));
  }
  SECTION("a word for a number") {
    REQUIRE_THAT(replaced("<x>8</x>", "<x>many</x>"), Catch::Contains("expected a number, found \"many\""));
  }
  SECTION("zero") {
    REQUIRE_THAT(replaced("<x>8</x>", "<x>0</x>"), Catch::Contains("expected 1 to 65535, found 0"));
  }
  SECTION("above 16 bits") {
    REQUIRE_THAT(replaced("<x>8</x>", "<x>65544</x>"), Catch::Contains("found 65544"));
  }
  SECTION("no root") {
    scan.xml = "<scan/>";
    REQUIRE_THAT(error_of(scan), Catch::Contains("expected the root element <ismrmrdHeader>, found <scan>"));
  }
  SECTION("cut off") {
    scan.xml = xml.text().substr(0, 200);
    REQUIRE_THAT(error_of(scan), Catch::Contains("not well-formed"));
  }
  SECTION("empty") {
    scan.xml = "";
    error_of(scan);
  }
  SECTION("absurd matrix") {
    xml.encoded = {65535, 65535, 65535};
    scan.xml = xml.text();
    REQUIRE_THAT(error_of(scan), Catch::Contains("65535") && Catch::Contains("32.0 GiB"));
  }
  SECTION("spiral") {
    xml.trajectory = "spiral";
    scan.xml = xml.text();
    REQUIRE_THAT(error_of(scan), Catch::Contains("[0]: trajectory_dimensions = 0") && Catch::Contains("carries no trajectory"));
  }
  SECTION("fractions from a converter are rounded and reported") {
    const TemporaryFolder folder;
    std::string text = xml.text();
    scan.xml = text.replace(text.find("<z>1</z>"), 8, "<z>1.2</z>");
    write_ismrmrd(folder / "scan.h5", scan);
    REQUIRE_THAT(open_scan(folder / "scan.h5")->header().warnings.at(0), Catch::Contains("1.2"));
  }
}

TEST_CASE("files that are no scan say what they are") {
  const TemporaryFolder folder;
  const auto says = [&](const std::filesystem::path& path, const std::string& text) {
    REQUIRE_THAT(data_error([&] { open_scan(path); }), Catch::Contains(text));
  };
  auto scan = test_scan(random_kspace(1, 1, 4, 4));
  SECTION("missing with a near match") {
    write_bytes(folder / "scan.h5", "x");
    says(folder / "scam.h5", "did you mean");
  }
  SECTION("directory") {
    says(folder.path(), "is a directory");
  }
  SECTION("empty") {
    write_bytes(folder / "scan.h5", "");
    says(folder / "scan.h5", "is empty");
  }
  SECTION("text") {
    write_bytes(folder / "scan.h5", "hello, this is no scan");
    says(folder / "scan.h5", "in no format");
  }
  SECTION("unreadable") {
    if (geteuid() == 0) return;  // permissions do not bind the superuser
    write_bytes(folder / "scan.h5", "x");
    std::filesystem::permissions(folder / "scan.h5", std::filesystem::perms::none);
    says(folder / "scan.h5", "cannot be opened");
  }
  SECTION("no header") {
    scan.xml.reset();
    write_ismrmrd(folder / "scan.h5", scan);
    says(folder / "scan.h5", "has 'data' but no 'xml'");
  }
  SECTION("no readouts") {
    scan.with_data = false;
    write_ismrmrd(folder / "scan.h5", scan);
    says(folder / "scan.h5", "has 'xml' but no 'data'");
  }
  SECTION("an empty list of readouts") {
    scan.readouts.clear();
    write_ismrmrd(folder / "scan.h5", scan);
    says(folder / "scan.h5", "holds no acquisitions");
  }
  SECTION("only noise") {
    for (auto& readout : scan.readouts) set_flag(readout, 19);
    write_ismrmrd(folder / "scan.h5", scan);
    says(folder / "scan.h5", "none of its 4 acquisitions is an imaging readout");
  }
  SECTION("HDF5 of something else") {
    data::hdf5::File::create(folder / "other.h5").write("weights", at::ones({3}));
    says(folder / "other.h5", "found weights");
  }
  SECTION("numbers where readouts should be") {
    auto file = data::hdf5::File::create(folder / "other.h5");
    file.write("dataset/data", at::ones({3}));
    file.write_text("dataset/xml", *scan.xml);
    file = data::hdf5::File::create(folder / "unused.h5");
    says(folder / "other.h5", "expected compound elements");
  }
}

TEST_CASE("a file truncated anywhere ends in a message or in the right image") {
  const TemporaryFolder folder;
  const auto kspace = random_kspace(2, 1, 16, 32);
  write_ismrmrd(folder / "whole.h5", test_scan(kspace));
  const std::string whole = file_bytes(folder / "whole.h5");
  int errors = 0;
  for (size_t cut = 0; cut < 40; ++cut) {
    write_bytes(folder / "cut.h5", whole.substr(0, whole.size() * cut / 40));
    try {
      const auto scan = open_scan(folder / "cut.h5");
      CHECK(same(scan->read(0).samples, kspace));
    } catch (const DataError& error) {
      ++errors;
      CHECK_THAT(error.what(), Catch::Contains("cut.h5"));
    }
  }
  REQUIRE(errors == 40);
}

TEST_CASE("an HDF5 file behind a user block is found and read") {
  const TemporaryFolder folder;
  const auto kspace = random_kspace(1, 1, 4, 6);
  write_ismrmrd(folder / "plain.h5", test_scan(kspace));
  // The superblock's base address counts from its own start when the block is simply put in front.
  write_bytes(folder / "block.h5", std::string(512, 'u') + file_bytes(folder / "plain.h5"));
  REQUIRE(data::hdf5::has_signature(folder / "block.h5"));
  try {
    REQUIRE(same(open_scan(folder / "block.h5")->read(0).samples, kspace));
  } catch (const DataError&) {
    FAIL("the library and this reader count addresses differently");
  }
}
