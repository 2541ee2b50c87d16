#include <ATen/ATen.h>
#include <fmt/format.h>
#include <nifti2_io.h>
#include <catch2/catch.hpp>

#include <cmath>
#include <fstream>
#include <memory>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/data/nifti.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::data;

namespace {

struct Free {
  void operator()(nifti_image* image) const { nifti_image_free(image); }
};
using Image = std::unique_ptr<nifti_image, Free>;

Image read_with_libnifti(const std::filesystem::path& path) {
  return Image(nifti_image_read(path.c_str(), 1));
}

Vector3 world(const nifti_dmat44& m, double i, double j, double k) {
  Vector3 out{};
  for (size_t r = 0; r < 3; ++r) out[r] = m.m[r][0] * i + m.m[r][1] * j + m.m[r][2] * k + m.m[r][3];
  return out;
}
Vector3 world(const Affine& m, double i, double j, double k) {
  Vector3 out{};
  for (size_t r = 0; r < 3; ++r) out[r] = m[r][0] * i + m[r][1] * j + m[r][2] * k + m[r][3];
  return out;
}
double distance(const Vector3& a, const Vector3& b) {
  return std::hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
}

Orientation place(Vector3 centre, Vector3 x, Vector3 y, Vector3 z) {
  return {centre, x, y, z, {0, 0, 0}, true};
}

ImageSeries one_image(std::vector<int64_t> shape, Vector3 fov, const Orientation& orientation) {
  ImageSeries series;
  series.pixels = Rng(3, "nifti").normal(std::move(shape), at::kFloat).abs();
  series.field_of_view_mm = fov;
  series.index.resize(static_cast<size_t>(series.pixels.size(0)));
  series.orientation.assign(series.index.size(), orientation);
  return series;
}

/// Writes the only volume of a series and reads it with the format's own library.
Image through_file(const ImageSeries& series, const std::filesystem::path& path) {
  const NiftiVolumes stacked = stack_volumes(series);
  REQUIRE(stacked.volumes.size() == 1);
  REQUIRE(stacked.volumes[0].suffix.empty());
  save_nifti(path, stacked.volumes[0], "test");
  Image image = read_with_libnifti(path);
  REQUIRE(image != nullptr);
  return image;
}

const Vector3 kLeft{1, 0, 0}, kPosterior{0, 1, 0}, kSuperior{0, 0, 1}, kInferior{0, 0, -1}, kRight{-1, 0, 0};

}  // namespace

TEST_CASE("NIfTI voxels of axial coronal and sagittal slices lie where the scan put them") {
  // Field of view 200 x 100 mm on 100 x 50 voxels of 2 mm, centre at L 10, A 20, S 30. The centre is on voxel
  // (50, 25); voxel (0, 0) is 100 mm and 50 mm before it. Expected places in RAS were worked out by hand.
  struct Known {
    const char* name;
    Vector3 x, y, z, at_centre, at_first;
  };
  const Known known[] = {{"axial", kLeft, kPosterior, kSuperior, {-10, 20, 30}, {90, 70, 30}},
                         {"coronal", kLeft, kInferior, kPosterior, {-10, 20, 30}, {90, 20, 80}},
                         {"sagittal", kPosterior, kInferior, kRight, {-10, 20, 30}, {-10, 120, 80}}};
  const test::TemporaryFolder folder;
  for (const Known& k : known) {
    INFO(k.name);
    const ImageSeries series = one_image({1, 1, 50, 100}, {200, 100, 5}, place({10, -20, 30}, k.x, k.y, k.z));
    for (const char* name : {"image.nii.gz", "image.nii"}) {
      const Image image = through_file(series, folder / name);
      REQUIRE(image->sform_code == NIFTI_XFORM_SCANNER_ANAT);
      REQUIRE(image->qform_code == NIFTI_XFORM_SCANNER_ANAT);
      for (const nifti_dmat44* m : {&image->sto_xyz, &image->qto_xyz}) {
        REQUIRE(distance(world(*m, 50, 25, 0), k.at_centre) <= 1e-4);
        REQUIRE(distance(world(*m, 0, 0, 0), k.at_first) <= 1e-4);
      }
      REQUIRE(image->nx == 100);
      REQUIRE(image->ny == 50);
      REQUIRE(std::abs(image->dx - 2) + std::abs(image->dy - 2) + std::abs(image->dz - 5) <= 1e-6);
      REQUIRE(image->xyz_units == NIFTI_UNITS_MM);
      REQUIRE(std::memcmp(image->data, series.pixels.const_data_ptr(), series.pixels.nbytes()) == 0);
    }
  }
}

