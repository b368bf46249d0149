"""AlexNet against torchvision, ZFNet against its paper's figure."""

from __future__ import annotations

import torch
from torch import nn
from zoo_parity import close, count, same_keys, same_outputs
from zoo_references import torchvision

from dltool import models
from dltool.models.zfnet import ContrastNorm, zfnet


def test_alexnet_has_the_keys_of_torchvision() -> None:
    with torch.device("meta"):
        same_keys(models.build("alexnet", device="meta"), torchvision().alexnet())


def test_alexnet_equals_torchvision() -> None:
    theirs = torchvision().alexnet(num_classes=10)
    ours = models.build("alexnet", num_classes=10)
    same_outputs(ours, theirs, (torch.randn(2, 3, 96, 96, dtype=torch.float64),))


def test_zfnet_has_the_maps_of_figure_3() -> None:
    with torch.device("meta"):
        x, found = torch.empty(1, 3, 224, 224), []
        for layer in zfnet().features:
            x = layer(x)
            if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
                found.append(tuple(x.shape[1:]))
    assert found == [
        (96, 110, 110), (96, 55, 55), (256, 26, 26), (256, 13, 13), (384, 13, 13), (384, 13, 13), (256, 13, 13), (256, 6, 6),
    ]  # fmt: skip


def test_zfnet_has_the_parameters_that_follow_layer_by_layer() -> None:
    model = models.build("zfnet", device="meta")
    found = [count(layer) for layer in (*model.features, *model.classifier) if count(layer)]
    assert found == [14_208, 614_656, 885_120, 1_327_488, 884_992, 37_752_832, 16_781_312, 4_097_000]


def test_contrast_normalisation_is_that_of_alexnet() -> None:
    x = 30 * torch.randn(2, 12, 5, 5, dtype=torch.float64)
    close(ContrastNorm()(x), nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)(x))  # PyTorch divides alpha by 5
