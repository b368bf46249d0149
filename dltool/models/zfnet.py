"""ZFNet: AlexNet with a finer first layer, found by looking at what its filters had learnt.

Zeiler, Fergus 2013, Visualizing and Understanding Convolutional Networks, figure 3 and section 3. The figure's sizes 110, 55,
26, 13, 6 say how windows are padded: 1 round the image, none in the second layer, pools that keep what hangs over.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class ContrastNorm(nn.Module):
    """Contrast normalisation across maps: x / (k + alpha sum of x squared over n neighbouring maps) ** beta.

    The paper names no constants; these are AlexNet's of 2012: k 2, n 5, alpha 1e-4, beta 0.75. As a pool over maps it also
    runs in bfloat16 on the CPU, which nn.LocalResponseNorm does not.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, H, W) -> (N, c, H, W)."""
        squares = x.square().flatten(2).unsqueeze(1)  # (N, 1, c, H W)
        sums = functional.avg_pool2d(squares, (5, 1), stride=1, padding=(2, 0), divisor_override=1)
        return x / (2 + 1e-4 * sums.view_as(x)) ** 0.75


class ZFNet(nn.Module):
    """Five convolutions and three fully connected layers."""

    def __init__(self, num_classes: int, hidden: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, 7, stride=2, padding=1), nn.ReLU(inplace=True),  # 110
            nn.MaxPool2d(3, stride=2, ceil_mode=True), ContrastNorm(),  # 55
            nn.Conv2d(96, 256, 5, stride=2), nn.ReLU(inplace=True),  # 26
            nn.MaxPool2d(3, stride=2, ceil_mode=True), ContrastNorm(),  # 13
            nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(384, 384, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2),  # 6
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Linear(256 * 6 * 6, hidden), nn.ReLU(inplace=True), nn.Dropout(),
            nn.Linear(hidden, hidden), nn.ReLU(inplace=True), nn.Dropout(),
            nn.Linear(hidden, num_classes),
        )  # fmt: skip
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 224, 224) -> (N, num_classes)."""
        return self.classifier(self.features(x).flatten(1))


def _initialise(module: nn.Module) -> None:
    """Weights of size 0.01, no biases. Source: the paper's section 3."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


def zfnet(*, num_classes: int = 1000, hidden: int = 4096) -> ZFNet:
    """ZFNet."""
    return ZFNet(num_classes, hidden)