TEST_CASE("NIfTI places a point source where it physically is for even and odd sizes") {
  // A point at offset d from the slice centre has k-space exp(-2 pi i k d); its image peaks at the voxel that the
  // affine must map to the physical place, oblique orientation and all.
  const double a = 0.4, b = -0.7;
  const Vector3 ex{std::cos(a), std::sin(a), 0};
  const Vector3 ey{-std::sin(a) * std::cos(b), std::cos(a) * std::cos(b), std::sin(b)};
  const Vector3 ez{std::sin(a) * std::sin(b), -std::cos(a) * std::sin(b), std::cos(b)};
  const Vector3 centre{-12.5, 31, 7};
  for (const auto& [nx, ny] : {std::pair<int64_t, int64_t>{32, 24}, {31, 25}, {30, 27}}) {
    const double dx = 1.5, dy = 2.25, steps_x = 5, steps_y = -4;
    const auto phase = [](int64_t n, double steps) {
      const at::Tensor k = at::arange(n, at::kDouble) - static_cast<double>(n / 2);
      return at::polar(at::ones({n}, at::kDouble), k * (-2 * M_PI * steps / static_cast<double>(n)));
    };
    const at::Tensor kspace = phase(ny, steps_y).unsqueeze(1) * phase(nx, steps_x).unsqueeze(0);
    const at::Tensor image = at::fft_fftshift(at::fft_ifft2(at::fft_ifftshift(kspace))).abs();
    ImageSeries series = one_image({1, 1, ny, nx}, {dx * static_cast<double>(nx), dy * static_cast<double>(ny), 4},
                                   place(centre, ex, ey, ez));
    series.pixels = image.to(at::kFloat).view({1, 1, ny, nx});
    const test::TemporaryFolder folder;
    const Image file = through_file(series, folder / "point.nii.gz");
    const auto* voxels = static_cast<const float*>(file->data);
    const auto peak = std::max_element(voxels, voxels + file->nvox) - voxels;
    Vector3 expected{};
    for (size_t r = 0; r < 3; ++r) {
      const double lps = centre[r] + steps_x * dx * ex[r] + steps_y * dy * ey[r];
      expected[r] = r < 2 ? -lps : lps;
    }
    const double i = static_cast<double>(peak % nx), j = static_cast<double>(peak / nx);
    REQUIRE(distance(world(file->sto_xyz, i, j, 0), expected) <= 1e-4);
    REQUIRE(distance(world(file->qto_xyz, i, j, 0), expected) <= 1e-4);
    REQUIRE(distance(world(file->sto_xyz, i + 1, j, 0), expected) > 1);  // a neighbour is somewhere else
  }
}

