"""Are two images of one kind? Both go through the same network, and what it makes of them is compared.

Bromley et al. 1993, Signature Verification using a "Siamese" Time Delay Neural Network (the idea); Koch, Zemel, Salakhutdinov
2015, Siamese Neural Networks for One-shot Image Recognition, figure 4 (siamese_koch); the other compares digits by a ResNet-18.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dltool.models.resnet import resnet18


class Siamese(nn.Module):
    """ResNet-18 without its classifier, for grey images; both results side by side through two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        resnet = resnet18()
        resnet.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        self.resnet = nn.Sequential(*list(resnet.children())[:-1])
        self.fc = nn.Sequential(nn.Linear(2 * 512, 256), nn.ReLU(inplace=True), nn.Linear(256, 1))
        self.sigmoid = nn.Sigmoid()
        for layer in (self.fc[0], self.fc[2]):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.constant_(layer.bias, 0.01)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """Twice (N, 1, H, W) -> the probability that both are of one kind, (N, 1)."""
        both = [self.resnet(images).flatten(1) for images in (input1, input2)]
        return self.sigmoid(self.fc(torch.cat(both, dim=1)))


class Koch(nn.Module):
    """Four convolutions and a dense layer; the distance of both results, component by component, through a dense layer.

    Args:
        widths: channels of the four convolutions.
        features: of the dense layer.
    """

    def __init__(self, widths: tuple[int, ...], features: int) -> None:
        super().__init__()
        first, second, third, fourth = widths
        self.features = nn.Sequential(
            *(nn.Conv2d(1, first, 10), nn.ReLU(inplace=True), nn.MaxPool2d(2)),  # (N, first, 48, 48)
            *(nn.Conv2d(first, second, 7), nn.ReLU(inplace=True), nn.MaxPool2d(2)),  # 21x21
            *(nn.Conv2d(second, third, 4), nn.ReLU(inplace=True), nn.MaxPool2d(2)),  # 9x9
            *(nn.Conv2d(third, fourth, 4), nn.ReLU(inplace=True), nn.Flatten()),  # 6x6
            *(nn.Linear(fourth * 6 * 6, features), nn.Sigmoid()),
        )
        self.similarity = nn.Sequential(nn.Linear(features, 1), nn.Sigmoid())
        self.apply(_initialise)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """Twice (N, 1, 105, 105) -> the probability that both are of one kind, (N, 1)."""
        return self.similarity((self.features(input1) - self.features(input2)).abs())


def _initialise(module: nn.Module) -> None:
    """Source: Koch et al. 2015, section 3.3."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.normal_(module.weight, std=0.01 if isinstance(module, nn.Conv2d) else 0.2)
        nn.init.normal_(module.bias, mean=0.5, std=0.01)


def siamese() -> Siamese:
    """Two digits through one ResNet-18."""
    return Siamese()


def siamese_koch(*, widths: tuple[int, ...] = (64, 128, 128, 256), features: int = 4096) -> Koch:
    """Koch's network for Omniglot, 105x105."""
    return Koch(widths, features)
