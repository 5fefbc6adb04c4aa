"""Titles are what cards call things today: a report follows them, and nothing is computed again for it."""

import robustbench_ekdaa as rb

from ..support.forward_passes import CountCalls
from ..support.pages import Page
from ..support.quick_models import write_card
from ..support.right_cards import ATTACK, write


def write_titles(folder, day):
    write_card(folder, "quick", "backprop", top=f'title = "The model of {day}"')
    write(folder, ATTACK.replace("steps =", f'title = "The attack of {day}"\nsteps =', 1), room="attacks")


def test_a_report_calls_models_and_attacks_what_their_cards_call_them_today(tmp_path):
    spec = rb.SweepSpec(datasets=["digits"], models=["quick"], attacks=["mine"], epsilons=[0, 0.1], images=20, seeds=1)
    for day in ("yesterday", "today"):
        write_titles(tmp_path, day)
        with CountCalls() as count:
            rb.sweep(spec, tmp_path / "run", workspace=tmp_path, workers=1)
    assert count.calls == 0
    text = Page(rb.report(tmp_path / "run", tmp_path / "report")).text
    assert "The model of today" in text
    assert "The attack of today" in text
    assert "of yesterday" not in text
