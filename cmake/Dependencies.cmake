# Imported targets for everything that is not ours. Each message names the Debian package.
find_package(LibTorch 2.11 MODULE REQUIRED)
find_package(FFTW3 MODULE REQUIRED)
find_package(HDF5 1.10 REQUIRED COMPONENTS C)        # libhdf5-dev
find_package(ISMRMRD REQUIRED)                       # libismrmrd-dev
find_package(pugixml REQUIRED)                       # libpugixml-dev
find_package(PNG REQUIRED)                           # libpng-dev
find_package(JPEG REQUIRED)                          # libjpeg62-turbo-dev
find_package(NIFTI2 MODULE REQUIRED)                    # libnifti2-dev
find_package(B64 MODULE REQUIRED)                       # libb64-dev
find_package(LIBZIP MODULE REQUIRED)                    # libzip-dev
find_package(LIBLZF MODULE REQUIRED)                    # liblzf-dev
find_package(ICU 72 REQUIRED COMPONENTS uc)           # libicu-dev
find_package(ZLIB REQUIRED)                          # zlib1g-dev
find_package(nlohmann_json 3.11 REQUIRED)            # nlohmann-json3-dev
find_package(tomlplusplus REQUIRED)                  # libtomlplusplus-dev
find_package(CLI11 2.1 REQUIRED)                     # libcli11-dev
find_package(hwy REQUIRED)                           # libhwy-dev
find_package(GIF 5.1 REQUIRED)                       # libgif-dev
find_package(Freetype REQUIRED)                      # libfreetype-dev
find_file(MONARCH_FONT_FILE DejaVuSans.ttf PATHS /usr/share/fonts PATH_SUFFIXES truetype/dejavu dejavu dejavu-sans-fonts
  DOC "Font of pictures (fonts-dejavu-core)" REQUIRED)
mark_as_advanced(MONARCH_FONT_FILE)
if(MONARCH_GLOO)
  find_package(Gloo MODULE)                          # libgloo-dev; without it: one process on the CPU
endif()
find_package(Eigen3 3.4 REQUIRED NO_MODULE)          # libeigen3-dev
if(MONARCH_TESTS)
  find_package(Catch2 2.13 REQUIRED)                 # catch2
endif()
if(MONARCH_WITH_CUDA)
  include(Cuda)
endif()