TEST_CASE("NIfTI slices are stacked by position with their true distance") {
  // Interleaved acquisition: slice numbers do not follow the position; 5 mm slices, 7 mm apart, normal to -z.
  ImageSeries series = one_image({4, 1, 6, 8}, {80, 60, 5}, place({}, kLeft, {0, -1, 0}, kInferior));
  const double heights[] = {7, -7, 14, 0};  // superior, mm
  for (size_t i = 0; i < 4; ++i) {
    series.index[i].slice = static_cast<int64_t>(i);
    series.orientation[i].centre_mm = {1, 2, heights[i]};
    series.pixels[static_cast<int64_t>(i)][0][1][2] = 100.0f + static_cast<float>(i);  // marker
  }
  const NiftiVolumes stacked = stack_volumes(series);
  REQUIRE(stacked.warnings.empty());
  REQUIRE(stacked.volumes.size() == 1);
  const NiftiVolume& volume = stacked.volumes[0];
  REQUIRE(volume.pixels.sizes() == at::IntArrayRef({1, 4, 6, 8}));
  REQUIRE(std::abs(volume.voxel_mm[2] - 7) <= 1e-9);
  const int order[] = {2, 0, 3, 1};  // along -z: 14, 7, 0, -7
  const test::TemporaryFolder folder;
  const Image file = through_file(series, folder / "stack.nii.gz");
  for (int k = 0; k < 4; ++k) {
    REQUIRE(volume.pixels[0][k][1][2].item<float>() == 100.0f + static_cast<float>(order[k]));
    REQUIRE(std::abs(world(file->sto_xyz, 2, 1, k)[2] - heights[order[k]]) <= 1e-5);
    REQUIRE(std::abs(world(file->qto_xyz, 2, 1, k)[2] - heights[order[k]]) <= 1e-5);
  }
  REQUIRE(distance(world(file->sto_xyz, 4, 3, 2), {-1, -2, 0}) <= 1e-5);  // centre voxel of the slice at S 0
}

TEST_CASE("NIfTI slabs have their centre in the middle voxel") {
  for (const int64_t nz : {8, 7}) {
    const ImageSeries series = one_image({1, nz, 6, 8}, {80, 60, 3.0 * static_cast<double>(nz)},
                                         place({5, 6, 7}, kLeft, kPosterior, kSuperior));
    const test::TemporaryFolder folder;
    const Image file = through_file(series, folder / "slab.nii.gz");
    REQUIRE(file->nz == nz);
    REQUIRE(std::abs(file->dz - 3) <= 1e-6);
    REQUIRE(distance(world(file->sto_xyz, 4, 3, static_cast<double>(nz / 2)), {-5, -6, 7}) <= 1e-5);
    REQUIRE(distance(world(image_affine(series, 0), 4, 3, static_cast<double>(nz / 2)), {-5, -6, 7}) <= 1e-9);
  }
}

TEST_CASE("NIfTI keeps uneven and differently turned slices apart with a warning") {
  ImageSeries series = one_image({3, 1, 6, 8}, {80, 60, 5}, place({}, kLeft, kPosterior, kSuperior));
  for (size_t i = 0; i < 3; ++i) series.index[i].slice = static_cast<int64_t>(i);
  SECTION("uneven distances") {
    const double heights[] = {0, 5, 12};
    for (size_t i = 0; i < 3; ++i) series.orientation[i].centre_mm[2] = heights[i];
  }
  SECTION("stacked askew") {
    for (size_t i = 0; i < 3; ++i)
      series.orientation[i].centre_mm = {3.0 * static_cast<double>(i), 0, 5.0 * static_cast<double>(i)};
  }
  SECTION("three planes of a localiser") {
    series.orientation[1] = place({}, kLeft, kInferior, kPosterior);
    series.orientation[2] = place({}, kPosterior, kInferior, kRight);
  }
  const NiftiVolumes stacked = stack_volumes(series);
  REQUIRE(stacked.volumes.size() == 3);
  REQUIRE(stacked.warnings.size() == 1);
  REQUIRE(stacked.volumes[0].suffix == "_slice_0000");
  REQUIRE(stacked.volumes[2].suffix == "_slice_0002");
  for (size_t i = 0; i < 3; ++i) {
    const Vector3& c = series.orientation[i].centre_mm;
    REQUIRE(distance(world(stacked.volumes[i].affine, 4, 3, 0), {-c[0], -c[1], c[2]}) <= 1e-9);
  }
}

