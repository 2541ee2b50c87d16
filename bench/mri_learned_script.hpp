#pragma once
// Learned reconstruction in PyTorch, as the peer of `monarch bench mri-learned`; run as `python -c`.

namespace monarch::bench {

/// Arguments: ny, nx, coils, threads. Answers lines on stdin (mri_learned_worker.hpp) about the models of
/// mri_learned_models(), written as fastMRI, meddlr and the Monarch paper's code write them: torch.fft between
/// ifftshift and fftshift, torch.nn layers, two batched products for a Monarch matrix, conjugate gradients with the
/// implicit derivative of MoDL. "reference MODEL FILE" writes slice, weights, output and gradients, weights in the
/// order and layout of ours.
inline constexpr const char* kMriLearnedScript = R"(
import math, os, sys, time
import torch
import torch.nn.functional as F
from torch import nn

answers = os.fdopen(os.dup(1), 'w')
os.dup2(2, 1)
ny, nx, coils, threads = map(int, sys.argv[1:5])
torch.set_num_threads(threads)
torch.manual_seed(1)
plane = (-2, -1)

def fft2c(x):
    return torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(x, dim=plane), dim=plane, norm='ortho'), dim=plane)

def ifft2c(x):
    return torch.fft.fftshift(torch.fft.ifftn(torch.fft.ifftshift(x, dim=plane), dim=plane, norm='ortho'), dim=plane)

y, x = torch.meshgrid(torch.linspace(-1, 1, ny), torch.linspace(-1, 1, nx), indexing='ij')
r2 = x ** 2 + y ** 2
angle = 2 * math.pi * torch.arange(coils).view(-1, 1, 1) / coils
maps = torch.polar(torch.exp(-0.6 * ((x - 1.2 * angle.cos()) ** 2 + (y - 1.2 * angle.sin()) ** 2)), x * angle.sin() + angle)
maps = (maps / maps.abs().square().sum(0, True).sqrt()).unsqueeze(0)
target = ifft2c(torch.randn(1, ny, nx, dtype=torch.cfloat) * torch.exp(-200 * r2)) * (r2 < 0.8)
target = target / target.abs().max()
mask = torch.rand(1, ny, nx) < (0.1 + torch.exp(-20 * r2))
kspace = (fft2c(maps * target.unsqueeze(1)) + 0.01 * torch.randn(1, coils, ny, nx, dtype=torch.cfloat)) * mask.unsqueeze(1)

def combine(images):
    return (maps.conj() * images).sum(1)

def A(image):
    return fft2c(maps * image.unsqueeze(1)) * mask.unsqueeze(1)

def AH(k):
    return combine(ifft2c(k * mask.unsqueeze(1)))

def to_channels(image):
    return torch.view_as_real(image).permute(0, 3, 1, 2)

def to_image(channels):
    return torch.view_as_complex(channels.permute(0, 2, 3, 1).contiguous())

def monarch(x, w1, w2):
    k, q, p = w1.shape
    l, s, r = w2.shape
    rows = x.reshape(-1, k * p)
    batch = len(rows)
    out1 = torch.bmm(rows.reshape(batch, k, p).transpose(0, 1), w1.transpose(-1, -2))
    out1 = out1.transpose(0, 1).reshape(batch, r, l).transpose(-1, -2).contiguous().transpose(0, 1)
    out2 = torch.bmm(out1, w2.transpose(-1, -2))
    return out2.permute(1, 2, 0).reshape(*x.shape[:-1], l * s)

class Axis(nn.Module):
    def __init__(self, n):
        super().__init__()
        p = next(d for d in range(math.isqrt(n), 0, -1) if n % d == 0)
        k = n // p
        self.p, self.k = p, k
        self.w1 = nn.Parameter(torch.randn(1, k, p, p, dtype=torch.cfloat) / p ** 0.5)
        self.w2 = nn.Parameter(torch.randn(1, p, k, k, dtype=torch.cfloat) / k ** 0.5)

    def forward(self, x):
        x = x.unflatten(-1, (self.p, self.k)).transpose(-1, -2).flatten(-2)
        return monarch(x, self.w1[0], self.w2[0])

class MSense(nn.Module):
    def __init__(self):
        super().__init__()
        self.y, self.x = Axis(ny), Axis(nx)

    def transform(self, k):
        return self.y(self.x(k).transpose(-1, -2)).transpose(-1, -2)

    def forward(self):
        return combine(self.transform(kspace))

def block(i, o):
    layers = []
    for a in (i, o):
        layers += [nn.Conv2d(a, o, 3, padding=1, bias=False), nn.InstanceNorm2d(o), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers)

