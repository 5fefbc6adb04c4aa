"""Saved adversarial images: what was crafted, to the bit, whole files only, and nothing crafted twice."""

import json
import os
import random
import shutil
import stat
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from robustbench_ekdaa.crafting import check_adversarial, craft, load_adversarial
from robustbench_ekdaa.data import load_dataset
from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.executing.executor import executor
from robustbench_ekdaa.files import FACTS, read_tensors
from robustbench_ekdaa.learning import TrainingJob, load_network
from robustbench_ekdaa.progress import Silent
from robustbench_ekdaa.scoring.images import ImageFile, tidy_run
from robustbench_ekdaa.scoring.sweep import run_sweep
from robustbench_ekdaa.scoring.trainings import train_models
from robustbench_ekdaa.storing.store import open_run, writing

from ..support.forward_passes import CountCalls
from ..support.stored_runs import facts


@pytest.fixture
def saving(spec):
    return spec.model_copy(update={"attacks": ("bim", "ens_fgsm", "noise"), "images": 40, "save_images": True})


def saved(run):
    """The files of a run by (attack, surrogate's name)."""
    files = {path: load_adversarial(path) for path in sorted((run / "adversarial").iterdir())}
    return {(one.facts["attack"], one.facts["surrogate_name"]): (path, one) for path, one in files.items()}


def test_every_file_holds_the_images_that_were_crafted_and_tells_what_they_are(tmp_path, workspace, saving):
    run_sweep(saving, tmp_path / "run", workspace=workspace)
    digits, found = load_dataset("digits"), saved(tmp_path / "run")
    assert len(found) == 4 + 2 + 1  # surrogates, ensembles, noise
    jobs = [
        TrainingJob(workspace.models[name], "digits", digits.fingerprint, 1) for name in ("quick_bp", "quick_ekdaa")
    ]
    networks = {job.key: load_network(job, digits, tmp_path / "run") for job in jobs}
    for name, key in (
        ("bim", ("bim", "quick_ekdaa seed 1")),
        ("ens_fgsm", ("ens_fgsm", "quick_bp+quick_ekdaa seed 1")),
    ):
        _, one = found[key]
        check_adversarial(one, digits.test.images, where="a file", fingerprint=digits.fingerprint)
        assert (one.epsilons, one.norm, one.facts["seed"]) == ((0.1, 0.2), "linf", 0)
        images, labels = digits.test.images[one.indices], digits.test.labels[one.indices]
        held = [networks[member] for member in one.facts["members"]]
        batches = [slice(0, 32), slice(32, 40)]
        for number, made in enumerate(one.images):
            parts = [
                next(
                    craft(
                        workspace.attacks[name],
                        held,
                        images[part],
                        labels[part],
                        [one.epsilons[number]],
                        indices=one.indices[part].tolist(),
                    )
                ).images
                for part in batches
            ]
            assert torch.equal(torch.cat(parts), made)


def test_only_missing_images_are_crafted_and_nobody_is_asked_about_them_again(tmp_path, workspace, saving):
    run = tmp_path / "run"
    run_sweep(saving.model_copy(update={"save_images": False}), run, workspace=workspace)
    assert not (run / "adversarial").exists()
    before, batches = facts(run), 2
    with CountCalls() as count:
        run_sweep(saving, run, workspace=workspace)
    bim, ensembles = 4 * (2 * 9 + 1), 2 * 2  # two epsilons of ten steps share the first; one gradient of two members
    assert count.calls == batches * (bim + ensembles)
    with CountCalls() as count:
        run_sweep(saving, run, workspace=workspace)
    assert count.calls == 0
    path, _ = saved(run)["bim", "quick_bp seed 0"]
    whole = path.read_bytes()
    path.unlink()
    with CountCalls() as count:
        run_sweep(saving, run, workspace=workspace)
    assert count.calls == batches * (2 * 9 + 1)
    assert path.read_bytes() == whole
    assert facts(run) == before


