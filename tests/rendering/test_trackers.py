"""What experiment trackers are given, read back by their own readers."""

import importlib.util
import math

import pytest

from robustbench_ekdaa import Benchmark, SweepSpec
from robustbench_ekdaa.analysis.trainings import read_trainings
from robustbench_ekdaa.cli.running import tracked
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.rendering.trackers import TRACKERS

from ..support.quick_models import write_card


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A run with two trainings and a sweep of one attack."""
    folder = tmp_path_factory.mktemp("tracked")
    write_card(folder, "quick_bp", "backprop")
    write_card(folder, "quick_fa", "fa")
    spec = SweepSpec(
        datasets=("digits",), models=("quick_bp", "quick_fa"), attacks=("fgsm",), epsilons=(0, 0.1), images=40, seeds=1
    )
    work = Benchmark(folder / "run", workspace=folder, device="cpu")
    work.sweep(spec)
    return work


def needs(library):
    return pytest.mark.skipif(importlib.util.find_spec(library) is None, reason=f"{library} is not installed")


def expected(work):
    """Return, by model, the (epoch, value) of three curves as the run's logs hold them."""
    trainings = read_trainings(work.run)
    curves = {}
    for key, record in trainings.models.items():
        epochs, layers = (table[table["key"] == key] for table in (trainings.epochs, trainings.layers))
        angles = layers[layers["layer"] == layers["layer"].iloc[0]]
        curves[record.name] = {
            "loss": list(zip(epochs["epoch"], epochs["loss"], strict=True)),
            "accuracy": list(zip(epochs["epoch"], epochs["accuracy"], strict=True)),
            f"update_angle/{angles['layer'].iloc[0]}": [
                (epoch, angle)
                for epoch, angle in zip(angles["epoch"], angles["update_angle"], strict=True)
                if math.isfinite(angle)
            ],
            "final/test_accuracy": [(2, record.metrics["test_accuracy"])],
        }
    return curves


@needs("tensorboard")
def test_tensorboard_reads_back_what_trainings_logged_and_the_summary_each_once(work, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        folder = work.track("tensorboard")
    assert folder == work.run / "tensorboard"
    assert not any(tmp_path.iterdir())
    for name, curves in expected(work).items():
        (place,) = folder.glob(f"digits/{name}/seed 0 *")
        read = EventAccumulator(str(place)).Reload()
        for curve, points in curves.items():
            told = [(event.step, event.value) for event in read.Scalars(curve)]
            assert told == [(step, pytest.approx(value, rel=1e-6)) for step, value in points]
    summary = work.results().summary().set_index("model")
    read = EventAccumulator(str(folder / "summary/digits/linf/quick_bp")).Reload()
    (event,) = read.Scalars("summary/transfer_accuracy")
    assert event.value == pytest.approx(summary.loc["quick_bp", "transfer_accuracy"])


@needs("mlflow")
def test_mlflow_reads_back_what_trainings_logged_and_the_summary_each_once(work, tmp_path, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        folder = work.track("mlflow")
    assert not any(tmp_path.iterdir())
    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "robustbench-ekdaa"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert len(runs) == 4
    for name, curves in expected(work).items():
        run = runs[f"digits/{name}/seed 0"]
        assert run.data.params["rule"] == {"quick_bp": "backprop", "quick_fa": "fa"}[name]
        for curve, points in curves.items():
            told = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, curve)]
            assert sorted(told) == [(step, pytest.approx(value)) for step, value in points]
    summary = work.results().summary().set_index("model")
    told = runs["summary/digits/linf/quick_bp"].data.metrics["summary/transfer_accuracy"]
    assert told == pytest.approx(summary.loc["quick_bp", "transfer_accuracy"])


def test_a_tracker_that_is_unknown_or_not_installed_is_one_clear_line(tmp_path, monkeypatch):
    work = Benchmark(tmp_path / "run", device="cpu")
    with pytest.raises(UsageError, match=r"unknown tracker 'tensorbord'\. Did you mean tensorboard\?"):
        work.track("tensorbord")
    monkeypatch.setitem(TRACKERS, "tensorboard", "no_such_library")
    with pytest.raises(UsageError, match=r"not installed\. pip install 'robustbench-ekdaa\[tensorboard\]'"):
        work.track("tensorboard")


def test_a_command_asks_for_its_tracker_before_it_does_anything(tmp_path):
    with (
        pytest.raises(UsageError, match="unknown tracker 'wandb'"),
        tracked(Benchmark(tmp_path / "run", device="cpu"), "wandb"),
    ):
        pytest.fail("it has begun")
    assert not any(tmp_path.iterdir())
