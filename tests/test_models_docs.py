"""The page about models from anywhere: what it writes out runs as it stands there."""

import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import robustbench_ekdaa as rb
from robustbench_ekdaa.cards import REGISTERED
from robustbench_ekdaa.cli import main
from robustbench_ekdaa.learning.external.checks import CHECKS

from .support.external_models import imported, trained
from .support.quick_models import write_card

PAGE = (Path(__file__).parents[1] / "docs" / "models.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python|toml)\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(autouse=True)
def forgotten():
    """Forget what was registered."""
    yield
    REGISTERED.clear()


def write_files(folder):
    """Write the files that the page writes out."""
    for _, text in BLOCKS:
        if named := re.match(r"# (models/\S+)\n", text):
            (folder / named[1]).parent.mkdir(exist_ok=True)
            (folder / named[1]).write_text(text, encoding="utf-8")


def test_the_network_of_one_s_own_that_the_page_writes_out_is_trained(tmp_path):
    write_files(tmp_path)
    record = rb.train("attentive", "digits", seed=0, run=tmp_path / "run", workspace=tmp_path)
    assert record.metrics["test_accuracy"] > 0.6


def test_the_card_and_the_factory_that_the_page_writes_out_are_a_model(tmp_path):
    write_files(tmp_path)
    (tmp_path / "models" / "weights").mkdir()
    make = imported(tmp_path / "models" / "two_layers.py").make
    for seed in (0, 1):
        torch.manual_seed(seed)
        state = trained(make(), seed).state_dict()
        save_file(state, tmp_path / "models" / "weights" / f"two_layers-{seed}.safetensors")
    (command,) = re.findall(r"^    robustbench-ekdaa (sweep .*two_layers.*\n.*)$", PAGE, re.MULTILINE)
    assert "--models two_layers,backprop --attacks fgsm,mi_fgsm" in command
    facts = {"datasets": ["digits"], "models": ["two_layers"], "attacks": ["fgsm", "mi_fgsm"], "epsilons": [0, 0.2]}
    results = rb.sweep(rb.SweepSpec(**facts, seeds=2, images=30), tmp_path / "run", workspace=tmp_path)
    assert set(results.frame()["target_rule"]) == {"backprop"}


def test_the_modules_that_the_page_registers_are_swept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (script,) = [text for kind, text in BLOCKS if kind == "python" and "register_model" in text]
    found = {}
    exec(compile(script, "docs/models.md", "exec"), found)
    assert set(found["results"].frame()["target"]) == {"mine"}
    assert (found["results"].frame()["clean_accuracy"] > 0.8).all()


def test_the_epochs_that_the_page_keeps_are_loaded_and_swept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for rule in ("backprop", "frozen"):
        write_card(tmp_path, rule, rule, epochs=20)  # as many as the package's cards, and quicker
    (script,) = [text for kind, text in BLOCKS if kind == "python" and "keep_epochs" in text]
    found = {}
    exec(compile(script, "docs/models.md", "exec"), found)
    assert sorted(found["against_epoch"].index) == [5, 10, 20]
    assert not found["early"].training
    (command,) = re.findall(r"^    robustbench-ekdaa (train .*--keep-epochs.*)$", PAGE, re.MULTILINE)
    assert "--keep-epochs all" in command


def test_the_zoo_that_the_page_publishes_is_taken_from(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    section = PAGE.partition("\n## A zoo\n")[2].partition("\n## ")[0]
    commands = re.findall(r"^    robustbench-ekdaa ((?:.*\\\n)*.*)$", section, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["train", "publish", "sweep"]
    for command in commands:
        words = command.replace("\\\n", " ").split()
        monkeypatch.setattr(
            sys, "argv", ["robustbench-ekdaa", *words, *(["--workers", "1"] if "--run" in words else [])]
        )
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 0
    assert capsys.readouterr().err.count("taken from the zoo zoo, not trained") == 1
    (script,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    found = {}
    with pytest.warns(UserWarning, match="attentive on digits, seed 0: taken from the zoo zoo"):
        exec(compile(script, "docs/models.md", "exec"), found)
    assert [one.state for one in found["published"]] == ["there already"]
    own = rb.load_model("attentive", "digits", 0, "runs/mine")
    images = rb.load_dataset("digits", "test", 10).images
    assert torch.equal(found["model"](images), own(images))


def test_the_table_of_checks_is_that_of_the_checks():
    (table,) = re.findall(r"\| check \| what it finds \|\n\|---\|---\|\n(.*?)\n\n", PAGE, re.DOTALL)
    assert [row.split(" | ")[0].strip("| ") for row in table.splitlines()] == list(CHECKS)
