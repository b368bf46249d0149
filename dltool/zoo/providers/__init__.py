"""Models by name, from wherever they come: the zoo, other packages, the user's own code.

    resnet50                     the zoo
    torchvision:resnet101        a function of torchvision.models
    timm:vit_tiny_patch16_224    a model of timm
    hf:config.json  hf:gpt2      a configuration of transformers: a file, a folder, or a name where the hub can be reached
    diffusers:config.json        the same of diffusers
    package.module:callable      the user's own; also file.py:callable
    any other name               an entry point of the group dltool.models

A provider is a function of a name, giving how the model is made and what it takes. Weights are random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dltool.errors import CannotRun, UsageError
from dltool.zoo import inputs as descriptions
from dltool.zoo.building import construct, factory
from dltool.zoo.entries import entries, entry

if TYPE_CHECKING:
    from torch import nn

PREFIXES: Mapping[str, tuple[str, str]] = {
    "torchvision": ("packages", "torchvision"),
    "timm": ("packages", "timm"),
    "hf": ("configurations", "transformers"),
    "diffusers": ("configurations", "diffusers"),
}
"""Prefix -> the module of this package, and its function; named like the package that it needs."""


@dataclass(frozen=True)
class Source:
    """Where a model comes from: how it is made, and what it takes."""

    name: str
    """As it was asked for."""
    make: Callable[..., Any]
    """Gives a torch module, or a module and its inputs, on the device that is torch's default when it is called."""
    input: str | None = None
    """Its inputs as `dltool.zoo.inputs` describes them; None: not known."""
    task: str | None = None
    """A task of `dltool.zoo.tasks`; None: not known."""
    training: Mapping[str, str] = field(default_factory=dict)
    """Options that only a training step needs."""


@dataclass(frozen=True)
class Ready:
    """A model that can be called."""

    module: nn.Module
    inputs: tuple[Any, ...]
    task: str | None


def check(name: str) -> None:
    """Refuse what names no model, before anything is imported.

    Raises:
        UsageError: none of the zoo's, or malformed.
    """
    prefix, colon, rest = name.partition(":")
    if not colon:
        if not _plugged(name):
            entry(name)
    elif prefix not in PREFIXES:
        parted(name)
    elif not rest:
        raise UsageError(f"`{name}` names no model", remedy=f"Write {prefix}:NAME.")


def in_zoo(name: str) -> bool:
    """Whether a name is that of the zoo's own, or of none: no provider's."""
    return ":" not in name and not _plugged(name)


def _plugged(name: str) -> bool:
    """Whether another distribution brings a model of this name, and the zoo has none."""
    from dltool.zoo.providers.plugins import brought

    return name not in {one.name for one in entries()} and name in brought()


def parted(name: str) -> tuple[str, str]:
    """The module (or file) and the callable of a user's model.

    Raises:
        UsageError: the name has not both.
    """
    module, _, attribute = name.rpartition(":")
    if not module or ":" in module or not attribute.isidentifier():
        raise UsageError(
            f"`{name}` names no model",
            remedy="Write package.module:callable or file.py:callable, where callable() gives a torch.nn.Module.",
        )
    return module, attribute


def source(name: str) -> Source:
    """Where the model of this name comes from.

    Raises:
        UsageError: no such model, or no name of one.
        CannotRun: the package it comes from is missing or broken.
    """
    check(name)
    prefix, colon, rest = name.partition(":")
    if _plugged(name):
        from dltool.zoo.providers.plugins import plugged

        return plugged(name)
    if not colon:
        found = entry(name)
        return Source(name, factory(found), found.input, found.task, found.training)
    if prefix not in PREFIXES:
        from dltool.zoo.providers.own import own

        return own(*parted(name))
    module, function = PREFIXES[prefix]
    return getattr(import_module(f"dltool.zoo.providers.{module}"), function)(name, rest)


def ready(
    found: Source,
    *,
    batch: int = 1,
    description: str | None = None,
    training: bool = False,
    device: Any = "cpu",
    dtype: Any = None,
    options: Mapping[str, Any] | None = None,
) -> Ready:
    """A model and inputs for it, random both.

    Args:
        found: where it comes from.
        batch: what N stands for in its inputs.
        description: its inputs, where they are not known or not wanted so.
        training: in train mode, with the parts that only training needs.
        device: a torch device or its name; "meta" for shapes alone.
        dtype: a torch dtype of parameters and of inputs that are no whole numbers; float32 by default.
        options: of the function that makes it.

    Raises:
        UsageError: an option or a description that is none; what it takes is not known, and `description` does not say.
    """
    module, brought = made(found, training=training, device=device, dtype=dtype, options=options)
    text = description or found.input
    if text is not None:
        return Ready(module, descriptions.tensors(text, batch, device=device, dtype=dtype), found.task)
    if brought is None:
        raise UsageError(f"what {found.name} takes is not known", remedy="Say it: --input float:N,3,224,224")
    return Ready(module, brought, found.task)


def made(
    found: Source,
    *,
    training: bool = False,
    device: Any = "cpu",
    dtype: Any = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[nn.Module, tuple[Any, ...] | None]:
    """A model, and the inputs that it brings, if it does; see `ready`.

    Raises:
        UsageError: an option that is none, or what is made is no model.
    """
    given = {**(found.training if training else {}), **(options or {})}
    module, inputs = construct(found.make, given, device=device), None
    if isinstance(module, tuple) and len(module) == 2:
        module, inputs = module
        inputs = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
        inputs = tuple(_placed(one, device, dtype) for one in inputs)
    if not callable(module):
        raise UsageError(f"{found.name} gives {type(module).__name__}, no model", remedy="It is to return a torch.nn.Module.")
    if hasattr(module, "train"):
        module.train(training).to(dtype)
    return module, inputs


def _placed(given: Any, device: Any, dtype: Any) -> Any:
    """An input on a device, numbers that are not whole in a dtype."""
    if not hasattr(given, "is_floating_point"):
        return given
    return given.to(device, dtype if given.is_floating_point() else None)


def package(name: str, wanted_for: str) -> Any:
    """A package that a provider needs.

    Raises:
        CannotRun: it is missing, or it is there and cannot be imported.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise CannotRun(f"{name} cannot be imported: {error}", remedy=f"pip install {error.name}") from None
        raise CannotRun(f"{wanted_for} needs the package {name}", remedy=f"pip install {name}") from None
    except Exception as error:  # a package of another build than torch's fails in many ways
        raise CannotRun(
            f"{name} cannot be imported: {' '.join(str(error).split())[:200]}",
            remedy="`dltool doctor` says which build goes with this PyTorch.",
        ) from None
