"""Faster R-CNN and Mask R-CNN: a network proposes regions, a second stage says what is in them.

Ren et al. 2015, Faster R-CNN; He et al. 2017, Mask R-CNN; with the feature pyramid of Lin et al. 2017.
"""

from __future__ import annotations

from torch import Tensor

from dltool.models.detection.anchors import Anchors
from dltool.models.detection.images import Batch, Detection, Detector, Preparation, Target
from dltool.models.detection.proposals import ProposalNetwork
from dltool.models.detection.pyramid import Backbone
from dltool.models.detection.regions import BoxHead, BoxPredictor, Pool, RegionHeads

_CELLS = 7
_ANCHORS = ((32,), (64,), (128,), (256,), (512,))


class FasterRCNN(Detector):
    """Backbone, proposals, regions.

    Args:
        backbone: gives maps at 1/4, 1/8, 1/16, 1/32 and 1/64 of the pictures.
        transform: prepares pictures.
        num_classes: with the background.
        channels: of the backbone's maps.
        width: of the second stage's linear layers.
        proposals: how many are proposed in eval mode.
        score_thresh, nms_thresh, detections_per_img, learnt: see `RegionHeads`.
        masks: of each detection too.
    """

    def __init__(
        self,
        backbone: Backbone,
        transform: Preparation,
        *,
        num_classes: int,
        channels: int,
        width: int,
        proposals: int,
        score_thresh: float,
        nms_thresh: float,
        detections_per_img: int,
        learnt: int,
        masks: bool = False,
    ) -> None:
        super().__init__()
        self.transform, self.backbone, self.num_classes = transform, backbone, num_classes
        self.rpn = ProposalNetwork(channels, Anchors(_ANCHORS), kept=(2000, proposals))
        self.roi_heads = RegionHeads(
            Pool(_CELLS),
            BoxHead(channels * _CELLS**2, width),
            BoxPredictor(width, num_classes),
            score_thresh=score_thresh,
            nms_thresh=nms_thresh,
            detections_per_img=detections_per_img,
            learnt=learnt,
        )
        if masks:
            self.roi_heads.add_masks(channels, num_classes)

    def losses(self, batch: Batch, features: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """Of the second stage and of the proposals."""
        proposals, first = self.rpn(batch, features, targets)
        return {**self.roi_heads.losses(features[:4], proposals, targets), **first}

    def detections(self, batch: Batch, features: list[Tensor]) -> list[Detection]:
        """See `Detector.detections`."""
        proposals, _ = self.rpn(batch, features, None)
        return self.roi_heads.detections(features[:4], proposals, batch.sizes)


def fasterrcnn_resnet50_fpn(
    *,
    num_classes: int = 91,
    frozen_bn: bool = False,
    trainable_backbone_layers: int | None = None,
    min_size: int = 800,
    max_size: int = 1333,
    rpn_post_nms_top_n_test: int = 1000,
    box_score_thresh: float = 0.05,
    box_nms_thresh: float = 0.5,
    box_detections_per_img: int = 100,
    box_batch_size_per_image: int = 512,
    layers: tuple[int, ...] = (3, 4, 6, 3),
    channels: int = 256,
    width: int = 1024,
) -> FasterRCNN:
    """Faster R-CNN, ResNet-50-FPN; frozen_bn as the published weights have it."""
    return FasterRCNN(
        Backbone(layers, channels=channels, frozen_bn=frozen_bn, trainable=trainable_backbone_layers),
        Preparation(min_size, max_size),
        num_classes=num_classes,
        channels=channels,
        width=width,
        proposals=rpn_post_nms_top_n_test,
        score_thresh=box_score_thresh,
        nms_thresh=box_nms_thresh,
        detections_per_img=box_detections_per_img,
        learnt=box_batch_size_per_image,
    )


def maskrcnn_resnet50_fpn(
    *,
    num_classes: int = 91,
    frozen_bn: bool = False,
    trainable_backbone_layers: int | None = None,
    min_size: int = 800,
    max_size: int = 1333,
    rpn_post_nms_top_n_test: int = 1000,
    box_score_thresh: float = 0.05,
    box_nms_thresh: float = 0.5,
    box_detections_per_img: int = 100,
    box_batch_size_per_image: int = 512,
    layers: tuple[int, ...] = (3, 4, 6, 3),
    channels: int = 256,
    width: int = 1024,
) -> FasterRCNN:
    """Mask R-CNN, ResNet-50-FPN; frozen_bn as the published weights have it."""
    return FasterRCNN(
        Backbone(layers, channels=channels, frozen_bn=frozen_bn, trainable=trainable_backbone_layers),
        Preparation(min_size, max_size),
        num_classes=num_classes,
        channels=channels,
        width=width,
        proposals=rpn_post_nms_top_n_test,
        score_thresh=box_score_thresh,
        nms_thresh=box_nms_thresh,
        detections_per_img=box_detections_per_img,
        learnt=box_batch_size_per_image,
        masks=True,
    )
