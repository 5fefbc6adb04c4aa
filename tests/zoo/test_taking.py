"""Taking models from a zoo: in place of a training, bit by bit as published, and never what is not right."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import robustbench_ekdaa as rb
from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.files import read_tensors, write_tensors
from robustbench_ekdaa.remote import reading
from robustbench_ekdaa.storing.store import reading as reading_store

from ..support.kept_lines import Lines
from ..support.quick_models import write_card
from ..support.web_server import RangeHandler, served


def spec_of(**changes):
    facts = {"datasets": ("digits",), "models": ("quick",), "attacks": ("fgsm",), "epsilons": (0, 0.2)}
    return rb.SweepSpec(**{**facts, "images": 30, "seeds": 2, **changes})


def files_of(run):
    return {path.name: path.read_bytes() for part in ("checkpoints", "logs") for path in (run / part).iterdir()}


def only(folder):
    """Return the index of a zoo, and the key of its model of seed 0."""
    index = json.loads((folder / "zoo" / "index.json").read_text())
    (key,) = [key for key, entry in index["models"].items() if entry["seed"] == 0]
    return index, key


def write_index(folder, index):
    (folder / "zoo" / "index.json").write_text(json.dumps(index))


def load(folder, zoo):
    return rb.load_model("quick", "digits", 0, folder / "new", workspace=folder, zoo=zoo, progress=Lines())


def refused(folder, zoo, kind, match, ask=load):
    """What asks the zoo is refused with one line, and no run folder is made."""
    with pytest.raises(kind, match=match) as caught:
        ask(folder, zoo)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert not (folder / "new").exists()


def sweep(folder, zoo):
    return rb.sweep(spec_of(), folder / "new", workspace=folder, zoo=zoo)


def train(folder, zoo):
    return rb.train("quick", "digits", 0, folder / "new", workspace=folder, zoo=zoo)


def score(folder, zoo):
    np.savez(folder / "mine.npz", images=rb.load_dataset("digits").images[:20].numpy())
    options = {"norm": "linf", "epsilons": [0.1], "workspace": folder, "seeds": 1, "zoo": zoo}
    return rb.score(folder / "mine.npz", "digits", ["quick"], folder / "new", **options)


@pytest.mark.parametrize("where", ["folder", "file URL", "server", "server with ranges"])
def test_a_sweep_takes_what_the_zoo_holds_and_says_so(where, folder, server):
    trained = rb.sweep(spec_of(), folder / "run", workspace=folder)
    with served(folder / "zoo", RangeHandler) as ranges:
        zoo = {
            "folder": folder / "zoo",
            "file URL": (folder / "zoo").as_uri(),
            "server": server.url,
            "server with ranges": ranges.url + "/",
        }[where]
        lines = Lines()
        results = rb.sweep(spec_of(), folder / "new", workspace=folder, zoo=zoo, progress=lines)
    for seed in (0, 1):
        assert any(
            re.match(rf"quick on digits, seed {seed}: taken from the zoo .*, not trained", it) for it in lines.lines
        )
    assert any("2 models (2 trained already)" in line and "to do: 0 trainings" in line for line in lines.lines)
    assert files_of(folder / "new") == files_of(folder / "run")
    pd.testing.assert_frame_equal(results.frame(), trained.frame())


def test_a_model_is_loaded_from_a_zoo_with_the_weights_that_were_trained(folder, server):
    with pytest.warns(UserWarning, match=f"quick on digits, seed 0: taken from the zoo {server.url}, not trained"):
        model = rb.load_model("quick", "digits", seed=0, run=folder / "new", workspace=folder, zoo=server.url)
    own = rb.load_model("quick", "digits", seed=0, run=folder / "run", workspace=folder)
    images = rb.load_dataset("digits", "test", 50).images
    assert torch.equal(model(images), own(images))


def test_what_the_zoo_does_not_hold_is_trained_and_that_is_told(folder):
    lines = Lines()
    spec = spec_of(models=("quick", "other"), seeds=1)
    rb.sweep(spec, folder / "new", workspace=folder, zoo=folder / "zoo", progress=lines)
    assert any(re.match(r"other on digits, seed 0: not in the zoo .*; it is trained here", it) for it in lines.lines)
    assert any("2 models (1 trained already)" in line and "to do: 1 trainings" in line for line in lines.lines)
    with pytest.raises(UsageError, match=r"seed 7: not in the zoo .* nor in the run"):
        rb.load_model("quick", "digits", 7, folder / "new", workspace=folder, zoo=folder / "zoo")


def test_a_card_that_was_changed_since_is_another_model(folder):
    write_card(folder, "quick", "backprop", rate=0.06)
    with pytest.raises(
        UsageError, match=r"not in the zoo .* \(what it has by that name is of another card or another release"
    ):
        load(folder, folder / "zoo")


def test_data_that_were_replaced_since_make_another_model(folder, monkeypatch):
    monkeypatch.setenv("ROBUSTBENCH_EKDAA_DATA", str(folder / "data"))
    (folder / "data").mkdir()
    test = rb.load_dataset("digits")

    def mine(images):
        arrays = {
            f"{half}_{part}": one
            for half in ("train", "test")
            for part, one in (("images", images), ("labels", test.labels))
        }
        np.savez(folder / "data" / "mine.npz", **{name: array.numpy() for name, array in arrays.items()})

    mine(test.images)
    rb.train("quick", "mine", 0, folder / "run", workspace=folder)
    rb.publish(folder / "run", folder / "zoo", workspace=folder)
    mine(1 - test.images)
    with pytest.raises(
        UsageError, match=r"not in the zoo .* \(what it has by that name is of another version of the data"
    ):
        rb.load_model("quick", "mine", 0, folder / "new", workspace=folder, zoo=folder / "zoo")


def test_epochs_that_were_kept_are_published_and_taken(folder):
    write_card(folder, "long", "backprop", rate=0.07)
    rb.train("long", "digits", 0, folder / "long", keep_epochs="all", workspace=folder)
    shown = rb.publish(folder / "long", folder / "zoo", workspace=folder)
    assert {one.label for one in shown} == {"long on digits, seed 0", "long#1 on digits, seed 0"}
    for name in ("long", "long#1"):
        rb.train(name, "digits", 0, folder / "new", workspace=folder, zoo=folder / "zoo")
    assert files_of(folder / "new") == files_of(folder / "long")


def test_models_that_held_images_out_are_published_and_taken(folder):
    rb.train("quick", "digits", 0, folder / "held", held_out=0.2, workspace=folder)
    rb.publish(folder / "held", folder / "zoo", workspace=folder)
    rb.train("quick", "digits", 0, folder / "new", held_out=0.2, workspace=folder, zoo=folder / "zoo")
    assert files_of(folder / "new") == files_of(folder / "held")


def test_what_torch_is_set_to_changes_nothing(folder):
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            rb.train("quick", "digits", 0, folder / "new", workspace=folder, zoo=folder / "zoo")
    finally:
        torch.set_default_dtype(torch.float32)
    assert files_of(folder / "new").items() <= files_of(folder / "run").items()


def test_a_run_says_where_its_model_comes_from_and_needs_no_zoo_any_more(folder, server):
    for seed in (0, 1):
        rb.train("quick", "digits", seed, folder / "new", workspace=folder, zoo=server.url)
    with reading_store(folder / "new") as store:
        records = list(store.models().values())
    with reading_store(folder / "run") as store:
        trained = [record.metrics for record in store.models().values()]
    assert [record.metrics["zoo"] for record in records] == [server.url] * 2
    assert [{**facts, "zoo": server.url} for facts in trained] == [record.metrics for record in records]
    page = rb.report(folder / "new", folder / "report").read_text()
    assert f"Taken from the zoo {server.url}, not trained in this run: quick (2)." in re.sub(r"\s+", " ", page)
    assert "logs are missing" not in page
    server.asked.clear()
    shutil.rmtree(folder / "zoo")
    shutil.rmtree(folder.parent / "cache")
    lines = Lines()
    rb.sweep(spec_of(), folder / "new", workspace=folder, zoo=server.url, progress=lines)
    rb.load_model("quick", "digits", 1, folder / "new", workspace=folder)
    assert server.asked == []
    assert "2 models (2 trained already)" in lines.lines[0]


def test_adversarial_images_from_a_file_are_scored_by_models_of_a_zoo(folder):
    images = rb.load_dataset("digits").images[:20]
    np.savez(folder / "mine.npz", images=(0.9 * images + 0.05).numpy())
    options = {"norm": "linf", "epsilons": [0.1], "workspace": folder, "seeds": 2, "zoo": folder / "zoo"}
    lines = Lines()
    rb.score(folder / "mine.npz", "digits", ["quick"], folder / "new", **options, progress=lines)
    assert sum("taken from the zoo" in line for line in lines.lines) == 2
    assert files_of(folder / "new") == files_of(folder / "run")


def test_a_file_is_fetched_once_and_a_damaged_copy_in_the_cache_again(folder, server):
    load(folder, server.url)
    server.asked.clear()
    shutil.rmtree(folder / "new")
    load(folder, server.url)
    assert server.asked == ["GET /index.json"]
    index, key = only(folder)
    copy = folder.parent / "cache" / index["models"][key]["weights"]["sha256"]
    copy.write_bytes(copy.read_bytes()[:-1] + b"x")
    shutil.rmtree(folder / "new")
    load(folder, server.url)
    assert f"GET /trained/{key}.safetensors" in server.asked
    assert files_of(folder / "new").items() <= files_of(folder / "run").items()


@pytest.mark.parametrize(
    "fault, at, kind, match",
    [
        ("truncated", "safetensors", WorkFailed, "safetensors: the download ended too early"),
        (
            "no length",
            "safetensors",
            WorkFailed,
            r"safetensors: ended too early: [\d,]+ bytes, where the index of .*says",
        ),
        ("truncated", "index.json", WorkFailed, "index.json: the download ended too early"),
        ("no length", "index.json", UsageError, r"index.json: is not the index of a zoo \(not JSON, or cut off\)"),
        ("no length", "jsonl", WorkFailed, "jsonl: ended too early"),
        ("error", "index.json", WorkFailed, "index.json: the server answers 500"),
        ("error", "safetensors", WorkFailed, "safetensors: the server answers 500"),
        ("silence", "index.json", WorkFailed, "index.json: does not answer"),
        ("silence", "safetensors", WorkFailed, "safetensors: does not answer"),
        ("other", "safetensors", WorkFailed, "safetensors: is not what the index of .* says: its SHA-256 is"),
        ("other", "jsonl", WorkFailed, "jsonl: is not what the index of .* says: its SHA-256 is"),
    ],
)
def test_a_server_that_misbehaves_is_one_line_and_no_run_is_made(fault, at, kind, match, folder, server, monkeypatch):
    monkeypatch.setattr(reading, "SILENCE", 0.3)
    server.fault, server.at = fault, at
    refused(folder, server.url, kind, match)
    server.fault = None
    load(folder, server.url)
    assert not list((folder.parent / "cache").glob(".*")), "nothing unfinished is left in the cache"


@pytest.mark.parametrize("ask", [load, sweep, train, score])
def test_whatever_asks_a_faulty_zoo_computes_nothing_and_makes_no_run(ask, folder, server):
    server.fault, server.at = "other", "safetensors"
    refused(folder, server.url, WorkFailed, "is not what the index of .* says", ask)
    refused(folder, folder / "nowhere", UsageError, "nowhere: cannot be read", ask)
    refused(folder, "ftp://here/zoo", UsageError, "zoo: must be a path, or a URL", ask)


def test_what_is_not_there_is_one_line(folder, server):
    refused(folder, server.url + "/nowhere", UsageError, r"/nowhere/index\.json: there is no such file")
    refused(folder, folder / "nowhere", UsageError, r"nowhere: cannot be read \(No such file")
    refused(folder, folder / "models" / "quick.toml", UsageError, r"quick\.toml: is a file, not the folder of a zoo")
    refused(folder, folder / "models", UsageError, r"models/index\.json: cannot be read \(No such file")
    with served(folder) as gone:
        url = gone.url
    refused(folder, url, WorkFailed, r"index\.json: does not answer \(")


@pytest.mark.parametrize(
    "zoo, match",
    [
        ("ftp://here/zoo", "zoo: must be a path, or a URL that begins with file, http, https, s3, hf"),
        ("simplecache::https://here/zoo", "zoo: must be a path, or a URL"),
        ("https:///zoo", "zoo: must name a host"),
        ("https://me:secret@here/zoo", "zoo: a URL must hold no user name and no password"),
        ("https://here/a zoo", "zoo: must be a URL without spaces"),
        ("https://here/\x1b[31m", "zoo: must be a URL without spaces"),
        ("file://there/zoo", "zoo: must be file:///FOLDER"),
        ("https://here:port/", "zoo: must be a path, or a URL"),
        ("https://here/zoo?token=secret", "zoo: must be the URL of a folder, without"),
        ("", "zoo: must be a path"),
        (7, "zoo: must be a path"),
    ],
)
def test_what_is_no_place_of_a_zoo_is_one_line(zoo, match, folder):
    refused(folder, zoo, UsageError, match)


@pytest.mark.parametrize("kind, extra", [("s3", "s3"), ("hf", "hf")])
def test_a_missing_package_is_one_line_that_says_how_to_get_it(kind, extra, folder):
    pytest.importorskip("fsspec")
    try:
        __import__({"s3": "s3fs", "hf": "huggingface_hub"}[kind])
    except ImportError:
        refused(folder, f"{kind}://bucket/zoo", UsageError, rf"pip install 'robustbench-ekdaa\[{extra}\]'")
    else:
        pytest.skip("it is here")


DAMAGES = {
    "not JSON": (lambda index, key: "[", r"is not the index of a zoo \(not JSON"),
    "a list": (lambda index, key: [index], r"is not the index of a zoo \(it has no format"),
    "nested": (lambda index, key: "[" * 100_000, r"is not the index of a zoo \(not JSON"),
    "of another tool": (lambda index, key: {"format": "theirs"}, r"is not the index of a zoo \(it has no format"),
    "newer": (lambda index, key: {**index, "version": 2}, "is of version 2, not 1. It was written by a newer release"),
    "odd version": (lambda index, key: {**index, "version": "\x1b[1m"}, "is of version"),
    "more": (lambda index, key: {**index, "more": 1}, "more: unknown field"),
}
FIELDS = {
    "a path that leaves the zoo": ("weights.path", "../run/checkpoints/x.safetensors", "must be"),
    "a path that leaves it later": ("weights.path", "trained/../../x.safetensors", "must be"),
    "a whole path": ("weights.path", "/etc/passwd", "must be"),
    "a URL as path": ("weights.path", "https://elsewhere/x", "must be"),
    "a path in other letters": ("log.path", "%2e%2e/x", "must be"),
    "no digest": ("weights.sha256", "abc", "must be"),
    "a size below 0": ("weights.size", -1, "must be"),
    "a seed that is none": ("seed", 1.5, "must be a whole number"),
    "a name that controls a terminal": ("name", "quick\x1b]0;gone\x07", "must not hold characters that control"),
    "a title that does": ("title", "a\nb\u202e", "must not hold characters that control"),
    "a card that does": ("card", {"title": "\x1b[31mred"}, "must not hold characters that control"),
    "a card that does in a name": ("card", {"a": [{"b\x1b": 1}]}, "must not hold characters that control"),
    "a card without end": ("card", json.loads('{"a":' * 30 + "1" + "}" * 30), "must not have so many tables"),
    "an accuracy above 1": ("figures.test_accuracy", 1.5, "must be"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_index_of_another_form_is_one_line(damage, folder):
    change, match = DAMAGES[damage]
    index, key = only(folder)
    changed = change(index, key)
    (folder / "zoo" / "index.json").write_text(changed if isinstance(changed, str) else json.dumps(changed))
    refused(folder, folder / "zoo", UsageError, rf"zoo/index\.json: {match}")


@pytest.mark.parametrize("damage", FIELDS)
def test_a_wrong_entry_of_the_index_is_one_line_that_names_it(damage, folder):
    field, value, match = FIELDS[damage]
    index, key = only(folder)
    table, *parts = index["models"][key], *field.split(".")
    for part in parts[:-1]:
        table = table[part]
    table[parts[-1]] = value
    write_index(folder, index)
    refused(folder, folder / "zoo", UsageError, rf"zoo/index\.json: models\.{key}\.{re.escape(field)}: {match}")


def test_markup_in_an_index_is_only_text_and_names_nothing_in_a_run(folder):
    index, key = only(folder)
    index["models"][key] |= {"title": "[red]<script>", "rule": "<b>", "card": {"notes": "[bold]<b>\n"}}
    write_index(folder, index)
    record = rb.train("quick", "digits", 0, folder / "new", workspace=folder, zoo=folder / "zoo")
    assert (record.title, record.rule, record.metrics["zoo"]) == ("quick", "backprop", str(folder / "zoo"))


def exchange(folder, change):
    """Change tensors and facts of the zoo's checkpoint of seed 0, with digests in the index that fit it again."""
    from robustbench_ekdaa.remote.reading import sha256_of

    index, key = only(folder)
    path = folder / "zoo" / "trained" / f"{key}.safetensors"
    found = read_tensors(path)
    facts = {name: value for name, value in found.facts.items() if name != "digest"}
    tensors, facts = change(dict(found.tensors), facts)
    entry = index["models"][key]
    entry["digest"] = write_tensors(path, tensors, facts)
    entry["weights"] |= {"sha256": sha256_of(path), "size": path.stat().st_size}
    write_index(folder, index)


