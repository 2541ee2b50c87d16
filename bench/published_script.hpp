#pragma once
// The published Navier–Stokes scheme in PyTorch, as the peer of `monarch bench simulate`; run as `python -c`.

namespace monarch::bench {

/// Arguments: points along an axis, batch, threads, viscosity, dt, steps, timed steps, repeats. Reads w0.raw (float32
/// [batch, n, n]), writes the vorticity after `steps` steps to published.raw, then times `timed` steps `repeats` times and
/// prints "seconds <least time of a step>". Forward Euler for advection and forcing, Crank–Nicolson for viscosity; four
/// inverse transforms and one forward a step, on half spectra.
inline constexpr const char* kPublishedScript = R"(
import math, sys, time
import numpy as np, torch
n, batch, threads = map(int, sys.argv[1:4])
viscosity, dt = map(float, sys.argv[4:6])
steps, timed, repeats = map(int, sys.argv[6:9])
torch.set_num_threads(threads)
torch.set_grad_enabled(False)
w0 = torch.from_numpy(np.fromfile('w0.raw', np.float32).reshape(batch, n, n))
k = torch.fft.fftfreq(n, 1 / n)
kx = k.view(n, 1).repeat(1, n // 2 + 1)
ky = k[:n // 2 + 1].view(1, -1).repeat(n, 1)
laplacian = 4 * math.pi ** 2 * (kx ** 2 + ky ** 2)
laplacian[0, 0] = 1
most = 2 / 3 * (n // 2)
keep = ((kx.abs() <= most) & (ky.abs() <= most)).float()
x = torch.arange(n) / n
angle = 2 * math.pi * (x.view(n, 1) + x.view(1, n))
force = torch.fft.rfft2(0.1 * (torch.sin(angle) + torch.cos(angle)))
dx, dy = 2j * math.pi * kx, 2j * math.pi * ky
field = lambda s: torch.fft.irfft2(s, s=(n, n))
def step(w):
    stream = w / laplacian
    u, v = field(dy * stream), field(-dx * stream)
    advected = keep * torch.fft.rfft2(u * field(dx * w) + v * field(dy * w))
    return (-dt * advected + dt * force + (1 - 0.5 * dt * viscosity * laplacian) * w) \
        / (1 + 0.5 * dt * viscosity * laplacian)
start = torch.fft.rfft2(w0)
w = start
for _ in range(steps):
    w = step(w)
field(w).numpy().astype(np.float32).tofile('published.raw')
best = math.inf
for _ in range(repeats):
    w = start
    begin = time.perf_counter()
    for _ in range(timed):
        w = step(w)
    best = min(best, (time.perf_counter() - begin) / timed)
print('seconds', best)
)";

}  // namespace monarch::bench
