"""The tidy table of what trainings logged."""

import json

import pytest

from robustbench_ekdaa.analysis.logs import FIGURES, LAYER_COLUMNS, read_log
from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.files import read_tensors
from robustbench_ekdaa.learning import TrainingJob, train
from robustbench_ekdaa.learning.job import checkpoint_path, log_path


@pytest.fixture(scope="module")
def run(digits, tmp_path_factory):
    """Two epochs of two rules, one of them with two seeds."""
    folder = tmp_path_factory.mktemp("logs")
    for name, seed in (("fa", 0), ("fa", 1), ("dfa", 0)):
        card = Workspace().models[name]
        recipe = card.training["digits"].model_copy(update={"epochs": 2})
        train(
            TrainingJob(card.model_copy(update={"training": {"digits": recipe}}), "digits", "x", seed), digits, folder
        )
    return folder


def logs(run, rule, seed):
    """What the training of that rule and seed logged."""
    keys = [path.stem for path in (run / "logs").iterdir()]
    (key,) = (
        key
        for key in keys
        if (facts := read_tensors(checkpoint_path(run, key)).facts)["rule"] == rule and facts["seed"] == seed
    )
    return key, read_log(run, key)


def test_there_is_a_row_per_epoch_and_layer_in_the_networks_order(run):
    layers = logs(run, "fa", 1)[1].layers
    assert tuple(layers.columns) == LAYER_COLUMNS
    names = ["conv1", "conv2", "linear3", "readout"]
    assert list(zip(layers.epoch, layers.layer, strict=True)) == [
        (epoch, name) for epoch in (0, 1, 2) for name in names
    ]


def test_figures_are_the_logs_own_and_what_is_not_defined_is_not_a_number(run):
    key, log = logs(run, "fa", 1)
    row = log.layers[(log.layers.epoch == 2) & (log.layers.layer == "conv2")].iloc[0]
    lines = log_path(run, key).read_text().splitlines()
    assert dict(row[list(FIGURES)]) == json.loads(lines[2])["layers"]["conv2"]
    assert 60 < row.feedback_angle < 90
    assert log.layers[log.layers.layer == "conv1"].feedback_angle.isna().all()
    assert logs(run, "dfa", 0)[1].layers.feedback_angle.isna().all()
    assert (log.layers[log.layers.layer == "readout"].update_angle < 0.1).all()


def copied(run, folder):
    """One training's log under a key of its own in another folder, and its lines."""
    lines = next(iter(sorted((run / "logs").iterdir()))).read_text().splitlines()
    path = log_path(folder, "a")
    path.parent.mkdir(exist_ok=True)
    return path, lines


def test_losses_and_accuracies_are_the_logs_own_and_start_with_the_first_epoch(run, tmp_path):
    path, lines = copied(run, tmp_path)
    path.write_text("\n".join(lines))
    epochs = read_log(tmp_path, "a").epochs
    assert list(epochs.epoch) == [1, 2]
    assert list(epochs.loss) == [json.loads(line)["loss"] for line in lines[1:]]


def test_a_log_of_an_early_release_that_starts_after_the_first_epoch_is_read(run, tmp_path):
    path, lines = copied(run, tmp_path)
    path.write_text("\n".join(lines[1:]))
    log = read_log(tmp_path, "a")
    assert list(log.epochs.epoch) == sorted(set(log.layers.epoch)) == [1, 2]


@pytest.mark.parametrize(
    "hurt",
    [
        lambda text: text[: len(text) // 2].encode(),
        lambda text: text.replace('"loss"', '"los"').encode(),
        lambda text: text.replace('"update_angle": ', '"update_angle": "x').encode(),
        lambda text: text.replace('"epoch": 1', '"epoch": null').encode(),
        lambda text: b"3\n[]\n",
        lambda text: text.encode("utf-16"),
    ],
)
def test_a_damaged_log_is_one_clear_line(run, tmp_path, hurt):
    path, lines = copied(run, tmp_path)
    path.write_bytes(hurt("\n".join(lines)))
    with pytest.raises(UsageError, match=r"a\.jsonl: is damaged$"):
        read_log(tmp_path, "a")


def test_a_missing_log_is_one_clear_line(tmp_path):
    with pytest.raises(UsageError, match=r"a\.jsonl: cannot be read \(No such file"):
        read_log(tmp_path, "a")
