"""What the store's columns hold: arrays as compressed bytes, and JSON of a known form."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_serializer, field_validator

from .bits import Bits, padded
from .sealed import Damaged

Form = TypeVar("Form")


class Roles(BaseModel):
    """The keys that play a part in one sweep, or in one import of images.

    Attributes:
        ensembles: the members of each.
        imports: for an attack whose images came from a file, the surrogate (None: noise); None in a sweep.
        foreign: the surrogates whose cards have the role "surrogate"; None for none.
        labels: what the models are called, trained or not; None in runs that did not record it.

    """

    model_config = ConfigDict(extra="forbid")

    surrogates: list[str]
    targets: list[str]
    attacks: list[str]
    epsilons: list[float]
    ensembles: dict[str, Annotated[list[str], Field(min_length=1)]] = {}
    imports: dict[str, str | None] | None = None
    foreign: list[str] | None = None
    labels: dict[str, str] | None = None

    @field_validator("imports")
    @classmethod
    def _read(cls, imports: dict[str, str | None] | None) -> dict[str, str | None] | None:
        return None if imports is None else {key: surrogate or None for key, surrogate in imports.items()}

    @field_serializer("imports")
    def _written(self, imports: dict[str, str | None] | None) -> dict[str, str] | None:
        return None if imports is None else {key: pack_absent(surrogate) for key, surrogate in imports.items()}


ROLES_FORM = TypeAdapter(Roles)
FACTS_FORM = TypeAdapter(dict[str, float])
TEXTS_FORM: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])
PLAIN_FORM = TypeAdapter(dict[str, Any])
NAMES_FORM: TypeAdapter[list[str]] = TypeAdapter(list[str])
Side = Annotated[int, Field(ge=1, le=10_000)]
SHAPE_FORM = TypeAdapter(tuple[Side, Side, Side])


def pack_json(facts: Any) -> str:
    """Write plain data as JSON."""
    return printable(json.dumps(facts, ensure_ascii=False))


def pack_absent(text: str | None) -> str:
    """Write a text that may be absent: a column of texts holds "" for none."""
    return text or ""


def unpack_absent(text: str) -> str | None:
    """Read a text that may be absent."""
    return text or None


def printable(text: str) -> str:
    """Return a text with question marks where it holds what was no text, such as the bytes of a file's name."""
    return text.encode("utf-8", "replace").decode()


def unpack_json(form: TypeAdapter[Form], text: Any, what: str) -> Form:
    """Read JSON of a known form; raises Damaged, saying what it is of."""
    try:
        return form.validate_json(text)
    except ValidationError as error:
        raise Damaged(f"{what}: {error.errors()[0]['msg']}") from None


def pack_indices(numbers: NDArray[np.int64]) -> bytes:
    """Write positions or labels, (N,)."""
    return numbers.astype("<i8").tobytes()


def unpack_indices(blob: Any, what: str) -> NDArray[np.int64]:
    """Read positions or labels, (N,), N at least 1; raises Damaged."""
    if not isinstance(blob, bytes) or not blob or len(blob) % 8:
        raise Damaged(f"{what} have a wrong length")
    return np.frombuffer(blob, dtype="<i8").astype(np.int64)


def pack_right(right: NDArray[np.bool_]) -> bytes:
    """Write which images each of T targets got right, (T, N): eight to a byte."""
    return np.packbits(right, axis=-1).tobytes()


