// fastMRI, BART cfl and NumPy.
#include "monarch/data/cfl.hpp"
#include "monarch/data/hdf5.hpp"
#include "monarch/data/npy.hpp"
#include "scan_checks.hpp"
#include "support/ismrmrd_writer.hpp"

using namespace monarch;
using namespace monarch::test;
using data::open_scan;

namespace {

/// The header of a fastMRI file with `rows` readout and `columns` phase-encode samples.
TestXml fastmri_xml(int64_t rows, int64_t columns) {
  return test_xml(random_kspace(1, 1, columns, rows));
}

void write_fastmri(const std::filesystem::path& path, const at::Tensor& kspace, const TestXml& xml,
                   const at::Tensor& mask = {}, const at::Tensor& rss = {}) {
  auto file = data::hdf5::File::create(path);
  file.write("kspace", kspace);
  file.write_text("ismrmrd_header", xml.text());
  if (mask.defined()) file.write("mask", mask);
  if (rss.defined()) file.write("reconstruction_rss", rss);
  file.write_attribute("", "acquisition", std::string("AXT2"));
  file.write_attribute("", "acceleration", 4);
}

}  // namespace

TEST_CASE("fastMRI: multi-coil and single-coil slices come as coil by 1 by readout by phase") {
  const TemporaryFolder folder;
  const auto kspace = random_kspace(3, 2, 10, 7);  // [slice, coil, readout, phase]
  write_fastmri(folder / "multi.h5", kspace, fastmri_xml(10, 7), {}, at::ones({3, 10, 7}));
  const auto multi = open_scan(folder / "multi.h5");
  REQUIRE(multi->header().readout == data::ReadoutAxis::y);
  REQUIRE(multi->header().encoded.matrix == data::Extent3{10, 7, 1});
  REQUIRE(multi->header().protocol == "AXT2");
  REQUIRE(multi->header().acceleration[0] == 4);
  REQUIRE(multi->header().warnings.empty());
  REQUIRE(multi->images().size() == 3);
  for (const size_t i : {2, 0, 1}) REQUIRE(same(multi->read(i).samples.squeeze(1), kspace[static_cast<int64_t>(i)]));
  const auto reference = multi->reference();
  REQUIRE(reference->pixels.sizes() == at::IntArrayRef{3, 1, 10, 7});
  REQUIRE(reference->field_of_view_mm == data::Vector3{160, 160, 5});
  write_fastmri(folder / "single.h5", kspace.select(1, 0), fastmri_xml(10, 7));
  const auto single = open_scan(folder / "single.h5");
  REQUIRE(same(single->read(1).samples[0][0], kspace[1][0]));
  REQUIRE(!single->reference());
}

TEST_CASE("fastMRI: the mask and the padding decide which columns were acquired") {
  const TemporaryFolder folder;
  const auto kspace = random_kspace(1, 2, 6, 12);
  auto xml = fastmri_xml(6, 12);
  SECTION("mask with padding") {
    xml.limit_y = data::EncodingLimit{0, 8, 5};  // columns 1 … 9 of 12
    const auto mask = GENERATE(true, false) ? at::ones({12}, at::kBool) : at::ones({12}, at::kFloat);
    mask[4] = 0;
    write_fastmri(folder / "a.h5", kspace, xml, mask);
    const auto image = open_scan(folder / "a.h5")->read(0);
    const auto columns = image.mask[0][0].to(at::kInt);
    REQUIRE(at::equal(columns, at::tensor({0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 0}, at::kInt)));
    REQUIRE(same(image.samples.squeeze(1), kspace[0] * image.mask[0]));
  }
  SECTION("no mask: columns of zeros are missing") {
    auto zeroed = kspace.clone();
    zeroed.select(3, 3).zero_();
    zeroed[0][0][2][5] = 0;  // a lone zero is a sample
    write_fastmri(folder / "a.h5", zeroed, xml);
    const auto scan = open_scan(folder / "a.h5");
    REQUIRE(scan->read(0).mask.sum().item<int64_t>() == 11 * 6);
    REQUIRE(scan->summarise().line_map.sum().item<int64_t>() == 11);
  }
}

