"""Outcomes of a run as it should be, drawn at random: five seeds, strong attacks, foreign surrogates, one recipe."""

from dataclasses import replace

import numpy as np

from robustbench_ekdaa.storing.keys import CraftingKey
from robustbench_ekdaa.storing.outcomes import AttackRecord, Example

from .made_outcomes import make_outcomes

EPSILONS = (0.05, 0.1, 0.15, 0.2, 0.25)
RECIPE = {"epochs": 8, "learning_rate": 0.03, "optimizer": "SGD"}
CARDS = ("backprop", "ekdaa")
FOREIGN = ("wide_backprop", "wide_ekdaa", "wide_fa")
RULES = {"wide_backprop": "backprop", "wide_ekdaa": "ekdaa", "wide_fa": "fa"}


def healthy(key=0, images=600, seeds=5, epsilons=EPSILONS):
    """Draw outcomes that no check has anything against.

    Every image has a distance to the border of each model; an attack of strength s moves it by s epsilon.
    """
    draw = np.random.default_rng(key)
    models = [(card, seed) for card in (*CARDS, *FOREIGN) for seed in range(seeds)]
    labels = np.arange(images) % 10
    border = draw.gamma(4.0, 0.02, images)
    far = {f"{card}{seed}": border * draw.lognormal(0, 0.15, images) for card, seed in models}
    wrong = draw.permutation(images) < 0.04 * images
    clean = {name: np.where(wrong ^ (draw.random(images) < 0.003), (labels + 1) % 10, labels) for name in far}
    targets = [f"{card}{seed}" for card in CARDS for seed in range(seeds)]
    predictions = {}
    for attack, force in (("fgsm", 0.9), ("bim", 1.0), ("noise", 0.15)):
        for surrogate in [None] if attack == "noise" else far:
            for target in targets:
                own = 1.8 if target == surrogate else 1.0
                for epsilon in epsilons:
                    kept = far[target] > force * own * epsilon
                    predictions[surrogate, target, attack, epsilon] = np.where(
                        kept, clean[target], np.where(clean[target] == labels, (labels + 2) % 10, clean[target])
                    )
    made = make_outcomes(models, labels, clean, predictions)
    records = {
        name: replace(
            one,
            rule=RULES.get(one.name, one.name),
            metrics={
                "network": "wide" if one.name in FOREIGN else "small",
                "training": {"rule": one.name, "rule_options": {}, "recipe": RECIPE},
            },
        )
        for name, one in made.models.items()
    }
    steps = {"fgsm": 1, "bim": 10, "noise": 0}
    attacks = {name: AttackRecord(name, name, name.upper(), "linf", {"steps": steps[name]}) for name in made.attacks}
    pictures = draw.random((3, 1, 8, 8)).astype(np.float32)
    examples = tuple(
        Example(targets[0], attack, epsilon, np.clip(pictures + epsilon * draw.choice([-1, 1], pictures.shape), 0, 1))
        for attack in ("fgsm", "bim")
        for epsilon in epsilons
    )
    return replace(
        made,
        models=records,
        attacks=attacks,
        targets=tuple(targets),
        foreign=tuple(name for name in far if name not in targets),
        craftings={
            CraftingKey(name, "bim", epsilon): {"zero_gradient_share": 0.0} for name in far for epsilon in epsilons
        },
        images=pictures,
        examples=examples,
    )


def cells_with(outcomes, change):
    """Return the outcomes with other predictions: `change` gets a cell, and returns predictions or None."""
    cells = []
    for cell in outcomes.cells:
        changed = change(cell)
        cells.append(cell if changed is None else replace(cell, predictions=changed))
    return replace(outcomes, cells=tuple(cells))
