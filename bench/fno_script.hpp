#pragma once
// FNOs in PyTorch, as peers of `monarch bench fno`; run as `python -c`.

namespace monarch::bench {

/// Arguments: points along an axis, modes, batch, steps of a rollout, threads. Answers lines on stdin (see
/// fno_worker.hpp) about the programs "script", an FNO as the published scripts write it (fields with channels last,
/// whole half spectra, corner weights, 1×1 convolutions), and "neuraloperator", that library's FNO of as many modes.
/// "reference FILE" writes model, x, target, output and gradients of "script".
inline constexpr const char* kFnoScript = R"(
import os, sys, time
import torch
import torch.nn.functional as F

answers = os.fdopen(os.dup(1), 'w')
os.dup2(2, 1)
n, modes, batch, steps, threads = map(int, sys.argv[1:6])
frames, width, layers, projection = 10, 20, 4, 128
torch.set_num_threads(threads)
torch.manual_seed(1)
fields = torch.randn(batch, frames, n, n)
truth = torch.randn(batch, steps, n, n)

class Spectral(torch.nn.Module):
    def __init__(self):
        super().__init__()
        corner = lambda: torch.nn.Parameter(torch.rand(width, width, modes, modes, dtype=torch.cfloat) / width ** 2)
        self.weights1, self.weights2 = corner(), corner()

    def forward(self, v):
        spectrum = torch.fft.rfft2(v)
        out = torch.zeros_like(spectrum)
        for rows, weights in ((slice(0, modes), self.weights1), (slice(-modes, None), self.weights2)):
            out[:, :, rows, :modes] = torch.einsum('bixy,ioxy->boxy', spectrum[:, :, rows, :modes], weights)
        return torch.fft.irfft2(out, s=v.shape[-2:])

class Script(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc0 = torch.nn.Linear(frames + 2, width)
        for i in range(layers):
            setattr(self, f'conv{i}', Spectral())
            setattr(self, f'w{i}', torch.nn.Conv2d(width, width, 1))
        self.fc1 = torch.nn.Linear(width, projection)
        self.fc2 = torch.nn.Linear(projection, 1)

    def forward(self, x):
        axes = [torch.linspace(0, 1, points) for points in x.shape[1:3]]
        grid = torch.stack(torch.meshgrid(*axes, indexing='ij'), -1).expand(len(x), -1, -1, -1)
        v = self.fc0(torch.cat((x, grid), -1)).permute(0, 3, 1, 2)
        for i in range(layers):
            v = getattr(self, f'conv{i}')(v) + getattr(self, f'w{i}')(v)
            if i < layers - 1:
                v = F.gelu(v)
        return self.fc2(F.gelu(self.fc1(v.permute(0, 2, 3, 1))))

def make(name):
    if name == 'neuraloperator':
        from neuralop.models import FNO
        return FNO(n_modes=(2 * modes, 2 * (modes - 1)), in_channels=frames, out_channels=1, hidden_channels=width,
                   n_layers=layers)
    return Script()

def relative_l2(prediction, truth):
    return ((prediction - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)).sum()

class Program:
    def __init__(self, name):
        torch.manual_seed(2)
        self.model = make(name)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-3, weight_decay=1e-4)
        self.axis = 1 if name == 'neuraloperator' else -1
        layout = lambda a: a if self.axis == 1 else a.permute(0, 2, 3, 1).contiguous()
        self.x, self.target = layout(fields), layout(truth)

    def gradient(self, samples, count):
        self.optimiser.zero_grad()
        window, target, loss = self.x[:samples], self.target[:samples], 0
        for t in range(count):
            frame = self.model(window)
            loss = loss + relative_l2(frame, target.narrow(self.axis, t, 1))
            if t + 1 < count:
                window = torch.cat((window.narrow(self.axis, 1, frames - 1), frame), self.axis)
        loss.backward()

    def run(self, job, samples=batch):
        if job == 'forward':
            with torch.no_grad():
                self.model(self.x[:samples])
            return
        self.gradient(samples, 1 if job == 'step' else steps)
        self.optimiser.step()

programs = {}
def program(name):
    if name not in programs:
        programs[name] = Program(name)
    return programs[name]

def seconds(name, job):
    start = time.perf_counter()
    program(name).run(job)
    return time.perf_counter() - start

def status(key):
    with open('/proc/self/status') as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

def memory(name, job):
    program(name).run('step', 1)
    program(name).optimiser.zero_grad()
    with open('/proc/self/clear_refs', 'w') as reset:
        reset.write('5')
    before = status('VmRSS')
    program(name).run(job)
    return status('VmHWM') - before

def reference(file):
    script = program('script')
    result = {'model': script.model.state_dict(), 'x': fields, 'target': truth}
    with torch.no_grad():
        result['y'] = script.model(script.x).permute(0, 3, 1, 2).contiguous()
    for job, count in (('step', 1), ('rollout', steps)):
        script.gradient(batch, count)
        result[job] = {name: p.grad.clone() for name, p in script.model.named_parameters()}
    torch.save(result, file)
    return 'written'

for line in sys.stdin:
    question, *words = line.split()
    answer = {'time': seconds, 'memory': memory, 'reference': reference}[question](*words)
    print(answer, file=answers, flush=True)
)";

}  // namespace monarch::bench
