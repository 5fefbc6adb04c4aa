"""Predictive coding under the fixed prediction assumption (Whittington and Bogacz 2017; Rosenbaum 2022).

Whittington and Bogacz, Neural Computation 29, 2017; Millidge, Tschantz and Buckley, arXiv:2006.04182; Rosenbaum,
PLoS ONE 17, 2022, arXiv:2106.13082.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ...networks import Network
from ..backward import forward_pass, keep_slopes
from ..feedback import refuse_flat_activations
from ..rule import LearningRule, Step, cross_entropy, softmax_error


class PredictiveCoding(LearningRule):
    """Each layer holds a belief about its output; beliefs relax until prediction errors balance, then weights learn.

    With f_l the map of block l (layer, activation, pooling), vhat_l = f_l(vhat_{l-1}) the forward pass, v_l the beliefs
    and J_l the derivative of f_l at vhat_{l-1}::

        v_l = vhat_l;   epsilon_L = softmax(h_L) - onehot(y)
        repeat: epsilon_l = vhat_l - v_l;   v_l <- v_l + eta (epsilon_l - J_{l+1}^T epsilon_{l+1})
        dW_l = (epsilon_l through f_l) correlated with vhat_{l-1} (batch mean)

    so that each step is epsilon_l <- (1 - eta) epsilon_l + eta J_{l+1}^T epsilon_{l+1}. Unrolled, the error k blocks
    below the logits is backprop's times P(Binomial(steps, eta) >= k): under this assumption the rule *is* backprop
    except for a scale per layer, and with eta = 1 and steps >= depth it is exactly backprop (Rosenbaum, Theorem 1).

    Args:
        eta: step size of the beliefs.
        steps: number of updates of the beliefs; with fewer steps than blocks the lowest blocks learn nothing.

    Limits: needs W^T to send errors down, as backprop does; the predictions stay those of the forward pass while the
    beliefs change.
    """

    def __init__(
        self, *, eta: Annotated[float, Field(gt=0, le=1)] = 0.1, steps: Annotated[int, Field(gt=0, le=10_000)] = 20
    ) -> None:
        self.eta, self.steps = eta, steps

    def bind(self, network: Network, generator: torch.Generator) -> None:
        """Take the network; raises UsageError for an activation whose derivative is zero."""
        refuse_flat_activations(network)
        super().bind(network, generator)

    @torch.no_grad()
    def compute_gradients(self, images: Tensor, labels: Tensor) -> Step:
        """Fill `.grad` of weights and biases."""
        logits, passes = forward_pass(self.network, images, keep_slopes)  # vhat_l is passes[l].output
        *hidden, _ = passes
        epsilon = [torch.zeros_like(block.output) for block in hidden]
        epsilon.append(softmax_error(logits, labels))  # epsilon_L  (N, K)
        for _ in range(self.steps):
            # From the lowest block up, so that each one uses the error that the block above had before this step.
            for l, above in enumerate(passes[1:]):
                delta = above.through_activation(epsilon[l + 1])
                epsilon[l].lerp_(above.transmit(delta, above.weight), self.eta)  # J_{l+1}^T epsilon_{l+1}
        for block, error in zip(passes, epsilon, strict=True):
            block.delta = block.through_activation(error)
            block.correlate()
        return Step(cross_entropy(logits, labels), logits)
