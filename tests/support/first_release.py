"""The run folder of the first release that must stay readable."""

from pathlib import Path

from robustbench_ekdaa.cards import SweepSpec

# Cards, a run that the first release wrote, and what it exported.
RELEASED = Path(__file__).parents[1] / "scoring" / "first_release"
RELEASED_SPEC = SweepSpec(
    datasets=("digits",),
    models=("quick_bp", "quick_ekdaa"),
    attacks=("fgsm", "ens_fgsm", "noise"),
    epsilons=(0, 0.1, 0.2),
    images=20,
    seeds=2,
    batch_size=32,
)
