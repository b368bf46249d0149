"""LETNet: a light network of factorised convolutions with one small transformer at its bottom.

Xu, Li, Gao, Lu, Yue, Jiao, Qiao 2023, Lightweight Real-time Semantic Segmentation Network with Efficient Transformer and CNN.
Layer names as in the authors' repository, IVIPLab/LETNet. Its published file cannot run: the third long connection gives 16
channels to be added to 32 (`LongConnection(32, 16, 3)`). Here it gives 32, as in every copy of it that runs.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional

from dltool.models.letnet_blocks import (
    BNPReLU,
    Conv,
    DABModule,
    DownSamplingBlock,
    LongConnection,
    PixelAttention,
    TransBlock,
    UpsampleingBlock,
)

_DILATIONS = (1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32)
"""Of the blocks at 1/8 and at 1/16 of the resolution; the others have 2."""


class LETNet(nn.Module):
    """An encoder of three resolutions, the transformer, and a decoder of three.

    Args:
        classes: of the last 1x1 convolution.
        blocks: residual blocks of each of the six stages.
    """

    def __init__(self, classes: int, blocks: tuple[int, ...]) -> None:
        super().__init__()
        two = (2, 2, 2)
        self.init_conv = nn.Sequential(Conv(3, 32, (3, 3)), Conv(32, 32, (3, 3)), Conv(32, 32, (3, 3), stride=2))
        self.bn_prelu_1 = BNPReLU(32)
        self.downsample_1 = DownSamplingBlock(32, 64)
        self.DAB_Block_1 = _stage(1, 64, two[: blocks[0]])
        self.bn_prelu_2 = BNPReLU(64)
        self.downsample_2 = DownSamplingBlock(64, 128)
        self.DAB_Block_2 = _stage(2, 128, _DILATIONS[: blocks[1]])
        self.bn_prelu_3 = BNPReLU(128)
        self.downsample_3 = DownSamplingBlock(128, 32)
        self.DAB_Block_3 = _stage(3, 32, _DILATIONS[: blocks[2]])
        self.bn_prelu_4 = BNPReLU(32)
        self.transformer1 = TransBlock(32)
        self.DAB_Block_4 = _stage(4, 32, two[: blocks[3]])
        self.upsample_1 = UpsampleingBlock(32, 16)
        self.bn_prelu_5 = BNPReLU(16)
        self.DAB_Block_5 = _stage(5, 16, two[: blocks[4]])
        self.upsample_2 = UpsampleingBlock(16, 16)
        self.bn_prelu_6 = BNPReLU(16)
        self.DAB_Block_6 = _stage(6, 16, two[: blocks[5]])
        self.upsample_3 = UpsampleingBlock(16, 16)
        self.bn_prelu_7 = BNPReLU(16)
        # the authors' file has two more of these than its forward uses
        self.PA1 = PixelAttention(16).requires_grad_(False)
        self.PA2 = PixelAttention(16).requires_grad_(False)
        self.PA3 = PixelAttention(16)
        self.LC1 = LongConnection(64, 16)
        self.LC2 = LongConnection(128, 16)
        self.LC3 = LongConnection(32, 32)
        self.classifier = nn.Sequential(Conv(16, classes, (1, 1), active=False))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, classes, H, W); sides are multiples of 16, and 32 or more."""
        half = self.bn_prelu_1(self.init_conv(x))
        quarter = self.bn_prelu_2(self.DAB_Block_1(self.downsample_1(half)))
        eighth = self.bn_prelu_3(self.DAB_Block_2(self.downsample_2(quarter)))
        sixteenth = self.bn_prelu_4(self.DAB_Block_3(self.downsample_3(eighth)))
        up = self.DAB_Block_4(self.transformer1(sixteenth))
        up = self.bn_prelu_5(self.upsample_1(up + self.LC3(sixteenth)))
        up = self.bn_prelu_6(self.upsample_2(self.DAB_Block_5(up) + self.LC2(eighth)))
        up = self.PA3(self.upsample_3(self.DAB_Block_6(up) + self.LC1(quarter)))
        up = functional.interpolate(self.bn_prelu_7(up), x.shape[-2:], mode="bilinear", align_corners=False)
        return self.classifier(up)


def _stage(number: int, channels: int, dilations: Iterable[int]) -> nn.Sequential:
    stage = nn.Sequential()
    for place, dilation in enumerate(dilations):
        stage.add_module(f"DAB_Module_{number}_{place}", DABModule(channels, dilation))
    return stage


def letnet(
    *,
    classes: int = 19,
    block_1: int = 3,
    block_2: int = 12,
    block_3: int = 12,
    block_4: int = 3,
    block_5: int = 3,
    block_6: int = 3,
) -> LETNet:
    """LETNet for the 19 classes of Cityscapes, repaired so that it runs (see this file's head)."""
    return LETNet(classes, (block_1, block_2, block_3, block_4, block_5, block_6))
