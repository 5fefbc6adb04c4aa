"""The command line as its user meets it: what it prints, what it writes, and how it fails."""

import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from robustbench_ekdaa.cards import builtin_workspace

from ..support.command_line import SWEEP
from ..support.quick_models import write_card
from ..support.stored_runs import stored, wait_until_stored


def test_help_imports_nothing_slow_and_every_command_shows_an_example(cli):
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "from robustbench_ekdaa.cli import main; main()", "--help"],
        capture_output=True,
        text=True,
    )
    # What would make it slow is importing these; the time itself depends on the machine.
    assert not re.search(r"\| +(torch|pandas|matplotlib|art|foolbox)\n", ended.stderr)
    commands = re.findall(r"^│ (\w[\w-]*) ", ended.stdout, re.MULTILINE)
    assert {"quickstart", "list", "data", "train", "sweep", "score", "report", "export", "init"} <= set(commands)
    for command in [*(name for name in commands if name != "data"), "data status", "data fetch", "data import"]:
        code, out, _ = cli(f"{command} --help")
        assert code == 0
        assert "Example: " in out, command
        assert "--debug" in out, command


@pytest.mark.parametrize("what", ["models", "rules", "networks", "attacks", "datasets"])
def test_lists_are_tables_for_people_and_json_for_programs(cli, what):
    code, out, _ = cli(f"list {what}")
    assert code == 0
    code, text, _ = cli(f"list {what} --json")
    rows = json.loads(text)
    names = {row["name"] for row in rows}
    expected = {
        "models": {"backprop", "ekdaa", "frozen"},
        "rules": {"backprop", "ekdaa", "frozen"},
        "networks": {"small_cnn", "lenet", "ekdaa_cnn"},
        "attacks": {"fgsm", "bim", "pgd", "mi_fgsm", "noise"},
        "datasets": {"digits", "fashion_mnist", "cifar10", "svhn"},
    }[what]
    assert expected <= names
    assert all(name in out for name in expected)


def test_a_sweep_is_run_reported_and_exported(ran, tmp_path):
    code, out, error = ran(f"{SWEEP} --run runs/a")
    assert (code, "to do: 0 trainings, 0 craftings, 0 cells" in " ".join(error.split())) == (0, True)
    assert "quick_ekdaa" in out
    code, out, _ = ran("report runs/a --out reports/a")
    page = (tmp_path / "reports" / "a" / "index.html").read_text()
    assert code == 0
    assert "reports/a/index.html" in out
    assert "robustbench-ekdaa sweep --dataset digits" in page
    frames = {}
    for form in ("csv", "parquet", "json"):
        code, out, _ = ran(f"export runs/a --format {form} --out rows.{form}")
        assert code == 0
    frames = [pd.read_csv("rows.csv"), pd.read_parquet("rows.parquet"), pd.read_json("rows.json")]
    assert len(frames[0]) == len(frames[1]) == len(frames[2]) == (4 + 1) * 3 * 4
    assert {"dataset", "surrogate", "target", "attack", "epsilon", "accuracy", "relation"} <= set(frames[0])


def test_a_sweep_file_is_overridden_by_flags(ran, tmp_path):
    (tmp_path / "sweep.toml").write_text(
        'datasets = ["digits"]\nmodels = ["quick_bp"]\nattacks = ["noise"]\n'
        "epsilons = [0, 0.1]\nimages = 30\nseeds = 1\n"
    )
    code, _, error = ran("sweep sweep.toml --run runs/b --images 20 --workers 1")
    assert code == 0
    assert "20 test images" in error


def test_saved_images_are_scored_reported_and_exported(ran, tmp_path):
    code, _, error = ran(f"{SWEEP} --run runs/a --workers 1 --save-images")
    assert code == 0, error
    assert "to do: 0 trainings, 5 craftings, 0 cells" in " ".join(error.split())
    saved = sorted((tmp_path / "runs" / "a" / "adversarial").iterdir())
    assert len(saved) == 5
    noise = next(path.relative_to(tmp_path) for path in saved if path.name.startswith("noise"))
    command = f"score {noise} --dataset digits --models quick_bp,quick_ekdaa --seeds 2 --run runs/a --name mine"
    code, out, error = ran(f"{command} --workers 1")
    assert code == 0, error
    assert len(re.findall(r"digits +quick_(?:bp|ekdaa) +0(?:\.[12])? +\d+\.\d\d % +2", out)) == 2 * 3
    ran("export runs/a --out rows.csv")
    rows = pd.read_csv("rows.csv").set_index(["target", "target_seed", "epsilon"])
    assert rows.query("attack == 'mine'")["accuracy"].equals(rows.query("attack == 'noise'")["accuracy"])
    assert ran("report runs/a --out reports/a")[0] == 0
    page = (tmp_path / "reports" / "a" / "index.html").read_text()
    assert "mine (imported)" in page
    assert f"robustbench-ekdaa {command}" in page
    code, _, error = ran(f"{command} --norm l2")
    assert (code, error.count("\n")) == (2, 1)
    assert "the file says linf, the request l2" in error


