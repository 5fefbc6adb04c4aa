"""A rule or an attack that raises, and a model that diverges: all else is as if they were not there."""

from __future__ import annotations

import random

import pytest

from ..support.failing_attacks import write_attack
from .rounds import trials
from .tool import How
from .workplace import SWEEP, Undisturbed

ROUNDS = 50
RULE = """
import os, signal, time
from robustbench_ekdaa.learning.rules.backprop import Backprop

class Unprintable(Exception):
    def __str__(self):
        raise ValueError("no text")

ERRORS = {"error": IndexError("mine"), "memory": MemoryError(), "exit": SystemExit(3), "unprintable": Unprintable()}

class Raising(Backprop):
    steps = 0

    def compute_gradients(self, images, labels):
        step = super().compute_gradients(images, labels)
        self.steps += 1
        if self.steps == int(os.environ.get("FROM", 0)):
            what = os.environ["RAISES"]
            if what == "interrupt":
                try:
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(60)
                except KeyboardInterrupt:
                    raise RuntimeError("an error in its place") from None
            if what in ERRORS:
                raise ERRORS[what]
            for one in self.network.parameters():
                one.grad.fill_(float(what))
        return step
"""
RAISING = f"{SWEEP} run".replace("bp,ek", "bp,ek,raising")
ATTACKED = f"{SWEEP} run".replace("fgsm,noise", "fgsm,noise,mine") + " --batch-size 10"
EPOCH = 22  # times that gradients are asked for in an epoch, the last of them to be compared with the true ones
CALLS = 12  # batches of 10 of 30 images, on two surrogates, at two epsilons


@pytest.fixture(scope="session")
def raising(cards, tmp_path_factory):
    """A workplace with a rule and an attack that can raise, and what comes of both where they do not."""
    place = cards.copy_to(tmp_path_factory.mktemp("raising"))
    place.write_card("raising", "raising.py:Raising", epochs=2)
    (place.folder / "models" / "raising.py").write_text(RULE)
    write_attack(place.folder)
    wholes = []
    for command in (RAISING, ATTACKED):
        whole = place.copy_to(tmp_path_factory.mktemp("not raising"))
        whole.fine(command)
        wholes.append(Undisturbed(whole.run, whole.rows()))
    return place, *wholes


@trials(ROUNDS, samples=5)
def test_a_rule_that_raises_in_the_middle_of_a_training_costs_its_own_model_alone(
    raising, undisturbed, base, note, trial
):
    what = ("error", "memory", "exit", "unprintable")[trial % 4]
    costs_its_own_model_alone(raising, undisturbed, base, what, 1 + 2 * EPOCH * trial // ROUNDS)
    note(what)


@trials(ROUNDS, samples=5)
def test_a_model_that_diverges_costs_itself_alone(raising, undisturbed, base, note, trial):
    what, in_epoch = ("nan", "inf", "3e38")[trial % 3], 1 + (EPOCH - 2) * trial // ROUNDS
    costs_its_own_model_alone(raising, undisturbed, base, what, in_epoch + EPOCH * (trial % 2))
    note(what)


def costs_its_own_model_alone(raising, undisturbed, base, what, when):
    begun, whole, _ = raising
    place = begun.copy_to(base / "place")
    raises = How({"RAISES": what, "FROM": str(when)})
    ended = place.clean(RAISING, raises)
    failed = "diverged in epoch" if what in ("nan", "inf", "3e38") else "failed in training"
    assert ended.code == 1
    assert f"failed: raising (seed 0) {failed}" in ended.err
    assert place.rows() == undisturbed.rows, "other rows than those of a sweep without the model"
    status = place.fine("status run")
    assert f"failed: raising on digits, seed 0: raising (seed 0) {failed}" in status.out
    again = place.clean(RAISING)
    assert again.code == 1
    assert "train " not in again.err, "trained again, which nobody asked for"
    place.fine(f"{RAISING} --retry-failed")
    whole.held_by(place)


@trials(ROUNDS, samples=5)
def test_an_attack_that_raises_in_the_middle_of_a_crafting_costs_that_alone(raising, base, note, trial):
    begun, _, whole = raising
    place, draw = begun.copy_to(base / "place"), random.Random(trial)
    what = ("error", "memory", "exit", "unprintable", "shape", "nan")[trial % 6]
    ended = place.clean(ATTACKED, How({"RAISES": what, "FROM": str(1 + draw.randrange(CALLS))}))
    assert ended.code == 1
    assert "failed: mine on " in ended.err
    rows = place.rows()
    others = [row for row in whole.rows if "\tmine\t" not in row]
    assert [row for row in rows if "\tmine\t" not in row] == others, "other rows of what did not fail"
    assert set(rows) <= set(whole.rows)
    assert "failed: mine on " in place.fine("status run").out
    place.fine(ATTACKED)
    whole.held_by(place)
    note(what)


@pytest.mark.parametrize(("command", "whole"), [(RAISING, 1), (ATTACKED, 2)], ids=["rule", "attack"])
def test_an_error_in_the_place_of_ctrl_c_as_c_code_raises_it_fails_nothing(raising, base, command, whole):
    place = raising[0].copy_to(base / "place")
    ended = place(command, How({"RAISES": "interrupt", "FROM": "3"}))
    assert ended.code == 130
    assert ended.complaint == "error: stopped; everything finished before is kept. Run the same command again to go on."
    assert "failed" not in ended.err
    assert "failed:" not in place.fine("status run").out
    place.fine(command)
    raising[whole].held_by(place)
