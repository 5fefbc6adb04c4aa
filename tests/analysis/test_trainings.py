"""How a run's models were trained, read from its records and logs alone."""

import json
import math
import shutil

import pytest

from robustbench_ekdaa.analysis.trainings import exemptions, held_out, read_trainings
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.storing.outcomes import ModelRecord

from ..support.trained_run import EVIL, train, write_card, write_cards


@pytest.fixture
def copy(trained, tmp_path):
    """A run folder of one's own."""
    return shutil.copytree(trained / "run", tmp_path / "run")


def test_epochs_and_layers_are_the_logs_own_and_name_their_model(trained):
    trainings = read_trainings(trained / "run")
    for key, part in trainings.epochs.groupby("key"):
        lines = [json.loads(line) for line in (trained / "run" / "logs" / f"{key}.jsonl").read_text().splitlines()]
        assert list(part["loss"]) == [line["loss"] for line in lines[1:]]
        assert (part["model"] == trainings.models[key].name).all()
        layers = trainings.layers[trainings.layers["key"] == key]
        assert list(layers["layer"]) == [name for line in lines for name in line["layers"]]
        logged = [figures["update_angle"] for line in lines for figures in line["layers"].values()]
        assert [None if math.isnan(angle) else angle for angle in layers["update_angle"]] == logged
    assert trainings.unread == ()
    assert trainings.title("digits") == "Digits (8x8)"


def test_no_checkpoint_and_no_code_of_the_rule_is_needed(copy, trained):
    shutil.rmtree(copy / "checkpoints")
    assert read_trainings(copy).layers.equals(read_trainings(trained / "run").layers)


def test_a_missing_or_damaged_log_is_noted_and_the_others_are_read(copy):
    first, second, *others = sorted((copy / "logs").iterdir())
    first.unlink()
    second.write_text(second.read_text()[:-40])
    trainings = read_trainings(copy)
    assert set(trainings.unread) == {first.stem, second.stem}
    assert set(trainings.layers["key"]) == set(trainings.epochs["key"]) == {path.stem for path in others}


def test_the_newest_training_of_a_card_and_seed_counts_and_held_out_ones_only_where_there_are_no_others(tmp_path):
    workspace = write_cards(tmp_path)
    train(workspace, tmp_path / "run", ["quick_bp"], held_out=0.2)
    (held,) = read_trainings(tmp_path / "run").newest("digits").models.values()
    assert held_out(held)
    train(workspace, tmp_path / "run", ["quick_bp"], seeds=2)
    write_card(tmp_path, "quick_bp", "backprop", rate=0.05)
    (changed,) = train(workspace, tmp_path / "run", ["quick_bp"])
    train(workspace, tmp_path / "run", ["quick_bp", "quick_fa"], held_out=0.3)
    trainings = read_trainings(tmp_path / "run")
    assert len(trainings.models) == 6
    newest = trainings.newest("digits")
    assert {(record.seed, record.key == changed.key) for record in newest.models.values()} == {(0, True), (1, False)}
    assert set(newest.epochs["key"]) == set(newest.layers["key"]) == set(newest.models)
    assert not any(map(held_out, newest.models.values()))


def test_exemptions_are_those_recorded_in_training_even_of_a_rule_whose_file_is_gone(trained):
    found = {record.name: exemptions(record) for record in read_trainings(trained / "run").models.values()}
    assert found["quick_mine"] == {"seeded": EVIL}
    assert found["quick_bp"] == {}
    assert found["quick_frozen"]["beats frozen"] == "it is the frozen control"


def test_of_models_that_recorded_no_exemptions_only_the_packages_own_rules_are_known():
    def of(rule):
        return exemptions(ModelRecord("k", "card", "Card", rule, "digits", 0, metrics={"train_loss": 1.0}))

    assert of("frozen").keys() == {"beats frozen", "every layer"}
    assert of("backprop") == {}
    assert of("Mine") is None


def test_a_folder_that_is_no_run_is_one_clear_line(tmp_path):
    with pytest.raises(UsageError, match="no results here"):
        read_trainings(tmp_path)
