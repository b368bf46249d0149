"""Tensors from a description of inputs.

    float:N,3,224,224              normal numbers
    int<50257:N,1024               whole numbers below 50257
    float:N,3,64,64 + int<1000:N   two inputs
    box<600,800>:N,2000            boxes x1, y1, x2, y2 in pictures of 600 x 800 pixels: (N, 2000, 4)

N is the batch. An input without N does not grow with it, such as the one graph of a GCN.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dltool.errors import UsageError

if TYPE_CHECKING:
    import torch

_INPUT = re.compile(
    r"(?:float|int<(?P<below>\d+)|box<(?P<height>[1-9]\d*),(?P<width>[1-9]\d*)>):(?P<sides>(?:N|[1-9]\d*)(?:,(?:N|[1-9]\d*))*)"
)
_REMEDY = "Write KIND:SIDES with N for the batch, inputs joined by +: float:N,3,224,224 or int<50257:N,1024."


class Input(Struct, frozen=True):
    """One tensor that a model takes."""

    sides: tuple[int | None, ...]
    """None is the batch."""
    below: int | None
    """Whole numbers below this; None: normal numbers."""
    within: tuple[int, int] | None = None
    """Boxes in pictures of this height and width, four numbers each."""

    def shape(self, batch: int) -> tuple[int, ...]:
        """Its shape at a batch size."""
        sides = tuple(batch if side is None else side for side in self.sides)
        return (*sides, 4) if self.within else sides


def parse(text: str) -> tuple[Input, ...]:
    """A description taken apart.

    Raises:
        UsageError: it is none; the remedy shows the form.
    """
    return tuple(_parse(part.strip(), text) for part in text.split("+"))


def _parse(part: str, text: str) -> Input:
    match = _INPUT.fullmatch(part)
    if match is None or match["below"] == "0":
        raise UsageError(f"`{text}` describes no inputs", remedy=_REMEDY)
    sides = tuple(None if side == "N" else int(side) for side in match["sides"].split(","))
    return Input(
        sides=sides,
        below=int(match["below"]) if match["below"] else None,
        within=(int(match["height"]), int(match["width"])) if match["height"] else None,
    )


def tensors(text: str, batch: int, *, device: Any = "cpu", dtype: Any = None, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Random inputs, the same for the same seed.

    Args:
        text: the description.
        batch: what N stands for.
        device: a torch device, its name, or "meta".
        dtype: of the normal numbers, a torch dtype; float32 by default.
        seed: of the generator.

    Raises:
        UsageError: no description, or a batch below 1.
    """
    import torch

    if batch < 1:
        raise UsageError(f"a batch of {batch} holds nothing", remedy="Ask for 1 or more.")
    chance = torch.Generator().manual_seed(seed)
    found = []
    for item in parse(text):
        shape = item.shape(batch)
        if str(device) == "meta":
            kind = torch.int64 if item.below else dtype or torch.float32
            found.append(torch.empty(shape, dtype=kind, device="meta"))
        elif item.below:
            found.append(torch.randint(item.below, shape, generator=chance).to(device))
        elif item.within:
            found.append(_boxes(item.within, shape, chance).to(device))
        else:
            found.append(torch.randn(shape, generator=chance).to(device, dtype or torch.float32))
    return tuple(found)


def _boxes(within: tuple[int, int], shape: tuple[int, ...], chance: torch.Generator) -> torch.Tensor:
    """Boxes anywhere in a picture, a pixel wide and high at least; float32 whatever the pictures are."""
    import torch

    size = torch.tensor((within[1], within[0]))
    low = torch.rand(*shape[:-1], 2, generator=chance) * (size - 1)
    high = low + 1 + torch.rand(*shape[:-1], 2, generator=chance) * (size - 1 - low)
    return torch.cat((low, high), -1)
