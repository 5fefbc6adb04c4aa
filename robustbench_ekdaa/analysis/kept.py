"""What a card keeps under attack, image by image: with all seeds, without each of them, and by each of its own alone.

These arrays are all that intervals need. They are made once per card and regime; a comparison of two cards is then a
difference of arrays, so that all pairs of a large run take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .intervals import Sample
from .metrics import Bools, Floats

Groups = Sequence[Sequence[Sequence[int]]]  # of rows: kinds of surrogates, their cards, the cards' models


@dataclass(frozen=True)
class Kept:
    """The share of its attacks that a card withstands, per image; or another statistic in [0, 1].

    Attributes:
        whole: with all models, (N,).
        without: without the models of each of K training seeds, surrogates and targets alike, (K, N).
        by_seed: by each of the card's n models alone, (n, N).
        seeds: the training seeds of these models, (n,).
        active: which of the K seeds some model has that the statistic comes from, (K,).
    """

    whole: Floats
    without: Floats
    by_seed: Floats
    seeds: tuple[int, ...]
    active: Bools

    def sample(self, among: Masks | None = None) -> Sample:
        """Return what the interval of the card's own mean is computed from, over all images or some."""
        return Sample(*self._means(among, self.active), (_mean(self.by_seed, among),))

    def minus(self, other: Kept, among: Masks | None = None) -> Sample:
        """Return the same of the difference from another card, seed by seed where both have the same seeds."""
        active = self.active | other.active
        images, without = (
            mine - theirs for mine, theirs in zip(self._means(among, active), other._means(among, active), strict=True)
        )
        mine, theirs = (one._seed_means if among is None else _mean(one.by_seed, among) for one in (self, other))
        paired = sorted(self.seeds) == sorted(other.seeds)
        order = np.argsort(self.seeds), np.argsort(other.seeds)
        return Sample(images, without, (mine[order[0]] - theirs[order[1]],) if paired else (mine, theirs))

    def over(self, other: Kept) -> Sample:
        """Return the same of the mean divided by another one of the same models, such as area by clean accuracy.

        Its variance over images is that of the ratio to first order, (x_i - R y_i) / mean(y), with R the ratio.
        """
        ratio = self.whole.mean() / other.whole.mean()
        images = ratio + (self.whole - ratio * other.whole) / other.whole.mean()
        active = self.active | other.active
        without = self._without_means[active] / other._without_means[active]
        return Sample(images, without, (self._seed_means / other._seed_means,))

    @cached_property
    def _without_means(self) -> Floats:
        """Over all images, without each seed, (K,); a card stands in many pairs."""
        return np.asarray(self.without.mean(-1))

    @cached_property
    def _seed_means(self) -> Floats:
        """Over all images, by each of the card's models, (n,)."""
        return np.asarray(self.by_seed.mean(-1))

    def _means(self, among: Masks | None, active: Bools) -> tuple[Floats, Floats]:
        if among is None:
            return self.whole, self._without_means[active]
        counted, total = among.without, among.without.sum(-1)
        sums = np.where(counted, self.without, 0.0).sum(-1)
        return self.whole[among.whole], (sums / np.maximum(total, 1))[active & (total > 0)]


def combined(parts: Sequence[Kept], weights: Sequence[float]) -> Kept:
    """Return the weighted sum of several statistics of one card's same models."""

    def total(arrays: Sequence[Floats]) -> Floats:
        return np.asarray(sum(weight * array for weight, array in zip(weights, arrays, strict=True)))

    return replace(
        parts[0],
        whole=total([part.whole for part in parts]),
        without=total([part.without for part in parts]),
        by_seed=total([part.by_seed for part in parts]),
    )


@dataclass(frozen=True)
class Masks:
    """Which images count: with all seeds (N,), and without each of K (K, N).

    Images that several models all get right are more without one of the models.
    """

    whole: Bools
    without: Bools


def _mean(values: Floats, among: Masks | None) -> Floats:
    return np.asarray(values.mean(-1) if among is None else values[..., among.whole].mean(-1))


def surrogate_weights(allowed: Bools, seeds: Sequence[int], groups: Groups, left_out: Sequence[int | None]) -> Floats:
    """Return how much each surrogate weighs in each target's mean.

    Kinds weigh the same, cards the same within a kind, and models within a card. A card without a model that may attack
    a target is left out of that target's mean. Leaving a seed out leaves no card out: one that has no other seed stays.

    Args:
        allowed: which of H surrogates may attack which of T targets, (H, T).
        seeds: the surrogates' training seeds, (H,).
        groups: by kind and card, the rows of the surrogates that count.
        left_out: training seeds to leave out, one at a time; None leaves none out. L of them.

    Returns:
        shape (L, H, T): sums of 1 over H, or of 0 where nobody may attack.
    """
    given = np.asarray(seeds)
    there = np.stack([np.ones(len(given), bool) if seed is None else given != seed for seed in left_out])
    weights: Floats = np.zeros((len(left_out), *allowed.shape))
    kinds = np.zeros((len(left_out), allowed.shape[1]))
    for kind in groups:
        share, cards = np.zeros_like(weights), np.zeros_like(kinds)
        for rows in map(list, kind):
            others = allowed[rows] & there[:, rows, None]
            counted = np.where(others.any(1, keepdims=True), others, allowed[rows])
            number = counted.sum(1, keepdims=True)
            share[:, rows] += counted / np.maximum(number, 1)
            cards += number[:, 0] > 0
        weights += share / np.maximum(cards, 1)[:, None]
        kinds += cards > 0
    return weights / np.maximum(kinds, 1)[:, None]


def averaged(values: NDArray[np.floating] | Bools, weights: Floats) -> Floats:
    """Average over surrogates.

    Args:
        values: what each target keeps of each surrogate's attack, (H, T, N).
        weights: of `surrogate_weights`, (L, H, T).

    Returns:
        shape (L, T, N).
    """
    return np.stack([weights[:, :, j] @ values[:, j] for j in range(values.shape[1])], axis=1)


def kept_by(targets: Floats, seeds: Sequence[int], left_out: Sequence[int | None], active: Bools) -> Kept:
    """Average over a card's models.

    Args:
        targets: what each of the card's n models keeps, without each seed among the surrogates, (1 + K, n, N); the
            first leaves none out.
        seeds: the models' training seeds, (n,).
        left_out: None, and the K training seeds.
        active: which of these matter, (K,).
    """
    given, without = np.asarray(seeds), []
    for number, seed in enumerate(left_out[1:], start=1):
        others = given != seed
        without.append(targets[number][others if others.any() else ~others].mean(0))
    # A copy, because a view would keep all of `targets` in memory.
    return Kept(targets[0].mean(0), np.stack(without), targets[0].copy(), tuple(seeds), active)
