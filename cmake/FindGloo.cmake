# Gloo::headers — what c10d's ProcessGroupGloo.hpp includes. LibTorch holds the library itself but not its headers; Debian's
# serve. Debian's libgloo must not be linked: its symbols would clash with those inside LibTorch.
find_path(Gloo_INCLUDE_DIR gloo/algorithm.h)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Gloo REQUIRED_VARS Gloo_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "apt-get install libgloo-dev, or -DMONARCH_GLOO=OFF")
if(Gloo_FOUND AND NOT TARGET Gloo::headers)
  add_library(Gloo::headers INTERFACE IMPORTED)
  target_include_directories(Gloo::headers SYSTEM INTERFACE ${Gloo_INCLUDE_DIR})
endif()
mark_as_advanced(Gloo_INCLUDE_DIR)
