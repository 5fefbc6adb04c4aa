"""What a metric is: functions of labels and of the classes that models predicted, image by image.

Arrays of predictions are integers of shape (..., N); leading axes (attacks, epsilons, models) are kept. A share of
nothing (0 / 0) is NaN, never 0. All rates lie in [0, 1].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def ratio(part: ArrayLike, whole: ArrayLike) -> Floats:
    """Return part / whole element by element, NaN where whole is 0.

    >>> ratio([1, 0], [4, 0]).tolist()
    [0.25, nan]
    """
    above, below = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    result: Floats = np.full(above.shape, np.nan)
    np.divide(above, below, out=result, where=below > 0)
    return result


def accuracy(predictions: ArrayLike, labels: ArrayLike) -> Floats:
    """Clean accuracy, or accuracy under attack: sum_i [T(a_i) = y_i] / N.

    Args:
        predictions: what the target predicted for the clean or the adversarial images, (..., N).
        labels: the true classes, (N,).

    Returns:
        shares in [0, 1], shape (...); NaN for no images.

    >>> float(accuracy([0, 1, 2, 2], [0, 1, 2, 3]))
    0.75
    """
    right = np.asarray(predictions) == np.asarray(labels)
    return ratio(right.sum(-1), right.shape[-1])


def error_rate(predictions: ArrayLike, labels: ArrayLike) -> Floats:
    """Error rate under attack: 1 - accuracy under attack, over all images, those wrong before the attack included.

    Some papers call this the attack success rate; `attack_success_rate` is the conditional one.

    >>> float(error_rate([0, 1, 2, 2], [0, 1, 2, 3]))
    0.25
    """
    return 1.0 - accuracy(predictions, labels)


def robust_accuracy(clean: ArrayLike, attacked: ArrayLike, labels: ArrayLike) -> Floats:
    """Worst case over attacks, image by image: sum_i c_i prod_a [T(a_i) = y_i] / N, with c_i = [T(x_i) = y_i].

    This is the mean of minima over attacks; the minimum of the attacks' means is larger and says less.

    Args:
        clean: what the target predicted for the clean images, (N,).
        attacked: what it predicted under each attack, (A, ..., N); the first axis is the attacks.
        labels: the true classes, (N,).

    Returns:
        shares in [0, 1], shape (...).

    >>> float(robust_accuracy([0, 1, 2, 3], [[0, 1, 2, 0], [0, 0, 2, 3]], [0, 1, 2, 3]))
    0.5
    """
    truth = np.asarray(labels)
    survived = (np.asarray(attacked) == truth).all(axis=0) & (np.asarray(clean) == truth)
    return ratio(survived.sum(-1), survived.shape[-1])


def attack_success_rate(
    clean: ArrayLike, attacked: ArrayLike, labels: ArrayLike, among: ArrayLike | None = None
) -> Floats:
    """Attack success rate, conditional: sum_i c_i [T(a_i) != y_i] / sum_i c_i.

    With `among`, only those images count. Over the images that every compared model classifies correctly
    (`common_images`) this is the *common* rate: the one to rank learning rules by.

    Args:
        clean: what the target predicted for the clean images, (N,).
        attacked: what it predicted for the adversarial images, (..., N).
        labels: the true classes, (N,).
        among: which images count, booleans (N,); default all.

    Returns:
        shares in [0, 1], shape (...); NaN when no counted image was right before the attack.

    >>> float(attack_success_rate([0, 1, 2, 0], [0, 0, 0, 3], [0, 1, 2, 3]))
    0.6666666666666666
    """
    truth = np.asarray(labels)
    right = np.asarray(clean) == truth
    if among is not None:
        right = right & np.asarray(among, bool)
    fooled = right & (np.asarray(attacked) != truth)
    return ratio(fooled.sum(-1), right.sum())


def common_images(clean: ArrayLike, labels: ArrayLike) -> NDArray[np.bool_]:
    """Which images every one of several models classifies correctly.

    Args:
        clean: what M models predicted for the clean images, (M, N).
        labels: the true classes, (N,).

    Returns:
        booleans (N,).

    >>> common_images([[0, 1, 2], [0, 1, 0]], [0, 1, 2]).tolist()
    [True, True, False]
    """
    common: NDArray[np.bool_] = (np.asarray(clean) == np.asarray(labels)).all(axis=0)
    return common


def transfer_rate(
    surrogate_clean: ArrayLike,
    surrogate_attacked: ArrayLike,
    target_clean: ArrayLike,
    target_attacked: ArrayLike,
    labels: ArrayLike,
) -> Floats:
    """Of the images that fooled the surrogate and that the target got right before, the share that fools the target.

    sum_i f_i c_i [T(a_i) != y_i] / sum_i f_i c_i, with f_i = [S(x_i) = y_i and S(a_i) != y_i], c_i = [T(x_i) = y_i].

    Args:
        surrogate_clean: what the surrogate predicted for the clean images, (N,).
        surrogate_attacked: what it predicted for the images crafted on it, (..., N).
        target_clean: what the target predicted for the clean images, (N,).
        target_attacked: what the target predicted for the adversarial images, (..., N).
        labels: the true classes, (N,).

    Returns:
        shares in [0, 1], shape (...); NaN when no such image exists; 1 when surrogate and target are one model.

    >>> float(transfer_rate([0, 1, 2, 3], [1, 0, 0, 3], [0, 1, 0, 3], [1, 1, 0, 3], [0, 1, 2, 3]))
    0.5
    """
    truth = np.asarray(labels)
    fooled_surrogate = (np.asarray(surrogate_clean) == truth) & (np.asarray(surrogate_attacked) != truth)
    counted = fooled_surrogate & (np.asarray(target_clean) == truth)
    return ratio((counted & (np.asarray(target_attacked) != truth)).sum(-1), counted.sum(-1))


def mistake_agreement(surrogate_attacked: ArrayLike, target_attacked: ArrayLike, labels: ArrayLike) -> Floats:
    """Of the images on which surrogate and target are both wrong, the share where they predict the same class.

    Args:
        surrogate_attacked: what the surrogate predicted for the adversarial images, (..., N).
        target_attacked: what the target predicted for them, (..., N).
        labels: the true classes, (N,).

    Returns:
        shares in [0, 1], shape (...); NaN when they are never wrong together.

    >>> float(mistake_agreement([1, 0, 2], [1, 2, 2], [0, 1, 2]))
    0.5
    """
    surrogate, target, truth = (np.asarray(part) for part in (surrogate_attacked, target_attacked, labels))
    both = (surrogate != truth) & (target != truth)
    return ratio((both & (surrogate == target)).sum(-1), both.sum(-1))


def area_under_curve(epsilons: ArrayLike, accuracies: ArrayLike, *, relative: bool = False) -> Floats:
    """Area under the accuracy-epsilon curve by the trapezoidal rule over [0, eps_max], divided by eps_max.

    Args:
        epsilons: ascending, the first one 0, (E,).
        accuracies: accuracy at each epsilon, the clean one first, (..., E).
        relative: divide by the clean accuracy, so that the curve's shape counts and not its start.

    Returns:
        shape (...): in [0, 1], or [0, 1 / clean accuracy] when relative; NaN if no epsilon is above 0, for an
        undefined accuracy, or relative to a clean accuracy of 0.

    >>> round(float(area_under_curve([0, 0.1, 0.4], [0.8, 0.4, 0.0])), 6)
    0.3
    """
    grid, heights = np.asarray(epsilons, np.float64), np.asarray(accuracies, np.float64)
    area = ((heights[..., 1:] + heights[..., :-1]) / 2 * np.diff(grid)).sum(-1)
    mean = ratio(area, grid[-1])
    return ratio(mean, heights[..., 0]) if relative else mean


def eps_50(epsilons: ArrayLike, accuracies: ArrayLike) -> float:
    """The epsilon at which accuracy first falls to half of clean accuracy, interpolated linearly.

    Args:
        epsilons: ascending, the first one 0, (E,).
        accuracies: accuracy at each epsilon, the clean one first, (E,).

    Returns:
        a number in (0, eps_max]; infinity when the curve stays above (shown as "> eps_max", never extrapolated);
        NaN when clean accuracy is 0 or an accuracy is undefined.

    >>> eps_50([0, 0.1, 0.2], [0.8, 0.6, 0.2])
    0.15
    >>> eps_50([0, 0.1, 0.2], [0.8, 0.6, 0.5])
    inf
    """
    grid, heights = np.asarray(epsilons, np.float64), np.asarray(accuracies, np.float64)
    if not heights[0] > 0 or np.isnan(heights).any() or len(grid) < 2:
        return float("nan")
    half = heights[0] / 2
    below = np.flatnonzero(heights <= half)
    if len(below) == 0:
        return float("inf")
    right = int(below[0])
    left = right - 1
    fraction = (heights[left] - half) / (heights[left] - heights[right])
    return float(grid[left] + fraction * (grid[right] - grid[left]))


def crossing(epsilons: ArrayLike, heights: ArrayLike) -> float:
    """Where a curve first falls to 0 or below, interpolated linearly.

    Args:
        epsilons: ascending, (E,).
        heights: the curve at each, (E,).

    Returns:
        an epsilon; the first one where the curve starts there; infinity where it stays above.

    >>> crossing([0, 1, 2], [0.5, 0.25, -0.25])
    1.5
    """
    grid, above = np.asarray(epsilons, np.float64), np.asarray(heights, np.float64)
    below = np.flatnonzero(above <= 0)
    if len(below) == 0:
        return float("inf")
    right = int(below[0])
    left = max(right - 1, 0)
    fall = above[left] - above[right]
    return float(grid[left] + (above[left] / fall if fall > 0 else 0.0) * (grid[right] - grid[left]))
