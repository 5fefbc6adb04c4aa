"""Models trained elsewhere, in sweeps, scorings, reports and lists: like any other, but nobody knows their training."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

import robustbench_ekdaa as rb
from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.listing import list_models

from ..support.external_models import SOURCE, write_external
from ..support.kept_lines import Lines
from ..support.quick_models import write_card


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    write_external(folder, "theirs", rule="hebb")
    write_external(folder, "kin", rule="backprop", seeds=(0, 1, 2), source=SOURCE.replace("16):", "12):"))
    write_card(folder, "quick_bp", "backprop")
    return folder


def spec_of(**changes):
    facts = {
        "datasets": ("digits",),
        "models": ("quick_bp", "theirs", "kin"),
        "attacks": ("fgsm", "noise"),
        "epsilons": (0, 0.2),
        "images": 40,
        "seeds": 2,
    }
    return rb.SweepSpec(**{**facts, **changes})


@pytest.fixture(scope="module")
def results(folder):
    return rb.sweep(spec_of(), folder / "run", workspace=folder)


def test_a_model_from_elsewhere_is_surrogate_and_target_like_any_other(results, folder):
    frame = results.frame()
    assert set(frame["surrogate"].dropna()) == set(frame["target"]) == {"quick_bp", "theirs", "kin"}
    model = rb.load_model("theirs", "digits", 1, folder / "run", workspace=folder)
    (outcomes,) = results.outcomes
    test = rb.load_dataset("digits").images[outcomes.indices.tolist()]
    (key,) = [key for key, record in outcomes.models.items() if (record.name, record.seed) == ("theirs", 1)]
    assert model(test).argmax(1).tolist() == outcomes.clean[key].tolist()
    white_box = frame[(frame.surrogate == "theirs") & (frame.relation == "white-box") & (frame.epsilon == 0.2)]
    assert len(white_box) == 2
    assert (white_box["accuracy"] < white_box["clean_accuracy"] - 0.3).all()


def test_what_it_is_related_to_is_told_by_its_rule_and_never_by_its_seed(results):
    frame = results.frame().query("attack == 'fgsm' and epsilon == 0.2")
    found = frame.set_index(["surrogate", "surrogate_seed", "target", "target_seed"])["relation"]
    for one, other in ((0, 0), (0, 1), (1, 0)):
        assert found["theirs", one, "quick_bp", other] == found["quick_bp", one, "theirs", other] == "cross-rule"
        assert found["kin", one, "quick_bp", other] == found["quick_bp", one, "kin", other] == "same-rule"
        assert found["kin", one, "theirs", other] == "cross-rule"
    assert found["theirs", 0, "theirs", 1] == "same-rule"
    assert found["quick_bp", 0, "quick_bp", 1] == "same-rule"


def test_the_same_sweep_again_asks_no_module_anything(results, folder):
    asked, lines = [], Lines()
    handle = register_module_forward_pre_hook(lambda module, inputs: asked.append(type(module)))
    try:
        again = rb.sweep(spec_of(), folder / "run", workspace=folder, progress=lines)
    finally:
        handle.remove()
    assert torch.nn.BatchNorm2d not in asked  # a part of theirs; of ours a shape is asked for
    assert "6 models (6 trained already)" in lines.lines[0]
    assert "to do: 0 trainings, 0 craftings, 0 cells" in lines.lines[0]
    pd.testing.assert_frame_equal(again.frame(), results.frame())


def test_worker_processes_load_it_themselves_and_give_the_same_rows(results, folder, tmp_path):
    elsewhere = rb.sweep(spec_of(), tmp_path / "run", workspace=folder, workers=2)
    pd.testing.assert_frame_equal(elsewhere.frame(), results.frame())


def test_only_trainings_are_counted_as_such(folder, tmp_path):
    lines = Lines()
    spec = spec_of(models=("quick_bp", "kin"), seeds=1, images=10)
    rb.sweep(spec, tmp_path / "run", workspace=folder, progress=lines)
    assert "2 models (1 trained already)" in lines.lines[0]
    assert "to do: 1 trainings" in lines.lines[0]


def test_reports_show_as_unknown_what_is_not_known(results, folder, tmp_path):
    page = rb.report(folder / "run", tmp_path / "report").read_text()
    (table,) = [table for table in re.findall(r"<table.*?</table>", page, re.DOTALL) if "poch" in table]
    (row,) = [row for row in re.findall(r"<tr.*?</tr>", table, re.DOTALL) if "theirs" in row]
    cells = [re.sub(r"<[^>]*>|\s+", " ", cell).strip() for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)]
    assert cells.count("–") == 3, cells  # epochs, loss, accuracy on the training images
    assert "None" not in row
    assert "logs are missing" not in page


def test_a_run_of_models_from_elsewhere_alone_is_reported_too(folder, tmp_path):
    rb.sweep(spec_of(models=("theirs", "kin"), seeds=1, images=20), tmp_path / "run", workspace=folder)
    assert rb.report(tmp_path / "run", tmp_path / "report").exists()


def test_images_from_a_file_are_scored_by_it(folder, tmp_path):
    test = rb.load_dataset("digits")
    np.savez(tmp_path / "mine.npz", images=(0.9 * test.images[:20] + 0.05).numpy())
    options = {"norm": "linf", "epsilons": [0.1], "workspace": folder, "seeds": 1}
    scored = rb.score(tmp_path / "mine.npz", "digits", ["theirs", "kin"], tmp_path / "run", **options)
    assert set(scored.frame()["target"]) == {"theirs", "kin"}


def test_it_stands_in_the_list_of_models_with_no_recipe(folder):
    rows = {row["name"]: row for row in list_models(rb.Workspace(folder))}
    assert (rows["theirs"]["rule"], rows["theirs"]["recipes"]) == ("hebb", None)
    assert rows["quick_bp"]["recipes"] == "default"


@pytest.mark.parametrize("change", [{"models": ("kin", "theirs")}, {"surrogates": ("theirs",), "models": ("kin",)}])
def test_a_seed_that_it_does_not_have_is_refused_before_anything_is_computed(change, folder, tmp_path):
    with pytest.raises(UsageError, match=r"theirs\.toml: seeds: there is no seed 2 \(only 0, 1\)"):
        rb.sweep(spec_of(**change, seeds=3), tmp_path / "run", workspace=folder)
    assert not (tmp_path / "run").exists()


def test_a_faulty_one_is_refused_before_anything_is_computed(tmp_path):
    source = "from torch import nn\n\n\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    write_external(tmp_path, "theirs", source=source)
    path = tmp_path / "models" / "theirs.py"
    path.write_text(path.read_text().replace("nn.Linear(64, 10)", "nn.Linear(64, 10), nn.LogSoftmax(1), nn.Softmax(1)"))
    write_card(tmp_path, "quick_bp", "backprop")
    with pytest.raises(UsageError, match=r"theirs\.toml: external: seed 0: check of logits"):
        rb.sweep(spec_of(models=("quick_bp", "theirs")), tmp_path / "run", workspace=tmp_path)
    assert not (tmp_path / "run").exists()


def test_two_names_or_two_seeds_of_the_same_weights_are_refused(folder, tmp_path):
    shutil.copytree(folder / "models", tmp_path / "models")
    room = tmp_path / "models"
    shutil.copy(room / "weights" / "theirs-0.safetensors", room / "weights" / "theirs-1.safetensors")
    with pytest.raises(UsageError, match="theirs: its seeds 0 and 1 have the same weights"):
        rb.sweep(spec_of(), tmp_path / "run", workspace=tmp_path)
    (room / "other.toml").write_text((room / "theirs.toml").read_text().replace('name = "theirs"', 'name = "other"'))
    with pytest.raises(UsageError, match=r"theirs and other are the same model \(same code, weights, options\)"):
        rb.sweep(spec_of(models=("theirs", "other"), seeds=1), tmp_path / "run", workspace=tmp_path)


def test_nothing_of_it_is_trained_so_no_recipe_of_it_can_be_chosen(folder, tmp_path):
    record = rb.train("theirs", "digits", 1, tmp_path / "run", workspace=folder)
    assert (record.metrics["epochs"], record.metrics["external"]) == (None, True)
    with pytest.raises(UsageError, match="theirs: nothing of it is trained here"):
        rb.train("theirs", "digits", 1, tmp_path / "run", held_out=0.2, workspace=folder)


def test_a_checkpoint_that_is_gone_comes_back_from_the_card(results, folder, tmp_path):
    spec = spec_of(models=("theirs",), seeds=1, images=20)
    first = rb.sweep(spec, tmp_path / "run", workspace=folder).frame()
    (path,) = (tmp_path / "run" / "checkpoints").glob("*.safetensors")
    content = path.read_bytes()
    path.unlink()
    pd.testing.assert_frame_equal(rb.sweep(spec, tmp_path / "run", workspace=folder).frame(), first)
    assert path.read_bytes() == content


def test_an_ensemble_may_have_members_from_elsewhere(folder, tmp_path):
    spec = spec_of(models=("quick_bp", "theirs"), attacks=("ens_mi_fgsm",), seeds=2, images=20)
    frame = rb.sweep(spec, tmp_path / "run", workspace=folder).frame()
    assert set(frame["surrogate"]) == {"quick_bp+theirs"}
    assert torch.is_grad_enabled()
