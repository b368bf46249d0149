"""VGG and the detectors against torchvision; what they are made of against the plainest form of it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo_parity import audible, close, randomised, same_keys, same_outputs
from zoo_references import torchvision

from dltool import models
from dltool.models.detection.masks import cropped
from dltool.models.detection.operators import plain_roi_align

FASTER = {
    "box_score_thresh": 0.02,
    "min_size": 64,
    "max_size": 128,
    "rpn_post_nms_top_n_test": 50,
    "box_detections_per_img": 12,
}
DETECTORS: dict[str, dict[str, Any]] = {
    "ssd300_vgg16": {"score_thresh": 0.02},
    "retinanet_resnet50_fpn": {"score_thresh": 0.02, "min_size": 64, "max_size": 128},
    "fasterrcnn_resnet50_fpn": FASTER,
    "maskrcnn_resnet50_fpn": FASTER,
}
every_detector = pytest.mark.parametrize("name", DETECTORS)


@pytest.mark.parametrize(("name", "letter"), [("vgg16", "D"), ("vgg19", "E")])
def test_vgg_equals_torchvision(name: str, letter: str) -> None:
    vgg = torchvision().vgg
    with torch.device("meta"):
        same_keys(models.build(name), getattr(vgg, name)())
        theirs = vgg.VGG(vgg.make_layers([part if part == "M" else part // 16 for part in vgg.cfgs[letter]]))
    for number, (c_in, c_out) in {0: (32 * 49, 24), 3: (24, 24), 6: (24, 10)}.items():
        theirs.classifier[number] = nn.Linear(c_in, c_out)
    theirs.features = vgg.make_layers([part if part == "M" else part // 16 for part in vgg.cfgs[letter]])
    ours = models.build(name, num_classes=10, width=4, hidden=24)
    same_outputs(ours, audible(theirs), (torch.randn(2, 3, 96, 64, dtype=torch.float64),))


@every_detector
@pytest.mark.parametrize("frozen", [False, True])
def test_detector_has_the_keys_of_torchvision(name: str, frozen: bool) -> None:
    with torch.device("meta"):
        theirs = getattr(torchvision().detection, name)(weights=None, weights_backbone=None)
        if frozen and "resnet" in name:
            layers = {"retinanet_resnet50_fpn": ([2, 3, 4], ops().LastLevelP6P7(256, 256))}.get(name, (None, None))
            theirs.backbone = torchvision().detection.backbone_utils.resnet_fpn_backbone(
                backbone_name="resnet50", weights=None, returned_layers=layers[0], extra_blocks=layers[1]
            )  # its own default is frozen
        same_keys(models.build(name, **({"frozen_bn": True} if frozen and "resnet" in name else {})), theirs)


def ops() -> Any:
    return import_module("torchvision.ops.feature_pyramid_network")


def theirs_of(name: str) -> nn.Module:
    """torchvision's, with a single block in each stage of the residual network."""
    detection, options = torchvision().detection, {"num_classes": 7, **DETECTORS[name]}
    if name == "ssd300_vgg16":
        return detection.ssd300_vgg16(weights=None, weights_backbone=None, **options)
    resnet = torchvision().resnet
    body = resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], num_classes=1)
    extractor = detection.backbone_utils._resnet_fpn_extractor
    if name == "retinanet_resnet50_fpn":
        backbone = extractor(body, 5, returned_layers=[2, 3, 4], extra_blocks=ops().LastLevelP6P7(256, 256))
        return detection.RetinaNet(backbone, **options)
    kind = detection.MaskRCNN if name.startswith("mask") else detection.FasterRCNN
    return kind(extractor(body, 5), **options)


def pair(name: str, images: list[Tensor]) -> tuple[nn.Module, nn.Module]:
    """Ours and torchvision's, both with the same random weights, in float64 and eval mode."""
    torch.manual_seed(0)
    theirs = randomised(theirs_of(name))
    norms = [module for module in theirs.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in norms:
        module.momentum = 1.0  # normalise what there is, so that values neither explode nor fade
    if norms:
        theirs.backbone.train()(theirs.transform(images)[0].tensors)
    body = {} if name == "ssd300_vgg16" else {"layers": (1, 1, 1, 1)}
    if "rcnn" in name:
        theirs.roi_heads.fg_bg_sampler.batch_size_per_image = 16
    ours = models.build(name, num_classes=7, device="meta", **DETECTORS[name], **body)
    ours.load_state_dict(theirs.state_dict(), assign=True)
    if "rcnn" in name:
        ours.roi_heads.learnt = 16
    return ours.eval(), theirs.eval()


class Given(nn.Module):
    """A backbone that is done: the same maps again. After it the same anchors and proposals are sampled."""

    def __init__(self, maps: Any) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, x: Tensor) -> Any:
        torch.manual_seed(1)
        return self.maps


def pictures(*sizes: tuple[int, int]) -> list[Tensor]:
    return [torch.rand(3, height, width, dtype=torch.float64) for height, width in sizes]


def truth(images: list[Tensor]) -> list[dict[str, Tensor]]:
    """For the first picture three objects with masks, for the second none."""
    boxes = torch.tensor([[5.0, 8.0, 70.0, 90.0], [60.0, 20.0, 140.0, 91.0], [100.0, 5.0, 118.0, 31.0]]).double()
    masks = torch.rand(3, *images[0].shape[-2:]) < 0.5
    first = {"boxes": boxes, "labels": torch.tensor([1, 6, 3]), "masks": masks.byte()}
    none = {"boxes": boxes[:0], "labels": first["labels"][:0], "masks": masks.new_zeros(0, *images[1].shape[-2:]).byte()}
    return [first, none]


@every_detector
def test_detector_equals_torchvision(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # torchvision's form of it in Python reads the border beyond the picture, where its compiled kernels read nothing
    monkeypatch.setattr(
        import_module("torchvision.ops.poolers"),
        "roi_align",
        lambda features, rois, output_size, spatial_scale, sampling_ratio: plain_roi_align(
            features, rois, output_size[0], spatial_scale, sampling_ratio
        ),
    )
    # and is slow where it takes a point for each pixel
    monkeypatch.setattr(
        torchvision().detection.roi_heads,
        "roi_align",
        lambda masks, rois, size, _scale: cropped(masks[:, 0], rois[:, 1:], rois[:, 0].long(), size[0])[:, None],
    )
    images = pictures((120, 160), (200, 96))[: 1 if name.startswith("ssd") else 2]
    ours, theirs = pair(name, images)
    with torch.no_grad():
        found, expected = ours(images), theirs(images)
        for here, there in zip(found, expected, strict=True):
            assert here.keys() == there.keys()
            assert len(here["boxes"]) > 3
            for part in here:
                close(here[part], there[part])

        images = pictures((96, 144), (64, 96))  # that fill their batch: features of padding are equal, and sorted by chance
        targets, losses = truth(images), []
        maps = ours.backbone(ours.transform(images)[0].tensors)
        ours.backbone, theirs.backbone = Given(maps), Given({str(number): map_ for number, map_ in enumerate(maps)})
        for model in (ours, theirs):
            losses.append(model.train()(images, targets))
    assert losses[0].keys() == losses[1].keys()
    for part in losses[0]:
        close(losses[0][part], losses[1][part])
