// Scans whose samples lie on no grid.

#include "monarch/data/npy.hpp"
#include "scan_checks.hpp"
#include "support/ismrmrd_writer.hpp"

using namespace monarch;
using namespace monarch::data;
using namespace monarch::test;
using Catch::Contains;

namespace {

/// Random samples [coil, 1, readout, sample] at places k [readout, sample, axis] on a matrix of 16 (x 16 x 4).
TestScan placed_scan(const at::Tensor& samples, const at::Tensor& k) {
  TestScan scan = test_scan(samples);
  TestXml xml = test_xml(samples);
  xml.trajectory = "spiral";
  xml.encoded = xml.recon = {16, 16, k.size(2) == 3 ? 4 : 1};
  scan.xml = xml.text();
  for (size_t i = 0; i < scan.readouts.size(); ++i) {
    const at::Tensor places = k[static_cast<int64_t>(i)].to(at::kFloat).contiguous();
    scan.readouts[i].trajectory.assign(places.const_data_ptr<float>(), places.const_data_ptr<float>() + places.numel());
    scan.readouts[i].header.trajectory_dimensions = static_cast<uint16_t>(k.size(2));
  }
  return scan;
}

/// Every place another one, within ±half.
at::Tensor places(int64_t readouts, int64_t samples, int64_t axes, double half = 8) {
  return at::linspace(-half, half, readouts * samples * axes, at::kDouble).reshape({readouts, samples, axes});
}

KSpace read(const TestScan& scan, const ScanOptions& options = {}) {
  const TemporaryFolder folder;
  write_ismrmrd(folder / "scan.h5", scan);
  return open_scan(folder / "scan.h5", options)->read(0);
}

}  // namespace

TEST_CASE("trajectory: samples and places come as they were stored") {
  const at::Tensor samples = random_kspace(2, 1, 5, 12), k = places(5, 12, 2);
  const KSpace kspace = read(placed_scan(samples, k));
  REQUIRE(same(kspace.samples, samples));
  REQUIRE(relative_error(kspace.trajectory, k) <= 1e-6);
  REQUIRE_FALSE(kspace.mask.defined());
  // Reversed readouts are not flipped: their places are those of the samples as stored.
  auto scan = placed_scan(samples, k);
  set_flag(scan.readouts[1], ismrmrd::reverse_readout);
  REQUIRE(same(read(scan).samples, samples));
}

TEST_CASE("trajectory: discarded samples and what is no image go, and readouts may differ in length") {
  const at::Tensor samples = random_kspace(2, 1, 5, 12), k = places(5, 12, 2);
  auto scan = placed_scan(samples, k);
  scan.readouts[1].header.discard_pre = 3;
  scan.readouts[1].header.discard_post = 1;
  set_flag(scan.readouts[2], ismrmrd::navigation_data);
  set_flag(scan.readouts[3], ismrmrd::parallel_calibration);
  const KSpace kspace = read(scan);
  REQUIRE(kspace.samples.sizes() == at::IntArrayRef{2, 1, 1, 12 + 8 + 12});
  const auto kept = [&](const at::Tensor& readouts, int64_t axis) {
    return at::cat({readouts.select(axis, 0), readouts.select(axis, 1).narrow(axis, 3, 8), readouts.select(axis, 4)},
                   axis);
  };
  REQUIRE(same(kspace.samples.flatten(1), kept(samples.squeeze(1), 1)));
  REQUIRE(relative_error(kspace.trajectory[0], kept(k, 0)) <= 1e-6);
}

TEST_CASE("trajectory: samples beyond the matrix are left out, and most of them beyond it is an error") {
  const at::Tensor samples = random_kspace(1, 1, 4, 10);
  const at::Tensor k = places(4, 10, 2, 10);  // the matrix reaches 8
  const KSpace kspace = read(placed_scan(samples, k));
  const at::Tensor inside = k.flatten(0, 1).abs().amax(1) <= 8;
  REQUIRE(kspace.samples.numel() == inside.sum().item<int64_t>());
  REQUIRE(kspace.trajectory.abs().max().item<double>() <= 8);
  REQUIRE_THAT(data_error([&] { read(placed_scan(samples, k * 3)); }),
               Contains("beyond the encoded matrix of 16 x 16") && Contains("--trajectory-unit"));
}

TEST_CASE("trajectory: a third axis makes a volume where it is used") {
  const at::Tensor samples = random_kspace(2, 1, 5, 12);
  at::Tensor k = places(5, 12, 3, 2);
  k.narrow(2, 0, 2).mul_(4);
  REQUIRE(relative_error(read(placed_scan(samples, k)).trajectory, k) <= 1e-6);
  // Without kz the stated partitions are slices; with counters instead, nobody can tell.
  k.select(2, 2).zero_();
  REQUIRE(read(placed_scan(samples, k)).trajectory.size(2) == 2);
  auto scan = placed_scan(samples, k);
  scan.readouts[3].header.idx.kspace_encode_step_2 = 1;
  REQUIRE_THAT(data_error([&] { read(scan); }), Contains("kspace_encode_step_2") && Contains("no kz"));
  scan = placed_scan(samples, places(5, 12, 3, 2));
  scan.readouts[3].header.trajectory_dimensions = 2;
  scan.readouts[3].trajectory.resize(24);
  REQUIRE_THAT(data_error([&] { read(scan); }), Contains("[3]: trajectory_dimensions = 2"));
}

TEST_CASE("trajectory: units") {
  const auto unit = [](double reach, TrajectoryUnit stated = TrajectoryUnit::automatic) {
    ScanOptions options;
    options.trajectory_unit = stated;
    return read(placed_scan(random_kspace(1, 1, 4, 10), places(4, 10, 2, reach)), options)
        .trajectory.abs()
        .max()
        .item<double>();
  };
  REQUIRE(unit(8) == Approx(8));
  REQUIRE(unit(0.5) == Approx(8));
  REQUIRE(unit(M_PI) == Approx(8));
  REQUIRE(unit(0.5, TrajectoryUnit::cycles) == Approx(0.5));
  REQUIRE(unit(0.25, TrajectoryUnit::normalised) == Approx(4));
  REQUIRE(unit(M_PI / 2, TrajectoryUnit::radians) == Approx(4));
}

TEST_CASE("trajectory: what is given wins, for scans that call themselves Cartesian, too") {
  const TemporaryFolder folder;
  const at::Tensor samples = random_kspace(2, 1, 6, 16), k = places(6, 16, 2);
  auto scan = test_scan(samples);
  TestXml xml = test_xml(samples);
  xml.encoded = xml.recon = {16, 16, 1};
  scan.xml = xml.text();
  write_ismrmrd(folder / "scan.h5", scan);
  save_npy(folder / "k.npy", k);
  ScanOptions options;
  options.trajectory = folder / "k.npy";
  const auto opened = open_scan(folder / "scan.h5", options);
  REQUIRE(same(opened->read(0).trajectory, k));
  REQUIRE(same(opened->read(0).samples, samples));
  REQUIRE(opened->header().trajectory == "other");
  read_all(*opened);
}
