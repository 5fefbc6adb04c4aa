"""Commands in a workspace with files that are no cards, and requests without measure."""

import json
import os
import time

import pytest

from ..support.right_cards import ATTACK, MODEL, SWEEP, write

PART = '[[{}]]\ncomponent = "{}"\n{}\n'
TRAIN = "train mine --dataset digits --seeds 1 --run r --workers 1"


@pytest.fixture
def hostile(cli, tmp_path):
    """A workspace whose rooms hold one good card each, and everything that is none."""
    for room, text in (("models", MODEL.replace("epochs = 2", "epochs = 1")), ("attacks", ATTACK)):
        write(tmp_path, text, room=room)
        write(tmp_path, "kind = ", "broken", room=room)
        (tmp_path / room / "folder.toml").mkdir()
        os.mkfifo(tmp_path / room / "pipe.toml")
        (tmp_path / room / "nowhere.toml").symlink_to("absent")
        (tmp_path / room / "loop.toml").symlink_to("loop.toml")
        (tmp_path / room / "zeros.toml").symlink_to("/dev/zero")
        (tmp_path / room / ".#mine.toml").symlink_to("user@host.1")
        (tmp_path / room / "._mine.toml").write_bytes(b"\xff")
    return cli


@pytest.mark.parametrize("what", ["models", "attacks"])
def test_a_list_shows_the_cards_that_can_be_read_and_says_which_files_cannot(hostile, what):
    code, out, error = hostile(f"list {what}")
    assert code == 0
    assert "mine" in out
    lines = error.splitlines()
    assert all(line.startswith(f"not listed: {what}/") for line in lines)
    assert [line.split("/")[1].split(".toml")[0] for line in lines] == [
        "broken", "folder", "loop", "nowhere", "pipe", "zeros"
    ]  # fmt: skip
    code, out, error = hostile(f"list {what} --json")
    assert (code, len(error.splitlines())) == (0, 6)
    assert "mine" in {row["name"] for row in json.loads(out)}


@pytest.mark.parametrize("what", ["rules", "networks", "suites", "components", "datasets"])
def test_a_list_of_other_things_says_nothing_about_them(hostile, what):
    code, _, error = hostile(f"list {what}")
    assert (code, error) == (0, "")
    assert hostile("data status")[0] == 0


def test_only_a_command_that_needs_a_bad_card_fails_and_names_it_in_one_line(hostile, tmp_path):
    for name in ("broken", "pipe", "nowhere"):
        for command in (
            f"train {name} --dataset digits --run r",
            f"sweep --dataset digits --models mine --attacks {name} --epsilons 0.1 --run r",
        ):
            code, _, error = hostile(command)
            assert (code, error.count("\n")) == (2, 1)
            assert f"{name}.toml: " in error
    assert not (tmp_path / "r").exists()
    code, _, error = hostile(TRAIN)
    assert (code, "fault" in error) == (0, False), error


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"backprop"', '"backpropp"', "models/mine.toml: rule: unknown rule 'backpropp'. Did you mean backprop"),
        ('"backprop"', '"absent.py:A"', "models/mine.toml: rule: absent.py:A: there is no file models/absent.py"),
        (
            '"small_cnn"',
            '"small_cnm"',
            "models/mine.toml: network: unknown network 'small_cnm'. Did you mean small_cnn",
        ),
        ("epochs", 'optimizer = "SDG"\nepochs', "models/mine.toml: training.default.optimizer: unknown optimiser"),
        ("epochs", 'schedule = "StepsLR"\nepochs', "models/mine.toml: training.default.schedule: unknown schedule"),
        (
            "epochs",
            "optimizer_options = { moment = 1 }\nepochs",
            "models/mine.toml: training.default.optimizer_options: SGD refuses them",
        ),
        (
            "[training.default]",
            '[training]\ndigits = { as = "other" }\n[training.other]\noptimizer = "SDG"',
            "models/mine.toml: training.other.optimizer: unknown optimiser",
        ),
        (
            "[training.default]",
            '[training.digits]\noptimizer = "SDG"',
            "models/mine.toml: training.digits.optimizer: unknown optimiser",
        ),
    ],
)
def test_what_is_wrong_in_a_card_is_said_where_it_is_written(cli, tmp_path, old, new, message):
    assert old in MODEL
    write(tmp_path, MODEL.replace(old, new, 1))
    code, _, error = cli(TRAIN)
    assert (code, error.count("\n")) == (2, 1)
    assert message in error
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"momentum"', '"momentun"', "update: unknown attack update 'momentun'. Did you mean momentum"),
        ("decay = 0.5", "decay = true", "update.decay: must be a valid number (got True)"),
        ("decay = 0.5", "decay = -1", "update.decay: must be greater than 0 (got -1)"),
        ("decay = 0.5", "gamma = 1", "update: unknown option 'gamma'. Known: decay."),
        (
            "decay = 0.5",
            PART.format("gradient", "kernel_smoothing", "size = 2001"),
            "gradient.0.size: must be less",
        ),
        (
            "decay = 0.5",
            PART.format("gradient", "sampling", "samples = 100000"),
            "gradient.0.samples: must be",
        ),
        (
            "decay = 0.5",
            PART.format("gradient", "variance_tuning", "neighbours = 100000"),
            "neighbours: must be less",
        ),
        (
            "decay = 0.5",
            PART.format("gradient", "kernel_smoothing", "size = 4"),
            "gradient.0: kernel_smoothing: size must",
        ),
        ("decay = 0.5", PART.format("input", "scale", "copies = 100000"), "input.0.copies: must be less than"),
        ("decay = 0.5", PART.format("input", "part.py:made", ""), "input.0: made fails: ZeroDivisionError"),
        ("decay = 0.5", PART.format("input", "part.py:NUMBER", ""), "input.0: part.py:NUMBER: must be a class"),
        ('"mine"', '"mine"\nloss = "cross"', "loss: unknown attack loss 'cross'. Did you mean cross_entropy"),
    ],
)
def test_what_is_wrong_in_an_attack_is_said_before_anything_is_trained(cli, tmp_path, old, new, message):
    assert old in ATTACK
    write(tmp_path, ATTACK.replace(old, new, 1), room="attacks")
    (tmp_path / "attacks" / "part.py").write_text("NUMBER = 3\ndef made():\n    return 1 / 0\n")
    code, _, error = cli("sweep --dataset digits --models backprop --attacks mine --epsilons 0.1 --run r")
    assert (code, error.count("\n")) == (2, 1)
    assert "attacks/mine.toml: " in error
    assert message in error
    assert not (tmp_path / "r").exists()


