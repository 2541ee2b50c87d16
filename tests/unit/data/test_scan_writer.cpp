// Scans that are written come back as they were.
#include <filesystem>

#include "monarch/data/hdf5.hpp"
#include "monarch/data/scan_writer.hpp"
#include "scan_checks.hpp"
#include "support/ismrmrd_writer.hpp"

using namespace monarch;
using namespace monarch::test;
using namespace monarch::data;

namespace {

namespace fs = std::filesystem;

ScanLayout small_layout() {
  ScanLayout layout;
  layout.scan_id = "scan_007";
  layout.slices = 3;
  layout.echoes = 2;
  layout.coils = 4;
  layout.matrix = {10, 7};
  layout.voxel_mm = {0.8, 0.3, 5};
  layout.echo_times_ms = {6, 30};
  return layout;
}

std::vector<ScanSlice> random_slices(const ScanLayout& o) {
  std::vector<ScanSlice> slices;
  const auto [ny, nx] = o.matrix;
  for (int64_t s = 0; s < o.slices; ++s) {
    const auto seed = static_cast<uint64_t>(10 * s);
    slices.push_back({random_kspace(o.echoes, o.coils, ny, nx, seed), random_kspace(o.maps, o.coils, ny, nx, seed + 1),
                      random_kspace(o.echoes, o.maps, ny, nx, seed + 2)});
  }
  return slices;
}

void write_scan(const fs::path& path, ScanFormat format, const ScanLayout& layout,
                const std::vector<ScanSlice>& slices) {
  ScanWriter writer(path, format, layout);
  for (const auto& slice : slices) writer.add(slice);
  writer.commit();
}

}  // namespace

TEST_CASE("ISMRMRD scans that are written come back sample for sample") {
  const TemporaryFolder folder;
  const auto layout = small_layout();
  const auto slices = random_slices(layout);
  write_scan(folder / "a.h5", ScanFormat::ismrmrd, layout, slices);
  const auto scan = open_scan(folder / "a.h5");
  REQUIRE(scan->images().size() == 6);
  REQUIRE(scan->header().encoded.matrix == Extent3{7, 10, 1});
  REQUIRE(scan->header().recon.field_of_view_mm[0] == Approx(5.6));
  REQUIRE(scan->header().recon.field_of_view_mm[1] == Approx(3));
  REQUIRE(scan->header().recon.field_of_view_mm[2] == Approx(5));
  REQUIRE(scan->header().warnings.empty());
  for (size_t i = 0; i < 6; ++i) {
    const auto image = scan->read(i);
    REQUIRE(
        same(image.samples.squeeze(1), slices[static_cast<size_t>(image.index.slice)].kspace[image.index.contrast]));
    REQUIRE(image.orientation.known);
    REQUIRE(image.orientation.centre_mm[2] == Approx(5.0 * static_cast<double>(image.index.slice - 1)));
  }
}

TEST_CASE("fastMRI scans that are written come back with their own reconstruction") {
  const TemporaryFolder folder;
  auto layout = small_layout();
  layout.echoes = 1;
  const auto slices = random_slices(layout);
  write_scan(folder / "a.h5", ScanFormat::fastmri, layout, slices);
  const auto scan = open_scan(folder / "a.h5");
  REQUIRE(scan->header().format == "fastMRI");
  REQUIRE(scan->header().warnings.empty());
  REQUIRE(scan->header().encoded.matrix == Extent3{10, 7, 1});
  REQUIRE(scan->header().encoded.field_of_view_mm[0] == Approx(3));
  const auto reference = scan->reference();
  for (size_t i = 0; i < 3; ++i) {
    const auto samples = scan->read(i).samples;
    REQUIRE(same(samples.squeeze(1), slices[i].kspace[0]));
    REQUIRE(relative_error(reference->pixels[static_cast<int64_t>(i)], rss(samples)) <= 1e-6);
  }
  const auto file = hdf5::File::open(folder / "a.h5");
  REQUIRE(file.number_attribute("", "max") == Approx(reference->pixels.max().item<double>()));
  REQUIRE(file.text_attribute("", "patient_id") == "scan_007");
}