def test_a_sweep_neither_adds_to_damaged_images_nor_takes_them_for_saved(tmp_path, workspace, saving):
    run = tmp_path / "run"
    saving = saving.model_copy(update={"attacks": ("noise",), "seeds": 1})
    run_sweep(saving, run, workspace=workspace)
    ((path, _),) = saved(run).values()
    before, whole = facts(run), path.read_bytes()
    damaged = whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:]
    path.write_bytes(damaged)
    for epsilons in ((0.1, 0.2), (0.1, 0.3)):
        with pytest.raises(UsageError, match=rf"{path.name}: is damaged .* Remove it and run again\.$"):
            run_sweep(saving.model_copy(update={"epsilons": epsilons}), run, workspace=workspace)
    assert path.read_bytes() == damaged
    path.unlink()
    run_sweep(saving, run, workspace=workspace)
    assert path.read_bytes() == whole
    assert facts(run) == before


@pytest.fixture
def file(tmp_path):
    """An image file with images of two epsilons, and one for another seed's images beside it."""
    files = []
    for seed in (0, 1):
        name = {"key": f"{seed}" * 16, "attack": "bim", "seed": seed, "members": ["a", "b"]}
        files.append(ImageFile(tmp_path / f"bim-seed{seed}.safetensors", "linf", torch.arange(5), name))
        draw = torch.Generator().manual_seed(seed)
        files[-1].add({radius: torch.rand((5, 1, 4, 4), generator=draw) for radius in (0.1, 0.2)})
    return files


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_every_flipped_bit_of_saved_images_is_noticed_before_more_are_added(file, count):
    whole, draw = file[0].path.read_bytes(), random.Random(0)
    for _ in range(count):
        at = draw.randrange(len(whole))
        damaged = whole[:at] + bytes([whole[at] ^ 1 << draw.randrange(8)]) + whole[at + 1 :]
        file[0].path.write_bytes(damaged)
        for use in (file[0].epsilons, lambda: file[0].add({0.3: torch.zeros(5, 1, 4, 4)})):
            with pytest.raises(UsageError, match=r"bim-seed0\.safetensors: .*Remove it and run again\.$") as told:
                use()
            assert "\n" not in str(told.value)
        assert file[0].path.read_bytes() == damaged


@pytest.mark.parametrize("exchange", [shutil.copyfile, lambda one, other: (other.unlink(), other.symlink_to(one))])
def test_another_seeds_images_are_not_added_to(file, exchange):
    one, other = file
    whole = one.path.read_bytes()
    exchange(one.path, other.path)
    for use in (other.epsilons, lambda: other.add({0.3: torch.zeros(5, 1, 4, 4)})):
        with pytest.raises(
            UsageError, match=r"seed1\.safetensors: does not hold what its name says\. Remove it and run"
        ):
            use()
    assert one.path.read_bytes() == whole


def rewritten(file, *, drop=(), **changes):
    """Write an image file as another release might have."""
    found = read_tensors(file.path)
    facts = {name: value for name, value in {**found.facts, **changes}.items() if name not in drop}
    save_file(found.tensors, file.path, metadata={FACTS: json.dumps(facts)})


def test_images_saved_by_the_first_release_are_added_to_and_have_a_digest_then(file):
    rewritten(file[0], drop=("digest", "key"))
    before = file[0].read()
    assert "digest" not in before.facts
    file[0].add({0.15: torch.zeros(5, 1, 4, 4)})
    after = file[0].read()
    assert after.epsilons == (0.1, 0.15, 0.2)
    assert torch.equal(after.images[[0, 2]], before.images)
    assert after.facts["digest"]


@pytest.mark.parametrize(
    "changes",
    [
        {"drop": ("digest", "key"), "seed": 1},
        {"drop": ("digest", "key"), "members": ["a"]},
        {"drop": ("digest", "key"), "norm": "l2"},
        {"drop": ("digest", "key"), "digesu": "0"},
        {"drop": ("digest",)},
        {"drop": ("digest", "key", "seed")},
    ],
)
def test_what_only_looks_like_images_of_the_first_release_is_not_added_to(file, changes):
    rewritten(file[0], **changes)
    with pytest.raises(UsageError, match=r"(what its name says|it has no digest\))\. Remove it and run again"):
        file[0].add({0.15: torch.zeros(5, 1, 4, 4)})


