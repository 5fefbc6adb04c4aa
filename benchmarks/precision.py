"""What mixed precision changes: the same attacks crafted with layers in float32 and in bfloat16.

    python benchmarks/precision.py --dataset digits

Trains two backprop models (or takes them from a run), crafts on the first, and scores both with float32 layers. It
prints a Markdown table. The ratio of times is the median over three rounds of bfloat16's time by float32's; what
bfloat16 saves depends on whether the GPU (``--device cuda``) or CPU has units for it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import torch
from torch import Tensor, nn

import robustbench_ekdaa as rb
from robustbench_ekdaa.cards import AttackCard, Workspace
from robustbench_ekdaa.crafting import craft
from robustbench_ekdaa.data import load_dataset


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.inference_mode():
        return 100 * float((network(images).argmax(1) == labels).float().mean())


def crafted(attack: AttackCard, network: nn.Module, images: Tensor, labels: Tensor, epsilon: float, precision: str):
    """Return the images and the seconds they took."""
    clock = time.perf_counter()
    (batch,) = craft(attack, [network], images, labels, [epsilon], precision=precision)
    if images.is_cuda:
        torch.cuda.synchronize()
    return batch.images, time.perf_counter() - clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--epsilon", type=float, default=0.1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--run", help="a run folder whose models are used, and trained if missing (default: none kept)")
    options = parser.parse_args()

    split = load_dataset(options.dataset).test
    images = split.images[: options.images].to(options.device)
    labels = split.labels[: options.images].to(options.device)
    with tempfile.TemporaryDirectory() as scratch:
        run = options.run or scratch
        for seed in (0, 1):
            rb.train("backprop", options.dataset, seed, run)
        surrogate, target = (
            rb.load_model("backprop", options.dataset, seed, run).to(options.device) for seed in (0, 1)
        )
    print(f"{options.dataset}, {len(images)} images, epsilon {options.epsilon:g}, {options.device}\n")
    print("| attack | surrogate, float32 | bfloat16 | target, float32 | bfloat16 | pixels that differ | time ratio |")
    print("|---|---|---|---|---|---|---|")
    for name in ("fgsm", "bim", "pgd", "mi_fgsm", "vmi_fgsm"):
        attack = Workspace().attacks[name]
        ratios = []
        for _ in range(3):
            exact, slow = crafted(attack, surrogate, images, labels, options.epsilon, "float32")
            mixed, fast = crafted(attack, surrogate, images, labels, options.epsilon, "bfloat16")
            ratios.append(fast / slow)
        scores = [accuracy(network, each, labels) for network in (surrogate, target) for each in (exact, mixed)]
        differ = 100 * float(((exact - mixed).abs() > 1e-6).float().mean())
        shares, time_ratio = [*scores, differ], statistics.median(ratios)
        cells = [attack.label, *(f"{share:.1f} %" for share in shares), f"{time_ratio:.2f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