def unpack_right(blob: Any, targets: int, count: int) -> Bits:
    """Read which of N images each of T targets got right, as bits, (T, B); raises Damaged."""
    raw = np.frombuffer(_bytes(blob), np.uint8)
    if len(raw) != targets * -(-count // 8):
        raise Damaged("what was right has a wrong length")
    return padded(raw.reshape(targets, -1), count)


def pack_mistakes(predictions: NDArray[np.integer[Any]], right: NDArray[np.bool_]) -> bytes:
    """Write the classes that T targets predicted for N images, where they were wrong: in as few bytes as they need.

    Image by image: on an image that fools several targets, these mostly predict the same class.

    Args:
        predictions: 0 or more, (T, N).
        right: which of them are right, (T, N).
    """
    if predictions.min() < 0:
        raise ValueError(f"classes cannot be below 0 (got {predictions.min()})")
    mistakes = predictions.T[~right.T]
    narrow = np.min_scalar_type(int(mistakes.max(initial=0))).newbyteorder("<")
    return zlib.compress(mistakes.astype(narrow).tobytes())


def unpack_mistakes(
    blob: Any, right: NDArray[np.bool_], labels: NDArray[np.int64], classes: int
) -> NDArray[np.unsignedinteger[Any]]:
    """Read the classes that T targets predicted for N images, (T, N); raises Damaged.

    Args:
        blob: of `pack_mistakes`.
        right: where the targets were right, (T, N).
        labels: the true classes, (N,).
        classes: how many there are, K; a prediction of K stands for an answer that was no number.
    """
    count = int(right.size - right.sum())
    raw = _unzip(blob, 8 * count)
    size, rest = divmod(len(raw), count) if count else (1, len(raw))
    if rest or size not in (1, 2, 4, 8):
        raise Damaged("predictions have a wrong length")
    mistakes = np.frombuffer(raw, dtype=f"<u{size}")
    if mistakes.max(initial=0) > classes:
        raise Damaged(f"predictions hold class {mistakes.max()} of {classes}")
    truth = labels.astype(np.min_scalar_type(classes))
    predictions = np.repeat(truth[:, None], len(right), 1)
    predictions[~right.T] = mistakes
    return predictions.T


def pack_counts(counts: NDArray[np.int64]) -> bytes:
    """Write numbers of images, (T,), -1 for those that were not counted."""
    return counts.astype("<i4").tobytes()


def unpack_counts(blob: Any, targets: int) -> NDArray[np.int64]:
    """Read numbers of images, (T,); raises Damaged."""
    raw = _bytes(blob)
    if len(raw) != 4 * targets:
        raise Damaged("counts have a wrong length")
    return np.frombuffer(raw, "<i4").astype(np.int64)


def unpack_classes(blob: Any, count: int, classes: int) -> NDArray[np.int64]:
    """Read N classes of one target as formats 1 to 3 hold them, each up to K; raises Damaged."""
    raw = _unzip(blob, 8 * count)
    size, rest = divmod(len(raw), count)
    if rest or size not in (1, 2, 4, 8):
        raise Damaged("predictions have a wrong length")
    found = np.frombuffer(raw, dtype=f"<u{size}")
    if found.max() > classes:
        raise Damaged(f"predictions hold class {found.max()} of {classes}")
    return found.astype(np.int64)


def pack_images(images: NDArray[np.float32]) -> bytes:
    """Write images, float32 (n, C, H, W)."""
    return zlib.compress(np.ascontiguousarray(images, dtype="<f4").tobytes())


def unpack_images(blob: Any, shape: Sequence[int], most: int) -> NDArray[np.float32]:
    """Read images of a shape (C, H, W), float32 (n, C, H, W), as many as there are at most; raises Damaged."""
    size = 4 * math.prod(shape)
    raw = _unzip(blob, size * most)
    if len(raw) % size:
        raise Damaged("images have a wrong length")
    images = np.frombuffer(raw, dtype="<f4").reshape(-1, *shape).astype(np.float32)
    if not np.isfinite(images).all():
        raise Damaged("images have values that are no numbers")
    return images


def _unzip(blob: Any, most: int) -> bytes:
    inflate = zlib.decompressobj()
    raw = inflate.decompress(_bytes(blob), most + 1)
    if len(raw) > most or not inflate.eof or inflate.unused_data:
        raise Damaged("compressed bytes have a wrong length")
    return raw


def _bytes(blob: Any) -> bytes:
    if not isinstance(blob, bytes):
        raise Damaged(f"found {type(blob).__name__} where bytes should be")
    return blob
