"""Tensors from a description of inputs.

    float:N,3,224,224              normal numbers
    int<50257:N,1024               whole numbers below 50257
    ones:N,512                     whole numbers, all 1: the mask of a batch without padding
    float:N,3,64,64 + int<1000:N   two inputs
    adjacency:2708,2708            a graph of so many nodes, as `adjacency` makes it

N is the batch. An input without N does not grow with it, such as the one graph of a GCN.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dltool.errors import UsageError

if TYPE_CHECKING:
    import torch

_INPUT = re.compile(r"(?P<kind>float|ones|adjacency|int<(?P<below>\d+)):(?P<sides>(?:N|[1-9]\d*)(?:,(?:N|[1-9]\d*))*)")
_REMEDY = "Write KIND:SIDES with N for the batch, inputs joined by +: float:N,3,224,224 or int<50257:N,1024."


class Input(Struct, frozen=True):
    """One tensor that a model takes."""

    sides: tuple[int | None, ...]
    """None is the batch."""
    below: int | None
    """Of whole numbers: they are below this."""
    kind: str = "float"
    """"float", "int", "ones" or "adjacency"."""

    def shape(self, batch: int) -> tuple[int, ...]:
        """Its shape at a batch size."""
        return tuple(batch if side is None else side for side in self.sides)


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
    kind = match["kind"].partition("<")[0]
    if kind == "adjacency" and (len(sides) != 2 or sides[0] != sides[1] or None in sides):
        raise UsageError(f"`{part}` is no adjacency", remedy="Write the nodes twice: adjacency:2708,2708.")
    return Input(sides=sides, below=int(match["below"]) if match["below"] else None, kind=kind)


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
            kind = torch.int64 if item.kind in ("int", "ones") else dtype or torch.float32
            found.append(torch.empty(shape, dtype=kind, device="meta"))
        elif item.kind == "ones":
            found.append(torch.ones(shape, dtype=torch.int64, device=device))
        elif item.below:
            found.append(torch.randint(item.below, shape, generator=chance).to(device))
        elif item.kind == "adjacency":
            found.append(adjacency(shape[0], chance).to(device, dtype or torch.float32))
        else:
            found.append(torch.randn(shape, generator=chance).to(device, dtype or torch.float32))
    return tuple(found)


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
