"""What a result's key depends on: all that could change it, and nothing else."""

from dataclasses import replace

import pytest
import torch

from robustbench_ekdaa.cards import SweepSpec, Workspace
from robustbench_ekdaa.crafting import identity
from robustbench_ekdaa.data import load_dataset
from robustbench_ekdaa.data.arrays import dataset_from_arrays
from robustbench_ekdaa.environment import as_text, environment, mixed
from robustbench_ekdaa.learning import job as job_module
from robustbench_ekdaa.scoring.plan import plan_sweep

MODEL = """\
kind = "model"
name = "mine"
rule = "my_rule.py:Mine"
[network]
preset = "small_cnn"
[training.default]
epochs = 2
learning_rate = 0.05
"""
RULE = "from robustbench_ekdaa.learning.rules.backprop import Backprop\n\nclass Mine(Backprop):\n    pass\n"
ATTACK = """\
kind = "attack"
name = "hit"
norm = "linf"
steps = 3
step_size = "epsilon / steps"
[start]
component = "uniform"
"""
FILES = {"models/mine.toml": MODEL, "models/my_rule.py": RULE, "attacks/hit.toml": ATTACK}
SPEC = SweepSpec(datasets=("digits",), models=("mine",), attacks=("hit",), epsilons=(0.1,), images=20, seeds=1)


