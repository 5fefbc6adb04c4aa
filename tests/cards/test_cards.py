"""Cards: what is wrong is named by file, field and reason; the content is the identity."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ekdaa.cards import AttackCard, SweepSpec, Workspace, check, content_hash, read_card, read_sweep
from robustbench_ekdaa.cli.parsing import parse_epsilons
from robustbench_ekdaa.errors import UsageError

from ..support.right_cards import MODEL, write


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "learning_rate = 0.1",
            "learning_rate = -0.1",
            "training.default.learning_rate: must be greater than 0 (got -0.1)",
        ),
        ("learning_rate = 0.1", "", "training.default.learning_rate: is missing"),
        (
            "epochs = 2",
            "epochs = 2.5",
            "training.default.epochs: must be a whole number (got 2.5), line 7",
        ),
        ("epochs = 2", "epoch = 2", "training.default.epochs: is missing"),
        ("epochs = 2", "epochs = 2\nspeed = 3", "training.default.speed: unknown field"),
        ('preset = "small_cnn"', "", "network: give either preset, blocks or factory"),
        ('name = "mine"', 'name = "other"', "name: must be the file's name, 'mine' (got 'other')"),
        ('kind = "model"', 'kind = "modell"', "kind: must be one of model, recipe, attack, suite (got 'modell')"),
        ('rule = "backprop"', "rule = backprop", "not valid TOML"),
        (
            "learning_rate = 0.1",
            "learning_rate = nan",
            "training.default.learning_rate: must be a finite number (got nan)",
        ),
    ],
)
def test_a_bad_card_names_file_field_and_reason_in_one_line(tmp_path, monkeypatch, old, new, message):
    monkeypatch.chdir(tmp_path)
    assert old in MODEL
    path = write(tmp_path, MODEL.replace(old, new))
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        read_card(path)
    assert str(caught.value).startswith("models/mine.toml: " if path.is_absolute() else "")
    assert "\n" not in str(caught.value)


def test_every_card_of_the_package_reads_and_has_a_title_and_a_recipe_for_every_data_set():
    workspace = Workspace()
    for shelf in (workspace.models, workspace.attacks, workspace.suites):
        assert shelf.names()
        for name in shelf.names():
            assert shelf[name].title, f"{name} has no title"
    for name in workspace.models.names():
        for dataset in ("digits", "fashion_mnist", "cifar10", "svhn", "anything else"):
            assert workspace.models[name].recipe(dataset).epochs > 0
    for name in workspace.suites.names():
        assert workspace.expand_attacks([name])


SHARED = MODEL.replace(
    "[training.default]", '[training]\nsvhn = { as = "default", notes = "carried over" }\n[training.default]'
)


def test_a_recipe_taken_from_another_data_set_is_that_recipe_to_the_bit_of_its_identity(tmp_path):
    card = read_card(write(tmp_path, SHARED))
    assert card.recipe("svhn").notes == "carried over"
    written_out = MODEL + MODEL[MODEL.index("[training.default]") :].replace("default", "svhn")
    assert card.identity("svhn") == read_card(write(tmp_path, written_out)).identity("svhn")
    assert card.identity("svhn") == card.identity("default")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('as = "default"', 'as = "cifar"', "training.svhn.as: must name a recipe that this card writes out (default"),
        ('as = "default"', 'as = "svhn"', "training.svhn.as: must name a recipe that this card writes out (default"),
        ('as = "default"', "as = []", "training.svhn.as: must name a recipe that this card writes out (default"),
        ('as = "default"', 'as = "default", epochs = 3', "training.svhn.epochs: a recipe is taken whole"),
        ('notes = "carried over"', "notes = 3", "training.svhn.notes: must be text (got 3)"),
        ("[training]", '[training]\ncifar10 = { as = "svhn" }', "training.cifar10.as: must name"),
        ("epochs = 2", "epochs = 0", "training.default.epochs: must be greater than 0 (got 0)"),
        ("learning_rate = 0.1", 'as = "svhn"', "must name a recipe that this card writes out (there is none"),
    ],
)
def test_a_recipe_refers_to_one_that_is_written_out_and_to_nothing_else(tmp_path, monkeypatch, old, new, message):
    monkeypatch.chdir(tmp_path)
    assert old in SHARED
    with pytest.raises(UsageError, match="models/mine.toml: .*" + re.escape(message)):
        read_card(write(tmp_path, SHARED.replace(old, new)))


NOTES = MODEL.replace("[training.default]", '[training]\nsvhn = { notes = "not tuned" }\n[training.default]')


def test_a_data_set_with_notes_alone_takes_the_default_recipe(tmp_path):
    card = read_card(write(tmp_path, NOTES))
    assert (card.recipe("svhn").notes, card.recipe("svhn").epochs) == ("not tuned", 2)
    assert card.identity("svhn") == card.identity("default") == read_card(write(tmp_path, SHARED)).identity("svhn")
    assert card.at_recipe("svhn").endswith("mine.toml: training.default")
    taken = NOTES.replace("[training.default]", 'default = { as = "digits" }\n[training.digits]')
    card = read_card(write(tmp_path, taken))
    assert card.identity("svhn") == card.identity("anything") == card.identity("digits")
    assert card.at_recipe("svhn").endswith("mine.toml: training.digits")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[training.default]", "[training.digits]", "training.svhn.epochs: is missing"),
        ('notes = "not tuned"', "", "training.svhn.epochs: is missing"),
        ('notes = "not tuned"', 'notes = "not tuned", batch_size = 3', "training.svhn.epochs: is missing"),
        ('notes = "not tuned"', "notes = 3", "training.svhn.notes: must be text (got 3)"),
        ("epochs = 2\nlearning_rate = 0.1", 'notes = "a"', "training.default.epochs: is missing"),
        ("epochs = 2", "epochs = 0", "training.default.epochs: must be greater than 0 (got 0)"),
    ],
)
def test_notes_alone_are_no_recipe_where_there_is_no_default(tmp_path, monkeypatch, old, new, message):
    monkeypatch.chdir(tmp_path)
    assert old in NOTES
    with pytest.raises(UsageError, match="^models/mine.toml: " + re.escape(message)):
        read_card(write(tmp_path, NOTES.replace(old, new)))


def test_every_card_of_the_package_has_recipes_for_the_four_and_says_that_svhns_is_not_tuned():
    models = Workspace().models
    for name in models.names():
        card = models[name]
        assert "carried over from cifar10; not tuned" in card.recipe("svhn").notes, name
        assert card.identity("svhn") == card.identity("cifar10")
        if name != "backprop_adversarial":  # its epsilon is larger on grey images
            assert card.identity("fashion_mnist") == card.identity("cifar10")
        assert card.identity("digits") != card.identity("cifar10")


def test_an_unknown_name_answers_with_the_nearest_right_ones():
    workspace = Workspace()
    with pytest.raises(UsageError, match=r"unknown attack 'mi_fgms'. Did you mean mi_fgsm"):
        workspace.expand_attacks(["mi_fgms"])
    with pytest.raises(UsageError, match=r"unknown model 'ekda'. Did you mean ekdaa.* `robustbench-ekdaa list models`"):
        workspace.models["ekda"]


def test_a_workspaces_card_goes_before_the_packages(tmp_path):
    write(tmp_path, MODEL.replace("mine", "backprop"), "backprop")
    assert Workspace(tmp_path).models["backprop"].training["default"].epochs == 2
    assert "ekdaa" in Workspace(tmp_path).models.names()


def test_titles_and_order_are_no_part_of_the_identity_but_every_number_is(tmp_path):
    def identity(text):
        return content_hash(read_card(write(tmp_path, text)).identity("digits"))

    assert identity(MODEL) == identity(MODEL + 'notes = "easy"\n') == identity('title = "Mine"\n' + MODEL)
    assert identity(MODEL) == identity(MODEL + "batch_size = 64\n")  # the default, written out
    assert identity(MODEL) != identity(MODEL.replace("0.1", "0.2"))


def test_the_source_of_a_plugged_in_rule_is_part_of_the_identity(tmp_path):
    card = MODEL.replace('rule = "backprop"', 'rule = "mine.py:Mine"')
    path = write(tmp_path, card)
    (tmp_path / "models" / "mine.py").write_text("class Mine: pass\n")
    before = read_card(path).identity("digits")
    (tmp_path / "models" / "mine.py").write_text("class Mine: beta = 2\n")
    assert read_card(path).identity("digits") != before


def test_reading_a_card_runs_no_code(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Mine: pass\n")
    path = write(tmp_path, MODEL.replace('rule = "backprop"', 'rule = "mine.py:Mine"'))
    read_card(path).identity("digits")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("epsilon", 0.3),
        ("epsilon / steps", 0.03),
        ("2.5 * epsilon / steps", 0.075),
        ("epsilon / 4", 0.075),
        (0.01, 0.01),
    ],
)
def test_a_step_size_is_a_number_or_a_share_of_epsilon(text, at):
    card = AttackCard(kind="attack", name="a", steps=10, step_size=text)
    assert card.step_for(0.3) == pytest.approx(at)


@pytest.mark.parametrize("text", ["epsilon * 2", "__import__('os')", "2epsilon", "", -1.0, 0])
def test_a_step_size_of_another_form_is_refused(text):
    with pytest.raises(UsageError, match="step_size: must be"):
        check(AttackCard, {"kind": "attack", "name": "a", "step_size": text}, "card")


@given(start=st.integers(0, 50), count=st.integers(0, 200), step=st.integers(1, 50))
def test_an_epsilon_range_includes_both_ends_exactly(start, count, step):
    values = parse_epsilons(f"{start / 100:.2f}:{(start + count * step) / 100:.2f}:{step / 100:.2f}")
    assert values == [float(f"{(start + number * step) / 100:.2f}") for number in range(count + 1)]


@pytest.mark.parametrize("text", ["", "a,b", "0.1,,0.2", "0:1", "0:1:0", "1:0:0.1", "0:1:-1", "0:1:1e-9", "nan:1:1"])
def test_a_bad_epsilon_list_is_one_clear_line(text):
    with pytest.raises(UsageError, match=r"^--epsilons: [^\n]+$"):
        parse_epsilons(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilons": [-0.1]}, "sweep: epsilons: an epsilon must not be negative (got -0.1)"),
        ({"epsilons": [0.1, 0.1]}, "sweep: epsilons: an epsilon is given twice"),
        ({"epsilons": [float("inf")]}, "sweep: epsilons: an epsilon must be a number from 0 up"),
        ({"epsilons": []}, "sweep: epsilons: must"),
        ({"models": []}, "sweep: name at least one model: models is empty"),
        ({"models": ["a"], "targets": []}, "sweep: name at least one model"),
        ({"seeds": 0}, "sweep: seeds: must be greater than 0 (got 0)"),
        ({"imagess": 5}, "sweep: imagess: unknown field"),
    ],
)
def test_a_bad_sweep_names_its_field(change, message):
    table = {"datasets": ["digits"], "models": ["backprop"], "attacks": ["fgsm"], "epsilons": [0.1], **change}
    with pytest.raises(UsageError, match=re.escape(message)):
        check(SweepSpec, table, "sweep")


def test_epsilon_zero_is_always_there_and_float_noise_makes_no_second_epsilon():
    table = {"datasets": ["digits"], "models": ["backprop"], "attacks": ["fgsm"], "epsilons": [3 * 0.1, 0.1]}
    assert check(SweepSpec, table, "sweep").epsilons == (0.0, 0.1, 0.3)


def test_a_sweep_file_reads_like_the_flags(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text('datasets = ["digits"]\nmodels = ["ekdaa"]\nattacks = ["fgsm"]\nepsilons = [0, 0.1]\nimages = 7\n')
    spec = read_sweep(path)
    assert (spec.surrogate_names, spec.target_names, spec.images) == (("ekdaa",), ("ekdaa",), 7)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        read_sweep(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_sweep(tmp_path / "absent.toml")


def test_a_text_that_a_card_leaves_out_is_none_and_runs_store_it_as_they_always_have(tmp_path):
    card = read_card(write(tmp_path, 'title = ""\n' + MODEL))
    assert (card.title, card.paper, card.notes, card.training["default"].notes) == (None, None, None, None)
    assert card.label == "mine"
    stored = AttackCard(kind="attack", name="a").model_dump(mode="json")
    assert (stored["title"], stored["paper"], stored["notes"]) == ("", "", "")
