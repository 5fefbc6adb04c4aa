"""The tidy table of what trainings logged."""

import json

import pytest

from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.learning import TrainingJob, train
from robustbench_ekdaa.learning.logs import COLUMNS, read_log, read_logs
from robustbench_ekdaa.learning.training import log_path


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


def test_there_is_a_row_per_model_epoch_and_layer_in_the_networks_order(run):
    frame = read_logs(run)
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == 3 * (1 + 2) * 4
    assert list(frame.layer[:4]) == ["conv1", "conv2", "linear3", "readout"]
    assert list(zip(frame.model[::4], frame.seed[::4], frame.epoch[::4], strict=True)) == [
        (model, seed, epoch) for model, seed in (("dfa", 0), ("fa", 0), ("fa", 1)) for epoch in (0, 1, 2)
    ]
    assert set(frame.rule) == {"fa", "dfa"}
    assert set(frame.dataset) == {"digits"}


def test_figures_are_the_logs_own_and_what_is_not_defined_is_not_a_number(run):
    frame = read_logs(run)
    row = frame[(frame.model == "fa") & (frame.seed == 1) & (frame.epoch == 2) & (frame.layer == "conv2")].iloc[0]
    logged = [json.loads(path.read_text().splitlines()[2])["layers"]["conv2"] for path in (run / "logs").iterdir()]
    assert {column: row[column] for column in COLUMNS[6:]} in logged
    assert 60 < row.feedback_angle < 90
    assert frame[frame.layer == "conv1"].feedback_angle.isna().all()
    assert frame[frame.model == "dfa"].feedback_angle.isna().all()
    assert (frame[frame.layer == "readout"].update_angle < 0.1).all()


def test_a_run_without_logs_gives_an_empty_table_with_the_same_columns(tmp_path):
    assert tuple(read_logs(tmp_path).columns) == COLUMNS
    assert read_logs(tmp_path).empty


def test_a_training_that_is_not_finished_is_left_out(run, digits, tmp_path):
    path = log_path(tmp_path, "0123456789abcdef")
    path.parent.mkdir()
    path.write_text('{"epoch": 1, "layers": {}}\n')
    assert read_logs(tmp_path).empty


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
