#pragma once
// SigPy's part of `monarch bench nufft`, run as `python -c`.

namespace monarch::bench {

/// Arguments: coils, points along an axis, scale of the data, iterations. Reads radial.cfl (complex64 [coil, sample]),
/// coil_images.raw (complex64 [coil, y, x]), maps.raw (the same) and trajectory.raw (float64 [sample, 2], x first).
/// Answers "time JOB" with the seconds of one run and "write JOB FILE" with a file of its result, JOB being forward,
/// adjoint or cg-sense (which runs forward and adjoint in every iteration). Numba compiles in the first run.
inline constexpr const char* kNufftScript = R"(
import os, sys, time
import numpy as np, sigpy, sigpy.mri.app
answers = os.fdopen(os.dup(1), 'w')
os.dup2(2, 1)
coils, n = map(int, sys.argv[1:3])
scale, iterations = float(sys.argv[3]), int(sys.argv[4])
plane = lambda name: np.fromfile(name, np.complex64).reshape(coils, n, n)
samples = np.fromfile('radial.cfl', np.complex64).reshape(coils, -1)
images, maps = plane('coil_images.raw'), plane('maps.raw')
places = np.ascontiguousarray(np.fromfile('trajectory.raw', np.float64).reshape(-1, 2)[:, ::-1])
jobs = {
    'forward': lambda: sigpy.nufft(images, places),
    'adjoint': lambda: sigpy.nufft_adjoint(samples, places, oshape=(coils, n, n)),
    'cg-sense': lambda: sigpy.mri.app.SenseRecon(samples / scale, maps, lamda=0.001, coord=places, max_iter=iterations,
                                                 show_pbar=False).run(),
}
for line in sys.stdin:
    question, job, *file = line.split()
    start = time.perf_counter()
    result = jobs[job]()
    answer = time.perf_counter() - start
    if question == 'write':
        np.ascontiguousarray(result, np.complex64).tofile(file[0])
    print(answer, file=answers, flush=True)
)";

}  // namespace monarch::bench
