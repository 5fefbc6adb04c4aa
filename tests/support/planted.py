"""Outcomes whose truth is known: every card keeps a planted share of the images, by the kind of attacker."""

from dataclasses import replace

import numpy as np

from robustbench_ekdaa.storing.outcomes import AttackRecord

from .made_outcomes import make_outcomes

EPSILON = 0.1
FAR = ("far_a", "far_b", "far_c")


def planted(
    kept,
    *,
    clean=None,
    seeds=5,
    images=1000,
    jitter=0.0,
    far=FAR,
    far_seeds=3,
    rules=None,
    asking=None,
    epsilons=(EPSILON, 2 * EPSILON),
    more=(),
    key=0,
    **fields,
):
    """Make outcomes of the target cards a and b, and of others in `kept`.

    Of a share s, the first s N images in a fixed order are kept, so that two cards differ on just so many images; each
    model's share is off by a normal deviation of `jitter`. White-box attacks keep `kept[card, card]`.

    Args:
        kept: shares by (target card, surrogate card); by (target card, "far") for the foreign ones; by (target card,
            "itself") for the white-box attack and (target card, "asked") for one that only asks.
        clean: shares of clean images that are right, by target card (default 1).
        far: the foreign cards; `far_a` has the rule of a, and `far_c` another.
        rules: by card (default: the card's name).
        epsilons: at each, the same shares are kept; of attacks on the target itself nothing at the last of several.
    """
    draw = np.random.default_rng(key)
    targets = list(dict.fromkeys(card for card, _ in kept))
    models = [(card, seed) for card in targets for seed in range(seeds)]
    models += [(card, seed) for card in far for seed in range(far_seeds)]
    labels, order = draw.integers(0, 10, images), draw.permutation(images)

    def answers(share):
        whole = np.clip(share, 0, 1) * images
        return np.where(order < np.floor(whole + draw.random()), labels, (labels + 1) % 10)

    off = {(card, seed): jitter * draw.standard_normal() for card, seed in models}
    right = {f"{card}{seed}": answers((clean or {}).get(card, 1.0)) for card, seed in models}
    predictions = {}
    for target, seed in models:
        if target not in targets:
            continue
        for surrogate, other in models:
            itself = (target, seed) == (surrogate, other)
            place = "itself" if itself else "far" if surrogate in far else surrogate
            share = kept.get((target, place), 0.5) + off[target, seed]
            for epsilon in epsilons:
                where = (f"{surrogate}{other}", f"{target}{seed}")
                last = itself and epsilon == epsilons[-1] and len(epsilons) > 1
                predictions[(*where, "bim", epsilon)] = answers(0 if last else share)
                if (target, "asked") in kept:
                    predictions[(*where, "ask", epsilon)] = answers(kept[target, "asked"] if itself else share + 0.01)
    attacks = {"bim": "linf", "ask": "linf"} if any("ask" in where for where in predictions) else {"bim": "linf"}
    outcomes = make_outcomes(models, labels, right, predictions, attacks=attacks, **fields)
    names = {"far_a": "a", "far_b": "b", "far_c": "c", **(rules or {})}
    records = {
        model: replace(
            record,
            rule=names.get(record.name, record.name.partition("#")[0].partition("@")[0]),
            metrics={
                "network": "far" if record.name in far else "near",
                "epoch_of": f"{record.name.partition('#')[0]}{record.seed}",
            },
        )
        for model, record in outcomes.models.items()
    }
    asked = {"ask": AttackRecord("ask", "ask", "ASK", "linf", {"adapter": {"attack": "SquareAttack"}})}
    return replace(
        outcomes,
        models=records,
        attacks={**outcomes.attacks, **(asked if "ask" in attacks else {})},
        targets=tuple(model for model in records if records[model].name in targets),
        foreign=tuple(model for model in records if records[model].name in far),
    )
