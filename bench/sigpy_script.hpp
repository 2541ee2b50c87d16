#pragma once
// SigPy's part of the reconstruction benchmark, run as `python -c`.

namespace monarch::bench {

/// Arguments: app, file stem, coils, y, x, lambda, data scale, repeats. Times `app(...).run()` alone, prints
/// "seconds <median>", and writes the image of the last run to sigpy.raw. One untimed run comes first (Numba compiles).
inline constexpr const char* kSigpyScript = R"(
import statistics, sys, time
import numpy as np, sigpy.mri.app as app
name, stem = sys.argv[1:3]
coils, ny, nx = map(int, sys.argv[3:6])
weight, scale, repeats = float(sys.argv[6]), float(sys.argv[7]), int(sys.argv[8])
load = lambda path: np.fromfile(path, np.complex64).reshape(coils, ny, nx)
kspace = load(stem + '.cfl')
def make():
    if name == 'EspiritCalib':
        return app.EspiritCalib(kspace, calib_width=24, show_pbar=False)
    maps = load(stem + '_maps.cfl')
    recon = {'SenseRecon': app.SenseRecon, 'L1WaveletRecon': app.L1WaveletRecon}[name]
    return recon(kspace / scale, maps, lamda=weight, max_iter=30, show_pbar=False)
make().run()
times = []
for _ in range(repeats):
    start = time.perf_counter()
    image = make().run()
    times.append(time.perf_counter() - start)
np.ascontiguousarray(image, np.complex64).tofile('sigpy.raw')
print('seconds', statistics.median(times))
)";

}  // namespace monarch::bench
