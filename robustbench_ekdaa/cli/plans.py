"""How `sweep --plan` is printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..memory import in_words
from .printing import say, show_json, show_rows

if TYPE_CHECKING:
    from ..scoring.forecast import Forecast, PlannedWork


def show_plan(found: Forecast, *, as_json: bool) -> None:
    """Print what a sweep is about to do."""
    if as_json:
        show_json(found.plain())
        return
    show_rows([_row(one) for one in found.work])
    for reason in found.reasons:
        say(f"Computed again: {reason}")
    jobs = found.jobs
    say(f"To do: {jobs['training']} trainings, {jobs['clean pass']} clean passes, {jobs['attack']} craftings.")
    stored = (("checkpoints", found.checkpoint_bytes), ("outcomes", found.outcome_bytes), ("images", found.image_bytes))
    say("To store, about: " + ", ".join(f"{what} {in_words(size)}" for what, size in stored) + ".")
    side_by_side = (
        f", {in_hours(found.seconds / found.slots)} with {found.slots} jobs side by side" if found.slots else ""
    )
    say(f"Time, about: {in_hours(found.seconds)} of one core{side_by_side}.")
    if found.unknown:
        say(f"Not in it, as nobody knows before it has run once: {', '.join(dict.fromkeys(found.unknown))}.")


def _row(one: PlannedWork) -> dict[str, Any]:
    return {
        "data set": one.dataset,
        "kind": one.kind,
        "name": one.name or "",
        "to do": one.jobs,
        "stored": one.stored,
        "forward": None if one.forward is None else _in_millions(one.forward),
        "backward": None if one.backward is None else _in_millions(one.backward),
        "time": None if one.seconds is None else in_hours(one.seconds),
        "known": one.basis if one.jobs else None,
    }


def _in_millions(count: float) -> str:
    return f"{count:,.0f}" if count < 1e6 else f"{count / 1e6:,.2f} M"


def in_hours(seconds: float) -> str:
    """Return a time as people say it: "50 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    return f"{minutes} min" if minutes < 90 else f"{hours:,} h {rest} min"
