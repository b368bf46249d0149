"""DCGAN: images from noise by transposed convolutions, and the network that tells them from real ones.

Radford, Metz, Chintala 2015, Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks.
"""

from __future__ import annotations

from torch import Tensor, nn


class Generator(nn.Module):
    """Noise -> 4x4 -> 8x8 -> 16x16 -> 32x32 -> an image of 64x64.

    Args:
        nz: numbers of noise.
        ngf: channels at 32x32; twice as many at each smaller size.
        nc: channels of an image.
    """

    def __init__(self, nz: int, ngf: int, nc: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        c_in = nz
        for c_out in (8 * ngf, 4 * ngf, 2 * ngf, ngf):
            first = not layers
            up = nn.ConvTranspose2d(c_in, c_out, 4, stride=1 if first else 2, padding=0 if first else 1, bias=False)
            layers += [up, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]
            c_in = c_out
        self.main = nn.Sequential(*layers, nn.ConvTranspose2d(ngf, nc, 4, stride=2, padding=1, bias=False), nn.Tanh())
        self.apply(_initialise)

    def forward(self, noise: Tensor) -> Tensor:
        """(N, nz, 1, 1) -> (N, nc, 64, 64), each value in -1 to 1."""
        return self.main(noise)


class Discriminator(nn.Module):
    """An image of 64x64 -> 32x32 -> 16x16 -> 8x8 -> 4x4 -> a probability.

    Args:
        nc: channels of an image.
        ndf: channels at 32x32; twice as many at each smaller size.
    """

    def __init__(self, nc: int, ndf: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(nc, ndf, 4, stride=2, padding=1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
        for c_in in (ndf, 2 * ndf, 4 * ndf):
            down = nn.Conv2d(c_in, 2 * c_in, 4, stride=2, padding=1, bias=False)
            layers += [down, nn.BatchNorm2d(2 * c_in), nn.LeakyReLU(0.2, inplace=True)]
        self.main = nn.Sequential(*layers, nn.Conv2d(8 * ndf, 1, 4, bias=False), nn.Sigmoid())
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """(N, nc, 64, 64) -> (N): how probably each is real."""
        return self.main(images).flatten()


def _initialise(module: nn.Module) -> None:
    """Source: Radford et al. 2015, section 4; the scales of batch norm as in the authors' code."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def dcgan_generator(*, nz: int = 100, ngf: int = 64, nc: int = 3) -> Generator:
    """DCGAN's generator."""
    return Generator(nz, ngf, nc)


def dcgan_discriminator(*, nc: int = 3, ndf: int = 64) -> Discriminator:
    """DCGAN's discriminator."""
    return Discriminator(nc, ndf)
