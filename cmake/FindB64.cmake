# B64::B64 — libb64, base64 encoding.
find_path(B64_INCLUDE_DIR b64/cencode.h)
find_library(B64_LIBRARY b64)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(B64 REQUIRED_VARS B64_LIBRARY B64_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "apt-get install libb64-dev")
if(B64_FOUND AND NOT TARGET B64::B64)
  add_library(B64::B64 UNKNOWN IMPORTED)
  set_target_properties(B64::B64 PROPERTIES IMPORTED_LOCATION ${B64_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${B64_INCLUDE_DIR})
endif()
mark_as_advanced(B64_INCLUDE_DIR B64_LIBRARY)