class Unet(nn.Module):
    def __init__(self, width, pools=4):
        super().__init__()
        self.down = nn.ModuleList(block(2 if i == 0 else width << i - 1, width << i) for i in range(pools + 1))
        self.rise, self.up = nn.ModuleList(), nn.ModuleList()
        for i in reversed(range(pools)):
            o = width << i
            self.rise.append(nn.Sequential(nn.ConvTranspose2d(2 * o, o, 2, stride=2, bias=False), nn.InstanceNorm2d(o),
                                           nn.LeakyReLU(0.2, inplace=True)))
            self.up.append(block(2 * o, o))
        self.last = nn.Conv2d(width, 2, 1)

    def ordered(self):
        found = [p for d in self.down for p in d.parameters()]
        for r, u in zip(self.rise, self.up):
            found += [*r.parameters(), *u.parameters()]
        return found + [*self.last.parameters()]

    def forward(self, x):
        skips = []
        for down in self.down[:-1]:
            skips.append(down(x))
            x = F.avg_pool2d(skips[-1], 2)
        x = self.down[-1](x)
        for rise, up in zip(self.rise, self.up):
            x = up(torch.cat((rise(x), skips.pop()), 1))
        return self.last(x)

class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.net = Unet(width)

    def ordered(self):
        return self.net.ordered()

    def forward(self):
        image = combine(ifft2c(kspace))
        return image + to_image(self.net(to_channels(image)))

class Cnn(nn.Module):
    def __init__(self, width, convolutions, block):
        super().__init__()
        extents = [2] + [width] * (convolutions - 1) + [2]
        self.layers = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(extents, extents[1:]))
        self.block = block

    def forward(self, x, step):
        y = skip = F.relu(self.layers[0](x))
        for i, layer in enumerate(self.layers[1:-1], 1):
            y = layer(y)
            if self.block and i % self.block == 0:
                y = skip = F.relu(y + skip)
            else:
                y = F.relu(y)
        return self.layers[-1](y)

def cosine(p):
    c = torch.cos(math.pi / p * torch.arange(p).view(-1, 1) * (torch.arange(p) + 0.5)) * (2 / p) ** 0.5
    c[0] /= 2 ** 0.5
    return c

class Patches(nn.Module):
    def __init__(self, p, steps):
        super().__init__()
        both = torch.stack((cosine(p).expand(p, p, p), cosine(p).t().expand(p, p, p)))
        thresholds = torch.full((steps, p * p), 0.02)
        thresholds[:, 0] = 0
        self.thresholds, self.p = nn.Parameter(thresholds), p
        self.w1, self.w2 = nn.Parameter(both.clone()), nn.Parameter(both.clone())

    def forward(self, image, step):
        h = self.p // 2
        x = F.pad(to_channels(image).transpose(0, 1), (0, h, 0, h), mode='circular')
        c = monarch(F.unfold(x, self.p, stride=h).transpose(1, 2), self.w1[0], self.w2[0])
        size = (c.square().sum(0) + 1e-12).sqrt()
        c = c * F.relu(1 - F.relu(self.thresholds[step]) / size)
        rows = monarch(c, self.w1[1], self.w2[1]).transpose(1, 2)
        out = F.fold(rows, (ny + h, nx + h), self.p, stride=h)
        out = torch.cat((out[..., :h, :] + out[..., ny:, :], out[..., h:ny, :]), -2)
        out = torch.cat((out[..., :h] + out[..., nx:], out[..., h:nx]), -1)
        return to_image(0.25 * out.transpose(0, 1))

def conjugate_gradients(b, weight, iterations):
    x, r = torch.zeros_like(b), b
    p, rho = r, torch.vdot(r.flatten(), r.flatten()).real
    for _ in range(iterations):
        q = AH(A(p)) + weight * p
        alpha = rho / torch.vdot(p.flatten(), q.flatten()).real
        x, r = x + alpha * p, r - alpha * q
        following = torch.vdot(r.flatten(), r.flatten()).real
        p, rho = r + following / rho * p, following
    return x

class Solve(torch.autograd.Function):
    @staticmethod
    def forward(context, b, weight):
        x = conjugate_gradients(b, weight, 10)
        context.save_for_backward(x, weight)
        return x

    @staticmethod
    def backward(context, gradient):
        x, weight = context.saved_tensors
        v = conjugate_gradients(gradient, weight, 10)
        return v, -torch.vdot(x.flatten(), v.flatten()).real.view(1)

