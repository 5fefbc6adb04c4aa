"""The trained models of a run, as they may be published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..cards import ModelCard, Workspace, content_hash
from ..errors import UsageError
from ..files import read_tensors, shown_path
from ..learning.job import checkpoint_path, resolved_network
from ..progress import Progress
from ..storing.outcomes import ModelRecord
from ..storing.store import reading
from ..text import one_line, visible
from ..zoo import Exhibit, Figures


def exhibits(run: Path, workspace: Workspace, progress: Progress) -> list[Exhibit]:
    """Return the trained models of a run as they may be published.

    Raises:
        UsageError: for a run without any.
    """
    with reading(run) as store:
        records = [record for record in store.models().values() if record.status == "trained"]
    ours = [record for record in records if not record.external and record.metrics.get("digest")]
    for record in records:
        if record.external:
            progress.line(f"{_label(record)}: was trained elsewhere and is not published; publish its card and weights")
        elif record not in ours:
            progress.line(f"{_label(record)}: is of an early release, which noted no digest, and is not published")
    if not ours:
        raise UsageError(f"{shown_path(run)}: nothing that could be published was trained here")
    return [_exhibit(record, run, workspace) for record in ours]


def _label(record: ModelRecord) -> str:
    return f"{record.name} on {record.dataset}, seed {record.seed}"


def _exhibit(record: ModelRecord, run: Path, workspace: Workspace) -> Exhibit:
    names = {name: one_line(getattr(record, name)) for name in ("name", "title", "rule", "dataset")}
    facts = record.metrics
    return Exhibit(
        record.key,
        _label(record),
        facts["digest"],
        facts.get("log_digest"),
        {**names, "fingerprint": record.fingerprint, "seed": record.seed, "card": _card(record, run, workspace)},
        Figures.model_validate({name: facts.get(name) for name in Figures.model_fields}),
    )


def _card(record: ModelRecord, run: Path, workspace: Workspace) -> dict[str, Any] | None:
    """Return the card that a model was trained by, if the workspace still has it as it was."""
    try:
        card = workspace.model(record.name)
        if not isinstance(card, ModelCard):
            return None
        identity = (read_tensors(checkpoint_path(run, record.key)).facts or {}).get("identity")
        same = content_hash(card.identity(record.dataset)) == content_hash(identity)
        if not same or content_hash(resolved_network(card.network)) != record.metrics.get("network"):
            return None
    except UsageError:
        return None
    found: dict[str, Any] = _visible(card.model_dump(mode="json", exclude_defaults=True))
    return found


def _visible(value: Any) -> Any:
    """Return plain data whose texts have no characters that control a terminal."""
    if isinstance(value, dict):
        return {visible(key): _visible(below) for key, below in value.items()}
    if isinstance(value, list):
        return [_visible(below) for below in value]
    return visible(value) if isinstance(value, str) else value
