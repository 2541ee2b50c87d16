// From slices and slabs to NIfTI volumes and their affines. docs/orientation.md has the derivation.

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "monarch/core/error.hpp"
#include "monarch/data/nifti.hpp"

namespace monarch::data {

namespace {

double dot(const Vector3& a, const Vector3& b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}
Vector3 minus(const Vector3& a, const Vector3& b) {
  return {a[0] - b[0], a[1] - b[1], a[2] - b[2]};
}
Vector3 unit(const Vector3& a) {
  const double n = std::sqrt(dot(a, a));
  return {a[0] / n, a[1] / n, a[2] / n};
}

constexpr double kDirectionTolerance = 1e-3;  // cosine; headers store float32, some tools round to 4 digits

bool usable(const Orientation& o) {
  if (!o.known) return false;
  for (const Vector3* v : {&o.x_direction, &o.y_direction, &o.z_direction, &o.centre_mm})
    for (const double c : *v)
      if (!std::isfinite(c)) return false;
  const auto long_enough = [](const Vector3& v) { return dot(v, v) > 0.25; };
  if (!(long_enough(o.x_direction) && long_enough(o.y_direction) && long_enough(o.z_direction))) return false;
  const Vector3 ex = unit(o.x_direction), ey = unit(o.y_direction), ez = unit(o.z_direction);
  const double determinant = ex[0] * (ey[1] * ez[2] - ey[2] * ez[1]) - ex[1] * (ey[0] * ez[2] - ey[2] * ez[0]) +
                             ex[2] * (ey[0] * ez[1] - ey[1] * ez[0]);
  return std::abs(determinant) > 1e-3;  // the three span space
}

bool same_direction(const Vector3& a, const Vector3& b) {
  return dot(unit(a), unit(b)) > 1 - kDirectionTolerance;
}
bool same_directions(const Orientation& a, const Orientation& b) {
  return same_direction(a.x_direction, b.x_direction) && same_direction(a.y_direction, b.y_direction) &&
         same_direction(a.z_direction, b.z_direction);
}

/// Voxel (0, 0, 0) at its place and one column per step; see stack_volumes.
Affine affine_of(const Orientation& o, const Vector3& step_mm, const Extent3& matrix) {
  const Vector3 directions[3] = {unit(o.x_direction), unit(o.y_direction), unit(o.z_direction)};
  Affine a{};
  for (size_t row = 0; row < 3; ++row) {
    const double sign = row < 2 ? -1 : 1;  // LPS -> RAS
    double origin = o.centre_mm[row];
    for (size_t axis = 0; axis < 3; ++axis) {
      const double column = directions[axis][row] * step_mm[axis];
      a[row][axis] = sign * column;
      origin -= static_cast<double>(matrix[axis] / 2) * column;
    }
    a[row][3] = sign * origin;
  }
  return a;
}

/// The file's own frame where the patient's is not known: index times voxel size.
Affine plain_affine(const Vector3& step_mm) {
  Affine a{};
  for (size_t axis = 0; axis < 3; ++axis) a[axis][axis] = step_mm[axis];
  return a;
}

bool orthonormal(const Orientation& o) {
  const Vector3 ex = unit(o.x_direction), ey = unit(o.y_direction), ez = unit(o.z_direction);
  return std::abs(dot(ex, ey)) < kDirectionTolerance && std::abs(dot(ex, ez)) < kDirectionTolerance &&
         std::abs(dot(ey, ez)) < kDirectionTolerance;
}

Vector3 steps(const ImageSeries& series, std::vector<std::string>* warnings) {
  const auto& fov = series.field_of_view_mm;
  Vector3 step{1, 1, 1};
  for (size_t axis = 0; axis < 3; ++axis) {
    const double extent = static_cast<double>(series.pixels.size(3 - static_cast<int64_t>(axis)));
    if (std::isfinite(fov[axis]) && fov[axis] > 0) {
      step[axis] = fov[axis] / extent;
    } else if (warnings) {
      warnings->push_back(
          fmt::format("the field of view along {} is not known: voxels are taken as 1 mm", "xyz"[axis]));
    }
  }
  return step;
}

using FrameKey = std::tuple<int64_t, int64_t, int64_t, int64_t>;  // contrast, set, phase, repetition
FrameKey frame_of(const ImageIndex& i) {
  return {i.contrast, i.set, i.phase, i.repetition};
}

/// Images of one frame that make up one block of voxels.
struct Stack {
  std::vector<int64_t> images;  ///< bottom to top
  bool single_slice = false;    ///< one of several slices that could not be stacked
  NiftiVolume geometry;         ///< without pixels
};

bool same_geometry(const Stack& a, const Stack& b) {
  if (a.images.size() != b.images.size() || a.geometry.oriented != b.geometry.oriented) return false;
  for (size_t row = 0; row < 3; ++row)
    for (size_t column = 0; column < 4; ++column) {
      const double tolerance = 1e-3 * *std::min_element(a.geometry.voxel_mm.begin(), a.geometry.voxel_mm.end());
      if (!(std::abs(a.geometry.affine[row][column] - b.geometry.affine[row][column]) <= tolerance)) return false;
    }
  return true;
}

class Stacker {
 public:
  Stacker(const ImageSeries& series, std::vector<std::string>* warnings)
      : series_(series), warnings_(warnings), step_(steps(series, warnings)) {}

