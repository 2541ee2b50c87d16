// SKM-TEA scans and the lists that come with them.
#include <filesystem>

#include "monarch/data/hdf5.hpp"
#include "monarch/data/npy.hpp"
#include "monarch/data/scan_list.hpp"
#include "monarch/data/scan_writer.hpp"
#include "scan_checks.hpp"
#include "support/ismrmrd_writer.hpp"

using namespace monarch;
using namespace monarch::test;
using namespace monarch::data;
using Catch::Contains;

namespace {

namespace fs = std::filesystem;

constexpr int64_t nx = 3, ny = 8, nz = 6, echoes = 2, coils = 4;

at::Tensor random(std::vector<int64_t> shape, uint64_t seed = 1) {
  int64_t numel = 1;
  for (const int64_t extent : shape) numel *= extent;
  return random_kspace(1, 1, 1, numel, seed).reshape(shape);
}

/// A file by parts: what is not defined is left out.
struct Parts {
  at::Tensor kspace = random({nx, ny, nz, echoes, coils});
  at::Tensor maps = random({nx, ny, nz, coils, 1}, 2);
  at::Tensor target = random({nx, ny, nz, echoes, 1}, 3);
  at::Tensor mask = at::ones({ny, nz}, at::kBool);

  void write(const fs::path& path) const {
    fs::remove(path);
    auto file = hdf5::File::create(path);
    file.write("kspace", kspace);
    if (maps.defined()) file.write("maps", maps);
    if (target.defined()) file.write("target", target);
    if (mask.defined()) file.write("masks/poisson_4.0x", mask);
  }
};

void use_all(const ScanSource& scan) {
  read_all(scan);
  for (size_t i = 0; i < scan.images().size(); ++i) {
    scan.read(i);
    scan.sensitivities(i);
    scan.target(i);
  }
  for (const auto& name : scan.mask_names()) scan.mask(name);
}

}  // namespace

TEST_CASE("SKM-TEA: a file made by h5py comes as slices of every echo") {
  const TemporaryFolder folder;
  const auto made = run_command(std::string(MONARCH_PYTHON " " MONARCH_SOURCE_DIR "/tests/python/make_skm_tea.py ") +
                                folder.path().string());
  if (made.exit_code == 77) skip(made.output);
  INFO(made.errors);
  REQUIRE(made.exit_code == 0);
  const auto scan = open_scan(folder / "scan.h5");
  const at::Tensor kspace = load_npy(folder / "kspace.npy"), maps = load_npy(folder / "maps.npy"),
                   target = load_npy(folder / "target.npy");
  REQUIRE(scan->header().format == "SKM-TEA");
  REQUIRE(scan->header().coils == 3);
  REQUIRE(scan->header().encoded.matrix == Extent3{6, 9, 1});
  REQUIRE(scan->header().encoded.field_of_view_mm[0] == Approx(6 * 0.8));
  REQUIRE(scan->header().encoded.field_of_view_mm[1] == Approx(9 * 0.3125));
  REQUIRE(scan->header().warnings.size() == 1);  // voxels and orientation are not in the file
  REQUIRE_THAT(scan->header().warnings[0], Contains("0.3125 × 0.3125 × 0.8"));
  REQUIRE(scan->images().size() == 8);
  for (size_t i = 8; i-- > 0;) {
    const auto image = scan->read(i);
    REQUIRE(same(image.samples.squeeze(1), kspace[image.index.contrast][image.index.slice]));
    REQUIRE(same(scan->sensitivities(i)->squeeze(2), maps[image.index.slice]));
    REQUIRE(same(scan->target(i)->squeeze(1), target[image.index.contrast][image.index.slice]));
  }
  REQUIRE(scan->images()[1].slice == 1);
  REQUIRE(scan->mask_names() == std::vector<std::string>{"poisson_4.0x"});
  REQUIRE(at::equal(scan->mask("poisson_4.0x"), load_npy(folder / "mask.npy")));
  REQUIRE_THROWS_WITH(scan->mask("poisson_9.0x"), Contains("there are poisson_4.0x"));
  const auto reference = scan->reference();
  REQUIRE(reference->size() == 8);
  REQUIRE(same(reference->pixels[5][0], target[1][1][0].abs()));
}

