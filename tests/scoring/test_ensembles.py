"""Ensemble attacks in sweeps: crafted once per training seed, on all surrogates of that seed together."""

import numpy as np
import pytest
import torch

from robustbench_ekdaa.analysis.caveats import caveats
from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.crafting import craft, load_adversarial
from robustbench_ekdaa.data import load_dataset
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.learning import TrainingJob, load_network
from robustbench_ekdaa.scoring.sweep import run_sweep
from robustbench_ekdaa.storing.store import open_run

from ..support.forward_passes import CountCalls
from ..support.quick_models import write_card
from ..support.stored_runs import facts


@pytest.fixture
def together(spec):
    return spec.model_copy(update={"attacks": ("ens_bim", "svre_mi_fgsm"), "epsilons": (0.0, 0.2)})


def test_an_ensembles_outcomes_are_what_targets_say_of_images_crafted_on_all_its_members(tmp_path, workspace, together):
    run_sweep(together, tmp_path / "run", workspace=workspace)
    (outcomes,) = open_run(tmp_path / "run")
    digits = load_dataset("digits")
    networks = {}
    for name in together.models:
        for seed in range(2):
            job = TrainingJob(workspace.models[name], "digits", digits.fingerprint, seed)
            networks[job.key] = load_network(job, digits, tmp_path / "run")
    images, labels = digits.test.images[outcomes.indices], digits.test.labels[outcomes.indices]
    assert len(outcomes.cells) == 2 * 2 * 4  # attacks x ensembles x targets
    for cell in outcomes.cells:
        members = outcomes.members(cell.surrogate)
        seeds = {outcomes.models[key].seed for key in members}
        assert (len(members), len(seeds)) == (2, 1)
        card = workspace.attacks[outcomes.attacks[cell.attack].name]
        held = [networks[key] for key in members]
        (made,) = craft(card, held, images, labels, [cell.epsilon], indices=outcomes.indices.tolist())
        predictions = networks[cell.target](made.images).argmax(1).numpy()
        assert np.mean(predictions != cell.predictions) <= 2 / 60  # float rounding may turn a tie
    rows = Results([outcomes]).frame()
    assert set(rows["surrogate"]) == {"quick_bp+quick_ekdaa"}
    assert set(rows["surrogate_rule"]) == {"backprop+ekdaa"}
    assert set(rows["relation"]) == {"white-box", "same-rule"}
    # Pictures are kept of the first seed's ensemble alone: they show an attack, and one is enough for that.
    assert {outcomes.ensembles[example.surrogate].seed for example in outcomes.examples} == {0}


def test_a_gradient_of_an_ensemble_costs_one_pass_through_each_member_and_nothing_is_done_twice(
    tmp_path, workspace, together
):
    run_sweep(together, tmp_path / "run", workspace=workspace)
    before, batches, ensembles, members, targets = facts(tmp_path / "run"), 2, 2, 2, 4
    with CountCalls() as count:
        run_sweep(together, tmp_path / "run", workspace=workspace)
    assert count.calls == 0
    # Neither the order in which a sweep names its models, nor other targets, make another ensemble.
    turned = together.model_copy(update={"models": tuple(reversed(together.models)), "targets": ("quick_bp",)})
    with CountCalls() as count:
        run_sweep(turned, tmp_path / "run", workspace=workspace)
    assert count.calls == 0
    wider = together.model_copy(update={"attacks": ("ens_bim",), "epsilons": (0.0, 0.2, 0.3)})
    with CountCalls() as count:
        run_sweep(wider, tmp_path / "run", workspace=workspace)
    assert count.calls == batches * ensembles * (10 * members + targets)
    after = facts(tmp_path / "run")[0]
    assert {place: after[place] for place in before[0]} == before[0]


def test_an_ensemble_with_a_failed_member_is_not_crafted_and_the_caveats_say_so(tmp_path, workspace, spec):
    write_card(tmp_path, "wild", "backprop", rate=3e38)
    spec = spec.model_copy(
        update={"models": ("quick_bp", "quick_ekdaa", "wild"), "attacks": ("fgsm", "ens_fgsm"), "seeds": 1}
    )
    run_sweep(spec, tmp_path / "run", workspace=Workspace(tmp_path))
    (outcomes,) = open_run(tmp_path / "run")
    assert {outcomes.attacks[cell.attack].name for cell in outcomes.cells} == {"fgsm"}
    found = " ".join(caveats(outcomes))
    assert "No ensemble attack was crafted with seed 0, because wild failed there" in found
    assert "missing" not in found
    assert "no outcomes yet" not in found
    with CountCalls() as count:
        run_sweep(spec, tmp_path / "run", workspace=Workspace(tmp_path))
    assert count.calls == 0


def test_an_ensemble_of_one_card_is_refused_before_anything_is_written(tmp_path, workspace, spec):
    alone = spec.model_copy(update={"surrogates": ("quick_bp",), "attacks": ("fgsm", "strong")})
    with pytest.raises(
        UsageError, match=r"ens_fgsm, .*several surrogate cards together, but the sweep has only quick_bp"
    ):
        run_sweep(alone, tmp_path / "run", workspace=workspace)
    assert not (tmp_path / "run").exists()


def test_layers_in_bfloat16_are_another_attack_but_the_same_noise(tmp_path, workspace, spec):
    spec = spec.model_copy(update={"attacks": ("bim", "noise"), "seeds": 1, "save_images": True, "images": 20})
    run_sweep(spec, tmp_path / "run", workspace=workspace)
    before, files = facts(tmp_path / "run")[0], set((tmp_path / "run" / "adversarial").iterdir())
    mixed = spec.model_copy(update={"precision": "bfloat16"})
    run_sweep(mixed, tmp_path / "run", workspace=workspace)
    (outcomes,) = open_run(tmp_path / "run")
    after = facts(tmp_path / "run")[0]
    noise = {place for place in before if place[0] is None}
    assert before.keys() & after.keys() == noise
    assert outcomes.spec["precision"] == "bfloat16"
    digits = load_dataset("digits")
    job = TrainingJob(workspace.models["quick_bp"], "digits", digits.fingerprint, 0)
    network = load_network(job, digits, tmp_path / "run")
    images, labels = digits.test.images[outcomes.indices], digits.test.labels[outcomes.indices]
    options = {"indices": outcomes.indices.tolist(), "precision": "bfloat16"}
    made = torch.stack(
        [one.images for one in craft(workspace.attacks["bim"], [network], images, labels, [0.1, 0.2], **options)]
    )
    new = [load_adversarial(path) for path in set((tmp_path / "run" / "adversarial").iterdir()) - files]
    assert len(new) == 2
    assert sum(torch.equal(one.images, made) for one in new) == 1
