"""Checks of whether a run's numbers mean what they seem to; pure functions of stored outcomes and probes.

What a verdict may rest on is decided by `failed_checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ...storing.outcomes import Outcomes
from . import cards, curves, evidence, probed, signs, strength, surrogates
from .finding import FAIL, ORDER, PASS, WARN, Finding

__all__ = ["FAIL", "ORDER", "PASS", "RUN_CHECKS", "WARN", "Finding", "RunCheck", "failed_checks", "findings"]

Measure = Callable[[Outcomes], Iterator[Finding]]


@dataclass(frozen=True)
class RunCheck:
    """One check.

    Attributes:
        measure: yields what it finds on one data set; nothing where it cannot be measured.
        unit: of the number that is measured.
    """

    measure: Measure
    unit: str


RUN_CHECKS: dict[str, RunCheck] = {
    "standing": RunCheck(cards.standing, "% clean accuracy"),
    "test_images": RunCheck(evidence.count_images, "images"),
    "training_seeds": RunCheck(evidence.training_seeds, "seeds"),
    "seed_variance": RunCheck(evidence.seed_variance, "% of the variance"),
    "sure_shares": RunCheck(evidence.sure_shares, "images"),
    "common_images": RunCheck(evidence.common_set, "images"),
    "clean_accuracies": RunCheck(cards.clean_accuracies, "points"),
    "recipes": RunCheck(cards.recipes, "fields"),
    "idle_options": RunCheck(cards.idle_options, "options"),
    "mixed_versions": RunCheck(evidence.mixed_versions, "facts"),
    "permuted_labels": RunCheck(cards.permuted_labels, "points"),
    "true_gradient": RunCheck(probed.true_gradient, "% off"),
    "steady_forward": RunCheck(probed.steady_forward, "% of images"),
    "masking": RunCheck(probed.masking, "% of images"),
    "scale_free_loss": RunCheck(probed.scale_free_loss, "points gained"),
    "doubled_steps": RunCheck(probed.doubled_steps, "points gained"),
    "shared_images": RunCheck(probed.shared_images, "% of images"),
    "shuffled_labels": RunCheck(probed.shuffled_labels, "% of images"),
    "weak_surrogates": RunCheck(surrogates.weak_surrogates, "% fooled"),
    "surrogate_rules": RunCheck(surrogates.surrogate_rules, "rules"),
    "foreign_surrogates": RunCheck(surrogates.foreign_surrogates, "cards"),
    "same_start": RunCheck(surrogates.same_start, "norms"),
    "adapter_failures": RunCheck(surrogates.adapter_failures, "craftings"),
    "transfer_beats_white_box": RunCheck(strength.transfer_beats_white_box, "points"),
    "noise_as_strong": RunCheck(strength.noise_as_strong, "points"),
    "zero_gradients": RunCheck(strength.zero_gradients, "% of images"),
    "unused_epsilon": RunCheck(strength.unused_epsilon, "% of epsilon"),
    "one_step_attacks": RunCheck(strength.one_step_attacks, "steps"),
    "unsuited_attacks": RunCheck(strength.unsuited_attacks, "pixels"),
    "quantised_images": RunCheck(strength.quantised_images, "craftings"),
    "grid_spacing": RunCheck(curves.grid_spacing, "% of clean accuracy"),
    "grid_end": RunCheck(curves.grid_end, "points above chance"),
    "success_falls": RunCheck(curves.success_falls, "points"),
    "sign_by_surrogate": RunCheck(signs.sign_by_surrogate, "points apart"),
    "sign_by_attack": RunCheck(signs.sign_by_attack, "points apart"),
    "sign_by_epsilon": RunCheck(signs.sign_by_epsilon, "points apart"),
    "white_box_rank": RunCheck(signs.white_box_rank, "pairs"),
}


def findings(outcomes: Outcomes, model: str | None = None) -> tuple[Finding, ...]:
    """Return what all checks find on one data set: what failed first, then warnings, then what passed.

    Args:
        outcomes: the stored outcomes.
        model: a model card's name, to leave out what is about other cards alone.
    """
    if "findings" not in outcomes.derived:
        found = [
            replace(one, dataset=outcomes.dataset) for check in RUN_CHECKS.values() for one in check.measure(outcomes)
        ]
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