def test_training_prints_accuracies_and_finds_finished_models(ran):
    code, out, _ = ran("train quick_bp --dataset digits --seeds 2 --run runs/a")
    assert code == 0
    assert len(re.findall(r"quick_bp\s+\d\s+\d+\.\d\d %\s+\d+\.\d\d %", out)) == 2
    code, out, _ = ran("train quick_bp --dataset digits --seeds 1 --held-out 0.2 --run runs/held --workers 1")
    assert code == 0
    assert "held out accuracy" in " ".join(out.split())


def test_a_failed_model_makes_exit_code_1_but_the_rest_is_there(cli, tmp_path):
    write_card(tmp_path, "quick_bp", "backprop")
    write_card(tmp_path, "wild", "backprop", rate=3e38)
    command = "sweep --dataset digits --models wild,quick_bp --attacks fgsm --epsilons 0.1 --images 20 --seeds 1"
    code, out, error = cli(f"{command} --run runs/a --workers 1")
    assert code == 1
    assert "wild (seed 0) diverged in epoch 1" in error
    assert "quick_bp" in out


def test_ctrl_c_pressed_thrice_is_one_clear_line_and_the_same_command_goes_on(cli, tmp_path):
    for name in ("quick_bp", "quick_ekdaa"):
        write_card(tmp_path, name, name.removeprefix("quick_").replace("bp", "backprop"))
    command = [sys.executable, "-c", "from robustbench_ekdaa.cli import main; main()", *SWEEP.split(), "--run", "r"]
    process = subprocess.Popen(
        [*command, "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert "to do: 4 trainings" in process.stderr.readline()
    wait_until_stored(tmp_path / "r", 1, 0, process)
    for _ in range(3):
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    message = "error: stopped; everything finished before is kept. Run the same command again to go on."
    assert error.splitlines()[-1] == message
    assert error.count("stopped") == 1
    assert "Traceback" not in error
    models, outcomes = stored(tmp_path / "r")
    assert len(models) >= 1
    assert cli(f"{SWEEP} --run r --workers 1")[0] == 0
    all_models, all_outcomes = stored(tmp_path / "r")
    assert models <= all_models  # with the seconds their training took: none was trained again
    assert outcomes < all_outcomes


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("list attack", "unknown list 'attack'. Did you mean attacks"),
        (
            "sweep --dataset digits --models ekda --attacks fgsm --epsilons 0.1 --run r",
            "unknown model 'ekda'. Did you mean",
        ),
        ("sweep --dataset digits --models ekdaa --attacks mi_fgms --epsilons 0.1 --run r", "Did you mean mi_fgsm"),
        ("sweep --dataset digit --models ekdaa --attacks fgsm --epsilons 0.1 --run r", "Did you mean digits"),
        (
            "sweep --dataset digits --models ekdaa --attacks fgsm --epsilons abc --run r",
            "--epsilons: cannot read 'abc'",
        ),
        (
            "sweep --dataset digits --models ekdaa --attacks fgsm --epsilons 0:1 --run r",
            "--epsilons: cannot read '0:1'",
        ),
        ("sweep --dataset digits --models ekdaa --attacks fgsm --epsilons -0.1 --run r", "must not be negative"),
        ("sweep --dataset digits --models , --attacks fgsm --epsilons 0.1 --run r", "models is empty"),
        ("sweep --dataset digits --models ekdaa --attacks fgsm --run r", "sweep: epsilons: is missing"),
        ("sweep absent.toml --run r", "absent.toml: cannot be read"),
        ("sweep --dataset digits --models ekdaa --attacks fgsm --epsilons 0.1 --device tpu --run r", "device 'tpu'"),
        (
            "sweep --dataset fashion_mnist --models ekdaa --attacks fgsm --epsilons 0.1 --run r",
            "data fetch fashion_mnist",
        ),
        (
            "sweep --dataset digits --models ekdaa --attacks fgsm --epsilons 0.1 --precision half --run r",
            "sweep: precision: must be",
        ),
        ("sweep --dataset digits --models ekdaa --attacks ens_fgsm --epsilons 0.1 --run r", "Name more --surrogates"),
        ("score absent.npz --dataset digits --models ekdaa --run r", "absent.npz: there is no such file"),
        ("score absent.npz --dataset digits --models ekdaa --run r --indices 3-5", "--indices: cannot read '3-5'"),
        ("score absent.npz --dataset digits --models ekdaa --run r --indices 5:3", "--indices: '5:3' makes no list"),
        (
            "score absent.npz --dataset digits --models ekdaa --run r --indices 0:99999999999",
            "--indices: '0:99999999999' makes no list",
        ),
        ("score absent.npz --dataset digits --models ekdaa --run r --epsilons abc", "--epsilons: cannot read 'abc'"),
        ("score absent.npz --dataset digits --models ekdaa --run r --name fgsm", "an attack card has that name"),
        ("report nowhere --out x", "nowhere: no results here"),
        ("export nowhere --out x.csv", "nowhere: no results here"),
        ("train nobody --dataset digits --run r", "unknown model 'nobody'"),
        ("data import absent.npz --name mine", "absent.npz"),
        ("data import absent.npz --name ../mine", "../mine"),
        ("init .", "is not an empty folder"),
        (
            "sweep --workspace nowhere --dataset digits --models ekdaa --attacks fgsm --epsilons 0.1 --run r",
            "no such folder",
        ),
        ("swep", "No such command"),
        ("train", "models"),
    ],
)
def test_wrong_usage_is_one_clear_line_and_exit_code_2_and_writes_nothing(cli, tmp_path, command, message):
    if command == "init .":
        (tmp_path / "mine").write_text("")
    before = sorted(tmp_path.rglob("*"))
    code, _, error = cli(command)
    assert code == 2, error
    assert message in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_rule_on_a_network_it_cannot_train_is_refused_before_the_run_folder_is_made(cli, tmp_path):
    card = (builtin_workspace() / "models" / "pepita.toml").read_text(encoding="utf-8")
    (tmp_path / "models").mkdir()
    deep = re.sub(r"blocks = .*", 'preset = "small_cnn"', card).replace('name = "pepita"', 'name = "deep"')
    (tmp_path / "models" / "deep.toml").write_text(deep, encoding="utf-8")
    code, _, error = cli("train deep --dataset digits --run r")
    assert code == 2
    assert "models/deep.toml: network: PEPITA is defined for at most one hidden layer" in error
    assert not (tmp_path / "r").exists()


