"""Outcomes without a sweep: made by hand, drawn at random, and real ones from three small networks on the digits."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from robustbench_ekdaa.data import load_dataset
from robustbench_ekdaa.storing.cells import Cell
from robustbench_ekdaa.storing.outcomes import AttackRecord, Ensemble, Example, ModelRecord, Outcomes


def make_outcomes(models, labels, clean, predictions, *, attacks=None, titles=None, dataset="made", **fields):
    """Fill an Outcomes of `models`, (card, seed) pairs; `predictions` by (surrogate, target, attack, epsilon).

    A model's key is its card and seed, such as "a0"; `attacks` maps names to norms (default linf). Every card has a
    network of its own, so that none is another's control.
    """
    records = {
        f"{name}{seed}": ModelRecord(
            f"{name}{seed}",
            name,
            (titles or {}).get(name, name.upper()),
            name,
            dataset,
            seed,
            metrics={"network": name},
        )
        for name, seed in models
    }
    names = list(dict.fromkeys(attack for _, _, attack, _ in predictions))
    norms = attacks or dict.fromkeys(names, "linf")
    epsilons = sorted({0.0, *(epsilon for *_, epsilon in predictions)})
    whole = Outcomes(
        dataset=dataset,
        title=dataset.title(),
        classes=tuple(str(number) for number in range(max(2, int(np.max(labels)) + 1))),
        indices=np.arange(len(labels)),
        labels=np.asarray(labels, np.int64),
        images=np.zeros((0, 1, 2, 2), np.float32),
        models=records,
        surrogates=tuple(records),
        targets=tuple(records),
        attacks={name: AttackRecord(name, name, name.upper(), norm) for name, norm in norms.items()},
        epsilons=tuple(epsilons),
        clean={key: np.asarray(classes, np.int64) for key, classes in clean.items()},
        cells=tuple(Cell(*where, np.asarray(classes, np.int64)) for where, classes in predictions.items()),
        examples=(),
        spec={"datasets": [dataset], "epsilons": epsilons},
    )
    return replace(whole, **fields)


def random_outcomes(
    cards=3,
    seeds=3,
    attacks=("fgsm", "bim"),
    epsilons=4,
    images=60,
    classes=10,
    noise=True,
    titles=None,
    key=0,
    **fields,
):
    """Draw outcomes in which accuracy falls with epsilon, cards differ, and white-box attacks are stronger."""
    draw = np.random.default_rng(key)
    known = ["backprop", "ekdaa", "frozen", *(f"rule{number}" for number in range(3, cards))]
    models = [(name, seed) for name in known[:cards] for seed in range(seeds)]
    keys = [f"{name}{seed}" for name, seed in models]
    labels = draw.integers(0, classes, images)
    strength = {key: draw.random(images) + 0.1 * draw.normal() for key in keys}
    clean = {key: np.where(strength[key] > 0.05, labels, (labels + 1) % classes) for key in keys}
    predictions = {}
    for attack in [*attacks, *(["noise"] if noise else [])]:
        for surrogate in [None] if attack == "noise" else keys:
            for target in keys:
                for step in range(1, epsilons + 1):
                    force = step / epsilons * (0.2 if attack == "noise" else 1.0 if surrogate != target else 2.0)
                    wrong = (labels + draw.integers(1, classes, images)) % classes
                    held = strength[target] > force * draw.uniform(0.8, 1.2, images)
                    predictions[surrogate, target, attack, round(0.1 * step, 6)] = np.where(held, labels, wrong)
    pictures = draw.random((3, 1, 8, 8)).astype(np.float32)
    shown = {where: None for where in predictions if where[0] in (None, keys[0])}
    examples = [
        Example(surrogate, attack, epsilon, np.clip(pictures + epsilon * draw.choice([-1, 1], pictures.shape), 0, 1))
        for surrogate, attack, epsilon in dict.fromkeys((where[0], where[2], where[3]) for where in shown)
    ]
    fields = {"images": pictures, "examples": tuple(examples), "classes": tuple(map(str, range(classes))), **fields}
    return make_outcomes(models, labels, clean, predictions, titles=titles, **fields)


def with_ensembles(outcomes, key=1):
    """Add an attack on all models of a seed together, whose outcomes are those of "fgsm", the images in disorder."""
    draw = np.random.default_rng(key)
    seeds = sorted({model.seed for model in outcomes.models.values()})
    ensembles = {
        f"e{seed}": Ensemble.of(f"e{seed}", [model for model in outcomes.models.values() if model.seed == seed])
        for seed in seeds
    }
    first = next(iter(outcomes.models.values())).name
    predictions = [
        replace(cell, surrogate=f"e{cell.surrogate[-1]}", attack="ens", predictions=draw.permutation(cell.predictions))
        for cell in outcomes.cells
        if cell.attack == "fgsm" and outcomes.models[cell.surrogate].name == first
    ]
    card = {"source": {"component": "ensemble_logits"}}
    attacks = {**outcomes.attacks, "ens": AttackRecord("ens", "ens", "ENS", "linf", card)}
    shown = [
        replace(example, surrogate="e0", attack="ens") for example in outcomes.examples if example.attack == "fgsm"
    ]
    return replace(
        outcomes,
        cells=(*outcomes.cells, *predictions),
        ensembles=ensembles,
        attacks=attacks,
        examples=(*outcomes.examples, *shown),
    )


def without(outcomes, key, *, error="diverged"):
    """Return the outcomes as they would be had one model failed in training."""
    models = {**outcomes.models, key: replace(outcomes.models[key], status="failed", error=error)}
    return replace(
        outcomes,
        models=models,
        clean={name: predictions for name, predictions in outcomes.clean.items() if name != key},
        cells=tuple(cell for cell in outcomes.cells if key not in (cell.surrogate, cell.target)),
    )


def with_constant(outcomes, name="stuck", rule="backprop", predicted=3, seeds=(0, 1)):
    """Add a card that always says one class, and falls for nothing; nobody is attacked on it."""
    first = next(iter(outcomes.models.values()))
    added = {
        f"{name}{seed}": replace(first, key=f"{name}{seed}", name=name, title="Stuck", rule=rule, seed=seed)
        for seed in seeds
    }
    answer = np.full_like(outcomes.labels, predicted)
    places = {(cell.surrogate, cell.attack, cell.epsilon) for cell in outcomes.cells}
    cells = [Cell(place[0], key, place[1], place[2], answer) for place in sorted(places, key=str) for key in added]
    return replace(
        outcomes,
        models={**outcomes.models, **added},
        targets=(*outcomes.targets, *added),
        clean={**outcomes.clean, **dict.fromkeys(added, answer)},
        cells=(*outcomes.cells, *cells),
    )


def quick_network(layers, split, seed=0):
    """Train a network on the digits in a second."""
    return _trained(layers, split.images, split.labels, seed)


def _trained(layers, images, labels, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Flatten(), *layers())
    optimiser = torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimiser.step()
    return network.eval()


def _attacked(network, images, labels, epsilon, steps):
    """Ascend the loss by `steps` signed gradients inside the l-inf ball."""
    moved = images.clone()
    for _ in range(steps):
        moved.requires_grad_(True)
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(network(moved), labels), moved)
        moved = (moved.detach() + epsilon / steps * gradient.sign()).clamp(0, 1)
    return moved


def digits_outcomes():
    """Train two networks of one card and one of another on the digits, attack each on each."""
    data = load_dataset("digits")
    images, labels = data.test.images[:200], data.test.labels[:200]
    recipes = {
        ("mlp", 0): lambda: [nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)],
        ("mlp", 1): lambda: [nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)],
        ("linear", 0): lambda: [nn.Linear(64, 10)],
    }
    networks = {
        f"{name}{seed}": _trained(layers, data.train.images, data.train.labels, seed)
        for (name, seed), layers in recipes.items()
    }
    predictions, examples = {}, []

    def score(surrogate, attack, epsilon, moved):
        for target, network in networks.items():
            predictions[surrogate, target, attack, epsilon] = network(moved).argmax(1).numpy()
        if surrogate in (None, "mlp0"):
            examples.append(Example(surrogate, attack, epsilon, moved[:4].numpy()))

    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for epsilon in (0.1, 0.2, 0.3, 0.4):
        for surrogate, network in networks.items():
            score(surrogate, "fgsm", epsilon, _attacked(network, images, labels, epsilon, 1))
            score(surrogate, "bim", epsilon, _attacked(network, images, labels, epsilon, 5))
        score(None, "noise", epsilon, (images + epsilon * noise).clamp(0, 1))
    clean = {key: network(images).argmax(1).numpy() for key, network in networks.items()}
    fields = {"images": images[:4].numpy(), "examples": tuple(examples), "classes": data.classes}
    return make_outcomes(list(recipes), labels.numpy(), clean, predictions, dataset="digits", **fields)