TEST_CASE("SKM-TEA scans are written with that data set's axes") {
  const TemporaryFolder folder;
  auto layout = small_layout();
  layout.maps = 2;
  layout.masks["poisson_4.0x"] = at::ones({10, 7}, at::kBool);
  layout.notes["made"] = "by a test";
  const auto slices = random_slices(layout);
  write_scan(folder / "a.h5", ScanFormat::skm_tea, layout, slices);
  const auto file = hdf5::File::open(folder / "a.h5");
  const at::Tensor kspace = file.read("kspace"), maps = file.read("maps"), target = file.read("target");
  REQUIRE(kspace.sizes() == at::IntArrayRef({3, 10, 7, 2, 4}));
  REQUIRE(maps.sizes() == at::IntArrayRef({3, 10, 7, 4, 2}));
  REQUIRE(target.sizes() == at::IntArrayRef({3, 10, 7, 2, 2}));
  for (int64_t s = 0; s < 3; ++s) {
    const auto& slice = slices[static_cast<size_t>(s)];
    REQUIRE(same(kspace[s].permute({2, 3, 0, 1}), slice.kspace));
    REQUIRE(same(maps[s].permute({3, 2, 0, 1}), slice.sensitivities));
    REQUIRE(same(target[s].permute({2, 3, 0, 1}), slice.target));
  }
  REQUIRE(file.numbers_attribute("", "voxel_spacing") == std::vector<double>{5, 0.3, 0.8});
  REQUIRE(file.text_attribute("", "made") == "by a test");
  REQUIRE(file.read("masks/poisson_4.0x").all().item<bool>());
}

TEST_CASE("a scan that is not finished leaves nothing, and what was there stays") {
  const TemporaryFolder folder;
  const auto layout = small_layout();
  const auto slices = random_slices(layout);
  const auto format = GENERATE(ScanFormat::skm_tea, ScanFormat::ismrmrd);
  test::write_text(folder / "a.h5", "old");
  {
    ScanWriter writer(folder / "a.h5", format, layout);
    writer.add(slices[0]);
    REQUIRE_THROWS_AS(writer.commit(), DataError);
  }
  REQUIRE(file_bytes(folder / "a.h5") == "old");
  REQUIRE(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()) == 1);
  write_scan(folder / "a.h5", format, layout, slices);
  REQUIRE(file_bytes(folder / "a.h5").size() > 1000);
}

TEST_CASE("slices and layouts that do not fit are refused") {
  const TemporaryFolder folder;
  auto layout = small_layout();
  auto slices = random_slices(layout);
  ScanWriter writer(folder / "a.h5", ScanFormat::skm_tea, layout);
  auto bad = slices[0];
  bad.kspace = bad.kspace.narrow(1, 0, 3);
  REQUIRE_THROWS_WITH(writer.add(bad), Catch::Contains("[2, 3, 10, 7]"));
  bad = slices[0];
  bad.target = at::Tensor();
  REQUIRE_THROWS_AS(writer.add(bad), ShapeError);
  bad = slices[0];
  bad.kspace = bad.kspace.to(at::kComplexDouble);
  REQUIRE_THROWS_AS(writer.add(bad), DtypeError);
  for (const auto& slice : slices) writer.add(slice);
  REQUIRE_THROWS_AS(writer.add(slices[0]), ShapeError);
  REQUIRE_THROWS_WITH(ScanWriter(folder / "b.h5", ScanFormat::fastmri, layout), Catch::Contains("one echo"));
  layout.coils = 0;
  REQUIRE_THROWS_AS(ScanWriter(folder / "b.h5", ScanFormat::skm_tea, layout), ConfigError);
  REQUIRE_THROWS_AS(ScanWriter(folder.path(), ScanFormat::skm_tea, small_layout()), DataError);
  REQUIRE_THROWS_WITH(parse_scan_format("dicom"), Catch::Contains("skm-tea"));
  REQUIRE(parse_scan_format(scan_format_name(ScanFormat::ismrmrd)) == ScanFormat::ismrmrd);
}
