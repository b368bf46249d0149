"""Super-resolution by three convolutions: patches, a non-linear mapping, reconstruction.

Dong, Loy, He, Tang 2014, Image Super-Resolution Using Deep Convolutional Networks. It sharpens an image that was enlarged by
bicubic interpolation before, the luma channel (Y of YCbCr) alone; the borders are padded, so that the size stays.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class SRCNN(nn.Module):
    """Patch extraction to 64 channels, mapping to 32, reconstruction; the kernels are odd."""

    def __init__(self, kernels: tuple[int, ...], colours: int) -> None:
        super().__init__()
        first, middle, last = kernels
        self.conv1 = nn.Conv2d(colours, 64, first, padding=first // 2)
        self.conv2 = nn.Conv2d(64, 32, middle, padding=middle // 2)
        self.conv3 = nn.Conv2d(32, colours, last, padding=last // 2)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(N, colours, H, W), enlarged -> (N, colours, H, W), sharper."""
        for conv in (self.conv1, self.conv2):
            x = functional.relu(conv(x), inplace=True)
        return self.conv3(x)


def _initialise(module: nn.Module) -> None:
    """Source: Dong et al. 2014, section 3.3."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=1e-3)
        nn.init.zeros_(module.bias)


def srcnn(*, kernels: tuple[int, ...] = (9, 1, 5), num_channels: int = 1) -> SRCNN:
    """SRCNN 9-1-5; other kernels by option."""
    return SRCNN(kernels, num_channels)
