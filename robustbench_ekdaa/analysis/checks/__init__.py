"""Checks of whether a run's numbers mean what they seem to; each is a pure function of stored outcomes.

What a verdict may rest on is decided by `failed_checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ...scoring.outcomes import Outcomes
from . import cards, curves, evidence, signs, strength, surrogates
from .finding import FAIL, ORDER, PASS, WARN, Finding

__all__ = ["CHECKS", "FAIL", "ORDER", "PASS", "WARN", "Check", "Finding", "failed_checks", "findings"]

Measure = Callable[[Outcomes], Iterator[Finding]]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        measure: yields what it finds on one data set; nothing where it cannot be measured.
        unit: of the number that is measured.
    """

    measure: Measure
    unit: str


CHECKS: dict[str, Check] = {
    "standing": Check(cards.standing, "% clean accuracy"),
    "test_images": Check(evidence.count_images, "images"),
    "training_seeds": Check(evidence.training_seeds, "seeds"),
    "seed_variance": Check(evidence.seed_variance, "% of the variance"),
    "sure_shares": Check(evidence.sure_shares, "images"),
    "common_images": Check(evidence.common_set, "images"),
    "clean_accuracies": Check(cards.clean_accuracies, "points"),
    "recipes": Check(cards.recipes, "fields"),
    "idle_options": Check(cards.idle_options, "the option"),
    "permuted_labels": Check(cards.permuted_labels, "points"),
    "weak_surrogates": Check(surrogates.weak_surrogates, "% fooled"),
    "surrogate_rules": Check(surrogates.surrogate_rules, "rules"),
    "foreign_surrogates": Check(surrogates.foreign_surrogates, "cards"),
    "same_start": Check(surrogates.same_start, "norms"),
    "adapter_failures": Check(surrogates.adapter_failures, "craftings"),
    "transfer_beats_white_box": Check(strength.transfer_beats_white_box, "points"),
    "noise_as_strong": Check(strength.noise_as_strong, "points"),
    "zero_gradients": Check(strength.zero_gradients, "% of images"),
    "unused_epsilon": Check(strength.unused_epsilon, "% of epsilon"),
    "one_step_attacks": Check(strength.one_step_attacks, "steps"),
    "unsuited_attacks": Check(strength.unsuited_attacks, "pixels"),
    "quantised_images": Check(strength.quantised_images, "craftings"),
    "grid_spacing": Check(curves.grid_spacing, "% of clean accuracy"),
    "grid_end": Check(curves.grid_end, "points above chance"),
    "success_falls": Check(curves.success_falls, "points"),
    "sign_by_surrogate": Check(signs.sign_by_surrogate, "points apart"),
    "sign_by_attack": Check(signs.sign_by_attack, "points apart"),
    "sign_by_epsilon": Check(signs.sign_by_epsilon, "points apart"),
    "white_box_rank": Check(signs.white_box_rank, "pairs"),
}


def findings(outcomes: Outcomes, model: str | None = None) -> tuple[Finding, ...]:
    """Return what all checks find on one data set: what failed first, then warnings, then what passed.

    Args:
        outcomes: the stored outcomes.
        model: a model card's name, to leave out what is about other cards alone.
    """
    if "findings" not in outcomes.derived:
        found = [replace(one, dataset=outcomes.dataset) for check in CHECKS.values() for one in check.measure(outcomes)]
        outcomes.derived["findings"] = tuple(sorted(found, key=lambda one: ORDER.index(one.status)))
    everything: tuple[Finding, ...] = outcomes.derived["findings"]
    return tuple(one for one in everything if model is None or one.concerns(model))


def failed_checks(outcomes: Outcomes, a: str, b: str) -> list[Finding]:
    """Return the failed checks that forbid a verdict about two cards: about the whole run, or about either of them.

    `compare` calls this; an empty list means that nothing forbids a verdict.

    Args:
        outcomes: the stored outcomes of one data set.
        a: a model card's name.
        b: another's.
    """
    return [one for one in findings(outcomes) if one.status == FAIL and (one.concerns(a) or one.concerns(b))]
