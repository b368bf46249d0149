"""The implementations that everyone means, where they are installed. Each door gives a module, or skips the test."""

from __future__ import annotations

import os
import warnings
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor

os.environ["HF_HUB_OFFLINE"] = "1"  # random weights alone: nothing is asked of a network

_LIBRARY = torch.library.Library("torchvision", "FRAGMENT")  # a library that is collected takes its declarations along
_UNGUARDED = ("nms", "qnms")
"""torchvision's compiled operators that its Python part needs on import, whether or not they could be loaded."""


@cache
def torchvision() -> Any:
    """torchvision.models; helped, see `_helped`, beside a PyTorch of another build, where it fails to import."""
    _installed("torchvision")
    try:
        return _imported("torchvision.models")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
    return _helped()


@cache
def timm() -> Any:
    """timm, with `create_model`."""
    return _imported(_installed("timm"))


@cache
def transformers() -> Any:
    """transformers, with its models and their configurations."""
    return _imported(_installed("transformers"))


@cache
def diffusers() -> Any:
    """diffusers, with its models."""
    return _imported(_installed("diffusers"))


@cache
def monai() -> Any:
    """monai.networks.nets."""
    _installed("monai")
    return _imported("monai.networks.nets")


def _installed(package: str) -> str:
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    return package


def _imported(module: str) -> Any:
    """A module; what it warns of on import is not our business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(module)


def _helped() -> Any:
    """torchvision.models without its compiled operators: declared by us, so that it can be imported.

    Non-maximum suppression is written out here; RoI align is torchvision's own Python form of it, not compiled.
    """
    for name in _UNGUARDED:
        _LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _LIBRARY.impl("nms", _nms, "CPU")
    models = _imported("torchvision.models")
    import_module("torchvision.ops.boxes")._assert_has_ops = lambda: None
    align = import_module("torchvision.ops.roi_align")
    align._roi_align = align._roi_align.__wrapped__
    return models


def _nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Indices of the boxes kept, best first: (n, 4), (n) -> (kept)."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    left, kept = scores.argsort(descending=True, stable=True), []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        low, high = boxes[best, :2].maximum(boxes[left, :2]), boxes[best, 2:].minimum(boxes[left, 2:])
        shared = (high - low).clamp(min=0).prod(1)
        left = left[shared <= threshold * (areas[best] + areas[left] - shared)]
    return torch.stack(kept) if kept else torch.empty(0, dtype=torch.int64)
