"""What crafting costs: passes counted exactly, and time against a hand-written loop, torchattacks, Foolbox and ART.

    python benchmarks/attacks.py --dataset digits fashion_mnist --markdown benchmarks/attacks.md

All competitors craft from the same network, images and epsilon in one process, in turn, round after round; a ratio is
the median over rounds of our processor time by theirs in the same round, so that whatever else the machine does meets
both. Below 1 we are faster. ``ideal`` is what an attack costs that shares nothing between epsilons but FGSM's one
gradient: a forward and a backward pass per step and epsilon, times what its components ask for.
"""

from __future__ import annotations

import argparse
import copy
import logging
import platform
import random
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_ekdaa.cards import AttackCard, NetworkSpec, Workspace
from robustbench_ekdaa.crafting import craft
from robustbench_ekdaa.data import load_dataset
from robustbench_ekdaa.networks import build_network
from robustbench_ekdaa.networks.memory_format import MEMORY_FORMAT
from robustbench_ekdaa.randomness import keyed_generator

EPSILON = 0.1
SWEEP = [0.015 * number for number in range(1, 21)]
ATTACKS = ("fgsm", "bim", "bim_l2", "pgd", "mi_fgsm", "ni_fgsm", "ti_mi_fgsm", "si_ni_fgsm", "vmi_fgsm")
Run = Callable[[], object]


# ruff: noqa: D102 - the attacks by hand are their names

# -- the shortest loops one would write by hand ----------------------------------------------------------------------


class ByHand:
    """Attacks on one network written down as shortly as possible: no checks, no seeds, nothing put back."""

    def __init__(self, network: nn.Module, images: Tensor, labels: Tensor) -> None:
        self.network, self.images, self.labels = network, images, labels

    def slope(self, images: Tensor) -> Tensor:
        images = images.detach().requires_grad_()
        loss = F.cross_entropy(self.network(images), self.labels, reduction="sum")
        return torch.autograd.grad(loss, images)[0]

    def clip(self, images: Tensor, epsilon: float) -> Tensor:
        return images.clamp(self.images - epsilon, self.images + epsilon).clamp(0, 1)

    def fgsm(self, epsilon: float = EPSILON) -> Tensor:
        return (self.images + epsilon * self.slope(self.images).sign()).clamp(0, 1)

    def bim(self) -> Tensor:
        x = self.images
        for _ in range(10):
            x = self.clip(x + EPSILON / 10 * self.slope(x).sign(), EPSILON)
        return x

    def bim_l2(self) -> Tensor:
        def length(vectors: Tensor) -> Tensor:
            return torch.linalg.vector_norm(vectors, dim=(1, 2, 3), keepdim=True).clamp_min(1e-12)

        x = self.images
        for _ in range(10):
            slope = self.slope(x)
            moved = x + EPSILON / 10 * slope / length(slope) - self.images
            x = (self.images + moved * (EPSILON / length(moved)).clamp_max(1)).clamp(0, 1)
        return x

    def pgd(self) -> Tensor:
        x = self.clip(self.images + EPSILON * (2 * torch.rand_like(self.images) - 1), EPSILON)
        for _ in range(10):
            x = self.clip(x + EPSILON / 4 * self.slope(x).sign(), EPSILON)
        return x

    def mi_fgsm(self, smooth: Callable[[Tensor], Tensor] = lambda slope: slope) -> Tensor:
        x, momentum = self.images, torch.zeros_like(self.images)
        for _ in range(10):
            slope = smooth(self.slope(x))
            momentum = momentum + slope / slope.abs().mean((1, 2, 3), keepdim=True)
            x = self.clip(x + EPSILON / 10 * momentum.sign(), EPSILON)
        return x

    def ti_mi_fgsm(self) -> Tensor:
        profile = torch.exp(-0.5 * torch.linspace(-3, 3, 15) ** 2)
        kernel = (torch.outer(profile, profile) / profile.sum() ** 2).expand(self.images.shape[1], 1, 15, 15)
        return self.mi_fgsm(lambda slope: F.conv2d(slope, kernel, padding=7, groups=len(kernel)))

    def ni_fgsm(self, copies: int = 1) -> Tensor:
        x, momentum = self.images, torch.zeros_like(self.images)
        for _ in range(10):
            ahead = x + EPSILON / 10 * momentum
            slope = sum(self.slope(ahead / 2**power) / 2**power for power in range(copies))
            momentum = momentum + slope / slope.abs().mean((1, 2, 3), keepdim=True)
            x = self.clip(x + EPSILON / 10 * momentum.sign(), EPSILON)
        return x

    def si_ni_fgsm(self) -> Tensor:
        return self.ni_fgsm(copies=5)

    def vmi_fgsm(self) -> Tensor:
        x, momentum, variance = self.images, torch.zeros_like(self.images), 0.0
        for _ in range(10):
            slope = self.slope(x)
            total = slope + variance
            momentum = momentum + total / total.abs().mean((1, 2, 3), keepdim=True)
            around = torch.zeros_like(x)
            for _ in range(20):
                around += self.slope(x + 1.5 * EPSILON * (2 * torch.rand_like(x) - 1))
            variance = around / 20 - slope
            x = self.clip(x + EPSILON / 10 * momentum.sign(), EPSILON)
        return x


