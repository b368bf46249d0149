"""Every operation of torch's that a call makes, with its arithmetic and the bytes it moves.

Eager: each reads its operands from memory and writes its results there. Fused: a chain of element-wise operations is one kernel
that reads what comes from outside and writes what outlives the chain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from dltool.bench.networks.chains import Chain, joins
from dltool.bench.networks.traffic_bytes import moved, of_gradients
from dltool.bench.traffic import Operation
from dltool.zoo.attention import fused_attention
from dltool.zoo.products import RULES, Product
from dltool.zoo.recorder import tensors_in


def operations_of(run: Callable[[], Any], *, fused: bool = False) -> tuple[Operation, ...]:
    """All operations of a call, those of one size counted together, in the order of their first occurrence."""
    counts: Counter[Operation] = Counter()
    with _recording(lambda operation: counts.update((operation,)), fused):
        run()
    return tuple(replace(operation, count=count) for operation, count in counts.items())


@contextmanager
def _recording(tell: Callable[[Operation], None], fused: bool) -> Iterator[None]:
    """Every operation that moves bytes inside is told."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    chain = Chain()

    def end() -> None:
        if size := chain.close():
            tell(Operation(kind="memory", bytes=size))

    class Recorder(TorchDispatchMode):  # type: ignore[misc]  # torch is not looked into
        def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if _is_view(func, args, kwargs, result):
                return result
            name = func.overloadpacket.__name__
            if fused and joins(func):
                chain.add(name, args, kwargs, result)
                return result
            end()
            for operation in _operations(name, args, kwargs, result):
                tell(operation)
            return result

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operation for a whole encoder layer, which no rule looks into
    try:
        with fused_attention(), Recorder():
            yield
        end()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _is_view(func: Any, args: Any, kwargs: Any, result: Any) -> bool:
    """Whether it returns memory of its operands unchanged, or nothing."""
    if func._schema.is_mutable:
        return False
    known = {tensor.untyped_storage()._cdata for tensor in tensors_in((args, kwargs or {}))}
    return all(tensor.untyped_storage()._cdata in known for tensor in tensors_in(result))


def _operations(name: str, args: Any, kwargs: Any, result: Any) -> Iterator[Operation]:
    rule = RULES.get(name)
    products = rule(args, result) if rule is not None else []
    if name == "convolution_backward":
        sizes = of_gradients(args, result)
        wanted = [size for size in sizes[:2] if size]
        for product, size in zip(products, wanted, strict=True):
            yield _product([product], size)
        if sizes[2]:
            yield Operation(kind="memory", bytes=sizes[2])
        return
    size = moved(name, args, kwargs, result)
    if products:
        yield _product(products, size)
    elif size:
        yield Operation(kind="memory", bytes=size)


def _product(products: list[Product], size: int) -> Operation:
    """Of a causal mask's square a fused kernel makes half."""
    ops = sum(one.ops // 2 if one.causal else one.ops for one in products)
    return Operation(kind=products[0].kind, dtype=products[0].dtype, ops=ops, bytes=size)
