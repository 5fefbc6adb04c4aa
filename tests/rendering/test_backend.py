"""Figures that are only saved need no display, change nothing of the caller's, and depend on nothing of it."""

import os
import subprocess
import sys

import matplotlib
import matplotlib.pyplot as plt
import pytest

from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.rendering import (
    plot_attack_matrices,
    plot_curves,
    plot_examples,
    plot_transfer_matrix,
    write_report,
)

from ..support.made_outcomes import random_outcomes

REPORT = "from robustbench_ekdaa.cli import main; main()"


@pytest.mark.slow
def test_no_display_that_a_notebook_asks_for_breaks_a_report(trained, tmp_path):
    environment = {**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline"}  # it is not installed
    command = [sys.executable, "-c", REPORT, "report", str(trained / "run"), "--out", str(tmp_path / "report")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert list((tmp_path / "report" / "figures").glob("*.pdf"))


def test_the_caller_s_backend_is_still_what_it_asked_for(tmp_path):
    script = (
        "import os, sys\n"
        "from robustbench_ekdaa.rendering.backend import import_matplotlib\n"
        "import_matplotlib()\n"
        "import matplotlib\n"
        "print(matplotlib.get_backend(), os.environ['MPLBACKEND'])\n"
    )
    environment = {**os.environ, "MPLBACKEND": "pdf"}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["pdf", "pdf"]


def test_drawing_leaves_matplotlib_as_it_was(tmp_path):
    made = random_outcomes(cards=3, seeds=2)
    before = dict(matplotlib.rcParams), plt.get_fignums()
    for draw in (plot_curves, plot_transfer_matrix, plot_attack_matrices, plot_examples):
        draw(made).savefig(tmp_path / "figure.png")
    assert (dict(matplotlib.rcParams), plt.get_fignums()) == before


def test_a_report_is_the_same_whatever_the_caller_has_set(tmp_path):
    made = Results([random_outcomes(cards=2, seeds=1)])
    write_report(made, tmp_path / "one")
    with matplotlib.rc_context({"font.size": 30, "savefig.transparent": True, "axes.facecolor": "red"}):
        write_report(made, tmp_path / "other")
        assert matplotlib.rcParams["font.size"] == 30
    pictures = sorted((tmp_path / "one" / "figures").iterdir())
    assert pictures
    for picture in pictures:
        assert picture.read_bytes() == (tmp_path / "other" / "figures" / picture.name).read_bytes()
