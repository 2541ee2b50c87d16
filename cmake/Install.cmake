# `cmake --install` gives bin/monarch, the libraries, the headers as <monarch/...>, and find_package(monarch).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
get_property(_libraries GLOBAL PROPERTY MONARCH_LIBRARIES)
foreach(name IN LISTS _libraries)
  install(TARGETS monarch_${name} EXPORT monarchTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
endforeach()
get_property(_folders GLOBAL PROPERTY MONARCH_FOLDERS)
foreach(folder IN LISTS _folders)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${folder}/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/monarch/${folder}
    FILES_MATCHING PATTERN "*.hpp")
endforeach()
install(TARGETS monarch RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS monarch_torch LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} OPTIONAL) # where it has been built
set_target_properties(monarch PROPERTIES INSTALL_RPATH "${LibTorch_ROOT}/lib")

set(_package ${CMAKE_INSTALL_LIBDIR}/cmake/monarch)
install(EXPORT monarchTargets NAMESPACE monarch:: DESTINATION ${_package})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/monarchConfig.cmake.in
  ${PROJECT_BINARY_DIR}/monarchConfig.cmake INSTALL_DESTINATION ${_package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/monarchConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/monarchConfig.cmake ${PROJECT_BINARY_DIR}/monarchConfigVersion.cmake
  ${PROJECT_SOURCE_DIR}/cmake/FindLibTorch.cmake ${PROJECT_SOURCE_DIR}/cmake/FindFFTW3.cmake
  ${PROJECT_SOURCE_DIR}/cmake/FindNIFTI2.cmake ${PROJECT_SOURCE_DIR}/cmake/FindLIBZIP.cmake
  ${PROJECT_SOURCE_DIR}/cmake/FindLIBLZF.cmake ${PROJECT_SOURCE_DIR}/cmake/FindB64.cmake DESTINATION ${_package})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
