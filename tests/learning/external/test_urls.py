"""Weights at a URL: fetched once, under the digest that the card tells, or the one that they had at first."""

import hashlib
import json
import shutil

import pytest
import torch

import robustbench_ekdaa as rb
from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.remote import cache

from ...support.external_models import write_external
from ...support.web_server import served


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    return folder, write_external(folder)


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    monkeypatch.setenv("ROBUSTBENCH_EKDAA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    shutil.copytree(made[0] / "models", tmp_path / "models")
    (tmp_path / "models" / "weights").rename(tmp_path / "remote")
    anew()
    return tmp_path


@pytest.fixture
def server(folder):
    with served(folder / "remote") as server:
        write_card(folder, f"{server.url}/theirs-{{seed}}.safetensors")
        yield server


def write_card(folder, weights, more=""):
    path = folder / "models" / "theirs.toml"
    lines = [line for line in path.read_text().splitlines() if not line.startswith(("weights", "sha256"))]
    path.write_text("\n".join([*lines, f'weights = "{weights}"', more]))


def anew():
    """Forget what this process has asked servers already, as another process would not know it."""
    cache._asked.clear()


def digests(folder):
    files = {seed: folder / "remote" / f"theirs-{seed}.safetensors" for seed in (0, 1)}
    return {seed: hashlib.sha256(path.read_bytes()).hexdigest() for seed, path in files.items()}


def told(folder, **changes):
    wanted = {**digests(folder), **{int(seed[1:]): digest for seed, digest in changes.items()}}
    return f"sha256 = {{ {', '.join(f'{seed} = {digest!r}' for seed, digest in wanted.items())} }}".replace("'", '"')


def train(folder, run="run", seed=0):
    return rb.train("theirs", "digits", seed, folder / run, workspace=folder)


def alter(folder):
    """Put other weights of the same shape in the place of those of seed 0."""
    shutil.copy(folder / "remote" / "theirs-1.safetensors", folder / "remote" / "theirs-0.safetensors")


def test_weights_at_a_url_are_the_model_that_the_same_file_is(made, folder, server):
    record = train(folder)
    key = record.key
    loaded = rb.load_model("theirs", "digits", 0, folder / "run", workspace=folder)
    images = rb.load_dataset("digits", "test", 20).images
    assert torch.equal(loaded(images), made[1][0](images))
    write_card(folder, "../remote/theirs-{seed}.safetensors")
    assert train(folder, "run2").key == key
    write_card(folder, (folder / "remote").as_uri() + "/theirs-{seed}.safetensors")
    assert train(folder, "run3").key == key
    write_card(folder, f"{server.url}/theirs-{{seed}}.safetensors", told(folder))
    assert train(folder, "run4").key == key


def test_a_sweep_fetches_each_file_once(folder, server):
    server.tags = True
    spec = rb.SweepSpec(datasets=["digits"], models=["theirs"], attacks=["fgsm"], epsilons=[0.1], seeds=2, images=20)
    for _ in range(2):
        rb.sweep(spec, folder / "run", workspace=folder)
        anew()
    got = [line for line in server.asked if line.startswith("GET")]
    assert sorted(got) == ["GET /theirs-0.safetensors", "GET /theirs-1.safetensors"]


def test_a_digest_in_the_card_needs_no_network_once_the_file_is_here(folder, server):
    write_card(folder, f"{server.url}/theirs-{{seed}}.safetensors", told(folder))
    train(folder)
    server.asked.clear()
    anew()
    alter(folder)
    train(folder, "run2")
    rb.load_model("theirs", "digits", 0, folder / "run", workspace=folder)
    assert server.asked == []


def test_a_run_that_holds_the_model_needs_neither_network_nor_cache_if_the_card_tells_the_digest(folder, server):
    write_card(folder, f"{server.url}/theirs-{{seed}}.safetensors", told(folder))
    train(folder)
    shutil.rmtree(folder / "cache")
    server.asked.clear()
    train(folder)
    assert server.asked == []


def test_what_is_not_what_the_card_says_is_one_line(folder, server):
    write_card(folder, f"{server.url}/theirs-{{seed}}.safetensors", told(folder, _0="0" * 64))
    with pytest.raises(WorkFailed, match=r"/theirs-0\.safetensors: is not what the card says: its SHA-256 is"):
        train(folder)
    write_card(folder, "../remote/theirs-{seed}.safetensors", told(folder, _0="0" * 64))
    with pytest.raises(UsageError, match=r"theirs-0\.safetensors: is not what the card says: its SHA-256 is"):
        train(folder)
    assert not (folder / "run").exists()


@pytest.mark.parametrize("tags", [False, True])
def test_a_url_that_has_another_content_than_at_first_is_told_and_never_another_model_in_silence(tags, folder, server):
    server.tags = tags
    before, first = train(folder).key, digests(folder)[0]
    alter(folder)
    anew()
    match = (
        rf"theirs-0\.safetensors: was changed since it was fetched on .*\(SHA-256 {first}, now {digests(folder)[0]}\)"
    )
    with pytest.raises(UsageError, match=match) as caught:
        train(folder)
    note = next(path for path in (folder / "cache" / "urls").iterdir())
    assert f"remove {note} to take" in str(caught.value)
    write_card(folder, f"{server.url}/theirs-{{seed}}.safetensors", told(folder, _0=first))
    assert train(folder).key == before
    write_card(folder, f"{server.url}/theirs-{{seed}}.safetensors")
    note.unlink()
    assert train(folder).key != before


def test_a_server_that_is_gone_is_told_and_the_copy_is_used(folder, server):
    key = train(folder).key
    anew()
    server.fault = "error"
    with pytest.warns(UserWarning, match=r"the server answers 500 .* The copy of \d{4}-\d\d-\d\d is used"):
        assert train(folder, "run2").key == key
    shutil.rmtree(folder / "cache")
    anew()
    with pytest.raises(WorkFailed, match="the server answers 500"):
        train(folder, "run3")


@pytest.mark.parametrize(
    "fault, kind, match",
    [
        ("truncated", WorkFailed, "the download ended too early"),
        ("no length", UsageError, r"external\.weights: .*theirs-0\.safetensors: .* is damaged"),
        ("error", WorkFailed, "the server answers 500"),
    ],
)
def test_a_download_that_fails_is_one_line_and_leaves_nothing_wrong_behind(fault, kind, match, folder, server):
    server.fault = fault
    with pytest.raises(kind, match=match) as caught:
        train(folder)
    assert "\n" not in str(caught.value)
    assert not (folder / "run").exists()


def test_a_url_that_is_not_there_is_one_line_that_names_the_card(folder, server):
    write_card(folder, f"{server.url}/nothing-{{seed}}.safetensors")
    with pytest.raises(
        UsageError, match=r"theirs\.toml: external\.weights: .*/nothing-0\.safetensors: there is no such"
    ):
        train(folder)


def test_a_damaged_copy_or_note_in_the_cache_is_fetched_again(folder, server):
    key = train(folder).key
    copy = folder / "cache" / digests(folder)[0]
    copy.write_bytes(b"damaged")
    assert train(folder, "run2").key == key
    assert copy.read_bytes() == (folder / "remote" / "theirs-0.safetensors").read_bytes()
    note = next(path for path in (folder / "cache" / "urls").iterdir())
    for wrong in ("{", json.dumps({"sha256": "../../x", "mark": None, "when": "now"}), "[]"):
        note.write_text(wrong)
        anew()
        assert train(folder, "run2").key == key


def test_a_cache_that_cannot_be_written_is_one_line_that_says_which(folder, server, monkeypatch):
    (folder / "taken").write_text("a file")
    monkeypatch.setenv("ROBUSTBENCH_EKDAA_CACHE", str(folder / "taken"))
    with pytest.raises(
        WorkFailed, match=r"taken: could not be written .* name another folder in \$ROBUSTBENCH_EKDAA_CAC"
    ):
        train(folder)


def test_secrets_in_a_url_s_query_stand_in_no_message_and_no_note(folder, server):
    write_card(folder, f"{server.url}/theirs-{{seed}}.safetensors?token=hunter2")
    train(folder)
    assert not any(b"hunter2" in path.read_bytes() for path in (folder / "cache").rglob("*") if path.is_file())
    alter(folder)
    anew()
    with pytest.raises(UsageError, match="was changed since") as caught:
        train(folder)
    assert "hunter2" not in str(caught.value)
