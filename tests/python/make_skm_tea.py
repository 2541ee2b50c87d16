"""Makes a scan in SKM-TEA's layout with h5py, chunked and compressed, without attributes, as the data set has it.

make_skm_tea.py DIR writes DIR/scan.h5 and what should be read from it: DIR/kspace.npy [echo, slice, coil, ky, kz],
DIR/maps.npy [slice, map, coil, y, z], DIR/target.npy [echo, slice, map, y, z] and DIR/mask.npy [ky, kz].
Exit code 77: h5py is not installed.
"""
import os
import sys

try:
    import h5py
    import numpy as np
except ImportError as error:
    print(error)
    sys.exit(77)

out = sys.argv[1]
rng = np.random.default_rng(7)


def random(*shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


nx, ny, nz, echoes, coils, maps = 4, 9, 6, 2, 3, 2
kspace, sensitivities, target = random(nx, ny, nz, echoes, coils), random(nx, ny, nz, coils, maps), random(nx, ny, nz, echoes, maps)
mask = rng.random((6, 5)) < 0.5
with h5py.File(os.path.join(out, "scan.h5"), "w") as file:
    file.create_dataset("kspace", data=kspace, chunks=(1, ny, nz, echoes, coils), compression="gzip", shuffle=True)
    file.create_dataset("maps", data=sensitivities, chunks=(2, 4, 4, 1, 1), compression="lzf")
    file.create_dataset("target", data=target)
    file["masks/poisson_4.0x"] = mask.astype(np.uint8)
padded = np.zeros((ny, nz), bool)
padded[ny // 2 - 3:ny // 2 + 3, nz // 2 - 2:nz // 2 + 3] = mask
for name, values in (("kspace", kspace.transpose(3, 0, 4, 1, 2)), ("maps", sensitivities.transpose(0, 4, 3, 1, 2)),
                     ("target", target.transpose(3, 0, 4, 1, 2)), ("mask", padded)):
    np.save(os.path.join(out, name + ".npy"), np.ascontiguousarray(values))
