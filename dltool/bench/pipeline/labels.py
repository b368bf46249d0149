"""What images show: classes with their weights, so that an image mixed of several is told for what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Labels(NamedTuple):
    """K classes of each of N images, (N, K), and how much of each there is: weights that sum to 1."""

    classes: Tensor
    weights: Tensor


def labels_of(classes_N: Tensor) -> Labels:
    """Images that show one class each."""
    import torch

    return Labels(classes_N[:, None], torch.ones(len(classes_N), 1, device=classes_N.device))


def mixed(parts: list[tuple[Labels, Tensor]]) -> Labels:
    """Labels of images that are made of several, each with its share (N)."""
    import torch

    return Labels(
        torch.cat([labels.classes for labels, _ in parts], 1),
        torch.cat([labels.weights * share[:, None] for labels, share in parts], 1),
    )


def chosen(labels: Labels, which_N: Tensor) -> Labels:
    """Those of other images of the batch."""
    return Labels(labels.classes[which_N], labels.weights[which_N])
