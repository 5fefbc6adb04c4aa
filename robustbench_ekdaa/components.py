"""The face for authors of attack components: all that a component of one's own needs, documented and kept stable.

A component is a function that takes the options an attack card gives it, and returns the function that does the work.
docs/attacks shows how. A gradient transform, for example::

    from robustbench_ekdaa import components

    @components.register_component("gradient", "clipped")
    def clipped(*, most: float = 1.0) -> components.Wrapper:
        def wrap(gradient: components.Gradient) -> components.Gradient:
            def limited(images, context, state):
                slope, state = gradient(images, context, state)
                return slope.clamp(-most, most), state
            return limited
        return wrap

The `Context` says everything about the moment it is called in: the step, epsilon, the classes wanted, the batch, and
random numbers that depend on the seed, the attack and the image alone. A component that does nothing unless another one
keeps something in the state, such as momentum, says so with `effective`: cards without that are refused.
"""

from .crafting.adapters.libraries import Attempt
from .crafting.balls import in_unit_ball
from .crafting.components.inputs import through
from .crafting.components.losses import Criterion
from .crafting.components.sources import Source, gradient_of
from .crafting.context import (
    Budget,
    Context,
    Gradient,
    Loss,
    Start,
    State,
    Stepper,
    Task,
    Transform,
    Update,
    Wrapper,
)
from .crafting.crafted import Crafted
from .crafting.effect import effective
from .crafting.kernels import convolve, kernel_weights
from .crafting.surrogates import Surrogate, all_logits, mean_logits
from .crafting.threat import THREATS, Threat, column, largest, mean_size_one, unit
from .errors import UsageError
from .registry import register_component

__all__ = [
    "THREATS",
    "Attempt",
    "Budget",
    "Context",
    "Crafted",
    "Criterion",
    "Gradient",
    "Loss",
    "Source",
    "Start",
    "State",
    "Stepper",
    "Surrogate",
    "Task",
    "Threat",
    "Transform",
    "Update",
    "UsageError",
    "Wrapper",
    "all_logits",
    "column",
    "convolve",
    "effective",
    "gradient_of",
    "in_unit_ball",
    "kernel_weights",
    "largest",
    "mean_logits",
    "mean_size_one",
    "register_component",
    "through",
    "unit",
]
