"""Jobs by themselves: what each hands back for the store, of one model that trains in a second."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.crafting import craft
from robustbench_ekdaa.data import load_dataset
from robustbench_ekdaa.errors import WorkFailed
from robustbench_ekdaa.learning import TrainingJob, load_network
from robustbench_ekdaa.progress import Silent
from robustbench_ekdaa.scoring.jobs import (
    Checkpoints,
    CraftAndScore,
    Crafting,
    PredictClean,
    TrainModel,
    load_unchanged,
    predict,
)
from robustbench_ekdaa.scoring.plan import CraftJob, SurrogateSet

from ..support.quick_models import write_card


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A trained model, the folder it stands in, and its record."""
    folder = tmp_path_factory.mktemp("quick")
    write_card(folder, "quick_bp", "backprop")
    job = TrainingJob(Workspace(folder).models["quick_bp"], "digits", load_dataset("digits").fingerprint, 0)
    return job, folder, *TrainModel(job, folder, "cpu")(Silent())


class Saved:
    """A file of images that holds some epsilons already."""

    def __init__(self, *epsilons):
        self.epsilons = lambda: epsilons
        self.added = {}

    def add(self, images):
        self.added |= images


def crafted_by(quick, **changes):
    job, folder, _ = quick
    digits = load_dataset("digits")
    attack = Workspace(folder).attacks["fgsm"]
    todo = CraftJob(SurrogateSet((job,)), attack, "key", ((0.1, (job,)), (0.2, ())))
    whole = CraftAndScore(
        *(todo, "digits", digits.fingerprint, torch.arange(5, 17), 0, Checkpoints(folder, {}), "cpu", 5),
        show=True,
    )
    return replace(whole, **changes)


def test_a_trained_models_record_has_its_facts_but_not_what_stands_in_its_checkpoint(quick):
    job, _, record = quick
    assert (record.key, record.name, record.rule, record.seed) == (job.key, "quick_bp", "backprop", 0)
    assert (record.status, record.error, record.fingerprint) == ("trained", None, job.fingerprint)
    assert "network" in record.metrics
    assert not {"identity", "layers"} & set(record.metrics)


def test_a_model_that_diverges_is_a_failed_record_that_says_when(tmp_path):
    write_card(tmp_path, "wild", "backprop", rate=3e38)
    job = TrainingJob(Workspace(tmp_path).models["wild"], "digits", load_dataset("digits").fingerprint, 0)
    (record,) = TrainModel(job, tmp_path, "cpu")(Silent())
    assert record.status == "failed"
    assert "wild" in record.error
    assert record.metrics == {"diverged": True, "epoch": 1}


def test_every_epsilon_has_the_targets_answers_and_the_first_four_images(quick):
    job, folder, _ = quick
    file = Saved(0.1)
    found = crafted_by(quick, file=file)(Silent())
    digits, network = load_dataset("digits"), load_network(job, load_dataset("digits"), folder)
    images, labels = digits.test.images[5:17], digits.test.labels[5:17]
    options = {"seed": 0, "indices": list(range(5, 17))}
    whole = list(craft(Workspace(folder).attacks["fgsm"], [network], images, labels, [0.1, 0.2], **options))
    assert list(found) == [0.1, 0.2]
    assert list(found[0.1].predictions) == [job.key]
    assert found[0.2].predictions == {}
    answers = np.concatenate(found[0.1].predictions[job.key])
    np.testing.assert_array_equal(answers, predict(network, whole[0].images))
    for result, one in zip(found.values(), whole, strict=True):
        np.testing.assert_allclose(result.shown, one.images[:4], atol=1e-6)
        assert [len(part) for part in result.zero_gradients] == [5, 5, 2]
    assert list(file.added) == [0.2]  # the other is saved already
    torch.testing.assert_close(file.added[0.2], whole[1].images)


def test_the_seconds_of_all_epsilons_are_those_of_the_job_and_nothing_is_shown_or_saved_unasked(quick):
    start = time.perf_counter()
    found = crafted_by(quick, show=False)(Silent())
    whole = time.perf_counter() - start
    seconds = [one.seconds for one in found.values()]
    assert min(seconds) > 0
    assert sum(seconds) <= whole
    assert [one.shown for one in found.values()] == [None, None]


def test_facts_without_meaning_for_an_attack_are_left_out():
    crafting = Crafting({}, 250, seconds=1.23456)
    crafting.zero_gradients = [np.array([True, False]), np.array([False, False, False])]
    assert crafting.facts(follows_gradients=False) == {"seconds": 1.2346, "batch_size": 250}
    assert crafting.facts(follows_gradients=True) == {
        "seconds": 1.2346,
        "batch_size": 250,
        "zero_gradient_share": 0.2,
    }
    crafting.queries = [np.array([3, 5]), np.array([10])]
    crafting.smallest = [np.array([0.5, np.inf]), np.array([0.25])]
    expected = {"seconds": 1.2346, "batch_size": 250, "queries": 6.0, "median_norm": 0.5}
    assert crafting.facts(follows_gradients=False) == expected


def test_jobs_are_called_what_they_do(quick):
    job, folder, _ = quick
    assert TrainModel(job, folder, "cpu").label == f"the training of {job.label}"
    clean = PredictClean(job, torch.arange(3), Checkpoints(folder, {}), "cpu", 2)
    assert clean.label == f"the clean pass of {job.label}"
    assert crafted_by(quick).label == "the crafting of fgsm on quick_bp seed 0"


def test_clean_answers_are_those_of_the_positions_in_their_order(quick):
    job, folder, _ = quick
    digits = load_dataset("digits")
    order = torch.tensor([7, 3, 11])
    answers = PredictClean(job, order, Checkpoints(folder, {}), "cpu", 2)(Silent())
    network = load_network(job, digits, folder)
    np.testing.assert_array_equal(answers, predict(network, digits.test.images[order]))


def test_data_that_changed_since_they_were_planned_with_are_refused():
    with pytest.raises(WorkFailed, match="data set digits changed while the sweep was running"):
        load_unchanged("digits", "another")


def test_a_rule_that_raises_is_a_failed_record_that_says_what(tmp_path):
    write_card(tmp_path, "broken", "mine.py:Mine")
    rule = "from robustbench_ekdaa import rules\n\n\nclass Mine(rules.HiddenErrorRule):\n    "
    rule += "def signal(self, *args, **more):\n        raise ValueError('not today')\n"
    (tmp_path / "models" / "mine.py").write_text(rule)
    job = TrainingJob(Workspace(tmp_path).models["broken"], "digits", load_dataset("digits").fingerprint, 0)
    (record,) = TrainModel(job, tmp_path, "cpu")(Silent())
    assert record.status == "failed"
    assert record.error == "broken (seed 0) failed in training: ValueError: not today"
