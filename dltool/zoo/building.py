"""A model from its name, its options and, where wanted, its weights."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltool.errors import CannotRun, UsageError, unknown_name
from dltool.zoo.entries import Entry, entry

if TYPE_CHECKING:
    from torch import nn


def build(
    name: str,
    *,
    weights: str | Path | None = None,
    device: Any = None,
    dtype: Any = None,
    training: bool = False,
    **options: Any,
) -> nn.Module:
    """A model of the zoo with random weights, or with those of a file.

    Args:
        name: as `dltool models` lists it.
        weights: a safetensors or torch file with the keys of the reference implementation; see `dltool.zoo.weights`.
        device: a torch device or its name; "meta" makes shapes alone, which costs neither time nor memory.
        dtype: a torch dtype for parameters and buffers; float32 by default.
        training: with the parts that only training needs, such as BERT's heads.
        options: of the model's function in `dltool/models/`, such as `num_classes`; texts are read by the option's type.

    Raises:
        UsageError: an unknown name or option, a value of the wrong kind, or a file that does not fit the model.
        CannotRun: torch is missing.
    """
    found = entry(name)
    wanted = {**(found.training if training else {}), **options}
    try:
        model = construct(factory(found), wanted, device=device, dtype=dtype)
    except ValueError as error:  # a word that is none of an option's
        raise UsageError(f"{name} cannot be built: {error}", remedy=f"`dltool models {name}` shows its variants.") from None
    if weights is not None:
        from dltool.zoo.weights import load

        load(model, weights)
    return model


def construct(
    make: Callable[..., nn.Module], options: Mapping[str, Any], *, device: Any = None, dtype: Any = None
) -> nn.Module:
    """Call a model's function on a device with a dtype."""
    import torch

    values = checked(make, options)
    with torch.device(device or "cpu"):
        model = make(**values)
    return model if dtype is None else model.to(dtype)


def factory(found: Entry) -> Callable[..., nn.Module]:
    """The function of `dltool/models/` that makes a model.

    Raises:
        CannotRun: torch is missing.
    """
    try:
        module = import_module(f"dltool.models.{found.module}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise CannotRun("building a model needs PyTorch", remedy="pip install 'dltool[bench]'") from None
    return getattr(module, found.name.replace(".", "_"))


def checked(make: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by the parameters of a function; texts become what the parameter holds.

    A function that takes any option gets what a text looks like: a number, a bool, a word.

    Raises:
        UsageError: no such option, or a text that is none of its values.
    """
    known = inspect.signature(make).parameters
    return {name: _value(make, known, name, given) for name, given in options.items()}


def _value(make: Callable[..., Any], known: Mapping[str, inspect.Parameter], name: str, given: Any) -> Any:
    free = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values())
    if name not in known and not free:
        raise unknown_name(f"option of {make.__name__}", name, known)
    if not isinstance(given, str):
        return given
    try:
        value = ast.literal_eval(given)
    except (SyntaxError, ValueError):
        value = given  # a word
    annotation = known[name].annotation if name in known else inspect.Parameter.empty
    if annotation is inspect.Parameter.empty:
        return value
    kind = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    wanted = [part.strip() for part in kind.split("|")]
    if type(value).__name__ not in (part.partition("[")[0].replace("None", "NoneType") for part in wanted):
        if "str" in wanted:
            return given
        if not ("float" in wanted and isinstance(value, int) and not isinstance(value, bool)):
            raise UsageError(f"option {name} of {make.__name__}: `{given}` is no {kind}", remedy=f"Give {name}=<{kind}>.")
    return value
