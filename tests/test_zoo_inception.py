"""GoogLeNet and Inception-v3 against torchvision, Xception against timm."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from zoo_parity import audible, close, flat, randomised, same_keys, same_outputs
from zoo_references import timm, torchvision

from dltool import models
from dltool.zoo.tasks import task


def reference(name: str, **options: Any) -> nn.Module:
    return audible(getattr(torchvision(), name)(init_weights=False, **options))


@pytest.mark.parametrize("aux_logits", [True, False])
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_has_the_keys_of_torchvision(name: str, aux_logits: bool) -> None:
    with torch.device("meta"):
        theirs = reference(name, aux_logits=aux_logits)
    same_keys(models.build(name, device="meta", aux_logits=aux_logits), theirs)


@pytest.mark.parametrize("transform_input", [True, False])
@pytest.mark.parametrize(("name", "pixels"), [("googlenet", 64), ("inception_v3", 80)])
def test_equals_torchvision(name: str, pixels: int, transform_input: bool) -> None:
    theirs = reference(name, num_classes=10, transform_input=transform_input)
    ours = models.build(name, num_classes=10, transform_input=transform_input)
    same_outputs(ours, theirs, (torch.randn(2, 3, pixels, pixels, dtype=torch.float64),))


def test_googlenets_three_heads_are_torchvisions_in_training() -> None:
    theirs = randomised(reference("googlenet", num_classes=10)).train()
    ours = models.build("googlenet", num_classes=10).double().train()
    ours.load_state_dict(theirs.state_dict())
    for model in (ours, theirs):
        for layer in model.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0
    x = torch.randn(4, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        here, there = ours(x), theirs(x)
    assert here._fields == there._fields == ("logits", "aux_logits2", "aux_logits1")
    for one, other in zip(flat(here), flat(there), strict=True):
        close(one, other)


def test_inceptions_auxiliary_head_is_torchvisions() -> None:
    theirs = randomised(reference("inception_v3", num_classes=10).AuxLogits).eval()
    ours = models.build("inception_v3", num_classes=10).AuxLogits.double().eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 768, 17, 17, dtype=torch.float64)
    with torch.no_grad():
        close(ours(x), theirs(x))


def test_inception_trains_with_its_auxiliary_head() -> None:
    torch.manual_seed(0)
    model = models.build("inception_v3", num_classes=10).train()
    of, images = task("image-classification"), (torch.randn(2, 3, 299, 299),)
    of.loss(model, images, torch.tensor([3, 7])).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    assert model.AuxLogits.fc.weight.grad.any()


def test_inception_gives_two_logits_in_training_and_one_in_use() -> None:
    model = models.build("inception_v3", device="meta")
    x = torch.empty(2, 3, 299, 299, device="meta")
    assert {name: tuple(value.shape) for name, value in model.train()(x)._asdict().items()} == {
        "logits": (2, 1000),
        "aux_logits": (2, 1000),
    }
    assert tuple(model.eval()(x).shape) == (2, 1000)


def test_xception_has_the_keys_of_timm() -> None:
    with torch.device("meta"):
        theirs = timm().create_model("legacy_xception")
    same_keys(models.build("xception", device="meta"), theirs)


def test_xception_equals_timm() -> None:
    theirs = audible(timm().create_model("legacy_xception", num_classes=10))
    same_outputs(models.build("xception", num_classes=10), theirs, (torch.randn(2, 3, 64, 64, dtype=torch.float64),))
