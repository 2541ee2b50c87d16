"""Makes PDE data files as other programs write them, each beside what should be read from it.

make_field_files.py DIR writes DIR/<case>/<file> and, for every field, DIR/<case>.expected/<field>.npy as
[sample, time, channel, grid] (without time where the field has none), and DIR/cases.txt: "case file format" a line.
Exit code 77: h5py or scipy is not installed.
"""
import os
import sys

try:
    import h5py
    import numpy as np
    import scipy.io
except ImportError as error:
    print(error)
    sys.exit(77)

out = sys.argv[1]
rng = np.random.default_rng(5)
cases = []


def case(name, file, kind, **fields):
    """Folder for the file; `fields` are the arrays to expect."""
    os.makedirs(os.path.join(out, name))
    os.makedirs(os.path.join(out, name + ".expected"))
    for field, values in fields.items():
        values = np.ascontiguousarray(values)
        np.save(os.path.join(out, name + ".expected", field.replace("/", "@") + ".npy"),
                values if values.dtype == np.float64 else values.astype(np.float32))
    cases.append(f"{name}|{file}|{kind}")
    return os.path.join(out, name, file)


def random(*shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


# --- MATLAB v5 --------------------------------------------------------------------------------------------------
u, a = random(5, 8, 8, 6), random(5, 8, 8)
t = np.arange(1.0, 7.0)
fno = dict(u=np.moveaxis(u, 3, 1)[:, :, None], a=a[:, None])
for compressed in (False, True):
    scipy.io.savemat(case(f"mat5_fno_{compressed}", "ns.mat", "MATLAB v5", **fno),
                     {"u": u, "a": a, "t": t, "note": "text", "cell": np.array([1, "a"], dtype=object),
                      "params": {"nu": 1e-3}, "empty": np.zeros((0, 0))}, do_compression=compressed)
# As many samples as times, as many points as times: still the published order.
u2, a2 = random(6, 6, 6, 6), random(6, 6, 6)
scipy.io.savemat(case("mat5_all_six", "ns.mat", "MATLAB v5", u=np.moveaxis(u2, 3, 1)[:, :, None], a=a2[:, None]),
                 {"u": u2, "a": a2, "t": t})
# No t: the last of four axes.
scipy.io.savemat(case("mat5_no_t", "ns.mat", "MATLAB v5", **fno), {"u": u, "a": a})
scipy.io.savemat(case("mat5_no_t_alone", "ns.mat", "MATLAB v5", u=fno["u"]), {"u": u})
# One sample, one dimension: not a vector of coordinates.
b0, b = random(1, 16), random(1, 16, 6)
scipy.io.savemat(case("mat5_one_sample", "b.mat", "MATLAB v5", u=np.moveaxis(b, 2, 1)[:, :, None], a=b0[:, None]),
                 {"u": b, "a": b0, "t": t})
# Burgers R10: input and output.
r_in, r_out = random(7, 32, dtype=np.float64), random(7, 32, dtype=np.float64)
scipy.io.savemat(case("mat5_r10", "b.mat", "MATLAB v5", a=r_in[:, None], u=r_out[:, None]), {"a": r_in, "u": r_out})
# Darcy.
coeff, sol = random(4, 9, 9) > 0, random(4, 9, 9, dtype=np.float64)
scipy.io.savemat(case("mat5_darcy", "d.mat", "MATLAB v5", coeff=coeff[:, None], sol=sol[:, None]),
                 {"coeff": coeff, "sol": sol})
# A trajectory u(x, t), real and complex, with t as column and as row, and of equal lengths.
for name, values, shape in (("real", random(12, 6, dtype=np.float64), (1, 6)),
                            ("complex", random(12, 6) + 1j * random(12, 6), (6, 1)),
                            ("square", random(6, 6, dtype=np.float64), (1, 6))):
    x = np.linspace(0, 1, len(values))[:, None]
    trajectory = np.stack([values.real, values.imag], -1) if np.iscomplexobj(values) else values[..., None]
    scipy.io.savemat(case(f"mat5_usol_{name}", "k.mat", "MATLAB v5", usol=np.moveaxis(trajectory, (0, 1, 2), (2, 0, 1))[None]),
                     {"usol": values, "x": x, "t": np.arange(6.0).reshape(shape)})
for dtype in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64):
    values = rng.integers(0, 100, (3, 4, 5)).astype(dtype)
    scipy.io.savemat(case(f"mat5_{np.dtype(dtype).name}", "i.mat", "MATLAB v5", k=values[:, None]), {"k": values})


