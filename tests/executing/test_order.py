"""In which order a sweep's work is done: what is needed first, and what gives results soon before anything else."""

from functools import partial

import pytest

import robustbench_ekdaa as rb
from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.errors import WorkFailed
from robustbench_ekdaa.executing.executor import executor
from robustbench_ekdaa.executing.order import Pending, work_off
from robustbench_ekdaa.progress import Silent
from robustbench_ekdaa.scoring.sweep import run_sweep
from robustbench_ekdaa.storing.store import open_run

from ..support.quick_models import write_card
from ..support.stored_runs import facts


class Labels(Silent):
    """Keeps what was begun, in order."""

    def __init__(self):
        self.begun = []

    def task(self, label, total):
        self.begun.append(label)
        return super().task(label, total)


def answer(number, progress):
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_begins_once_what_it_needs_was_taken_and_the_lowest_rank_goes_first(workers):
    taken = []

    def task(name, rank, needs=(), gives=(), job=answer):
        return Pending(
            (rank,),
            make=lambda: (assert_taken(needs), partial(job, name))[1],
            take=taken.append,
            needs=needs,
            gives=gives,
        )

    def assert_taken(needs):
        assert set(needs) & {"a", "b", "c"} <= set(taken)

    tasks = [
        task("c", 5, gives=["c"]),
        task("a", 2, needs=["b", "somebody else's"], gives=["a"]),
        task("last", 0, needs=["a", "c", "skipped"]),
        Pending((1,), make=lambda: None, take=taken.append, needs=["b"], gives=["skipped"]),
        task("b", 3, gives=["b"]),
    ]
    with executor(workers, Silent()) as runner:
        work_off(tasks, runner)
    assert sorted(taken) == ["a", "b", "c", "last"]
    assert taken[-1] == "last"
    if workers == 1:
        assert taken == ["b", "a", "c", "last"]


def test_one_seed_of_all_models_is_trained_before_the_second_and_attacks_follow_their_models_at_once(
    tmp_path, workspace, spec
):
    write_card(tmp_path, "other", "backprop", rate=0.02)
    spec = spec.model_copy(
        update={
            "models": (),
            "targets": ("quick_bp",),
            "surrogates": ("quick_bp", "quick_ekdaa", "other"),
            "attacks": ("fgsm", "ens_fgsm", "noise"),
            "images": 20,
        }
    )
    labels = Labels()
    run_sweep(spec, tmp_path / "run", workspace=Workspace(tmp_path), progress=labels)
    trained = [label for label in labels.begun if label.startswith("train ")]
    assert trained == [
        f"train {name} on digits, seed {seed}" for seed in (0, 1) for name in ("quick_bp", "quick_ekdaa", "other")
    ]
    place = {label: number for number, label in enumerate(labels.begun)}
    # All targets are trained once quick_bp has both seeds; the attack on it does not wait for the other surrogates.
    assert place["fgsm on quick_bp seed 1"] < place["train quick_ekdaa on digits, seed 1"]
    assert place["fgsm on quick_ekdaa seed 1"] < place["train other on digits, seed 1"]
    assert place["noise"] < place["fgsm on quick_bp seed 1"]
    assert place["ens_fgsm on other+quick_bp+quick_ekdaa seed 0"] < place["fgsm on quick_bp seed 1"]
    assert place["ens_fgsm on other+quick_bp+quick_ekdaa seed 1"] > place["train other on digits, seed 1"]