def test_debug_shows_the_traceback(cli):
    with pytest.raises(Exception, match="unknown list 'nothing'") as caught:
        cli("list nothing --debug")
    assert type(caught.value).__name__ == "UsageError"


def test_an_exported_format_nobody_knows_is_refused(ran):
    code, _, error = ran("export runs/a --format xls --out rows.xls")
    assert code == 2
    assert error.count("\n") == 1
    assert "csv" in error


def test_a_data_set_of_ones_own_is_imported_trained_and_attacked(cli, tmp_path):
    """Colour, not square, three classes: brightness of one channel tells them apart."""
    generator = np.random.default_rng(0)

    def half(count):
        labels = np.arange(count) % 3
        images = generator.integers(0, 60, (count, 12, 9, 3), dtype=np.uint8)
        images[np.arange(count), :, :, labels] += 120
        return images, labels

    (images, labels), (test_images, test_labels) = half(300), half(60)
    arrays = {"train_images": images, "train_labels": labels, "test_images": test_images, "test_labels": test_labels}
    np.savez("mine.npz", **arrays)
    code, out, error = cli("data import mine.npz --name mine --title Channels")
    assert code == 0, error
    assert "300 training and 60 test images 3x12x9, 3 classes" in out
    write_card(tmp_path, "quick_bp", "backprop")
    command = (
        "sweep --dataset mine --models quick_bp --attacks fgsm --epsilons 0,0.3 --seeds 1 --run runs/m --workers 1"
    )
    code, _, error = cli(command)
    assert code == 0, error
    assert "Channels: 60 test images" in error
    cli("export runs/m --out rows.csv")
    rows = pd.read_csv("rows.csv")
    assert rows.loc[rows.epsilon == 0, "accuracy"].item() > 0.9
    code, out, _ = cli("data status")
    assert re.search(r"mine\s+Channels", out)


def test_a_new_workspace_trains_sweeps_and_plots_its_own_rule_without_touching_the_package(cli, tmp_path, monkeypatch):
    code, out, _ = cli("init bench")
    assert code == 0
    assert "cd bench" in out
    monkeypatch.chdir(tmp_path / "bench")
    assert len((tmp_path / "bench" / "models" / "my_rule.py").read_text().splitlines()) <= 35
    code, out, error = cli("sweep sweep.toml --models my_rule --run runs/first --seeds 1 --images 40 --workers 1")
    assert code == 0, error
    cli("report runs/first --out reports/first")
    cli("export runs/first --out rows.csv")
    rows = pd.read_csv("rows.csv")
    clean = rows[rows.epsilon == 0].groupby("target").accuracy.mean()
    assert clean["my_rule"] > 0.85
    assert "My rule" in (tmp_path / "bench" / "reports" / "first" / "index.html").read_text()
