"""What a model has learnt, by torchmetrics: the metric of a trial first, then what else is usual for its task."""

from __future__ import annotations

import math
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

from dltool.bench.learning.lessons import Lesson, package

if TYPE_CHECKING:
    from torch import Tensor

SMALLER_IS_BETTER = frozenset({"perplexity_share"})
_COMPILED = ("nms", "qnms")
"""Operators that the Python part of torchvision needs on import, whether or not they could be loaded."""


def of(metric: str, outputs: Tensor, targets: Tensor, lesson: Lesson) -> dict[str, float]:
    """Every metric of the task that `metric` belongs to. NaN where the outputs hold no numbers.

    Raises:
        CannotRun: torchmetrics is missing.
    """
    made: dict[str, Any] = _OF[metric](functional(), outputs, targets, lesson)
    finite = bool(outputs.isfinite().all())
    return {name: float(value) if finite else math.nan for name, value in made.items()}


def reached(metric: str, value: float, target: float) -> bool:
    """Whether a value is as good as the target; no number is not."""
    return value <= target if metric in SMALLER_IS_BETTER else value >= target


@cache
def functional() -> Any:
    """torchmetrics' functions.

    It imports torchvision where that is installed, which fails beside a PyTorch of another build for want of its compiled
    operators. No metric here needs one: they are declared, so that the import goes on.

    Raises:
        CannotRun: it cannot be imported.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return package("torchmetrics.functional", "torchmetrics")
        except RuntimeError as error:
            if "torchvision::" not in str(error):
                raise
        _declare()
        return package("torchmetrics.functional", "torchmetrics")


_library: list[Any] = []
"""A library that is collected takes its declarations along."""


def _declare() -> None:
    import sys

    import torch

    for name in [name for name in sys.modules if name.partition(".")[0] in ("torchvision", "torchmetrics")]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _COMPILED:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _library.append(library)


def _classes(metrics: Any, outputs: Tensor, targets: Tensor, lesson: Lesson) -> dict[str, Any]:
    """`accuracy`: of classes, one per sample."""
    import torch

    scores = torch.nan_to_num(outputs).softmax(1)
    many = {"num_classes": lesson.classes}
    found = metrics.classification
    return {
        "accuracy": found.multiclass_accuracy(scores, targets, average="micro", **many),
        "precision": found.multiclass_precision(scores, targets, average="macro", **many),
        "recall": found.multiclass_recall(scores, targets, average="macro", **many),
        "roc_auc": found.multiclass_auroc(scores, targets, **many),
        "pr_auc": found.multiclass_average_precision(scores, targets, **many),
    }


def _penalties(metrics: Any, outputs: Tensor, targets: Tensor, lesson: Lesson) -> dict[str, Any]:
    """`accuracy_of_penalties`: the smallest output wins."""
    found = _classes(metrics, -outputs, targets, lesson)
    return {"accuracy_of_penalties": found.pop("accuracy"), **found}


def _pairs(metrics: Any, outputs: Tensor, targets: Tensor, _lesson: Lesson) -> dict[str, Any]:
    """`roc_auc`: of two kinds, by a probability."""
    import torch

    scores, kinds = torch.nan_to_num(outputs).flatten(), targets.flatten().long()
    found = metrics.classification
    return {
        "roc_auc": found.binary_auroc(scores, kinds),
        "pr_auc": found.binary_average_precision(scores, kinds),
        "accuracy": found.binary_accuracy(scores, kinds),
    }


def _masks(metrics: Any, outputs: Tensor, targets: Tensor, lesson: Lesson) -> dict[str, Any]:
    """`miou`: of the classes of pixels, the mean over classes."""
    picked = outputs.argmax(1)
    found = metrics.classification
    return {
        "miou": found.multiclass_jaccard_index(picked, targets, num_classes=lesson.classes),
        "accuracy": found.multiclass_accuracy(picked, targets, num_classes=lesson.classes, average="micro"),
    }


def _pictures(metrics: Any, outputs: Tensor, targets: Tensor, lesson: Lesson) -> dict[str, Any]:
    """`psnr`: in dB; `psnr_gain` is above that of bicubic interpolation."""
    import torch

    clean = torch.nan_to_num(outputs).clamp(0, 1)
    psnr = metrics.image.peak_signal_noise_ratio(clean, targets, data_range=1.0)
    return {
        "psnr": psnr,
        "psnr_gain": psnr - (lesson.baseline or 0.0),
        "ssim": metrics.image.structural_similarity_index_measure(clean, targets, data_range=1.0),
        "rmse": metrics.mean_squared_error(clean, targets, squared=False),
    }


def _text(metrics: Any, outputs: Tensor, targets: Tensor, lesson: Lesson) -> dict[str, Any]:
    """`perplexity_share`: of the perplexity of bytes by how often each occurs; the smaller the better."""
    import torch

    perplexity = metrics.text.perplexity(torch.nan_to_num(outputs), targets)
    return {"perplexity_share": perplexity / (lesson.baseline or 1.0), "perplexity": perplexity}


_OF = {
    "accuracy": _classes,
    "accuracy_of_penalties": _penalties,
    "roc_auc": _pairs,
    "miou": _masks,
    "psnr": _pictures,
    "perplexity_share": _text,
}