TEST_CASE("fastMRI: the shape of the data is trusted over the header with a warning") {
  const TemporaryFolder folder;
  const auto kspace = random_kspace(1, 1, 10, 6);
  SECTION("axes the other way round") {
    write_fastmri(folder / "a.h5", kspace, fastmri_xml(6, 10));
    const auto scan = open_scan(folder / "a.h5");
    REQUIRE(scan->header().encoded.matrix == data::Extent3{10, 6, 1});
    REQUIRE_THAT(scan->header().warnings.at(0), Catch::Contains("other way round"));
  }
  SECTION("other extents and an image larger than k-space") {
    auto xml = fastmri_xml(12, 8);
    write_fastmri(folder / "a.h5", kspace, xml);
    const auto scan = open_scan(folder / "a.h5");
    REQUIRE(scan->header().encoded.matrix == data::Extent3{10, 6, 1});
    REQUIRE(scan->header().recon.matrix == data::Extent3{10, 6, 1});
    REQUIRE(scan->header().warnings.size() == 4);
  }
}

TEST_CASE("fastMRI: malformed files end in a message") {
  const TemporaryFolder folder;
  const auto kspace = random_kspace(1, 1, 4, 6);
  const auto says = [&](const std::string& text) {
    REQUIRE_THAT(data_error([&] { read_all(*open_scan(folder / "a.h5")); }), Catch::Contains(text));
  };
  SECTION("real numbers") {
    data::hdf5::File::create(folder / "a.h5").write("kspace", at::ones({1, 4, 6}));
    says("expected complex");
  }
  SECTION("mask of another length") {
    write_fastmri(folder / "a.h5", kspace, fastmri_xml(4, 6), at::ones({5}));
    says("expected 6 values");
  }
  SECTION("NaN") {
    auto bad = kspace.clone();
    bad[0][0][2][3] = std::nan("");
    write_fastmri(folder / "a.h5", bad, fastmri_xml(4, 6));
    says("[0, 0, 2, 3]");
  }
  SECTION("only zeros") {
    write_fastmri(folder / "a.h5", at::zeros_like(kspace), fastmri_xml(4, 6));
    says("only zeros");
  }
}

TEST_CASE("BART: k-space dimensions become coils and images and averages merge by count") {
  const TemporaryFolder folder;
  // Reversed BART dimensions: [avg, slice, level, time2, time, cshift, iter, coeff2, coeff, te, maps, coil, z, y, x].
  const auto all =
      random_kspace(1, 1, 1, 2 * 3 * 2 * 2 * 4 * 5 * 6).reshape({2, 3, 1, 1, 1, 1, 1, 1, 1, 2, 1, 2, 4, 5, 6});
  auto values = all.clone();
  values[1].narrow(-2, 2, 1).zero_();  // the second average misses row y = 2 of every image
  data::save_cfl(folder / "ksp", values);
  const std::string name = GENERATE("ksp", "ksp.hdr", "ksp.cfl");
  const auto scan = open_scan(folder / name);
  REQUIRE(scan->images().size() == 6);
  REQUIRE(scan->header().volume);
  REQUIRE(scan->header().coils == 2);
  for (size_t i = 6; i-- > 0;) {
    const auto& index = scan->images()[i];
    const auto pick = [&](int64_t average) {
      return values[average][index.slice].reshape({2, 2, 4, 5, 6})[index.contrast];
    };
    auto expected = (pick(0) + pick(1)) / 2;
    expected.select(2, 2).copy_(pick(0).select(2, 2));
    REQUIRE(relative_error(scan->read(i).samples, expected) <= tolerance(at::kFloat, 2));
  }
  REQUIRE(same(data::load_cfl(folder / "ksp"), values));
}

TEST_CASE("BART: malformed pairs end in a message") {
  const TemporaryFolder folder;
  const auto says = [&](const std::string& header, size_t bytes, const std::string& text) {
    write_bytes(folder / "a.hdr", header);
    write_bytes(folder / "a.cfl", std::string(bytes, 'x'));
    REQUIRE_THAT(data_error([&] { read_all(*open_scan(folder / "a")); }), Catch::Contains(text));
  };
  says("# Dimensions\n4 4\n", 127, "need 128 bytes, a.cfl has 127");
  says("# Dimensions\n4294967296 4294967296 4294967296\n", 64, "need");
  says("# Dimensions\n4 0\n", 64, "not a positive whole number");
  says("# Dimensions\n4 -4\n", 64, "not a positive whole number");
  says("# Dimensions\n99999999999999999999\n", 64, "not a positive whole number");
  says("# Dimensions\n1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 2\n", 16, "more than 16");
  says("# Dimensions\n", 64, "no dimensions");
  says("# Command\nx\n", 64, "expected a line \"# Dimensions\"");
  says("# Dimensions\n2 2 1 1 2\n", 64, "(MAPS) is 2");
}

