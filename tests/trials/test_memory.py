"""A sweep that may use little more memory than it has to begin with: it says what failed, and with more it is finished.

The system refuses its process more data (RLIMIT_DATA) at a point that depends on the trial, as it does where other
programs have taken the memory. Rust, in which safetensors is written, then aborts the process: as good as a kill.
"""

from __future__ import annotations

import signal

from .rounds import trials
from .tool import How
from .workplace import SWEEP, proper

ROUNDS, LEAST, MOST = 50, 2**18, 2**24  # bytes


@trials(ROUNDS, samples=5)
def test_a_sweep_without_enough_memory_says_so_and_is_finished_with_more(cards, undisturbed, base, note, trial):
    place = cards.copy_to(base / "place")
    ended = place(f"{SWEEP} run", How(memory=round(LEAST * (MOST / LEAST) ** (trial / ROUNDS))))
    if ended.code != -signal.SIGABRT or "memory allocation of" not in ended.err:
        proper(ended)
    undisturbed.reached_by(place, f"{SWEEP} run --retry-failed")
    note(f"exit {ended.code}")
