"""What the store's columns hold: read as written, and refused one step beyond every limit."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robustbench_ekdaa.storing.bits import from_bits
from robustbench_ekdaa.storing.packing import (
    NAMES_FORM,
    ROLES_FORM,
    SHAPE_FORM,
    Roles,
    pack_absent,
    pack_images,
    pack_indices,
    pack_json,
    pack_mistakes,
    pack_right,
    unpack_absent,
    unpack_classes,
    unpack_counts,
    unpack_images,
    unpack_indices,
    unpack_json,
    unpack_mistakes,
    unpack_right,
)
from robustbench_ekdaa.storing.sealed import Damaged


def as_stored(predictions, labels, classes):
    """Write and read what targets predicted."""
    right = predictions == labels
    return unpack_mistakes(pack_mistakes(predictions, right), right, labels, classes)


@pytest.mark.parametrize(("largest", "width"), [(1, 1), (255, 1), (256, 2), (65535, 2), (65536, 4), (2**32, 8)])
def test_mistakes_take_as_few_bytes_as_the_largest_needs_and_are_read_as_written(largest, width):
    labels, predictions = np.zeros(3, np.int64), np.array([[0, largest, 1]])
    blob = pack_mistakes(predictions, predictions == labels)
    assert len(zlib.decompress(blob)) == 2 * width
    np.testing.assert_array_equal(as_stored(predictions, labels, largest), predictions)


@given(
    predictions=arrays(np.int64, st.tuples(st.integers(1, 4), st.integers(1, 70)), elements=st.integers(0, 10)),
    seed=st.integers(0, 99),
)
def test_what_targets_predict_is_read_as_written(predictions, seed):
    labels = np.random.default_rng(seed).integers(0, 10, predictions.shape[1])
    np.testing.assert_array_equal(as_stored(predictions, labels, 10), predictions)
    right = unpack_right(pack_right(predictions == labels), *predictions.shape)
    np.testing.assert_array_equal(from_bits(right, len(labels)), predictions == labels)


def test_class_k_stands_for_no_number_and_nothing_is_above_it_or_below_0():
    labels = np.array([0, 0])
    assert as_stored(np.array([[3, 0]]), labels, 3).tolist() == [[3, 0]]
    with pytest.raises(Damaged, match="predictions hold class 4 of 3"):
        as_stored(np.array([[4, 0]]), labels, 3)
    with pytest.raises(ValueError, match="below 0"):
        pack_mistakes(np.array([[2, -1]]), np.array([[False, False]]))


def test_bytes_of_another_length_are_damage():
    right, labels = np.array([[True, False]]), np.array([0, 0])
    for blob in (zlib.compress(b""), zlib.compress(bytes(3)), zlib.compress(bytes(9)), b"", None):
        with pytest.raises((Damaged, zlib.error)):
            unpack_mistakes(blob, right, labels, 10)
    for blob in (b"", bytes(2), "x"):
        with pytest.raises(Damaged):
            unpack_right(blob, 1, 2)
        with pytest.raises(Damaged):
            unpack_counts(blob, 1)


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_classes_of_earlier_formats_are_read_in_every_width_they_had(width):
    classes = np.array([3, 0, 10])
    assert unpack_classes(zlib.compress(classes.astype(f"<u{width}").tobytes()), 3, 10).tolist() == [3, 0, 10]
    with pytest.raises(Damaged, match="predictions hold class 11 of 10"):
        unpack_classes(zlib.compress(np.array([11, 0, 1]).astype(f"<u{width}").tobytes()), 3, 10)


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
        unpack_classes(spoilt(zlib.compress(bytes(2))), 2, 9)


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
