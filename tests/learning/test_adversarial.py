"""Adversarial training: part of each batch is crafted on the network itself, by any rule, to the bit again."""

from __future__ import annotations

import pytest
import torch

import robustbench_ekdaa as rb
from robustbench_ekdaa.cards import NetworkSpec, Workspace
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.learning.adversarial import attacked_batches
from robustbench_ekdaa.networks import build_network
from robustbench_ekdaa.randomness import keyed_generator

CARD = """
kind = "model"
name = "{name}"
title = "{name}"
rule = "{rule}"
[network]
preset = "small_cnn"
[training.default]
epochs = {epochs}
batch_size = 64
optimizer = "Adam"
learning_rate = 2e-3
{more}
"""
AGAINST_PGD = 'adversarial = {{ attack = "{attack}", epsilon = {epsilon}, share = {share} }}'


def write(folder, name, rule="backprop", epochs=1, attack=None, epsilon=0.15, share=0.5):
    (folder / "models").mkdir(exist_ok=True)
    more = "" if attack is None else AGAINST_PGD.format(attack=attack, epsilon=epsilon, share=share)
    (folder / "models" / f"{name}.toml").write_text(CARD.format(name=name, rule=rule, epochs=epochs, more=more))
    return Workspace(folder)


def weights(name, run, workspace):
    rb.train(name, "digits", seed=0, run=run, workspace=workspace)
    return rb.load_model(name, "digits", seed=0, run=run, workspace=workspace).state_dict()


def test_the_benchmark_tells_an_adversarially_trained_network_from_plain_backprop(tmp_path):
    """The positive control: if this fails, the benchmark measures nothing."""
    write(tmp_path, "plain", epochs=8)
    workspace = write(tmp_path, "hardened", epochs=8, attack="pgd")
    spec = rb.SweepSpec(
        datasets=["digits"], models=["plain", "hardened"], attacks=["pgd"], epsilons=[0, 0.15], seeds=1, images=200
    )
    frame = rb.sweep(spec, tmp_path / "run", workspace=workspace).frame()
    attacked = frame[(frame["epsilon"] == 0.15) & (frame["attack"] == "pgd")]
    own = attacked[attacked["surrogate"] == attacked["target"]].set_index("target")
    assert own.loc["hardened", "accuracy"] > own.loc["plain", "accuracy"] + 0.25
    assert own.loc["hardened", "clean_accuracy"] > own.loc["plain", "clean_accuracy"] - 0.1


@pytest.mark.parametrize("rule", ["backprop", "ekdaa", "fa", "predsim", "dfa", "frozen"])
def test_any_rule_is_trained_adversarially_and_to_the_bit_again(tmp_path, rule):
    workspace = write(tmp_path, "mine", rule=rule, attack="fgsm")
    first, again = (weights("mine", tmp_path / run, workspace) for run in "ab")
    assert all(torch.equal(first[name], again[name]) for name in first)
    plain = weights("plain", tmp_path / "a", write(tmp_path, "plain", rule=rule))
    assert not torch.equal(first["blocks.3.layer.weight"], plain["blocks.3.layer.weight"])


def test_a_share_of_each_batch_is_crafted_on_the_network_and_the_rest_is_as_it_was(tmp_path, digits):
    card = write(tmp_path, "mine", attack="pgd", share=0.25).models["mine"]
    crafting = attacked_batches(card, "digits", 0)
    network = build_network(NetworkSpec(preset="small_cnn"), (1, 8, 8), 10, keyed_generator(0, "weights")).train()
    images, labels = digits.train.images[:40], digits.train.labels[:40]
    before = images.clone()
    batch = crafting.replaced(network, images, labels, list(range(40)), epoch=0)
    assert torch.equal(images, before)
    assert torch.equal(batch[10:], images[10:])
    sizes = (batch - images)[:10].abs().amax((1, 2, 3))
    assert float(sizes.max()) <= 0.15 + 1e-6
    assert float(sizes.min()) > 0.05
    assert network.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    later = crafting.replaced(network, images, labels, list(range(40)), epoch=1)
    assert not torch.equal(later[:10], batch[:10])  # another random start


def test_attack_epsilon_and_share_are_part_of_a_model_s_identity_and_the_attack_s_content_too(tmp_path):
    keys = set()
    for attack, epsilon, share in (("pgd", 0.15, 0.5), ("pgd", 0.1, 0.5), ("pgd", 0.15, 0.25), ("bim", 0.15, 0.5)):
        workspace = write(tmp_path, "mine", attack=attack, epsilon=epsilon, share=share)
        keys.add(rb.Benchmark(tmp_path / "run", workspace=workspace).train(["mine"], "digits", [0])[0].key)
    (tmp_path / "attacks").mkdir()
    text = 'kind = "attack"\nname = "bim"\ntitle = "BIM"\nsteps = 2\n'
    (tmp_path / "attacks" / "bim.toml").write_text(text)
    workspace = Workspace(tmp_path)
    keys.add(rb.Benchmark(tmp_path / "run", workspace=workspace).train(["mine"], "digits", [0])[0].key)
    assert len(keys) == 5


@pytest.mark.parametrize(
    ("attack", "epsilon", "message"),
    [
        ("pgdd", 0.1, "training.default.adversarial.attack: unknown attack 'pgdd'. Did you mean pgd"),
        ("noise", 0.1, "training.default.adversarial.attack: noise is not crafted on one network"),
        ("ens_fgsm", 0.1, "training.default.adversarial.attack: ens_fgsm is not crafted on one network"),
        ("pgd", 1.5, "training.default.adversarial.epsilon: epsilon 1.5 is too large"),
        ("pgd", 0, "adversarial.epsilon: must be greater than 0"),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(tmp_path, attack, epsilon, message):
    workspace = write(tmp_path, "mine", attack=attack, epsilon=epsilon)
    with pytest.raises(UsageError) as caught:
        rb.train("mine", "digits", seed=0, run=tmp_path / "run", workspace=workspace)
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_package_s_control_is_trained_on_every_data_set_it_names():
    card = Workspace().models["backprop_adversarial"]
    found = {name: card.recipe(name).adversarial.epsilon for name in ("digits", "fashion_mnist", "cifar10", "svhn")}
    assert found == pytest.approx({"digits": 0.15, "fashion_mnist": 0.1, "cifar10": 8 / 255, "svhn": 8 / 255})