FLAGS = "--dataset digits --models backprop --attacks fgsm --run r"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (f"sweep {FLAGS} --epsilons 0,05", "'0,05' looks like decimals with a comma. Write 0.05 with a point"),
        (f"sweep {FLAGS} --epsilons 0,1", "'0,1' looks like decimals with a comma. Write 0.1 with a point"),
        (f"sweep {FLAGS} --epsilons 1e-13", "an epsilon must be 0, or at least 1e-12"),
        (f"sweep {FLAGS} --epsilons 0:1e1000000:1e999999", "--epsilons: cannot read '0:1e1000000:1e999999'"),
        (f"sweep {FLAGS} --epsilons {'9' * 5000}", "--epsilons: cannot read '999"),
        (f"sweep {FLAGS} --epsilons 0:1:1e-6", "there may be 1,000 epsilons at most"),
        (f"sweep {FLAGS} --epsilons 0:1:1e-300", "there may be 1,000 epsilons at most"),
        (f"sweep {FLAGS} --epsilons {'0.1,' * 100_000}0.1", "there may be 1,000 epsilons at most"),
        (f"sweep {FLAGS} --epsilons 0.1 --seeds 1000000", "seeds: must be less than or equal to 1000 (got 1000000)"),
        (f"sweep {FLAGS} --epsilons 0.1 --seed {'9' * 30}", "seed"),
        (f"sweep {FLAGS} --epsilons 0.1 --images 99999999999", "images: must be less than or equal to 1000000000"),
        (f"sweep {FLAGS} --epsilons 0.1 --batch-size 99999999999", "batch_size: must be less than or equal to 1000000"),
        ("train backprop --dataset digits --run r --seeds 1000000", "--seeds"),
        ("score x.npz --dataset digits --models backprop --run r --seeds 1000000", "--seeds"),
        ("sweep pipe.toml --run r", "pipe.toml: cannot be read (it is a pipe)"),
        ("sweep zeros.toml --run r", "zeros.toml: cannot be read (it is a device)"),
        ("sweep /dev/zero --run r", "/dev/zero: cannot be read (it is a device)"),
        ("sweep true.toml --run r", "true.toml: images: must be a whole number (got True), line 2"),
        ("check-rule pipe.py:A", "pipe.py: cannot be read (it is a pipe)"),
        ("check-rule leaving.py:A", "could not be imported: SystemExit: 0"),
        (f"check-rule ekdaa --option beta={'[' * 100_000}", "--option: beta: its lists or tables are nested too deep"),
        (f"check-rule ekdaa --option beta={'9' * 5000}", "ekdaa.beta: must be a valid number (got '999"),
        ("check-rule ekdaa --option beta=NaN", "ekdaa.beta: must be a finite number"),
        ("check-rule ekdaa --option beta=true", "ekdaa.beta: must be a valid number (got True)"),
    ],
    ids=lambda text: text[:60],
)
def test_a_request_without_measure_is_one_clear_line_at_once(cli, tmp_path, command, message):
    os.mkfifo(tmp_path / "pipe.toml")
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "zeros.toml").symlink_to("/dev/zero")
    (tmp_path / "true.toml").write_text(SWEEP.replace("models", "images = true\nmodels"))
    (tmp_path / "leaving.py").write_text("import sys; sys.exit(0)")
    before = sorted(tmp_path.rglob("*"))
    cli("list rules")  # what a first command imports takes its time
    start = time.process_time()
    code, _, error = cli(command)
    assert time.process_time() - start < 5
    assert (code, error.count("\n")) == (2, 1), error[:1000]
    assert message in error
    assert len(error) < 1000
    assert sorted(tmp_path.rglob("*")) == before


IMPORT = ["score", "x.npz", "--dataset", "digits", "--models", "backprop", "--run", "r", "--name"]


@pytest.mark.parametrize("name", ["", " ", "a/b", "a\x1b[31m", "a" * 101, ".a"])
def test_an_imported_attack_is_named_as_a_card_could_be(cli, tmp_path, name):
    code, _, error = cli([*IMPORT, name])
    assert (code, error.count("\n")) == (2, 1)
    assert ("x.npz: cannot give an attack the name " if name.strip() else "--name: is empty") in error
    assert not (tmp_path / "r").exists()