class Unrolled(nn.Module):
    def __init__(self, nets, iterations, residual=True, penalty=None, initial=0):
        super().__init__()
        self.scalar = nn.Parameter(torch.ones(iterations) if penalty is None else torch.full((1,), penalty))
        self.nets, self.iterations, self.residual = nn.ModuleList(nets), iterations, residual
        self.solves, self.initial = penalty is not None, initial

    def forward(self):
        rhs = x = AH(kspace)
        if self.initial:
            with torch.no_grad():
                x = conjugate_gradients(rhs, 0, self.initial)
        for t in range(self.iterations):
            net = self.nets[t if len(self.nets) > 1 else 0]
            refine = lambda v: v + to_image(net(to_channels(v), t)) if self.residual else net(v, t)
            if self.solves:
                weight = self.scalar.clamp_min(1e-4)
                x = Solve.apply(rhs + weight * refine(x), weight)
            else:
                x = refine(x - self.scalar[t] * (AH(A(x)) - rhs))
        return x

class VarNet(nn.Module):
    def __init__(self, cascades, width):
        super().__init__()
        self.step_size = nn.Parameter(torch.ones(cascades))
        self.nets = nn.ModuleList(Unet(width) for _ in range(cascades))

    def ordered(self):
        return [self.step_size] + [p for net in self.nets for p in net.ordered()]

    def normalised(self, net, x):
        flat = x.flatten(2)
        mean, std = flat.mean(2).view(1, 2, 1, 1), flat.std(2).view(1, 2, 1, 1)
        return net((x - mean) / std) * std + mean

    def forward(self):
        k, zero = kspace, torch.zeros(1, 1, 1, 1, dtype=torch.cfloat)
        for step, net in zip(self.step_size, self.nets):
            refined = to_image(self.normalised(net, to_channels(combine(ifft2c(k)))))
            k = k - step * torch.where(mask.unsqueeze(1), k - kspace, zero) - fft2c(maps * refined.unsqueeze(1))
        return combine(ifft2c(k))

makers = {
    'msense': MSense,
    'u-net': lambda: Residual(32),
    'unrolled': lambda: Unrolled([Cnn(32, 6, 2) for _ in range(8)], 8),
    'unrolled-128': lambda: Unrolled([Cnn(128, 6, 2) for _ in range(8)], 8),
    'modl': lambda: Unrolled([Cnn(64, 5, 0)], 10, penalty=0.05),
    'varnet': lambda: VarNet(12, 18),
    'patch': lambda: Unrolled([Patches(8, 4)], 4, residual=False, initial=3),
}

class Program:
    def __init__(self, name):
        torch.manual_seed(2)
        self.name, self.model = name, makers[name]()
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-4, weight_decay=1e-4)

    def gradient(self):
        self.optimiser.zero_grad()
        (self.model() - target).abs().mean().backward()

    def run(self, job):
        if job == 'inference':
            with torch.no_grad():
                self.model()
            return
        self.gradient()
        self.optimiser.step()

held = None
def program(name):
    global held
    if held is None or held.name != name:
        held = None
        held = Program(name)
    return held

transforms = {}
def transform_seconds(kind):
    if kind == 'monarch' and kind not in transforms:
        transforms[kind] = MSense().transform
    run = ifft2c if kind == 'fourier' else transforms[kind]
    with torch.no_grad():
        start = time.perf_counter()
        for _ in range(5):
            run(kspace)
        return (time.perf_counter() - start) / 5

def seconds(name, job):
    if job == 'transform':
        return transform_seconds(name)
    held = program(name)
    start = time.perf_counter()
    held.run(job)
    return time.perf_counter() - start

def ours(module, layout):
    """Parameters in our order, each through layout(parameter) and then as our convolutions keep their weights."""
    transposed = {id(m.weight) for m in module.modules() if isinstance(m, nn.ConvTranspose2d)}
    found = module.ordered() if hasattr(module, 'ordered') else list(module.parameters())
    return {f'{i:04}': (layout(p).permute(1, 2, 3, 0) if id(p) in transposed else layout(p)).detach().contiguous().clone()
            for i, p in enumerate(found)}

def reference(name, file):
    model = program(name).model
    result = {'kspace': kspace, 'mask': mask, 'maps': maps, 'target': target}
    with torch.no_grad():
        result['output'] = model()
    program(name).gradient()
    result['weights'] = ours(model, lambda p: p)
    result['gradients'] = ours(model, lambda p: p.grad)
    torch.save({key: v.resolve_conj() if torch.is_tensor(v) else v for key, v in result.items()}, file)
    return 'written'

for line in sys.stdin:
    question, *words = line.split()
    print({'time': seconds, 'reference': reference}[question](*words), file=answers, flush=True)
)";

}  // namespace monarch::bench
