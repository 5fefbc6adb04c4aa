"""Why something is computed again: what of it differs from the nearest that a run holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..cards import AttackCard
from ..errors import shown
from ..learning import ModelJob, TrainingJob
from ..learning.job import checkpoint_path
from ..storing.outcomes import AttackRecord, ModelRecord
from ..storing.selection import Everything, Recorded
from .plan import SweepPlan

ABSENT = "not given"
STRICT = "made for versions or devices that are others now, or for any"


def reasons(plan: SweepPlan, stored: Everything, run: Path, to_train: Iterable[ModelJob]) -> list[str]:
    """Say, a line each, why what a run holds in another form is computed again; what is new has no reason.

    Args:
        plan: what is asked for, on one data set.
        stored: what the run holds.
        run: the run folder.
        to_train: the models that are to be trained.

    """
    lines: dict[str, list[int]] = {}
    for job in to_train:
        for reason in _of_model(job, stored, run):
            lines.setdefault(f"{job.card.name}: {reason}", []).append(job.seed)
    models = [f"{line} (seed {', '.join(map(str, seeds))})" for line, seeds in lines.items()]
    attacks = [
        f"{card.name}: {reason}"
        for key, card in plan.attacks
        if key not in stored.attacks
        for reason in _of_attack(key, card, plan, stored)
    ]
    return [*_of_images(plan, stored), *models, *attacks]


def fields_changed(before: Any, now: Any, where: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield what differs between two pieces of plain data: the field, what it was, and what it is."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in dict.fromkeys((*before, *now)):
            place = f"{where}.{name}" if where else str(name)
            yield from fields_changed(before.get(name, ABSENT), now.get(name, ABSENT), place)
    elif before != now:
        then, today = (one if one is ABSENT else shown(one, 40) for one in (before, now))
        yield where, then, today


def _then_and_now(before: Any, now: Any, where: str = "") -> Iterator[str]:
    for place, then, today in fields_changed(before, now, where):
        yield f"{place}: {then} then, {today} now"


def _of_model(job: ModelJob, stored: Everything, run: Path) -> Iterator[str]:
    same = stored.models.get(job.key)
    if same is not None:
        yield "failed before" if same.status == "failed" else "its checkpoint is gone"
        return
    if checkpoint_path(run, job.key).exists():  # it was copied here
        return
    alike = [
        record
        for record in stored.models.values()
        if (record.name, record.dataset, record.seed) == (job.card.name, job.dataset, job.seed)
    ]
    if alike:
        yield "; ".join(_changes(alike[-1], job)) or "another version of how models are trained"


def _changes(before: ModelRecord, job: ModelJob) -> Iterator[str]:
    """Yield what differs between a stored model and one of the same name and seed."""
    if before.fingerprint not in (None, job.fingerprint):
        yield "the data set has other content"
    if before.metrics.get("network") not in (None, job.network):
        yield "its network is another"
    if before.metrics.get("held_out_accuracy") is not None:
        yield "it held training images out then"
    if not isinstance(job, TrainingJob):
        yield "its code, weights or options are others"
        return
    if "training" in before.metrics:
        yield from _then_and_now(before.metrics["training"], _plain(job.identity))
    if before.metrics.get("strict", "") != job.strict:
        yield STRICT


def _of_attack(key: str, card: AttackCard, plan: SweepPlan, stored: Everything) -> Iterator[str]:
    alike = [record for record in stored.attacks.values() if record.name == card.name and not record.imported]
    if alike:
        yield "; ".join(_changes_of_attack(alike[-1], card, plan, stored.sweeps)) or "another version of crafting"


def _changes_of_attack(
    before: AttackRecord, card: AttackCard, plan: SweepPlan, sweeps: Iterable[Recorded]
) -> Iterator[str]:
    yield from _then_and_now(plain_card(before.card), plain_card(card.model_dump(mode="json")))
    spec = next((sweep.spec for sweep in sweeps if before.key in sweep.roles.attacks), {})
    for name in ("seed", "precision"):
        yield from _then_and_now(spec.get(name), getattr(plan.spec, name), f"the sweep's {name}")
    if bool(spec.get("strict_versions")) != plan.spec.strict_versions or plan.spec.strict_versions:
        yield STRICT


def plain_card(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of an attack's card decides its images."""
    return {name: value for name, value in card.items() if name not in ("title", "paper", "notes", "kind")}


def _of_images(plan: SweepPlan, stored: Everything) -> Iterator[str]:
    name, fingerprint = plan.dataset.name, plan.dataset.fingerprint
    swept = [sweep for sweep in stored.sweeps if sweep.roles.imports is None]
    if any(sweep.image_set == plan.images.key for sweep in swept):
        return
    same_name = [sweep for sweep in swept if stored.data[sweep.fingerprint].name == name]
    same_data = [sweep for sweep in same_name if sweep.fingerprint == fingerprint]
    if same_data:
        count = len(stored.image_sets[same_data[0].image_set].indices)
        yield f"{name}: other images: {_other_images(count, plan, same_data[0])}"
    elif same_name:
        yield f"{name}: the data set has other content"


def _other_images(count: int, plan: SweepPlan, before: Recorded) -> str:
    now = len(plan.images.indices)
    if count != now:
        return f"{count} then, {now} now"
    return f"chosen by the seed {before.spec.get('seed')} then, {plan.spec.seed} now"


def _plain(facts: Any) -> Any:
    """Return facts as they come back from JSON."""
    return json.loads(json.dumps(facts))
