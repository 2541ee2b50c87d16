"""Small checkpoints written by PyTorch and safetensors themselves, for tests/unit/data/test_checkpoint_golden.cpp.

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install torch==2.15.0 safetensors==0.8.0 numpy==2.4.6
    /tmp/golden/bin/python tests/golden/make_checkpoints.py tests/golden/checkpoints

Every tensor holds value(i) = ((i * 37) mod 61 - 30) / 8 at flat index i, exact in every type used, so that the C++ test
makes the same values by itself; manifest.json lists name, dtype and shape of what each file must yield. `malicious.pt`
would run a shell command under an unguarded unpickler.
"""
import argparse
import collections
import hashlib
import json
import os
import pathlib
import pickletools
import sys

import safetensors
import torch
from safetensors.torch import save_file


def values(shape, dtype=torch.float32):
    count = 1
    for extent in shape:
        count *= extent
    flat = torch.tensor([((i * 37) % 61 - 30) / 8 for i in range(count)], dtype=torch.float64)
    if dtype == torch.bool:
        return (flat > 0).reshape(shape)
    if dtype.is_complex:
        return torch.complex(flat, -flat).to(dtype).reshape(shape)
    if dtype == torch.uint8:
        return (flat * 8 + 30).to(dtype).reshape(shape)
    if not dtype.is_floating_point:
        return (flat * 8).to(dtype).reshape(shape)
    return flat.to(dtype).reshape(shape)


def fill(module):
    for tensor in list(module.parameters()) + list(module.buffers()):
        tensor.data.copy_(values(list(tensor.shape), tensor.dtype))
    return module


class Malicious:
    def __reduce__(self):
        return os.system, ("touch /tmp/monarch-checkpoint-was-run",)


def opcodes():
    """A pickle with every opcode that torch.save does not use and the reader takes; its value is the last dictionary."""
    text = lambda s: b"\x8c" + bytes([len(s)]) + s
    parts = [
        b"\x80\x05", b"\x95" + (200).to_bytes(8, "little"),
        b"U\x01a", b"0", b"T\x01\0\0\0b", b"0", b"\x8d" + (1).to_bytes(8, "little") + b"c", b"0",  # texts, dropped
        b"B\x01\0\0\0z", b"0", b"C\x01z", b"0", b"\x8e" + (1).to_bytes(8, "little") + b"z", b"0",
        b"\x96" + (1).to_bytes(8, "little") + b"z", b"0",  # bytes
        b"\x8a\x02\xff\x7f", b"0", b"\x8b\x01\0\0\0\x05", b"0", b"G" + bytes.fromhex("3ff8000000000000"), b"0",  # numbers
        b"(K\x01K\x02l", b"r\x05\0\0\0", b"0", b"(" + text(b"k") + b"K\x01d", b"0",  # list, dictionary
        b"\x8f", b"\x94", b"(K\x01\x90", b"0", b"(K\x01\x91", b"0",  # sets
        b"(K\x01K\x02" b"1", b"]K\x01a", b"2", b"0", b"0",  # marks and duplicates
        text(b"m") + text(b"n") + b"\x93", b")", b"}", b"\x92", b"}", b"b", b"0",  # an instance with keywords and a state
        b"c_codecs\nencode\n", b")", b"R", b"0",
        b"}" + text(b"list") + b"j\x05\0\0\0" + b"s" + text(b"x") + b"G" + bytes.fromhex("3ff8000000000000") + b"s"
        + text(b"n") + b"\x8a\x02\xff\x7f" + b"s" + text(b"m") + b"\x8a\x01\x80" + b"s", b".",
    ]
    content = b"".join(parts)
    pickletools.dis(content, out=open(os.devnull, "w"))
    return content


def main(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"generator": "tests/golden/make_checkpoints.py", "torch": torch.__version__,
                "safetensors": safetensors.__version__, "files": {}}

    def note(name, tensors):
        content = (folder / name).read_bytes()
        manifest["files"][name] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "tensors": {key: {"dtype": str(t.dtype).removeprefix("torch."), "shape": list(t.shape)}
                        for key, t in tensors.items()},
        }

    def save(name, content, tensors, **how):
        torch.save(content, folder / name, **how)
        note(name, tensors)

    network = fill(torch.nn.Sequential(collections.OrderedDict(
        fc1=torch.nn.Linear(6, 4), norm=torch.nn.BatchNorm1d(4), fc2=torch.nn.Linear(4, 3, bias=False))))
    state = network.state_dict()
    assert state._metadata
    save("state_dict.pt", state, state)

    types = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
             torch.uint8, torch.bool, torch.complex64, torch.complex128, torch.uint16, torch.float8_e4m3fn]
    typed = {str(t).removeprefix("torch."): values([2, 3], t) for t in types if t not in (torch.uint16, torch.float8_e4m3fn)}
    typed["uint16"] = values([2, 3], torch.uint8).to(torch.uint16)
    typed["float8_e4m3fn"] = values([2, 3]).to(torch.float8_e4m3fn)
    save("dtypes.pt", typed, typed)

    base = values([6, 8])
    views = {"whole": base, "rows": base[2:4], "strided": base[1::2, ::3], "transposed": base.t(),
             "expanded": base[0].expand(3, 8), "scalar": base[0, 0], "empty": base[:0], "parameter": torch.nn.Parameter(base),
             "conjugate": values([4], torch.complex64).conj()}
    save("views.pt", views, views)

    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    network(values([2, 6])).sum().backward()
    optimizer.step()
    for entry in optimizer.state.values():
        for tensor in entry.values():
            tensor.copy_(values(list(tensor.shape)))
    fill(network)
    trainer = {"model": network.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "best": 0.25, "done": False,
               "name": "tiny", "args": argparse.Namespace(lr=1e-3, path=pathlib.PurePosixPath("/data"), width=4),
               "history": [torch.tensor(1.5), 2.5], "version": None, "big": 2**80}
    expected = {f"model.{k}": v for k, v in network.state_dict().items()}
    for index, entry in optimizer.state_dict()["state"].items():
        for key, tensor in entry.items():
            expected[f"optimizer.state.{index}.{key}"] = tensor
    expected["history.0"] = torch.tensor(1.5)
    save("trainer.pt", trainer, expected)
    save("protocol4.pt", trainer, expected, pickle_protocol=4)

    save("tensor.pt", values([2, 2]), {"tensor": values([2, 2])})
    save("legacy.pt", state, {}, _use_new_zipfile_serialization=False)
    save("malicious.pt", {"weight": values([2, 2]), "extra": Malicious()}, {})
    save("module.pt", torch.nn.Linear(2, 2), {})
    with torch.no_grad():
        scripted = torch.jit.trace(fill(torch.nn.Linear(2, 2)), torch.zeros(1, 2))
    torch.jit.save(scripted, folder / "script.pt")
    note("script.pt", {})

    tensors = {key: tensor for key, tensor in typed.items() if key != "complex128"}
    tensors["nested.name.weight"] = values([4, 5])
    tensors["empty"] = values([0, 3])
    tensors["scalar"] = torch.tensor(-3.75)
    save_file(tensors, folder / "dtypes.safetensors", metadata={"format": "pt", "note": "UTF-8: \u03bb"})
    note("dtypes.safetensors", tensors)
    (folder / "opcodes.pkl").write_bytes(opcodes())
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "tests/golden/checkpoints")
