"""Hostile cards, rule files and sweep files."""

from __future__ import annotations

import os

from ..workplace import SWEEP
from . import hostile, sparse

CARD = 'kind = "model"\nname = "x"\nrule = "backprop"\n'
REST = '[network]\npreset = "small_cnn"\n[training.default]\nepochs = 1\nlearning_rate = 0.1\n'
TRAIN = "train x --dataset digits --seeds 1 --run other"
ATTACK = "sweep --dataset digits --models bp --attacks x --epsilons 0.1 --seeds 1 --run other"

OTHERS = {"fine": (f"{SWEEP} run", "list attacks", "list datasets"), "either": ("list models", "list models --json")}
CARD_X = {**OTHERS, "told": ((TRAIN, "x.toml"),)}
ATTACK_X = {"fine": (f"{SWEEP} run", "list models"), "told": ((ATTACK, "x.toml"),), "either": ("list attacks",)}
NO_CARD = {"fine": (f"{SWEEP} run", "list models", "list attacks"), "told": ((TRAIN, "unknown model"),)}


@hostile(**CARD_X)
def a_dangling_link_as_a_card(place):
    (place.folder / "models" / "x.toml").symlink_to("nowhere")


@hostile(**CARD_X)
def a_folder_as_a_card(place):
    (place.folder / "models" / "x.toml").mkdir()


@hostile(**CARD_X)
def a_link_loop_as_a_card(place):
    (place.folder / "models" / "x.toml").symlink_to("x.toml")


@hostile(**CARD_X)
def a_fifo_as_a_card(place):
    os.mkfifo(place.folder / "models" / "x.toml")


@hostile(**CARD_X)
def a_link_to_a_fifo_as_a_card(place):
    os.mkfifo(place.folder / "fifo")
    (place.folder / "models" / "x.toml").symlink_to("../fifo")


@hostile(**CARD_X, nobody=True)
def a_card_that_nobody_may_read(place):
    (place.folder / "models" / "x.toml").write_text(CARD + REST)
    (place.folder / "models" / "x.toml").chmod(0)


@hostile(**CARD_X)
def a_huge_card(place):
    sparse(place.folder / "models" / "x.toml")


@hostile(**CARD_X)
def an_empty_card(place):
    (place.folder / "models" / "x.toml").touch()


@hostile(**CARD_X)
def a_card_of_random_bytes(place):
    (place.folder / "models" / "x.toml").write_bytes(bytes(range(256)) * 9)


@hostile(**CARD_X)
def a_card_nested_a_hundred_thousand_deep(place):
    (place.folder / "models" / "x.toml").write_text(CARD + "notes = " + "[" * 100_000)


@hostile(**CARD_X)
def a_card_with_a_number_of_five_thousand_digits(place):
    (place.folder / "models" / "x.toml").write_text(CARD + REST.replace("epochs = 1", "epochs = 1" + "0" * 5000))


@hostile(**CARD_X)
def a_card_with_a_layer_beyond_all_memory(place):
    wide = REST.replace('preset = "small_cnn"', 'blocks = [{ layer = "linear", width = 1000000000000 }]')
    (place.folder / "models" / "x.toml").write_text(CARD + wide)


@hostile(**CARD_X)
def a_card_with_a_kernel_of_two_thousand(place):
    wide = REST.replace('preset = "small_cnn"', 'blocks = [{ layer = "conv", width = 8, kernel = 2001 }]')
    (place.folder / "models" / "x.toml").write_text(CARD + wide)


@hostile(**CARD_X)
def a_card_with_a_date_among_its_options(place):
    dated = "optimizer_options = { momentum = 1979-05-27T07:32:00Z }\n"
    (place.folder / "models" / "x.toml").write_text(CARD + REST + dated)


@hostile(**NO_CARD)
def an_editors_lock_file(place):
    (place.folder / "models" / ".#bp.toml").symlink_to("somebody@somewhere.4242:1700000000")


@hostile(**NO_CARD)
def a_macs_companion_file(place):
    (place.folder / "models" / "._bp.toml").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X" + bytes(50))


@hostile(fine=(f"{SWEEP} run", "list attacks"), either=("list models", "list models --json"))
def a_card_whose_name_is_not_utf8(place):
    with open(os.fsencode(place.folder / "models") + b"/\xff\xfe.toml", "w") as file:
        file.write(CARD + REST)


