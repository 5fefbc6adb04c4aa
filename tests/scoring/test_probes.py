"""Probes of a real run: stored once, kept apart from what a run held before, and no reason to fail."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from filelock import FileLock

import robustbench_ekdaa as rb
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.scoring.probes import probe_spec
from robustbench_ekdaa.scoring.sweep import run_sweep
from robustbench_ekdaa.storing.outcomes import AttackRecord
from robustbench_ekdaa.storing.store import open_run

from ..support.kept_lines import Lines
from ..support.made_outcomes import random_outcomes
from ..support.quick_models import write_card

PROBED = {"masking", "true_gradient", "steady_forward", "doubled_steps", "scale_free_loss", "shared_images"}


@pytest.fixture
def run(tmp_path, workspace, spec):
    run_sweep(spec, tmp_path / "run", workspace=workspace)
    return tmp_path / "run"


def test_a_check_probes_every_model_once_and_keeps_what_it_found(run, workspace):
    before = open_run(run)[0]
    assert before.probes == {}
    first = rb.check(run, workspace=workspace)
    assert {one.check for one in first} >= PROBED
    shutil.rmtree(run / "checkpoints")  # nobody needs a model again
    assert rb.check(run, workspace=workspace) == first
    (after,) = open_run(run)
    assert set(after.probes) == {"", *after.models}
    assert [cell.key for cell in after.cells] == [cell.key for cell in before.cells]
    assert {one.check for one in rb.open_results(run).check()} == {one.check for one in first}


def test_a_check_of_one_model_probes_it_alone(run, workspace):
    rb.check(run, "quick_bp", workspace=workspace)
    (after,) = open_run(run)
    assert {after.models[key].name for key in after.probes if key} == {"quick_bp"}


def test_a_run_that_was_checked_is_swept_on_and_damage_to_a_probe_is_found(run, workspace, spec):
    rb.check(run, workspace=workspace)
    run_sweep(spec.model_copy(update={"epsilons": (0.0, 0.1, 0.2, 0.3)}), run, workspace=workspace)
    assert open_run(run)[0].probes
    with closing(sqlite3.connect(run / "results.sqlite")) as database, database:
        database.execute("UPDATE probes SET facts = replace(facts, '0.', '1.')")
    with pytest.raises(UsageError, match="does not fit its digest"):
        open_run(run)


def test_a_model_whose_card_changed_or_is_gone_is_told_and_the_rest_is_checked(run, workspace, tmp_path):
    write_card(tmp_path, "quick_bp", "backprop", rate=0.01)
    (tmp_path / "models" / "quick_ekdaa.toml").unlink()
    lines = Lines()
    found = rb.check(run, workspace=rb.Workspace(tmp_path), progress=lines)
    assert "true_gradient" not in {one.check for one in found}
    assert {"test_images", "shared_images"} <= {one.check for one in found}
    told = " ".join(lines.lines)
    assert "quick_bp, seed 0: not probed (its card or data are others now)" in told
    assert "quick_ekdaa, seed 0: not probed (unknown model" in told


def test_a_run_that_another_command_writes_to_is_checked_and_left_as_it_is(run, workspace):
    lines = Lines()
    with FileLock(run / ".lock"):
        found = rb.check(run, workspace=workspace, progress=lines)
    assert {one.check for one in found} >= PROBED
    assert open_run(run)[0].probes == {}
    assert "was not kept" in " ".join(lines.lines)


def test_a_run_of_the_first_release_is_checked(released):
    found = rb.check(released)
    assert {"test_images", "training_seeds"} <= {one.check for one in found}


@pytest.mark.parametrize(
    ("cards", "chosen"),
    [
        ({"a": {"steps": 1}, "b": {"steps": 10}, "c": {"steps": 40}, "d": {"steps": 400}}, "c"),
        ({"b": {"steps": 100}, "c": {"steps": 400}}, "b"),
        ({"a": {"steps": 1}, "b": {"steps": 10, "target": "random"}}, "bim"),
        ({"b": {"steps": 10, "source": {"component": "ensemble_logits"}}}, "bim"),
    ],
)
def test_models_are_probed_with_the_attack_of_most_steps_that_takes_seconds(cards, chosen):
    made = random_outcomes(attacks=tuple(cards), noise=False, images=10)
    attacks = {
        name: AttackRecord(name, name, name, "linf", {"kind": "attack", "name": name, **card})
        for name, card in cards.items()
    }
    spec = probe_spec(replace(made, attacks=attacks))
    assert spec.attack.name == chosen
    assert (spec.epsilon, spec.largest) == (0.2, 0.4)


@pytest.mark.parametrize(
    ("declared", "asked"), [({"linf": 0.3}, 0.3), ({"l2": 0.3}, 0.2), ({"linf": 0.7}, 0.2), (None, 0.2)]
)
def test_models_are_probed_at_the_epsilon_that_the_sweep_declares(declared, asked):
    made = random_outcomes(noise=False, images=10)
    assert probe_spec(replace(made, spec={**made.spec, "verdict_epsilon": declared})).epsilon == asked
