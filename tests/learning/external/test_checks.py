"""Each check of a module from elsewhere finds its fault, names itself, and is silent about healthy modules."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from robustbench_ekdaa.errors import UsageError
from robustbench_ekdaa.learning.external.checks import WIDE_STEP, check_module, gradient_error


@pytest.fixture(scope="module")
def images():
    """Sixteen pictures with wide areas of black and of white, where pooling ties and ReLU rests."""
    blank = torch.zeros(16, 1, 12, 12)
    blank[:, :, 4:8, 4:8] = 1
    blank[:, :, 0, :] = torch.rand(16, 1, 12, generator=torch.Generator().manual_seed(0))
    return blank


def cnn(activation=nn.ReLU, first=()):
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 8, 3, padding=1), activation(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(288, 10))
    return nn.Sequential(*first, *layers).eval()


def check(module, images):
    check_module(module.eval(), images, 10, "card")


class Asked(nn.Module):
    """Does something to another module's images or answer."""

    def __init__(self, before=lambda images: images, after=lambda logits: logits, module=None):
        super().__init__()
        self.module, self.before, self.after = module or cnn(), before, after

    def forward(self, images):
        return self.after(self.module(self.before(images)))


class FeedbackAlignment(torch.autograd.Function):
    """A linear layer of a library of feedback alignment: exact forward, backward along another matrix."""

    @staticmethod
    def forward(ctx, inputs, weight, bias, feedback):
        ctx.save_for_backward(feedback)
        return inputs @ weight.T + bias

    @staticmethod
    def backward(ctx, signal):
        return signal @ ctx.saved_tensors[0], None, None, None


class FeedbackLinear(nn.Linear):
    def __init__(self, inputs, outputs, apart=1.0):
        super().__init__(inputs, outputs)
        other = torch.randn_like(self.weight) * self.weight.std()
        self.register_buffer("feedback", (1 - apart) * self.weight.detach() + apart * other)

    def forward(self, inputs):
        return FeedbackAlignment.apply(inputs, self.weight, self.bias, self.feedback)


class SignOfFeedback(nn.ReLU):
    """A hook's way to the same: the gradient is replaced while it flows back."""

    def forward(self, inputs):
        answer = super().forward(inputs)
        if answer.requires_grad:
            answer.register_hook(torch.sign)
        return answer


class StraightThrough(nn.Module):
    def forward(self, inputs):
        return inputs + (inputs.round() - inputs).detach()


class Sign(nn.Module):
    def forward(self, inputs):
        return torch.sign(inputs)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.cut, self.out = nn.Conv2d(1, 16, 4, 4), nn.Linear(16 * 9, 10)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)

    def forward(self, images):
        return self.out(self.layer(self.cut(images).flatten(2).transpose(1, 2)).flatten(1))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.norm, self.out = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Linear(8, 10)

    def forward(self, images):
        inner = functional.relu(self.norm(self.one(images)))
        return self.out((inner + images).mean((2, 3)))


