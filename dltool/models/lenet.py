"""LeNet-5, the network that read cheques, and the modern form under which it is taught.

LeCun, Bottou, Bengio, Haffner 1998, Gradient-Based Learning Applied to Document Recognition, section II. `lenet5` has the
paper's 60,000 parameters: a table says which maps of S2 each map of C3 sees, subsampling is trained, every layer ends in a
scaled hyperbolic tangent, and the outputs are distances from fixed pictures of the digits. `lenet5_d2l` is that of Zhang et
al., Dive into Deep Learning (d2l.ai), Convolutional Neural Networks (LeNet): all maps see all, sigmoid, linear outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

C3_INPUTS = (
    *((first, (first + 1) % 6, (first + 2) % 6) for first in range(6)),
    *((first, (first + 1) % 6, (first + 2) % 6, (first + 3) % 6) for first in range(6)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)
"""The maps of S2 that each of the 16 maps of C3 sees. Source: the paper's table I."""

DIGITS = """
..###.. ...##.. .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
.##.##. ..###.. ##...## ##...## ...###. ##..... .##.... .....## ##...## ##...##
##...## .####.. .....## .....## ..####. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## .##.##. ##..... ##..... ....##. ##...## ##...##
##...## ...##.. ....##. ..####. ##..##. ######. ######. ....##. .#####. .######
##...## ...##.. ...##.. .....## ##..##. .....## ##...## ...##.. ##...## .....##
##...## ...##.. ..##... .....## ####### .....## ##...## ...##.. ##...## .....##
##...## ...##.. .##.... .....## ....##. .....## ##...## ..##... ##...## .....##
.##.##. ...##.. ##..... ##...## ....##. ##...## ##...## ..##... ##...## ....##.
..###.. .###### ####### .#####. ....##. .#####. .#####. ..##... .#####. .####..
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
"""
"""Stylised digits of 7 x 12 dots, the code words of the classes. Drawn here in the manner of the paper's figure 3."""


def squash(x: Tensor) -> Tensor:
    """A tanh(S x), which maps 1 to 1 and -1 to -1. Source: the paper's equation 6 and appendix A."""
    return 1.7159 * torch.tanh(x * (2 / 3))


class Subsampling(nn.Module):
    """The sum of each 2x2, times a coefficient and plus a bias, one of each per map (layers S2 and S4)."""

    fan_in = 4

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.empty(channels, 1, 1))
        self.bias = nn.Parameter(torch.empty(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, H, W) -> (N, c, H / 2, W / 2)."""
        return self.coefficient * functional.avg_pool2d(x, 2, divisor_override=1) + self.bias


class SparseConvolution(nn.Module):
    """5x5 convolution of which each output map sees its own choice of input maps (layer C3).

    Output maps with equally many inputs lie side by side in the table, and make one grouped convolution each: 3, 4, 6 inputs.
    """

    chosen: Tensor

    def __init__(self) -> None:
        super().__init__()
        sizes = [len(maps) for maps in C3_INPUTS]
        self.parts = nn.ModuleList(
            nn.Conv2d(size * sizes.count(size), sizes.count(size), 5, groups=sizes.count(size)) for size in sorted(set(sizes))
        )
        self.widths = [part.in_channels for part in self.parts]
        self.register_buffer("chosen", torch.tensor([place for maps in C3_INPUTS for place in maps]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 6, H, W) -> (N, 16, H - 4, W - 4)."""
        pieces = x.index_select(1, self.chosen).split(self.widths, dim=1)
        return torch.cat([part(piece) for part, piece in zip(self.parts, pieces, strict=True)], dim=1)


class RadialBasis(nn.Module):
    """The squared distance of a state from each class's code word, which is fixed: +1 where the picture is black, else -1."""

    codes: Tensor

    def __init__(self) -> None:
        super().__init__()
        rows = [line.split() for line in DIGITS.split("\n") if line]
        pictures = ("".join(row[digit] for row in rows) for digit in range(10))
        self.register_buffer("codes", torch.tensor([[1.0 if dot == "#" else -1.0 for dot in picture] for picture in pictures]))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 84) -> (N, 10), the penalty of each class; the smallest wins."""
        return (x.unsqueeze(1) - self.codes).square().sum(2)


class LeNet5(nn.Module):
    """The network of 1998, layer by layer under the paper's names. Inputs: -0.1 for white, 1.175 for black."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, 5)
        self.s2 = Subsampling(6)
        self.c3 = SparseConvolution()
        self.s4 = Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, 84)
        self.output = RadialBasis()
        self.apply(_fan_in_uniform)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 32, 32) -> (N, 10), the penalty of each class."""
        for layer in (self.c1, self.s2, self.c3, self.s4, self.c5):
            x = squash(layer(x))  # 6x28x28, 6x14x14, 16x10x10, 16x5x5, 120x1x1
        return self.output(squash(self.f6(x.flatten(1))))


def _fan_in_uniform(module: nn.Module) -> None:
    """Between -2.4 / F and 2.4 / F, with F the inputs of a unit. Source: the paper's appendix A."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        fan_in = module.weight[0].numel()
    elif isinstance(module, Subsampling):
        fan_in = module.fan_in
    else:
        return
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -2.4 / fan_in, 2.4 / fan_in)


class LeNet(nn.Module):
    """The form that is taught: two convolutions, two pools, three fully connected layers, sigmoids between."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120), nn.Sigmoid(),
            nn.Linear(120, 84), nn.Sigmoid(),
            nn.Linear(84, num_classes),
        )  # fmt: skip
        self.apply(xavier)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 28, 28) -> (N, num_classes)."""
        return self.net(x)


def xavier(module: nn.Module) -> None:
    """Uniform by fan in and fan out. Source: Glorot, Bengio 2010."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)


def lenet5() -> LeNet5:
    """LeNet-5 of 1998."""
    return LeNet5()


def lenet5_d2l(*, num_classes: int = 10) -> LeNet:
    """LeNet-5 of Dive into Deep Learning."""
    return LeNet(num_classes)
