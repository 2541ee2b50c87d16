"""Golden images: decoding, resizing and RandAugment's operations, from Pillow and timm.

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install numpy==1.26.4 pillow==13.0.0
    /tmp/golden/bin/pip download --no-deps timm==1.0.20 && unzip timm-*.whl -d /tmp/golden/timm
    /tmp/golden/bin/python tests/golden/make_images.py PHOTOGRAPH.jpg /tmp/golden/timm tests/golden/images

PHOTOGRAPH is scikit-learn's flower.jpg (CC BY); a part of it becomes the small source image. timm's auto_augment.py is
loaded by itself, as the rest of timm needs torchvision. Everything lies in images.safetensors, uint8 [y, x, channel];
small.jpg, cmyk.jpg, grey.png, transparent.png and turned.jpg are files to decode.
"""
import importlib.util
import json
import struct
import sys
from pathlib import Path

import numpy as np
from PIL import Image

photograph, timm, out = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
out.mkdir(parents=True, exist_ok=True)
spec = importlib.util.spec_from_file_location("auto_augment", timm / "timm/data/auto_augment.py")
aa = importlib.util.module_from_spec(spec)
spec.loader.exec_module(aa)

tensors, notes = {}, {}


def keep(name, image):
    array = np.asarray(image)
    tensors[name] = np.ascontiguousarray(array if array.ndim == 3 else array[..., None])


whole = Image.open(photograph).convert("RGB")
source = whole.crop((180, 120, 320, 220)).resize((42, 30), Image.Resampling.BICUBIC)
keep("source", source)

# Files.
source.save(out / "small.jpg", quality=85)
source.convert("CMYK").save(out / "cmyk.jpg", quality=85)
source.convert("L").save(out / "grey.png")
rgba = source.convert("RGBA")
rgba.putalpha(Image.linear_gradient("L").resize(source.size))
rgba.save(out / "transparent.png")
exif = Image.Exif()
exif[0x0112] = 6
source.save(out / "turned.jpg", quality=85, exif=exif)
from PIL import ImageOps

for name in ("small.jpg", "cmyk.jpg", "grey.png", "transparent.png"):
    keep("decoded." + name, Image.open(out / name).convert("RGB"))
keep("decoded.turned.jpg", ImageOps.exif_transpose(Image.open(out / "turned.jpg")).convert("RGB"))

# Resizing: down, up, and by different factors.
for kind, mode in (("bicubic", Image.Resampling.BICUBIC), ("bilinear", Image.Resampling.BILINEAR)):
    for width, height in ((18, 13), (42, 9), (66, 47)):
        keep(f"resize.{kind}.{height}x{width}", source.resize((width, height), mode))

# timm's operations with fixed arguments.
cases = [
    ("auto_contrast", aa.auto_contrast, [None]),
    ("equalize", aa.equalize, [None]),
    ("invert", aa.invert, [None]),
    ("rotate", aa.rotate, [-27.0, 8.5]),
    ("posterize", aa.posterize, [1, 3, 4]),
    ("solarize", aa.solarize, [0, 26, 200, 256]),
    ("solarize_add", aa.solarize_add, [0, 44, 110]),
    ("colour", aa.color, [0.1, 0.55, 1.9]),
    ("contrast", aa.contrast, [0.1, 0.55, 1.9]),
    ("brightness", aa.brightness, [0.1, 0.55, 1.9]),
    ("sharpness", aa.sharpness, [0.1, 0.55, 1.9]),
    ("shear_x", aa.shear_x, [-0.27, 0.13]),
    ("shear_y", aa.shear_y, [-0.27, 0.13]),
    ("translate_x", aa.translate_x_rel, [-0.405, 0.21]),
    ("translate_y", aa.translate_y_rel, [-0.405, 0.21]),
]
fill = (124, 116, 104)
dim = source.point(lambda v: 40 + v // 2)  # a histogram that does not reach the ends
keep("dim", dim)
for name, op, arguments in cases:
    for argument in arguments:
        image = dim if name in ("auto_contrast", "equalize") else source
        warps = name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
        for word in ("bilinear", "bicubic") if warps else ("bilinear",):
            words = () if argument is None else (argument,)
            result = op(image, *words, resample=Image.Resampling[word.upper()], fillcolor=fill)
            keep(f"op.{name}.{argument or 0}.{word}", result)

# What a level means: the function of timm for every operation, for both sets; random signs are both taken.
names = dict(auto_contrast=("AutoContrast",) * 2, equalize=("Equalize",) * 2, invert=("Invert",) * 2, rotate=("Rotate",) * 2,
             posterize=("Posterize", "PosterizeIncreasing"), solarize=("Solarize", "SolarizeIncreasing"),
             solarize_add=("SolarizeAdd",) * 2, colour=("Color", "ColorIncreasing"), contrast=("Contrast", "ContrastIncreasing"),
             brightness=("Brightness", "BrightnessIncreasing"), sharpness=("Sharpness", "SharpnessIncreasing"),
             shear_x=("ShearX",) * 2, shear_y=("ShearY",) * 2, translate_x=("TranslateXRel",) * 2, translate_y=("TranslateYRel",) * 2)
levels = {}
for name, (plain, increasing) in names.items():
    for inc, key in ((0, plain), (1, increasing)):
        function = aa.LEVEL_TO_ARG[key]
        for level in (0.0, 2.3, 9.0, 10.0):
            for negate in (0, 1):
                aa.random.random = lambda: 1.0 if negate else 0.0
                words = function(level, {}) if function else (0,)
                levels[f"{name} {inc} {level} {negate}"] = float(words[0])
notes["levels"] = levels
notes["made"] = f"pillow {Image.__version__}, timm 1.0.20, numpy {np.__version__}, photograph {photograph.name}"
(out / "levels.json").write_text(json.dumps(notes, indent=0) + "\n")

header, offset, blobs = {}, 0, []
for name, array in sorted(tensors.items()):
    data = array.tobytes()
    header[name] = {"dtype": "U8", "shape": list(array.shape), "data_offsets": [offset, offset + len(data)]}
    offset += len(data)
    blobs.append(data)
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
(out / "images.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))