TEST_CASE("NIfTI holds repetitions and contrasts as a fourth dimension") {
  ImageSeries series = one_image({12, 1, 6, 8}, {80, 60, 5}, place({}, kLeft, kPosterior, kSuperior));
  for (int64_t i = 0; i < 12; ++i) {  // slice fastest, then repetition, then contrast
    const auto k = static_cast<size_t>(i);
    series.index[k] = {.slice = i % 3, .contrast = i / 6, .repetition = i / 3 % 2};
    series.orientation[k].centre_mm[2] = 5.0 * static_cast<double>(i % 3);
    series.pixels[i].fill_(static_cast<float>(i));
  }
  const test::TemporaryFolder folder;
  SECTION("both") {
    const NiftiVolumes stacked = stack_volumes(series, 2.5);
    REQUIRE(stacked.volumes.size() == 1);
    REQUIRE(stacked.volumes[0].pixels.sizes() == at::IntArrayRef({4, 3, 6, 8}));
    for (int v = 0; v < 4; ++v)
      for (int z = 0; z < 3; ++z)
        REQUIRE(stacked.volumes[0].pixels[v][z][0][0].item<float>() == static_cast<float>(3 * v + z));
    REQUIRE(stacked.volumes[0].repetition_time_s == 0);  // contrasts are not steps in time
    const Image file = through_file(series, folder / "four.nii.gz");
    REQUIRE(file->ndim == 4);
    REQUIRE(file->nt == 4);
  }
  SECTION("only repetitions carry the repetition time") {
    for (ImageIndex& index : series.index) {
      index.repetition += 2 * index.contrast;
      index.contrast = 0;
    }
    const NiftiVolumes stacked = stack_volumes(series, 2.5);
    save_nifti(folder / "time.nii", stacked.volumes[0]);
    const Image file = read_with_libnifti(folder / "time.nii");
    REQUIRE(file->dt == 2.5);
    REQUIRE(file->time_units == NIFTI_UNITS_SEC);
  }
  SECTION("another orientation is another file") {
    for (size_t i = 6; i < 12; ++i) series.orientation[i].centre_mm[0] = 20;
    const NiftiVolumes stacked = stack_volumes(series);
    REQUIRE(stacked.volumes.size() == 2);
    REQUIRE(stacked.volumes[0].suffix == "_contrast_0000");
    REQUIRE(stacked.volumes[1].suffix == "_contrast_0001");
    REQUIRE(stacked.warnings.size() == 1);
  }
}

TEST_CASE("NIfTI without a known place says so") {
  const test::TemporaryFolder folder;
  ImageSeries series = one_image({2, 1, 6, 8}, {80, 60, 5}, Orientation{});
  series.index[1].slice = 1;
  SECTION("no directions") {}
  SECTION("directions that are zero") {
    series.orientation.assign(2, place({}, {}, {}, {}));
  }
  SECTION("directions in one plane") {
    series.orientation.assign(2, place({}, kLeft, kPosterior, kLeft));
  }
  SECTION("a position that is not finite") {
    series.orientation.assign(2, place({std::nan(""), 0, 0}, kLeft, kPosterior, kSuperior));
  }
  const NiftiVolumes stacked = stack_volumes(series);
  REQUIRE(stacked.warnings.size() == 1);
  REQUIRE_FALSE(stacked.volumes.at(0).oriented);
  const Image file = through_file(series, folder / "unknown.nii");
  REQUIRE(file->qform_code == 0);
  REQUIRE(file->sform_code == 0);
  REQUIRE(std::abs(file->dx - 10) + std::abs(file->dz - 5) <= 1e-6);
  REQUIRE_FALSE(load_nifti(folder / "unknown.nii").orientation[0].known);
}

