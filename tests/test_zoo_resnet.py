"""Residual networks against torchvision."""

from __future__ import annotations

import pytest
import torch
from zoo_parity import same_keys, same_outputs
from zoo_references import torchvision

from dltool import models


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d"])
def test_equals_torchvision(name: str) -> None:
    theirs = getattr(torchvision(), name)()
    ours = models.build(name)
    same_keys(ours, theirs)
    same_outputs(ours, theirs, (torch.randn(2, 3, 64, 64, dtype=torch.float64),))
