"""Golden outputs of small FNOs in 1, 2 and 3 dimensions, computed with torch.fft as the published scripts do: weights,
inputs, outputs and one gradient, float32.

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install torch==2.15.0 numpy
    /tmp/golden/bin/python tests/golden/make_fno.py tests/golden/fno.pt
"""
import sys

import torch
import torch.nn.functional as F


class Spectral(torch.nn.Module):
    """Real FFT, a matrix for each kept mode, and back. Corners: bit a of the corner's number says whether axis a is
    negative."""

    def __init__(self, width, modes):
        super().__init__()
        self.modes = modes
        for corner in range(2 ** (len(modes) - 1)):
            weight = torch.rand(width, width, *modes, dtype=torch.cfloat) / width**2
            self.register_parameter(f"weights{corner + 1}", torch.nn.Parameter(weight))

    def forward(self, x):
        d = len(self.modes)
        axes = tuple(range(-d, 0))
        full = torch.fft.rfftn(x, dim=axes)
        out = torch.zeros_like(full)
        for corner in range(2 ** (d - 1)):
            place = [slice(None), slice(None)]
            for a, m in enumerate(self.modes):
                negative = a < d - 1 and corner >> a & 1
                place.append(slice(-m, None) if negative else slice(0, m))
            weight = getattr(self, f"weights{corner + 1}")
            out[tuple(place)] = torch.einsum("bi...,io...->bo...", full[tuple(place)], weight)
        return torch.fft.irfftn(out, s=x.shape[-d:], dim=axes)


class Fno(torch.nn.Module):
    def __init__(self, channels, modes, width, projection, norm=False, pad=0):
        super().__init__()
        d = len(modes)
        self.d, self.pad, self.norm = d, pad, norm
        self.fc0 = torch.nn.Linear(channels + d, width)
        convolution = [torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d][d - 1]
        normalise = [torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d][d - 1]
        for i in range(4):
            setattr(self, f"conv{i}", Spectral(width, modes))
            setattr(self, f"w{i}", convolution(width, width, 1))
            setattr(self, f"bn{i}", normalise(width))
        self.fc1 = torch.nn.Linear(width, projection)
        self.fc2 = torch.nn.Linear(projection, 1)

    def forward(self, x):
        act = F.relu if self.norm else F.gelu
        axes = [torch.linspace(0, 1, n) for n in x.shape[2:]]
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(x.shape[0], *([-1] * (self.d + 1)))
        x = torch.cat([x, grid], 1)
        x = self.fc0(x.movedim(1, -1)).movedim(-1, 1)
        x = F.pad(x, [0, self.pad])
        for i in range(4):
            x = getattr(self, f"conv{i}")(x) + getattr(self, f"w{i}")(x)
            if self.norm:
                x = getattr(self, f"bn{i}")(x)
            if i < 3:
                x = act(x)
        x = x[..., : x.shape[-1] - self.pad]
        return self.fc2(act(self.fc1(x.movedim(1, -1)))).movedim(-1, 1)


torch.manual_seed(7)
result = {}
cases = {
    "1d": (Fno(2, (5,), 6, 8), (3, 2, 21)),
    "2d": (Fno(3, (3, 4), 5, 12), (2, 3, 12, 10)),
    "2d-paper-2020": (Fno(3, (3, 3), 4, 8, norm=True), (2, 3, 10, 9)),
    "3d-padded": (Fno(2, (2, 3, 3), 3, 6, pad=2), (2, 2, 6, 7, 8)),
}
for name, (model, shape) in cases.items():
    x = torch.randn(shape)
    y = model(x)
    target = torch.randn(y.shape)
    torch.linalg.norm(y - target).backward()
    result[name] = {"model": {k: v.detach().clone() for k, v in model.state_dict().items()}, "x": x,
                    "y": y.detach(), "target": target,
                    "gradient": model.conv1.weights1.grad.clone(), "lift_gradient": model.fc0.weight.grad.clone()}
    if name == "2d-paper-2020":  # running statistics have moved: the output of evaluation as well
        model.eval()
        result[name]["y_eval"] = model(x).detach()
result["manifest"] = f"tests/golden/make_fno.py, torch {torch.__version__}"
torch.save(result, sys.argv[1])
