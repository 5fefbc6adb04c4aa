"""Checkpoints, and states to resume from: a damaged or foreign one is never used, and says so in one line."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import stat
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from robustbench_ekdaa.analysis.logs import read_log
from robustbench_ekdaa.cards import ModelCard, Workspace
from robustbench_ekdaa.data import load_dataset
from robustbench_ekdaa.errors import TrainingDiverged, UsageError
from robustbench_ekdaa.files import FACTS, read_tensors, write_tensors
from robustbench_ekdaa.learning import TrainingJob, load_network, train, training
from robustbench_ekdaa.learning.checking import check_job
from robustbench_ekdaa.learning.checkpoint import tidy_checkpoints
from robustbench_ekdaa.learning.contract import run_test
from robustbench_ekdaa.learning.job import checkpoint_path, log_path, partial_path
from robustbench_ekdaa.learning.training import make_rule

from ..support.stopped import StopAfter

NETWORK = {"blocks": [{"layer": "conv", "width": 2, "pool": "max"}, {"layer": "linear", "width": 4}]}
ADAM = {"optimizer": "Adam", "learning_rate": 0.01, "schedule": "StepLR", "schedule_options": {"step_size": 1}}


@pytest.fixture(scope="module")
def few():
    return load_dataset("digits", limit=60)


def job(few, seed=0, rule="backprop", **recipe):
    default = {"epochs": 3, "batch_size": 30, **ADAM, **recipe}
    facts = {"kind": "model", "name": "tiny", "rule": rule, "network": NETWORK, "training": {"default": default}}
    return TrainingJob(ModelCard.model_validate(facts), "digits", few.fingerprint, seed)


class Watch(StopAfter):
    """Collects lines too."""

    def __init__(self, steps=10**9):
        super().__init__(steps)
        self.lines = []

    def line(self, text):
        self.lines.append(text)


def stopped(work, few, run, monkeypatch):
    """Stop a training after its first epoch; returns what it left to resume from."""
    monkeypatch.setattr(training, "SAVE_SECONDS", 0)
    with pytest.raises(KeyboardInterrupt):
        train(work, few, run, progress=Watch(2))
    return partial_path(run, work.key)


def flips(content, count):
    """Yield copies of a file's bytes with one bit turned at random, spread over header and data."""
    draw = random.Random(0)
    header = 8 + int.from_bytes(content[:8], "little")
    for number in range(count):
        at = draw.randrange(header) if number % 2 else draw.randrange(header, len(content))
        yield content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]


def weights(work, run):
    return read_tensors(checkpoint_path(run, work.key)).tensors


def equal(some, others):
    return some.keys() == others.keys() and all(torch.equal(some[name], others[name]) for name in some)


# -- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_every_flipped_bit_of_a_checkpoint_is_one_line_that_names_it(few, tmp_path, count):
    work = job(few)
    train(work, few, tmp_path)
    path = checkpoint_path(tmp_path, work.key)
    whole = path.read_bytes()
    for damaged in flips(whole, count):
        path.write_bytes(damaged)
        for use in (load_network, train):
            with pytest.raises(UsageError, match=rf"{work.key}\.safetensors: .* Remove it and run again\.$"):
                use(work, few, tmp_path)
    path.write_bytes(whole)
    load_network(work, few, tmp_path)


@pytest.mark.parametrize("exchange", [shutil.copyfile, lambda one, other: (other.unlink(), other.symlink_to(one))])
def test_another_models_checkpoint_is_not_used_whether_copied_or_linked(few, tmp_path, monkeypatch, exchange):
    one, other = job(few, 0), job(few, 1)
    for work in (one, other):
        train(work, few, tmp_path)
    exchange(checkpoint_path(tmp_path, one.key), checkpoint_path(tmp_path, other.key))
    for use in (load_network, train):
        with pytest.raises(UsageError, match=rf"{other.key}\.safetensors: is not the checkpoint of tiny .* seed 1\."):
            use(other, few, tmp_path)
    load_network(one, few, tmp_path)


def test_a_half_trained_model_is_not_taken_for_the_whole(few, tmp_path, monkeypatch):
    work = job(few)
    shutil.copyfile(stopped(work, few, tmp_path, monkeypatch), checkpoint_path(tmp_path, work.key))
    with pytest.raises(UsageError, match="is not the checkpoint of tiny"):
        load_network(work, few, tmp_path)


