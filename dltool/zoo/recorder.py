"""The products that a program makes with torch, forward and backward: recorded below autograd, on any device, meta too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from dltool.zoo.attention import fused_attention
from dltool.zoo.products import RULES, Product


@contextmanager
def recording(tell: Callable[[Product], None]) -> Iterator[None]:
    """Every product that is made inside is told, when it has been made.

    Attention that torch takes apart on the meta device is kept in one piece, as it is on a GPU.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            rule = RULES.get(func.overloadpacket.__name__)
            if rule is None and torch.is_inference_mode_enabled():  # nothing has taken composite operations apart yet
                with self:
                    parted = func.decompose(*args, **(kwargs or {}))
                if parted is not NotImplemented:
                    return parted
            result = func(*args, **(kwargs or {}))
            if rule is not None:
                backward = torch._C._current_graph_task_id() != -1
                for product in rule(args, result):
                    tell(product if product.name else replace(product, name="backward" if backward else "forward"))
            return result

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operation for a whole encoder layer, which no rule looks into
    try:
        with fused_attention(), Recorder():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def products_of(run: Callable[[], Any]) -> tuple[Product, ...]:
    """All products of a call, those of one shape counted together, in the order of their first occurrence."""
    counts: Counter[Product] = Counter()
    with recording(lambda product: counts.update((product,))):
        run()
    return tuple(replace(product, count=count) for product, count in counts.items())


def shapes_of(module: Any, inputs: Sequence[Any], *, backward: bool = True) -> tuple[Product, ...]:
    """Every product of one step of a torch module.

    Args:
        module: what is called.
        inputs: its arguments, on the module's device; meta tensors cost neither time nor memory.
        backward: also the gradients, as a training step makes them: of the sum of all outputs.
    """

    def step() -> None:
        total = summed(module(*inputs))
        if backward and total is not None:
            total.backward()

    return products_of(step)


def summed(output: Any) -> Any:
    """One number from whatever a module returns, for `backward`; None where nothing of it has a gradient."""
    total = None
    for tensor in tensors_in(output):
        if tensor.requires_grad:
            part = tensor.float().sum()
            total = part if total is None else total + part
    return total


def tensors_in(output: Any) -> Iterable[Any]:
    """The tensors of whatever a module returns or takes, in order."""
    if hasattr(output, "requires_grad"):
        yield output
    elif isinstance(output, dict):
        for value in output.values():
            yield from tensors_in(value)
    elif isinstance(output, (tuple, list)):
        for value in output:
            yield from tensors_in(value)