TEST_CASE("SKM-TEA: what the writer wrote comes back, with its place") {
  const TemporaryFolder folder;
  ScanLayout layout;
  layout.scan_id = "scan_001";
  layout.slices = 3;
  layout.echoes = 2;
  layout.coils = 4;
  layout.matrix = {10, 7};
  layout.voxel_mm = {0.8, 0.3, 5};
  layout.masks["poisson_2.0x"] = at::real(random({10, 7}, 5)) > 0;
  ScanWriter writer(folder / "a.h5", ScanFormat::skm_tea, layout);
  std::vector<ScanSlice> slices;
  for (uint64_t s = 0; s < 3; ++s) {
    slices.push_back(
        {random({2, 4, 10, 7}, 3 * s), random({1, 4, 10, 7}, 3 * s + 1), random({2, 1, 10, 7}, 3 * s + 2)});
    writer.add(slices.back());
  }
  writer.commit();
  const auto scan = open_scan(folder / "a.h5");
  REQUIRE(scan->header().warnings.empty());
  REQUIRE(scan->header().protocol == "scan_001");
  REQUIRE(scan->header().encoded.field_of_view_mm[0] == Approx(5.6));
  REQUIRE(scan->header().encoded.field_of_view_mm[2] == Approx(5));
  for (size_t i = 0; i < 6; ++i) {
    const auto image = scan->read(i);
    const auto& slice = slices[static_cast<size_t>(image.index.slice)];
    REQUIRE(same(image.samples.squeeze(1), slice.kspace[image.index.contrast]));
    REQUIRE(same(scan->sensitivities(i)->squeeze(2), slice.sensitivities));
    REQUIRE(same(scan->target(i)->squeeze(1), slice.target[image.index.contrast]));
    REQUIRE(image.orientation.known);
    REQUIRE(image.orientation.x_direction == Vector3{-1, 0, 0});
    REQUIRE(image.orientation.y_direction == Vector3{0, 1, 0});
    REQUIRE(image.orientation.z_direction == Vector3{0, 0, -1});
    REQUIRE(image.orientation.centre_mm[2] == Approx(-5.0 * static_cast<double>(image.index.slice - 1)));
  }
  REQUIRE(at::equal(scan->mask("poisson_2.0x"), layout.masks["poisson_2.0x"]));
}

TEST_CASE("SKM-TEA: orientations are read by axis, and nonsense is not taken") {
  const TemporaryFolder folder;
  const auto opened = [&](const std::string& letters) {
    Parts().write(folder / "a.h5");
    {
      fs::remove(folder / "b.h5");
      auto file = hdf5::File::create(folder / "b.h5");
      const Parts parts;
      file.write("kspace", parts.kspace);
      file.write_attribute("", "orientation", letters);
      file.write_attribute("", "voxel_spacing", std::vector<double>{1, 2, 3});
    }
    return open_scan(folder / "b.h5");
  };
  const auto scan = opened("IS,PA,RL");
  REQUIRE(scan->header().warnings.empty());
  const auto place = scan->read(0).orientation;
  REQUIRE(place.x_direction == Vector3{1, 0, 0});
  REQUIRE(place.y_direction == Vector3{0, -1, 0});
  REQUIRE(place.z_direction == Vector3{0, 0, 1});
  REQUIRE(place.centre_mm[2] == Approx(-1));
  REQUIRE_FALSE(scan->sensitivities(0));
  REQUIRE_FALSE(scan->target(0));
  REQUIRE_FALSE(scan->reference());
  REQUIRE(scan->mask_names().empty());
  for (const std::string letters : {"SI,AP", "SI,SI,LR", "SI,AP,LX", "SI,IS,AP", ""})
    REQUIRE(opened(letters)->header().warnings.size() == 1);
}

TEST_CASE("SKM-TEA: malformed files end in a message") {
  const TemporaryFolder folder;
  Parts parts;
  const auto says = [&](const std::string& text) {
    parts.write(folder / "a.h5");
    REQUIRE_THAT(data_error([&] { use_all(*open_scan(folder / "a.h5")); }), Contains(text) && Contains("a.h5"));
  };
  SECTION("control: the file is sound") {
    parts.write(folder / "a.h5");
    use_all(*open_scan(folder / "a.h5"));
  }
  SECTION("rank of k-space") {
    parts.kspace = parts.kspace.select(3, 0);
    says("expected complex [x, y, z, echo, coil]");
  }
  SECTION("real k-space") {
    parts.kspace = at::ones({nx, ny, nz, echoes, coils});
    says("expected complex [x, y, z, echo, coil], found float32");
  }
  SECTION("no samples") {
    parts.kspace = parts.kspace.narrow(0, 0, 0);
    says("holds no samples");
  }
  SECTION("maps of another shape") {
    parts.maps = parts.maps.narrow(1, 0, ny - 1);
    says("maps: expected complex [x, y, z, coil, map] = [3, 8, 6, 4, 1 or more]");
  }
  SECTION("maps of other coils") {
    parts.maps = parts.maps.narrow(3, 0, 3);
    says("maps: expected");
  }
  SECTION("target of other echoes") {
    parts.target = parts.target.narrow(3, 0, 1);
    says("target: expected");
  }
  SECTION("target of other maps") {
    parts.target = parts.target.repeat({1, 1, 1, 1, 2});
    says("maps: 1 maps, but target has 2");
  }
  SECTION("NaN in k-space") {
    parts.kspace[1][2][3][1][2] = std::nan("");
    says("[2, 0, 2, 3]");
  }
  SECTION("NaN in maps") {
    parts.maps[2][1][0][3][0] = std::nan("");
    says("maps: element [2, 1, 0, 3, 0]");
  }
  SECTION("NaN in the target") {
    parts.target[2][1][0][1][0] = std::numeric_limits<float>::infinity();
    says("target: element [2, 1, 0, 1, 0]");
  }
  SECTION("an image of zeros") {
    parts.kspace[1].zero_();
    says("only zeros");
  }
  SECTION("a mask larger than k-space") {
    parts.mask = at::ones({ny, nz + 1}, at::kBool);
    says("more than k-space's [8, 6]");
  }
  SECTION("a mask of another rank") {
    parts.mask = at::ones({ny}, at::kBool);
    says("expected numbers or booleans [y, z]");
  }
  SECTION("a complex mask") {
    parts.mask = random({ny, nz});
    says("expected numbers or booleans [y, z]");
  }
  SECTION("NaN in a mask") {
    parts.mask = at::full({ny, nz}, NAN);
    says("masks/poisson_4.0x: holds NaN");
  }
  SECTION("another measurement") {
    parts.write(folder / "a.h5");
    ScanOptions options;
    options.dataset = "second";
    REQUIRE_THAT(data_error([&] { open_scan(folder / "a.h5", options); }), Contains("no measurement 'second'"));
  }
}

