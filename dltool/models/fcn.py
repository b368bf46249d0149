"""Fully convolutional network: a classifier whose last layers are convolutions, so that it classifies every pixel.

Long, Shelhamer, Darrell 2014, Fully Convolutional Networks for Semantic Segmentation. Here on a dilated residual network
(output stride 8) with an auxiliary head on its third stage, as torchvision has it; the paper's own is on VGG-16.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from dltool.models.resnet import Bottleneck, ResNet

_DILATED = (False, True, True)
"""The last two stages keep 1/8 of the input's resolution."""


class FCNHead(nn.Sequential):
    """A 3x3 convolution to a quarter of the channels, dropout, and a 1x1 convolution to the classes."""

    def __init__(self, c_in: int, num_classes: int) -> None:
        inner = c_in // 4
        super().__init__(
            nn.Conv2d(c_in, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(inner, num_classes, 1),
        )


class SegmentationNetwork(nn.Module):
    """A backbone, a head on its last stage, and one on the stage before which helps it learn.

    Args:
        backbone: a residual network; its average and classifier are taken away.
        classifier: gives the logits of the classes at the backbone's resolution.
        aux_classifier: the same from the third stage; None: no such head.
    """

    def __init__(self, backbone: ResNet, classifier: nn.Module, aux_classifier: nn.Module | None) -> None:
        super().__init__()
        del backbone.avgpool, backbone.fc
        self.backbone = backbone
        self.classifier = classifier
        self.aux_classifier = aux_classifier

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) -> {"out": (N, classes, H, W), "aux": the same}; "aux" in eval mode too, where there is such a head."""
        size = x.shape[-2:]
        *_, third, last = self.backbone.features(x)
        logits = {"out": enlarged(self.classifier(last), size)}
        if self.aux_classifier is not None:
            logits["aux"] = enlarged(self.aux_classifier(third), size)
        return logits


def enlarged(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """(N, c, h, w) -> (N, c, *size), bilinear."""
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


def dilated_resnet(layers: tuple[int, ...]) -> ResNet:
    """A residual network of bottlenecks with output stride 8."""
    return ResNet(Bottleneck, layers, dilated=_DILATED)


def fcn_resnet50(
    *, num_classes: int = 21, aux_loss: bool = True, layers: tuple[int, ...] = (3, 4, 6, 3)
) -> SegmentationNetwork:
    """FCN on a dilated ResNet-50."""
    auxiliary = FCNHead(1024, num_classes) if aux_loss else None
    return SegmentationNetwork(dilated_resnet(layers), FCNHead(2048, num_classes), auxiliary)
