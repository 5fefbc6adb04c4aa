"""The command line in a process of its own, and a sweep of seconds for it."""

import sys

PROGRAM = [sys.executable, "-c", "from robustbench_ekdaa.cli import main; main()"]
SWEEP = (
    "sweep --dataset digits --models quick_bp,quick_ekdaa --attacks fgsm,noise --epsilons 0:0.2:0.1 "
    "--images 40 --seeds 2"
)
