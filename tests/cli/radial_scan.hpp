#pragma once
// A non-Cartesian scan that the command-line tests feed to the program.

#include <ATen/ATen.h>

#include <cmath>

#include "monarch/operators/nufft.hpp"
#include "support/ismrmrd_writer.hpp"
#include "support/phantom.hpp"
#include "support/support.hpp"

namespace monarch::test {

/// Spokes of a phantom seen by 6 coils, as a scan file in the making.
struct RadialScan {
  static constexpr int64_t matrix = 64;

  explicit RadialScan(int64_t spokes) {
    const at::Tensor angle = at::arange(spokes, at::kDouble).mul(M_PI * (std::sqrt(5.0) - 1) / 2).unsqueeze(1);
    const at::Tensor radius = at::arange(2 * matrix, at::kDouble).sub(matrix).div(2);
    trajectory = at::stack({angle.cos() * radius, angle.sin() * radius}, -1);
    phantom = make_phantom({.coils = 6, .y = matrix, .x = matrix, .taper = 3});
    const at::Tensor images = at::mul(phantom.sensitivities, phantom.image).squeeze(1);
    const operators::Nufft nufft({images.sizes().vec(), at::kComplexFloat}, trajectory.flatten(0, 1));
    samples = nufft.apply(images).reshape({6, 1, spokes, 2 * matrix});
    TestXml xml = test_xml(samples);
    xml.trajectory = "radial";
    xml.encoded = xml.recon = {matrix, matrix, 1};
    scan = test_scan(samples);
    scan.xml = xml.text();
    set_trajectory(1);
  }

  /// The acquisitions carry the trajectory times `scale`.
  void set_trajectory(double scale) {
    for (size_t i = 0; i < scan.readouts.size(); ++i) {
      const at::Tensor k = trajectory[static_cast<int64_t>(i)].mul(scale).to(at::kFloat).contiguous();
      const auto* values = k.const_data_ptr<float>();
      scan.readouts[i].trajectory.assign(values, values + k.numel());
      scan.readouts[i].header.trajectory_dimensions = 2;
    }
  }
  void drop_trajectory() {
    for (auto& readout : scan.readouts) {
      readout.trajectory.clear();
      readout.header.trajectory_dimensions = 0;
    }
  }

  /// Relative error of a magnitude image after the best scale.
  double error(const at::Tensor& image) const {
    const at::Tensor a = image.squeeze().to(at::kDouble), b = phantom.image.abs().squeeze().to(at::kDouble);
    return relative_error(a * ((a * b).sum() / (a * a).sum()), b);
  }

  at::Tensor trajectory;  // [spoke, sample, 2]
  at::Tensor samples;     // [coil, 1, spoke, sample]
  Phantom phantom;
  TestScan scan;
};

}  // namespace monarch::test
