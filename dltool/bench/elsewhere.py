"""Measure cases in a process of its own, with this Python or with another that has another torch."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dltool import child
from dltool.bench import WORKLOADS, Workload, cases, devices, harness
from dltool.errors import CannotRun, DltoolError, UsageError
from dltool.machine import Machine
from dltool.results import Measurement

Wanted = tuple[str, Mapping[str, Sequence[str]]]
"""A workload's name, and the texts of its parameters: all combinations are measured; what is not said suits the device."""
_LENT = ("msgspec", "pynvml", "tomli")
"""What dltool needs to measure, besides torch."""
_START_S = 120.0
"""Longest start of a process: torch from a cold network disk takes a minute."""


def cases_of(wanted: Sequence[Wanted], device: devices.Device) -> list[tuple[str, Workload]]:
    """The cases, with sizes that suit the device where none are given.

    Raises:
        UsageError: an unknown workload, parameter or value.
    """
    from dltool.bench import selftest, suites
    from dltool.bench.workloads import attention, conv, elementwise

    suited = {
        "gemm": suites.gemm,
        "memory": suites.memory,
        "attention": attention.chosen,
        "conv": conv.chosen,
        "elementwise": elementwise.chosen,
        "selftest": selftest.suite,
    }
    found: list[tuple[str, Workload]] = []
    for name, axes in wanted:
        suite = suited.get(name)
        found += suite(device, axes) if suite else [(name, case) for case in cases(WORKLOADS.get(name), axes)]
    return found


def measure(
    python: str, wanted: Sequence[Wanted], machine: Machine, device: str | None, case_s: float, times: int = 1
) -> tuple[Measurement, ...]:
    """Measure all of it with the interpreter `python`, each case `times` times in a row, `case_s` seconds each.

    Raises:
        UsageError: what is wanted is not known.
        CannotRun: that Python cannot be started, has no torch, or its process ended badly.
    """
    with tempfile.TemporaryDirectory(prefix="dltool-bench-") as folder:
        request = Path(folder, "request.json")
        request.write_text(json.dumps(_request(wanted, machine, device, case_s, times)), encoding="utf-8")
        limit_s = _START_S + 40 * max(case_s, 1.0) * times * max(1, len(wanted))
        script = Path(__file__).with_name("child_block.py")
        try:
            said = child.run([python, str(script), str(request)], timeout_s=limit_s, keep_bytes=4000)
        except OSError as error:
            raise CannotRun(
                f"{python} cannot be started: {error.strerror}", remedy="Name the python of an environment."
            ) from None
        answer = request.with_suffix(".answer")
        if said.returncode != 0 or not answer.exists():
            last = (said.errors.strip().splitlines() or [""])[-1]
            raise CannotRun(
                f"{python} {child.how_it_ended(said.returncode, limit_s)}: {last[:300]}",
                remedy=f"It needs torch; where it is no Python {_version()}, msgspec too: {python} -m pip install msgspec",
            )
        return _read(answer.read_bytes())


def _version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _request(wanted: Sequence[Wanted], machine: Machine, device: str | None, case_s: float, times: int) -> dict[str, object]:
    return {
        "dltool": [str(Path(__file__).parents[2])],
        "lend": _LENT,
        "folders": sorted({folder for name in _LENT if (folder := _folder(name))}),
        "wanted": [[name, dict(axes)] for name, axes in wanted],
        "machine": msgspec.json.encode(machine).decode(),
        "device": device,
        "case_s": case_s,
        "times": times,
    }


def _folder(name: str) -> str | None:
    """The directory from which this process imports a package or module."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin)
    return str(file.parent.parent if spec.submodule_search_locations else file.parent)


def answer(asked: Mapping[str, Any]) -> bytes:
    """What the child does: measure, and give the measurements (or the error that a user can mend) as JSON."""
    try:
        machine = msgspec.json.decode(asked["machine"], type=Machine)
        device = devices.find(asked["device"], machine)
        chosen = [case for case in cases_of(asked["wanted"], device) for _ in range(asked["times"])]
        found = harness.run(chosen, device, block_plan(asked["case_s"]))
        return msgspec.json.encode({"measurements": list(found)})
    except DltoolError as error:
        return msgspec.json.encode({"kind": type(error).__name__, "error": str(error), "remedy": error.remedy})


def block_plan(case_s: float) -> harness.Plan:
    """How to measure each block: a step may take all of it, for blocks of different sizes cannot be compared."""
    plan = harness.Plan.for_budget(case_s, 1)
    return dataclasses.replace(plan, step_s=max(plan.step_s, case_s), budget_s=None)


class _Answer(msgspec.Struct):
    measurements: tuple[Measurement, ...] = ()
    kind: str = ""
    error: str = ""
    remedy: str = ""


def _read(data: bytes) -> tuple[Measurement, ...]:
    answer_ = msgspec.json.decode(data, type=_Answer)
    if answer_.error:
        kind = UsageError if answer_.kind == "UsageError" else CannotRun
        raise kind(answer_.error, remedy=answer_.remedy)
    return answer_.measurements
