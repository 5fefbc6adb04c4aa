"""Of everything that was replaced, only the newest form counts: sweeps written by hand, the newest first."""

import pytest

from robustbench_ekdaa.storing.keys import IMPORTED, CraftingKey
from robustbench_ekdaa.storing.outcomes import AttackRecord, DataRecord, ModelRecord
from robustbench_ekdaa.storing.packing import Roles
from robustbench_ekdaa.storing.sealed import Damaged
from robustbench_ekdaa.storing.selection import (
    Joined,
    Recorded,
    ShownImages,
    join_roles,
    known,
    newest_data,
    shown_images,
)

ATTACKS = {key: AttackRecord(key, name, "", "linf") for key, name in (("x1", "x"), ("x2", "x"), ("y1", "y"))}
MODELS = {
    key: ModelRecord(key, name, "", "rule", "digits", seed)
    for key, name, seed in (("a1", "a", 0), ("a2", "a", 0), ("b1", "b", 0), ("b3", "b", 1))
}


def sweep(images="i", data="d", spec=None, **roles):
    roles = {"surrogates": [], "targets": [], "attacks": [], "epsilons": [], **roles}
    return Recorded(data, images, {} if spec is None else spec, Roles(**roles), None)


def joined(*sweeps, **shown):
    return join_roles(sweeps, ShownImages("i", **shown), MODELS, ATTACKS)


def test_of_data_under_one_name_the_newest_sweeps_count():
    data = {key: DataRecord(key, name, "", ()) for key, name in (("d1", "d"), ("d2", "d"), ("e1", "e"))}
    assert newest_data([sweep(data="d2"), sweep(data="e1"), sweep(data="d1")], data) == {"d": "d2", "e": "e1"}
    with pytest.raises(Damaged, match="there is no data set 'gone'"):
        newest_data([sweep(data="gone")], data)


def test_the_newest_sweeps_images_are_shown_then_those_that_only_imports_have():
    sweeps = [
        sweep("i1", imports={"x1": None}),
        sweep("other", data="e"),
        sweep("i2"),
        sweep("i3"),
        sweep("i4", imports={"x2": None}),  # of a name that is shown on newer images
        sweep("i5", imports={"x2": None, "y1": None}),
        sweep("i2", imports={"y1": None}),
    ]
    shown = shown_images(sweeps, "d", ATTACKS)
    assert shown == [ShownImages("i2"), ShownImages("i1", imports_only=True), ShownImages("i5", imports_only=True)]
    assert shown_images(sweeps, "e", ATTACKS) == [ShownImages("other")]
    on_the_sweeps = [sweep("i2", imports={"y1": None}), sweep("i2")]
    assert shown_images(on_the_sweeps, "d", ATTACKS) == [ShownImages("i2")]


def test_the_roles_of_all_sweeps_are_joined_each_key_once():
    new = sweep(surrogates=["b1"], targets=["b1", "b3"], attacks=["x1"], epsilons=[0.2, 0.1], spec={"n": 2})
    old = sweep(surrogates=["b1", "b3"], targets=["a1"], attacks=["x1", "y1"], epsilons=[0.1, 0.05], spec={"n": 1})
    both = joined(new, sweep("j", targets=["a2"], spec={"n": 3}), old)
    assert (both.surrogates, both.targets) == (["b1", "b3"], ["b1", "b3", "a1"])
    assert (both.attacks, both.epsilons, both.spec) == (["x1", "y1"], [0.05, 0.1, 0.2], {"n": 2})
    assert both.models() == ["b1", "b3", "a1"]


def test_of_cards_that_changed_the_newest_form_counts_and_what_was_never_trained_does_not():
    new = sweep(targets=["a2", "untrained"], attacks=["x2"])
    old = sweep(targets=["a1", "b1"], attacks=["x1", "y1"], ensembles={"e1": ["a1", "b1"], "e2": ["a2", "b1"]})
    both = joined(new, old)
    assert (both.targets, both.attacks) == (["a2", "b1"], ["x2", "y1"])
    assert both.ensembles == {"e2": ["a2", "b1"]}
    with pytest.raises(Damaged, match="there is no attack 'gone'"):
        joined(sweep(attacks=["gone"]))


def test_an_import_on_an_older_ensemble_keeps_it_and_gives_its_specification_only_without_a_sweep():
    imported = {"imports": {"y1": "e1"}, "ensembles": {"e1": ["a1", "b1"]}, "spec": {"imports": 1}}
    both = joined(sweep(**imported), sweep(targets=["a2"], spec={"n": 1}))
    later = joined(sweep(targets=["a2"], spec={"n": 1}), sweep(**imported))
    assert both.ensembles == later.ensembles == {"e1": ["a1", "b1"]}
    assert (both.spec, later.spec) == ({"n": 1}, {"n": 1})
    assert both.imports == later.imports == {"y1": "e1"}
    alone = joined(sweep(targets=["a2"], spec={"n": 1}), sweep(**imported), imports_only=True)
    assert (alone.targets, alone.spec) == ([], {"imports": 1})


def test_the_newest_import_says_on_whom_images_were_crafted():
    assert joined(sweep(imports={"y1": "a1"}), sweep(imports={"y1": "b1"})).imports == {"y1": "a1"}


def test_models_are_targets_surrogates_members_and_whom_imports_were_crafted_on():
    whole = Joined(
        ["s", "t"], ["t"], ensembles={"e": ["m", "s"]}, imports={"1": "o", "2": None, "3": "e", "4": IMPORTED}
    )
    assert whole.models() == ["t", "s", "m", "o"]


def test_a_crafting_plays_a_part_where_surrogate_attack_and_epsilon_do():
    whole = Joined(["s"], [], ["x"], [0.1], {"e": ["s"]}, {"y": "o"})
    assert all(whole.play(CraftingKey(key, "x", 0.1)) for key in (None, "s", "e"))
    assert not any(whole.play(CraftingKey(*key)) for key in (("o", "x", 0.1), ("s", "z", 0.1), ("s", "x", 0.2)))
    assert whole.play(CraftingKey("o", "y", 0.7))
    assert not whole.play(CraftingKey("s", "y", 0.1))


def test_a_key_of_damage_is_named_by_its_first_forty_letters():
    with pytest.raises(Damaged, match=f"there is no model '{'k' * 40}'$"):
        known({}, "k" * 100, "model")
