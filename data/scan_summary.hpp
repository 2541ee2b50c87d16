#pragma once
// What can be told about a scan from its gridded k-space, whatever the format.

#include <string>

#include "monarch/data/scan.hpp"

namespace monarch::data {

/// Fills centre_stated, centre_found, calibration, acceleration and, where it is undefined, line_map
/// (1 per line of `kspace.mask`), and adds findings. x is the readout and y the phase encode in all of them, as in
/// ScanHeader::encoded, also where the arrays have the readout along y. Findings: silent coils, a strongest sample away
/// from DC, partial Fourier, an asymmetric echo, odd aspect ratios. `step_centres` are the counter values (step 1, step
/// 2) that go to DC, for the hint of --centre (none for formats without counters).
void describe_kspace(const KSpace& kspace, const ScanHeader& header, ScanSummary& summary,
                     std::optional<std::array<int64_t, 2>> step_centres = {});

/// Adds a finding where coils are zero everywhere. samples: [coil, ...] complex64.
void find_silent_coils(const at::Tensor& samples, ScanSummary& summary);

}  // namespace monarch::data
