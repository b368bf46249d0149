"""One step of the probe in child processes: what it told, and how it died where it did."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dltool import child, tables
from dltool.machine import Machine
from dltool.numerics import product_tolerance
from dltool.probing.steps import Step

MOST_DEATHS = 8
"""A step that goes on dying has said enough."""
_K = 512
_OPERATIONS = ("mm", "mm_tf32", "int_mm", "scaled_mm")
"""What the child can multiply with."""
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Limits:
    """What one step may take."""

    seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Death:
    """A child that did not come to its end."""

    case: str
    """What it was trying; "" before the first."""
    answer: child.Answer


@dataclass(slots=True)
class Told:
    """What a step told."""

    facts: dict[str, Any] = field(default_factory=dict)
    cases: list[Mapping[str, Any]] = field(default_factory=list)
    deaths: list[Death] = field(default_factory=list)
    errors: str = ""
    """The end of stderr."""
    seconds: float = 0.0
    not_started: str = ""
    """Why the interpreter could not be started."""

    def in_state(self, *states: str) -> list[Mapping[str, Any]]:
        """The cases that ended so."""
        return [case for case in self.cases if case.get("state") in states]


def limits_for(machine: Machine, seconds: float) -> Limits:
    """Half of the memory that is to be had."""
    memory = machine.memory
    known = [size for size in (memory.available_bytes, memory.cgroup_limit_bytes) if size is not None]
    return Limits(seconds, max(_GIB, min(known) // 2) if known else 8 * _GIB)


def take(step: Step, python: str, limits: Limits, cwd: Path) -> Told:
    """Take a step: where a child dies, the next one goes on after the case in which it did."""
    told = Told()
    began = time.monotonic()
    deadline = began + limits.seconds
    tried: list[str] = []
    while (left := deadline - time.monotonic()) > 0:
        task = {"step": step.name, "file": step.file, "limit_s": left, "done": tried, "formats": _formats()}
        command = [python, "-W", "ignore", str(Path(__file__).with_name("child.py")), json.dumps(task)]
        try:
            answer = child.run(command, timeout_s=left, cwd=cwd, memory_bytes=limits.memory_bytes, keep_bytes=1 << 20)
        except OSError as error:
            told.not_started = str(error)
            break
        told.errors = answer.errors
        how, doing = _read(answer.output, told, tried)
        if answer.returncode == 0 and how == "end":
            break
        if answer.returncode == 0 and how == "again":
            continue
        told.deaths.append(Death(doing, answer))
        if not doing or answer.timed_out or len(told.deaths) == MOST_DEATHS:
            break
        tried.append(doing)
    told.seconds = time.monotonic() - began
    return told


def _formats() -> list[dict[str, Any]]:
    columns = ("name", "torch", "torch_b", "torch_out", "operation", "needs_cuda")
    return [
        {**{column: row[column] for column in columns}, "tolerance": product_tolerance(row, _K)}
        for row in tables.rows("dtypes")
        if row["operation"] in _OPERATIONS and row["scaling"] in ("", "tensor tensor")
    ]


def _read(output: str, told: Told, tried: list[str]) -> tuple[str, str]:
    """Add what a child said: (how it said that it ended, "" when it did not; the case it was at). Other lines are not ours."""
    how = doing = ""
    for line in output.split("\n")[:-1]:
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(said, dict):
            continue
        if isinstance(said.get("facts"), dict):
            told.facts.update(said["facts"])
        elif "doing" in said:
            doing = str(said["doing"])
        elif "case" in said:
            told.cases.append(said)
            tried.append(str(said["case"]))
            doing = ""
        elif "again" in said or "end" in said:
            how = "again" if "again" in said else "end"
    return how, doing
