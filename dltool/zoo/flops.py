"""Operations of a model: forward and training step, by recording every product that is made. See `Flops` for what is counted.

Right where a plain look at the operations that run is not: the gradients of grouped convolutions, attention in one piece,
recurrent layers on a CPU, encoder layers with a path of their own. A first layer whose input needs no gradient has none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from dltool.model_results import Flops, ModelFlops
from dltool.zoo.products import Product
from dltool.zoo.recorder import products_of
from dltool.zoo.subject import Subject, anywhere, forward_of, nominal, samples, step_of, stepping

LEAST = 2
"""Samples of a training step: batch norm over a map of one value needs two."""


def count(subject: Subject, batch: int = 1, *, training: bool = True) -> ModelFlops:
    """Forward of a batch, and a training step of it (of two samples at least)."""
    batch = samples(subject, batch)
    forward, forward_on = anywhere(lambda device: _forward(subject, batch, device))
    if not training:
        return ModelFlops(batch=batch, forward=forward, counted_on=forward_on)
    most = samples(subject, max(batch, LEAST))
    step, step_on = stepping(subject, most, lambda device, plain: _step(subject, most, device, plain))
    where = forward_on if step_on == "meta" else step_on
    return ModelFlops(batch=batch, forward=forward, train_batch=most, train_step=step, counted_on=where)


def forward(subject: Subject, batch: int = 1) -> Flops:
    """The forward alone, without torch's own figure."""
    return anywhere(lambda device: of_products(products_of(_forward_call(subject, batch, device))))[0]


def of_products(products: Iterable[Product], counter: int | None = None) -> Flops:
    """The sums of what was recorded."""
    kinds: Counter[str] = Counter()
    again = spared = 0
    for one in products:
        spared += one.causal * (not one.again) * one.ops
        again += one.again * one.ops
        kinds[one.kind] += (not one.again) * one.ops
    total = sum(kinds.values())
    return Flops(ops=total, ops_causal_halved=total - spared // 2, ops_again=again, by_kind=dict(kinds), counter=counter)


def _forward(subject: Subject, batch: int, device: str) -> Flops:
    return _counted(_forward_call(subject, batch, device), device)


def _step(subject: Subject, batch: int, device: str, plain: bool) -> Flops:
    step = step_of(subject, batch, device, plain=plain)
    return _counted(lambda: step.loss().backward(), device)


def _forward_call(subject: Subject, batch: int, device: str) -> Callable[[], Any]:
    import torch

    model, inputs = forward_of(subject, batch, device)
    return torch.no_grad()(lambda: nominal(model)(*inputs))


def _counted(run: Callable[[], Any], device: str) -> Flops:
    return of_products(products_of(run), _counter(run) if device == "meta" else None)


def _counter(run: Callable[[], Any]) -> int:
    """What torch's own counter says."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())
