# LibTorch::LibTorch — CPU part of LibTorch, and LibTorch::CUDA where MONARCH_WITH_CUDA is on.
#
# Torch's own CMake package demands a CUDA toolkit even for CPU use, so the libraries are imported here.
# Looked for, in this order: Torch_DIR, CMAKE_PREFIX_PATH (a LibTorch folder or the `torch` folder of a
# Python environment), then the project's own .deps (made by scripts/setup).
set(_torch_hints "")
if(Torch_DIR)
  get_filename_component(_from_dir "${Torch_DIR}/../../.." ABSOLUTE)
  list(APPEND _torch_hints ${_from_dir})
endif()
list(APPEND _torch_hints ${CMAKE_PREFIX_PATH})
file(GLOB _torch_wheels ${PROJECT_SOURCE_DIR}/.deps/venv/lib/python3*/site-packages/torch)
list(APPEND _torch_hints ${_torch_wheels})

find_path(LibTorch_INCLUDE_DIR ATen/core/Tensor.h HINTS ${_torch_hints} PATH_SUFFIXES include NO_DEFAULT_PATH)
find_path(LibTorch_INCLUDE_DIR ATen/core/Tensor.h)
get_filename_component(LibTorch_ROOT "${LibTorch_INCLUDE_DIR}" DIRECTORY)
find_library(LibTorch_CPU_LIBRARY torch_cpu HINTS ${LibTorch_ROOT}/lib NO_DEFAULT_PATH)
find_library(LibTorch_C10_LIBRARY c10 HINTS ${LibTorch_ROOT}/lib NO_DEFAULT_PATH)
if(EXISTS ${LibTorch_INCLUDE_DIR}/torch/headeronly/version.h)
  set(_torch_version_file ${LibTorch_INCLUDE_DIR}/torch/headeronly/version.h)
else()
  set(_torch_version_file ${LibTorch_INCLUDE_DIR}/torch/csrc/api/include/torch/version.h)
endif()
if(EXISTS ${_torch_version_file})
  file(READ ${_torch_version_file} _torch_version_text)
  if(_torch_version_text MATCHES "VERSION_MAJOR ([0-9]+).*VERSION_MINOR ([0-9]+).*VERSION_PATCH ([0-9]+)")
    set(LibTorch_VERSION ${CMAKE_MATCH_1}.${CMAKE_MATCH_2}.${CMAKE_MATCH_3})
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_INCLUDE_DIR VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "run scripts/setup, or pass -DCMAKE_PREFIX_PATH=<folder of LibTorch>")

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  add_library(LibTorch::c10 SHARED IMPORTED)
  set_target_properties(LibTorch::c10 PROPERTIES IMPORTED_LOCATION ${LibTorch_C10_LIBRARY})
  add_library(LibTorch::torch_cpu SHARED IMPORTED)
  set_target_properties(LibTorch::torch_cpu PROPERTIES IMPORTED_LOCATION ${LibTorch_CPU_LIBRARY})
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  target_include_directories(LibTorch::LibTorch SYSTEM INTERFACE
    ${LibTorch_INCLUDE_DIR} ${LibTorch_INCLUDE_DIR}/torch/csrc/api/include)
  target_compile_definitions(LibTorch::LibTorch INTERFACE FMT_HEADER_ONLY=1)
  target_link_libraries(LibTorch::LibTorch INTERFACE LibTorch::torch_cpu LibTorch::c10)
  # at::parallel_for is a header template over OpenMP: compiled with -fopenmp, linked against the runtime
  # that LibTorch itself loads, so that the process holds exactly one.
  target_compile_options(LibTorch::LibTorch INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
  file(GLOB _torch_gomp ${LibTorch_ROOT}/lib/libgomp*.so* ${LibTorch_ROOT}/../torch.libs/libgomp*.so*)
  if(_torch_gomp)
    list(GET _torch_gomp 0 _torch_gomp)
    add_library(LibTorch::openmp SHARED IMPORTED)
    set_target_properties(LibTorch::openmp PROPERTIES IMPORTED_LOCATION ${_torch_gomp})
    target_link_libraries(LibTorch::LibTorch INTERFACE LibTorch::openmp)
  else()
    target_link_options(LibTorch::LibTorch INTERFACE -fopenmp)
  endif()
endif()
mark_as_advanced(LibTorch_INCLUDE_DIR LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY)