# -- the same attacks of the libraries -------------------------------------------------------------------------------


def with_torchattacks(name: str, network: nn.Module, images: Tensor, labels: Tensor) -> Run | None:
    import torchattacks

    ten = {"eps": EPSILON, "alpha": EPSILON / 10, "steps": 10}
    known = {
        "fgsm": ("FGSM", {"eps": EPSILON}),
        "bim": ("BIM", ten),
        "bim_l2": ("PGDL2", {**ten, "random_start": False}),
        "pgd": ("PGD", {**ten, "alpha": EPSILON / 4}),
        "mi_fgsm": ("MIFGSM", ten),
        "ni_fgsm": ("NIFGSM", ten),
        "si_ni_fgsm": ("SINIFGSM", ten),
        "vmi_fgsm": ("VMIFGSM", {**ten, "N": 20}),
        "ti_mi_fgsm": ("TIFGSM", {**ten, "decay": 1.0, "diversity_prob": 0.0}),
    }
    if name not in known or (name == "ti_mi_fgsm" and images.shape[1] != 3):
        return None
    kind, options = known[name]
    attack = getattr(torchattacks, kind)(network, **options)
    attack.set_device(images.device)
    return lambda: attack(images, labels)


def with_foolbox(name: str, network: nn.Module, images: Tensor, labels: Tensor) -> Run | None:
    import foolbox

    known = {
        "fgsm": lambda: foolbox.attacks.LinfFastGradientAttack(),
        "bim": lambda: foolbox.attacks.LinfBasicIterativeAttack(rel_stepsize=0.1, steps=10, random_start=False),
        "bim_l2": lambda: foolbox.attacks.L2BasicIterativeAttack(rel_stepsize=0.1, steps=10, random_start=False),
        "pgd": lambda: foolbox.attacks.LinfPGD(rel_stepsize=0.25, steps=10),
    }
    if name not in known:
        return None
    attack, model = known[name](), foolbox.PyTorchModel(network, bounds=(0, 1), device=images.device)
    return lambda: attack.run(model, images, labels, epsilon=EPSILON)


def with_art(name: str, network: nn.Module, images: Tensor, labels: Tensor) -> Run | None:
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    steps = {"eps": EPSILON, "eps_step": EPSILON / 10, "max_iter": 10, "verbose": False}
    known = {
        "fgsm": (evasion.FastGradientMethod, {"eps": EPSILON}),
        "bim": (evasion.BasicIterativeMethod, steps),
        "bim_l2": (evasion.ProjectedGradientDescent, {**steps, "norm": 2}),
        "pgd": (evasion.ProjectedGradientDescent, {**steps, "eps_step": EPSILON / 4, "num_random_init": 1}),
        "mi_fgsm": (evasion.MomentumIterativeMethod, steps),
    }
    if name not in known:
        return None
    kind, options = known[name]
    shape = tuple(images.shape[1:])
    device = "gpu" if images.is_cuda else "cpu"
    classifier = PyTorchClassifier(
        network, nn.CrossEntropyLoss(), shape, 10, clip_values=(0.0, 1.0), device_type=device
    )
    attack = kind(classifier, batch_size=len(images), **options)
    inputs, classes = images.cpu().numpy(), labels.cpu().numpy()
    return lambda: attack.generate(inputs, classes)