def test_a_checkpoint_that_the_store_does_not_speak_of_is_not_used(few, tmp_path):
    work = job(few)
    facts = train(work, few, tmp_path)
    assert train(work, few, tmp_path) == facts
    load_network(work, few, tmp_path, digest=facts["digest"])
    with pytest.raises(UsageError, match=r"is not the checkpoint that results\.sqlite speaks of"):
        load_network(work, few, tmp_path, digest="0" * 64)


def test_a_checkpoint_is_not_used_for_a_model_it_is_missing(few, tmp_path):
    with pytest.raises(UsageError, match="there is no such file"):
        load_network(job(few), few, tmp_path)


@pytest.fixture
def early(few, tmp_path):
    """A checkpoint as early releases wrote it, of seed 0."""
    work = job(few)
    train(work, few, tmp_path)
    path = checkpoint_path(tmp_path, work.key)
    found = read_tensors(path)
    later = ("digest", "key", "log_digest", "made_with")
    facts = {name: value for name, value in found.facts.items() if name not in later}

    def write(path=path, **changes):
        save_file(found.tensors, path, metadata={FACTS: json.dumps({**facts, **changes}, sort_keys=True)})

    write()
    return tmp_path, write


def test_a_checkpoint_of_the_first_release_is_used_and_so_is_its_digestless_row(few, early):
    run, _ = early
    assert "digest" not in train(job(few), few, run)
    load_network(job(few), few, run)
    with pytest.raises(UsageError, match=r"results\.sqlite speaks of"):
        load_network(job(few), few, run, digest="0" * 64)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, "is not the checkpoint of tiny"),
        ({"identity": {}}, "is not the checkpoint of tiny"),
        ({"identity": [["x"]] * 3}, "it has no digest"),
        ({"seed": True}, "it has no digest"),
        ({"layers": None}, "it has no digest"),
        ({"train_accuracy": "high"}, "it has no digest"),
        ({"digesu": "0" * 64}, "it has no digest"),
        ({"key": "x"}, "it has no digest"),
    ],
)
def test_what_only_looks_like_an_early_checkpoint_is_not_used(few, early, changes, words):
    run, write = early
    write(**changes)
    with pytest.raises(UsageError, match=words):
        load_network(job(few), few, run)


def test_an_early_checkpoint_whose_tensors_do_not_fit_is_one_line(few, early):
    run, _ = early
    path = checkpoint_path(run, job(few).key)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"network.blocks.0", b"network.blocks.9"))
    with pytest.raises(UsageError, match=r"does not fit the network of tiny .* Remove it and run again\.$"):
        load_network(job(few), few, run)


# -- states to resume from -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [25, pytest.param(300, marks=pytest.mark.slow)])
def test_every_flipped_bit_of_a_stopped_training_is_noticed_and_gives_the_same_model(few, tmp_path, monkeypatch, count):
    work = job(few)
    train(work, few, tmp_path / "whole")
    partial = stopped(work, few, tmp_path / "parts", monkeypatch)
    whole = partial.read_bytes()
    for damaged in flips(whole, count):
        partial.write_bytes(damaged)
        watch = Watch()
        train(work, few, tmp_path / "parts", progress=watch)
        assert equal(weights(work, tmp_path / "parts"), weights(work, tmp_path / "whole"))
        (line,) = watch.lines
        assert partial.name in line
        assert line.endswith("The training of tiny on digits, seed 0 begins anew.")
        assert not partial.exists()
        checkpoint_path(tmp_path / "parts", work.key).unlink()


def other_seed(path, tensors, facts):
    write_tensors(path, tensors, {**facts, "key": facts["key"].replace(".", "0.")})


def early_release(path, tensors, facts):
    kept = {name: value for name, value in facts.items() if name not in ("digest", "key")}
    save_file(tensors, path, metadata={FACTS: json.dumps(kept)})


def without_epoch(path, tensors, facts):
    write_tensors(path, tensors, {name: value for name, value in facts.items() if name != "epoch"})


def with_strange_facts(path, tensors, facts):
    write_tensors(path, tensors, {**facts, "groups": None, "optimiser": [3]})


def of_another_shape(path, tensors, facts):
    write_tensors(path, {name: torch.zeros(7) for name in tensors}, facts)


def with_nan(path, tensors, facts):
    write_tensors(path, {name: tensor * float("nan") for name, tensor in tensors.items()}, facts)


