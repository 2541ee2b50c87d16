#pragma once
// Lists of scans that come with a data set.

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "monarch/data/image.hpp"

namespace monarch::data {

/// A scan of SKM-TEA's annotations.
struct ListedScan {
  std::string scan_id;                   ///< "MTR_005"
  std::string file_name;                 ///< "MTR_005.h5", without a folder
  Extent3 matrix{0, 0, 0};               ///< x, y, z; zeros where the list does not say, like the others
  Vector3 voxel_mm{0, 0, 0};             ///< x, y, z
  std::vector<std::string> orientation;  ///< "SI", "AP", "LR"
};

/// The scans of one split: member `images` of annotations/v1.0.0/train.json, val.json or test.json (COCO's layout), in
/// the order of the file. Throws DataError naming the file and the entry: no JSON, no list `images`, an entry without
/// `file_name`, a name with a folder in it, values of another type, a scan twice.
/// Source: SKM-TEA, DATASET.md (Desai et al. 2021, arXiv:2203.06823).
std::vector<ListedScan> load_scan_list(const std::filesystem::path& path);
/// The same from text; `name` appears in messages.
std::vector<ListedScan> parse_scan_list(std::string_view text, const std::string& name);

}  // namespace monarch::data
