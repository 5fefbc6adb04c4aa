"""The script behind the figures of docs/verdicts.md."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from robustbench_ekdaa.analysis.checks.withstood import differences, withstood
from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.analysis.transfer import transfer_grids

from ..support.made_outcomes import random_outcomes

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "benchmarks" / "looks_robust.py"))


def test_every_figure_that_the_page_shows_is_there_and_drawn_by_the_script():
    shown = re.findall(r"\(img/(looks-robust-\w+)\.png\)", (ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8"))
    assert shown == [f"looks-robust-{name}" for name in ("surrogates", "masking", "training", "attack")]
    assert all((ROOT / "docs" / "img" / f"{name}.png").is_file() for name in shown)


def test_the_points_of_the_first_figure_are_differences_under_each_cards_attacks():
    outcomes = random_outcomes(cards=3, seeds=3)
    figure = SCRIPT["draw_surrogates"](Results([outcomes]))
    drawn = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "o"]
    (grid,) = transfer_grids(outcomes)
    pair = ("frozen", "backprop")
    for card, x in zip(("backprop", "ekdaa", "frozen"), drawn, strict=False):
        assert x == pytest.approx(100 * differences(withstood(grid, 0.2, surrogates=[card]), pair)[pair].estimate)
    assert len(drawn) == 4


def test_a_lines_heights_are_means_over_the_surrogates_of_other_seeds():
    outcomes = random_outcomes(cards=2, seeds=3)
    heights = SCRIPT["_accuracies"](Results([outcomes]), "backprop", "bim", "ekdaa")
    for seed in range(3):
        others = [
            (cell.predictions == outcomes.labels).mean()
            for cell in outcomes.cells
            if (cell.attack, cell.epsilon, cell.target) == ("bim", 0.1, f"backprop{seed}")
            and cell.surrogate in {f"ekdaa{other}" for other in range(3) if other != seed}
        ]
        assert heights[seed, 1] == pytest.approx(np.mean(others))


def test_louder_logits_change_no_answer():
    network, images = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)), torch.rand(20, 1, 8, 8)
    louder = SCRIPT["Louder"](network, 30)
    assert (louder(images).argmax(1) == network(images).argmax(1)).all()