PEERS = {"torchattacks": with_torchattacks, "Foolbox": with_foolbox, "ART": with_art}


# -- counting and timing ---------------------------------------------------------------------------------------------


class Counted(nn.Module):
    """A network that counts the batches of images that pass it forwards and backwards."""

    def __init__(self, network: nn.Module, batch: int) -> None:
        super().__init__()
        self.network, self.batch = network, batch
        self.forwards = self.backwards = 0.0

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += len(images) / self.batch
        logits: Tensor = self.network(images)
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient) / self.batch


def passes(attack: AttackCard, network: nn.Module, images: Tensor, labels: Tensor, epsilons: list[float]) -> str:
    counted = Counted(network, len(images))
    for _ in craft(attack, [counted], images, labels, epsilons):
        pass
    # Rounded, because a single image is passed once more to check that the network answers it in one way.
    assert round(counted.forwards) == round(counted.backwards)
    return f"{round(counted.forwards)} ({ideal(attack.name, len(epsilons))})"


def ideal(name: str, epsilons: int) -> int:
    """E K with the multipliers of the attack; FGSM one for all epsilons."""
    steps = 1 if name == "fgsm" else 10 * epsilons
    return steps * {"si_ni_fgsm": 5, "vmi_fgsm": 21}.get(name, 1)


def paired(runs: dict[str, Run], seconds: float) -> dict[str, list[float]]:
    """Run all competitors round after round; at least seven rounds, then until time is up.

    Each round has an order of its own: whoever runs after ART finds the caches emptied.
    """
    order = random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for run in runs.values():
        run()
    begun, rounds = time.perf_counter(), 0
    while rounds < 7 or (time.perf_counter() - begun < seconds and rounds < 401):
        for name in order.sample(names, len(names)):
            clock = time.process_time()
            runs[name]()
            times[name].append(time.process_time() - clock)
        rounds += 1
    return times


