# One library per folder: monarch_add_library(operators SOURCES ... PUBLIC ... PRIVATE ...)
# makes the static library `monarch_operators` with the alias `monarch::operators`. Headers are
# included as "monarch/<folder>/<header>.hpp", in this tree and by installed consumers alike. A library in a folder of
# another one (experiments/vision) has its headers below that one's: "monarch/experiments/vision/<header>.hpp".
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/include/monarch)

# ATen/ATen.h costs 16 s a file: it is compiled once, and every target reuses it.
if(NOT EXISTS ${PROJECT_BINARY_DIR}/pch/pch.cpp)
  file(WRITE ${PROJECT_BINARY_DIR}/pch/pch.cpp "")
endif()
add_library(monarch_pch OBJECT EXCLUDE_FROM_ALL ${PROJECT_BINARY_DIR}/pch/pch.cpp)
target_link_libraries(monarch_pch PRIVATE LibTorch::LibTorch)
target_precompile_headers(monarch_pch PRIVATE <ATen/ATen.h> <algorithm> <array> <complex> <cstdint>
  <filesystem> <functional> <map> <memory> <optional> <span> <string> <vector> <fmt/format.h> <fmt/ranges.h>)

function(monarch_use_pch target)
  if(NOT MONARCH_FUZZ)
    target_precompile_headers(${target} REUSE_FROM monarch_pch)
  endif()
endfunction()

function(monarch_add_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  file(RELATIVE_PATH folder ${PROJECT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  set(link ${PROJECT_BINARY_DIR}/include/monarch/${folder})
  if(NOT EXISTS ${link})
    file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR} ${link} SYMBOLIC)
  endif()
  add_library(monarch_${name} STATIC ${arg_SOURCES})
  add_library(monarch::${name} ALIAS monarch_${name})
  set_target_properties(monarch_${name} PROPERTIES EXPORT_NAME ${name})
  target_compile_features(monarch_${name} PUBLIC cxx_std_20)
  target_include_directories(monarch_${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include> $<INSTALL_INTERFACE:include>)
  target_link_libraries(monarch_${name} PUBLIC ${arg_PUBLIC}
    PRIVATE ${arg_PRIVATE} $<BUILD_INTERFACE:monarch_warnings>)
  monarch_use_pch(monarch_${name})
  set_property(GLOBAL APPEND PROPERTY MONARCH_LIBRARIES ${name})
  if(NOT folder MATCHES "/")
    set_property(GLOBAL APPEND PROPERTY MONARCH_FOLDERS ${folder})
  endif()
endfunction()