# --- MATLAB v7.3 ------------------------------------------------------------------------------------------------
MATLAB_CLASS = {"float32": "single", "float64": "double", "bool": "logical"}


def write73(path, variables, user_block=True, attributes=True, **options):
    with h5py.File(path, "w", userblock_size=512 if user_block else 0) as file:
        for name, values in variables.items():
            values = np.asarray(values)
            kind = MATLAB_CLASS.get(values.dtype.name, values.dtype.name)
            if isinstance(variables[name], str):
                kind, values = "char", np.array([[ord(c)] for c in variables[name]], dtype=np.uint16).T
            if values.dtype == bool:
                values = values.astype(np.uint8)
            if np.iscomplexobj(values):
                kind = {8: "single", 16: "double"}[values.dtype.itemsize]
                pairs = np.zeros(values.shape, dtype=[("real", values.real.dtype), ("imag", values.real.dtype)])
                pairs["real"], pairs["imag"] = values.real, values.imag
                values = pairs
            empty = values.size == 0
            stored = np.array(values.shape, dtype=np.uint64) if empty else values.T
            dataset = file.create_dataset(name, data=stored, **({} if stored.size < 10 else options))
            if attributes:
                dataset.attrs["MATLAB_class"] = np.bytes_(kind)
                if empty:
                    dataset.attrs["MATLAB_empty"] = np.uint8(1)
                if kind == "logical":
                    dataset.attrs["MATLAB_int_decode"] = np.int32(1)
        references = file.create_group("#refs#")
        references.create_dataset("a", data=np.zeros((3, 3)))
        if attributes:
            cell = file.create_dataset("cell", data=np.array([references["a"].ref], dtype=h5py.ref_dtype))
            cell.attrs["MATLAB_class"] = np.bytes_("cell")
            struct = file.create_group("s")
            struct.attrs["MATLAB_class"] = np.bytes_("struct")
    if user_block:
        with open(path, "r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + b"\0" * 8 + b"\x00\x02IM")


gzip = dict(compression="gzip", compression_opts=3)
for name, options in (("plain", {}), ("gzip", dict(chunks=(1, 8, 8, 5), **gzip)),
                      ("gzip_odd", dict(chunks=(4, 3, 5, 2), shuffle=True, **gzip)),
                      ("lzf", dict(chunks=True, compression="lzf", shuffle=True, fletcher32=True))):
    only_u = {"u": u, "t": t[None], "note": "Δt = 1", "empty": np.zeros((0, 0)), "nu": np.array([[1e-3]])}
    path = case(f"mat73_{name}", "ns.mat", "MATLAB v7.3", u=fno["u"])
    write73(path, only_u, **options)
write73(case("mat73_both", "ns.mat", "MATLAB v7.3", **fno), {"u": u, "a": a, "t": t[None]})
write73(case("mat73_no_block", "ns.mat", "MATLAB v7.3", **fno), {"u": u, "a": a, "t": t[None]}, user_block=False)
write73(case("mat73_no_class", "ns.mat", "MATLAB v7.3", **fno), {"u": u, "a": a, "t": t[None]}, attributes=False)
values = random(5, 8, 8) + 1j * random(5, 8, 8)
write73(case("mat73_complex", "c.mat", "MATLAB v7.3", u=np.stack([values.real, values.imag], 1)), {"u": values})
for dtype in (np.int32, np.uint8, np.int64, bool, np.float64):
    values = rng.integers(0, 2, (5, 8, 9)).astype(dtype)
    write73(case(f"mat73_{np.dtype(dtype).name}", "i.mat", "MATLAB v7.3", k=values[:, None]), {"k": values},
            chunks=(4, 4, 2), **gzip)


# --- PDEBench ---------------------------------------------------------------------------------------------------
def pdebench(path, arrays, attributes, coordinates, **options):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, **options)
        for name, count in coordinates.items():
            file.create_dataset(name + "-coordinate", data=np.linspace(0, 1, count, dtype=np.float32))
        for name, value in attributes.items():
            file.attrs[name] = value


