"""Keys and values of what was read so far, for the decoders of the zoo; see `dltool.models.causal.KVCache` for their own.

Both kinds can be set back to a mark, so that every sample of a benchmark does the same work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

KINDS = ("static", "dynamic")


class Cache(Protocol):
    """What the steps ask of a cache."""

    def begin(self, count: int) -> Any:
        """Before each forward of `count` tokens; the mask that goes with it, or None."""

    def empty(self) -> None:
        """Forget everything."""

    def mark(self) -> None:
        """Remember what it holds now."""

    def reset(self) -> None:
        """Go back to the mark."""

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values."""


class StaticCache:
    """Memory for all positions is set apart at the start, and where it is written is a number on the device.

    So every token runs the same kernels at the same addresses, which is what CUDA graphs and compilers want; a mask hides the
    positions that are not written yet.
    """

    def __init__(self, torch: Any, like: Any, batch: int, length: int) -> None:
        """Empty.

        Args:
            torch: the module.
            like: the model's own cache: its `keys` are (layers, batch, heads, length, width).
            batch: sequences.
            length: the most positions that it will hold.
        """
        layers, _, heads, _, width = like.keys.shape
        shape, place = (batch, heads, length, width), {"device": like.keys.device, "dtype": like.keys.dtype}
        self.keys = [torch.zeros(shape, **place) for _ in range(layers)]  # zeros: what is hidden must be numbers
        self.values = [torch.zeros(shape, **place) for _ in range(layers)]
        self.seen = torch.zeros((), dtype=torch.int64, device=like.keys.device)
        self._all = torch.arange(length, device=like.keys.device)
        self._places = self._all
        self._marked = 0
        self._untouched = self._first = True

    def begin(self, count: int) -> Any:
        """The first tokens see one another alone; those after them see what is written up to themselves."""
        self._first, self._untouched = self._untouched, False
        if self._first:
            return None
        self._places = self._all[:count] + self.seen
        return (self._all <= self._places[:, None])[None, None]

    def extend(self, layer: int, keys: Any, values: Any) -> tuple[Any, Any]:
        """Write (N, heads, T, width) of one layer; gives what is to be attended to, unwritten positions too."""
        if self._first:
            self.keys[layer][:, :, : keys.shape[2]] = keys
            self.values[layer][:, :, : keys.shape[2]] = values
            return keys, values
        self.keys[layer].index_copy_(2, self._places, keys)
        self.values[layer].index_copy_(2, self._places, values)
        return self.keys[layer], self.values[layer]

    def empty(self) -> None:
        """What was written stays, and is written over."""
        self.seen.zero_()
        self._untouched = True

    def mark(self) -> None:
        """The number of positions is all there is to it."""
        self._marked, self._untouched = int(self.seen), False

    def reset(self) -> None:
        """The next token is written at the mark."""
        self.seen.fill_(self._marked)

    @property
    def nbytes(self) -> int:
        """Written or not."""
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))


class DynamicCache:
    """Each token makes all keys and values anew, one position longer."""

    def __init__(self, torch: Any, layers: int) -> None:
        """Empty."""
        self._cat = torch.cat
        self._held: list[tuple[Any, Any] | None] = [None] * layers
        self._marked, self._marked_seen = list(self._held), 0
        self.seen = 0

    def begin(self, count: int) -> None:
        """It holds nothing but what was seen: the order of tokens is mask enough."""

    def extend(self, layer: int, keys: Any, values: Any) -> tuple[Any, Any]:
        """Put (N, heads, T, width) of one layer behind the others; gives all of them."""
        held = self._held[layer]
        if held is not None:
            keys, values = self._cat((held[0], keys), 2), self._cat((held[1], values), 2)
        self._held[layer] = (keys, values)
        return keys, values

    def empty(self) -> None:
        """Its memory goes back to the allocator."""
        self._held, self.seen = [None] * len(self._held), 0

    def mark(self) -> None:
        """The tensors of the mark are never written to."""
        self._marked, self._marked_seen = list(self._held), self.seen

    def reset(self) -> None:
        """What was added since goes."""
        self._held, self.seen = list(self._marked), self._marked_seen

    @property
    def nbytes(self) -> int:
        """What it holds now."""
        return sum(tensor.nbytes for pair in self._held if pair is not None for tensor in pair)


class TheirCache:
    """A cache of transformers, of either kind."""

    def __init__(self, make: Callable[[], Any], *, static: bool) -> None:
        """Empty.

        Args:
            make: gives an empty cache of theirs.
            static: which kind it gives.
        """
        self._make, self._static = make, static
        self.theirs = make()
        self._marked: list[Any] = []

    def begin(self, count: int) -> None:
        """The model makes its own mask."""

    def empty(self) -> None:
        """A static one keeps its memory."""
        if not self._static:
            self.theirs = self._make()
            return
        for layer in self.theirs.layers:
            layer.cumulative_length.zero_()

    def mark(self) -> None:
        """Where a static one is written, and what a dynamic one holds."""
        if self._static:
            self._marked = [int(layer.cumulative_length) for layer in self.theirs.layers]
        else:
            self._marked = [(layer.keys, layer.values) for layer in self.theirs.layers]

    def reset(self) -> None:
        """What was added since is written over, or goes."""
        for layer, marked in zip(self.theirs.layers, self._marked, strict=True):
            if self._static:
                layer.cumulative_length.fill_(marked)
            else:
                layer.keys, layer.values = marked

    @property
    def nbytes(self) -> int:
        """Of the layers that have tensors by now."""
        tensors = (getattr(layer, name, None) for layer in self.theirs.layers for name in ("keys", "values"))
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)