FORGERIES = {
    "NaN": (
        lambda t, f: ({**t, "network.blocks.0.layer.weight": t["network.blocks.0.layer.weight"] * torch.nan}, f),
        "NaN or infinite",
    ),
    "another shape": (
        lambda t, f: ({**t, "network.blocks.0.layer.weight": torch.zeros(3)}, f),
        "does not fit the network of quick on digits, seed 0",
    ),
    "a tensor less": (
        lambda t, f: ({name: one for name, one in t.items() if name != "network.blocks.0.layer.bias"}, f),
        "does not fit the network",
    ),
    "another tensor": (lambda t, f: ({**t, "code": torch.zeros(1)}, f), "holds code, which is no part"),
    "another key": (lambda t, f: (t, {**f, "key": "0" * 16}), "is not the checkpoint that the zoo's index speaks of"),
    "another seed": (lambda t, f: (t, {**f, "seed": 5}), "is not a checkpoint of quick on digits, seed 0"),
    "another recipe": (lambda t, f: (t, {**f, "identity": {}}), "is not a checkpoint of quick on digits, seed 0"),
    "an odd loss": (lambda t, f: (t, {**f, "train_loss": "<b>"}), "its facts are not those of a training: train_loss"),
    "a terminal code": (lambda t, f: (t, {**f, "exemptions": {"a": "\x1b[1m"}}), "facts are not those of a training"),
    "another log": (lambda t, f: (t, {**f, "log_digest": "0" * 64}), "the log that the zoo's index names is not that"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_checkpoint_that_is_none_of_that_model_is_one_line_though_its_digests_fit(forgery, folder):
    change, match = FORGERIES[forgery]
    exchange(folder, change)
    refused(folder, folder / "zoo", UsageError, rf"safetensors: .*{match}")


def test_a_file_that_is_no_checkpoint_is_one_line_and_nothing_is_unpickled(folder):
    from robustbench_ekdaa.remote.reading import sha256_of

    index, key = only(folder)
    path = folder / "zoo" / "trained" / f"{key}.safetensors"
    torch.save({"network.blocks.0.layer.weight": torch.zeros(1)}, path)
    index["models"][key]["weights"] |= {"sha256": sha256_of(path), "size": path.stat().st_size}
    write_index(folder, index)
    refused(folder, folder / "zoo", UsageError, r"safetensors: cannot be used \(.* is damaged")


def test_outcomes_of_another_training_of_the_same_card_are_not_mixed_with_the_zoo_s(folder):
    rb.sweep(spec_of(seeds=1), folder / "run", workspace=folder)
    (key,) = [path.stem for path in (folder / "run" / "checkpoints").iterdir() if path.stem == only(folder)[1]]
    (folder / "run" / "checkpoints" / f"{key}.safetensors").unlink()
    exchange(folder, lambda tensors, facts: (tensors, {**facts, "train_loss": 1.0}))
    with pytest.raises(WorkFailed, match="Its outcomes are of the model before"):
        rb.sweep(spec_of(seeds=1), folder / "run", workspace=folder, zoo=folder / "zoo")


def test_a_checkpoint_that_is_gone_comes_back_from_the_zoo(folder):
    before = rb.sweep(spec_of(), folder / "run", workspace=folder).frame()
    content = files_of(folder / "run")
    shutil.rmtree(folder / "run" / "checkpoints")
    after = rb.sweep(spec_of(), folder / "run", workspace=folder, zoo=folder / "zoo").frame()
    pd.testing.assert_frame_equal(after, before)
    assert files_of(folder / "run") == content
    assert all(load_file(path) for path in (folder / "run" / "checkpoints").iterdir())