advection = random(6, 9, 16)
variants = (("plain", {}, np.float32), ("gzip", dict(chunks=(2, 4, 16), compression="gzip"), np.float32),
            ("lzf", dict(compression="lzf"), np.float32),
            ("lzf_shuffle", dict(chunks=(4, 5, 7), compression="lzf", shuffle=True), np.float32),
            ("gzip_shuffle_checksum", dict(compression="gzip", shuffle=True, fletcher32=True), np.float32),
            ("checksum", dict(chunks=(1, 3, 5), fletcher32=True), np.float32),
            ("scaleoffset", dict(chunks=(2, 4, 16), scaleoffset=0), np.int32), ("big_endian", {}, ">f4"),
            ("big_endian_lzf", dict(compression="lzf", chunks=(3, 3, 3)), ">f8"), ("float64", {}, np.float64),
            ("half", dict(chunks=(2, 4, 16)), np.float16), ("int16", {}, np.int16), ("chunked", dict(chunks=True), np.float32))
for name, options, dtype in variants:
    stored = (10 * advection).astype(dtype)
    expected = stored.astype(np.float64 if np.dtype(dtype).itemsize == 8 else np.float32)
    pdebench(case(f"pdebench_{name}", "1D_Advection.hdf5", "PDEBench", tensor=expected[:, :, None]), {"tensor": stored},
             {"beta": 0.4, "extra": "a text", "list": [1, 2, 3]}, {"x": 16, "t": 10}, **options)
pdebench(case("pdebench_no_coordinates", "f.hdf5", "PDEBench", tensor=advection[:, :, None]), {"tensor": advection}, {}, {})
pdebench(case("pdebench_issue_57", "f.hdf5", "PDEBench", tensor=advection[:, :, None]), {"tensor": advection[None]},
         {"Nu": 0.01}, {"x": 16, "t": 10})
pdebench(case("pdebench_issue_57_no_t", "f.hdf5", "PDEBench", tensor=advection[:, :, None]), {"tensor": advection[None]},
         {"Nu": 0.01}, {"x": 16})
darcy, nu = random(5, 1, 12, 12), random(5, 12, 12)
pdebench(case("pdebench_darcy", "2D_DarcyFlow.hdf5", "PDEBench", tensor=darcy, nu=nu[:, None]),
         {"tensor": darcy, "nu": nu}, {"beta": 1.0}, {"x": 12, "y": 12})
flow = random(3, 5, 8, 10)
pdebench(case("pdebench_2d", "f.hdf5", "PDEBench", tensor=flow[:, :, None]), {"tensor": flow}, {},
         {"x": 8, "y": 10, "t": 6})
for axes, extents in (("x", (16,)), ("xy", (8, 10)), ("xyz", (4, 6, 5))):
    arrays = {name: random(3, 5, *extents) for name in ("density", "pressure", *("V" + a for a in axes))}
    pdebench(case(f"pdebench_cfd_{axes}", "CFD.hdf5", "PDEBench", **{k: v[:, :, None] for k, v in arrays.items()}), arrays,
             {"eta": 0.1, "zeta": 0.1, "M": 1.0}, {"t": 6, **dict(zip(axes, extents))}, chunks=True)