TEST_CASE("NumPy: every type and both orders come back") {
  const TemporaryFolder folder;
  const auto type = GENERATE(at::kBool, at::kByte, at::kInt, at::kLong, at::kFloat, at::kDouble, at::kComplexFloat,
                             at::kComplexDouble);
  const std::vector<int64_t> shape = GENERATE(std::vector<int64_t>{2, 3, 4}, std::vector<int64_t>{5},
                                              std::vector<int64_t>{}, std::vector<int64_t>{0, 3});
  const at::Tensor tensor = at::arange(c10::multiply_integers(shape), at::kDouble).reshape(shape).to(type);
  data::save_npy(folder / "a.npy", tensor);
  const auto back = data::load_npy(folder / "a.npy");
  REQUIRE(back.scalar_type() == type);
  REQUIRE(back.sizes() == tensor.sizes());
  REQUIRE(at::equal(back, tensor));
  // The same bytes declared as Fortran order are the transpose with reversed extents.
  std::string bytes = file_bytes(folder / "a.npy");
  bytes.replace(bytes.find("False"), 5, "True ");
  const auto fortran = data::parse_npy(bytes, "f");
  if (tensor.dim() == 3) REQUIRE(at::equal(fortran.permute({2, 1, 0}).contiguous().view(-1), tensor.reshape(-1)));
  if (bytes.size() > 200 && tensor.dim() == 3 && type == at::kComplexFloat) {
    write_bytes(folder / "f.npy", bytes);
    REQUIRE(same(open_scan(folder / "f.npy")->read(0).samples.squeeze(1), fortran));
  }
}

TEST_CASE("NumPy: k-space of two to four axes is read and other arrays are refused") {
  const TemporaryFolder folder;
  const auto kspace = random_kspace(3, 2, 5, 6);  // [slice, coil, y, x]
  data::save_npy(folder / "a.npy", kspace.to(GENERATE(at::kComplexFloat, at::kComplexDouble)));
  const auto scan = open_scan(folder / "a.npy");
  REQUIRE(scan->images().size() == 3);
  REQUIRE(same(scan->read(2).samples.squeeze(1), kspace[2]));
  data::save_npy(folder / "b.npy", kspace[0]);
  REQUIRE(same(open_scan(folder / "b.npy")->read(0).samples.squeeze(1), kspace[0]));
  data::save_npy(folder / "c.npy", kspace[0][0]);
  REQUIRE(same(open_scan(folder / "c.npy")->read(0).samples[0][0], kspace[0][0]));
  data::save_npy(folder / "d.npy", kspace.unsqueeze(0));
  REQUIRE_THAT(data_error([&] { open_scan(folder / "d.npy"); }), Catch::Contains("[slice, coil, y, x]"));
}

TEST_CASE("NumPy: malformed files end in a message") {
  const auto says = [](std::string dictionary, size_t bytes, const std::string& text) {
    std::string file = "\x93NUMPY";
    file +=
        std::string("\x01\x00", 2) + static_cast<char>(dictionary.size()) + '\0' + dictionary + std::string(bytes, 'x');
    REQUIRE_THAT(data_error([&] { data::parse_npy(file, "a.npy"); }),
                 Catch::Contains("a.npy") && Catch::Contains(text));
  };
  says("{'descr': '>c8', 'fortran_order': False, 'shape': (2,), }", 16, "big-endian");
  says("{'descr': '<c8', 'fortran_order': False, 'shape': (2,), }", 15, "needs 16 bytes of data, the file has 15");
  says("{'descr': '<c8', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", 16, "needs");
  says("{'descr': '<c8', 'fortran_order': False, 'shape': (-2,), }", 16, "extent");
  says("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", 16, "not supported");
  says("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", 16, "structured");
  says("{'descr': '<f4', 'shape': (2,), }", 8, "expected the keys");
  says("{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2,), }", 8, "neither True nor False");
  says("{'descr': '<f4', 'extra': 'x'}", 8, "unknown key");
  says("nonsense", 8, "expected '{'");
}
