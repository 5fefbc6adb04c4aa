"""Model cards that train in a second on the digits."""

CARD = """
kind = "model"
name = "{name}"
rule = "{rule}"
{top}
[network]
blocks = [{{ layer = "conv", width = 4, pool = "max" }}]
[training.default]
epochs = {epochs}
batch_size = 64
learning_rate = {rate}
{more}
"""


def write_card(folder, name, rule, rate=0.05, more="", top="", epochs=2):
    (folder / "models").mkdir(exist_ok=True)
    card = CARD.format(name=name, rule=rule, rate=rate, more=more, top=top, epochs=epochs)
    (folder / "models" / f"{name}.toml").write_text(card, encoding="utf-8")
