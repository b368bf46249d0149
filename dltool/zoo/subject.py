"""A model that is looked at: made anew for any device, dtype and batch, whether it is of the zoo or somebody's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from dltool.zoo import providers
from dltool.zoo.building import build
from dltool.zoo.entries import Entry, entry
from dltool.zoo.inputs import tensors
from dltool.zoo.providers import Source
from dltool.zoo.recorder import products_of, summed, tensors_in
from dltool.zoo.tasks import Task, task

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")


@dataclass(frozen=True)
class Subject:
    """How to make a model and what it takes."""

    name: str
    make: Callable[..., nn.Module]
    """`make(device=..., dtype=..., training=...)`: a new model, with the parts that only training needs where asked for."""
    inputs: Callable[..., tuple[Any, ...]]
    """`inputs(batch, device=..., dtype=...)`: its arguments."""
    task: Task | None = None
    """None: the loss is the sum of all outputs."""


@dataclass(frozen=True)
class Step:
    """A training step that is ready to be made."""

    model: nn.Module
    inputs: tuple[Any, ...]
    targets: Any
    loss: Callable[[], Tensor]
    """The forward and the loss of it."""


def of_zoo(name: str, options: Mapping[str, Any] | None = None) -> Subject:
    """A model of the zoo.

    Raises:
        UsageError: no such model.
    """
    return of_entry(entry(name), options)


def of_entry(found: Entry, options: Mapping[str, Any] | None = None) -> Subject:
    """A row of the zoo's table, with further options."""
    given = {**found.options, **(options or {})}

    def make(*, device: Any = None, dtype: Any = None, training: bool = False) -> nn.Module:
        return build(found.name, device=device, dtype=dtype, training=training, **given)

    def inputs(batch: int, *, device: Any = "cpu", dtype: Any = None) -> tuple[Any, ...]:
        return tensors(found.input, batch, device=device, dtype=dtype)

    return Subject(name=found.label, make=make, inputs=inputs, task=task(found.task))


def of_source(found: Source, options: Mapping[str, Any] | None = None, description: str | None = None) -> Subject:
    """A model of another package or of the user, with options, and its inputs where they are to be others or are not known."""

    def make(*, device: Any = None, dtype: Any = None, training: bool = False) -> nn.Module:
        return providers.made(found, training=training, device=device or "cpu", dtype=dtype, options=options)[0]

    def inputs(batch: int, *, device: Any = "cpu", dtype: Any = None) -> tuple[Any, ...]:
        return providers.ready(found, batch=batch, device=device, dtype=dtype, options=options).inputs

    text = description or found.input
    of = task(found.task) if found.task else None
    return Subject(name=found.name, make=make, inputs=inputs if text is None else partial(tensors, text), task=of)


def forward_of(subject: Subject, batch: int, device: str, dtype: Any = None) -> tuple[nn.Module, tuple[Any, ...]]:
    """The model in eval mode and its inputs."""
    model = subject.make(device=device, dtype=dtype).eval()
    return model, subject.inputs(batch, device=device, dtype=dtype)


def nominal(model: nn.Module) -> Callable[..., Any]:
    """What is counted of a model: its forward, or `nominal` of one whose work hangs on what it finds, such as a detector."""
    return getattr(model, "nominal", model)


def step_of(subject: Subject, batch: int, device: str, dtype: Any = None, *, plain: bool = False) -> Step:
    """The model in train mode with inputs, targets and loss; `plain`: in eval mode, with the sum of its outputs as loss."""
    import torch

    model = subject.make(device=device, dtype=dtype, training=True).train(not plain)
    inputs = subject.inputs(batch, device=device, dtype=dtype)
    of = subject.task
    if of is None or plain:
        return Step(model, inputs, None, lambda: summed(nominal(model)(*inputs)))
    targets = of.targets(model, inputs, torch.Generator().manual_seed(1))
    return Step(model, inputs, targets, lambda: of.loss(model, inputs, targets))


def samples(subject: Subject, batch: int) -> int:
    """The batch; 1 where the input is one whatever the batch, such as the one graph of a GCN."""
    one, two = ([tensor.shape for tensor in tensors_in(subject.inputs(size, device="meta"))] for size in (1, 2))
    return 1 if one == two else batch


def anywhere(ask: Callable[[str], T]) -> tuple[T, str]:
    """What `ask` answers on the meta device, where nothing is computed; on the CPU where a model's code needs real numbers."""
    try:
        return ask("meta"), "meta"
    except RuntimeError:  # as torch refuses to read a number from a tensor that has none
        return ask("cpu"), "cpu"


PLAIN = "meta, with the sum of the outputs in eval mode as loss"
_DEAR = 10**11
"""Operations of a step above which it is not made on the CPU: some seconds."""


def stepping(subject: Subject, batch: int, ask: Callable[[str, bool], T]) -> tuple[T, str]:
    """What `ask(device, plain)` answers of a training step: on the meta device, else on the CPU.

    Where the loss needs real numbers (a choice of boxes) and a step on the CPU would take long, the loss is the sum of the
    outputs in eval mode, on the meta device: some models do not run in train mode without their targets.
    """
    try:
        return ask("meta", False), "meta"
    except RuntimeError:
        pass
    if _dear(subject, batch):
        try:
            return ask("meta", True), PLAIN
        except (RuntimeError, ValueError, TypeError, AssertionError):  # it cannot be called without targets either
            pass
    return ask("cpu", False), "cpu"


def _dear(subject: Subject, batch: int) -> bool:
    import torch

    model, inputs = forward_of(subject, 1, "meta")
    try:
        made = products_of(torch.no_grad()(lambda: nominal(model)(*inputs)))
    except RuntimeError:
        return False
    return 3 * batch * sum(product.ops for product in made) > _DEAR
