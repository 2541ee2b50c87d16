"""Trains neuraloperator's FNO on the files that experiments/darcy.toml and experiments/burgers.toml use.

    scripts/setup --peers
    .deps/peers/bin/python experiments/peers/neuraloperator_training.py darcy --data ../shared/data/pde

The same number of epochs, batch, optimiser (AdamW, weight decay 1e-4), schedule (cosine to 0), loss (relative L2) and
split as the experiments; the learning rate is chosen on the last 100 training samples, then the model is trained on all
samples. Prints one JSON object: relative L2 on the test files for each seed.
"""
import argparse
import json
import time

import torch
from neuralop.models import FNO


def relative_l2(prediction, truth):
    return (prediction - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)


def darcy(folder):
    train = torch.load(f"{folder}/darcy_train_16.pt")
    tests = {name: torch.load(f"{folder}/darcy_test_{name}.pt") for name in ("16", "32")}
    fields = lambda d: (d["x"].float()[:, None], d["y"].float()[:, None])
    return fields(train), {name: fields(d) for name, d in tests.items()}


def burgers(folder):
    """The initial condition, repeated along time, to the solution at 17 times: [sample, 1, t, x]."""
    def fields(d):
        y = d["y"].float()
        return d["x"].float()[:, None, None, :].expand(-1, 1, y.shape[1], -1), y[:, None]
    return fields(torch.load(f"{folder}/burgers_train_16.pt")), {
        "test": fields(torch.load(f"{folder}/burgers_test_16.pt"))}


def train(x, y, options, lr, seed, epochs):
    torch.manual_seed(seed)
    model = FNO(n_modes=tuple(options.modes), in_channels=1, out_channels=1, hidden_channels=options.width, n_layers=4)
    mean, std = y.mean(), y.std()
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-4)
    steps = (len(x) + options.batch - 1) // options.batch
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * steps)
    for _ in range(epochs):
        for ids in torch.randperm(len(x)).split(options.batch):
            optimiser.zero_grad()
            relative_l2(model(x[ids]) * std + mean, y[ids]).mean().backward()
            optimiser.step()
            schedule.step()
    model.eval()

    @torch.no_grad()
    def evaluate(inputs, truth):
        return relative_l2(model(inputs) * std + mean, truth).mean().item()

    return model, evaluate


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem", choices=["darcy", "burgers"])
    parser.add_argument("--data", default="../shared/data/pde")
    parser.add_argument("--modes", type=int, nargs=2, help="neuraloperator's n_modes: both signs")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 2.5e-3, 5e-3, 1e-2])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    (x, y), tests = (darcy if options.problem == "darcy" else burgers)(options.data)
    options.modes = options.modes or [12, 10]
    held_out = 100
    scores = {}
    for lr in options.rates:
        _, evaluate = train(x[:-held_out], y[:-held_out], options, lr, options.seeds[0], options.epochs)
        scores[lr] = evaluate(x[-held_out:], y[-held_out:])
    best = min(scores, key=scores.get)
    runs, seconds = [], []
    for seed in options.seeds:
        start = time.time()
        model, evaluate = train(x, y, options, best, seed, options.epochs)
        seconds.append((time.time() - start) / options.epochs)
        runs.append({name: evaluate(*fields) for name, fields in tests.items()})
    parameters = sum(p.numel() * (2 if p.is_complex() else 1) for p in model.parameters())
    print(json.dumps({
        "problem": options.problem, "model": "neuraloperator 2.0.0 FNO", "n_modes": options.modes,
        "width": options.width, "parameters": parameters, "epochs": options.epochs, "learning_rate": best,
        "validation": {str(lr): score for lr, score in scores.items()}, "seeds": options.seeds, "test": runs,
        "mean": {name: sum(run[name] for run in runs) / len(runs) for name in runs[0]},
        "seconds_per_epoch": sum(seconds) / len(seconds)}, indent=2))


if __name__ == "__main__":
    main()
