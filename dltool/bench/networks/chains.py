"""A chain of element-wise operations as one kernel: what it reads from outside, and what of its results outlives it."""

from __future__ import annotations

import weakref
from typing import Any

from dltool.bench.networks.traffic_bytes import again, size
from dltool.zoo.recorder import tensors_in

_JOIN = frozenset({
    "_to_copy", "copy_", "clone", "native_layer_norm", "native_batch_norm", "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training", "native_group_norm", "_softmax", "_log_softmax", "native_dropout",
})  # fmt: skip
"""What a compiler joins with its neighbours beside what torch itself marks as element-wise."""


def joins(func: Any) -> bool:
    """Whether an operation may be a part of a chain."""
    import torch

    return torch.Tag.pointwise in func.tags or func.overloadpacket.__name__ in _JOIN


class Chain:
    """Operations that follow one another without another kind between them."""

    def __init__(self) -> None:
        self._read: dict[int, int] = {}
        self._made: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._again = 0

    def add(self, name: str, args: Any, kwargs: Any, result: Any) -> None:
        """One more operation.

        Args:
            name: of torch's operation, without its overload.
            args: its positional arguments.
            kwargs: the others.
            result: what it returned.
        """
        self._again += again(name, args)
        for tensor in tensors_in((args[1:] if name == "copy_" else args, kwargs or {})):
            key = tensor.untyped_storage()._cdata
            if key not in self._made:
                self._read[key] = max(self._read.get(key, 0), size(tensor))
        for tensor in tensors_in(result):
            storage = tensor.untyped_storage()
            self._made[storage._cdata] = (weakref.ref(storage), size(tensor))

    def close(self) -> int:
        """Its bytes; a new chain begins."""
        written = sum(held for alive, held in self._made.values() if alive() is not None)
        total = sum(self._read.values()) + written + self._again
        self._read, self._made, self._again = {}, {}, 0
        return total