@pytest.mark.parametrize(
    "change", [other_seed, early_release, without_epoch, with_strange_facts, of_another_shape, with_nan]
)
def test_a_state_that_is_not_to_be_trusted_is_said_and_not_used(few, tmp_path, monkeypatch, change):
    """NaN in it would otherwise be recorded, for ever, as a training that diverges."""
    work = job(few)
    train(work, few, tmp_path / "whole")
    partial = stopped(work, few, tmp_path / "parts", monkeypatch)
    found = read_tensors(partial)
    change(partial, found.tensors, found.facts)
    watch = Watch()
    train(work, few, tmp_path / "parts", progress=watch)
    assert equal(weights(work, tmp_path / "parts"), weights(work, tmp_path / "whole"))
    (line,) = watch.lines
    assert "\n" not in line
    assert "begins anew" in line


def test_a_link_to_another_trainings_files_is_neither_used_nor_written_through(few, tmp_path, monkeypatch):
    one, other = job(few, 0), job(few, 1)
    train(one, few, tmp_path)
    whole = checkpoint_path(tmp_path, one.key).read_bytes()
    partial_path(tmp_path, other.key).symlink_to(checkpoint_path(tmp_path, one.key))
    stopped(other, few, tmp_path, monkeypatch)
    train(other, few, tmp_path)
    assert checkpoint_path(tmp_path, one.key).read_bytes() == whole
    load_network(other, few, tmp_path)


def test_a_training_that_diverges_does_so_however_often_it_was_stopped(few, tmp_path, monkeypatch):
    work = job(few, learning_rate=3e38, optimizer="SGD", schedule=None, schedule_options={})
    with pytest.raises(TrainingDiverged):
        train(work, few, tmp_path)
    assert not list(tmp_path.glob("checkpoints/*"))
    other = job(few)
    found = read_tensors(stopped(other, few, tmp_path, monkeypatch))
    state = {name: tensor for name, tensor in found.tensors.items() if not name.startswith("optimiser")}
    plain = {**found.facts, "key": partial_path(tmp_path, work.key).stem, "optimiser": {}, "schedule": None}
    plain["groups"] = [{**plain["groups"][0], "lr": 3e38}]
    write_tensors(partial_path(tmp_path, work.key), state, plain)
    watch = Watch()
    with pytest.raises(TrainingDiverged):
        train(work, few, tmp_path, progress=watch)
    assert not partial_path(tmp_path, work.key).exists()


# -- rules whose state is unusual ------------------------------------------------------------------------------------

RULE = """
import torch
from robustbench_ekdaa.learning.rules.backprop import Backprop
class Odd(Backprop):
    def bind(self, network, generator):
        super().bind(network, generator)
        self.memory = torch.zeros(3)
    def after_step(self):
        self.memory += 1
    def state_dict(self):
        return {state}
    def load_state_dict(self, state):
        self.memory = state.get("whole", self.memory).clone()
"""
TWICE = '{"whole": self.memory, "again": self.memory, "part": self.memory[1:]}'


def odd(few, tmp_path, state):
    (tmp_path / "odd.py").write_text(RULE.replace("{state}", state))
    return job(few, rule=f"{tmp_path / 'odd.py'}:Odd")


def test_a_rule_whose_state_holds_one_tensor_twice_is_saved_and_goes_on(few, tmp_path, monkeypatch):
    work = odd(few, tmp_path, TWICE)
    check_job(work, few)
    stopped(work, few, tmp_path, monkeypatch)
    watch = Watch()
    train(work, few, tmp_path, progress=watch)
    saved = weights(work, tmp_path)
    assert watch.lines == []
    assert saved["rule.whole"].tolist() == saved["rule.again"].tolist() == [6, 6, 6]
    assert saved["rule.part"].tolist() == [6, 6]


def test_the_contract_takes_a_rule_whose_state_holds_one_tensor_twice(few, tmp_path):
    rule = odd(few, tmp_path, TWICE).card
    assert run_test("state round trip", lambda: make_rule(rule), load_dataset("digits")).verdict == "passed"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ('{"memory": [1, 2]}', "'memory': must be a tensor with a text as name (got list)"),
        ("{3: self.memory}", "3: must be a tensor with a text as name"),
        ('{"memory": self.memory.to_sparse()}', "memory: a file cannot hold such a tensor"),
        ('{"memory": self.memory.to(torch.complex128)}', "memory: a file cannot hold such a tensor"),
        ("None", "its state cannot be saved"),
        ("1 / 0", "its state cannot be saved"),
    ],
)
def test_a_rule_whose_state_no_file_can_hold_is_refused_before_training(few, tmp_path, state, words):
    with pytest.raises(UsageError) as told:
        check_job(odd(few, tmp_path, state), few)
    assert words in str(told.value)
    assert "tiny: rule: its state cannot be saved" in str(told.value)


