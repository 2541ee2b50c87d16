#pragma once
// NIfTI-1: images with their place in the patient.

#include <ATen/core/Tensor.h>

#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "monarch/data/image.hpp"

namespace monarch::data {

/// Rows of a voxel -> world map: world_mm[r] = a[r][0] i + a[r][1] j + a[r][2] k + a[r][3], RAS (NIfTI's frame).
using Affine = std::array<std::array<double, 4>, 3>;

/// What becomes one NIfTI file: images that share orientation, stacked along z (2-D slices) and then along time.
struct NiftiVolume {
  std::string suffix;  ///< of the file's name: "" for the only volume, else "_slice_0003", "_contrast_0001" …
  at::Tensor pixels;   ///< [volume, z, y, x] float32 or complex64
  Affine affine{};     ///< voxel index (x, y, z) -> RAS mm
  std::array<double, 3> voxel_mm{1, 1, 1};
  bool oriented = false;          ///< false: the place is unknown, the file says so (qform_code = sform_code = 0)
  bool orthogonal = true;         ///< directions are orthonormal, so that the quaternion form can hold them
  double repetition_time_s = 0;   ///< distance of volumes in time; 0 where unknown
  std::vector<ImageIndex> index;  ///< of each [volume], slice counter that of z = 0
};

struct NiftiVolumes {
  std::vector<NiftiVolume> volumes;
  std::vector<std::string> warnings;  ///< unknown orientation, uneven slice distances, missing field of view …
};

/// Stacks a series into volumes. docs/orientation.md derives the affine:
///
///   world_LPS(i, j, k) = centre + (i - floor(nx/2)) dx ex + (j - floor(ny/2)) dy ey + (k - floor(nz/2)) dz ez
///
/// with dx = FOV_x / nx; RAS = diag(-1, -1, 1) LPS. `centre` is the middle of slice or slab and falls on the voxel
/// where the centred Fourier transform has its origin. 2-D slices are sorted by position along ez, dz is their true
/// distance (the thickness for a single slice); slices at uneven distances, or not stacked along ez, become a file
/// each, with a warning. Contrasts, phases, repetitions and sets become the fourth dimension, in that order of
/// nesting (repetition fastest); those with another orientation become files of their own.
/// `repetition_time_s` is kept where the fourth dimension holds nothing but repetitions. Cost: one copy of pixels.
NiftiVolumes stack_volumes(const ImageSeries& series, double repetition_time_s = 0);

/// Writes one volume as NIfTI-1 (compressed where the name ends in .gz): sform and, for orthonormal directions,
/// qform (codes 1, scanner), pixdim, xyzt_units mm and s. Throws DataError when the file cannot be written.
void save_nifti(const std::filesystem::path& path, const NiftiVolume& volume, const std::string& description = {});

/// Reads NIfTI-1 or NIfTI-2, one file, plain or gzip-compressed, any real or complex number type, either byte order,
/// intensity scaling applied: pixels [image, z, y, x] float32 or complex64, dimensions beyond 3 flattened into
/// images (repetition counter). Throws DataError; allocates nothing that the file's size cannot back.
ImageSeries load_nifti(const std::filesystem::path& path);

/// The affine of one image of a series, [x, y, z] voxel index -> RAS mm, as documented at stack_volumes.
Affine image_affine(const ImageSeries& series, int64_t image);

}  // namespace monarch::data
