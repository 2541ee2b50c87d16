set(_sanitize "${MONARCH_SANITIZE}")
if(NOT _sanitize)
  set(_sanitize none)
endif()
message(STATUS "
  Monarch ${PROJECT_VERSION}
    build type   ${CMAKE_BUILD_TYPE}, ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}, sanitizers: ${_sanitize}
    LibTorch     ${LibTorch_VERSION} in ${LibTorch_ROOT}
    CUDA         ${MONARCH_WITH_CUDA} (MONARCH_CUDA=${MONARCH_CUDA}) ${CMAKE_CUDA_COMPILER_VERSION} ${CMAKE_CUDA_ARCHITECTURES}
    HDF5         ${HDF5_VERSION}
    tests ${MONARCH_TESTS}, benchmarks ${MONARCH_BENCH}, libFuzzer targets ${MONARCH_FUZZ}
    install to   ${CMAKE_INSTALL_PREFIX}
")
