#pragma once
// A simulated multi-coil scan whose image and coil sensitivities are known exactly.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace monarch::test {

struct PhantomOptions {
  int64_t coils = 8;
  int64_t z = 1;  ///< extent 1: the central slice of the object
  int64_t y = 128;
  int64_t x = 128;
  double phase_rad = 0.8;  ///< amplitude of the smooth phase of the object; 0 gives a real image
  double noise = 0;        ///< standard deviation of the complex noise in k-space (E|n|^2 = noise^2)
  uint64_t seed = 1;
  double taper = 0;  ///< the image's spectrum is multiplied by exp(-taper k^2), k = 1 at the edge of k-space
};

/// Head phantom (the ten ellipsoids of Shepp and Logan with the contrast of Toft), seen by coils on a ring.
/// Sensitivities satisfy sum_coil |s|^2 = 1, so `image` is what an ideal coil combination gives.
struct Phantom {
  at::Tensor image;          ///< [z, y, x] complex64, magnitudes in [0, 1]
  at::Tensor sensitivities;  ///< [coil, z, y, x] complex64, smooth over the whole field of view
  at::Tensor kspace;         ///< [coil, z, y, x] complex64: centred unitary FFT of sensitivities * image, plus noise
  at::Tensor support;        ///< [z, y, x] bool: inside the head
};

Phantom make_phantom(const PhantomOptions& options = {});

/// Centred unitary Fourier transform over the last three dimensions (image -> k-space) of [..., z, y, x].
at::Tensor centred_fft(const at::Tensor& image);
/// Its inverse (k-space -> image).
at::Tensor centred_ifft(const at::Tensor& kspace);

/// Mask [z, y, x] bool that keeps every `acceleration`-th line along `axis` (0: z, 1: y, 2: x), starting at `offset`,
/// and `calibration` lines around the centre floor(n/2).
at::Tensor line_mask(const std::vector<int64_t>& shape, int64_t axis, int64_t acceleration, int64_t offset = 0,
                     int64_t calibration = 0);

}  // namespace monarch::test