# -- the files themselves --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_whoever_may_read_new_files_may_read_models_and_logs(few, tmp_path, mask):
    before = os.umask(mask)
    try:
        train(job(few), few, tmp_path)
    finally:
        os.umask(before)
    key = job(few).key
    modes = {stat.S_IMODE(path(tmp_path, key).stat().st_mode) for path in (checkpoint_path, log_path)}
    assert modes == {0o666 & ~mask}


def test_links_planted_at_names_of_logs_and_models_are_not_followed(few, tmp_path):
    key, victim = job(few).key, tmp_path / "victim"
    victim.write_text("mine")
    for name in (f"logs/{key}.tmp", f"logs/{key}.jsonl", f"checkpoints/.{key}.safetensors.{os.getpid()}.tmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(victim)
    train(job(few), few, tmp_path)
    assert victim.read_text() == "mine"
    assert len(read_log(tmp_path, key).epochs) == 3


def train_here(work, run):
    torch.set_num_threads(1)
    train(work, load_dataset("digits", limit=60), run)


def test_one_model_trained_by_two_processes_at_once_is_trained(few, tmp_path):
    work = job(few, epochs=30)
    context = multiprocessing.get_context("fork")
    twins = [context.Process(target=train_here, args=(work, tmp_path)) for _ in range(2)]
    for twin in twins:
        twin.start()
    for twin in twins:
        twin.join(60)
    assert [twin.exitcode for twin in twins] == [0, 0]
    load_network(work, few, tmp_path)
    assert len(list((tmp_path / "checkpoints").iterdir())) == len(list((tmp_path / "logs").iterdir())) == 1


def test_what_killed_trainings_left_is_tidied_and_what_may_go_on_stays(few, tmp_path, monkeypatch):
    key, other = job(few).key, job(few, 1)
    train(job(few), few, tmp_path)
    left = stopped(other, few, tmp_path, monkeypatch)
    kept = sorted(path for path in tmp_path.rglob("*"))
    rubbish = [f"checkpoints/.{key}.safetensors.123.tmp", "checkpoints/.tmpAbC123", f"logs/{key}.tmp"]
    for name in rubbish:
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (time.time() - 7200,) * 2)
    shutil.copyfile(left, partial_path(tmp_path, key))
    (tmp_path / "checkpoints" / f".robustbench-ekdaa.{'0' * 16}.tmp").mkdir()
    (tmp_path / "checkpoints" / f".robustbench-ekdaa.{'0' * 16}.tmp" / "file").touch()
    tidy_checkpoints(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*")) == kept


@pytest.mark.parametrize("flip", [0, 1])
def test_a_log_is_the_one_that_its_training_wrote(few, tmp_path, flip):
    work = job(few)
    facts = train(work, few, tmp_path)
    path = log_path(tmp_path, work.key)
    content = path.read_text()
    path.write_text(content.replace('"loss": 2', '"loss": 3') if flip else content)
    if flip:
        with pytest.raises(UsageError, match="is damaged"):
            read_log(tmp_path, work.key, facts["log_digest"])
    else:
        assert len(read_log(tmp_path, work.key, facts["log_digest"]).epochs) == 3


@pytest.mark.parametrize("damage", [b"[" * 100_000, b'{"epoch": ' + b"9" * 5000 + b"}", b"\xff", b"null"])
def test_a_log_that_is_damaged_in_any_way_is_one_line(tmp_path, damage):
    path = log_path(tmp_path, "a")
    path.parent.mkdir()
    path.write_bytes(damage)
    with pytest.raises(UsageError, match=r"a\.jsonl: is damaged$"):
        read_log(tmp_path, "a")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UsageError, match=r"a\.jsonl: is damaged$"):
        read_log(tmp_path, "a")


def test_models_that_the_first_release_trained_are_used(digits):
    release = Path(__file__).parents[1] / "scoring" / "first_release"
    for name in ("quick_bp", "quick_ekdaa"):
        for seed in (0, 1):
            work = TrainingJob(Workspace(release).models[name], "digits", digits.fingerprint, seed)
            network = load_network(work, digits, release / "run")
            told = train(work, digits, release / "run")
            assert training.measured_accuracy(network, digits.test, torch.device("cpu")) == told["test_accuracy"]
