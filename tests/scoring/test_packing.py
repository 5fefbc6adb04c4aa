"""What the store's columns hold: read as written, and refused one step beyond every limit."""

import zlib

import numpy as np
import pytest

from robustbench_ekdaa.scoring.packing import (
    NAMES_FORM,
    ROLES_FORM,
    SHAPE_FORM,
    Roles,
    pack_absent,
    pack_classes,
    pack_images,
    pack_indices,
    pack_json,
    unpack_absent,
    unpack_classes,
    unpack_images,
    unpack_indices,
    unpack_json,
)
from robustbench_ekdaa.scoring.sealed import Damaged


@pytest.mark.parametrize(("largest", "width"), [(0, 1), (255, 1), (256, 2), (65535, 2), (65536, 4), (2**32, 8)])
def test_classes_take_as_few_bytes_as_the_largest_needs_and_are_read_as_written(largest, width):
    classes = np.array([0, largest, 1 % (largest + 1)])
    blob = pack_classes(classes)
    assert len(zlib.decompress(blob)) == 3 * width
    read = unpack_classes(blob, 3, largest)
    assert read.dtype == np.int64
    np.testing.assert_array_equal(read, classes)


def test_class_k_stands_for_no_number_and_nothing_is_above_it():
    assert unpack_classes(pack_classes(np.array([3, 0])), 2, 3).tolist() == [3, 0]
    with pytest.raises(Damaged, match="predictions hold class 4 of 3"):
        unpack_classes(pack_classes(np.array([4, 0])), 2, 3)
    with pytest.raises(ValueError, match=r"below 0 \(got -1\)"):
        pack_classes(np.array([2, -1]))
    assert pack_classes(np.array([2, 0]))


@pytest.mark.parametrize("length", [0, 1, 3, 6, 10, 17])
def test_predictions_of_another_number_of_images_are_damage(length):
    with pytest.raises(Damaged, match="wrong length"):
        unpack_classes(zlib.compress(bytes(length)), 2, 9)


def test_images_are_read_as_written_and_are_numbers():
    images = np.random.default_rng(0).random((2, 3, 4, 5)).astype(np.float32)
    blob = pack_images(images)
    read = unpack_images(blob, (3, 4, 5), 2)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, images)
    np.testing.assert_array_equal(unpack_images(blob, (3, 4, 5), 3), images)
    assert unpack_images(pack_images(images[:0]), (3, 4, 5), 3).shape == (0, 3, 4, 5)
    with pytest.raises(Damaged, match="compressed bytes have a wrong length"):
        unpack_images(blob, (3, 4, 5), 1)
    with pytest.raises(Damaged, match="images have a wrong length"):
        unpack_images(blob, (3, 4, 7), 2)
    images[1, 2, 3, 4] = np.nan
    with pytest.raises(Damaged, match="no numbers"):
        unpack_images(pack_images(images), (3, 4, 5), 2)


@pytest.mark.parametrize("spoilt", [lambda blob: blob[:-1], lambda blob: blob + b"x"])
def test_compressed_bytes_end_where_they_say(spoilt):
    with pytest.raises(Damaged, match="compressed bytes have a wrong length"):
        unpack_classes(spoilt(pack_classes(np.array([1, 2]))), 2, 9)


@pytest.mark.parametrize("wrong", ["text", 3, None])
def test_what_is_no_bytes_is_damage(wrong):
    with pytest.raises(Damaged, match=f"found {type(wrong).__name__} where bytes should be"):
        unpack_classes(wrong, 2, 9)


def test_positions_are_eight_bytes_each_and_there_is_one_at_least():
    numbers = np.array([0, 2**40, 7])
    blob = pack_indices(numbers)
    assert blob == b"".join(int(number).to_bytes(8, "little") for number in numbers)
    assert unpack_indices(blob, "indices").tolist() == numbers.tolist()
    for wrong in (b"", blob[:-1], "12345678"):
        with pytest.raises(Damaged, match="indices have a wrong length"):
            unpack_indices(wrong, "indices")


def test_json_is_readable_text_of_a_known_form():
    assert pack_json(["ε", "\udcff"]) == '["ε", "?"]'
    assert unpack_json(NAMES_FORM, '["a", "b"]', "classes") == ["a", "b"]
    for wrong in ('["a", 1]', "[", 3):
        with pytest.raises(Damaged, match="classes: "):
            unpack_json(NAMES_FORM, wrong, "classes")
    assert unpack_json(SHAPE_FORM, "[1, 10000, 8]", "shape") == (1, 10000, 8)
    for wrong in ("[0, 8, 8]", "[1, 10001, 8]", "[1, 8]"):
        with pytest.raises(Damaged, match="shape: "):
            unpack_json(SHAPE_FORM, wrong, "shape")


def test_an_absent_text_is_an_empty_one_in_the_store_only():
    assert [pack_absent(None), pack_absent("a")] == ["", "a"]
    assert [unpack_absent(""), unpack_absent("a")] == [None, "a"]
    plain = {"surrogates": [], "targets": ["t"], "attacks": ["x", "y"], "epsilons": [0.1]}
    roles = Roles(**plain, imports={"x": None, "y": "s"})
    assert roles.model_dump()["imports"] == {"x": "", "y": "s"}
    assert unpack_json(ROLES_FORM, roles.model_dump_json(), "roles") == roles
    assert unpack_json(ROLES_FORM, Roles(**plain).model_dump_json(), "roles").imports is None
    with pytest.raises(Damaged, match="roles: "):
        unpack_json(ROLES_FORM, pack_json({**plain, "ensembles": {"e": []}}), "roles")
    with pytest.raises(Damaged, match="roles: "):
        unpack_json(ROLES_FORM, pack_json({**plain, "more": 1}), "roles")
