"""Adversarial images in files: they come back to the bit, and nothing false is scored."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from robustbench_ekdaa.crafting import craft
from robustbench_ekdaa.crafting.archive import AdversarialImages, check_adversarial, load_adversarial, save_adversarial
from robustbench_ekdaa.errors import UsageError, WorkFailed
from robustbench_ekdaa.files import FACTS

EPSILONS = (0.05, 0.2)
IMAGES, SAID = np.zeros((2, 1, 8, 8), np.float32), {"epsilons": [0.1], "norm": "linf"}


@pytest.fixture
def made(attacks, case):
    module, images, labels = case
    batches = craft(attacks.attacks["bim"], [module], images, labels, EPSILONS)
    stacked = torch.stack([one.images for one in batches])
    facts = {"attack": "bim", "dataset": "digits", "fingerprint": "abc"}
    return AdversarialImages(stacked[:, 10:30], EPSILONS, "linf", torch.arange(10, 30), facts), images


def test_saved_images_come_back_to_the_bit_with_all_that_is_known_of_them(made, tmp_path):
    found, clean = made
    save_adversarial(tmp_path / "a.safetensors", found)
    again = load_adversarial(tmp_path / "a.safetensors")
    assert torch.equal(again.images, found.images)
    assert torch.equal(again.indices, found.indices)
    assert (again.epsilons, again.norm) == (found.epsilons, found.norm)
    assert again.facts == {**found.facts, "digest": again.facts["digest"]}
    check_adversarial(again, clean, where="a", fingerprint="abc")


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_images_of_another_tool_are_read_from_an_npz(made, tmp_path, precision):
    found, clean = made
    fields = {"images": found.images[0].numpy().astype(precision), "epsilon": 0.05, "norm": "linf"}
    np.savez(tmp_path / "b.npz", indices=np.arange(10, 30), **fields)
    again = load_adversarial(tmp_path / "b.npz")
    assert again.images.shape == (1, *found.images.shape[1:])
    check_adversarial(again, clean, where="b")


def test_what_a_file_leaves_out_may_be_given_but_not_contradicted(made, tmp_path):
    found, clean = made
    path = tmp_path / "c.npz"
    np.savez(path, images=found.images.numpy())
    again = load_adversarial(path, norm="linf", epsilons=EPSILONS, indices=range(10, 30))
    check_adversarial(again, clean, where="c")
    save_adversarial(tmp_path / "d.safetensors", found)
    for options in ({"norm": "l2"}, {"epsilons": [0.1, 0.2]}, {"indices": range(20)}):
        with pytest.raises(UsageError, match=next(iter(options))):
            load_adversarial(tmp_path / "d.safetensors", **options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: {"epsilons": (0.049, 0.2)}, "20 of 20 leave the linf ball of epsilon 0.049"),
        (lambda found: {"norm": "l2"}, "leave the l2 ball"),
        (lambda found: {"indices": found.indices + 1}, "leave the linf ball"),
        (lambda found: {"indices": found.indices + 1000}, "indices: must be from 0 to 59"),
        (lambda found: {"indices": found.indices * 0}, "named twice"),
        (lambda found: {"images": found.images + 0.001}, "outside [0, 1]"),
        (lambda found: {"images": found.images * float("nan")}, "NaN"),
        (lambda found: {"images": (found.images * 255).round() / 255}, "leave the linf ball"),
        (lambda found: {"images": found.images[..., :-1]}, "must be of shape"),
        (lambda found: {"facts": {"fingerprint": "other"}}, "made from other images"),
    ],
)
def test_images_that_are_not_what_they_claim_are_refused(made, change, words):
    found, clean = made
    fields = {name: getattr(found, name) for name in ("images", "epsilons", "norm", "indices", "facts")}
    with pytest.raises(UsageError) as caught:
        check_adversarial(AdversarialImages(**{**fields, **change(found)}), clean, where="x.npz", fingerprint="abc")
    assert words in str(caught.value)
    assert str(caught.value).startswith("x.npz: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pictures": np.zeros((2, 1, 8, 8), np.float32)}, "has no images"),
        ({"images": np.zeros((2, 1, 8, 8), np.uint8)}, "Images rounded to 8 bits leave their ball"),
        ({"images": np.zeros((2, 8, 8), np.float32)}, "must be (E, N, C, H, W)"),
        ({"images": np.zeros((1, 0, 1, 8, 8), np.float32), "epsilons": [0.1], "norm": "l2"}, "images: there are none"),
        ({"images": np.zeros((2, 1, 8, 8), np.float32), "norm": "linf"}, "epsilons: the file does not say them"),
        ({"images": np.zeros((2, 1, 8, 8), np.float32), "epsilons": [0.1]}, "norm: the file does not say it"),
        ({"images": np.zeros((2, 1, 8, 8), np.float32), "epsilons": [0.1], "norm": "inf"}, "Did you mean linf"),
        ({"images": np.zeros((2, 1, 8, 8), np.float32), "epsilons": [0.1, 0.2], "norm": "l2"}, "must be 1, one per"),
        (
            {"images": np.zeros((2, 1, 8, 8), np.float32), "epsilons": [0.1], "norm": "l2", "indices": [1]},
            "indices: must be 2",
        ),
        ({"images": np.array([{"a": 1}], dtype=object)}, "holds pickled objects"),
        ({"images": IMAGES, **SAID, "indices": [0.7, 1.9]}, "indices: must be whole numbers"),
        ({"images": IMAGES, **SAID, "indices": [0, np.nan]}, "indices: must be whole numbers"),
        ({"images": IMAGES, **SAID, "indices": [0, np.inf]}, "indices: must be whole numbers"),
        ({"images": IMAGES, **SAID, "indices": [0, 2.0**70]}, "indices: must be whole numbers"),
        ({"images": IMAGES, **SAID, "indices": [0, 1j]}, "indices: must be whole numbers"),
        ({"images": IMAGES, **SAID, "epsilons": [1j]}, "epsilons: an epsilon must be a number"),
        ({"images": IMAGES, **SAID, "when": np.datetime64("2026-01-01")}, "when: must be plain numbers"),
    ],
)
def test_files_that_say_too_little_or_hold_pickles_are_refused(tmp_path, fields, words):
    np.savez(tmp_path / "e.npz", **fields)
    with pytest.raises(UsageError) as caught:
        load_adversarial(tmp_path / "e.npz")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_archive_are_refused(tmp_path):
    (tmp_path / "f.safetensors").write_bytes(b"nothing of the kind")
    (tmp_path / "g.npz").write_bytes(pickle.dumps({"a": 1}))
    for name in ("h.pt", "empty.npz", "empty.safetensors"):
        (tmp_path / name).write_bytes(b"")
    for name in ("f.safetensors", "g.npz", "h.pt", "missing.npz", "empty.npz", "empty.safetensors"):
        with pytest.raises(UsageError) as caught:
            load_adversarial(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_an_archive_cut_short_or_with_one_byte_turned_is_refused_or_read_right(tmp_path, write):
    write(tmp_path / "whole.npz", images=IMAGES, **SAID)
    whole = (tmp_path / "whole.npz").read_bytes()
    cut = [whole[:length] for length in range(0, len(whole), 97)]
    turned = [whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :] for at in range(0, len(whole), 61)]
    messages = []
    for damaged in (*cut, *turned):
        (tmp_path / "i.npz").write_bytes(damaged)
        try:
            assert torch.equal(load_adversarial(tmp_path / "i.npz").images, torch.zeros(1, 2, 1, 8, 8))
        except UsageError as error:
            messages.append(str(error))
    assert len(messages) >= len(cut)
    assert all("i.npz" in line and "\n" not in line for line in messages)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("[1, 2]", "must be a JSON object"),
        ("not JSON", "must be a JSON object"),
        ('{"members": 5, "norm": "linf"}', "members: must be a list of the keys of models (got 5)"),
        ('{"members": [[1]], "norm": "linf"}', "members: must be a list of the keys of models (got [[1]])"),
        ('{"norm": ["linf"]}', "unknown norm"),
    ],
)
def test_a_safetensors_header_that_says_nonsense_is_refused(tmp_path, entry, words):
    tensors = {"images": torch.from_numpy(IMAGES), "epsilons": torch.tensor([0.1])}
    save_file(tensors, tmp_path / "j.safetensors", metadata={FACTS: entry})
    with pytest.raises(UsageError) as caught:
        load_adversarial(tmp_path / "j.safetensors")
    assert words in str(caught.value)
    assert "j.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("precision", [np.float16, np.float32, np.float64])
def test_an_epsilon_means_the_number_that_was_written_whatever_its_precision(tmp_path, precision):
    images = np.zeros((3, 2, 1, 8, 8), np.float32)
    np.savez(tmp_path / "k.npz", images=images, epsilons=np.array([0.1, 0.2, 0.3], precision), norm="linf")
    for asked in (None, [0.1, 0.2, 3 * 0.1], np.float32([0.1, 0.2, 0.3])):  # 3 * 0.1 is 0.30000000000000004
        assert load_adversarial(tmp_path / "k.npz", epsilons=asked).epsilons == (0.1, 0.2, 0.3)
    assert load_adversarial(tmp_path / "k.npz", indices=np.arange(2)).indices.tolist() == [0, 1]


def test_whole_numbers_are_indices_whatever_their_precision(tmp_path):
    np.savez(tmp_path / "l.npz", images=IMAGES, indices=np.array([4.0, 2.0]), **SAID)
    assert load_adversarial(tmp_path / "l.npz").indices.tolist() == [4, 2]


def test_a_place_that_cannot_be_written_is_one_clear_line(made, tmp_path):
    found, _ = made
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkFailed):
        save_adversarial(tmp_path / "file" / "a.safetensors", found)
