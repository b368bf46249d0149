"""What hypothesis draws: any struct by the types of its fields, and machines that something is wrong with.

`DLTOOL_FUZZ=50 pytest tests/test_fuzz_machine.py tests/test_fuzz_parsers.py` draws fifty times as many examples.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Iterator, Mapping
from copy import deepcopy
from enum import Enum
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import hypothesis
import msgspec
import recorded
from hypothesis import strategies as st

from dltool import machine, results
from dltool.machine import Machine
from dltool.probe import kernel_log
from dltool.results import Finding, Report


def examples(count: int) -> hypothesis.settings:
    """As many examples, or what DLTOOL_FUZZ makes of it."""
    return hypothesis.settings(
        max_examples=max(1, round(count * float(os.environ.get("DLTOOL_FUZZ", "1")))),
        suppress_health_check=list(hypothesis.HealthCheck),
    )


# --- any struct -------------------------------------------------------------------------------------------------------------

_WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
_SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    Any: st.none()
    | st.booleans()
    | st.integers(-(2**31), 2**31)
    | st.text(max_size=5)
    | st.lists(st.text(max_size=3), max_size=2),
    str: _WORDS,
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    type(None): st.none(),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type."""
    return _of(hint, _SCALARS)


def structs(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Any instance of a struct: every field drawn from its type."""
    return _struct(kind, _SCALARS)


def _of(hint: Any, scalars: Mapping[Any, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _of(args[0], scalars)
    if origin in (Union, UnionType):
        return st.one_of([_of(member, scalars) for member in args])
    if origin is tuple and args[-1] is Ellipsis:
        return st.lists(_of(args[0], scalars), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*(_of(arg, scalars) for arg in args))
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return st.dictionaries(_of(args[0], scalars), _of(args[1], scalars), max_size=2)
    if inspect.isclass(hint) and issubclass(hint, msgspec.Struct):
        return _struct(hint, scalars)
    if inspect.isclass(hint) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    return scalars[hint]


def _struct(kind: type[msgspec.Struct], scalars: Mapping[Any, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    drawn = {
        name: _of(hint, scalars)
        for name, hint in get_type_hints(kind, include_extras=True).items()
        if name in kind.__struct_fields__
    }
    if kind in (Machine, Report):
        drawn["schema"] = st.just(machine.SCHEMA if kind is Machine else results.SCHEMA)
    if kind is Finding:
        drawn["remedies"] = st.lists(_of(results.Remedy, scalars), min_size=1, max_size=2).map(tuple)
    return st.builds(kind, **drawn)


# --- absurd facts -----------------------------------------------------------------------------------------------------------

ABSURD = (
    *("", " ", "abc", "999.999", "0", "-1", "1.", ".8", "8", "80", "8.0.0", "12.8", "v1", "1!2.3", "1_0.0", "0.0", "1.2.3.4.5"),
    *("2.9.1+cu", "2.9.1+cuXYZ", "2.9.1+cu²", "+cu128", "cu12", "2.9.0a0+git", "1.0.dev99999999999999999999", "550.54"),
    *("9" * 5000, "1" * 300 + ".2", "sm_" + "9" * 50, "a" * 5000, "1,2," * 500),
    *("inf", "nan", "-inf", "1e999", "-0.0", "NaN", "None", "null", "0x10"),
    *("१२.८", "²", "٣.٣", "𝟙𝟚", "\ud7ff\uffff", "\u202e\u2028\u0085", "é" * 300),
    *("\x00", "\x1b[31mred", "a\nb\r\nc", "\t\v\f", "%s{}$(x)`", "|*_<b>&\"'", "::error::x"),
    *("sm_", "sm_²", "compute_x", "sm_90a", "GPU-", "MIG-", "GPU-zzz", "MIG-GPU-/1/1", "10de:", "10de:zzzz", "0000:00:00.0"),
    *("/", "~", "..", "::", "all", "none", "void", "0,0", "0,1,2,999999999999999999999", "0-", "0-4000000000", "5-3", "1,2,,3"),
)
"""Texts that stand where a version, a name, a bus id or a path should."""
_NUMBERS = (0, 1, 2, 3, 7, 255, 65536, 2**31, 2**53, 2**63 - 1, 2**64 - 1, -1, -(2**31), -(2**63))
_FLOATS = (0.0, -0.0, 0.5, 5e-324, 1e22, 1e308, -1.0, -1e308, float("nan"), float("inf"), float("-inf"))


@cache
def _bases() -> tuple[Machine, ...]:
    """The recorded machines, and those of the cases that were reported."""
    cases = json.loads(Path(recorded.DIRECTORY).with_name("cases.json").read_text(encoding="utf-8"))
    return (*map(recorded.load, recorded.NAMES), *(recorded.altered(case["machine"], case["facts"]) for case in cases))


@cache
def _words() -> Mapping[str, tuple[str, ...]]:
    """What stands in each field of text somewhere: what a check looks for comes up more often then."""
    found: dict[str, dict[str, None]] = {"kind": dict.fromkeys(kernel_log.KINDS)}

    def collect(of: Any, name: str) -> None:
        if isinstance(of, str):
            found.setdefault(name, {})[of] = None
        for key, value in of.items() if isinstance(of, dict) else ():
            collect(value, key)
        for value in of if isinstance(of, list) else ():
            collect(value, name)

    for base in _bases():
        collect(msgspec.to_builtins(base), "")
    return {name: tuple(words) for name, words in found.items()}


@cache
def _absurd(hint: Any, name: str) -> st.SearchStrategy[Any]:
    """Values of a field: absurd ones, and those that it has elsewhere."""
    texts = st.sampled_from(ABSURD)
    if name in _words():
        texts = st.sampled_from(_words()[name]) | texts
    numbers = st.sampled_from(_NUMBERS) | _SCALARS[int]
    return _of(hint, {**_SCALARS, str: texts, int: numbers, float: st.sampled_from(_FLOATS) | st.floats() | numbers.map(float)})


def _places(of: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any, str]]:
    """Every fact below a struct: path, type, name."""
    for name, hint in get_type_hints(type(of), include_extras=True).items():
        if name not in of.__struct_fields__ or name == "schema":
            continue
        yield (*path, name), hint, name
        inside = getattr(of, name)
        if isinstance(inside, msgspec.Struct):
            yield from _places(inside, (*path, name))
        for number, element in enumerate(inside if isinstance(inside, tuple) else ()):
            if isinstance(element, msgspec.Struct):
                yield from _places(element, (*path, name, number))


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """A machine of tests/ in which up to some twenty facts are missing or absurd."""
    base = draw(st.sampled_from(_bases()))
    places = list(_places(base))
    document = deepcopy(msgspec.to_builtins(base))
    for number in draw(st.lists(st.integers(0, len(places) - 1), max_size=20)):
        path, hint, name = places[number]
        _put(document, path, msgspec.to_builtins(draw(_absurd(hint, name))))
    for variable in draw(st.lists(st.sampled_from(sorted(_variables())), max_size=3)):
        document["environment"][variable] = draw(st.sampled_from(ABSURD))
    return msgspec.convert(document, Machine)


@cache
def _variables() -> frozenset[str]:
    return frozenset(name for base in _bases() for name in base.environment) | {"CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"}


def _put(inside: Any, path: tuple[str | int, ...], value: Any) -> None:
    """Set what is there still: an earlier change may have taken it away."""
    for step in path[:-1]:
        try:
            inside = inside[step]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(inside, dict):
        inside[path[-1]] = value
