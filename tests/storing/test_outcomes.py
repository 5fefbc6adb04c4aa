"""Outcomes as plain data."""

from robustbench_ekdaa.storing.keys import IMPORTED
from robustbench_ekdaa.storing.outcomes import AttackRecord

from ..support.four_images import LABELS, RIGHT, wrong_on
from ..support.made_outcomes import make_outcomes


def test_what_is_stored_cannot_be_changed_by_who_reads_it():
    outcomes = make_outcomes([("a", 0)], LABELS, {"a0": RIGHT}, {("a0", "a0", "fgsm", 0.1): wrong_on(0)})
    (cell,) = outcomes.cells
    for array in (outcomes.indices, outcomes.labels, outcomes.images, outcomes.clean["a0"], cell.predictions):
        assert not array.flags.writeable


def test_an_attack_is_imported_where_its_record_says_so():
    assert AttackRecord("x", "x", "X", "linf", {"kind": IMPORTED}).imported is True
    assert AttackRecord("x", "x", "X", "linf", {"kind": "attack"}).imported is False