def keys(folder, files=FILES, spec=SPEC, dataset=None, device="cpu"):
    """The keys of a sweep's model, attack and images."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    plan = plan_sweep(spec, Workspace(folder), dataset or load_dataset("digits"), device)
    return plan.models[0].key, plan.attacks[0][0], plan.images.key


def edited(name, before, after):
    assert before in FILES[name]
    return {**FILES, name: FILES[name].replace(before, after)}


def other_data(change):
    digits = load_dataset("digits")
    train, test = ((part.images.numpy().copy(), part.labels.numpy().copy()) for part in (digits.train, digits.test))
    change(train, test)
    return dataset_from_arrays("digits", train, test, title="Digits")


def one_pixel(train, test):
    test[0][0, 0, 0, 0] = 1 - test[0][0, 0, 0, 0]


def one_label(train, test):
    train[1][0] = (train[1][0] + 1) % 10


# what changes -> which keys change: (model, attack, images)
CHANGES = {
    "a number in the recipe": ({"files": edited("models/mine.toml", "0.05", "0.06")}, (True, False, False)),
    "the network": ({"files": edited("models/mine.toml", "small_cnn", "mlp")}, (True, False, False)),
    "the rule's file": ({"files": edited("models/my_rule.py", "pass", "step = 1")}, (True, False, False)),
    "the rule": ({"files": edited("models/mine.toml", "my_rule.py:Mine", "backprop")}, (True, False, False)),
    "a number of the attack": ({"files": edited("attacks/hit.toml", "steps = 3", "steps = 4")}, (False, True, False)),
    "a component of the attack": (
        {"files": edited("attacks/hit.toml", '[start]\ncomponent = "uniform"\n', "")},
        (False, True, False),
    ),
    "the sweep's seed": ({"spec": SPEC.model_copy(update={"seed": 1})}, (False, True, True)),
    "the number of images": ({"spec": SPEC.model_copy(update={"images": 21})}, (False, False, True)),
    "the precision": ({"spec": SPEC.model_copy(update={"precision": "bfloat16"})}, (False, True, False)),
    "versions that are to be kept apart": (
        {"spec": SPEC.model_copy(update={"strict_versions": True})},
        (True, True, False),
    ),
    "a pixel of the data": ({"change": one_pixel}, (True, False, True)),
    "a label of the data": ({"change": one_label}, (True, False, True)),
}
NO_CHANGES = {
    "a comment": edited("models/mine.toml", "epochs = 2", "# often enough\nepochs = 2"),
    "the order of fields": edited(
        "models/mine.toml", "epochs = 2\nlearning_rate = 0.05", "learning_rate = 0.05\nepochs = 2"
    ),
    "how a number is written": edited("models/mine.toml", "0.05", "5e-2"),
    "a default that is written out": edited("models/mine.toml", "epochs = 2", "epochs = 2\nbatch_size = 64"),
    "a title and notes": edited("attacks/hit.toml", "steps = 3", 'title = "Hit"\nnotes = "hard"\nsteps = 3'),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_could_change_a_result_changes_its_key_and_no_other(tmp_path, what):
    change, changed = CHANGES[what]
    change = dict(change)
    if "change" in change:
        change["dataset"] = other_data(change.pop("change"))
    before, after = keys(tmp_path / "before"), keys(tmp_path / "after", **change)
    assert tuple(a != b for a, b in zip(before, after, strict=True)) == changed


@pytest.mark.parametrize("room", ["TRAINING_VERSION", "CRAFTING_VERSION"])
def test_the_version_of_a_room_is_part_of_the_keys_of_what_it_makes(tmp_path, monkeypatch, room):
    before = keys(tmp_path)
    monkeypatch.setattr(job_module if room == "TRAINING_VERSION" else identity, room, 99)
    after = keys(tmp_path)
    assert [a != b for a, b in zip(before, after, strict=True)] == [
        room == "TRAINING_VERSION",
        room == "CRAFTING_VERSION",
        False,
    ]


@pytest.mark.parametrize("what", NO_CHANGES)
def test_what_cannot_change_a_result_does_not_change_its_key(tmp_path, what):
    assert keys(tmp_path / "before") == keys(tmp_path / "after", NO_CHANGES[what])


def test_files_names_batches_and_torchs_state_are_in_no_key(tmp_path):
    before = keys(tmp_path / "before")
    # An attack's name keys its random draws, and so is no mere name.
    renamed = {"models/other.toml": MODEL.replace('"mine"', '"other"'), **FILES}
    other = SPEC.model_copy(update={"models": ("other",)})
    assert keys(tmp_path / "after", renamed, other) == before
    spec = SPEC.model_copy(update={"batch_size": 7, "save_images": True})
    assert keys(tmp_path / "before", spec=spec) == before
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    try:
        torch.set_num_threads(1 + threads)
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(99)
        with torch.inference_mode():
            assert keys(tmp_path / "before") == before
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)


def test_another_environment_changes_strict_keys_alone(tmp_path, monkeypatch):
    strict = SPEC.model_copy(update={"strict_versions": True})
    before = keys(tmp_path), keys(tmp_path, spec=strict)
    monkeypatch.setattr(torch, "__version__", "9.9")
    environment_cache_cleared()
    try:
        after = keys(tmp_path), keys(tmp_path, spec=strict)
    finally:
        monkeypatch.undo()
        environment_cache_cleared()
    assert before[0] == after[0]
    assert [a != b for a, b in zip(before[1], after[1], strict=True)] == [True, True, False]


def environment_cache_cleared():
    from robustbench_ekdaa import environment as module

    module._environment.cache_clear()


def test_an_environment_names_versions_device_and_platform_and_text_is_the_same_for_the_same():
    here, with_library = environment("cpu"), environment("cpu", "foolbox")
    assert set(here) == {"torch", "platform", "device"}
    assert with_library.pop("foolbox")[0].isdigit()
    assert with_library == here
    assert as_text(dict(reversed(here.items()))) == as_text(here)
    assert as_text(None) == as_text({}) == ""
    assert mixed([here, {**here, "torch": "1"}, {}]) == {"torch": sorted(["1", here["torch"]])}
    assert mixed([]) == mixed([here, here]) == {}


def test_jobs_of_one_environment_stay_apart_from_others(digits):
    from robustbench_ekdaa.learning import TrainingJob

    card = Workspace(".").models["backprop"]
    job = TrainingJob.on(digits, card, 0)
    assert replace(job, strict="{}").key != job.key