TEST_CASE("SKM-TEA: a truncated file ends in a message at every length") {
  const TemporaryFolder folder;
  Parts().write(folder / "a.h5");
  const std::string bytes = file_bytes(folder / "a.h5");
  for (size_t part = 0; part < 40; ++part) {
    write_bytes(folder / "b.h5", bytes.substr(0, bytes.size() * part / 40));
    REQUIRE_THAT(data_error([&] { use_all(*open_scan(folder / "b.h5")); }), Contains("b.h5"));
  }
}

TEST_CASE("lists of scans are read as SKM-TEA has them") {
  const TemporaryFolder folder;
  test::write_text(folder / "val.json", R"({"info": {"version": "v1.0.0"}, "categories": [], "images": [
    {"id": 1, "file_name": "MTR_013.h5", "scan_id": "MTR_013", "subject_id": 48, "voxel_spacing": [0.3125, 0.3125, 0.8],
     "matrix_shape": [512, 512, 160], "orientation": ["SI", "AP", "RL"], "num_echoes": 2},
    {"id": 2, "file_name": "MTR_023.h5"}], "annotations": [{"id": 1}]})");
  const auto scans = load_scan_list(folder / "val.json");
  REQUIRE(scans.size() == 2);
  REQUIRE(scans[0].scan_id == "MTR_013");
  REQUIRE(scans[0].file_name == "MTR_013.h5");
  REQUIRE(scans[0].matrix == Extent3{512, 512, 160});
  REQUIRE(scans[0].voxel_mm == Vector3{0.3125, 0.3125, 0.8});
  REQUIRE(scans[0].orientation == std::vector<std::string>{"SI", "AP", "RL"});
  REQUIRE(scans[1].scan_id == "MTR_023");
  REQUIRE(scans[1].matrix == Extent3{0, 0, 0});
  REQUIRE(parse_scan_list(R"({"images": []})", "x").empty());
}

TEST_CASE("malformed lists of scans end in a message") {
  const auto says = [](const std::string& json, const std::string& text) {
    REQUIRE_THAT(data_error([&] { parse_scan_list(json, "val.json"); }), Contains(text) && Contains("val.json"));
  };
  says("{", "no JSON");
  says("[]", "no list 'images'");
  says(R"({"images": 3})", "no list 'images'");
  says(R"({"images": [3]})", "images[0]: file_name is missing");
  says(R"({"images": [{"file_name": "a.h5"}, {"file_name": 3}]})", "images[1]: file_name is number");
  says(R"({"images": [{"file_name": "../a.h5"}]})", "without a folder");
  says(R"({"images": [{"file_name": ""}]})", "not the name of a file");
  says(R"({"images": [{"file_name": "a.h5"}, {"file_name": "a.h5"}]})", "there twice");
  says(R"({"images": [{"file_name": "a.h5", "scan_id": 1}]})", "scan_id is number");
  says(R"({"images": [{"file_name": "a.h5", "matrix_shape": [1, 2]}]})", "three numbers");
  says(R"({"images": [{"file_name": "a.h5", "voxel_spacing": [1, 2, "x"]}]})", "three numbers");
  says(R"({"images": [{"file_name": "a.h5", "voxel_spacing": [1, 2, -1]}]})", "positive");
  says(R"({"images": [{"file_name": "a.h5", "orientation": [1]}]})", "a list of texts");
}