TEST_CASE("NIfTI stacks slices at one position by number and takes an unknown field of view as 1 mm") {
  ImageSeries series = one_image({2, 1, 6, 8}, {80, 60, 5}, place({}, kLeft, kPosterior, kSuperior));
  series.index[1].slice = 1;
  const NiftiVolumes stacked = stack_volumes(series);
  REQUIRE(stacked.volumes.size() == 1);
  REQUIRE_THAT(stacked.warnings.at(0), Catch::Contains("one position"));
  series.field_of_view_mm = {0, std::nan(""), 5};
  const NiftiVolumes unknown = stack_volumes(series);
  REQUIRE(unknown.warnings.size() == 3);
  REQUIRE(unknown.volumes[0].voxel_mm[0] == 1);
}

TEST_CASE("NIfTI reading gives back pixels and place of what was written") {
  const double a = 0.3;
  const Orientation oblique =
      place({4, 5, 6}, {std::cos(a), std::sin(a), 0}, {-std::sin(a), std::cos(a), 0}, kSuperior);
  ImageSeries series = one_image({1, 5, 6, 8}, {80, 60, 15}, oblique);
  if (GENERATE(false, true)) series.pixels = at::complex(series.pixels, series.pixels.roll(3));
  const test::TemporaryFolder folder;
  save_nifti(folder / "a.nii.gz", stack_volumes(series).volumes[0]);
  const ImageSeries back = load_nifti(folder / "a.nii.gz");
  REQUIRE(at::equal(back.pixels, series.pixels));
  REQUIRE(back.orientation[0].known);
  REQUIRE(distance(back.orientation[0].centre_mm, oblique.centre_mm) <= 1e-4);
  REQUIRE(distance(back.orientation[0].x_direction, oblique.x_direction) <= 1e-6);
  REQUIRE(distance(back.orientation[0].y_direction, oblique.y_direction) <= 1e-6);
  REQUIRE(distance(back.field_of_view_mm, series.field_of_view_mm) <= 1e-4);
}

TEST_CASE("NIfTI reading takes every number type and applies the intensity scale") {
  const test::TemporaryFolder folder;
  const auto write = [&](int type, const void* data, size_t bytes, bool swap) {
    const int64_t dims[8] = {2, 3, 2, 1, 1, 1, 1, 1};
    nifti_1_header* header = nifti_make_new_n1_header(dims, type);
    header->scl_slope = 2;
    header->scl_inter = 1;
    header->vox_offset = 352;
    std::memcpy(header->magic, "n+1", 4);
    std::string payload(static_cast<const char*>(data), bytes);
    if (swap) {
      nifti_swap_Nbytes(6, static_cast<int>(bytes / 6), payload.data());
      nifti_swap_as_nifti1(header);
    }
    std::ofstream file(folder / "typed.nii", std::ios::binary);
    file.write(reinterpret_cast<const char*>(header), sizeof *header);
    file.write("\0\0\0\0", 4);
    file.write(payload.data(), static_cast<std::streamsize>(payload.size()));
    std::free(header);
  };
  const at::Tensor expected = (at::arange(6, at::kFloat) * 2 + 1).view({1, 1, 2, 3});
  const auto check_type = [&](int type, auto zero) {
    decltype(zero) values[6];
    for (int i = 0; i < 6; ++i) values[i] = static_cast<decltype(zero)>(i);
    for (const bool swap : {false, true}) {
      write(type, values, sizeof values, swap && sizeof zero > 1);
      REQUIRE(at::equal(load_nifti(folder / "typed.nii").pixels, expected));
    }
  };
  check_type(DT_UINT8, uint8_t{});
  check_type(DT_INT8, int8_t{});
  check_type(DT_INT16, int16_t{});
  check_type(DT_UINT16, uint16_t{});
  check_type(DT_INT32, int32_t{});
  check_type(DT_UINT32, uint32_t{});
  check_type(DT_INT64, int64_t{});
  check_type(DT_UINT64, uint64_t{});
  check_type(DT_FLOAT32, float{});
  check_type(DT_FLOAT64, double{});
  const char rgb[18] = {};
  write(DT_RGB24, rgb, sizeof rgb, false);
  REQUIRE_THROWS_WITH(load_nifti(folder / "typed.nii"), Catch::Contains("data type 128"));
}

