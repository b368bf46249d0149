"""The operations of a step of a model and the bytes each moves: recorded on the meta device, where nothing is computed.

Eager: every operation reads its operands from memory and writes its results there. Fused: a chain of element-wise operations
is one kernel that reads what comes from outside and writes what outlives the chain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from msgspec.structs import replace

from dltool.bench.networks.chains import Chain, joins
from dltool.bench.networks.traffic_bytes import moved, of_gradients
from dltool.bench.traffic import Operation, Traffic
from dltool.errors import unknown_name
from dltool.zoo import memory
from dltool.zoo.attention import fused_attention
from dltool.zoo.autocast import meta_autocast
from dltool.zoo.products import RULES, Product
from dltool.zoo.recorder import tensors_in
from dltool.zoo.subject import Subject, anywhere, forward_of, nominal, step_of, stepping

PRECISIONS = {
    "fp32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16", "amp-bf16": "bfloat16", "amp-fp16": "float16",
}  # fmt: skip
"""Name -> torch dtype of the products; the weights of those that begin with "amp" are float32."""
MODES = ("train", "infer")


def traffic_of(
    subject: Subject,
    batch: int,
    precision: str,
    mode: str,
    *,
    optimizer: str | Callable[[list[Any]], Any] = "momentum",
    fused: bool = False,
) -> Traffic:
    """What a step of a model asks of a device.

    Args:
        subject: the model.
        batch: samples.
        precision: one of `PRECISIONS`.
        mode: "train" or "infer".
        optimizer: of a training step: one of `memory.OPTIMIZERS`, or what makes one from parameters.
        fused: chains of element-wise operations are one kernel.

    Raises:
        UsageError: an unknown precision, mode or optimizer.
    """
    check(precision, mode)
    if mode == "infer":
        found, where = anywhere(lambda device: _forward(subject, batch, precision, device, fused))
    else:
        if isinstance(optimizer, str):
            memory.check("fp32", optimizer)
        found, where = stepping(
            subject, batch, lambda device, plain: _step(subject, batch, precision, device, plain, fused, optimizer)
        )
    return Traffic(mode=mode, precision=precision, batch=batch, operations=found, fused=fused, found_on=where)


def check(precision: str, mode: str) -> None:
    """Refuse what is unknown.

    Raises:
        UsageError: no such precision or mode.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if mode not in MODES:
        raise unknown_name("mode", mode, MODES)


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

    class Recorder(TorchDispatchMode):
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
    torch.backends.mha.set_fastpath_enabled(False)
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


def _forward(subject: Subject, batch: int, precision: str, device: str, fused: bool) -> tuple[Operation, ...]:
    import torch

    model, inputs = forward_of(subject, batch, device, _stored(precision, device))

    def run() -> None:
        with torch.no_grad(), _cast(precision, device):
            nominal(model)(*inputs)

    return _named(operations_of(run, fused=fused), precision, device)


def _step(
    subject: Subject,
    batch: int,
    precision: str,
    device: str,
    plain: bool,
    fused: bool,
    optimizer: str | Callable[[list[Any]], Any],
) -> tuple[Operation, ...]:
    step = step_of(subject, batch, device, _stored(precision, device), plain=plain)
    parameters = [parameter for parameter in step.model.parameters() if parameter.requires_grad]
    descent = _of_name(optimizer, parameters) if isinstance(optimizer, str) else optimizer(parameters)
    _begin(descent, parameters)

    def run() -> None:
        with _cast(precision, device):
            loss = step.loss()
        loss.backward()
        descent.step()

    return _named(operations_of(run, fused=fused), precision, device)


def _of_name(name: str, parameters: list[Any]) -> Any:
    """All parameters in one call each, as torch does it on a GPU."""
    import torch

    kind, arguments = memory.OPTIMIZERS[name]
    return getattr(torch.optim, kind)(parameters, foreach=True, **arguments)


def _begin(descent: Any, parameters: list[Any]) -> None:
    """A first step that makes the optimizer's state: later ones are alike."""
    import torch

    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    descent.step()
    descent.zero_grad(set_to_none=True)


def _stored(precision: str, device: str) -> Any:
    """The torch dtype of parameters and inputs. CPUs are slow with float16: bfloat16 is as wide."""
    import torch

    if precision.startswith("amp"):
        return torch.float32
    return getattr(torch, _on(device, PRECISIONS[precision]))


def _on(device: str, kind: str) -> str:
    return "bfloat16" if device == "cpu" and kind == "float16" else kind


def _cast(precision: str, device: str) -> AbstractContextManager[Any]:
    if not precision.startswith("amp"):
        return nullcontext()
    import torch

    if device == "meta":
        return meta_autocast(getattr(torch, PRECISIONS[precision]))
    return torch.autocast(device, torch.bfloat16)


def _named(found: tuple[Operation, ...], precision: str, device: str) -> tuple[Operation, ...]:
    """With the dtype that was asked for: float16 where a CPU took bfloat16 in its place, TF32 in place of float32."""
    other = {"fp32": "tf32"} if precision == "tf32" else {"bf16": "fp16"} if device == "cpu" and "fp16" in precision else {}
    return tuple(replace(one, dtype=other.get(one.dtype or "", one.dtype)) for one in found)
