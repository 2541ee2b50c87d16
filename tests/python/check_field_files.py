"""Opens files that Monarch wrote with scipy and h5py: check_field_files.py DIR MODE.

DIR holds mat5.mat, mat73.mat, pdebench.h5 and the arrays a.npy [N, x, y] and u.npy [N, x, y, time] that went in.
Exit code 77: h5py or scipy is not installed.
"""
import sys

try:
    import h5py
    import numpy as np
    import scipy.io
except ImportError as error:
    print(error)
    sys.exit(77)

folder = sys.argv[1]
a, u = np.load(f"{folder}/a.npy"), np.load(f"{folder}/u.npy")
t = np.arange(1.0, u.shape[3] + 1)[None]


def equal(found, expected):
    assert found.shape == expected.shape, (found.shape, expected.shape)
    assert found.dtype == expected.dtype, (found.dtype, expected.dtype)
    assert np.array_equal(found, expected)


v5 = scipy.io.loadmat(f"{folder}/mat5.mat")
assert {k for k in v5 if not k.startswith("__")} == {"a", "u", "t", "c", "flag", "parameter_nu"}, v5.keys()
equal(v5["a"], a)
equal(v5["u"], u)
equal(v5["t"], t)
equal(v5["c"], a + 2j * a)
assert v5["parameter_nu"] == 1e-3
assert scipy.io.whosmat(f"{folder}/mat5.mat")[0] == ("a", a.shape, "single")
assert dict((n, c) for n, _, c in scipy.io.whosmat(f"{folder}/mat5.mat"))["flag"] == "logical"
equal(v5["flag"], (a > 0).astype(np.uint8))

with open(f"{folder}/mat73.mat", "rb") as file:
    start = file.read(512)
assert start.startswith(b"MATLAB 7.3 MAT-file") and start[124:128] == b"\x00\x02IM", start[:128]
with h5py.File(f"{folder}/mat73.mat", "r") as file:
    assert file.userblock_size == 512
    assert set(file) == {"a", "u", "t", "c", "flag"}
    equal(file["u"][()].T, u)
    equal(file["a"][()].T, a)
    equal(file["t"][()].T, t)
    pairs = file["c"][()].T
    equal(pairs["real"] + 1j * pairs["imag"], a + 2j * a)
    equal(file["flag"][()].T, (a > 0).astype(np.uint8))
    assert file["flag"].attrs["MATLAB_int_decode"] == 1 and file["flag"].attrs["MATLAB_class"] == b"logical"
    assert file["u"].attrs["MATLAB_class"] == b"single" and file["t"].attrs["MATLAB_class"] == b"double"
    assert file.attrs["nu"] == 1e-3

with h5py.File(f"{folder}/pdebench.h5", "r") as file:
    equal(file["u"][()], u)
    equal(file["t"][()], t)
    assert file.attrs["nu"] == 1e-3
print("all equal")