def ratio(times: dict[str, list[float]], name: str) -> str:
    if name not in times:
        return "–"
    ratios = [ours / other for ours, other in zip(times["ours"], times[name], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def attack_rows(names: list[str], network: nn.Module, images: Tensor, labels: Tensor, seconds: float) -> Iterator[str]:
    workspace, hand = Workspace(), ByHand(network, images, labels)
    for name in names:
        attack = workspace.attacks[name]
        runs: dict[str, Run] = {
            "ours": lambda attack=attack: list(craft(attack, [network], images, labels, [EPSILON])),
            "by hand": getattr(hand, name),
        }
        for peer, make in PEERS.items():
            run = make(name, network, images, labels)
            if run is not None:
                runs[peer] = run
        times = paired(runs, seconds)
        counts = [passes(attack, network, images[:4], labels[:4], SWEEP[:count]) for count in (1, 4)]
        cells = [attack.label, *counts, str(len(times["ours"])), f"{1e3 * statistics.median(times['ours']):.1f}"]
        cells += [ratio(times, other) for other in ("by hand", *PEERS)]
        yield f"| {' | '.join(cells)} |"


def sweep_rows(network: nn.Module, targets: list[nn.Module], images: Tensor, labels: Tensor, seconds: float):
    """An FGSM sweep over 20 epsilons whose images every target scores; by hand, one gradient serves all of them.

    Ours runs on the networks as sweeps load them, with channels last; the others get them as they were built.
    """
    import foolbox
    import torchattacks
    from art.attacks.evasion import FastGradientMethod
    from art.estimators.classification import PyTorchClassifier

    fgsm = Workspace().attacks["fgsm"]

    def score(adversarial: Tensor, by: list[nn.Module] = targets) -> None:
        with torch.inference_mode():
            for target in by:
                target(adversarial).argmax(1)

    surrogate, *loaded = (copy.deepcopy(one).to(memory_format=MEMORY_FORMAT) for one in (network, *targets))

    def ours() -> None:
        for crafted in craft(fgsm, [surrogate], images, labels, SWEEP):
            score(crafted.images, loaded)

    def by_hand() -> None:
        slope = ByHand(network, images, labels).slope(images).sign()
        for epsilon in SWEEP:
            score((images + epsilon * slope).clamp(0, 1))

    def by_torchattacks() -> None:
        for epsilon in SWEEP:
            attack = torchattacks.FGSM(network, eps=epsilon)
            attack.set_device(images.device)
            score(attack(images, labels))

    def by_foolbox() -> None:
        model = foolbox.PyTorchModel(network, bounds=(0, 1), device=images.device)
        for epsilon in SWEEP:
            score(foolbox.attacks.LinfFastGradientAttack().run(model, images, labels, epsilon=epsilon))

    def by_art() -> None:
        shape, inputs = tuple(images.shape[1:]), images.numpy()
        classifier = PyTorchClassifier(
            network, nn.CrossEntropyLoss(), shape, 10, clip_values=(0.0, 1.0), device_type="cpu"
        )
        for epsilon in SWEEP:
            attack = FastGradientMethod(classifier, eps=epsilon, batch_size=len(images))
            score(torch.from_numpy(attack.generate(inputs, labels.numpy())))

    runs: dict[str, Run] = {"ours": ours, "by hand": by_hand, "torchattacks": by_torchattacks}
    runs |= {"Foolbox": by_foolbox, "ART": by_art}
    times = paired(runs, seconds)
    cells = [str(len(targets)), str(len(times["ours"])), f"{1e3 * statistics.median(times['ours']):.0f}"]
    cells += [ratio(times, other) for other in ("by hand", *PEERS)]
    yield f"| {' | '.join(cells)} |"


def processor() -> str:
    """Name this machine's processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def report(name: str, options: argparse.Namespace) -> Iterator[str]:
    """Yield the lines about one data set's images."""
    dataset = load_dataset(name)
    images, labels = dataset.test.images[: options.images], dataset.test.labels[: options.images]
    spec = NetworkSpec(preset=options.network)
    networks = [
        build_network(spec, dataset.image_shape, len(dataset.classes), keyed_generator(seed, "benchmark")).eval()
        for seed in range(2)
    ]
    if options.foreign:
        networks = [nn.Sequential(network).eval() for network in networks]
    yield f"## {len(images)} images of {name}{', a network of another kind' if options.foreign else ''}\n"
    heads = ["passes, 1 ε (ideal)", "passes, 4 ε (ideal)", "rounds", "ms", "by hand", *PEERS]
    yield f"| attack | {' | '.join(heads)} |\n|---{'|---:' * len(heads)}|"
    yield from attack_rows(options.attacks, networks[0], images, labels, options.seconds)
    yield "\nFGSM at 20 epsilons, scored by every target; ours on networks as sweeps load them, with channels last:\n"
    yield f"| targets | rounds | ms | by hand | {' | '.join(PEERS)} |\n|---:|---:|---:|---:|---:|---:|---:|"
    for count in (1, 2):
        yield from sweep_rows(networks[0], networks[:count], images, labels, options.seconds)
    yield ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", nargs="+", default=["fashion_mnist"], help="whose test images are attacked")
    parser.add_argument("--network", default="small_cnn", help="a network preset")
    parser.add_argument("--foreign", action="store_true", help="craft as on any nn.Module: images keep their layout")
    parser.add_argument("--attacks", nargs="+", default=list(ATTACKS), choices=ATTACKS, metavar="ATTACK")
    parser.add_argument("--images", type=int, default=100, help="images per batch")
    parser.add_argument("--seconds", type=float, default=20.0, help="time per line, at least seven rounds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", type=Path, help="also write the tables to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    logging.getLogger("art").setLevel(logging.ERROR)

    version = torch.__version__.split("+")[0]
    lines = [
        f"`{options.network}` on {processor()}, {options.threads} thread(s), torch {version}. "
        "Ratios are our time by theirs: median (quartiles).\n"
    ]
    print(lines[0])
    for dataset in options.dataset:
        for line in report(dataset, options):
            print(line, flush=True)
            lines.append(line)
    if options.markdown:
        options.markdown.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
