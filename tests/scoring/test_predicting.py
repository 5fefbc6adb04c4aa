"""What counts as a network's prediction."""

import pytest
import torch
from torch import nn

from robustbench_ekdaa.errors import WorkFailed
from robustbench_ekdaa.scoring.jobs import check_steady, predict


class Logits(nn.Module):
    """Returns the first three numbers of each image as logits."""

    def forward(self, images):
        return images.flatten(1)[:, :3]


def images(*rows):
    return torch.tensor(rows).reshape(len(rows), 1, 1, -1)


def test_the_prediction_is_the_class_of_the_largest_logit():
    found = predict(Logits(), images([0.0, 2.0, 1.0], [3.0, -1.0, 0.0], [-3.0, -2.0, -1.0]))
    assert found.tolist() == [1, 0, 2]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_image_with_a_logit_that_is_no_number_is_right_for_no_label(bad, place):
    logits = [0.5, 2.0, 1.0]
    logits[place] = bad
    # Class 3 is none of the three; the image beside it is judged as ever.
    assert predict(Logits(), images(logits, [0.5, 2.0, 1.0])).tolist() == [3, 1]


def test_a_network_that_writes_to_its_images_writes_to_a_copy():
    class Writing(Logits):
        def forward(self, images):
            return super().forward(images.mul_(-1))

    shown = images([0.0, 2.0, 1.0])
    assert predict(Writing(), shown).tolist() == [0]
    assert shown.flatten().tolist() == [0.0, 2.0, 1.0]
    check_steady("mine", Writing(), shown)
    assert shown.flatten().tolist() == [0.0, 2.0, 1.0]


@pytest.mark.parametrize("error", [IndexError("my mistake"), SystemExit(3), torch.OutOfMemoryError("no room")])
@pytest.mark.parametrize(
    "ask", [lambda *given: predict(*given), lambda net, shown, name: check_steady(name, net, shown)]
)
def test_a_network_that_raises_is_named_with_what_it_raises(ask, error):
    class Raising(Logits):
        def forward(self, images):
            raise error

    with pytest.raises(WorkFailed, match=f"^mine fails on 1 images: {type(error).__name__}: {error}$"):
        ask(Raising(), images([0.0, 2.0, 1.0]), "mine")
