"""The option --keep-epochs, and models such as ekdaa#3 on the command line."""

from __future__ import annotations

import pytest

from ..support.external_models import write_external
from ..support.quick_models import write_card


@pytest.fixture
def quick(cli, tmp_path):
    write_card(tmp_path, "quick_bp", "backprop")
    return cli


TRAIN = "train quick_bp --dataset digits --seeds 1 --run run --workers 1"
SWEEP = "sweep --dataset digits --attacks fgsm --epsilons 0.1 --images 20 --seeds 1 --run run --workers 1"


def test_kept_epochs_are_listed_and_swept_by_name(quick, tmp_path):
    code, out, _ = quick(f"{TRAIN} --keep-epochs all")
    assert (code, "quick_bp#1" in out) == (0, True)
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 2
    code, out, error = quick(f"{SWEEP} --models quick_bp#1 --surrogates quick_bp --targets quick_bp,quick_bp#1")
    assert (code, "to do: 0 trainings" in error, "epoch 1" in out) == (0, True, True)


def test_a_sweep_file_says_which_epochs_are_kept(quick, tmp_path):
    (tmp_path / "sweep.toml").write_text(
        'datasets = ["digits"]\nmodels = ["quick_bp"]\nattacks = ["fgsm"]\nepsilons = [0.1]\nseeds = 1\n'
        "images = 20\nkeep_epochs = 1\n"
    )
    code, _, _ = quick("sweep sweep.toml --run run --workers 1")
    assert code == 0
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 2
    (tmp_path / "sweep.toml").write_text((tmp_path / "sweep.toml").read_text().replace("epochs = 1", "epochs = 0"))
    code, _, error = quick("sweep sweep.toml --run run --workers 1")
    assert (code, "sweep.toml" in error, "keep_epochs: must be 'all' or a whole number" in error) == (2, True, True)


@pytest.mark.parametrize("value", ["0", "-1", "some", "1.5", "9" * 30])
@pytest.mark.parametrize("command", [TRAIN, f"{SWEEP} --models quick_bp"])
def test_a_wrong_choice_of_epochs_is_one_line_before_anything_runs(quick, tmp_path, command, value):
    code, _, error = quick(f"{command} --keep-epochs {value}")
    assert (code, len(error.strip().splitlines())) == (2, 1)
    assert "must be 'all' or a whole number from 1" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("quick_bp#0", "a whole number from 1"),
        ("quick_bp#x", "a whole number from 1"),
        ("quick_bp#3", "only 2 epochs"),
        ("theirs#1", "trained elsewhere"),
        ("theirs@sgd#1", "trained elsewhere"),
        ("nobody#1", "unknown model 'nobody'"),
    ],
)
@pytest.mark.parametrize("command", ["train {} --dataset digits --run run", SWEEP + " --models {}"])
def test_a_wrong_epoch_in_a_name_is_one_line_before_anything_runs(quick, tmp_path, command, name, message):
    write_external(tmp_path, seeds=(0,))
    code, _, error = quick(command.format(name))
    assert (code, len(error.strip().splitlines())) == (2, 1)
    assert message in error
    assert not (tmp_path / "run").exists()
