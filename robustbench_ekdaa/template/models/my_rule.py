"""Direct feedback alignment (Nokland, NeurIPS 2016, arXiv:1609.01596), as an example of a learning rule of your own."""

from robustbench_ekdaa import rules


class MyRule(rules.HiddenErrorRule):
    """delta_l = (B_l e_L, back through pooling) phi'(h_l): fixed random B_l bring the output error to every block."""

    def __init__(self, *, scale: float = 1.0) -> None:
        self.scale = scale

    def create_feedback(self, network, generator):
        self.B = [self.scale * B for B in rules.random_projections(network, generator)]  # (K, size of block l's output)

    def signal(self, l, error, labels, above, delta):
        return error @ self.B[l]  # B_l e_L  (N, size of block l's output)