for name, extents, components in (("diff_sorp", (16,), 1), ("diff_react", (8, 10), 2), ("swe", (8, 8), 1)):
    values = random(12, 5, *extents, components)
    path = case(f"pdebench_{name}", f"{name}.h5", "PDEBench", data=np.moveaxis(values, -1, 2))
    with h5py.File(path, "w") as file:
        for i, sample in enumerate(values):
            group = file.create_group(f"{i:04d}")
            group.create_dataset("data", data=sample, compression="lzf", dtype="f")
            group.attrs["config"] = "sim:\n  seed: 3\n"
            if name != "swe" or i == 7:
                for axis, points in zip("xy", extents):
                    group.create_dataset(f"grid/{axis}", data=np.linspace(0, 1, points, dtype=np.float32), compression="lzf")
                group.create_dataset("grid/t", data=np.linspace(0, 1, 5, dtype=np.float32))
velocity, particles, force = random(3, 4, 8, 8, 2), random(3, 4, 8, 8, 1), random(3, 8, 8, 2)
with h5py.File(case("pdebench_incompressible", "ns_incom.h5", "PDEBench", velocity=np.moveaxis(velocity, -1, 2),
                    particles=np.moveaxis(particles, -1, 2), force=np.moveaxis(force, -1, 1)), "w") as file:
    file["velocity"], file["particles"], file["force"] = velocity, particles, force
    file["t"] = np.tile(np.linspace(0, 1, 4), (3, 1))


# --- The Well ---------------------------------------------------------------------------------------------------
def well(path, n, times, extents, fields, names="xyz", varying_time=False, **options):
    """`fields`: group -> name -> (array, sample_varying, time_varying, dim_varying)."""
    with h5py.File(path, "w") as file:
        file.attrs["dataset_name"] = "made up"
        file.attrs["grid_type"] = "cartesian"
        file.attrs["n_spatial_dims"] = len(extents)
        file.attrs["n_trajectories"] = n
        file.attrs["simulation_parameters"] = ["Re"]
        file.attrs["Re"] = 100.0
        dimensions = file.create_group("dimensions")
        dimensions.attrs["spatial_dims"] = list(names[:len(extents)])
        time = np.linspace(0, 1, times, dtype=np.float32)
        dimensions["time"] = np.tile(time, (n, 1)) if varying_time else time
        dimensions["time"].attrs["sample_varying"] = varying_time
        for axis, extent in zip(names, extents):
            dimensions[axis] = np.linspace(0, 1, extent, dtype=np.float32)
            dimensions[axis].attrs["sample_varying"] = False
            dimensions[axis].attrs["time_varying"] = False
        for axis in names[:len(extents)]:
            boundary = file.create_group(f"boundary_conditions/{axis}_periodic")
            boundary.attrs["bc_type"] = "PERIODIC"
            boundary.attrs["associated_dims"] = axis
            boundary.attrs["associated_fields"] = []
            boundary["mask"] = np.ones(4, dtype=bool)
        file.create_group("scalars").attrs["field_names"] = ["Re"]
        file["scalars/Re"] = np.float64(100)
        for group in ("t0_fields", "t1_fields", "t2_fields"):
            made = file.create_group(group)
            made.attrs["field_names"] = list(fields.get(group, {}))
            for name, (values, samples, time_varying, dims) in fields.get(group, {}).items():
                dataset = made.create_dataset(name, data=values, **options)
                dataset.attrs["sample_varying"] = samples
                dataset.attrs["time_varying"] = time_varying
                if dims is not None:
                    dataset.attrs["dim_varying"] = dims
                if group == "t2_fields":
                    dataset.attrs["symmetric"] = False
                    dataset.attrs["antisymmetric"] = False


n, times, w, h = 3, 4, 6, 5
full = random(n, times, w, h)
still, profile, constant = random(n, w, h), random(w), random(n, times, h)
vector, matrix = random(n, times, w, h, 2), random(n, times, w, h, 2, 2)
flat = np.ascontiguousarray(matrix.reshape(n, times, w, h, 4))
one_vector = random(w, 2)
for name, options in (("plain", {}), ("gzip", dict(chunks=True, compression="gzip"))):
    well(case(f"well_{name}", "made_up.hdf5", "The Well", density=full[:, :, None], mask=still[:, None],
              profile=np.broadcast_to(profile[None, None, :, None], (n, 1, w, h)),
              line=np.broadcast_to(constant[:, :, None, None], (n, times, 1, w, h)),
              velocity=np.moveaxis(vector, -1, 2), stress=flat.transpose(0, 1, 4, 2, 3), flat=flat.transpose(0, 1, 4, 2, 3),
              gravity=np.broadcast_to(one_vector.T[None, :, :, None], (n, 2, w, h))), n, times, (w, h),
         {"t0_fields": {"density": (full, True, True, [True, True]), "mask": (still, True, False, np.array([True, True])),
                        "profile": (profile, False, False, [True, False]),
                        "line": (constant, True, True, [False, True])},
          "t1_fields": {"velocity": (vector, True, True, [True, True]), "gravity": (one_vector, False, False, [True, False])},
          "t2_fields": {"stress": (matrix, True, True, [True, True]), "flat": (flat, True, True, None)}},
         varying_time=name == "gzip", **options)
