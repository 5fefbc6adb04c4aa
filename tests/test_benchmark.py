"""One object for a run: the functions of the public interface are a line each over it."""

import inspect
import re

import pytest
import torch

import robustbench_ekdaa as rb
from robustbench_ekdaa.errors import UsageError

CARD = """
kind = "model"
name = "quick"
title = "Quick"
rule = "backprop"
[network]
blocks = [{ layer = "linear", width = 8 }]
[training.default]
epochs = 1
learning_rate = 0.1
batch_size = 128
"""


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "mine" / "models").mkdir(parents=True)
    (tmp_path / "mine" / "models" / "quick.toml").write_text(CARD)
    return tmp_path / "mine"


def test_one_object_trains_sweeps_scores_loads_and_reports(workspace, tmp_path):
    benchmark = rb.Benchmark(tmp_path / "run", workspace=workspace, device="cpu")
    (record,) = benchmark.train(["quick"], "digits", [0])
    spec = rb.SweepSpec(
        datasets=["digits"], models=["quick"], attacks=["fgsm"], epsilons=[0, 0.1], images=20, seeds=2, save_images=True
    )
    rows = benchmark.sweep(spec).frame()
    assert record.status == "trained"
    assert set(rows["target"]) == {"quick"}
    (file,) = (tmp_path / "run" / "adversarial").glob("fgsm-on-quick-seed0*")
    scored = benchmark.score(file, "digits", ["quick"], seeds=1, name="again").mean_accuracies("again")
    direct = rows.query("surrogate_seed == 0 and target_seed == 0 and epsilon == 0.1")["accuracy"].item()
    assert scored.query("epsilon == 0.1")["accuracy"].item() == direct
    assert benchmark.load_model("quick", "digits", 1)(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    assert benchmark.report(tmp_path / "page").name == "index.html"
    assert benchmark.results().frame().equals(rb.open_results(tmp_path / "run").frame())
    assert benchmark.failed == ()


def test_the_functions_take_a_workspace_by_its_folder(workspace, tmp_path):
    assert rb.train("quick", "digits", 0, tmp_path / "run", workspace=str(workspace)).status == "trained"
    with pytest.raises(UsageError, match="unknown model 'quick'"):
        rb.train("quick", "digits", 0, tmp_path / "run")
    assert rb.load_model("quick", "digits", 0, tmp_path / "run", workspace=workspace).training is False


def test_a_checkpoint_that_is_whole_but_not_the_one_that_the_store_noted_is_not_loaded(workspace, tmp_path):
    for run in ("run", "other"):  # of equal weights, but another training: its facts hold how long it took
        rb.train("quick", "digits", 0, tmp_path / run, workspace=workspace)
    (file,), (other,) = ((tmp_path / run / "checkpoints").iterdir() for run in ("run", "other"))
    file.write_bytes(other.read_bytes())
    with pytest.raises(UsageError, match=re.escape(file.name)):
        rb.load_model("quick", "digits", 0, tmp_path / "run", workspace=workspace)
    (tmp_path / "run" / "results.sqlite").unlink()  # checkpoints alone are loaded by their own digest
    assert rb.load_model("quick", "digits", 0, tmp_path / "run", workspace=workspace) is not None


def test_a_rule_is_checked_by_name_and_by_class():
    class Idle(rb.LearningRule):
        """Teaches nothing."""

        def compute_gradients(self, images, labels):
            logits = self.network(images).detach()
            return rb.Step(rb.rules.cross_entropy(logits, labels), logits)

    verdicts = {finding.test: finding.verdict for finding in rb.check_rule(Idle)}
    assert verdicts["any network"] == "failed"
    with pytest.raises(UsageError, match="unknown rule 'ekda'"):
        rb.check_rule("ekda")
    with pytest.raises(UsageError, match="is not a LearningRule"):
        rb.check_rule(dict)


def test_every_name_of_the_interface_is_there_and_every_function_says_what_its_arguments_are():
    for name in rb.__all__:
        thing = getattr(rb, name)
        if inspect.isfunction(thing) and len(inspect.signature(thing).parameters) > 1:
            for argument in inspect.signature(thing).parameters:
                assert f"{argument}:" in thing.__doc__, (name, argument)