HEALTHY = {
    "relu": cnn,
    "leaky relu": lambda: cnn(nn.LeakyReLU),
    "tanh": lambda: cnn(nn.Tanh),
    "gelu": lambda: cnn(nn.GELU),
    "relu6": lambda: cnn(nn.ReLU6),
    "signum, whose gradient is zero as its slope is": lambda: cnn(Sign),
    "clamped pixels": lambda: cnn(first=[nn.Hardtanh(0, 1)]),
    "dropout": lambda: cnn(first=[nn.Dropout(0.5)]),
    "attention": Attention,
    "residual": Residual,
    "a forward that names float32": lambda: Asked(before=lambda images: images.to(torch.float32)),
    "logits in another memory layout": lambda: Asked(after=lambda logits: logits.T.contiguous().T),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_no_check_finds_anything_in_a_healthy_module(name, images):
    torch.manual_seed(0)
    check(HEALTHY[name](), images)


@pytest.mark.parametrize("layers", [[0], [1], [0, 1]], ids=["first layer", "readout", "both"])
@pytest.mark.parametrize(
    ("apart", "wide"),
    # In float32 the nearest feedback cannot be told from rounding.
    [(1.0, True), (0.3, True), (0.06, True), (1.0, False), (0.3, False)],
    ids=lambda value: {True: "float64", False: "float32"}.get(value) if isinstance(value, bool) else f"{value}",
)
def test_a_backward_that_follows_a_feedback_signal_is_no_true_gradient(layers, apart, wide, images):
    torch.manual_seed(0)
    makes = [nn.Linear, nn.Linear]
    for place in layers:
        makes[place] = lambda inputs, outputs: FeedbackLinear(inputs, outputs, apart)
    module = nn.Sequential(nn.Flatten(), makes[0](144, 50), nn.ReLU(), makes[1](50, 10))
    if not wide:
        module = Asked(before=lambda images: images.float(), module=module)
    with pytest.raises(UsageError, match=r"^card: check of true gradients: its gradient is not the slope of its"):
        check(module, images)


FALSE = {
    "a hook": lambda: cnn(SignOfFeedback),
    "a straight-through estimate": lambda: cnn(StraightThrough),
    "quantised images with a straight-through estimate": lambda: cnn(first=[StraightThrough()]),
    "a backward hook": lambda: _hooked(cnn()),
}


def _hooked(module):
    module[0].register_full_backward_hook(lambda part, inputs, outputs: tuple(torch.sign(each) for each in inputs))
    return module


@pytest.mark.parametrize("name", FALSE)
def test_other_false_gradients_are_found_too(name, images):
    with pytest.raises(UsageError, match="check of true gradients"):
        check(FALSE[name](), images)


def test_true_gradients_agree_with_the_slopes_to_seven_digits_in_float64_in_spite_of_kinks(images):
    assert gradient_error(cnn().double(), images.double(), WIDE_STEP) < 1e-7


class Counting(nn.Module):
    """Remembers how often it was asked."""

    def __init__(self):
        super().__init__()
        self.module, self.times = cnn(), 0

    def forward(self, images):
        self.times += 1
        return self.module(images) + self.times


class Hidden(nn.Module):
    """Holds its batch normalisation in a plain list, where `eval` does not find it."""

    def __init__(self, part):
        super().__init__()
        self.module, self.parts = cnn(), [part]

    def forward(self, images):
        return self.module(self.parts[0](images))


FAULTY = {
    "float32: 0.weight is float64": lambda: cnn().double(),
    "float32: 0.weight is float16": lambda: cnn().half(),
    "evaluation mode: a BatchNorm2d stays in training mode": lambda: Hidden(nn.BatchNorm2d(1)),
    "evaluation mode: a Dropout stays in training mode": lambda: Hidden(nn.Dropout(0.5)),
    r"output shape: it must answer 16 images with logits of shape \(16, 10\) \(got \(16, 9\)\)": lambda: Asked(
        after=lambda logits: logits[:, :9]
    ),
    r"output shape: .* \(got \(1, 16, 10\)\)": lambda: Asked(after=lambda logits: logits[None]),
    "output shape: it must return a tensor of logits": lambda: Asked(after=lambda logits: {"logits": logits}),
    "output shape: its logits must be float32": lambda: Asked(after=lambda logits: logits.bfloat16()),
    r"output shape: it cannot answer images of shape \(16, 1, 12, 12\) on cpu \(": lambda: nn.Conv2d(3, 9, 3),
    "output shape: it cannot answer .*SystemExit": lambda: Asked(before=lambda images: sys.exit(3)),
    "device: its answer is on meta": lambda: Asked(after=lambda logits: logits.to("meta")),
    "finite logits: 16 of 16 images": lambda: Asked(after=lambda logits: logits / 0),
    "finite logits: 1 of 16 images": lambda: Asked(
        after=lambda logits: logits.where(torch.arange(len(logits))[:, None] != 3, torch.nan)
    ),
    "logits: it answers with probabilities": lambda: Asked(after=lambda logits: logits.softmax(1)),
    "determinism: .*averaged": lambda: Asked(before=lambda images: images + 0.1 * torch.rand_like(images)),
    "determinism: .* remembers": Counting,
    "determinism: it answers the same": lambda: Asked(before=functional.dropout),
    "image independence: it answers an image differently": lambda: Asked(
        before=lambda images: images - images.mean(0, keepdim=True)
    ),
    "image independence: it answers an image": lambda: cnn(first=[nn.BatchNorm2d(1, track_running_stats=False)]),
    r"image independence: it cannot answer one image alone \(ZeroDivisionError": lambda: Asked(
        before=lambda images: images / (len(images) - 1) * (len(images) // (len(images) // 2)) / 2
    ),
    "true gradients: its logits have no gradient": lambda: Asked(after=torch.Tensor.detach),
}


@pytest.mark.parametrize("found", FAULTY)
def test_each_fault_is_one_line_that_names_card_and_check(found, images):
    with pytest.raises(UsageError, match=f"^card: check of {found}") as raised:
        check(FAULTY[found](), images)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_logit_for_two_classes_is_refused_with_the_wrapper_named(shape, images):
    module = Asked(after=lambda logits: logits[:, 0].reshape(shape))
    with pytest.raises(UsageError, match=r"output shape: .* Wrap it: robustbench_ekdaa\.two_classes\(module\)"):
        check_module(module, images, 2, "card")


def test_checks_leave_the_module_as_it_was(images):
    module = cnn(first=[nn.BatchNorm2d(1)])
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    check(module, images)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in module.parameters())
