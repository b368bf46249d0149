"""A model described: what its row says, and what is found out by running it on the meta device. See also `listing`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from dltool.catalog import Board
from dltool.errors import UsageError
from dltool.model_results import Model, Option
from dltool.zoo import fits, flops, layers, memory
from dltool.zoo.building import checked, factory
from dltool.zoo.entries import Entry, entries, entry
from dltool.zoo.listing import row
from dltool.zoo.providers import in_zoo, source
from dltool.zoo.recorder import tensors_in
from dltool.zoo.subject import Subject, of_entry, of_source

if TYPE_CHECKING:
    from torch import nn


def named(name: str, options: Mapping[str, str], description: str | None = None) -> tuple[Model, Subject]:
    """A model with options: its row, without what the options may have changed, and how to run it.

    Args:
        name: of the zoo, or as `dltool.zoo.providers` knows models.
        options: of the function that makes it.
        description: its inputs, where they are to be others or are not known.

    Raises:
        UsageError: no such model or option.
        CannotRun: torch, or the package that the model is of, is missing.
    """
    if not in_zoo(name) or description is not None:
        other = source(name)
        takes = description or other.input
        notes = () if takes else ("its callable brings the inputs: all of them count as one sample",)
        told = Model(name=name, options=options, task=other.task or "", input=takes or "its own", notes=notes)
        return told, of_source(other, options, description)
    found = _variant(entry(name), options)
    make = factory(found)
    checked(make, options)
    rest = {key: value for key, value in options.items() if found.options.get(key) != value}
    told = replace(row(found), options={**found.options, **rest}, takes=_takes(make))
    if rest:
        told = replace(told, params=None, forward_gflops=None, published="")
    return told, of_entry(found, rest)


def _variant(found: Entry, options: Mapping[str, str]) -> Entry:
    """The row that has the most of these options and no others."""
    rows = [other for other in entries() if other.name == found.name and other.options.items() <= options.items()]
    return max(rows, key=lambda other: len(other.options), default=found)


def _takes(make: Any) -> tuple[Option, ...]:
    known = inspect.signature(make).parameters.values()
    return tuple(Option(name=one.name, type=str(one.annotation), default=repr(one.default)) for one in known)


def examined(
    told: Model,
    subject: Subject,
    *,
    batch: int = 1,
    dtype: str = "fp32",
    optimizer: str = "adamw",
    board: Board | None = None,
    table: bool = False,
) -> Model:
    """The model with what running it tells: parameters, operations, memory, and on request what fits and its layers.

    Args:
        told: what is known of it already.
        subject: how to run it.
        batch: samples of a step.
        dtype: of the memory, see `memory.DTYPES`.
        optimizer: see `memory.OPTIMIZERS`.
        board: tell the largest batch on it.
        table: tell the layers.

    Raises:
        UsageError: a batch below 1, or an unknown dtype or optimizer.
    """
    if batch < 1:
        raise UsageError(f"a batch of {batch} holds nothing", remedy="Ask for 1 or more: --batch 8")
    memory.check(dtype, optimizer)
    model = subject.make(device="meta", dtype=memory.torch_dtype(dtype))
    trained = max(batch, flops.LEAST)
    return replace(
        told,
        params=sum(parameter.numel() for parameter in model.parameters()),
        trainable=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        flops=flops.count(subject, batch),
        memory=(
            memory.training(subject, trained, dtype=dtype, optimizer=optimizer),
            memory.inference(subject, batch, dtype=dtype),
        ),
        kv_cache_per_token=kv_cache_per_token(model),
        fits=fits.of(subject, board, optimizer=optimizer) if board is not None else None,
        layers=layers.of(subject, batch) if table else (),
    )


def kv_cache_per_token(model: nn.Module) -> int | None:
    """Bytes of keys and values that each token of a sample leaves in the cache; None where a model has none.

    A model with a cache has a method `cache(batch, length)`, which makes an empty one.
    """
    cache = getattr(model, "cache", None)
    if not callable(cache):
        return None
    short, long = (sum(tensor.nbytes for tensor in tensors_in(vars(cache(1, length)))) for length in (1, 2))
    return long - short