@hostile(told=((TRAIN, "models"),), either=("list models", "list attacks", f"{SWEEP} run"))
def a_models_folder_that_is_a_file(place):
    (place.folder / "models").rename(place.folder / "before")
    (place.folder / "models").write_text("no folder")


@hostile(told=((TRAIN, "models"),), either=("list models", "list attacks", f"{SWEEP} run"))
def a_models_folder_that_is_a_link_loop(place):
    (place.folder / "models").rename(place.folder / "before")
    (place.folder / "models").symlink_to("models")


@hostile(told=((TRAIN, "models"),), either=("list models", "list attacks"), nobody=True)
def a_models_folder_that_nobody_may_read(place):
    (place.folder / "models").chmod(0)


@hostile(**ATTACK_X)
def a_fifo_as_an_attack(place):
    (place.folder / "attacks").mkdir()
    os.mkfifo(place.folder / "attacks" / "x.toml")


@hostile(**ATTACK_X)
def a_dangling_link_as_an_attack(place):
    (place.folder / "attacks").mkdir()
    (place.folder / "attacks" / "x.toml").symlink_to("nowhere")


@hostile(**CARD_X)
def an_attack_among_the_models(place):
    (place.folder / "models" / "x.toml").write_text('kind = "attack"\nname = "x"\n')


@hostile(fine=("list models", f"{SWEEP} run", "list models --json", "train x --dataset digits --seeds 1 --run other"))
def a_title_of_markup_and_escapes(place):
    title = 'title = "[/nope] [red]red[/red] \\u001b[31mred\\u0007 \\u009b31m \\u202e"\n'
    (place.folder / "models" / "x.toml").write_text(CARD + title + REST)
    (place.folder / "models" / "bp.toml").write_text((place.folder / "models" / "bp.toml").read_text().lstrip())
    text = (place.folder / "models" / "bp.toml").read_text()
    (place.folder / "models" / "bp.toml").write_text(text.replace('name = "bp"', f'name = "bp"\n{title}'))


@hostile(fine=("list attacks",), told=((ATTACK, "x.toml"),))
def an_attack_with_a_title_of_markup_and_an_unknown_part(place):
    (place.folder / "attacks").mkdir()
    text = 'kind = "attack"\nname = "x"\ntitle = "[/nope] \\u001b[31m"\nloss = "[/no] \\u001b[31m"\n'
    (place.folder / "attacks" / "x.toml").write_text(text)


def rule_file(place) -> os.PathLike:
    (place.folder / "models" / "x.toml").write_text(CARD.replace('"backprop"', '"mine.py:Mine"') + REST)
    return place.folder / "models" / "mine.py"


RULE_X = {**OTHERS, "told": ((TRAIN, "mine.py"),)}


@hostile(**RULE_X)
def a_rule_file_that_is_a_fifo(place):
    os.mkfifo(rule_file(place))


@hostile(**RULE_X)
def a_rule_file_that_is_a_folder(place):
    rule_file(place).mkdir()


@hostile(**RULE_X)
def a_rule_file_that_is_huge(place):
    sparse(rule_file(place))


@hostile(**RULE_X)
def a_rule_file_of_null_bytes(place):
    rule_file(place).write_bytes(bytes(100))


@hostile(**RULE_X)
def a_rule_file_that_leaves_python(place):
    rule_file(place).write_text("import sys\nsys.exit(0)\n")


@hostile(**OTHERS, told=((TRAIN, "x.toml"),))
def a_rule_that_is_a_number(place):
    rule_file(place).write_text("Mine = 3\n")


@hostile(**OTHERS, told=((TRAIN, "Mine"),))
def a_rule_that_leaves_python_when_it_is_made(place):
    rule_file(place).write_text("import sys\nclass Mine:\n    def __init__(self):\n        sys.exit(0)\n")


# -- a sweep file ----------------------------------------------------------------------------------------------------

SPEC = {"told": (("sweep spec.toml --run run", "spec.toml"),)}


@hostile(**SPEC)
def a_sweep_file_that_is_a_fifo(place):
    os.mkfifo(place.folder / "spec.toml")


@hostile(**SPEC)
def a_sweep_file_that_is_huge(place):
    sparse(place.folder / "spec.toml")


@hostile(**SPEC)
def a_sweep_file_that_is_a_folder(place):
    (place.folder / "spec.toml").mkdir()
