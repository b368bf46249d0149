"""Tensors from a description of inputs.

    float:N,3,224,224              normal numbers
    int<50257:N,1024               whole numbers below 50257
    ones:N,512                     whole numbers, all 1: the mask of a batch without padding
    box<600,800>:N,2000            boxes x1, y1, x2, y2 in pictures of 600 x 800 pixels: (N, 2000, 4)
    adjacency:2708,2708            a graph of so many nodes, as `adjacency` makes it
    float:N,3,64,64 + int<1000:N   two inputs

N is the batch. An input without N does not grow with it, such as the one graph of a GCN.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dltool.errors import UsageError

if TYPE_CHECKING:
    import torch

_KIND = r"float|ones|adjacency|int<(?P<below>[1-9]\d*)|box<(?P<height>[1-9]\d*),(?P<width>[1-9]\d*)>"
_INPUT = re.compile(rf"(?P<kind>{_KIND}):(?P<sides>(?:N|[1-9]\d*)(?:,(?:N|[1-9]\d*))*)")
_WHOLE = ("int", "ones")
_REMEDY = "Write KIND:SIDES with N for the batch, inputs joined by +: float:N,3,224,224 or int<50257:N,1024."


class Input(Struct, frozen=True):
    """One tensor that a model takes."""

    kind: str
    """"float", "int", "ones", "box" or "adjacency"."""
    sides: tuple[int | None, ...]
    """None is the batch."""
    below: int = 0
    """Of "int": the numbers are below this."""
    within: tuple[int, int] = (0, 0)
    """Of "box": height and width of the pictures."""

    def shape(self, batch: int) -> tuple[int, ...]:
        """Its shape at a batch size."""
        sides = tuple(batch if side is None else side for side in self.sides)
        return (*sides, 4) if self.kind == "box" else sides


def parse(text: str) -> tuple[Input, ...]:
    """A description taken apart.

    Raises:
        UsageError: it is none; the remedy shows the form.
    """
    return tuple(_parse(part.strip(), text) for part in text.split("+"))


def _parse(part: str, text: str) -> Input:
    match = _INPUT.fullmatch(part)
    if match is None:
        raise UsageError(f"`{text}` describes no inputs", remedy=_REMEDY)
    kind = match["kind"].partition("<")[0]
    sides = tuple(None if side == "N" else int(side) for side in match["sides"].split(","))
    if kind == "adjacency" and (len(sides) != 2 or sides[0] != sides[1] or None in sides):
        raise UsageError(f"`{part}` is no adjacency", remedy="Write the nodes twice: adjacency:2708,2708.")
    return Input(kind, sides, int(match["below"] or 0), (int(match["height"] or 0), int(match["width"] or 0)))


def tensors(text: str, batch: int, *, device: Any = "cpu", dtype: Any = None, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Random inputs, the same for the same seed.

    Args:
        text: the description.
        batch: what N stands for.
        device: a torch device, its name, or "meta".
        dtype: of the normal numbers and of an adjacency, a torch dtype; float32 by default. Boxes are float32.
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
        kind = torch.int64 if item.kind in _WHOLE else torch.float32 if item.kind == "box" else dtype or torch.float32
        if str(device) == "meta":
            found.append(torch.empty(item.shape(batch), dtype=kind, device="meta"))
        else:
            found.append(_made(item, item.shape(batch), chance).to(device, kind))
    return tuple(found)


def _made(item: Input, shape: tuple[int, ...], chance: torch.Generator) -> torch.Tensor:
    import torch

    if item.kind == "ones":
        return torch.ones(shape)
    if item.kind == "int":
        return torch.randint(item.below, shape, generator=chance)
    if item.kind == "box":
        return _boxes(item.within, shape, chance)
    if item.kind == "adjacency":
        return adjacency(shape[0], chance)
    return torch.randn(shape, generator=chance)


def _boxes(within: tuple[int, int], shape: tuple[int, ...], chance: torch.Generator) -> torch.Tensor:
    """Boxes anywhere in a picture, a pixel wide and high at least."""
    import torch

    size = torch.tensor((within[1], within[0]))
    low = torch.rand(*shape[:-1], 2, generator=chance) * (size - 1)
    high = low + 1 + torch.rand(*shape[:-1], 2, generator=chance) * (size - 1 - low)
    return torch.cat((low, high), -1)


def adjacency(nodes: int, chance: torch.Generator) -> torch.Tensor:
    """The normalised adjacency of a random graph: D^-1/2 (A + 1) D^-1/2, dense, (nodes, nodes), in float32.

    It has about two edges for each node, as networks of citations have (Cora: 5,278 for 2,708). D holds the row sums of A + 1.
    Source: Kipf, Welling 2017 Semi-Supervised Classification with Graph Convolutional Networks, section 2.
    """
    import torch

    here, there = torch.randint(nodes, (2, 2 * nodes), generator=chance)
    linked = torch.eye(nodes)
    linked[here, there] = linked[there, here] = 1.0
    scale = linked.sum(1).rsqrt()
    return scale[:, None] * linked * scale
