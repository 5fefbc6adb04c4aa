"""Cards that are right, to be made wrong in one place."""

MODEL = """kind = "model"
name = "mine"
rule = "backprop"
[network]
preset = "small_cnn"
[training.default]
epochs = 2
learning_rate = 0.1
"""
ATTACK = """kind = "attack"
name = "mine"
steps = 3
step_size = "epsilon / steps"
[update]
component = "momentum"
decay = 0.5
"""
SWEEP = """datasets = ["digits"]
models = ["backprop"]
attacks = ["fgsm"]
epsilons = [0, 0.1]
"""


def write(folder, text, name="mine", room="models"):
    (folder / room).mkdir(exist_ok=True)
    path = folder / room / f"{name}.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path
