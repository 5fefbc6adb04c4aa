"""What a report says about how the models of one data set were trained: figures, a table, exemptions, caveats."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ..analysis.results import Results
from ..analysis.summary import spread
from ..analysis.trainings import Trainings, exemptions, held_out
from ..storing.outcomes import ModelRecord
from .alignment_curves import plot_alignment
from .pictures import Picture, slug_of
from .style import Look, card_looks, looks
from .tables import EMPTY_CELL, percent
from .training_curves import plot_training


def shown_trainings(trainings: Trainings, results: Results) -> dict[str, Trainings]:
    """Return the trainings to report per data set: those of the models that were attacked, or else the newest.

    Of the newest, earlier epochs are left out. A table of imported images has a name of its own; its models belong to
    the data set that they were trained on.
    """
    attacked = {key for one in results.outcomes for key in one.models}
    shown = {}
    for name in trainings.datasets:
        keys = {key for key, record in trainings.models.items() if record.dataset == name} & attacked
        shown[name] = trainings.only(keys) if keys else trainings.newest(name).whole()
    return shown


def training_looks(trainings: Trainings, results: Results) -> dict[str, Look]:
    """Return the look of every trained card: a card that was swept keeps the one it has there."""
    swept = [model for one in results.outcomes for model in one.models.values()]
    return {**card_looks([*swept, *trainings.models.values()]), **looks(results)}


def training_pictures(shown: Trainings, dataset: str, styles: Mapping[str, Look]) -> Iterator[Picture]:
    """List what can be drawn of the trainings on one data set."""
    title, slug = shown.title(dataset), slug_of(dataset)
    if len(shown.epochs):
        alt = f"Training loss and accuracy against the epoch on {title}, one line per model card."
        draw = partial(plot_training, shown, dataset=dataset, styles=styles)
        yield Picture(f"{slug}-training", "training", alt, draw)
    for name in dict.fromkeys(shown.layers["model"]):
        alt = f"Angles and ratios of norms of {name}'s updates and feedback against the epoch, one line per layer."
        yield Picture(
            f"{slug}-alignment-{slug_of(name)}",
            "alignment",
            alt,
            partial(plot_alignment, shown, name, dataset=dataset),
        )


def training_facts(
    trainings: Trainings, shown: Trainings, dataset: str, styles: Mapping[str, Look], pictures: Sequence[Picture]
) -> dict[str, Any]:
    """Collect what the page says about the trainings on one data set, as plain data.

    Args:
        trainings: all of the run.
        shown: those to report.
        dataset: the data set.
        styles: every card's look.
        pictures: what is drawn.
    """
    cards: dict[str, list[ModelRecord]] = {}
    for record in shown.models.values():
        cards.setdefault(record.name, []).append(record)
    rules: dict[str, dict[str, str] | None] = {}
    for record in shown.models.values():
        if record.external:  # no rule of ours
            continue
        known = exemptions(record)  # a training that failed recorded none
        if known is not None or record.rule not in rules:
            rules[record.rule] = known
    return {
        "anchor": slug_of(dataset),
        "title": shown.title(dataset),
        "held_out": any(map(held_out, shown.models.values())),
        "rows": [{"colour": styles[name].colour, **_row(records)} for name, records in cards.items()],
        "failed": [record for record in shown.models.values() if record.status == "failed"],
        "exempt": {rule: tests for rule, tests in rules.items() if tests},
        "without": [rule for rule, tests in rules.items() if tests == {}],
        "unknown": [rule for rule, tests in rules.items() if tests is None],
        "caveats": _unread(shown),
        "notes": [*_from_zoos(shown), *_others(trainings, shown, dataset)],
        "pictures": [{"stem": one.stem, "kind": one.kind, "alt": one.alt} for one in pictures],
    }


def _row(records: Sequence[ModelRecord]) -> dict[str, str]:
    """Return a card's row of the table, as text: means over its trained seeds."""
    last, trained = records[-1], [record.metrics for record in records if record.status == "trained"]
    failed = len(records) - len(trained)
    seen = "held_out_accuracy" if held_out(last) else "test_accuracy"
    return {
        "title": last.title or last.name,
        "card": last.name,
        "rule": last.rule,
        "seeds": f"{len(trained)} ({failed} more failed)" if failed else str(len(trained)),
        "epochs": " or ".join(sorted({str(facts.get("epochs") or EMPTY_CELL) for facts in trained})) or EMPTY_CELL,
        "loss": _mean(trained, "train_loss", lambda loss: EMPTY_CELL if math.isnan(loss) else f"{loss:.3f}"),
        "train": _mean(trained, "train_accuracy", percent),
        "accuracy": _mean(trained, seen, percent),
    }


def _mean(facts: Sequence[Mapping[str, Any]], name: str, write: Callable[[float], str]) -> str:
    values = [float(one[name]) for one in facts if isinstance(one.get(name), (int, float))]
    if not values:
        return EMPTY_CELL
    mean, deviation = write(sum(values) / len(values)), spread(values)
    return mean if math.isnan(deviation) else f"{mean} ± {write(deviation)}"


def _unread(shown: Trainings) -> list[str]:
    if not shown.unread:
        return []
    records = [shown.models[key] for key in shown.unread]
    who = ", ".join(
        f"{record.title or record.name} (seed {record.seed}, logs/{record.key}.jsonl)" for record in records
    )
    return [f"Missing from the figures of training, because their logs are missing or damaged: {who}."]


def _from_zoos(shown: Trainings) -> list[str]:
    """Say which models were taken from a zoo, and from where."""
    places: dict[str, list[ModelRecord]] = {}
    for record in shown.models.values():
        if record.metrics.get("zoo"):
            places.setdefault(str(record.metrics["zoo"]), []).append(record)
    return [
        f"Taken from the zoo {place}, not trained in this run: {', '.join(_each(records))}."
        for place, records in places.items()
    ]


def _others(trainings: Trainings, shown: Trainings, dataset: str) -> list[str]:
    """Say what else the run holds of a data set."""
    others = [
        record for key, record in trainings.models.items() if record.dataset == dataset and key not in shown.models
    ]
    held = [record for record in others if held_out(record)]
    names = {record.name for record in shown.models.values()}
    unswept = [record for record in others if record not in held and record.name not in names]
    older = [record for record in others if record not in held and record.name in names]
    return [
        sentence
        for sentence, worth in (
            (f"Trained too, but in no sweep, and not shown: {', '.join(_each(unswept))}.", unswept),
            (f"Held images out, to choose a recipe, and not shown: {', '.join(_each(held))}.", held),
            (f"Of other seeds, or before card or data were changed, and not shown: {', '.join(_each(older))}.", older),
        )
        if worth
    ]


def _each(records: Sequence[ModelRecord]) -> list[str]:
    """Name every card once, with how many of its trainings are meant."""
    counts = Counter(record.name for record in records)
    return [f"{name} ({count})" if count > 1 else name for name, count in counts.items()]
