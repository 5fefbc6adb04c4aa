"""The plan of a sweep: which images, which surrogates, and what is still to do; nothing is trained for it."""

import pytest

from robustbench_ekdaa.cards import SweepSpec
from robustbench_ekdaa.data import load_dataset
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.scoring.plan import ImageSet, SurrogateSet, ensemble_key, model_jobs, plan_sweep, refuse_twins
from robustbench_ekdaa.storing.keys import ExistingOutcomes, OutcomeKey

DIGITS = load_dataset("digits")


@pytest.fixture
def plan(workspace):
    spec = SweepSpec(
        datasets=("digits",),
        targets=("quick_bp",),
        surrogates=("quick_bp", "quick_ekdaa"),
        attacks=("fgsm", "ens_fgsm", "noise"),
        epsilons=(0, 0.1, 0.2),
        images=20,
        seeds=2,
    )
    return plan_sweep(spec, workspace, DIGITS)


def test_more_images_extend_fewer_and_all_is_the_default():
    few, more, every = (ImageSet.choose(DIGITS, count, 0) for count in (5, 9, None))
    assert few.indices.tolist() == more.indices[:5].tolist() == every.indices[:5].tolist()
    total = len(DIGITS.test)
    assert sorted(every.indices.tolist()) == list(range(total))
    assert ImageSet.choose(DIGITS, total, 0).key == every.key
    others = ImageSet.choose(DIGITS, 5, 1)
    assert others.indices.tolist() != few.indices.tolist()
    assert len({few.key, more.key, every.key, others.key}) == 4
    with pytest.raises(UsageError, match=rf"digits has {total} test images \(got {total + 1}\)"):
        ImageSet.choose(DIGITS, total + 1, 0)


def test_a_plan_knows_each_model_once_and_each_attacks_surrogates(plan):
    names = [(job.card.name, job.seed) for job in plan.models]
    assert names == [("quick_bp", 0), ("quick_bp", 1), ("quick_ekdaa", 0), ("quick_ekdaa", 1)]
    sets = {card.name: plan.surrogate_sets(card) for _, card in plan.attacks}
    assert [[job.seed for job in one.members] for one in sets["fgsm"]] == [[0], [1], [0], [1]]
    assert [{(job.card.name, job.seed) for job in one.members} for one in sets["ens_fgsm"]] == [
        {("quick_bp", seed), ("quick_ekdaa", seed)} for seed in (0, 1)
    ]
    assert [one.members for one in sets["noise"]] == [()]
    labels = [one.label for one in (sets["fgsm"][1], sets["ens_fgsm"][1], sets["noise"][0])]
    assert labels == ["quick_bp seed 1", "quick_bp+quick_ekdaa seed 1", "nobody"]
    roles = plan.roles()
    assert roles.targets == [job.key for job in plan.models[:2]]
    assert roles.surrogates == [job.key for job in plan.models]
    assert roles.epsilons == [0, 0.1, 0.2]
    assert list(roles.ensembles) == [one.key for one in plan.ensembles]
    assert roles.imports is None


def test_the_order_in_which_models_are_named_does_not_change_their_ensemble(plan):
    one, other = plan.models[0], plan.models[2]
    there, back = SurrogateSet.ensemble([one, other]), SurrogateSet.ensemble([other, one])
    assert there.key == back.key == ensemble_key(sorted([one.key, other.key]))
    assert SurrogateSet((one,)).key == one.key
    assert SurrogateSet().key is None


def test_only_what_is_missing_is_crafted_and_never_at_epsilon_zero(plan):
    whole = plan.craft_jobs(ExistingOutcomes(), set())
    assert [job.label.partition(" on ")[0] for job in whole] == ["fgsm"] * 4 + ["ens_fgsm"] * 2 + ["noise"]
    assert whole[-1].label == "noise"
    assert all([epsilon for epsilon, _ in job.wanted] == [0.1, 0.2] for job in whole)
    assert all(len(targets) == 2 for job in whole for _, targets in job.wanted)
    first = whole[0]
    stored = {OutcomeKey(first.surrogates.key, first.attack_key, 0.1, target.key) for target in plan.targets}
    assert [epsilon for epsilon, _ in plan.craft_jobs(ExistingOutcomes.of(stored), set())[0].wanted] == [0.2]
    partly = set(list(stored)[:1])
    (_, missing), _ = plan.craft_jobs(ExistingOutcomes.of(partly), set())[0].wanted
    assert [target.key for target in missing] == [
        target.key for target in plan.targets if target.key not in {key.target for key in partly}
    ]


def test_nothing_is_crafted_on_or_scored_for_a_failed_model(plan):
    failed = plan.targets[1].key
    jobs = plan.craft_jobs(ExistingOutcomes(), {failed})
    assert [job.label.partition(" on ")[0] for job in jobs] == ["fgsm"] * 3 + ["ens_fgsm"] + ["noise"]
    assert {target.key for job in jobs for _, targets in job.wanted for target in targets} == {plan.targets[0].key}


def test_stored_outcomes_whose_images_are_not_saved_are_crafted_for_nobody(plan):
    stored = {
        OutcomeKey(job.surrogates.key, job.attack_key, epsilon, target.key)
        for job in plan.craft_jobs(ExistingOutcomes(), set())
        for epsilon, targets in job.wanted
        for target in targets
    }
    assert plan.craft_jobs(ExistingOutcomes.of(stored), set()) == []
    every = {(one.key, key): [0.1, 0.2] for key, card in plan.attacks for one in plan.surrogate_sets(card)}
    assert plan.craft_jobs(ExistingOutcomes.of(stored), set(), every) == []
    lost = {**every, next(iter(every)): [0.1]}
    (job,) = plan.craft_jobs(ExistingOutcomes.of(stored), set(), lost)
    assert job.wanted == ((0.2, ()),)


def test_two_names_of_one_model_and_one_name_of_two_are_refused(workspace):
    card = workspace.models["quick_bp"]
    twin = card.model_copy(update={"name": "twin"})
    other = workspace.models["quick_ekdaa"].model_copy(update={"name": "quick_bp"})
    refuse_twins(model_jobs([card, card], DIGITS, 2))
    with pytest.raises(UsageError, match="models quick_bp and twin are the same model"):
        refuse_twins(model_jobs([card, twin], DIGITS, 1))
    with pytest.raises(UsageError, match="two different model cards have the name quick_bp"):
        refuse_twins(model_jobs([card, other], DIGITS, 1))


def test_an_ensemble_of_one_card_and_an_epsilon_beyond_all_images_are_refused(workspace):
    spec = SweepSpec(datasets=("digits",), models=("quick_bp",), attacks=("ens_fgsm",), epsilons=(0, 0.1), seeds=2)
    with pytest.raises(UsageError, match="ens_fgsm: crafted on several surrogate cards together"):
        plan_sweep(spec, workspace, DIGITS)
    far = SweepSpec(datasets=("digits",), models=("quick_bp",), attacks=("fgsm",), epsilons=(0, 5))
    with pytest.raises(UsageError, match="attack fgsm: epsilon 5 is too large"):
        plan_sweep(far, workspace, DIGITS)
