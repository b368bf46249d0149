"""The layer table."""

from __future__ import annotations

import torch
from test_zoo_flops import own
from torch import Tensor, nn
from zoo_parity import count

from dltool.zoo import build, flops, layers, subject


def test_the_layers_of_resnet18_sum_to_the_whole() -> None:
    table = layers.of(subject.of_zoo("resnet18"))
    assert [layer.name for layer in table[:4]] == ["conv1", "bn1", "relu", "maxpool"]
    first = table[0]
    assert (first.type, first.output, first.params) == ("Conv2d", ((1, 64, 112, 112),), 9408)
    assert first.macs == 112 * 112 * 9408
    assert table[-1].name == "fc"
    assert table[-1].output == ((1, 1000),)
    assert sum(layer.params for layer in table) == count(build("resnet18", device="meta"))
    assert 2 * sum(layer.macs for layer in table) == flops.forward(subject.of_zoo("resnet18")).ops


class Odd(nn.Module):
    """A parameter of its own, products of its own, a layer that is called twice, one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(6))
        self.twice = nn.Linear(6, 6)
        self.never = nn.Linear(6, 6)
        self.inner = nn.Sequential(nn.ReLU())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.inner(self.twice(self.twice(x + self.token)))
        return x, x @ x.T


def test_what_is_not_a_plain_stack_of_layers() -> None:
    table = {layer.name: layer for layer in layers.of(own(Odd, (6,)), batch=4)}
    assert list(table) == ["Odd", "twice", "inner.0"]
    assert table["twice"].calls == 2
    assert table["twice"].macs == 2 * 4 * 6 * 6
    assert (table["Odd"].params, table["Odd"].macs) == (6, 4 * 4 * 6)
    assert table["Odd"].output == ((4, 6), (4, 4))
