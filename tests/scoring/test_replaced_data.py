"""Data replaced under one name: the results are those on the data of the newest sweep, and a caveat says so."""

import re

import numpy as np
import pytest

from robustbench_ekdaa import Benchmark, api
from robustbench_ekdaa.analysis.trainings import read_trainings
from robustbench_ekdaa.cards import SweepSpec, Workspace
from robustbench_ekdaa.data import import_dataset, load_dataset
from robustbench_ekdaa.rendering import write_report
from robustbench_ekdaa.storing.store import reading

from ..support.quick_models import write_card

SPEC = SweepSpec(
    datasets=("mine",),
    models=("quick_bp", "quick_ekdaa"),
    attacks=("fgsm", "noise"),
    epsilons=(0, 0.1),
    seeds=1,
    images=200,
)


@pytest.fixture
def put_data(tmp_path, monkeypatch, digits):
    """Import the digits as a data set of one's own, with the test labels so far from the truth."""
    home = tmp_path / "data home"
    home.mkdir()
    monkeypatch.setenv("ROBUSTBENCH_EKDAA_DATA", str(home))

    def put(shift):
        halves = {"train": digits.train, "test": digits.test}
        arrays = {f"{half}_images": (split.images[:, 0] * 240).byte().numpy() for half, split in halves.items()}
        labels = {f"{half}_labels": split.labels.numpy() for half, split in halves.items()}
        labels["test_labels"] = (labels["test_labels"] + shift) % 10
        np.savez(tmp_path / "source.npz", **arrays, **labels)
        import_dataset(tmp_path / "source.npz", "mine", title=f"Mine, {shift} off", replace=True)

    return put


def test_results_are_on_the_newest_data_of_a_name(tmp_path, workspace, put_data):
    run = tmp_path / "run"
    write_card(tmp_path, "quick_bp", "backprop", rate=0.5)
    workspace = Workspace(tmp_path)
    put_data(1)
    wrong = api.sweep(SPEC, run, workspace=workspace)
    assert wrong.frame()["clean_accuracy"].max() < 0.3
    put_data(0)
    right = api.sweep(SPEC, run, workspace=workspace)
    rows = right.frame()
    assert len(rows) == len(wrong.frame())
    assert rows["clean_accuracy"].max() > 0.4
    assert right.datasets == ["mine"]
    outcomes = right.on("mine")
    assert outcomes.title == "Mine, 0 off"
    order = load_dataset("mine").test.labels[outcomes.indices.copy()]
    assert outcomes.labels.tolist() == order.tolist()
    assert set(right.summary()["clean_accuracy"]) == set(rows["clean_accuracy"])
    assert len(right.curves()) == len(wrong.curves())
    with reading(run) as store:
        assert store.titles() == {"mine": "Mine, 0 off"}
        assert len(store.models()) == 4
    # Back to the first data: everything on them is still there.
    put_data(1)
    again = api.sweep(SPEC, run, workspace=workspace)
    assert again.frame().equals(wrong.frame())


def test_a_report_on_replaced_data_has_one_section_and_says_what_is_not_shown(tmp_path, workspace, put_data):
    run = tmp_path / "run"
    for shift in (1, 0):
        put_data(shift)
        results = api.sweep(SPEC, run, workspace=workspace)
    page = write_report(results, tmp_path / "report", trainings=read_trainings(run)).read_text()
    anchors = re.findall(r' id="([^"]*)"', page)
    assert len(anchors) == len(set(anchors))
    assert "Mine, 1 off" not in page
    # 2 models on clean images, FGSM on 2 surrogates and noise at one epsilon, each scored on both
    assert "12 outcomes on the earlier data are kept in the run, and not shown" not in page
    assert "8 outcomes on the earlier data are kept in the run, and not shown" in page
    assert read_trainings(run).newest("mine").models.keys() == results.on("mine").models.keys()


def test_trainings_on_earlier_data_give_way_to_those_on_the_newest(tmp_path, workspace, put_data):
    run, cards = tmp_path / "run", [workspace.models["quick_bp"], workspace.models["quick_ekdaa"]]
    put_data(1)
    Benchmark(run).train(cards, "mine", [0])
    put_data(0)
    (record,) = Benchmark(run).train(cards[:1], "mine", [0])
    assert list(read_trainings(run).newest("mine").models) == [record.key]