TEST_CASE("NIfTI reading refuses damaged files without allocating what they promise") {
  const test::TemporaryFolder folder;
  const ImageSeries series = one_image({1, 1, 16, 16}, {160, 160, 5}, place({}, kLeft, kPosterior, kSuperior));
  const NiftiVolume volume = stack_volumes(series).volumes[0];
  for (const char* name : {"whole.nii", "whole.nii.gz"}) {
    save_nifti(folder / name, volume);
    const auto size = static_cast<int64_t>(std::filesystem::file_size(folder / name));
    std::ifstream in(folder / name, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), {});
    for (int64_t cut = 1; cut < size; cut += std::max<int64_t>(1, size / 37)) {
      const auto path = folder / ("cut" + std::filesystem::path(name).extension().string());
      std::ofstream(path, std::ios::binary | std::ios::trunc).write(bytes.data(), cut);
      INFO(name << " cut at " << cut);
      REQUIRE_THROWS_AS(load_nifti(path), DataError);
    }
    if (std::string(name) == "whole.nii") {  // header fields: dim at 40, datatype at 70, vox_offset at 108
      const auto damaged = [&](size_t offset, const std::string& value) {
        std::string copy = bytes;
        copy.replace(offset, value.size(), value);
        std::ofstream(folder / "damaged.nii", std::ios::binary | std::ios::trunc) << copy;
        return folder / "damaged.nii";
      };
      REQUIRE_THROWS_WITH(load_nifti(damaged(42, "\xff\x7f\xff\x7f\xff\x7f")), Catch::Contains("promises"));
      REQUIRE_THROWS_AS(load_nifti(damaged(40, "\x09\x01")), DataError);
      REQUIRE_THROWS_AS(load_nifti(damaged(42, "\xff\xff")), DataError);
      REQUIRE_THROWS_AS(load_nifti(damaged(70, "\x63\x63")), DataError);
      REQUIRE_THROWS_AS(load_nifti(damaged(108, std::string("\0\0\x80\x7f", 4))), DataError);  // infinity
      REQUIRE_THROWS_AS(load_nifti(damaged(344, "ni1")), DataError);
    }
  }
  std::ofstream(folder / "text.nii") << "not an image";
  REQUIRE_THROWS_WITH(load_nifti(folder / "text.nii"), Catch::Contains("text.nii"));
  REQUIRE_THROWS_AS(load_nifti(folder / "missing.nii"), DataError);
  REQUIRE_THROWS_AS(load_nifti(folder.path()), DataError);
}

TEST_CASE("NIfTI writing on a full disk fails with a message") {
  if (!std::filesystem::exists("/dev/full")) test::skip("no /dev/full here");
  const test::TemporaryFolder folder;
  const NiftiVolume volume =
      stack_volumes(one_image({1, 4, 64, 64}, {1, 1, 1}, place({}, kLeft, kPosterior, kSuperior))).volumes[0];
  std::filesystem::create_symlink("/dev/full", folder / "full.nii.gz");
  REQUIRE_THROWS_AS(save_nifti("/dev/full", volume), DataError);
  REQUIRE_THROWS_AS(save_nifti(folder / "full.nii.gz", volume), DataError);
  REQUIRE_THROWS_AS(save_nifti(folder / "nowhere" / "a.nii", volume), DataError);
}

TEST_CASE("NIfTI phantom of another project is read") {
  const ImageSeries series = load_nifti(test::data_file("mri/BrainPhantom512.nii.gz"));
  REQUIRE(series.pixels.sizes() == at::IntArrayRef({1, 1, 512, 512}));
  REQUIRE(series.pixels.max().item<float>() > 0);
  REQUIRE(series.orientation[0].known);
}
