"""`dltool.toml` as somebody wrote it: read, and every mistake told with its line."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from dltool import names, toml
from dltool.compat import versions
from dltool.errors import UsageError, unknown_name
from dltool.machine import read_bounded
from dltool.policy import formats, model
from dltool.policy.explanations import EXPLANATIONS
from dltool.policy.model import SCHEMA, Checks, Cuda, Driver, Dtypes, Gpu, Host, Policy, Waiver

_SECTIONS: dict[str, type] = {"gpu": Gpu, "driver": Driver, "cuda": Cuda, "dtypes": Dtypes, "host": Host, "checks": Checks}
_EXAMPLE = "An example is in the README (Policy); dltool doctor --freeze prints the policy of this machine."
_PLACE = re.compile(r" - at `\$(.*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
Mistake = tuple[toml.Path, Callable[[], object]]
"""A place, and what raises when the value there makes no sense."""


def load(path: Path, *, ids: Collection[str]) -> Policy:
    """The policy in a file.

    Args:
        path: the file; `-` is standard input.
        ids: of the findings that there are, besides those of the policy.

    Raises:
        UsageError: unreadable, no TOML, or no policy; says where.
    """
    return from_toml(read_bounded(path), source=str(path), ids=ids)


def from_toml(data: bytes, *, source: str, ids: Collection[str]) -> Policy:
    """The policy in a text; see `load`."""
    document = toml.read(data, source=source)
    values = document.values
    if not values:
        raise UsageError(f"{source} asks for nothing", remedy=_EXAMPLE)
    schema = values.get("schema", SCHEMA)
    if schema != SCHEMA:
        raise document.error(("schema",), f"not a policy of this dltool: {schema!r}", remedy=f'Write schema = "{SCHEMA}".')
    _check_keys(document)
    _check_shapes(document)
    try:
        policy = msgspec.convert(values, Policy)
    except msgspec.ValidationError as error:
        raise _mistyped(document, str(error)) from None
    for path, check in _meanings(policy, {*ids, *EXPLANATIONS}):
        try:
            check()
        except UsageError as error:
            raise document.error(path, str(error), remedy=error.remedy) from None
    return policy


def _check_keys(document: toml.Document) -> None:
    def known(values: object, kind: type, path: toml.Path) -> None:
        fields = kind.__struct_fields__  # type: ignore[attr-defined]
        for key in values if isinstance(values, dict) else ():
            if key not in fields:
                what = f"key of [{toml.dotted(path)}]" if path else "section"
                error = unknown_name(what, key, fields)
                raise document.error((*path, key), str(error), remedy=error.remedy)

    known(document.values, Policy, ())
    for name, kind in _SECTIONS.items():
        known(document.values.get(name), kind, (name,))
    waivers = document.values.get("waiver")
    for number, waiver in enumerate(waivers if isinstance(waivers, list) else ()):
        known(waiver, Waiver, ("waiver", number))


def _check_shapes(document: toml.Document) -> None:
    """What msgspec would not tell as well."""
    for path, value in _leaves(document.values, ()):
        if isinstance(value, float) and not math.isfinite(value):
            raise document.error(path, f"{value} is no number to compare with", remedy="Write a finite one, or leave it out.")
        if path[0] in ("driver", "cuda") and path[-1] == "min" and isinstance(value, int | float):
            raise document.error(path, "a version is a text", remedy=f'Write it in quotes: min = "{value}".')
        if path[-1] == "min_compute_capability" and isinstance(value, int | float):
            raise document.error(path, "a compute capability is a text", remedy=f'Write it in quotes: "{value}".')
        if path[-1] == "expires":
            _check_day(document, path, value)
        if path[0] == "bench" and (len(path) != 3 or not isinstance(value, str)):
            raise document.error(
                path, "no rate of a workload and dtype", remedy='Write [bench.gemm], then bf16 = "600 TFLOP/s".'
            )
    waivers = document.values.get("waiver", [])
    if not isinstance(waivers, list):
        raise document.error(("waiver",), "a waiver is an element of an array", remedy="Write [[waiver]], in two brackets.")


def _check_day(document: toml.Document, path: toml.Path, value: object) -> None:
    try:
        if isinstance(value, str):
            datetime.date.fromisoformat(value if re.fullmatch(r"\d{4}-\d\d-\d\d", value) else "")
        elif type(value) is not datetime.date:
            raise ValueError
    except ValueError:
        shown = value.isoformat(" ") if isinstance(value, datetime.datetime) else value
        raise document.error(path, f"`{shown}` is no day", remedy="Write it like: expires = 2027-01-31") from None


def _leaves(values: Any, path: toml.Path) -> Iterator[tuple[toml.Path, Any]]:
    if isinstance(values, dict | list):
        for key, value in values.items() if isinstance(values, dict) else enumerate(values):
            yield from _leaves(value, (*path, key))
    else:
        yield path, values


def _mistyped(document: toml.Document, message: str) -> UsageError:
    """msgspec's words with the line: "Expected `int`, got `str` - at `$.gpu.count`"."""
    found = _PLACE.search(message)
    steps = _STEP.findall(found[1]) if found else []
    path = tuple(int(number) if number else name for name, number in steps)
    told = _PLACE.sub("", message).replace("`object`", "a section").replace("Object missing", "missing")
    return document.error(path, told[:1].lower() + told[1:], remedy=_EXAMPLE)


