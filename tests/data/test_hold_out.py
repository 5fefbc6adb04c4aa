from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ekdaa.data.hold_out import hold_out
from robustbench_ekdaa.randomness import keyed_generator


@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=80), share=st.floats(0, 1), seed=st.integers(0, 9))
def test_what_is_held_out_is_a_proportional_part_of_each_class(labels: list[int], share: float, seed: int) -> None:
    array, count = np.array(labels, dtype=np.int64), round(share * len(labels))
    kept, held = hold_out(array, count, keyed_generator(seed, "test"))
    assert len(held) == count
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert np.all(np.diff(kept) > 0)
    assert np.all(np.diff(held) > 0)
    for label in np.unique(array):
        exact = count / len(labels) * np.sum(array == label)
        assert abs(np.sum(array[held] == label) - exact) <= 1 + 1e-9


def test_each_seed_holds_other_images_out() -> None:
    labels = np.arange(100) % 2
    chosen = [tuple(hold_out(labels, 50, keyed_generator(seed, "test"))[1]) for seed in range(5)]
    assert len(set(chosen)) == 5
