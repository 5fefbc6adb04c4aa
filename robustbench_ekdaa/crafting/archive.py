"""Adversarial images in files: saved to be scored again, or crafted elsewhere and checked before anybody scores them.

A file is a safetensors or an NPZ archive (never a pickle) with

    images    float32 or float64, (E, N, C, H, W), or (N, C, H, W) for one epsilon
    epsilons  (E,), in pixels of [0, 1]
    indices   (N,), positions of the clean images in the test half of their data set (default: 0 to N - 1)
    norm      "linf", "l2" or "l1": a text array in an NPZ, an entry of the header in a safetensors file

Files of this tool also say, in the header, what made them, and carry a digest that is compared on reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..cards import read_epsilons, shown_path
from ..data.archive import read_members
from ..errors import UsageError, unknown_name
from ..files import clear_errors, read_tensors, write_tensors
from .threat import THREATS


@dataclass(frozen=True)
class AdversarialImages:
    """One attack's images of the same clean images at several epsilons.

    Attributes:
        images: float32 (E, N, C, H, W).
        epsilons: E numbers, in pixels of [0, 1].
        norm: "linf", "l2" or "l1".
        indices: positions of the clean images in the test half of their data set, int64 (N,).
        facts: whatever else is known, as plain data: attack, data set, its fingerprint, surrogate, seed; of a file of
            this tool also its digest, which was found right.

    """

    images: Tensor
    epsilons: tuple[float, ...]
    norm: str
    indices: Tensor
    facts: dict[str, Any] = field(default_factory=dict)


def save_adversarial(path: Path, found: AdversarialImages) -> None:
    """Write a safetensors file with its digest, whole or not at all; raises WorkFailed when the disk refuses."""
    tensors = {
        "images": found.images,
        "epsilons": torch.tensor(found.epsilons, dtype=torch.float64),
        "indices": found.indices,
    }
    with clear_errors(path):
        write_tensors(path, tensors, {**found.facts, "norm": found.norm})


def load_adversarial(
    path: Path,
    *,
    norm: str | None = None,
    epsilons: Sequence[float] | None = None,
    indices: Sequence[int] | None = None,
) -> AdversarialImages:
    """Read adversarial images of this or another tool.

    Args:
        path: a .safetensors or .npz file.
        norm: for files that do not say it.
        epsilons: likewise.
        indices: likewise.

    Raises:
        UsageError: naming file, key and reason, also when file and arguments contradict each other.

    """
    where = shown_path(path)
    arrays, facts = _read(path, where)
    if "images" not in arrays:
        raise UsageError(f"{where}: has no images (only {', '.join(sorted(arrays)) or 'nothing'})")
    images = arrays["images"]
    if not images.is_floating_point():
        raise UsageError(
            f"{where}: images: must be float32 in [0, 1] (got {str(images.dtype).removeprefix('torch.')}). "
            "Images rounded to 8 bits leave their ball: save what the attack returned."
        )
    images = images.float()[None] if images.ndim == 4 else images.float()
    if images.ndim != 5:
        raise UsageError(f"{where}: images: must be (E, N, C, H, W) or (N, C, H, W) (got {tuple(images.shape)})")
    if not images.numel():
        raise UsageError(f"{where}: images: there are none (got {tuple(images.shape)})")
    wanted = None if epsilons is None else _as_written(epsilons, "epsilons")
    sizes = _agreed(where, "epsilons", _epsilons(arrays, where), wanted)
    if len(sizes) != len(images):
        raise UsageError(f"{where}: epsilons: must be {len(images)}, one per batch of images (got {len(sizes)})")
    stated = facts.pop("norm", None)
    if stated is not None and norm is not None and stated != norm:
        raise UsageError(f"{where}: norm: the file says {stated}, the request {norm}")
    measured = stated or norm
    if measured is None:
        raise UsageError(f"{where}: norm: the file does not say it; give it as linf, l2 or l1")
    if not isinstance(measured, str) or measured not in THREATS:
        raise UsageError(f"{where}: {unknown_name('norm', str(measured), THREATS)}")
    stated_indices = arrays["indices"].flatten().tolist() if "indices" in arrays else None
    places = _agreed(where, "indices", stated_indices, indices, default=range(images.shape[1]))
    if len(places) != images.shape[1]:
        raise UsageError(f"{where}: indices: must be {images.shape[1]}, one per image (got {len(places)})")
    chosen = torch.tensor([_position(place, where) for place in places], dtype=torch.int64)
    return AdversarialImages(images, tuple(sizes), measured, chosen, facts)


def check_adversarial(found: AdversarialImages, clean: Tensor, *, where: str, fingerprint: str | None = None) -> None:
    """Raise UsageError unless these are perturbations of these clean images by at most their epsilons.

    Args:
        found: the adversarial images.
        clean: all images of the test half, float32 (M, C, H, W) in [0, 1].
        where: the file, for messages.
        fingerprint: the data set's; a file that names another data set's is refused.

    """
    named = found.facts.get("fingerprint")
    if fingerprint is not None and named is not None and named != fingerprint:
        raise UsageError(f"{where}: was made from other images (data set {found.facts.get('dataset', 'unknown')})")
    if found.images.shape[2:] != clean.shape[1:]:
        raise UsageError(
            f"{where}: images: must be of shape {tuple(clean.shape[1:])} as the data set's "
            f"(got {tuple(found.images.shape[2:])})"
        )
    outside = [place for place in found.indices.tolist() if not 0 <= place < len(clean)]
    if outside:
        raise UsageError(f"{where}: indices: must be from 0 to {len(clean) - 1} (got {outside[0]})")
    if len(set(found.indices.tolist())) != len(found.indices):
        raise UsageError(f"{where}: indices: an image is named twice")
    if len(set(found.epsilons)) != len(found.epsilons):
        raise UsageError(f"{where}: epsilons: one is given twice")
    originals = clean[found.indices]
    for epsilon, images in zip(found.epsilons, found.images, strict=True):
        if not 0 <= epsilon < float("inf"):
            raise UsageError(f"{where}: epsilons: must be numbers from 0 up (got {epsilon})")
        _check_box(images, found.indices, where, epsilon)
        _check_ball(images, originals, found, where, epsilon)


def _check_box(images: Tensor, indices: Tensor, where: str, epsilon: float) -> None:
    wrong = ~((images >= 0) & (images <= 1)).flatten(1).all(1)
    if bool(wrong.any()):
        place = int(indices[wrong][0])
        raise UsageError(f"{where}: images: image {place} at epsilon {epsilon:g} has pixels outside [0, 1], or NaN")


def _check_ball(images: Tensor, originals: Tensor, found: AdversarialImages, where: str, epsilon: float) -> None:
    threat = THREATS[found.norm]
    size = threat.size((images - originals).double())
    # Pixels near 1 are 6e-8 apart, and a norm adds that rounding up over the pixels.
    rounding = 1.2e-7 * threat.of_ones(images[0].numel()) if len(images) else 0.0
    wrong = size > epsilon * (1 + 1e-5) + rounding
    if bool(wrong.any()):
        worst = int(size.argmax())
        raise UsageError(
            f"{where}: images: {int(wrong.sum())} of {len(size)} leave the {found.norm} ball of epsilon {epsilon:g}, "
            f"most of all image {int(found.indices[worst])} with {float(size[worst]):.6g}. "
            "Check epsilon, norm, indices, and that no image was rounded to 8 bits or normalised."
        )


def _read(path: Path, where: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if path.suffix not in {".safetensors", ".npz"}:
        raise UsageError(f"{where}: must be a .safetensors or .npz file")
    if not path.is_file():
        raise UsageError(f"{where}: there is no such file")
    return _read_npz(path, where) if path.suffix == ".npz" else _read_safetensors(path, where)


def _read_safetensors(path: Path, where: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    found = read_tensors(path, "Save it anew.")
    if found.facts is not None and "key" in found.facts and "digest" not in found.facts:
        # The two came together: without one a flipped bit in its very name would make the file look like an early one.
        raise UsageError(f"{where}: is damaged (it has no digest).")
    facts = {**found.header, **(found.facts or {})}
    members = facts.get("members", [])
    if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
        raise UsageError(
            f"{where}: members: must be a list of the keys of models (got {members}). Leave it out, or save anew."
        )
    return found.tensors, facts


def _read_npz(path: Path, where: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, facts = {}, {}
    for name, array in read_members(path).items():
        if array.dtype.kind in "US":
            facts[name] = str(array)
            continue
        try:
            tensors[name] = torch.from_numpy(np.atleast_1d(array))
        except (TypeError, ValueError):
            raise UsageError(f"{where}: {name}: must be plain numbers or text (got {array.dtype})") from None
    return tensors, facts


def _epsilons(arrays: dict[str, Tensor], where: str) -> list[float] | None:
    for name in ("epsilons", "epsilon"):
        if name in arrays:
            return _as_written(arrays[name].flatten(), f"{where}: {name}")
    return None


def _as_written(epsilons: Iterable[object], where: str) -> list[float]:
    """Return epsilons as they were meant, so that each has one place in the store: 0.1 in float32 is 0.10000000149."""
    try:
        return list(read_epsilons(epsilons))
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _position(number: float, where: str) -> int:
    try:
        position = int(number)
    except (TypeError, ValueError, OverflowError):  # a complex number, NaN, infinity
        position = -1
    if position != number or abs(position) >= 2**63:
        raise UsageError(f"{where}: indices: must be whole numbers, positions in the test half (got {number})")
    return position


def _agreed(
    where: str,
    what: str,
    stated: Sequence[float] | None,
    asked: Sequence[float] | None,
    default: Sequence[float] | None = None,
) -> list[float]:
    """Return what the file says or the request, which must not differ."""
    if stated is not None and asked is not None and list(stated) != list(asked):
        raise UsageError(f"{where}: {what}: the file and the request differ")
    for numbers in (stated, asked, default):
        if numbers is not None:
            return list(numbers)
    raise UsageError(f"{where}: {what}: the file does not say them; give them")
