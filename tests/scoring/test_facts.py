"""What the store keeps about crafting: gradients that were zero, queries, and the smallest perturbations."""

import numpy as np
import pytest

from robustbench_ekdaa.analysis.checks import findings
from robustbench_ekdaa.analysis.results import Results
from robustbench_ekdaa.cards import Workspace
from robustbench_ekdaa.crafting import craft
from robustbench_ekdaa.data import load_dataset
from robustbench_ekdaa.learning import TrainingJob, load_network
from robustbench_ekdaa.scoring.sweep import run_sweep
from robustbench_ekdaa.storing.store import open_run

FACTS = ["zero_gradient_share", "queries", "median_norm"]

# Its cards' rate makes units saturate so far that, in float32, nothing of the gradient is left for some images.
SATURATED = """
kind = "model"
name = "saturated"
rule = "backprop"
[network]
blocks = [{ layer = "linear", width = 8 }]
[training.default]
epochs = 1
batch_size = 64
learning_rate = 8
"""


@pytest.mark.parametrize("name", ["deepfool_linf", "fmn_l2"])
def test_white_box_accuracy_under_a_minimal_norm_attack_is_the_share_whose_smallest_norm_exceeds_epsilon(
    tmp_path, workspace, spec, name
):
    sizes = (0.0, 0.02, 0.1, 0.2, 0.4)
    spec = spec.model_copy(
        update={"models": ("quick_bp",), "attacks": (name,), "epsilons": sizes, "images": 40, "seeds": 1}
    ).model_copy(update={"batch_size": 40})  # of a batch, DeepFool tells only how often it was shown as a whole
    run_sweep(spec, tmp_path / "run", workspace=workspace)
    (outcomes,) = open_run(tmp_path / "run")
    digits = load_dataset("digits")
    job = TrainingJob(workspace.models["quick_bp"], "digits", digits.fingerprint, 0)
    network = load_network(job, digits, tmp_path / "run")
    images, labels = digits.test.images[outcomes.indices], digits.test.labels[outcomes.indices]
    (one,) = craft(workspace.attacks[name], [network], images, labels, [0.4], indices=outcomes.indices.tolist())
    smallest = one.smallest.numpy()
    rows = Results([outcomes]).frame().set_index("epsilon")
    for epsilon in sizes:
        assert rows.loc[epsilon, "accuracy"] == np.mean(smallest > epsilon)
    assert len(set(rows["accuracy"])) >= 4  # the sizes are spread over the epsilons
    assert rows.loc[list(sizes[1:]), "median_norm"].to_numpy() == pytest.approx(np.median(smallest))
    assert (rows.loc[list(sizes[1:]), "queries"] == one.queries.double().mean().item()).all()
    assert rows["zero_gradient_share"].isna().all()  # the library does not tell
    assert rows.loc[0.0, FACTS].isna().all()


def test_a_share_of_zero_gradients_is_kept_shown_and_warned_of(tmp_path, workspace, spec):
    (tmp_path / "models" / "saturated.toml").write_text(SATURATED)
    spec = spec.model_copy(update={"models": ("quick_bp", "saturated"), "attacks": ("fgsm", "noise"), "seeds": 1})
    run_sweep(spec, tmp_path / "run", workspace=Workspace(tmp_path))
    (outcomes,) = open_run(tmp_path / "run")
    digits = load_dataset("digits")
    job = TrainingJob(Workspace(tmp_path).models["saturated"], "digits", digits.fingerprint, 0)
    network = load_network(job, digits, tmp_path / "run")
    images, labels = digits.test.images[outcomes.indices].requires_grad_(), digits.test.labels[outcomes.indices]
    loss = -network(images).log_softmax(1)[range(len(labels)), labels].sum()
    loss.backward()
    share = (images.grad.flatten(1).abs().amax(1) == 0).double().mean().item()
    assert 0.05 < share < 1
    rows = Results([outcomes]).frame()
    attacked = rows[(rows["surrogate"] == "saturated") & (rows["epsilon"] > 0)]
    assert attacked["zero_gradient_share"].to_numpy() == pytest.approx(share)
    assert (rows.loc[(rows["surrogate"] == "quick_bp") & (rows["epsilon"] > 0), "zero_gradient_share"] == 0).all()
    assert rows.loc[rows["surrogate"].isna() | (rows["epsilon"] == 0), FACTS].isna().all(axis=None)
    (warning,) = [one.meaning for one in findings(outcomes) if "nothing to follow" in one.meaning]
    assert f"FGSM on saturated, seed 0: {100 * share:.0f} % at ε = 0.1" in warning
    assert "quick_bp" not in warning
