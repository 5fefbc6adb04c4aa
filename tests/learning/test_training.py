"""Training: the same bits from the same seed, resuming, divergence, and true gradients afterwards."""

import inspect
import json

import pytest
import torch

from robustbench_ekdaa.errors import TrainingDiverged, UsageError
from robustbench_ekdaa.files import read_tensors
from robustbench_ekdaa.learning import TrainingJob, load_network, train, training
from robustbench_ekdaa.learning.checking import check_job
from robustbench_ekdaa.learning.optimisers import optimiser_names, refuse_other_types, schedule_names

from ..support.stopped import StopAfter
from ..support.training_jobs import card, job


@pytest.mark.parametrize("name", ["backprop", "ekdaa", "frozen"])
def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(digits, tmp_path, name):
    tensors = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(len(tensors))  # the global state must not matter
        work = job(digits, name, seed)
        train(work, digits, tmp_path / folder)
        tensors.append(read_tensors(training.checkpoint_path(tmp_path / folder, work.key)).tensors)
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(tensors[0][key], tensors[1][key]) for key in tensors[0])
    assert not torch.equal(tensors[0]["network.blocks.3.layer.weight"], tensors[2]["network.blocks.3.layer.weight"])


@pytest.mark.parametrize("optimizer", [("SGD", {"momentum": 0.9}), ("Adam", {}), ("AdamW", {"amsgrad": True})])
@pytest.mark.parametrize("schedule", [(None, {}), ("StepLR", {"step_size": 1}), ("CosineAnnealingLR", {"T_max": 3})])
def test_a_stopped_training_resumes_to_the_bits_of_an_undisturbed_one(
    digits, tmp_path, monkeypatch, optimizer, schedule
):
    options = {
        "optimizer": optimizer[0],
        "optimizer_options": optimizer[1],
        "learning_rate": 0.005,
        "schedule": schedule[0],
        "schedule_options": schedule[1],
    }
    work = job(digits, **options)
    whole = train(work, digits, tmp_path / "whole")
    monkeypatch.setattr(training, "SAVE_SECONDS", 0)
    with pytest.raises(KeyboardInterrupt):
        train(work, digits, tmp_path / "parts", progress=StopAfter(60))
    assert not training.checkpoint_path(tmp_path / "parts", work.key).exists()
    parts = train(work, digits, tmp_path / "parts", progress=StopAfter(123))  # 41 steps are done already, 82 to go
    assert parts["train_loss"] == whole["train_loss"]
    both = [read_tensors(training.checkpoint_path(tmp_path / name, work.key)).tensors for name in ("whole", "parts")]
    assert all(torch.equal(both[0][key], both[1][key]) for key in both[0])
    assert len(list((tmp_path / "parts" / "checkpoints").iterdir())) == 1
    logs = [training.log_path(tmp_path / name, work.key).read_text().splitlines() for name in ("whole", "parts")]
    told = [
        [{"layers": None, **json.loads(line), "seconds": 0, "images_per_second": 0} for line in log] for log in logs
    ]
    assert told[0] == told[1]
    assert len(told[0]) == 1 + 3


def test_a_finished_model_is_not_trained_again(digits, tmp_path):
    work = job(digits)
    facts = train(work, digits, tmp_path)
    assert train(work, digits, tmp_path, progress=StopAfter(0)) == facts


def test_divergence_is_reported_with_seed_and_epoch(digits, tmp_path):
    with pytest.raises(TrainingDiverged, match=r"backprop \(seed 2\) diverged in epoch 1: .*learning_rate"):
        train(job(digits, "backprop", 2, learning_rate=3e38, optimizer="SGD", optimizer_options={}), digits, tmp_path)
    assert not list(tmp_path.glob("checkpoints/*"))


