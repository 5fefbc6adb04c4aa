"""The option --recipes."""

from __future__ import annotations

from ..support.recipe_cards import RECIPE


def test_the_command_line_crosses_models_with_recipes(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "recipes").mkdir(parents=True)
    for name, optimizer in (("quick", "SGD"), ("fast", "Adam")):
        card = RECIPE.format(name=name, optimizer=optimizer)
        (tmp_path / "models" / "recipes" / f"{name}.toml").write_text(card)
    train = ["train", "backprop", "--dataset", "digits", "--seeds", "1", "--recipes", "quick,fast", "--run", "run"]
    code, out, _ = cli([*train, "--workers", "1"])
    assert (code, "backprop@quick" in out, "backprop@fast" in out) == (0, True, True)
    code, out, _ = cli(["list", "recipes"])
    assert code == 0
    assert all(name in out for name in ("adamw", "adamw_decay", "sgd", "quick", "fast"))
