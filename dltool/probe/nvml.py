"""GPUs and driver as NVML reports them, read in a child process, because a sick driver hangs or kills whoever asks it.

The child (`nvml_child`) writes one line a step: `> CALL` before a call, `= PATH JSON` for a fact,
`! PATH REASON` for a gap. So a call that never returns can be named, and what was read before it is kept.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from dltool.machine import Driver, Gpu, refuse_long_numbers
from dltool.probe import child


@dataclass(frozen=True, slots=True)
class Reading:
    """The facts that NVML gave, and the reasons for those that it did not."""

    driver: Driver
    gpus: tuple[Gpu, ...]
    gaps: dict[str, str]


def read(timeout_s: float = 5.0) -> Reading:
    """Ask NVML, for at most `timeout_s` seconds."""
    answer = child.python("dltool.probe.nvml_child", timeout_s=timeout_s)
    facts, gaps, last_call = _parse(answer.output)
    if answer.timed_out:
        gaps["gpus"] = f"NVML did not answer within {timeout_s:g} s: it hung in {last_call or 'start-up'}"
        facts["driver.nvml_error"] = "timeout"
    elif answer.returncode is not None and answer.returncode < 0:
        gaps["gpus"] = f"the process that asked NVML died of signal {-answer.returncode} in {last_call or 'start-up'}"
        facts["driver.nvml_error"] = "crash"
    elif answer.returncode:
        reason = (answer.errors.strip().splitlines() or ["no message"])[-1]
        gaps["gpus"] = f"the probe of NVML failed: {reason}"
    return _assemble(facts, gaps)


def _parse(output: str) -> tuple[dict[str, Any], dict[str, str], str]:
    """Facts, gaps and the last call. A line that was cut off is not read: half a number is another number."""
    facts: dict[str, Any] = {}
    gaps: dict[str, str] = {}
    last_call = ""
    for line in output.split("\n")[:-1]:
        kind, _, rest = line.partition(" ")
        path, _, value = rest.partition(" ")
        if kind == ">":
            last_call = rest
        elif kind == "!":
            gaps[path] = value
        elif kind == "=":
            try:
                facts[path] = json.loads(value)
            except (ValueError, RecursionError):  # not ours: a library may write to the same output
                continue
    return facts, gaps, last_call


def _assemble(facts: dict[str, Any], gaps: dict[str, str]) -> Reading:
    gpus: dict[int, dict[str, Any]] = {}
    driver: dict[str, Any] = {}
    for path, value in facts.items():
        found = re.fullmatch(r"(?:driver|gpus\.([0-9]{1,4}))\.(\w+)", path)
        if found is None:
            continue
        kind, values = (Gpu, gpus.setdefault(int(found[1]), {})) if found[1] else (Driver, driver)
        try:
            refuse_long_numbers(msgspec.convert({"index": 0, found[2]: value}, kind))
        except (msgspec.ValidationError, OverflowError, UnicodeEncodeError) as error:
            gaps[path] = f"unexpected answer: {error}"
        else:
            values[found[2]] = value
    return Reading(
        driver=msgspec.convert(driver, Driver),
        gpus=tuple(msgspec.convert(gpus[index] | {"index": index}, Gpu) for index in sorted(gpus)),
        gaps=gaps,
    )
