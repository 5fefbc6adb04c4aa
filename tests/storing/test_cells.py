"""Outcomes in blocks: bits that count right, and a store that says what was last written, in whatever order it came."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.storing import bits
from robustbench_ekdaa.storing.cells import Cell, Cells
from robustbench_ekdaa.storing.earlier_formats import EARLIER
from robustbench_ekdaa.storing.keys import CraftingKey, ExistingOutcomes, OutcomeKey
from robustbench_ekdaa.storing.outcomes import AttackRecord, DataRecord, ImageRecord, ModelRecord
from robustbench_ekdaa.storing.packing import Roles
from robustbench_ekdaa.storing.store import open_run, writing

from ..support.earlier_stores import as_earlier_format

IMAGES, FINGERPRINT, LABELS = "images", "data", np.arange(30) % 5
KEYS = tuple(f"model{number}" for number in range(4))
PLACES = [CraftingKey(surrogate, "fgsm", epsilon) for surrogate in (*KEYS[:2], None) for epsilon in (0.1, 0.2)]


@given(shape=st.tuples(st.integers(0, 3), st.integers(1, 200)), seed=st.integers(0, 99))
def test_bits_are_the_booleans_they_were_and_count_as_many(shape, seed):
    rows = np.random.default_rng(seed).random(shape) < 0.5
    some = bits.to_bits(rows)
    assert some.shape[-1] % 8 == 0
    np.testing.assert_array_equal(bits.from_bits(some, shape[1]), rows)
    np.testing.assert_array_equal(bits.how_many(some), rows.sum(-1))
    np.testing.assert_array_equal(bits._ONES[some].sum(-1), rows.sum(-1))  # how numpy 1 counts


def begin(store):
    roles = Roles(surrogates=list(KEYS[:2]), targets=list(KEYS), attacks=["fgsm"], epsilons=[0.0, 0.1, 0.2])
    images = ImageRecord(IMAGES, FINGERPRINT, np.arange(30), LABELS, np.zeros((1, 1, 2, 2), np.float32))
    data = DataRecord(FINGERPRINT, "made", "Made", tuple("abcde"))
    attack = AttackRecord("fgsm", "fgsm", "FGSM", "linf", {"kind": "attack"})
    store.add_sweep(data, images, [attack], {}, roles, "sweep")
    for seed, key in enumerate(KEYS):
        store.add_model(ModelRecord(key, key, "", "backprop", "made", seed, fingerprint=FINGERPRINT))
        store.add_outcomes(IMAGES, {OutcomeKey.clean(key): LABELS})


def drawn(seed):
    return np.random.default_rng(seed).integers(0, 6, len(LABELS))  # 5 stands for no number


def read(run):
    """What a store says: the predictions, and how often target and surrogate err alike where that is known."""
    (outcomes,) = open_run(run)
    counted = {
        block.crafting.of(target): int(number)
        for block, answers in outcomes.cells.answers(range(len(outcomes.cells.blocks)))
        for target, number in zip(block.targets, answers.agreeing, strict=True)
    }
    return {cell.key: cell.predictions.tolist() for cell in outcomes.cells}, counted


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    jobs=st.lists(
        st.dictionaries(
            st.tuples(st.sampled_from(PLACES), st.sampled_from(KEYS)), st.integers(0, 9), min_size=1, max_size=8
        ),
        max_size=6,
    )
)
def test_a_store_says_what_was_last_written_whatever_the_order_and_the_company(tmp_path_factory, jobs):
    run, wanted = tmp_path_factory.mktemp("run"), {}
    with writing(run) as store:
        begin(store)
        for job in jobs:
            outcomes = {crafting.of(target): drawn(seed) for (crafting, target), seed in job.items()}
            store.add_outcomes(IMAGES, outcomes)
            wanted |= outcomes
        assert set(store.stored(IMAGES)) == {*wanted, *map(OutcomeKey.clean, KEYS)}
    said, counted = read(run)
    assert said == {key: predictions.tolist() for key, predictions in wanted.items()}
    for key, number in counted.items():
        own = wanted.get(key._replace(target=key.surrogate))
        if own is None:
            assert number == -1
        else:
            assert number == sum(a == b != c for a, b, c in zip(wanted[key], own, LABELS, strict=True))


@pytest.mark.parametrize("version", [one for one in EARLIER if one > 1])
def test_a_store_of_an_earlier_format_says_the_same_before_and_after_it_is_written_to(tmp_path, version):
    with writing(tmp_path / "today") as store:
        begin(store)
        store.add_outcomes(IMAGES, {place.of(key): drawn(7) for place in PLACES for key in KEYS})
    as_earlier_format(tmp_path / "today", tmp_path / "earlier", version)
    before = (tmp_path / "earlier" / "results.sqlite").read_bytes()
    assert read(tmp_path / "earlier") == read(tmp_path / "today")
    assert (tmp_path / "earlier" / "results.sqlite").read_bytes() == before
    with writing(tmp_path / "earlier") as store:
        assert set(store.stored(IMAGES)) == {place.of(key) for place in PLACES for key in KEYS} | {
            OutcomeKey.clean(key) for key in KEYS
        }
    assert read(tmp_path / "earlier") == read(tmp_path / "today")


def test_results_that_were_opened_stay_readable_while_others_write_and_say_so_when_rows_are_gone(tmp_path):
    with writing(tmp_path) as store:
        begin(store)
        store.add_outcomes(IMAGES, {PLACES[0].of(key): drawn(1) for key in KEYS[:2]})
    (held,) = open_run(tmp_path)
    with writing(tmp_path) as store:
        store.add_outcomes(IMAGES, {PLACES[1].of(key): drawn(2) for key in KEYS})
        assert [cell.predictions.tolist() for cell in held.cells] == [drawn(1).tolist()] * 2
        store.add_outcomes(IMAGES, {PLACES[0].of(KEYS[0]): drawn(3)})
    with pytest.raises(UsageError, match=r"results.sqlite.*lack a row"):
        list(held.cells)


def test_cells_in_memory_are_a_sequence_and_the_later_of_two_counts():
    cells = [Cell("s", target, "fgsm", 0.1, drawn(seed)) for seed, target in enumerate("abca")]
    held = Cells.of(cells, LABELS)
    assert len(held) == 3
    assert [cell.target for cell in held] == ["a", "b", "c"]
    assert held[0].predictions.tolist() == drawn(3).tolist()
    assert [cell.target for cell in held[1:]] == ["b", "c"]
    assert held.has(CraftingKey("s", "fgsm", 0.1), "b")
    assert not held.has(CraftingKey("s", "fgsm", 0.2), "b")


def test_existing_outcomes_are_asked_for_by_crafting_or_by_key():
    keys = [*(PLACES[0].of(key) for key in KEYS[:2]), OutcomeKey.clean(KEYS[3])]
    there = ExistingOutcomes.of(keys)
    assert there.targets(PLACES[0]) == set(KEYS[:2])
    assert (there.targets(None), there.targets(PLACES[1])) == ({KEYS[3]}, frozenset())
    assert set(there) == set(keys)
    assert len(there) == 3
    assert all(key in there for key in keys)
    assert PLACES[0].of(KEYS[2]) not in there
