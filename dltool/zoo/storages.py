"""What memory a program holds through torch: every storage from its first tensor to its end, on any device, meta too."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from dltool.zoo.attention import fused_attention
from dltool.zoo.recorder import tensors_in


class Storages:
    """The storages that are alive, by what they are for, and the most there ever were at once."""

    def __init__(self, block: int) -> None:
        """Nothing yet.

        Args:
            block: bytes to which the allocator rounds up.
        """
        self.block = block
        self.live: Counter[str] = Counter()
        """Bytes by kind."""
        self.peak = 0
        self.at_peak: dict[str, int] = {}
        self.peak_in = ""
        self.phase = ""
        """What the program is doing; kept with the peak."""
        self._known: dict[int, tuple[weakref.ref[Any], str, int]] = {}

    def hold(self, tensors: Iterable[Any], kind: str) -> None:
        """Count tensors as this kind from now on, whether they were known or not."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in self._known:
                reference, before, size = self._known[key]
                self.live[before] -= size
            else:
                size = -(-storage.nbytes() // self.block) * self.block
                reference = weakref.ref(storage, partial(self._forget, key))
            self._known[key] = (reference, kind, size)
            self.live[kind] += size
        self._look()

    def rename(self, before: str, after: str) -> None:
        """Everything alive of a kind is of another from now on."""
        self._known = {
            key: (reference, after if kind == before else kind, size) for key, (reference, kind, size) in self._known.items()
        }
        moved = self.live.pop(before, 0)
        self.live[after] += moved
        if before in self.at_peak:  # what lives now has lived at the peak, but for what was born after it
            kept = min(moved, self.at_peak[before])
            self.at_peak[after] = self.at_peak.get(after, 0) + kept
            self.at_peak[before] -= kept

    def workspace(self, size: int) -> None:
        """So much was held for a moment, by an operation that is done."""
        self.live["temporary"] += size
        self._look()
        self.live["temporary"] -= size

    def forget_peak(self) -> None:
        """Begin anew with what is alive now."""
        self.peak = 0
        self._look()

    def knows(self, tensor: Any) -> bool:
        """Whether its storage is counted."""
        return tensor.untyped_storage()._cdata in self._known

    def _look(self) -> None:
        total = self.live.total()
        if total > self.peak:
            self.peak, self.at_peak, self.peak_in = total, {kind: size for kind, size in self.live.items() if size}, self.phase

    def _forget(self, key: int, _gone: object) -> None:
        _, kind, size = self._known.pop(key)
        self.live[kind] -= size


@contextmanager
def following(storages: Storages, workspace: Callable[[str, Sequence[Any], Any], int]) -> Iterator[None]:
    """Inside, the results of every operation are held as temporary, unless they are known.

    Args:
        storages: where they are counted.
        workspace: bytes that an operation holds while it runs, from its name, arguments and result.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    class Follower(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            storages.hold((tensor for tensor in tensors_in(result) if not storages.knows(tensor)), "temporary")
            if size := workspace(func.overloadpacket.__name__, args, result):
                storages.workspace(size)
            return result

    with fused_attention(), Follower():
        yield
