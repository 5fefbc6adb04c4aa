"""The face for authors of learning rules: all that a rule of one's own needs, documented and kept stable.

A rule derives from `HiddenErrorRule` if it tells every hidden layer an error, else from `LearningRule`::

    from robustbench_ekdaa import rules

    class MyRule(rules.HiddenErrorRule):
        def create_feedback(self, network, generator):
            self.B = rules.random_projections(network, generator)

        def signal(self, l, error, labels, above, delta):
            return error @ self.B[l]

`robustbench-ekdaa check-rule FILE.py:CLASS` puts it to the contract tests.
"""

from .errors import UsageError
from .learning.backward import BlockPass, correlate, transmit_and_correlate
from .learning.feedback import output_shapes, random_like, random_projections, refuse_flat_activations
from .learning.rule import Agreement, HiddenErrorRule, LearningRule, Step, cross_entropy, softmax_error
from .networks import ACTIVATIONS, Block, Network, Trace
from .networks.build import glorot_
from .randomness import normal, uniform

__all__ = [
    "ACTIVATIONS",
    "Agreement",
    "Block",
    "BlockPass",
    "HiddenErrorRule",
    "LearningRule",
    "Network",
    "Step",
    "Trace",
    "UsageError",
    "correlate",
    "cross_entropy",
    "glorot_",
    "normal",
    "output_shapes",
    "random_like",
    "random_projections",
    "refuse_flat_activations",
    "softmax_error",
    "transmit_and_correlate",
    "uniform",
]
