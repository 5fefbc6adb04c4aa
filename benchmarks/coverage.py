"""How often 95 % intervals of a difference between two cards hold the truth, on made models whose truth is known.

    python benchmarks/coverage.py --replications 1000 --page benchmarks/coverage.md

On the logit of "this target is right on this image under this surrogate's attack", independent normal effects add up:
of the image (standard deviation 1.5), rule and image (0.7), target and image (0.7), surrogate and image (0.5), and of
the training seed, on the target's strength and on the surrogate's weakness: small 0.03 and 0.05, medium 0.12 and 0.12,
large 0.35 and 0.35. The two may go together in one model (correlation -0.95, 0 or 0.95). Both cards are attacked from
models of both, never from one of the same seed; or from three foreign cards of three seeds each.

False positives are p < 0.05 where the two cards do not differ; power is p < 0.05 where they differ by 5 points or so.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robustbench_ekdaa.analysis.intervals import Sample, difference_interval
from robustbench_ekdaa.analysis.kept import averaged, kept_by, surrogate_weights

IMAGE, RULE, TARGET, SURROGATE = 1.5, 0.7, 0.7, 0.5  # standard deviations on the logit
SEED = {"small": (0.03, 0.05), "medium": (0.12, 0.12), "large": (0.35, 0.35)}
START, GAP = 0.3, 0.4  # logits: of the weaker card, and by how much the stronger one exceeds it
FOREIGN_CARDS, FOREIGN_SEEDS = 3, 3
WHY = """\
In bold: coverage outside 93 to 98 %, and more than 5 % false positives. Intervals hold the truth too often
where seed effects are small and seeds are 3 or 5, above all with few images. What a target and an image have to
themselves, and the chance in single answers, then make most of the spread between seeds; it is in the images'
part already and so counts twice, and the seeds' part is the larger of two estimates that are rough from few
seeds. That costs power, and makes no false claim. Shares of false positives between 5 and 6.5 % are no more
than the noise of so many cells: where they are most frequent, with large effects and 1,000 images, their mean
is 5.2 %."""


@dataclass(frozen=True)
class Design:
    """One cell: how large seed effects are, how many seeds and images there are, and from which models attacks come."""

    effects: str
    seeds: int
    images: int
    correlation: float = 0.0
    surrogates: str = "both cards"


@dataclass(frozen=True)
class Found:
    """What intervals did over all replications of a cell; shares in [0, 1], width in [0, 2]."""

    covered: float
    false_positives: float
    power: float
    width: float


def designs() -> Iterator[Design]:
    """Yield all cells."""
    for effects, seeds, images in product(SEED, (3, 5, 10), (100, 300, 1000)):
        for correlation in (0.0, 0.95, -0.95):
            yield Design(effects, seeds, images, correlation)
        yield Design(effects, seeds, images, surrogates="foreign")


def right(design: Design, gap: float, draw: np.random.Generator) -> NDArray[np.float32]:
    """Draw which images the first card's targets and then the second's get right, (surrogates, 2 n, N)."""

    def normal(deviation: float, *shape: int) -> NDArray[np.float32]:
        return np.float32(deviation) * draw.standard_normal(shape, np.float32)

    n, images = design.seeds, design.images
    strength, weakness = SEED[design.effects]
    of_target, of_surrogate = normal(1, 2 * n), normal(1, 2 * n)
    of_surrogate = design.correlation * of_target + np.sqrt(1 - design.correlation**2) * of_surrogate
    if design.surrogates == "foreign":
        of_surrogate = normal(1, FOREIGN_CARDS * FOREIGN_SEEDS)
    card = np.repeat([START + gap, START], n)[:, None] + np.repeat(normal(RULE, 2, images), n, axis=0)
    targets = card + normal(IMAGE, images) + normal(TARGET, 2 * n, images) + strength * of_target[:, None]
    surrogates = normal(SURROGATE, len(of_surrogate), images) + weakness * of_surrogate[:, None]
    logits = surrogates[:, None] + targets
    return (draw.random(logits.shape, np.float32) < 1 / (1 + np.exp(-logits))).astype(np.float32)


def sample(design: Design, values: NDArray[np.float32]) -> Sample:
    """Reduce one drawn run to what the interval of the difference is computed from."""
    n = design.seeds
    targets = [*range(n), *range(n)]
    if design.surrogates == "foreign":
        attacking, cards = list(range(FOREIGN_SEEDS)) * FOREIGN_CARDS, FOREIGN_CARDS
    else:
        attacking, cards = targets, 2
    each = len(attacking) // cards
    groups = [[range(card * each, (card + 1) * each) for card in range(cards)]]
    left_out = [None, *range(n)]
    allowed = np.not_equal.outer(attacking, targets)
    means = averaged(values, surrogate_weights(allowed, attacking, groups, left_out))
    active = np.ones(n, bool)
    first, second = (kept_by(means[:, half], range(n), left_out, active) for half in (slice(n), slice(n, 2 * n)))
    return first.minus(second)


def truth(design: Design, gap: float) -> float:
    """Return the difference of the two cards over all images and seeds, by Gauss and Hermite's quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    spread = np.sqrt(IMAGE**2 + RULE**2 + TARGET**2 + SURROGATE**2 + sum(part**2 for part in SEED[design.effects]))
    shares = [float(weights @ (1 / (1 + np.exp(-(mean + spread * nodes))))) for mean in (START + gap, START)]
    return (shares[0] - shares[1]) / float(weights.sum())


