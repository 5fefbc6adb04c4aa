"""What cards and sweeps may hold: each value of its own kind, bounded, named by field and line where it is wrong."""

import re
from decimal import Decimal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustbench_ekdaa.cards import (
    AttackCard,
    BlockSpec,
    ModelCard,
    NetworkSpec,
    Recipe,
    SweepSpec,
    check,
    content_hash,
    read_card,
    read_sweep,
)
from robustbench_ekdaa.cards.reading import line_of, parse_toml
from robustbench_ekdaa.cards.workspace import KINDS
from robustbench_ekdaa.errors import UsageError

from ..support.right_cards import ATTACK, MODEL, SWEEP, write

BLOCKS = MODEL.replace('preset = "small_cnn"', 'blocks = [{ layer = "conv", width = 4 }]')
MANY = "[" + "0, " * 2000 + "]"
LONG = '"' + "a" * 20_000 + '"'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs = 2", "epochs = true", "training.default.epochs: must be a whole number (got True), line 7"),
        ("epochs = 2", "epochs = 2.0", "training.default.epochs: must be a whole number (got 2.0), line 7"),
        ("epochs = 2", 'epochs = "2"', "training.default.epochs: must be a whole number (got '2'), line 7"),
        ("epochs = 2", "epochs = 2026-01-01", "training.default.epochs: must be a whole number (got 2026-01-01), li"),
        ("epochs = 2", "epochs = 10000000", "training.default.epochs: must be less than or equal to 1000000 (got 10"),
        ("epochs = 2", f"epochs = 0x{'f' * 5000}", "training.default.epochs: must be less than or equal to 1000000"),
        ("= 0.1", "= true", "training.default.learning_rate: must be a finite number (got True), line 8"),
        ("= 0.1", '= "0.1"', "training.default.learning_rate: must be a finite number (got '0.1'), line 8"),
        ("= 0.1", "= 1e999", "training.default.learning_rate: must be a finite number (got inf), line 8"),
        ("= 0.1", f"= 0x{'f' * 5000}", "training.default.learning_rate: must be a finite number (got something"),
        ("= 0.1", "= [0.1]", "training.default.learning_rate: must be a finite number (got [0.1]), line 8"),
        ("[network]", "[network]\nbias = 1", "network.bias: must be true or false (got 1), line 5"),
        ("[network]", f"[network]\nactivation = {LONG}", "network.activation: must have at most 1000 characters, li"),
        ('preset = "small_cnn"', "blocks = 3", "network.blocks: must be a list (got 3), line 5"),
        ('preset = "small_cnn"', "", "network: give either preset, blocks or factory, line 4"),
        ('rule = "backprop"', "rule = 3", "rule: must be text (got 3), line 3"),
        ("[training.default]\nepochs = 2\nlearning_rate = 0.1", "training = 3", "network.training: unknown field"),
        ("[training.default]", "[training]\ndefault = 3\n[training.other]", "training.default: must be a table (got"),
        ("= 0.1", f"= 0.1\nnotes = {LONG}", "training.default.notes: must have at most 10000 characters, line 9"),
        ("= 0.1", "= 0.1\noptimizer_options = { since = 2026-01-01 }", "optimizer_options: since: must be a number"),
        ("= 0.1", "= 0.1\nschedule_options = { at = [1, 07:32:00] }", "schedule_options: at.1: must be a number"),
        ("= 0.1", f"= 0.1\nschedule_options = {{ at = {MANY} }}", "schedule_options: 'at': too many values"),
        ("= 0.1", "= 0.1\n[rule_options]\nbeta = nan", "rule_options: beta: must be a finite number of at most 64 b"),
        ("= 0.1", "= 0.1\n[rule_options]\nbeta = 99999999999999999999", "rule_options: beta: must be a finite numbe"),
        ("= 0.1", "= 0.1\n[rule_options.a.b.c.d.e]\nf = 1", "rule_options: 'a': too many values, or tables"),
        ("= 0.1", f"= 0.1\n[rule_options]\nbeta = {LONG}", "rule_options: beta: must have 1,000 letters at most"),
        ('name = "mine"', 'name = ""', "name: must be 1 to 100 letters, digits"),
        ('name = "mine"', 'name = "a/b"', "name: must be 1 to 100 letters, digits"),
        ('name = "mine"', 'name = "a\\u001b[31m"', "start with a letter or digit (got 'a\\x1b[31m'), line 2"),
        ('name = "mine"', f'name = "{"a" * 101}"', "name: must be 1 to 100 letters, digits"),
        ('name = "mine"', "name = 3", "name: must be text (got 3), line 2"),
        ('kind = "model"', "kind = [[]]", "kind: must be one of model, recipe, attack, suite (got [[]])"),
        ('kind = "model"', f"kind = {LONG}", "kind: must be one of model, recipe, attack, suite (got 'aaa"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_or_size_in_a_model_card_is_named_by_field_and_line(
    tmp_path, monkeypatch, old, new, message
):
    assert_refused(tmp_path, monkeypatch, MODEL, old, new, message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("width = 4", "width = true", "network.blocks.0.width: must be a whole number (got True), line 5"),
        ("width = 4", "width = 9999999", "network.blocks.0.width: must be less than or equal to 1000000"),
        ("width = 4", "width = 4, kernel = 2001", "network.blocks.0.kernel: must be less than or equal to 255 (got"),
        ("width = 4", "width = 4, stride = 1000000", "network.blocks.0.stride: must be less than or equal to 255"),
        ("width = 4", "width = 4, pool_size = 1000", "network.blocks.0.pool_size: must be less than or equal to 255"),
        ("width = 4", "width = 4, padding = true", "network.blocks.0.padding: must be a whole number (got True)"),
        ("width = 4", "width = 4, padding = -1", "network.blocks.0.padding: must be 'same', or pixels from 0 to 255"),
        ("width = 4", 'width = 4, padding = "full"', "padding: must be 'same', or pixels from 0 to 255 (got 'full')"),
        ("width = 4", 'width = 4, bias = "yes"', "network.blocks.0.bias: must be true or false (got 'yes')"),
        ("width = 4", 'width = 4, pool = "mean"', "network.blocks.0.pool: must be 'none', 'max' or 'average' (got '"),
        ("blocks = [", "blocks = [" + '{ layer = "conv", width = 4 }, ' * 1001, "network.blocks: must have at most"),
    ],
)  # fmt: skip
def test_a_block_of_a_wrong_size_is_named_by_its_place(tmp_path, monkeypatch, old, new, message):
    assert_refused(tmp_path, monkeypatch, BLOCKS, old, new, message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 3", "steps = true", "steps: must be a whole number (got True), line 3"),
        ("steps = 3", "steps = 10000000", "steps: must be less than or equal to 1000000 (got 10000000), line 3"),
        ('"epsilon / steps"', "true", "step_size: must be a finite number (got True), line 4"),
        ('"epsilon / steps"', "[]", "step_size: must be a finite number (got []), line 4"),
        ('"epsilon / steps"', '"epsilon / 0"', "step_size: must not divide by 0 (got 'epsilon / 0'), line 4"),
        ('"epsilon / steps"', '"epsilon / 0.0"', "step_size: must not divide by 0"),
        ('"epsilon / steps"', '"0 * epsilon"', "step_size: must be greater than 0 (got '0 * epsilon')"),
        ('"epsilon / steps"', f'"{"9" * 5000} * epsilon"', "step_size: must be a number, or 'epsilon'"),
        ('"epsilon / steps"', '"٣ * epsilon"', "step_size: must be a number, or 'epsilon'"),
        ("steps = 3", 'steps = 3\nbackward = ["tanh:0.0"]', "backward: must hold 'zero', 'straight_through' or 'tan"),
        ("steps = 3", f'steps = 3\nbackward = ["tanh:{"9" * 400}"]', "backward: must hold 'zero'"),
        ("steps = 3", "steps = 3\nbackward = [1]", "backward.0: must be text (got 1), line 4"),
        ("steps = 3", "steps = 3\nbackward = []", "backward: must have at least 1 item"),
        ("decay = 0.5", "decay = 2026-01-01", "update: decay: must be a number, true or false"),
        ("decay = 0.5", f"decay = {MANY}", "update: 'decay': too many values"),
        ('component = "momentum"', "", "update.component: is missing, line 5"),
        ('component = "momentum"', "component = 3", "update.component: must be text (got 3), line 6"),
        ("[update]", "[[input]]\n" * 101 + "[update]", "input"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_or_size_in_an_attack_card_is_named_by_field_and_line(
    tmp_path, monkeypatch, old, new, message
):
    assert_refused(tmp_path, monkeypatch, ATTACK, old, new, message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[0, 0.1]", "[true, 0.1]", "epsilons: an epsilon must be a number from 0 up, such as 0.1 or '8/255' (got T"),
        ("[0, 0.1]", "[1e-13]", "epsilons: an epsilon must be 0, or at least 1e-12: smaller ones are 0 (got 1e-13)"),
        ("[0, 0.1]", "[2026-01-01]", "epsilons: an epsilon must be a number from 0 up, such as 0.1 or '8/255' (got"),
        ("[0, 0.1]", "0.1", "epsilons: must be a list of epsilons (got 0.1), line 4"),
        ("[0, 0.1]", MANY, "epsilons: there may be 1,000 epsilons at most, line 4"),
        ('["fgsm"]', '"fgsm"', "attacks: must be a list (got 'fgsm'), line 3"),
        ('["fgsm"]', "[3]", "attacks.0: must be text (got 3), line 3"),
        ('["fgsm"]', "[" + '"fgsm", ' * 1001 + "]", "attacks: must have at most 1000 items"),
        ('["fgsm"]', f"[{LONG}]", "attacks.0: must have at most 5000 characters"),
        ("models", "images = true\nmodels", "images: must be a whole number (got True), line 2"),
        ("models", "images = 1.5\nmodels", "images: must be a whole number (got 1.5), line 2"),
        ("models", "seeds = 1000000\nmodels", "seeds: must be less than or equal to 1000 (got 1000000), line 2"),
        ("models", "seed = -1\nmodels", "seed: must be greater than or equal to 0 (got -1), line 2"),
        ("models", "seed = 9223372036854775808\nmodels", "seed: must be less than 92233720368547"),
        ("models", "batch_size = 9999999\nmodels", "batch_size: must be less than or equal to 1000000"),
        ("models", "save_images = 1\nmodels", "save_images: must be true or false (got 1), line 2"),
        ("models", 'precision = "bf16"\nmodels', "precision: must be 'float32' or 'bfloat16' (got 'bf16'), line 2"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_or_size_in_a_sweep_is_named_by_field_and_line(tmp_path, old, new, message):
    assert old in SWEEP
    path = write(tmp_path, SWEEP.replace(old, new, 1), room=".")
    with pytest.raises(UsageError, match=re.escape(message)):
        read_sweep(path)


def assert_refused(tmp_path, monkeypatch, text, old, new, message):
    monkeypatch.chdir(tmp_path)
    assert old in text
    with pytest.raises(UsageError) as caught:
        read_card(write(tmp_path, text.replace(old, new, 1)))
    assert str(caught.value).startswith("models/mine.toml: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_where_a_float_is_meant_a_whole_number_will_do_and_is_the_same(tmp_path):
    def identity(rate):
        return content_hash(read_card(write(tmp_path, MODEL.replace("0.1", rate))).identity("digits"))

    assert identity("1") == identity("1.0") == identity("10e-1")
    sized = [read_card(write(tmp_path, ATTACK.replace('"epsilon / steps"', size))) for size in ("1", "1.0")]
    assert content_hash(sized[0].identity()) == content_hash(sized[1].identity())


def test_numbers_of_numpy_and_torch_are_numbers_in_cards_written_in_python():
    facts = {"datasets": ["digits"], "models": ["backprop"], "attacks": ["fgsm"], "epsilons": [0.1]}
    for three in (3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)):
        spec = SweepSpec(**facts, seeds=three, seed=three, images=three)
        assert spec == SweepSpec(**facts, seeds=3, seed=3, images=3)
        assert type(spec.seeds) is int
    for wrong in (True, 3.0, "3", None, np.bool_(True), np.float64(3), torch.tensor(True), torch.tensor(3.0), 3j, [3]):
        with pytest.raises(UsageError, match=r"^SweepSpec\.seed: must be a whole number \(got "):
            SweepSpec(**facts, seed=wrong)
    for tenth in (0.1, np.float32(0.1), np.float64(0.1), torch.tensor(0.1), Decimal("0.1")):
        assert AttackCard(kind="attack", name="a", step_size=tenth) == AttackCard(
            kind="attack", name="a", step_size=0.1
        )


def test_cards_written_in_python_say_what_is_wrong_in_one_line():
    with pytest.raises(UsageError, match=r"^BlockSpec\.width: must be greater than 0 \(got -1\)$"):
        BlockSpec(layer="conv", width=-1)
    with pytest.raises(UsageError, match=r"^AttackCard\.steps: must be a whole number \(got True\)$"):
        AttackCard(kind="attack", name="a", steps=True)
    with pytest.raises(UsageError, match=r"^AttackCard\.update\.component: is missing$"):
        AttackCard(kind="attack", name="a", update={"decay": 1.0})


def test_two_files_of_one_name_in_different_folders_are_both_part_of_an_attacks_identity(tmp_path):
    parts = "".join(f'[[gradient]]\ncomponent = "{folder}/part.py:part"\n' for folder in ("one", "two"))
    path = write(tmp_path, ATTACK.replace("[update]", parts + "[update]"))
    identities = set()
    for one, two in (("a", "b"), ("a", "c"), ("c", "b")):
        for folder, text in (("one", one), ("two", two)):
            (path.parent / folder).mkdir(exist_ok=True)
            (path.parent / folder / "part.py").write_text(f"part = {text!r}")
        identities.add(content_hash(read_card(path).identity()))
    assert len(identities) == 3


def test_the_line_of_a_field_is_found_or_left_out_but_never_wrong():
    text = 'a = """\nb = 3\n"""\n# b = 4\nb = 5\n[c.d]\ne = [\n  1,\n]\nf = { g = 1 }\n[[h]]\ni = 1\n[[h]]\ni = 2\n'
    for field, line in [
        (("b",), 5),
        (("c",), 6),
        (("c", "d"), 6),
        (("c", "d", "e"), None),  # no single line writes it
        (("c", "d", "f", "g"), 10),
        (("h", 0, "i"), 12),
        (("h", 1, "i"), 14),
        (("z",), None),
        ((), None),
    ]:
        assert line_of(text, field) == line


KEYS = st.sampled_from(
    sorted(
        {*ModelCard.model_fields, *AttackCard.model_fields, *SweepSpec.model_fields, *Recipe.model_fields}
        | {*NetworkSpec.model_fields, *BlockSpec.model_fields, "as", "default", "component", "mine"}
    )
)
WORDS = st.sampled_from(
    ["model", "attack", "suite", "mine", "small_cnn", "conv", "same", "linf", "epsilon / 2", "fgsm"]
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.dates(), st.datetimes(), st.times(), st.text(), WORDS
)
TABLES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=20
)
RECIPE = 'kind = "recipe"\nname = "mine"\n[training.default]\nepochs = 2\nlearning_rate = 0.1\n'
WHOLE = {
    "model": MODEL,
    "recipe": RECIPE,
    "attack": ATTACK,
    "suite": 'kind = "suite"\nname = "mine"\nattacks = ["fgsm"]\n',
}


@given(kind=st.sampled_from(sorted(KINDS)), changes=st.dictionaries(KEYS, TABLES, max_size=4))
def test_any_table_is_a_card_with_an_identity_or_a_usage_error(kind, changes):
    table = {**parse_toml(WHOLE[kind], "here"), **changes}
    try:
        card = check(KINDS[kind], table, "here")
    except UsageError as error:
        assert str(error).startswith("here: ") and "\n" not in str(error)  # noqa: PT017, PT018
        return
    if kind == "model":
        content_hash({key: value for key, value in card.model_dump(mode="python").items() if key != "path"})
    if kind == "attack":
        assert card.step_for(0.1) > 0


@given(changes=st.dictionaries(KEYS, TABLES, max_size=4))
def test_any_table_is_a_sweep_or_a_usage_error(changes):
    try:
        spec = check(SweepSpec, {**parse_toml(SWEEP, "here"), **changes}, "here")
    except UsageError:
        return
    assert spec.epsilons[0] == 0 and list(spec.epsilons) == sorted(set(spec.epsilons))  # noqa: PT018
    assert content_hash(spec.model_dump(mode="json"))


LINES = st.sampled_from(
    [*MODEL.splitlines(), *ATTACK.splitlines(), *SWEEP.splitlines(), "[[", "x = [", "'''", '"""', "\ufeff"]
)
TOML = st.one_of(st.binary(max_size=200), st.lists(LINES, max_size=15).map(lambda lines: "\n".join(lines).encode()))


@given(content=TOML)
def test_any_file_is_a_card_or_a_usage_error(tmp_path_factory, content):
    path = write(tmp_path_factory.getbasetemp(), content)
    for read in (read_card, read_sweep):
        try:
            read(path)
        except UsageError as error:
            assert "\n" not in str(error)  # noqa: PT017