volume = random(2, 3, 4, 5, 6)
well(case("well_3d", "v.hdf5", "The Well", p=volume[:, :, None]), 2, 3, (4, 5, 6),
     {"t0_fields": {"p": (volume, True, True, [True, True, True])}})
polar = random(2, 3, 4, 5)
well(case("well_polar", "v.hdf5", "The Well", p=polar[:, :, None]), 2, 3, (4, 5),
     {"t0_fields": {"p": (polar, True, True, [True, True])}}, names=["r", "theta"])
# A folder is one source.
pieces = [random(k, times, w, h) for k in (2, 3, 1)]
path = case("well_folder", "", "The Well", p=np.concatenate(pieces)[:, :, None])
for i, piece in enumerate(pieces):
    well(os.path.join(path, f"part_{8 + i}.hdf5"), len(piece), times, (w, h),
         {"t0_fields": {"p": (piece, True, True, [True, True])}})
with open(os.path.join(path, "stats.yaml"), "w", encoding="utf-8") as file:
    file.write("mean: {}\n")

# --- PDEArena, plain HDF5, NumPy --------------------------------------------------------------------------------
fields = {name: random(3, 4, 8, 9, dtype=np.float64) for name in ("u", "vx", "vy")}
with h5py.File(case("pdearena", "ns.h5", "PDEArena", **{"train/" + k: v[:, :, None] for k, v in fields.items()}), "w") as file:
    group = file.create_group("train")
    for name, values in fields.items():
        group[name] = values
    group["t"], group["x"], group["y"] = (np.tile(np.linspace(0, 1, k), (3, 1)) for k in (4, 8, 9))
    for name in ("dt", "dx", "dy", "buo_y"):
        group[name] = np.ones(3)
with h5py.File(case("plain_2d", "p.h5", "HDF5", u=flow[:, :, None]), "w") as file:
    file["u"] = flow
    file["x"], file["y"], file["t"] = np.arange(8.0), np.arange(10.0), np.arange(5.0)
channels_last = random(3, 5, 8, 10, 2)
with h5py.File(case("plain_channels_last", "p.h5", "HDF5", u=np.moveaxis(channels_last, -1, 2)), "w") as file:
    file["u"] = channels_last
    file["x"], file["y"], file["t"] = np.arange(8.0), np.arange(10.0), np.arange(5.0)
single = random(5, 8, 10)
with h5py.File(case("plain_one_run", "p.h5", "HDF5", u=single[None, :, None]), "w") as file:
    file["u"] = single
    file["x"], file["y"], file["t"] = np.arange(8.0), np.arange(10.0), np.arange(5.0)
np.save(case("npy_3", "f.npy", "NumPy", data=nu[:, None]), nu)
np.save(case("npy_4", "f.npy", "NumPy", data=flow[:, :, None]), np.asfortranarray(flow))
np.save(case("npy_channels", "f.npy", "NumPy", data=darcy), darcy)
np.save(case("npy_bool", "f.npy", "NumPy", data=(nu > 0)[:, None]), nu > 0)
np.save(case("npy_complex", "f.npy", "NumPy", data=np.stack([nu, -nu], 1)), nu - 1j * nu)

with open(os.path.join(out, "cases.txt"), "w", encoding="utf-8") as file:
    file.write("\n".join(cases) + "\n")
