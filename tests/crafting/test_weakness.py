"""The unit test of attacks: every built-in attack finds the planted weakness, and broken ones do not."""

import subprocess

import pytest
import torch

import robustbench_ekdaa as rb
from robustbench_ekdaa.cards import AttackCard, Workspace
from robustbench_ekdaa.crafting import craft, find_weakness
from robustbench_ekdaa.crafting.weakness import EPSILONS, NEEDED, SUFFICIENT, PlantedWeakness
from robustbench_ekdaa.errors import UsageError

from ..support.command_line import PROGRAM

CARDS = {name: Workspace().attacks[name] for name in Workspace().attacks}
SLOW = {"boundary_l2", "cw_l2", "geoda_l2", "hopskipjump_l2", "hopskipjump_linf", "signopt_l2", "zoo_l2"}
SLOW |= {name for name in CARDS if name.startswith("apgd")}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in sorted(CARDS)]
)
def test_every_built_in_attack_finds_the_planted_weakness(name):
    found = find_weakness(CARDS[name], count=3 if name in SLOW else 12)
    assert found.verdict == ("passed" if CARDS[name].uses_surrogate else "exempt"), found.found


@pytest.mark.parametrize("norm", sorted(EPSILONS))
def test_half_of_epsilon_spent_on_the_weakness_fools_every_image_and_nothing_none(norm):
    epsilon, pixels = EPSILONS[norm], 64
    network = PlantedWeakness(norm, epsilon)
    images = torch.rand(200, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    images[:, 1] = 0.5
    labels = network(images).argmax(1)
    away = -network.kinds[labels].reshape(-1, 1, 1)
    for share, fooled in ((SUFFICIENT, 1.0), (0.0, 0.0)):
        moved = images.clone()
        moved[:, 1] += share * epsilon * away / {"linf": 1, "l2": pixels**0.5, "l1": pixels}[norm]
        size = (moved - images).flatten(1).norm(p={"linf": torch.inf, "l2": 2, "l1": 1}[norm], dim=1)
        assert size.max() <= share * epsilon + 1e-5
        assert (network(moved).argmax(1) != labels).double().mean() == fooled


@pytest.mark.parametrize("norm", sorted(EPSILONS))
def test_noise_does_not_find_it(norm):
    card = CARDS["noise" if norm == "linf" else f"noise_{norm}"]
    network, images = PlantedWeakness(norm, EPSILONS[norm]), torch.rand(100, 2, 8, 8)
    images[:, 1] = 0.5
    labels = network(images).argmax(1)
    (crafted,) = craft(card, [], images, labels, [EPSILONS[norm]])
    assert (network(crafted.images).argmax(1) != labels).double().mean() < NEEDED / 2


@pytest.mark.parametrize("step", [1e-6, "epsilon / 100"])
def test_an_attack_with_a_broken_step_fails(step):
    card = AttackCard(kind="attack", name="broken", norm="linf", steps=10, step_size=step)
    found = find_weakness(card)
    assert found.verdict == "failed"
    assert found.fooled < NEEDED


def test_an_attack_that_goes_the_wrong_way_fails(tmp_path):
    (tmp_path / "attacks").mkdir()
    (tmp_path / "attacks" / "wrong.py").write_text(
        "from torch.nn.functional import cross_entropy\n\n\n"
        'def away():\n    return lambda logits, goal: -cross_entropy(logits, goal, reduction="none")\n'
    )
    card = 'kind = "attack"\nname = "wrong"\nnorm = "linf"\nsteps = 5\nstep_size = "epsilon / steps"\n'
    (tmp_path / "attacks" / "wrong.toml").write_text(card + 'loss = "wrong.py:away"\n')
    (found,) = rb.check_attack("wrong", workspace=tmp_path)
    assert found.verdict == "failed"
    assert found.fooled == 0


def run(*words, cwd):
    return subprocess.run([*PROGRAM, *words], cwd=cwd, capture_output=True, text=True, timeout=120)


def test_the_command_says_what_it_found_and_fails_with_a_broken_attack(tmp_path):
    right = run("check-attack", "fgsm", "noise", cwd=tmp_path)
    assert right.returncode == 0
    assert "passed" in right.stdout
    assert "exempt" in right.stdout
    (tmp_path / "attacks").mkdir()
    card = 'kind = "attack"\nname = "tiny"\nnorm = "linf"\nsteps = 5\nstep_size = 1e-6\n'
    (tmp_path / "attacks" / "tiny.toml").write_text(card)
    wrong = run("check-attack", "tiny", cwd=tmp_path)
    assert wrong.returncode == 1
    assert "failed" in wrong.stdout
    unknown = run("check-attack", "fgms", cwd=tmp_path)
    assert unknown.returncode == 2
    assert unknown.stderr.count("\n") == 1


def test_the_function_takes_names_suites_and_cards():
    assert [one.verdict for one in rb.check_attack("fgsm")] == ["passed"]
    assert [one.attack for one in rb.check_attack(CARDS["bim"])] == ["bim"]
    assert len(rb.check_attack("l1")) == len(Workspace().expand_attacks(["l1"]))
    with pytest.raises(UsageError, match="seed"):
        rb.check_attack("fgsm", seed=-1)