def test_what_costs_little_to_craft_is_scored_for_its_own_seed_first_with_the_same_outcomes(tmp_path, workspace, spec):
    epsilons = (0.0, *(number / 100 for number in range(1, 16)))
    spec = spec.model_copy(update={"attacks": ("fgsm", "bim", "noise"), "images": 10, "epsilons": epsilons})
    labels = Labels()
    done = run_sweep(spec, tmp_path / "early", workspace=workspace, progress=labels)
    second = labels.begun.index("train quick_bp on digits, seed 1")
    assert [label for label in labels.begun[:second] if not label.startswith(("train", "attacks"))] == [
        "fgsm on quick_bp seed 0",
        "fgsm on quick_ekdaa seed 0",
        "noise",
    ]
    later = labels.begun[second:]
    # BIM's gradients would take longer than all scoring: it is crafted once, for all targets.
    crafted = ["fgsm on quick_bp seed 0", "bim on quick_bp seed 0", "noise", "fgsm on quick_bp seed 1"]
    assert [later.count(label) for label in crafted] == [1, 1, 1, 1]
    assert done.crafted == 4 + 4 + 1
    for name in spec.models:
        for seed in range(2):
            rb.train(name, "digits", seed, tmp_path / "late", workspace=workspace)
    labels = Labels()
    run_sweep(spec, tmp_path / "late", workspace=workspace, progress=labels)
    assert labels.begun.count("fgsm on quick_bp seed 0") == labels.begun.count("noise") == 1
    assert facts(tmp_path / "early") == facts(tmp_path / "late")
    frames = [rb.open_results(tmp_path / run).frame().to_csv() for run in ("early", "late")]
    assert frames[0] == frames[1]


def test_what_is_stored_does_not_depend_on_the_order_of_work(tmp_path, workspace, spec):
    spec = spec.model_copy(update={"attacks": ("fgsm", "noise"), "images": 20})
    run_sweep(spec, tmp_path / "whole", workspace=workspace)
    for models in (("quick_ekdaa",), spec.models):  # the second card first of all
        run_sweep(spec.model_copy(update={"models": models}), tmp_path / "parts", workspace=workspace)
    assert facts(tmp_path / "parts") == facts(tmp_path / "whole")


def test_a_model_that_fails_in_the_middle_takes_its_attacks_with_it_and_no_others(tmp_path, workspace, spec):
    write_card(tmp_path, "wild", "backprop", rate=3e38)
    spec = spec.model_copy(update={"models": ("quick_bp", "wild"), "attacks": ("fgsm", "ens_fgsm"), "images": 20})
    done = run_sweep(spec, tmp_path / "run", workspace=Workspace(tmp_path))
    assert [(record.name, record.seed) for record in done.failed] == [("wild", 0), ("wild", 1)]
    assert done.crafted == 2
    (outcomes,) = open_run(tmp_path / "run")
    assert len(outcomes.cells) == 2 * 2 * 2  # FGSM on two seeds of quick_bp, two epsilons, two targets


def test_what_failed_is_trained_again_only_if_that_is_asked_for(tmp_path, workspace, spec):
    write_card(tmp_path, "broken", "mine.py:Mine")
    (tmp_path / "models" / "mine.py").write_text(
        "import pathlib\n"
        "from robustbench_ekdaa.learning.rules.backprop import Backprop\n"
        "class Mine(Backprop):\n"
        "    def compute_gradients(self, images, labels):\n"
        f"        cause = pathlib.Path({str(tmp_path / 'cause')!r})\n"
        "        if cause.exists():\n"
        "            raise OSError(cause.read_text())\n"
        "        return super().compute_gradients(images, labels)\n"
    )
    spec = spec.model_copy(update={"models": ("broken",), "attacks": ("noise",), "seeds": 1, "images": 20})

    def cause(**how):
        failed = run_sweep(spec, tmp_path / "run", workspace=Workspace(tmp_path), **how).failed
        return [record.error for record in failed]

    (tmp_path / "cause").write_text("no licence")
    first = ["broken (seed 0) failed in training: OSError: no licence"]
    assert cause() == first
    (tmp_path / "cause").write_text("no network")
    assert cause() == first  # nothing was tried
    with pytest.raises(
        WorkFailed, match=r"no licence \(That was before; it is tried again with retry_failed=True\.\)$"
    ):
        rb.train("broken", "digits", 0, tmp_path / "run", workspace=tmp_path)
    with pytest.raises(WorkFailed, match=r"OSError: no network$"):
        rb.train("broken", "digits", 0, tmp_path / "run", workspace=tmp_path, retry_failed=True)
    assert cause(retry_failed=True) == ["broken (seed 0) failed in training: OSError: no network"]
    (tmp_path / "cause").unlink()
    assert cause() == ["broken (seed 0) failed in training: OSError: no network"]
    assert cause(retry_failed=True) == []
    assert open_run(tmp_path / "run")[0].cells != ()
