"""What a check declares that it needs: facts and platforms. Where they are not there it is not asked."""

from __future__ import annotations

import math
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints

from msgspec import Struct

from dltool.lang import tr
from dltool.machine import Machine
from dltool.results import Evidence, Finding, Status

if TYPE_CHECKING:
    from dltool.checks import Check

PLATFORMS = ("linux", "windows", "wsl", "jetson", "container", "x86_64", "aarch64")
MAX_LIMIT_S = 300.0


def hindrance(item: Check, machine: Machine) -> Finding | None:
    """Why the check does not apply here, or cannot be asked; None where it can."""
    if item.platforms and not set(item.platforms) & _here(machine):
        wanted = ", ".join(item.platforms)
        return Finding(status=Status.SKIP, summary=tr(f"only for {wanted}", f"仅适用于 {wanted}"))
    for path in item.facts:
        if not any(_values(machine, path.split("."))):
            return _without(path, machine)
    return None


def mistake(facts: Sequence[str], platforms: Sequence[str], limit_s: float) -> str | None:
    """What of a declaration does not exist."""
    for path in facts:
        if not _exists(Machine, path.split(".")):
            return f"the fact `{path}`, which a machine does not have"
    for name in platforms:
        if name not in PLATFORMS:
            return f"the platform `{name}`; known: {', '.join(PLATFORMS)}"
    if not (math.isfinite(limit_s) and 0 < limit_s <= MAX_LIMIT_S):
        return f"a time limit of {limit_s:g} s, not one of up to {MAX_LIMIT_S:g} s"
    return None


def _here(machine: Machine) -> set[str]:
    found = {(machine.os.system or "").lower(), machine.cpu.architecture or ""}
    return found | {
        name for name, so in (("wsl", machine.os.wsl), ("jetson", machine.os.tegra), ("container", machine.os.container)) if so
    }


def _without(path: str, machine: Machine) -> Finding:
    """A fact that could not be read is something unknown; one that is not there makes the question idle."""
    reason = machine.why_missing(path)
    no_gpu = path.partition(".")[0] == "gpus" and machine.pci == () and not (machine.os.wsl or machine.os.tegra)
    if no_gpu or reason == "not recorded":
        return Finding(status=Status.SKIP, summary=tr(f"there is no `{path}` here", f"此处没有 `{path}`"))
    return Finding(
        status=Status.UNKNOWN,
        summary=tr(f"`{path}` is not known: {reason}", f"`{path}` 未知：{reason}"),
        evidence=(Evidence(fact=path, value=None, read_from=reason),),
    )


def _values(value: Any, parts: Sequence[str]) -> Iterator[bool]:
    """Whether there is something at the end of a path, for each item of a tuple that it passes."""
    if isinstance(value, tuple) and parts:
        items = [value[int(parts[0])]] if parts[0].isdecimal() and int(parts[0]) < len(value) else value
        rest = parts[1:] if parts[0].isdecimal() else parts
        for item in items:
            yield from _values(item, rest)
    elif value is None or not parts:
        yield value is not None and value != () and value != {}
    else:
        inner = value.get(parts[0]) if isinstance(value, Mapping) else getattr(value, parts[0], None)
        yield from _values(inner, parts[1:])


def _exists(hint: Any, parts: Sequence[str]) -> bool:
    """Whether a path leads to something by the types of the facts."""
    if get_origin(hint) is Annotated:
        return _exists(get_args(hint)[0], parts)
    if get_origin(hint) in (Union, types.UnionType):
        return any(_exists(member, parts) for member in get_args(hint) if member is not type(None))
    if not parts:
        return True
    if get_origin(hint) is tuple:
        return _exists(get_args(hint)[0], parts[1:] if parts[0].isdecimal() else parts)
    if isinstance(hint, type) and issubclass(hint, Struct):
        hints = get_type_hints(hint, include_extras=True)
        return parts[0] in hint.__struct_fields__ and _exists(hints[parts[0]], parts[1:])
    return get_origin(hint) is not None and issubclass(get_origin(hint), Mapping) and len(parts) == 1