def test_the_log_has_a_line_per_epoch_with_every_layers_angles(digits, tmp_path):
    work = job(digits)
    train(work, digits, tmp_path)
    lines = [json.loads(line) for line in training.log_path(tmp_path, work.key).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
    assert lines[-1]["accuracy"] > lines[1]["accuracy"]
    assert list(lines[-1]["layers"]) == ["conv1", "conv2", "linear3", "readout"]
    assert lines[-1]["layers"]["readout"]["update_angle"] == pytest.approx(0, abs=0.1)
    assert lines[-1]["layers"]["conv2"]["feedback_angle"] < lines[0]["layers"]["conv2"]["feedback_angle"] < 90


def test_the_log_starts_with_the_angles_before_any_step(digits, tmp_path):
    """Of the weights and the feedback that the training starts from: feedback that starts as the weights is at 0."""
    angles = {}
    for name in ("ekdaa", "ekdaa_transpose"):
        work = job(digits, name)
        train(work, digits, tmp_path)
        first = json.loads(training.log_path(tmp_path, work.key).read_text().splitlines()[0])
        assert set(first) == {"epoch", "layers"}
        angles[name] = first["layers"]["conv2"]["feedback_angle"]
    assert angles["ekdaa_transpose"] == pytest.approx(0, abs=0.01)
    assert 80 < angles["ekdaa"] < 100


DRAWS_AS_IT_LEARNS = """
from robustbench_ekdaa.learning.rules.backprop import Backprop
class Noisy(Backprop):
    exemptions = {"seeded": "it draws"}
    def bind(self, network, generator):
        super().bind(network, generator)
        self.generator = generator
    def compute_gradients(self, images, labels):
        step = super().compute_gradients(images, labels)
        for parameter in self.network.parameters():
            parameter.grad += 0.1 * parameter.grad.clone().normal_(generator=self.generator)
        return step
"""


def test_measuring_the_start_moves_no_weight_even_of_a_rule_that_draws(digits, tmp_path, monkeypatch):
    (tmp_path / "noisy.py").write_text(DRAWS_AS_IT_LEARNS)
    work = job(digits, "backprop")
    rule = f"{tmp_path / 'noisy.py'}:Noisy"
    work = TrainingJob(work.card.model_copy(update={"rule": rule}), "digits", digits.fingerprint, 0)
    facts = train(work, digits, tmp_path / "measured")
    assert facts["exemptions"] == {"seeded": "it draws"}
    monkeypatch.setattr(training._Training, "measure_start", lambda *_: None)
    train(work, digits, tmp_path / "not")
    both = [read_tensors(training.checkpoint_path(tmp_path / name, work.key)).tensors for name in ("measured", "not")]
    assert all(torch.equal(both[0][key], both[1][key]) for key in both[0])


@pytest.mark.parametrize(
    ("name", "exempt"),
    [("backprop", set()), ("frozen", {"beats frozen", "every layer"}), ("drtp", {"zero error"})],
)
def test_the_checkpoint_tells_what_its_rule_is_exempt_from_and_why(digits, tmp_path, name, exempt):
    facts = train(job(digits, name), digits, tmp_path)
    assert set(facts["exemptions"]) == exempt
    assert all(facts["exemptions"].values())


@pytest.mark.parametrize("name", ["backprop", "ekdaa", "frozen"])
def test_after_training_input_gradients_agree_with_finite_differences(digits, tmp_path, name):
    work = job(digits, name)
    train(work, digits, tmp_path)
    network = load_network(work, digits, tmp_path).double()
    # Blank pixels tie under max pooling, where there is no derivative to agree on: a little noise parts them.
    noise = 0.05 * torch.rand((2, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images, labels = digits.test.images[:2].double() + noise, digits.test.labels[:2]

    def loss(pixels):
        return torch.nn.functional.cross_entropy(network(pixels), labels, reduction="sum")

    assert torch.autograd.gradcheck(loss, images.requires_grad_(), eps=1e-6, atol=1e-5)


def test_a_trained_model_is_a_plain_network_without_feedback(digits, tmp_path):
    work = job(digits)
    train(work, digits, tmp_path)
    network = load_network(work, digits, tmp_path)
    assert sorted(network.state_dict()) == sorted(
        ["mean", "deviation", *(f"blocks.{i}.layer.{part}" for i in range(4) for part in ("weight", "bias"))]
    )
    assert not network.training


def test_trained_rules_beat_the_frozen_control_on_digits(digits, tmp_path):
    scores = {
        name: train(job(digits, name), digits, tmp_path)["test_accuracy"] for name in ("backprop", "ekdaa", "frozen")
    }
    assert scores["backprop"] > scores["frozen"] + 0.05
    assert scores["ekdaa"] > scores["frozen"] + 0.05


def test_held_out_images_are_neither_trained_on_nor_taken_from_the_test_half(digits, tmp_path):
    work = TrainingJob(card(), "digits", digits.fingerprint, 0, held_out=0.25)
    learned, held = training.split_held_out(work, digits.train)
    assert len(learned) + len(held) == len(digits.train)
    together = torch.cat([learned.images, held.images]).flatten(1)
    assert torch.equal(together.unique(dim=0), digits.train.images.flatten(1).unique(dim=0))
    facts = train(work, digits, tmp_path)
    assert facts["test_accuracy"] is None
    assert 0.5 < facts["held_out_accuracy"] <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "SDG"}, "unknown optimiser of torch.optim 'SDG'. Did you mean SGD"),
        ({"optimizer": "Adam", "optimizer_options": {"momentum": 0.9}}, "Adam refuses them"),
        ({"schedule": "ReduceLROnPlateau"}, "training.default.schedule: unknown schedule"),
        ({"schedule": "StepLR", "schedule_options": {}}, "StepLR refuses them"),
        ({"optimizer_options": {"momentum": True}}, "default.optimizer_options.momentum: must be a number (got True)"),
        (
            {"optimizer_options": {"momentum": "0.9"}},
            "optimizer_options.momentum: must be a number (got '0.9')",
        ),
        ({"optimizer_options": {"nesterov": 1}}, "default.optimizer_options.nesterov: must be true or false (got 1)"),
        (
            {"optimizer": "Adam", "optimizer_options": {"betas": 0.9}},
            "options.betas: must be a list (got 0.9)",
        ),
        ({"optimizer": "Adam", "optimizer_options": {"betas": [0.9]}}, "optimizer_options: Adam refuses them: "),
        ({"optimizer": "Adam", "optimizer_options": {"betas": ["a", "b"]}}, "optimizer_options: Adam refuses them: "),
        (
            {"schedule": "StepLR", "schedule_options": {"step_size": "5"}},
            "options.step_size: must be a number",
        ),
        (
            {"schedule": "OneCycleLR", "schedule_options": {"max_lr": 0.1, "total_steps": 2}},
            "OneCycleLR fails with them",
        ),
        ({"schedule": "MultiStepLR", "schedule_options": {"milestones": 5}}, "MultiStepLR refuses them: TypeError"),
    ],
)
def test_a_recipe_torch_refuses_is_refused_before_training_with_its_field(digits, changes, message):
    base = {"schedule": None, "schedule_options": {}}
    with pytest.raises(UsageError) as caught:
        check_job(job(digits, **{**base, **changes}), digits)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_option_of_torchs_classes_may_be_given_its_own_default():
    for kind in (*optimiser_names().values(), *schedule_names().values()):
        parameters = inspect.signature(kind).parameters
        refuse_other_types(
            kind, {name: each.default for name, each in parameters.items() if each.default != each.empty}, ""
        )
