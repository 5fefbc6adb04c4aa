"""The index of a zoo: which models it holds, and what each file's content is."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from ..cards import Card, check
from ..cards.fields import Line, Number, Whole
from ..errors import UsageError
from ..files import read_bytes
from ..remote import Location, read_remote
from ..text import one_line, visible

INDEX = "index.json"
ZOO_FORMAT, ZOO_VERSION = "robustbench-ekdaa zoo", 1
MOST_OF_INDEX = 100_000_000
DEEPEST_CARD = 20  # tables and lists in one another, in a card


def _harmless(text: str) -> str:
    if text != one_line(text):
        raise ValueError(f"must not hold characters that control a terminal or are invisible (got {one_line(text)!r})")
    return text


def _harmless_card(card: dict[str, Any]) -> dict[str, Any]:
    """Return a card whose texts are only shown; raises ValueError for one that would control a terminal."""
    waiting: list[tuple[Any, int]] = [(card, 0)]
    for value, depth in waiting:
        if depth > DEEPEST_CARD:
            raise ValueError("must not have so many tables or lists in one another")
        if isinstance(value, dict):
            waiting += [(part, depth + 1) for pair in value.items() for part in pair]
        elif isinstance(value, list):
            waiting += [(part, depth + 1) for part in value]
        elif isinstance(value, str) and value != visible(value):
            raise ValueError(
                f"must not hold characters that control a terminal or are invisible (got {one_line(value[:80])!r})"
            )
    return card


Key = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Told = Annotated[Line, AfterValidator(_harmless)]
# Names of folders and a file, each of which begins with a letter or digit: no such path leads out of the zoo.
Inside = Annotated[str, Field(max_length=1_000, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*$")]
Accuracy = Annotated[Number, Field(ge=0, le=1)]


class StoredFile(Card):
    """A file of the zoo.

    Attributes:
        path: where it is in the zoo.
        sha256: of its content.
        size: in bytes.
    """

    path: Inside
    sha256: Digest
    size: Annotated[Whole, Field(ge=0, le=10_000_000_000)]


class Figures(Card):
    """What the training of a model gave, as the run says that it was published from; None for what is not known."""

    epochs: Annotated[Whole, Field(ge=0)] | None = None
    train_loss: Number | None = None
    train_accuracy: Accuracy | None = None
    held_out_accuracy: Accuracy | None = None
    test_accuracy: Accuracy | None = None
    parameters: Annotated[Whole, Field(ge=0)] | None = None
    seconds: Annotated[Number, Field(ge=0)] | None = None


class Entry(Card):
    """One trained model.

    Attributes:
        name: its card's name.
        title: what figures call it.
        rule: its learning rule.
        dataset: the name of the data set that it was trained on.
        fingerprint: of these data.
        seed: its training seed.
        digest: of its checkpoint, as the run noted it that it was trained in.
        weights: the checkpoint.
        log: the training's log; None if the run did not have it any more.
        figures: what the training gave.
        card: its model card, to be read by people; None if there was none when it was published.
    """

    name: Told
    title: Told
    rule: Told
    dataset: Told
    fingerprint: Told | None
    seed: Annotated[Whole, Field(ge=0)]
    digest: Digest
    weights: StoredFile
    log: StoredFile | None
    figures: Figures
    card: Annotated[dict[str, Any], AfterValidator(_harmless_card)] | None


class Index(Card):
    """What a zoo holds: models by the keys that they have in runs."""

    format: Literal["robustbench-ekdaa zoo"]
    version: Literal[1]
    models: Annotated[dict[Key, Entry], Field(max_length=1_000_000)]

    def written(self) -> str:
        """Return it as the text of its file, one model after the other, so that versions can be compared."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False) + "\n"


EMPTY = Index(format="robustbench-ekdaa zoo", version=1, models={})


def read_index(zoo: Location) -> Index:
    """Read the index of a zoo.

    Raises:
        UsageError: naming the index, when it is not there, or not that of a zoo that this release reads.
        WorkFailed: where a server fails, does not answer, or stops too early.
    """
    place = zoo / INDEX
    if zoo.path is not None and not zoo.path.is_dir():
        if zoo.path.is_file():
            raise UsageError(f"{zoo}: is a file, not the folder of a zoo")
        read_bytes(zoo.path, 0)  # raises, as nothing can be read there
    try:
        table = json.loads(read_remote(place, MOST_OF_INDEX))
    except UnicodeDecodeError:
        raise UsageError(f"{place}: is not the index of a zoo (not UTF-8 text)") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{place}: is not the index of a zoo (not JSON, or cut off)") from None
    if not isinstance(table, dict) or table.get("format") != ZOO_FORMAT:
        raise UsageError(f"{place}: is not the index of a zoo (it has no format {ZOO_FORMAT!r})")
    if table.get("version") != ZOO_VERSION:
        newer = isinstance(table.get("version"), int) and table["version"] > ZOO_VERSION
        advice = " It was written by a newer release: update this one." if newer else ""
        raise UsageError(f"{place}: is of version {one_line(table.get('version'))[:20]}, not {ZOO_VERSION}.{advice}")
    return check(Index, table, str(place))
