#pragma once
// Writes ISMRMRD raw data files with full control over headers, string kinds and (wrong) lengths.

#include <ATen/core/Tensor.h>

#include <complex>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "monarch/data/hdf5.hpp"
#include "monarch/data/ismrmrd_layout.hpp"
#include "monarch/data/scan.hpp"

namespace monarch::test {

/// One readout. `data` is written as it is, whatever the header claims.
struct TestReadout {
  data::ismrmrd::AcquisitionHeader header{};
  std::vector<std::complex<float>> data;  ///< [coil, sample]
  std::vector<float> trajectory;
};

/// What the XML header says. Empty or absent fields leave their element out.
struct TestXml {
  data::Extent3 encoded{16, 16, 1};
  data::Extent3 recon{16, 16, 1};
  data::Vector3 encoded_fov_mm{160, 160, 5};
  data::Vector3 recon_fov_mm{160, 160, 5};
  std::optional<data::EncodingLimit> limit_y, limit_z;
  std::string trajectory = "cartesian";
  std::string vendor;
  std::string calibration_mode;
  int acceleration = 1;
  bool with_recon = true;
  bool with_limits = true;
  std::string text() const;
};

/// One measurement.
struct TestScan {
  std::string group = "dataset";
  std::optional<std::string> xml;  ///< none: no such dataset
  data::hdf5::TextKind xml_kind{.utf8 = false, .fixed_length = false, .scalar = false};
  std::vector<TestReadout> readouts;
  bool with_data = true;
};

/// Complex normal values from a fixed seed, [coil, z, y, x] complex64.
at::Tensor random_kspace(int64_t coils, int64_t nz, int64_t ny, int64_t nx, uint64_t seed = 1);

/// A readout of row (y, z): samples from kspace [coil, z, y, x], full length, centre at floor(nx / 2).
TestReadout test_readout(const at::Tensor& kspace, int64_t y, int64_t z = 0);

/// A fully sampled scan of kspace [coil, z, y, x]: every row once, limits with the centre at floor(n / 2), LPS
/// directions along the axes. Change readouts and XML as a test needs.
TestScan test_scan(const at::Tensor& kspace);
/// The XML that test_scan writes.
TestXml test_xml(const at::Tensor& kspace);

inline void set_flag(TestReadout& readout, int flag) {
  readout.header.flags |= uint64_t{1} << (flag - 1);
}

/// Writes measurements into a new file, as libismrmrd lays them out (one readout a chunk).
void write_ismrmrd(const std::filesystem::path& path, const std::vector<TestScan>& scans);
inline void write_ismrmrd(const std::filesystem::path& path, const TestScan& scan) {
  write_ismrmrd(path, std::vector<TestScan>{scan});
}

}  // namespace monarch::test