  std::vector<Stack> stacks() {
    std::map<FrameKey, std::vector<int64_t>> frames;
    for (int64_t i = 0; i < series_.size(); ++i) frames[frame_of(series_.index[at(i)])].push_back(i);
    std::vector<Stack> out;
    for (auto& [key, images] : frames) stack_frame(images, &out);
    return out;
  }

 private:
  static size_t at(int64_t i) { return static_cast<size_t>(i); }
  const Orientation& orientation(int64_t i) const { return series_.orientation[at(i)]; }
  void warn(const std::string& text) {
    if (std::find(warnings_->begin(), warnings_->end(), text) == warnings_->end()) warnings_->push_back(text);
  }

  Stack make(std::vector<int64_t> images, double dz, bool oriented) const {
    Stack stack;
    stack.geometry.voxel_mm = {step_[0], step_[1], dz};
    stack.geometry.oriented = oriented;
    const int64_t nz = series_.pixels.size(1);
    // A stack of 2-D slices starts at the centre of its first slice; a slab has its centre in the middle.
    const Extent3 matrix{series_.pixels.size(3), series_.pixels.size(2), nz};
    const Orientation& first = orientation(images.front());
    stack.geometry.affine =
        oriented ? affine_of(first, stack.geometry.voxel_mm, matrix) : plain_affine(stack.geometry.voxel_mm);
    stack.geometry.orthogonal = oriented && orthonormal(first);
    stack.images = std::move(images);
    return stack;
  }

  void separately(const std::vector<int64_t>& images, bool oriented, std::vector<Stack>* out) const {
    for (const int64_t image : images) {
      out->push_back(make({image}, step_[2], oriented));
      out->back().single_slice = images.size() > 1;
    }
  }

  void stack_frame(std::vector<int64_t> images, std::vector<Stack>* out) {
    const bool oriented = std::all_of(images.begin(), images.end(), [&](int64_t i) { return usable(orientation(i)); });
    if (!oriented) warn("the orientation is not known: the NIfTI file states none (voxel index times voxel size)");
    std::stable_sort(images.begin(), images.end(),
                     [&](int64_t a, int64_t b) { return series_.index[at(a)].slice < series_.index[at(b)].slice; });
    if (series_.pixels.size(1) > 1 || images.size() == 1) return separately(images, oriented, out);
    if (!oriented) {
      out->push_back(make(std::move(images), step_[2], false));
      return;
    }
    const Orientation& first = orientation(images.front());
    for (const int64_t image : images) {
      if (!same_directions(first, orientation(image))) {
        warn("slices have different orientations: each becomes a NIfTI file of its own");
        return separately(images, true, out);
      }
    }
    const Vector3 ez = unit(first.z_direction);
    const auto height = [&](int64_t image) { return dot(orientation(image).centre_mm, ez); };
    std::vector<int64_t> sorted = images;
    std::stable_sort(sorted.begin(), sorted.end(), [&](int64_t a, int64_t b) { return height(a) < height(b); });
    const double spacing = (height(sorted.back()) - height(sorted.front())) / static_cast<double>(sorted.size() - 1);
    const double small = 0.01 * std::min(step_[0], step_[1]);
    if (!(spacing > small)) {
      warn(fmt::format("the slices all lie at one position: stacked by slice number at {:.4g} mm", step_[2]));
      out->push_back(make(std::move(images), step_[2], true));
      return;
    }
    for (size_t k = 0; k < sorted.size(); ++k) {
      const Vector3 offset = minus(orientation(sorted[k]).centre_mm, orientation(sorted.front()).centre_mm);
      const double along = dot(offset, ez);
      const Vector3 across{offset[0] - along * ez[0], offset[1] - along * ez[1], offset[2] - along * ez[2]};
      if (!(std::abs(along - static_cast<double>(k) * spacing) <= 0.02 * spacing) ||
          !(dot(across, across) <= 25 * small * small)) {
        warn("slices are not evenly spaced along their normal: each becomes a NIfTI file of its own");
        return separately(images, true, out);
      }
    }
    out->push_back(make(std::move(sorted), spacing, true));
  }

