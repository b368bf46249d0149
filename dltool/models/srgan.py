"""Super-resolution four times over by a residual network, and the network that tells its images from real ones.

Ledig et al. 2017, Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network, figure 4.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


class Block(nn.Module):
    """3x3, norm, PReLU, 3x3, norm, and the shortcut round them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> the same."""
        return x + self.bn2(self.conv2(self.prelu(self.bn1(self.conv1(x)))))


class SRResNet(nn.Module):
    """9x9, residual blocks with a shortcut round them all, two enlargements by two, 9x9."""

    def __init__(self, blocks: int, channels: int) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(3, channels, 9, padding=4), nn.PReLU())
        self.body = nn.Sequential(
            *(Block(channels) for _ in range(blocks)),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
        )
        self.upsample = nn.Sequential(*enlarge(channels), *enlarge(channels))
        self.tail = nn.Conv2d(channels, 3, 9, padding=4)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3, 4 H, 4 W)."""
        x = self.head(x)
        return self.tail(self.upsample(x + self.body(x)))


def enlarge(channels: int) -> tuple[nn.Module, ...]:
    """Twice the resolution: four times the channels, laid out as 2x2 pixels each."""
    return nn.Conv2d(channels, 4 * channels, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()


class Discriminator(nn.Module):
    """Eight 3x3 convolutions, every second with stride 2, and two dense layers.

    Args:
        channels: of the first convolution; they double three times.
        side: of the images, in pixels, a multiple of 16.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        widths = [channels * factor for factor in (1, 2, 4, 8)]
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1), nn.LeakyReLU(0.2)]
        layers += convolution(channels, channels, stride=2)
        for c_in, c_out in pairwise(widths):
            layers += (*convolution(c_in, c_out, stride=1), *convolution(c_out, c_out, stride=2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(widths[-1] * (side // 16) ** 2, 16 * channels),
            nn.LeakyReLU(0.2),
            nn.Linear(16 * channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, side, side) -> the probability of each to be a real image, (N, 1)."""
        return self.classifier(self.features(x))


def convolution(c_in: int, c_out: int, *, stride: int) -> tuple[nn.Module, ...]:
    """3x3, norm, leaky ReLU."""
    return nn.Conv2d(c_in, c_out, 3, stride, padding=1), nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2)


def srresnet(*, blocks: int = 16, channels: int = 64) -> SRResNet:
    """SRResNet, the generator of SRGAN."""
    return SRResNet(blocks, channels)


def srgan_discriminator(*, channels: int = 64, image_size: int = 96) -> Discriminator:
    """The discriminator of SRGAN."""
    return Discriminator(channels, image_size)
