"""What names stand for in a run: data sets, images, models and attacks, of everything the newest form."""

from __future__ import annotations

from typing import Any

from ..storing.outcomes import ModelRecord
from ..storing.selection import Everything, join_roles, newest_data, shown_images
from .reasons import fields_changed, plain_card


def meanings(found: Everything) -> dict[tuple[str, ...], str]:
    """Return what is shown under each name: (kind, data set, name, ...) -> key; the kinds in this order.

    The kinds are "data set", "images", "model" and "attack".
    """
    of_models: dict[tuple[str, ...], str] = {}
    others: dict[tuple[str, ...], str] = {}
    for record in found.models.values():
        if record.metrics.get("held_out_accuracy") is None:  # those that chose a recipe are others of the same name
            of_models["model", record.dataset, record.name, f"seed {record.seed}"] = record.key
    data = newest_data(found.sweeps, found.data)
    for name, fingerprint in data.items():
        for shown in shown_images(found.sweeps, fingerprint, found.attacks):
            if not shown.imports_only:
                others["images", name] = shown.image_set
            joined = join_roles(found.sweeps, shown, found.models, found.attacks)
            for key in filter(found.models.__contains__, joined.models()):
                record = found.models[key]
                of_models["model", record.dataset, record.name, f"seed {record.seed}"] = key
            for key in (*joined.attacks, *joined.imports):
                others["attack", name, found.attacks[key].name] = key
    return {**{("data set", name): fingerprint for name, fingerprint in data.items()}, **others, **of_models}


def difference(kind: str, before: tuple[Everything, str], now: tuple[Everything, str]) -> str:
    """Say what differs between two things of one name, each given by what its run holds and its key."""
    (one, first), (other, second) = before, now
    if kind == "images":
        count, earlier = len(other.image_sets[second].indices), len(one.image_sets[first].indices)
        return f"{count} images, not {earlier}" if count != earlier else "chosen by another seed"
    if kind == "attack":
        changed = _changed(plain_card(one.attacks[first].card), plain_card(other.attacks[second].card))
        return changed or "another seed, precision, or version of crafting"
    if kind == "model":
        return _models_differ(one.models[first], other.models[second]) or "another version of how models are trained"
    return "its content"


def _models_differ(before: ModelRecord, now: ModelRecord) -> str:
    if before.fingerprint != now.fingerprint:
        return "the data set has other content"
    if before.metrics.get("network") != now.metrics.get("network"):
        return "its network"
    changed = _changed(before.metrics.get("training", {}), now.metrics.get("training", {}))
    return changed or _changed(*({"strict versions": record.metrics.get("strict", "")} for record in (before, now)))


def _changed(before: Any, now: Any) -> str:
    return "; ".join(f"{place}: {today}, not {then}" for place, then, today in fields_changed(before, now))
