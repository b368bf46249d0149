"""`torchvision:NAME` and `timm:NAME`: models that a package lists by name."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

from dltool.errors import unknown_name
from dltool.zoo.providers import Source, package

_TASKS = {
    "torchvision.models.detection": "object-detection",
    "torchvision.models.segmentation": "semantic-segmentation",
    "torchvision.models.optical_flow": None,
}
"""By the module of torchvision that defines a model; all others tell images (or videos) apart."""
_DETECTION_SIDE = 800
"""Images are resized to this by torchvision's detectors."""


def torchvision(name: str, model: str) -> Source:
    """A model as `torchvision.models.get_model` knows it."""
    package("torchvision", name)
    models = package("torchvision.models", name)
    known = models.list_models()
    if model not in known:
        raise unknown_name("model of torchvision", model, known)
    task = _TASKS.get(models.get_model_builder(model).__module__.rpartition(".")[0], "image-classification")

    def make(**options: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # Inception's initialisation is to change one day
            return models.get_model(model, **{"weights": None, **_without_backbone(models, model), **options})

    return Source(name, make, _torchvision_input(models, model, task), task)


def _without_backbone(models: Any, model: str) -> dict[str, None]:
    """A detector or segmenter loads a trained backbone unless it is told not to."""
    known = inspect.signature(models.get_model_builder(model)).parameters
    return {"weights_backbone": None} if "weights_backbone" in known else {}


def _torchvision_input(models: Any, model: str, task: str | None) -> str | None:
    """What the published weights were measured with."""
    if task == "object-detection":
        return f"float:N,3,{_DETECTION_SIDE},{_DETECTION_SIDE}"
    best = next(iter(models.get_model_weights(model)), None)
    told = getattr(getattr(best, "transforms", None), "keywords", {})
    size = told.get("crop_size", told.get("resize_size"))
    if size is None:
        return None
    sides = [size, size] if isinstance(size, int) else [*size] * (2 if len(size) == 1 else 1)
    frames = [16] if len(sides) == 2 and ".video" in models.get_model_builder(model).__module__ else []
    return "float:N,3," + ",".join(str(side) for side in frames + sides)


def timm(name: str, model: str) -> Source:
    """A model as `timm.create_model` knows it."""
    found = package("timm", name)
    if not found.is_model(model):
        raise unknown_name("model of timm", model, found.list_models())
    size = getattr(found.get_pretrained_cfg(model), "input_size", None) or (3, 224, 224)

    def make(**options: Any) -> Any:
        return found.create_model(model, pretrained=False, **options)

    return Source(name, make, "float:N," + ",".join(map(str, size)), "image-classification")
