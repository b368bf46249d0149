"""R-CNN and Fast R-CNN: proposals come from elsewhere, selective search in the papers; a network classifies them.

Girshick, Donahue, Darrell, Malik 2014, Rich Feature Hierarchies for Accurate Object Detection and Semantic Segmentation;
Girshick 2015, Fast R-CNN.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltool.models import vgg
from dltool.models.detection.images import Detection, Target
from dltool.models.detection.regions import BoxPredictor, RegionHeads


class CaffeNet(nn.Module):
    """R-CNN's network: AlexNet with pooling before normalisation, two groups in three of its convolutions.

    Jia et al. 2014, Caffe. Each picture is a proposal, warped to 227x227 with 16 pixels of its surroundings.

    Args:
        num_classes: with the background.
        width: channels of the first convolution, 96 in the paper.
        hidden: of the first two linear layers.
    """

    def __init__(self, *, num_classes: int, width: int, hidden: int) -> None:
        super().__init__()
        pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        norm = AcrossChannels()
        wide, wider = width * 8 // 3, width * 4
        self.conv1 = nn.Sequential(nn.Conv2d(3, width, 11, 4), nn.ReLU(inplace=True), pool, norm)
        self.conv2 = nn.Sequential(nn.Conv2d(width, wide, 5, padding=2, groups=2), nn.ReLU(inplace=True), pool, norm)
        self.conv3 = nn.Sequential(nn.Conv2d(wide, wider, 3, padding=1), nn.ReLU(inplace=True))
        self.conv4 = nn.Sequential(nn.Conv2d(wider, wider, 3, padding=1, groups=2), nn.ReLU(inplace=True))
        self.conv5 = nn.Sequential(nn.Conv2d(wider, wide, 3, padding=1, groups=2), nn.ReLU(inplace=True), pool)
        self.fc6 = nn.Sequential(nn.Linear(wide * 6 * 6, hidden), nn.ReLU(inplace=True), nn.Dropout())
        self.fc7 = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(inplace=True), nn.Dropout())
        self.fc8 = nn.Linear(hidden, num_classes)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Warped proposals (N, 3, 227, 227) -> logits (N, num_classes)."""
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            x = convolution(x)
        return self.fc8(self.fc7(self.fc6(x.flatten(1))))


class AcrossChannels(nn.Module):
    """Divides by what the five nearest channels hold. Source: Krizhevsky et al. 2012, section 3.3.

    torch's own LocalResponseNorm does not compute in half formats everywhere.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, c, h, w) -> the same."""
        near = functional.avg_pool2d(x.square().flatten(2)[:, None], (5, 1), stride=1, padding=(2, 0))
        return x / (1 + 1e-4 * near.view_as(x)).pow(0.75)


def _initialise(module: nn.Module) -> None:
    """The scale of AlexNet's normal numbers, 0.01, learns only from pretraining; He et al. 2015 learns without."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(module.bias)


class MaxPool(nn.Module):
    """The largest value of each cell of each region, borders rounded to places of the map. Source: Fast R-CNN, section 2.1.

    Args:
        side: cells on each side.
        stride: pixels of the picture for one place of the map.
    """

    def __init__(self, side: int, stride: int) -> None:
        super().__init__()
        self.side, self.stride = side, stride

    def forward(self, maps: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """One map (N, c, h, w), boxes (k, 4) of each of the N pictures -> (K, c, side, side)."""
        (features,) = maps
        height, width = features.shape[-2:]
        found = [features.new_zeros(0, features.shape[1], self.side, self.side)]
        for picture, some in zip(features, boxes, strict=True):
            places = (some / self.stride).round().long()
            low = torch.minimum(places[:, :2].clamp(min=0), places.new_tensor((width - 1, height - 1)))
            ends = torch.maximum(places[:, 2:], low) + 1
            for (left, top), (right, bottom) in zip(low.tolist(), ends.tolist(), strict=True):
                region = picture[None, :, top:bottom, left:right]
                found.append(functional.adaptive_max_pool2d(region, self.side))
        return torch.cat(found)


class FastRCNN(nn.Module):
    """VGG-16 over the whole picture, its linear layers over each region of the last map.

    Args:
        num_classes: with the background.
        width: channels of VGG's first stage.
        hidden: of the linear layers.
        learnt: regions of each picture that a training step learns from.
    """

    def __init__(self, *, num_classes: int, width: int, hidden: int, learnt: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.features = vgg.features(vgg.DEPTHS_16, width)[:-1]
        head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(8 * width * 7 * 7, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
        )
        predictor = BoxPredictor(hidden, num_classes)
        nn.init.normal_(predictor.cls_score.weight, std=0.01)
        nn.init.normal_(predictor.bbox_pred.weight, std=0.001)
        self.roi_heads = RegionHeads(MaxPool(7, 16), head.apply(_initialise), predictor, nms_thresh=0.3, learnt=learnt)

    def forward(
        self, images: Tensor, proposals: Sequence[Tensor] | Tensor, targets: Sequence[Target] | None = None
    ) -> dict[str, Tensor] | list[Detection]:
        """Pictures (N, 3, H, W) whose colours are normalised, proposals (k, 4) of each picture in pixels.

        In train mode, a dict of losses; in eval mode, a list of detections.

        Raises:
            ValueError: no targets in train mode.
        """
        features = [self.features(images)]
        boxes = [some.to(torch.promote_types(images.dtype, torch.float32)) for some in proposals]
        if not self.training:
            return self.roi_heads.detections(features, boxes, [(images.shape[-2], images.shape[-1])] * len(images))
        if targets is None:
            raise ValueError("in train mode a detector needs targets")
        return self.roi_heads.losses(features, boxes, targets)


def rcnn(*, num_classes: int = 21, width: int = 96, hidden: int = 4096) -> CaffeNet:
    """R-CNN's CaffeNet, 20 classes and background."""
    return CaffeNet(num_classes=num_classes, width=width, hidden=hidden)


def fast_rcnn(*, num_classes: int = 21, width: int = 64, hidden: int = 4096, learnt: int = 64) -> FastRCNN:
    """Fast R-CNN, VGG-16, 20 classes and background."""
    return FastRCNN(num_classes=num_classes, width=width, hidden=hidden, learnt=learnt)
