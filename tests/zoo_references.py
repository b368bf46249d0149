"""The implementations that everyone means, where they can be imported here."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import pytest
import torch

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, int sampling_ratio,"
    " bool aligned) -> Tensor",
)
"""torchvision's compiled operators, as its Python part declares their meta kernels on import."""
_library: list[Any] = []


@cache
def torchvision() -> Any:
    """torchvision.models; the test is skipped where it cannot be imported.

    Beside a PyTorch of another build than its own, its compiled operators do not load, and its Python part fails for want of
    their declarations. Declared by us, it can be imported: all networks work but for the operators themselves.
    """
    pytest.importorskip("torchvision", exc_type=ImportError) if _declared() else None
    return import_module("torchvision.models")


def _declared() -> bool:
    """Declare what is missing; True when done."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for declaration in _OPERATORS:
        name = declaration.partition("(")[0]
        if not hasattr(torch.ops.torchvision, name):
            library.define(declaration)
    _library.append(library)  # a library that is collected takes its declarations along
    return True
