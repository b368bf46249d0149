"""A multilayer perceptron: one hidden layer between pixels and classes.

Rumelhart, Hinton, Williams 1986, Learning representations by back-propagating errors. Sizes and names as in Zhang, Lipton, Li,
Smola, Dive into Deep Learning (d2l.ai), Implementation of Multilayer Perceptrons.
"""

from __future__ import annotations

from torch import Tensor, nn


class MLP(nn.Module):
    """Flatten, hidden layer, classifier."""

    def __init__(self, num_inputs: int, num_hiddens: int, num_outputs: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(num_inputs, num_hiddens), nn.ReLU(), nn.Linear(num_hiddens, num_outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) with num_inputs values per sample -> (N, num_outputs)."""
        return self.net(x)


def mlp(*, num_inputs: int = 784, num_outputs: int = 10, num_hiddens: int = 256) -> MLP:
    """MLP 784-256-10 of Dive into Deep Learning."""
    return MLP(num_inputs, num_hiddens, num_outputs)
