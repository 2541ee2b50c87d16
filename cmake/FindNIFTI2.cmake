# NIFTI2::NIFTI2 — Debian's CMake package names files of packages that it does not depend on.
find_path(NIFTI2_INCLUDE_DIR nifti2_io.h PATH_SUFFIXES nifti)
find_library(NIFTI2_LIBRARY nifti2)
find_library(ZNZ_LIBRARY znz)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(NIFTI2 REQUIRED_VARS NIFTI2_LIBRARY ZNZ_LIBRARY NIFTI2_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "apt-get install libnifti2-dev")
if(NIFTI2_FOUND AND NOT TARGET NIFTI2::NIFTI2)
  add_library(NIFTI2::NIFTI2 UNKNOWN IMPORTED)
  set_target_properties(NIFTI2::NIFTI2 PROPERTIES IMPORTED_LOCATION ${NIFTI2_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${NIFTI2_INCLUDE_DIR} INTERFACE_LINK_LIBRARIES ${ZNZ_LIBRARY})
endif()
mark_as_advanced(NIFTI2_INCLUDE_DIR NIFTI2_LIBRARY ZNZ_LIBRARY)
