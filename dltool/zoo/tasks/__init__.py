"""What a training step of each task is: its targets, its loss, and what its throughput counts. One file per task.

A task is looked up by the name of its file, with dashes: `image-classification` is `image_classification.TASK`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

Inputs = tuple[Any, ...]


@dataclass(frozen=True)
class Task:
    """A task: what is learnt, and what is counted."""

    unit: str
    """What its throughput counts: "image", "token", "pair" ..."""
    targets: Callable[[nn.Module, Inputs, Generator], Any]
    """Random targets for some inputs, on their device; made once, outside the step."""
    loss: Callable[[nn.Module, Inputs, Any], Tensor]
    """Forward and loss: the model in train mode, its inputs, their targets; gives one number."""
    per_sample: Callable[[Inputs], int] = lambda _inputs: 1
    """How many units a sample of the batch holds, such as the tokens of a sequence."""


def task(name: str) -> Task:
    """The task of an entry."""
    found: Task = import_module(f"dltool.zoo.tasks.{name.replace('-', '_')}").TASK
    return found
