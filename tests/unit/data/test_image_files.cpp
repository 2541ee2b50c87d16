#include <ATen/ATen.h>
#include <hdf5.h>
#include <ismrmrd/dataset.h>
#include <ismrmrd/ismrmrd.h>
#include <ismrmrd/meta.h>
#include <catch2/catch.hpp>

#include <cmath>
#include <fstream>

#include "monarch/core/error.hpp"
#include "monarch/core/rng.hpp"
#include "monarch/data/cfl.hpp"
#include "monarch/data/hdf5.hpp"
#include "monarch/data/image_io.hpp"
#include "monarch/data/image_ismrmrd.hpp"
#include "monarch/data/nifti.hpp"
#include "monarch/data/npy.hpp"
#include "monarch/data/png.hpp"
#include "support/support.hpp"

using namespace monarch;
using namespace monarch::data;

namespace {

ImageSeries example(at::ScalarType dtype) {
  ImageSeries series;
  series.pixels = Rng(7, "images").normal({3, 2, 5, 6}, dtype);
  for (int64_t i = 0; i < 3; ++i) {
    series.index.push_back({.slice = i, .contrast = 1, .phase = 2, .repetition = 3 + i, .set = 4});
    Orientation o;
    o.centre_mm = {1.5, -2.5, 10.0 * static_cast<double>(i)};
    o.x_direction = {0, 1, 0};
    o.y_direction = {0, 0, -1};
    o.z_direction = {-1, 0, 0};
    o.table_position_mm = {0, 0, -1200};
    o.known = true;
    series.orientation.push_back(o);
    series.time_stamp.push_back(1000 + static_cast<uint32_t>(i));
  }
  series.field_of_view_mm = {120, 100, 8};
  series.readout = ReadoutAxis::y;
  return series;
}

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_CASE("ISMRMRD images come back as they were written") {
  const test::TemporaryFolder folder;
  for (const at::ScalarType dtype : {at::kFloat, at::kComplexFloat}) {
    ImageSeries series = example(dtype);
    series.orientation[2] = Orientation{};
    const auto path = folder / (dtype == at::kFloat ? "real.h5" : "complex.h5");
    save_ismrmrd_images(path, series);
    const ImageSeries back = load_ismrmrd_images(path);
    REQUIRE(back.pixels.scalar_type() == dtype);
    REQUIRE(at::equal(back.pixels, series.pixels));
    REQUIRE((back.index == series.index));
    REQUIRE(back.time_stamp == series.time_stamp);
    REQUIRE(back.readout == ReadoutAxis::y);
    REQUIRE(back.field_of_view_mm == series.field_of_view_mm);
    REQUIRE(back.orientation[1].known);
    REQUIRE(back.orientation[1].centre_mm == series.orientation[1].centre_mm);
    REQUIRE(back.orientation[1].x_direction == series.orientation[1].x_direction);
    REQUIRE(back.orientation[1].y_direction == series.orientation[1].y_direction);
    REQUIRE(back.orientation[1].z_direction == series.orientation[1].z_direction);
    REQUIRE(back.orientation[1].table_position_mm == series.orientation[1].table_position_mm);
    REQUIRE_FALSE(back.orientation[2].known);
  }
}

TEST_CASE("ISMRMRD images are read by the library of the format") {
  const test::TemporaryFolder folder;
  const ImageSeries series = example(at::kComplexFloat);
  save_ismrmrd_images(folder / "a.h5", series, {.variable = "image_7", .meta = {{"Method", "rss"}}});
  ISMRMRD::Dataset dataset((folder / "a.h5").c_str(), "dataset", false);
  REQUIRE(dataset.getNumberOfImages("image_7") == 3);
  ISMRMRD::Image<complex_float_t> image;
  dataset.readImage("image_7", 1, image);
  REQUIRE(image.getMatrixSizeX() == 6);
  REQUIRE(image.getMatrixSizeY() == 5);
  REQUIRE(image.getMatrixSizeZ() == 2);
  REQUIRE(image.getNumberOfChannels() == 1);
  REQUIRE(image.getImageType() == ISMRMRD::ISMRMRD_IMTYPE_COMPLEX);
  REQUIRE(image.getImageIndex() == 2);
  REQUIRE(image.getImageSeriesIndex() == 7);
  REQUIRE(image.getRepetition() == 4);
  REQUIRE(image.getSet() == 4);
  REQUIRE(image.getFieldOfViewX() == 120);
  REQUIRE(image.getPositionZ() == 10);
  REQUIRE(image.getReadDirectionY() == 1);
  REQUIRE(image.getSliceDirectionX() == -1);
  REQUIRE(image.getAcquisitionTimeStamp() == 1001);
  REQUIRE(image(4, 3, 1, 0) == std::complex<float>(series.pixels[1][1][3][4].item<c10::complex<float>>()));
  std::string attributes;
  image.getAttributeString(attributes);
  ISMRMRD::MetaContainer meta;
  ISMRMRD::deserialize(attributes.c_str(), meta);
  REQUIRE(std::string(meta.as_str("Method")) == "rss");
}

TEST_CASE("ISMRMRD images of every number type are read") {
  const test::TemporaryFolder folder;
  const auto path = folder / "types.h5";
  const auto append = [&](const char* variable, auto zero) {
    using T = decltype(zero);
    ISMRMRD::Dataset dataset(path.c_str(), "some group", true);
    ISMRMRD::Image<T> image(4, 3, 1, 1);
    for (size_t i = 0; i < 12; ++i) image.getDataPtr()[i] = static_cast<T>(static_cast<float>(i));
    dataset.appendImage(variable, image);
  };
  append("u16", uint16_t{});
  append("i16", int16_t{});
  append("u32", uint32_t{});
  append("i32", int32_t{});
  append("f32", float{});
  append("f64", double{});
  append("c64", complex_float_t{});
  append("c128", complex_double_t{});
  REQUIRE(ismrmrd_image_variables(path).size() == 8);
  const at::Tensor expected = at::arange(12, at::kFloat).view({1, 1, 3, 4});
  for (const char* variable : {"u16", "i16", "u32", "i32", "f32", "f64", "c64", "c128"}) {
    INFO(variable);
    const ImageSeries series = load_ismrmrd_images(path, variable);
    REQUIRE(series.pixels.is_complex() == (variable[0] == 'c'));
    REQUIRE(at::equal(series.pixels.is_complex() ? at::real(series.pixels) : series.pixels, expected));
    REQUIRE_FALSE(series.orientation[0].known);
  }
  REQUIRE_THROWS_WITH(load_ismrmrd_images(path, "image_9"), Catch::Contains("some group/f32"));
}

TEST_CASE("ISMRMRD images of other programs are read") {
  const ImageSeries pair = load_images(test::data_file("mri/ismrmrd_image_series.h5"));
  REQUIRE(pair.pixels.sizes() == at::IntArrayRef({2, 1, 256, 256}));
  REQUIRE(pair.field_of_view_mm == Vector3{300, 300, 6});
  REQUIRE(pair.index[1].contrast + pair.index[1].phase + pair.index[1].repetition == 1);
  REQUIRE_FALSE(pair.orientation[0].known);
  const ImageSeries one = load_images(test::data_file("mri/ismrmrd_image_512.h5"));
  REQUIRE(one.pixels.sizes() == at::IntArrayRef({1, 1, 512, 512}));
  REQUIRE(one.orientation[0].known);
  REQUIRE(one.orientation[0].x_direction == Vector3{-1, 0, 0});
  REQUIRE(std::abs(one.orientation[0].centre_mm[1] - 56.661194) <= 1e-5);
  REQUIRE(load_ismrmrd_images(test::data_file("mri/ismrmrd_image_series.h5"), "image_2000").size() == 2);
}

TEST_CASE("ISMRMRD images refuse what is not theirs with a message") {
  const test::TemporaryFolder folder;
  const auto path = folder / "a.h5";
  save_ismrmrd_images(path, example(at::kFloat));
  REQUIRE_THROWS_WITH(save_ismrmrd_images(path, example(at::kFloat)), Catch::Contains("exists"));
  REQUIRE_THROWS_AS(save_ismrmrd_images(folder / "no" / "a.h5", example(at::kFloat)), DataError);
  ImageSeries wrong = example(at::kFloat);
  wrong.index.pop_back();
  REQUIRE_THROWS_AS(save_ismrmrd_images(folder / "b.h5", wrong), ShapeError);
  wrong = example(at::kDouble);
  REQUIRE_THROWS_AS(save_ismrmrd_images(folder / "b.h5", wrong), DtypeError);

  const auto raw = test::data_file("mri/acr_gre_prisma3t_1ch.h5");
  REQUIRE(ismrmrd_image_variables(raw).empty());
  REQUIRE_THROWS_WITH(load_images(raw), Catch::Contains("monarch recon"));

  // One header is missing, and several channels.
  {
    ISMRMRD::Dataset dataset((folder / "c.h5").c_str(), "dataset", true);
    ISMRMRD::Image<float> image(4, 3, 1, 2);
    dataset.appendImage("image_0", image);
  }
  REQUIRE_THROWS_WITH(load_images(folder / "c.h5"), Catch::Contains("one channel"));
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  const hid_t header = H5Dopen2(file, "dataset/image_0/header", H5P_DEFAULT);
  const hsize_t two = 2;
  H5Dset_extent(header, &two);
  H5Dclose(header);
  H5Fclose(file);
  REQUIRE_THROWS_WITH(load_images(path), Catch::Contains("2 image headers") && Catch::Contains("3 images"));
}

TEST_CASE("ISMRMRD image data that promise more than the file holds are refused") {
  const test::TemporaryFolder folder;
  const auto path = folder / "huge.h5";
  save_ismrmrd_images(path, example(at::kFloat));
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  for (const char* name : {"dataset/image_0/data", "dataset/image_0/header"}) {
    const hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    hsize_t extents[5] = {};
    const hid_t space = H5Dget_space(dataset);
    H5Sget_simple_extent_dims(space, extents, nullptr);
    H5Sclose(space);
    extents[0] = 1000000000000ull;
    REQUIRE(H5Dset_extent(dataset, extents) >= 0);
    H5Dclose(dataset);
  }
  H5Fclose(file);
  REQUIRE_THROWS_AS(load_images(path), DataError);
}

TEST_CASE("truncated image files are refused at every cut") {
  const test::TemporaryFolder folder;
  save_ismrmrd_images(folder / "whole.h5", example(at::kFloat));
  const std::string bytes = bytes_of(folder / "whole.h5");
  for (size_t cut = 0; cut < bytes.size(); cut += 1 + bytes.size() / 23) {
    std::ofstream(folder / "cut.h5", std::ios::binary | std::ios::trunc)
        .write(bytes.data(), static_cast<std::streamsize>(cut));
    INFO("cut at " << cut);
    REQUIRE_THROWS_AS(load_images(folder / "cut.h5"), DataError);
  }
  REQUIRE_THROWS_AS(load_images(folder.path()), DataError);
  REQUIRE_THROWS_AS(load_images(folder / "missing.h5"), DataError);
  std::ofstream(folder / "text.txt") << "hello, this is text";
  REQUIRE_THROWS_WITH(load_images(folder / "text.txt"), Catch::Contains("no images in a known format"));
}

TEST_CASE("images are found by content in every format") {
  const test::TemporaryFolder folder;
  const at::Tensor image = Rng(9, "formats").normal({4, 5, 6}, at::kFloat).abs();
  const auto check_format = [&](const std::string& file, ImageFormat format, const at::Tensor& expected) {
    INFO(file);
    REQUIRE(detect_images(folder / file) == format);
    const ImageSeries series = load_images(folder / file);
    REQUIRE(series.pixels.sizes() == expected.sizes());
    REQUIRE(test::relative_error(series.pixels, expected) <= 1e-6);
    REQUIRE(series.index.size() == static_cast<size_t>(series.pixels.size(0)));
    REQUIRE(series.orientation.size() == series.index.size());
    return series;
  };
  save_npy(folder / "three.odd name", image.to(at::kDouble));
  check_format("three.odd name", ImageFormat::npy, image.unsqueeze(1));
  save_npy(folder / "two.npy", image[0]);
  check_format("two.npy", ImageFormat::npy, image[0].view({1, 1, 5, 6}));
  save_npy(folder / "four.npy", at::complex(image, image).unsqueeze(0));
  check_format("four.npy", ImageFormat::npy, at::complex(image, image).unsqueeze(0));
  save_npy(folder / "one.npy", image[0][0]);
  REQUIRE_THROWS_WITH(load_images(folder / "one.npy"), Catch::Contains("[6]"));

  save_cfl(folder / "pair", image);
  for (const char* name : {"pair", "pair.hdr", "pair.cfl"})
    check_format(name, ImageFormat::cfl, image.unsqueeze(0).to(at::kComplexFloat));

  ImageSeries series;
  series.pixels = image.unsqueeze(0);
  series.index.resize(1);
  series.orientation.resize(1);
  save_nifti(folder / "volume.gz", stack_volumes(series).volumes[0]);
  check_format("volume.gz", ImageFormat::nifti, image.unsqueeze(0));
  save_nifti(folder / "volume.bin", stack_volumes(series).volumes[0]);
  check_format("volume.bin", ImageFormat::nifti, image.unsqueeze(0));

  const Window window{0, 2};
  save_png(folder / "picture", image[1], window);
  check_format("picture", ImageFormat::png, grey_values(image[1], window).to(at::kFloat).view({1, 1, 5, 6}));
}

TEST_CASE("fastMRI reconstructions are read with their readout along y") {
  const test::TemporaryFolder folder;
  const at::Tensor image = Rng(9, "fastmri").normal({4, 5, 6}, at::kFloat).abs();
  for (const char* name : {"reconstruction_rss", "reconstruction_esc", "reconstruction"}) {
    const auto path = folder / (std::string(name) + ".h5");
    hdf5::File::create(path).write(name, image);
    REQUIRE(detect_images(path) == ImageFormat::fastmri);
    const ImageSeries series = load_images(path);
    REQUIRE(at::equal(series.pixels.squeeze(1), image));
    REQUIRE(series.readout == ReadoutAxis::y);
  }
  const ImageSeries real = load_images(test::data_file("mri/fastmri_knee_coronal_1ch.h5"));
  REQUIRE(real.pixels.dim() == 4);
  REQUIRE(real.field_of_view_mm[0] > 0);
}
