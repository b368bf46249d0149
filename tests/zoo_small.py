"""Each model as small as its structure allows, so that a training step takes a moment. One file per family in zoo_families/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Small:
    """A model in small.

    Args:
        options: that make it small: fewer layers, narrower.
        input: in place of that of its row.
        overfits: training steps of Adam after which the loss on one batch is below half; 0: it cannot (say why beside it).
        rate: of Adam.
        bf16: whether the processor's kernels give finite gradients in bf16; otherwise the reason why not.
        exports: whether torch.export takes it; otherwise the reason why not.
        compiles: whether torch.compile takes it whole; otherwise the reason why not. What cannot be exported cannot either.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    input: str | None = None
    overfits: int = 30
    rate: float = 1e-3
    bf16: bool | str = True
    exports: bool | str = True
    compiles: bool | str = True


def all_small() -> dict[str, Small]:
    """By name of the model."""
    found: dict[str, Small] = {}
    for path in sorted(Path(__file__).parent.glob("zoo_families/*.py")):
        found |= import_module(f"zoo_families.{path.stem}").SMALL
    return found