def _meanings(policy: Policy, ids: Collection[str]) -> Iterator[Mistake]:
    """Every value that must mean something, with what raises where it does not."""
    yield from _of_machine(policy)
    yield from _of_checks(policy, ids)
    yield from _of_rates(policy)


def _of_machine(policy: Policy) -> Iterator[Mistake]:
    asked = policy.gpu.model
    for number, name in enumerate((asked,) if isinstance(asked, str) else asked or ()):
        yield ("gpu", "model") if isinstance(asked, str) else ("gpu", "model", number), partial(_shipped, name)
    if asked == ():
        yield ("gpu", "model"), partial(_refuse, "no model would do", 'Write a name: model = "H100 SXM".')
    if (capability := policy.gpu.min_compute_capability) is not None:
        yield ("gpu", "min_compute_capability"), partial(versions.compute_capability, capability)
    if (driver := policy.driver.min) is not None:
        yield ("driver", "min"), partial(versions.parse, "the driver", driver, parts=1, example="550.54.14")
    if (cuda := policy.cuda.min) is not None:
        yield ("cuda", "min"), partial(versions.parse, "CUDA", cuda, parts=1, example="12.4")
    for number, name in enumerate(policy.dtypes.required):
        yield ("dtypes", "required", number), partial(_known, "dtype", name, formats.peak_keys(), None)


def _of_checks(policy: Policy, ids: Collection[str]) -> Iterator[Mistake]:
    listing = "dltool doctor --list"
    of: dict[str, str] = {}
    for what in ("deny", "allow", "downgrade"):
        for number, name in enumerate(getattr(policy.checks, what)):
            yield ("checks", what, number), partial(_known, "check", name, ids, listing)
            yield ("checks", what, number), partial(_once, name, what, of)
    for number, waiver in enumerate(policy.waiver):
        yield ("waiver", number, "id"), partial(_known, "check", waiver.id, ids, listing)
        if not waiver.reason.strip():
            yield ("waiver", number, "reason"), partial(_refuse, "a waiver needs a reason", 'Write: reason = "why".')


def _of_rates(policy: Policy) -> Iterator[Mistake]:
    for workload, rates in policy.bench.items():
        for dtype, text in rates.items():
            yield ("bench", workload, dtype), partial(_known, "dtype", dtype, formats.peak_keys(), None)
            if model.rate(text) is None:
                yield (
                    ("bench", workload, dtype),
                    partial(_refuse, f"`{text}` is no rate", "Write it like 600 TFLOP/s, 1200 TOP/s or 2.5 TB/s."),
                )


def _shipped(name: str) -> None:
    found = names.resolve(name)
    if not found.shipped:
        meant = f"Perhaps: {', '.join(found.boards)}." if found.boards else "See: dltool gpu-info --list"
        raise UsageError(f"no GPU called `{name}` ever shipped: {found.note}", remedy=meant)


def _known(kind: str, name: str, known: Collection[str], listing: str | None) -> None:
    if name not in known:
        raise unknown_name(kind, name, known, listing=listing)


def _once(name: str, what: str, of: dict[str, str]) -> None:
    if of.setdefault(name, what) != what:
        raise UsageError(f"`{name}` stands in {of[name]} too", remedy="Decide for one of them.")


def _refuse(message: str, remedy: str) -> None:
    raise UsageError(message, remedy=remedy)
