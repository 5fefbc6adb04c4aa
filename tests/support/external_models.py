"""Networks trained elsewhere: the code of a factory, weights that fit it, and the card that names both."""

import sys
from importlib.util import module_from_spec, spec_from_file_location

import torch
from safetensors.torch import save_file

from robustbench_ekdaa.data import shared_dataset

SOURCE = """
from torch import nn


def make(width=16):
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.5),
        nn.Flatten(), nn.Linear(8 * 16, width), nn.ReLU(), nn.Linear(width, 10),
    )
"""
CARD = """
kind = "model"
name = "{name}"
[external]
factory = "{factory}"
weights = "weights/{name}-{{seed}}.safetensors"
seeds = [{seeds}]
rule = "{rule}"
{more}
"""


def trained(module, seed, steps=60):
    """Return a module fitted to the digits, in evaluation mode."""
    split = shared_dataset("digits").train
    images, labels = split.images[:500], split.labels[:500]
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(steps):
        rows = torch.randint(len(images), (64,), generator=generator)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(module(images[rows]), labels[rows]).backward()
        optimiser.step()
    return module.eval()


def imported(path):
    """Return a Python file's module."""
    place = spec_from_file_location(f"tested_{abs(hash(str(path)))}", path)
    module = sys.modules[place.name] = module_from_spec(place)
    place.loader.exec_module(module)
    return module


def write_external(folder, name="theirs", rule="theirs", seeds=(0, 1), source=SOURCE, more="", factory=None):
    """Write a card with a factory beside it and the weights of each seed, and return the modules by seed."""
    room = folder / "models"
    (room / "weights").mkdir(parents=True, exist_ok=True)
    (room / f"{name}.py").write_text(source, encoding="utf-8")
    make = imported(room / f"{name}.py").make
    modules = {}
    for seed in seeds:
        torch.manual_seed(seed)
        modules[seed] = trained(make(), seed)
        save_file(modules[seed].state_dict(), room / "weights" / f"{name}-{seed}.safetensors")
    listed = ", ".join(map(str, seeds))
    facts = {"name": name, "factory": factory or f"{name}.py:make", "seeds": listed, "rule": rule, "more": more}
    (room / f"{name}.toml").write_text(CARD.format(**facts), encoding="utf-8")
    return modules
