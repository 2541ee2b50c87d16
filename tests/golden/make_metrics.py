"""Golden values of image metrics, from scikit-image and NumPy.

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install numpy==2.4.6 scikit-image==0.26.0
    /tmp/golden/bin/python tests/golden/make_metrics.py > tests/golden/metrics.json

The inputs are an integer hash of the voxel index, so that the C++ test makes the same ones (float32) by itself.
"""
import json
import sys

import numpy as np
import skimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

SEED = 20240607


def uniform(count, stream):
    h = (np.arange(count, dtype=np.uint64) * 2654435761 + SEED + 977 * stream) & 0xFFFFFFFF
    h ^= h >> np.uint64(16)
    h = (h * np.uint64(0x85EBCA6B)) & np.uint64(0xFFFFFFFF)
    h ^= h >> np.uint64(13)
    h = (h * np.uint64(0xC2B2AE35)) & np.uint64(0xFFFFFFFF)
    h ^= h >> np.uint64(16)
    return h.astype(np.float64) / 2.0**32


def case(slices, ny, nx):
    s, y, x = np.meshgrid(np.arange(slices), np.arange(ny), np.arange(nx), indexing="ij")
    inside = ((y - ny // 2) ** 2 * 4 + (x - nx // 2) ** 2) * 6 < nx * ny
    u = [uniform(slices * ny * nx, k).reshape(slices, ny, nx) for k in range(4)]
    reference = 0.2 * u[0] + inside * (1 + 0.25 * s)
    image = 0.97 * reference + 0.1 * (u[1] - 0.5)
    image = np.abs(image)
    reference_imag = 0.3 * u[2]
    image_imag = reference_imag + 0.05 * (u[3] - 0.5)
    f32 = lambda a: a.astype(np.float32).astype(np.float64)
    return f32(image), f32(reference), f32(image) + 1j * f32(image_imag), f32(reference) + 1j * f32(reference_imag)


def rms(a):
    return float(np.sqrt(np.mean(np.abs(a) ** 2)))


def wang(p, g):
    return structural_similarity(
        g, p, data_range=g.max(), gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )


def evaluate(slices, ny, nx):
    p, g, pc, gc = case(slices, ny, nx)
    each = lambda f: float(np.mean([f(p[k], g[k]) for k in range(slices)]))
    each_complex = lambda f: float(np.mean([f(pc[k], gc[k]) for k in range(slices)]))
    db = lambda peak, error: float(20 * np.log10(peak / error))
    scale = np.vdot(gc, pc) / np.linalg.norm(gc) ** 2
    return {
        "shape": [slices, ny, nx],
        "fastMRI": {
            "NMSE": float(np.linalg.norm(g - p) ** 2 / np.linalg.norm(g) ** 2),
            "PSNR": float(peak_signal_noise_ratio(g, p, data_range=g.max())),
            "SSIM": each(lambda a, b: structural_similarity(b, a, data_range=g.max())),
        },
        "meddlr": {
            "PSNR": each_complex(lambda a, b: db(np.abs(b).max(), rms(a - b))),
            "PSNR_mag": each_complex(lambda a, b: db(np.abs(b).max(), rms(np.abs(a) - np.abs(b)))),
            "PSNR_scan": db(np.abs(gc).max(), rms(pc - gc)),
            "nRMSE": each_complex(lambda a, b: rms(a - b) / rms(b)),
            "nRMSE_mag": each_complex(lambda a, b: rms(np.abs(a) - np.abs(b)) / rms(b)),
            "nRMSE_scan": rms(pc - gc) / rms(gc),
            "SSIM": each_complex(lambda a, b: wang(np.abs(a), np.abs(b))),
        },
        "BART": {
            "NRMSE": float(np.linalg.norm(pc - gc) / np.linalg.norm(gc)),
            "NRMSE_scaled": float(np.linalg.norm(pc - scale * gc) / np.linalg.norm(scale * gc)),
        },
    }


manifest = {
    "generator": "tests/golden/make_metrics.py",
    "python": sys.version.split()[0],
    "numpy": np.__version__,
    "scikit-image": skimage.__version__,
    "seed": SEED,
    "tolerance": 1e-6,
}
cases = [evaluate(3, 33, 40), evaluate(1, 11, 64), evaluate(2, 64, 47)]
print(json.dumps({"manifest": manifest, "cases": cases}, indent=1))
