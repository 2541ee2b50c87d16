#pragma once
// The Well's HDF5 layout.

#include <memory>

#include "monarch/data/field_array.hpp"

namespace monarch::data {

/// Fields of the groups t0_fields (scalars), t1_fields (vectors) and t2_fields (matrices): components become channels,
/// row-major; axes along which a field does not vary are absent in the file and repeated here. Lists of names in
/// variable-length attributes are not needed: the groups say what there is. Throws DataError.
std::shared_ptr<ArraySource> open_well_fields(std::shared_ptr<const hdf5::File> file);

}  // namespace monarch::data