def test_images_of_other_places_are_not_added_to(file):
    other = replace(file[0], indices=torch.arange(1, 6))
    with pytest.raises(UsageError, match="does not hold what its name says"):
        other.epsilons()


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_whoever_may_read_new_files_may_read_saved_images(file, mask):
    before = os.umask(mask)
    try:
        file[0].add({0.3: torch.zeros(5, 1, 4, 4)})
    finally:
        os.umask(before)
    assert stat.S_IMODE(file[0].path.stat().st_mode) == 0o666 & ~mask


def test_images_to_show_stay_when_their_surrogate_is_attacked_again_and_is_no_longer_the_first(
    tmp_path, workspace, saving
):
    saving = saving.model_copy(update={"attacks": ("bim",), "seeds": 1, "save_images": False})

    def shown(surrogates, targets):
        wanted = saving.model_copy(update={"surrogates": surrogates, "targets": targets})
        run_sweep(wanted, tmp_path / "run", workspace=workspace)
        (outcomes,) = open_run(tmp_path / "run")
        return {(one.surrogate, one.epsilon): one.images.tolist() for one in outcomes.examples}

    before = shown(("quick_bp",), ("quick_bp",))
    after = shown(("quick_ekdaa", "quick_bp"), ("quick_bp", "quick_ekdaa"))
    assert len(before) == 2
    assert {place: after.get(place) for place in before} == before


@pytest.mark.parametrize("workers", [1, 2])
def test_outcomes_are_kept_though_their_images_could_not_be_saved(tmp_path, workspace, saving, workers):
    run = tmp_path / "run"
    saving = saving.model_copy(update={"attacks": ("noise",), "seeds": 1})
    run.mkdir()
    (run / "adversarial").write_text("a file where the folder should be")
    with pytest.raises(WorkFailed, match="could not be written"):
        run_sweep(saving, run, workspace=workspace, workers=workers)
    before = facts(run)
    assert len(before[0]) == 2 * 2  # epsilons x targets
    (run / "adversarial").unlink()
    with CountCalls() as count:
        run_sweep(saving, run, workspace=workspace)
    assert count.calls == 0  # noise asks no model, and no target is asked again
    assert facts(run) == before
    ((_, images),) = saved(run).values()
    assert images.epsilons == (0.1, 0.2)


def test_more_epsilons_are_added_to_a_file_and_the_others_are_not_crafted_again(tmp_path, workspace, saving):
    saving = saving.model_copy(update={"attacks": ("bim",), "models": ("quick_bp",), "seeds": 1})
    run_sweep(saving, tmp_path / "run", workspace=workspace)
    (place,) = saved(tmp_path / "run")
    _, before = saved(tmp_path / "run")[place]
    with CountCalls() as count:
        run_sweep(saving.model_copy(update={"epsilons": (0.0, 0.15, 0.2)}), tmp_path / "run", workspace=workspace)
    assert count.calls == 2 * (10 + 1)  # batches x (ten gradients and one target)
    _, after = saved(tmp_path / "run")[place]
    assert after.epsilons == (0.1, 0.15, 0.2)
    assert torch.equal(after.images[[0, 2]], before.images)
    assert [path.suffix for path in (tmp_path / "run" / "adversarial").iterdir()] == [".safetensors"]


def test_what_killed_processes_of_early_releases_left_is_removed_from_a_runs_folders_and_nothing_else(tmp_path):
    left = [
        f"checkpoints/.{'0' * 16}.partial.safetensors.123.tmp",
        "checkpoints/.tmpAb12Cd",
        f"logs/{'0' * 16}.tmp",
        "adversarial/.bim-on-a-seed0.safetensors.123.tmp",
        "adversarial/.tmpAb12Cd",
    ]
    kept = [f"checkpoints/{'0' * 16}.safetensors", "adversarial/bim-on-a-seed0.safetensors", "adversarial/notes.tmp"]
    for name in (*left, *kept):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - 4000,) * 2)  # what is not an hour old may be in use
    tidy_run(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == sorted(kept)


def test_a_training_begins_with_tidying_the_run(tmp_path):
    left = tmp_path / "adversarial" / ".tmpAb12Cd"
    left.parent.mkdir()
    left.touch()
    os.utime(left, (time.time() - 4000,) * 2)
    with writing(tmp_path, Silent()) as store, executor(1, Silent()) as runner:
        assert train_models([], store, device="cpu", runner=runner) == []
    assert not left.exists()
