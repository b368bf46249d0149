"""Networks that compare two images: one round torchvision's ResNet-18, one layer by layer as in its paper."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from zoo_parity import close, count, randomised, shapes
from zoo_references import torchvision

from dltool import models
from dltool.zoo.tasks import task


def test_is_torchvisions_resnet_18_and_two_dense_layers() -> None:
    resnet = torchvision().resnet18()
    resnet.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    trunk = randomised(nn.Sequential(*list(resnet.children())[:-1])).eval()
    ours = models.build("siamese").double().eval()
    ours.resnet.load_state_dict(trunk.state_dict())
    dense = {"fc.0.weight": (256, 1024), "fc.0.bias": (256,), "fc.2.weight": (1, 256), "fc.2.bias": (1,)}
    assert shapes(ours) == {**{f"resnet.{key}": shape for key, shape in shapes(trunk).items()}, **dense}

    one, two = torch.randn(2, 2, 1, 28, 28, dtype=torch.float64)
    with torch.no_grad():
        both = torch.cat([trunk(one).flatten(1), trunk(two).flatten(1)], dim=1)
        close(ours(one, two), (ours.fc[2](ours.fc[0](both).relu())).sigmoid())


def test_kochs_network_layer_by_layer() -> None:
    model = models.build("siamese_koch", device="meta")
    counts = [count(layer) for layer in (*model.features, model.similarity) if count(layer)]
    assert counts == [64 * 100 + 64, 128 * 64 * 49 + 128, 128 * 128 * 16 + 128, 256 * 128 * 16 + 256, 9216 * 4096 + 4096, 4097]
    x, sides = torch.empty(1, 1, 105, 105, device="meta"), []
    for layer in model.features[:11]:
        x = layer(x)
        sides.append(x.shape[2])
    assert [sides[n] for n in (0, 2, 3, 5, 6, 8, 9)] == [96, 48, 42, 21, 18, 9, 6]  # figure 4


def test_kochs_network_compares_by_distance() -> None:
    model = randomised(models.build("siamese_koch", widths=(2, 2, 2, 2), features=8)).eval()
    one, two = torch.randn(2, 2, 1, 105, 105, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(model(one, two), model(two, one))
        weights, bias = model.similarity[0].weight, model.similarity[0].bias
        distance = (model.features(one) - model.features(two)).abs()
        close(model(one, two), (distance @ weights.T + bias).sigmoid())


def test_a_network_that_cannot_tell_loses_ln_2() -> None:
    of = task("image-similarity")
    pairs = (torch.randn(6, 1, 4, 4),) * 2
    same = of.targets(nn.Identity(), pairs, torch.Generator().manual_seed(0))
    assert same.shape == (6, 1)
    assert same.sum() == 3

    def unsure(one: torch.Tensor, _two: torch.Tensor) -> torch.Tensor:
        return torch.full((len(one), 1), 0.5)

    assert float(of.loss(unsure, pairs, same)) == pytest.approx(0.693147, rel=1e-5)  # type: ignore[arg-type]
