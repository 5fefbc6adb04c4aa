"""Sweeps: what is stored is true, nothing is done twice, nothing is lost."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.crafting import craft
from robustbench_ekdaa.data import import_dataset, load_dataset
from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.learning import TrainingJob, load_network
from robustbench_ekdaa.progress import Silent
from robustbench_ekdaa.scoring.sweep import run_sweep
from robustbench_ekdaa.storing.store import open_run, reading, writing

from ..support.forward_passes import CountCalls
from ..support.kept_lines import Lines
from ..support.processes import wait_until_all_are_gone
from ..support.quick_models import write_card
from ..support.stored_runs import facts, stored, wait_until_stored


def test_stored_outcomes_are_what_the_models_say_when_asked_by_hand(tmp_path, workspace, spec):
    run_sweep(spec, tmp_path / "run", workspace=workspace)
    (outcomes,) = open_run(tmp_path / "run")
    digits = load_dataset("digits")
    networks = {}
    for name in spec.models:
        for seed in range(2):
            job = TrainingJob(workspace.models[name], "digits", digits.fingerprint, seed)
            networks[job.key] = load_network(job, digits, tmp_path / "run")
    assert set(networks) == set(outcomes.targets) == set(outcomes.surrogates)
    images, labels = digits.test.images[outcomes.indices], digits.test.labels[outcomes.indices]
    assert outcomes.labels.tolist() == labels.tolist()
    assert len(outcomes.cells) == (4 * 2 + 1) * 2 * 4  # (surrogates x gradient attacks + noise) x epsilons x targets
    for cell in outcomes.cells:
        card = workspace.attacks[outcomes.attacks[cell.attack].name]
        surrogates = [networks[cell.surrogate]] if cell.surrogate else []
        # One batch of all images here, batches of 32 in the sweep: the draws belong to the images.
        (crafted,) = craft(card, surrogates, images, labels, [cell.epsilon], seed=0, indices=outcomes.indices.tolist())
        predictions = networks[cell.target](crafted.images).argmax(1).numpy()
        assert np.mean(predictions != cell.predictions) <= 1 / 60  # float rounding may turn a tie
    for key, predictions in outcomes.clean.items():
        assert networks[key](images).argmax(1).tolist() == predictions.tolist()


def test_a_finished_sweep_run_again_makes_no_model_call_and_says_that_all_is_stored(tmp_path, workspace, spec):
    run_sweep(spec, tmp_path / "run", workspace=workspace)
    before, lines = facts(tmp_path / "run"), Lines()
    with CountCalls() as count:
        summary = run_sweep(spec, tmp_path / "run", workspace=workspace, progress=lines)
    assert count.calls == summary.trained == summary.crafted == 0
    assert facts(tmp_path / "run") == before
    assert "72 cells (72 stored already); to do: 0 trainings, 0 craftings, 0 cells" in lines.lines[0]


class Bars(Lines):
    """Keeps lines, and of each bar its length and how far it went."""

    def __init__(self):
        super().__init__()
        self.bars = {}

    def task(self, label, total):
        bar = self.bars[label] = [total, 0]

        class Bar:
            def advance(self, amount=1, note=None):
                bar[1] += amount

        return Bar()


def test_a_wider_sweep_does_only_what_is_new(tmp_path, workspace, spec):
    run_sweep(spec, tmp_path / "run", workspace=workspace)
    before = facts(tmp_path / "run")[0]
    wider, shown = spec.model_copy(update={"epsilons": (0.0, 0.1, 0.2, 0.3)}), Bars()
    with CountCalls() as count:
        run_sweep(wider, tmp_path / "run", workspace=workspace, progress=shown)
    assert (
        "4 models (4 trained already), 108 cells (72 stored already); to do: 0 trainings, 9 craftings" in shown.lines[0]
    )
    assert shown.lines[0].endswith("36 cells")
    assert shown.bars["attacks on digits"] == [9, 9]
    assert all(total == done for total, done in shown.bars.values())
    batches = 2
    # Per surrogate FGSM takes 1 gradient a batch and BIM 10, at the one new epsilon; every batch meets 4 targets.
    assert count.calls == batches * (4 * (1 + 10) + (4 * 2 + 1) * 4)
    after = facts(tmp_path / "run")[0]
    assert {key: after[key] for key in before} == before
    assert len(after) == len(before) * 3 // 2


def test_crafting_is_done_once_however_many_targets_there_are(tmp_path, workspace, spec):
    def calls(targets):
        narrow = spec.model_copy(update={"surrogates": ("quick_bp",), "targets": targets, "attacks": ("bim",)})
        run_sweep(narrow.model_copy(update={"epsilons": (0.0, 0.5)}), tmp_path / "run", workspace=workspace)
        with CountCalls() as count:
            run_sweep(narrow, tmp_path / f"run{len(targets)}", workspace=workspace)
        return count.calls

    one, two = calls(("quick_bp",)), calls(("quick_bp", "quick_ekdaa"))
    # Training and test accuracy of 2 more models, two passes to see that each answers alike, their clean pass, and
    # their scoring (2 surrogates, 2 epsilons).
    gradients = 2 * 2 * (2 * 9 + 1)  # surrogates x batches x (2 epsilons of 10 steps that share the first)
    epochs, probe, batches = 2, 2, 2
    alike = 2 * 2
    # 21 batches an epoch, the alignment's two passes before and after each, the test images
    backprop_training = 2 * (epochs * 21 + (epochs + 1) * probe + 1)
    assert one == backprop_training + alike + 2 * batches + gradients + 2 * batches * 2 * 2
    # Traced passes are not forward calls; the alignment's true gradient is one.
    ekdaa_training = 2 * ((epochs + 1) * 1 + 1)
    assert two - one == ekdaa_training + alike + 2 * batches + 2 * batches * 2 * 2


@pytest.mark.slow
def test_memory_grows_neither_with_epsilons_nor_with_targets(tmp_path, workspace, spec):
    peaks = []
    for number, (epsilons, models) in enumerate([(2, ("quick_bp",)), (12, ("quick_bp", "quick_ekdaa"))]):
        wide = spec.model_copy(
            update={
                "epsilons": tuple(0.02 * i for i in range(epsilons)),
                "models": models,
                "attacks": ("fgsm",),
                "seeds": 1,
            }
        )
        with CountCalls(shape=(32, 1, 8, 8)) as count:
            run_sweep(wide, tmp_path / str(number), workspace=workspace)
        peaks.append(max(count.alive))
    assert peaks[1] <= peaks[0] + 1  # ten more epsilons kept would show as ten more


def test_a_sweep_killed_at_any_point_finishes_with_the_rows_of_an_undisturbed_one(tmp_path, workspace, spec):
    script = (
        "import sys; from robustbench_ekdaa.cards import SweepSpec, Workspace\n"
        "from robustbench_ekdaa.scoring.sweep import run_sweep\n"
        "run_sweep(SweepSpec.model_validate_json(sys.argv[1]), sys.argv[2], workspace=Workspace(sys.argv[3]),\n"
        "          workers=2)\n"
    )
    spec = spec.model_copy(update={"attacks": (*spec.attacks, "ens_fgsm"), "save_images": True})
    arguments = [sys.executable, "-c", script, spec.model_dump_json(), str(tmp_path / "killed"), str(tmp_path)]
    run_sweep(spec, tmp_path / "whole", workspace=workspace)
    all_models, all_outcomes = (len(some) for some in stored(tmp_path / "whole"))
    kept = set(), set()
    for models, outcomes in ((1, 0), (all_models, all_outcomes // 3)):
        process = subprocess.Popen(arguments, start_new_session=True)
        wait_until_stored(tmp_path / "killed", models, outcomes, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until_all_are_gone(process.pid)
        before, kept = kept, stored(tmp_path / "killed")
        assert all(earlier <= later for earlier, later in zip(before, kept, strict=True))
        assert len(kept[0]) >= models
        assert outcomes <= len(kept[1]) < all_outcomes
    run_sweep(spec, tmp_path / "killed", workspace=workspace)
    # Two workers there, one process here: a job computes on one thread wherever it runs, so the bits are the same.
    assert facts(tmp_path / "killed") == facts(tmp_path / "whole")
    killed, whole = (
        {path.name: path.read_bytes() for path in (tmp_path / run / "adversarial").glob("*.safetensors")}
        for run in ("killed", "whole")
    )
    assert len(whole) == 2 * 4 + 2 + 1  # two attacks on four models, one on two ensembles, noise
    assert killed == whole


def test_one_diverged_model_is_reported_and_does_not_stop_the_others(tmp_path, workspace, spec):
    write_card(tmp_path, "wild", "backprop", rate=3e38)
    lines = Lines()
    spec = spec.model_copy(update={"models": ("wild", "quick_bp"), "attacks": ("fgsm",), "seeds": 1})
    summary = run_sweep(spec, tmp_path / "run", workspace=Workspace(tmp_path), progress=lines)
    assert [(record.name, record.seed, record.metrics["epoch"]) for record in summary.failed] == [("wild", 0, 1)]
    assert any("wild (seed 0) diverged in epoch 1" in line for line in lines.lines)
    (outcomes,) = open_run(tmp_path / "run")
    assert {outcomes.models[cell.target].name for cell in outcomes.cells} == {"quick_bp"}
    assert [record.status for record in outcomes.models.values()] == ["failed", "trained"]
    with CountCalls() as count:
        assert len(run_sweep(spec, tmp_path / "run", workspace=Workspace(tmp_path)).failed) == 1
    assert count.calls == 0


def test_a_plugged_in_rule_that_raises_fails_alone_and_is_tried_again_once_mended(tmp_path, workspace, spec):
    write_card(tmp_path, "broken", "mine.py:Mine")
    (tmp_path / "models" / "mine.py").write_text(
        "from robustbench_ekdaa.learning.rules.backprop import Backprop\n"
        "class Mine(Backprop):\n"
        "    def compute_gradients(self, images, labels):\n"
        "        raise IndexError('my mistake')\n"
    )
    spec = spec.model_copy(update={"models": ("broken", "quick_bp"), "attacks": ("fgsm",), "seeds": 1})
    (failed,) = run_sweep(spec, tmp_path / "run", workspace=Workspace(tmp_path)).failed
    assert failed.error == "broken (seed 0) failed in training: IndexError: my mistake"
    (tmp_path / "models" / "mine.py").write_text(
        "from robustbench_ekdaa.learning.rules.backprop import Backprop\nclass Mine(Backprop):\n    pass\n"
    )
    assert run_sweep(spec, tmp_path / "run", workspace=Workspace(tmp_path)).failed == []
    (outcomes,) = open_run(tmp_path / "run")
    assert sorted(outcomes.models[key].name for key in outcomes.targets) == ["broken", "quick_bp"]


def test_a_changed_card_makes_a_new_model_and_the_old_one_leaves_the_results(tmp_path, workspace, spec):
    spec = spec.model_copy(update={"attacks": ("fgsm",), "seeds": 1})
    run_sweep(spec, tmp_path / "run", workspace=workspace)
    write_card(tmp_path, "quick_bp", "backprop", rate=0.01)
    summary = run_sweep(spec, tmp_path / "run", workspace=Workspace(tmp_path))
    assert summary.trained == 1
    (outcomes,) = open_run(tmp_path / "run")
    assert len(outcomes.targets) == 2
    assert len(outcomes.cells) == 2 * 2 * 2
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 3


def test_a_changed_title_changes_what_a_run_calls_its_models_and_nothing_else(tmp_path, workspace, spec):
    write_card(tmp_path, "wild", "backprop", rate=3e38)
    spec = spec.model_copy(update={"models": (*spec.models, "wild"), "seeds": 1})
    run_sweep(spec, tmp_path / "run", workspace=Workspace(tmp_path))
    before, files = stored_facts(tmp_path / "run"), checkpoints(tmp_path / "run")
    for path in (tmp_path / "models").glob("*.toml"):
        path.write_text(path.read_text().replace("rule =", f'title = "{path.stem} of today"\nrule =', 1))
    with CountCalls() as count:
        summary = run_sweep(spec, tmp_path / "run", workspace=Workspace(tmp_path))
    assert count.calls == summary.trained == summary.crafted == 0
    assert [record.status for record in summary.failed] == ["failed"]  # it is not tried again only to diverge again
    assert stored_facts(tmp_path / "run") == before
    assert checkpoints(tmp_path / "run") == files
    (outcomes,) = open_run(tmp_path / "run")
    assert {model.title for model in outcomes.models.values()} == {f"{name} of today" for name in spec.models}


def stored_facts(run):
    """Outcomes, and all that is known of models but their titles."""
    with reading(run) as store:
        models = {key: (one.name, one.status, one.error, one.metrics) for key, one in store.models().items()}
    return facts(run), models


def checkpoints(run):
    return {path.name: path.stat().st_mtime_ns for path in (run / "checkpoints").iterdir()}


def test_surrogates_and_targets_may_differ(tmp_path, workspace, spec):
    spec = spec.model_copy(update={"surrogates": ("quick_bp",), "targets": ("quick_ekdaa",), "models": ()})
    run_sweep(spec, tmp_path / "run", workspace=workspace)
    (outcomes,) = open_run(tmp_path / "run")
    relations = {outcomes.relation(cell.surrogate, cell.target) for cell in outcomes.cells}
    assert relations == {"cross-rule", "same-start", "no surrogate"}
    assert len(outcomes.clean) == 4  # the surrogates' too: the transfer rate needs to know what fooled them


def test_more_images_extend_fewer(tmp_path, workspace, spec):
    spec = spec.model_copy(update={"attacks": ("noise",), "seeds": 1})
    for count in (40, 60):
        run_sweep(spec.model_copy(update={"images": count}), tmp_path / str(count), workspace=workspace)
    few, many = (open_run(tmp_path / str(count))[0] for count in (40, 60))
    assert many.indices[:40].tolist() == few.indices.tolist()
    for one, other in zip(few.cells, many.cells, strict=True):
        assert other.predictions[:40].tolist() == one.predictions.tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ("quick_pb",)}, "unknown model 'quick_pb'. Did you mean quick_bp"),
        ({"attacks": ("mi_fgms",)}, "unknown attack 'mi_fgms'. Did you mean mi_fgsm"),
        ({"datasets": ("digit",)}, "unknown data set 'digit'. Did you mean digits"),
        ({"images": 100_000}, "images: digits has 500 test images (got 100000)"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_written(tmp_path, workspace, spec, changes, message):
    with pytest.raises(UsageError) as caught:
        run_sweep(spec.model_copy(update=changes), tmp_path / "run", workspace=workspace)
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_sweep_that_cannot_be_trained_is_refused_and_does_not_hide_the_results_there_are(tmp_path, workspace, spec):
    run_sweep(spec, tmp_path / "run", workspace=workspace)
    before, (swept,) = facts(tmp_path / "run"), open_run(tmp_path / "run")
    write_card(tmp_path, "typo", "backprop", more='optimizer = "SDG"')
    typo = spec.model_copy(update={"models": ("quick_bp", "typo"), "images": 20})
    for run in ("run", "new"):
        with pytest.raises(UsageError, match=r"typo\.toml: training.*SDG"):
            run_sweep(typo, tmp_path / run, workspace=Workspace(tmp_path))
    assert facts(tmp_path / "run") == before
    assert open_run(tmp_path / "run")[0].spec == swept.spec
    assert not (tmp_path / "new").exists()


def test_two_cards_of_the_same_content_are_refused(tmp_path, workspace, spec):
    write_card(tmp_path, "twin", "backprop")
    with pytest.raises(UsageError, match="models quick_bp and twin are the same model"):
        run_sweep(
            spec.model_copy(update={"models": ("quick_bp", "twin")}), tmp_path / "run", workspace=Workspace(tmp_path)
        )


def test_a_full_disk_is_one_clear_line_and_loses_nothing(tmp_path, workspace, spec):
    """A file size limit stands in for the full disk: the write itself fails, as it would there."""
    spec = spec.model_copy(update={"attacks": ("fgsm", "noise")})
    run_sweep(spec, tmp_path / "run", workspace=workspace)
    before = facts(tmp_path / "run")
    script = (
        "import resource, signal, sys; from robustbench_ekdaa.cards import SweepSpec, Workspace\n"
        "from robustbench_ekdaa.scoring.sweep import run_sweep\nfrom robustbench_ekdaa.errors import WorkFailed\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
        "try: run_sweep(SweepSpec.model_validate_json(sys.argv[1]), sys.argv[2], workspace=Workspace(sys.argv[3]))\n"
        "except WorkFailed as error: print(error)"
    )
    wide = spec.model_copy(update={"epsilons": (0.0, *(number / 10 for number in range(1, 10)))})
    arguments = [sys.executable, "-c", script, wide.model_dump_json(), str(tmp_path / "run"), str(tmp_path)]
    ended = subprocess.run(arguments, capture_output=True, text=True)
    assert ended.stdout.count("\n") == 1, ended.stderr
    assert "could not be written" in ended.stdout
    assert "kept" in ended.stdout
    after = facts(tmp_path / "run")
    assert {key: after[0][key] for key in before[0]} == before[0]
    run_sweep(wide, tmp_path / "run", workspace=workspace)
    assert len(facts(tmp_path / "run")[0]) == (4 + 1) * 9 * 4  # (surrogates and no surrogate) x epsilons x targets


def test_a_file_where_the_run_folder_should_be_is_refused(tmp_path, workspace, spec):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(UsageError, match="cannot be used as a run folder"):
        run_sweep(spec, tmp_path / "run", workspace=workspace)
    assert (tmp_path / "run").read_text() == "mine"


def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path, workspace, spec):
    (tmp_path / "run").mkdir()
    for content in (b"not a database at all, but long enough to have a header" * 40,):
        (tmp_path / "run" / "results.sqlite").write_bytes(content)
        with pytest.raises(UsageError, match="not a results store of this tool"):
            run_sweep(spec, tmp_path / "run", workspace=workspace)
        with pytest.raises(UsageError, match="not a results store of this tool"):
            open_run(tmp_path / "run")
        assert (tmp_path / "run" / "results.sqlite").read_bytes() == content


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not list a process's open files")
def test_a_refused_file_is_not_kept_open(tmp_path):
    (tmp_path / "results.sqlite").write_bytes(b"not a database at all, but long enough to have a header" * 40)
    for opened in (reading, writing):
        with pytest.raises(UsageError, match="not a results store of this tool"), opened(tmp_path):
            pass
    held = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert str(tmp_path / "results.sqlite") not in held  # stores of other tests of this process may be open


def test_an_empty_folder_holds_no_results(tmp_path):
    with pytest.raises(UsageError, match="no results here"):
        open_run(tmp_path)


def test_results_are_read_from_a_read_only_copy(tmp_path, workspace, spec):
    run_sweep(spec, tmp_path / "run", workspace=workspace)
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == [".lock", "checkpoints", "logs", "results.sqlite"]
    before = facts(tmp_path / "run")
    (tmp_path / "run" / "results.sqlite").chmod(0o444)
    (tmp_path / "run").chmod(0o555)
    try:
        assert facts(tmp_path / "run") == before
    finally:
        (tmp_path / "run").chmod(0o755)


def test_a_checkpoint_that_was_exchanged_is_named_and_once_removed_trained_anew(tmp_path, workspace, spec):
    spec = spec.model_copy(update={"models": ("quick_bp",), "attacks": ("fgsm",), "seeds": 1})
    for run in ("run", "other"):
        run_sweep(spec, tmp_path / run, workspace=workspace)
    before, (path,) = facts(tmp_path / "run"), (tmp_path / "run" / "checkpoints").iterdir()
    shutil.copyfile(tmp_path / "other" / "checkpoints" / path.name, path)
    with pytest.raises(
        UsageError, match=rf"{path.name}: is not the checkpoint that results.sqlite speaks of. Remove it"
    ):
        run_sweep(spec, tmp_path / "run", workspace=workspace)
    path.unlink()
    assert run_sweep(spec, tmp_path / "run", workspace=workspace).trained == 1
    assert facts(tmp_path / "run") == before


def test_outcomes_of_a_model_that_came_out_otherwise_the_second_time_are_not_mixed_with_its_own(
    tmp_path, workspace, spec
):
    spec = spec.model_copy(update={"models": ("quick_bp",), "attacks": ("fgsm",), "seeds": 1})
    run_sweep(spec, tmp_path / "run", workspace=workspace)
    before, (path,) = facts(tmp_path / "run"), (tmp_path / "run" / "checkpoints").iterdir()
    with writing(tmp_path / "run") as store:  # as if another version of PyTorch had trained it
        (record,) = store.models().values()
        store.add_model(replace(record, metrics={**record.metrics, "train_loss": 0.5}))
    path.unlink()
    with pytest.raises(WorkFailed, match=r"quick_bp \(seed 0\), whose checkpoint was gone, .* \(train_loss 0.5, now "):
        run_sweep(spec.model_copy(update={"epsilons": (0.0, 0.3)}), tmp_path / "run", workspace=workspace)
    assert facts(tmp_path / "run") == before


def test_of_two_same_sweeps_at_once_the_second_waits_and_trains_nothing(tmp_path, workspace, spec):
    script = (
        "import sys, time; from pathlib import Path; from robustbench_ekdaa.cards import SweepSpec, Workspace\n"
        "from robustbench_ekdaa.scoring.sweep import run_sweep; from robustbench_ekdaa.progress import Silent\n"
        "class Lines(Silent):\n"
        "    def line(self, text): print(text)\n"
        "print(flush=True); sys.stdin.read(1)\n"
        "run_sweep(SweepSpec.model_validate_json(sys.argv[1]), sys.argv[2], workspace=Workspace(sys.argv[3]),\n"
        "          progress=Lines())\n"
    )
    spec = spec.model_copy(update={"models": ("quick_bp",), "seeds": 1})
    arguments = [sys.executable, "-c", script, spec.model_dump_json(), str(tmp_path / "run"), str(tmp_path)]
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    twins = [subprocess.Popen(arguments, **options) for _ in range(2)]
    for twin in twins:
        assert twin.stdout.readline() == "\n"  # it is ready
    for twin in twins:
        twin.stdin.write("!")
        twin.stdin.flush()
    told = [twin.communicate(timeout=300) for twin in twins]
    assert [(twin.returncode, errors) for twin, (_, errors) in zip(twins, told, strict=True)] == [(0, "")] * 2
    first, second = sorted((lines.splitlines() for lines, _ in told), key=len)
    assert "to do: 1 trainings, 3 craftings, 6 cells" in first[0]
    assert second[0].endswith("another command works in this folder; waiting until it has finished")
    assert "to do: 0 trainings, 0 craftings, 0 cells" in second[1]
    assert len(facts(tmp_path / "run")[0]) == 6


class _Copies(Silent):
    """Copies the one file when a phase begins, and keeps what the copy holds."""

    def __init__(self, run, to):
        self.run, self.to, self.held = run, to, []

    def task(self, label, total):
        self.to.mkdir(exist_ok=True)
        shutil.copyfile(self.run / "results.sqlite", self.to / "results.sqlite")
        with reading(self.to) as store:
            keys = list(store.models())
            clean = sum(store.has_outcomes(key) for key in keys)
            self.held.append((label.split()[0], len(store.commands()), len(keys), clean))
        return super().task(label, total)


def test_each_phase_leaves_all_that_it_stored_in_the_one_file(tmp_path, workspace, spec):
    spec = spec.model_copy(update={"models": ("quick_bp",), "attacks": ("fgsm",), "seeds": 1})
    copies = _Copies(tmp_path / "run", tmp_path / "copy")
    run_sweep(spec, tmp_path / "run", workspace=workspace, progress=copies)
    assert copies.held[0] == ("train", 1, 0, 0)
    assert copies.held[-1] == ("fgsm", 1, 1, 1)


def test_one_content_under_two_names_is_told(tmp_path, workspace, spec, monkeypatch, digits):
    monkeypatch.setenv("ROBUSTBENCH_EKDAA_DATA", str(tmp_path / "data home"))
    arrays = {}
    for half, split in (("train", digits.train), ("test", digits.test)):
        arrays |= {f"{half}_images": (split.images[:, 0] * 240).byte().numpy(), f"{half}_labels": split.labels.numpy()}
    np.savez(tmp_path / "source.npz", **arrays)
    told = Lines()
    for name in ("one", "two"):
        import_dataset(tmp_path / "source.npz", name)
        named = spec.model_copy(
            update={"datasets": (name,), "models": ("quick_bp",), "attacks": ("fgsm",), "seeds": 1, "images": 20}
        )
        run_sweep(named, tmp_path / "run", workspace=workspace, progress=told)
    (line,) = [line for line in told.lines if "content" in line]
    assert line == "two has the content of one, swept here before: its results are shown as two's"
