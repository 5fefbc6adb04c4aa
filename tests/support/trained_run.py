"""A run folder with real trainings on the digits, each of a second at most."""

from robustbench_ekdaa import Benchmark
from robustbench_ekdaa.cards import Workspace

EVIL = '<script>alert("x")</script>'
RULE = f"""
from robustbench_ekdaa.learning.rules.backprop import Backprop
class Mine(Backprop):
    exemptions = {{"seeded": {EVIL!r}}}
"""
CARD = """
kind = "model"
name = "{name}"
title = "{title}"
rule = "{rule}"
[network]
blocks = [{{ layer = "conv", width = 3, pool = "max" }}, {{ layer = "linear", width = 8 }}]
[training.default]
epochs = {epochs}
batch_size = 256
learning_rate = {rate}
"""


def write_cards(folder):
    """Make a workspace of quick cards: two built-in rules, a control, a rule of one's own, and one that diverges."""
    (folder / "models").mkdir()
    (folder / "models" / "mine.py").write_text(RULE)
    rules = {"quick_bp": "backprop", "quick_fa": "fa", "quick_frozen": "frozen", "quick_mine": "mine.py:Mine"}
    for name, rule in rules.items():
        write_card(folder, name, rule)
    write_card(folder, "wild", "backprop", title="<i>wild</i> & $x_{", rate=3e38)
    return Workspace(folder)


def write_card(folder, name, rule, *, title=None, epochs=2, rate=0.1):
    text = CARD.format(name=name, title=title or name.upper(), rule=rule, epochs=epochs, rate=rate)
    (folder / "models" / f"{name}.toml").write_text(text)


def train(workspace, run, names, seeds=1, **options):
    """Train cards on the digits; returns their records."""
    cards = [workspace.models[name] for name in names]
    return Benchmark(run, device="cpu").train(cards, "digits", range(seeds), keep_going=True, **options)