  const ImageSeries& series_;
  std::vector<std::string>* warnings_;
  Vector3 step_;
};

/// "_slice_0003_contrast_0001": what tells the files apart.
std::vector<std::string> suffixes(const std::vector<std::vector<Stack>>& groups, const ImageSeries& series) {
  struct Counter {
    const char* name;
    int64_t ImageIndex::*member;
  };
  constexpr Counter kCounters[] = {{"contrast", &ImageIndex::contrast},
                                   {"set", &ImageIndex::set},
                                   {"phase", &ImageIndex::phase},
                                   {"repetition", &ImageIndex::repetition}};
  const auto index = [&](const std::vector<Stack>& group) {
    return series.index[static_cast<size_t>(group.front().images.front())];
  };
  std::vector<std::string> out;
  std::set<std::string> taken;
  for (const auto& group : groups) {
    std::string suffix;
    if (groups.size() > 1) {
      if (group.front().single_slice) suffix += fmt::format("_slice_{:04}", index(group).slice);
      for (const Counter& counter : kCounters) {
        const bool varies = std::any_of(groups.begin(), groups.end(), [&](const auto& other) {
          return index(other).*counter.member != index(group).*counter.member;
        });
        if (varies) suffix += fmt::format("_{}_{:04}", counter.name, index(group).*counter.member);
      }
    }
    const std::string base = suffix;
    for (int part = 2; !taken.insert(suffix).second; ++part) suffix = fmt::format("{}_part_{}", base, part);
    out.push_back(suffix);
  }
  return out;
}

void check_series(const ImageSeries& series) {
  check<ShapeError>(series.pixels.defined() && series.pixels.dim() == 4 && series.pixels.numel() > 0 &&
                        series.pixels.size(0) == series.size() && series.orientation.size() == series.index.size(),
                    [&] {
                      return fmt::format(
                          "a series needs pixels [image, z, y, x] with an index and an orientation per "
                          "image; found {} indices, {} orientations",
                          series.index.size(), series.orientation.size());
                    });
}

}  // namespace

NiftiVolumes stack_volumes(const ImageSeries& series, double repetition_time_s) {
  check_series(series);
  NiftiVolumes out;
  std::vector<std::vector<Stack>> groups;
  for (Stack& stack : Stacker(series, &out.warnings).stacks()) {
    const auto index = [&](const Stack& s) { return series.index[static_cast<size_t>(s.images.front())]; };
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const std::vector<Stack>& other) {
      return same_geometry(other.front(), stack) && other.front().single_slice == stack.single_slice &&
             index(other.front()).slice == index(stack).slice && frame_of(index(other.back())) < frame_of(index(stack));
    });
    if (group != groups.end()) {
      group->push_back(std::move(stack));
    } else {
      groups.push_back({std::move(stack)});
    }
  }
  const std::vector<std::string> names = suffixes(groups, series);
  for (size_t g = 0; g < groups.size(); ++g) {
    NiftiVolume volume = groups[g].front().geometry;
    volume.suffix = names[g];
    std::vector<at::Tensor> frames;
    bool only_repetitions = true;
    for (const Stack& stack : groups[g]) {
      const at::Tensor images =
          at::index_select(series.pixels, 0, at::tensor(at::ArrayRef<int64_t>(stack.images), at::kLong));
      frames.push_back(images.reshape({-1, images.size(2), images.size(3)}));  // 2-D: slices are z; 3-D: one image
      ImageIndex index = series.index[static_cast<size_t>(stack.images.front())];
      volume.index.push_back(index);
      index.repetition = volume.index.front().repetition;
      only_repetitions = only_repetitions && index == volume.index.front();
    }
    volume.pixels = at::stack(frames);
    volume.repetition_time_s = only_repetitions && frames.size() > 1 && repetition_time_s > 0 ? repetition_time_s : 0;
    out.volumes.push_back(std::move(volume));
  }
  if (out.volumes.size() > 1 && out.warnings.empty())
    out.warnings.push_back(
        fmt::format("the images have {} different places: written as that many NIfTI files", out.volumes.size()));
  return out;
}

Affine image_affine(const ImageSeries& series, int64_t image) {
  check_series(series);
  check<ShapeError>(image >= 0 && image < series.size(),
                    [&] { return fmt::format("image {} of {}", image, series.size()); });
  const Vector3 step = steps(series, nullptr);
  const Orientation& o = series.orientation[static_cast<size_t>(image)];
  if (!usable(o)) return plain_affine(step);
  return affine_of(o, step, {series.pixels.size(3), series.pixels.size(2), series.pixels.size(1)});
}

}  // namespace monarch::data