def simulate(design: Design, replications: int) -> Found:
    """Draw so many runs with and so many without a difference."""
    draw = np.random.default_rng([replications, *repr(design).encode()])
    different, same = (
        [difference_interval(sample(design, right(design, gap, draw))) for _ in range(replications)]
        for gap in (GAP, 0.0)
    )
    covered = [
        interval.low <= value <= interval.high
        for intervals, value in ((different, truth(design, GAP)), (same, 0.0))
        for interval in intervals
    ]
    return Found(
        float(np.mean(covered)),
        float(np.mean([interval.p < 0.05 for interval in same])),
        float(np.mean([interval.p < 0.05 for interval in different])),
        float(np.mean([interval.high - interval.low for interval in different])),
    )


def page(command: str, replications: int, found: dict[Design, Found]) -> str:
    """Write the table; see `WHY` for what is in bold."""
    heads = ("seed effects", "seeds", "images", "role correlation", "attacked from")
    lines = [f"| {' | '.join((*heads, 'coverage', 'false positives', 'power', 'width'))} |", "|---" * 9 + "|"]
    for design, cell in found.items():
        covered, false = f"{100 * cell.covered:.1f}", f"{100 * cell.false_positives:.1f}"
        covered = covered if 0.93 <= cell.covered <= 0.98 else f"**{covered}**"
        false = false if cell.false_positives <= 0.05 else f"**{false}**"
        effects, seeds, images, correlation, surrogates = astuple(design)
        lines.append(
            f"| {effects} | {seeds} | {images} | {correlation:g} | {surrogates} | {covered} | {false} "
            f"| {100 * cell.power:.0f} | {100 * cell.width:.1f} |"
        )
    error = 100 * np.sqrt(0.95 * 0.05 / (2 * replications))
    return (
        "# Coverage of the intervals\n\nWritten by\n\n"
        f"    {command}\n\n"
        f"{(__doc__ or '').split('coverage.md')[1].strip()}\n\n"
        "Coverage, false positives and power in per cent, the mean width of an interval in points. Coverage is over "
        f"{2 * replications:,} made runs a cell (standard error {error:.1f} points), half of them without a "
        f"difference; false positives over {replications:,} (standard error {error * 2**0.5:.1f}).\n\n"
        + f"{WHY}\n\n"
        + "\n".join(lines)
        + "\n"
    )


def main() -> None:
    """Simulate all cells and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--processes", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--page", type=Path, help="where the table goes; without it, it is printed")
    given = parser.parse_args()
    cells = list(designs())
    with ProcessPoolExecutor(given.processes) as pool:
        found = dict(zip(cells, pool.map(simulate, cells, [given.replications] * len(cells)), strict=True))
    text = page(f"python benchmarks/coverage.py --replications {given.replications}", given.replications, found)
    if given.page:
        given.page.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
