"""Golden values of losses and field metrics, from NumPy's full complex FFT, gradient and corrcoef.

    .deps/venv/bin/python tests/golden/make_field_measures.py > tests/golden/field_measures.json

The inputs are an integer hash of the flat index, so that the C++ test makes the same ones by itself.
"""
import itertools
import json
import sys

import numpy as np

SEED = 20210618


def uniform(shape, stream):
    h = (np.arange(np.prod(shape), dtype=np.uint64) * 2654435761 + SEED + 977 * stream) & 0xFFFFFFFF
    h ^= h >> np.uint64(16)
    h = (h * np.uint64(0x85EBCA6B)) & np.uint64(0xFFFFFFFF)
    h ^= h >> np.uint64(13)
    h = (h * np.uint64(0xC2B2AE35)) & np.uint64(0xFFFFFFFF)
    h ^= h >> np.uint64(16)
    return (h.astype(np.float64) / 2.0**32).reshape(shape)


def pair(shape):
    truth = uniform(shape, 0) - 0.4
    return 0.9 * truth + 0.2 * (uniform(shape, 1) - 0.5), truth


def coefficients(f):
    """[(integer wave vector, coefficient of exp(2 pi i k x))] of one field [grid...]."""
    c = np.fft.fftn(f) / f.size
    signed = [[k if 2 * k < n else k - n for k in range(n)] for n in f.shape]
    return [(np.array(k), c[tuple(np.array(k) % f.shape)]) for k in itertools.product(*signed)]


def norm(v):
    return np.sqrt(np.sum(np.abs(v) ** 2))


def h1_spectral(v, lengths):  # [channel, grid...]
    total = 0
    for channel in v:
        for k, c in coefficients(channel):
            total += (1 + np.sum((2 * np.pi * k / lengths) ** 2)) * abs(c) ** 2
    return np.sqrt(total)


def h1_difference(v, lengths, periodic):
    total = np.sum(v**2)
    for axis, length in enumerate(lengths):
        n = v.shape[axis + 1]
        if periodic:
            padded = np.concatenate([np.take(v, [-1], axis + 1), v, np.take(v, [0], axis + 1)], axis + 1)
            slope = np.gradient(padded, length / n, axis=axis + 1)
            slope = np.take(slope, range(1, n + 1), axis + 1)
        else:
            slope = np.gradient(v, length / (n - 1), axis=axis + 1, edge_order=2)
        total += np.sum(slope**2)
    return np.sqrt(total)


def bands(e, t, edges):
    bounds = [0, *edges, np.inf]
    floor = 1e-6 * np.sqrt(sum(abs(c) ** 2 for ch in t for _, c in coefficients(ch)))
    errors = []
    for low, high in zip(bounds, bounds[1:]):
        part = lambda v: np.array([c for ch in v for k, c in coefficients(ch) if low <= np.sqrt(k @ k) < high])
        if part(t).size:
            errors.append(norm(part(e)) / max(norm(part(t)), floor))
    return np.mean(errors)


def shells(f, count=None, weight=lambda k: 1.0):
    all_k = [(int(np.floor(np.sqrt(k @ k) + 0.5)), 0.5 * weight(k) * abs(c) ** 2) for k, c in coefficients(f)]
    out = np.zeros(max(s for s, _ in all_k) + 1)
    for s, e in all_k:
        out[s] += e
    return out if count is None else out[:count]


def log_spectrum(p, t):
    count = min(t.shape[1:]) // 2 + 1
    total = 0.5 * sum(np.mean(np.abs(c) ** 2) for c in t)
    ep, et = (sum(shells(c, count) for c in v) for v in (p, t))
    kept = sum(shells(c, count) for c in t).sum()
    assert kept <= total * (1 + 1e-12)
    return np.sqrt(np.mean((np.log10(ep + 1e-12 * kept) - np.log10(et + 1e-12 * kept)) ** 2))


def losses(shape, lengths):
    p, t = pair(shape)
    lengths = np.array(lengths)
    each = lambda f: [float(f(p[b], t[b])) for b in range(shape[0])]
    return {
        "shape": list(shape),
        "lengths": list(lengths),
        "l2": each(lambda a, b: norm(a - b) / norm(b)),
        "mse": each(lambda a, b: np.mean((a - b) ** 2)),
        "h1": each(lambda a, b: h1_spectral(a - b, lengths) / h1_spectral(b, lengths)),
        "h1-periodic": each(lambda a, b: h1_difference(a - b, lengths, True) / h1_difference(b, lengths, True)),
        "h1-bounded": each(lambda a, b: h1_difference(a - b, lengths, False) / h1_difference(b, lengths, False)),
        "spectral": each(lambda a, b: bands(a - b, b, [1.5, 4])),
        "log-spectrum": each(log_spectrum),
    }


def inverse_square(k, length):
    return 0.0 if not k.any() else 1 / np.sum((2 * np.pi * k / length) ** 2)


def flow(ny, nx, length):
    w = uniform((2, ny, nx), 5) - 0.3
    return {
        "shape": [ny, nx],
        "length": length,
        "spectrum": [shells(f).tolist() for f in w],
        "energy_spectrum": [shells(f, weight=lambda k: inverse_square(k, length)).tolist() for f in w],
        "enstrophy": [float(0.5 * np.mean(f**2)) for f in w],
        "energy": [float(sum(0.5 * inverse_square(k, length) * abs(c) ** 2 for k, c in coefficients(f))) for f in w],
    }


def trajectory(samples, frames, points):
    t = uniform((samples, frames, points), 7) - 0.4
    noise = (uniform((samples, frames, points), 8) - 0.5) * np.linspace(0.02, 1.2, frames)[None, :, None]
    p = t + noise * (1 + np.arange(samples))[:, None, None]
    rows = [[float(np.corrcoef(p[s, i], t[s, i])[0, 1]) for i in range(frames)] for s in range(samples)]
    times, threshold = 0.5 + 0.25 * np.arange(frames), 0.8
    crossing = []
    for row in rows:
        fine = np.linspace(0.25, times[-1], 200001)
        curve = np.interp(fine, np.concatenate([[0.25], times]), [1.0, *row])
        below = fine[curve < threshold]
        crossing.append(float(below[0]) if below.size else None)
    return {
        "shape": [samples, frames, points],
        "correlation": rows,
        "threshold": threshold,
        "start": 0.25,
        "times": times.tolist(),
        "crossing": crossing,
        "l2_per_time": (np.linalg.norm(p - t, axis=2) / np.linalg.norm(t, axis=2)).tolist(),
        "l2_full": [float(norm(p[s] - t[s]) / norm(t[s])) for s in range(samples)],
    }


manifest = {"generator": "tests/golden/make_field_measures.py", "python": sys.version.split()[0],
            "numpy": np.__version__, "seed": SEED}
print(json.dumps({
    "manifest": manifest,
    "losses": [losses((3, 2, 17), [2.0]), losses((2, 1, 12, 15), [1.0, 3.0]), losses((1, 2, 6, 5, 8), [1.0, 2.0, 0.5])],
    "flows": [flow(12, 12, 1.0), flow(9, 14, 6.0)],
    "volume": shells(uniform((5, 6, 4), 6)).tolist(),
    "trajectories": [trajectory(4, 7, 50)],
}, indent=1))
