"""Xid lines of NVIDIA's kernel driver and SXid lines of its NVSwitch driver, by `catalog/compat/xid*.csv` and `sxid.csv`.

NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, name=python, GPU has fallen off the bus.
nvidia-nvswitch0: SXid (PCI:0000:c2:00.0): 20034, Fatal, Link 28 LTSSM Fault Up
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from dltool import tables
from dltool.results import LogError, Scope

_GPU_LINE = r"\bXid ?\((?:PCI:)?(?P<place>[0-9a-f:.]{5,20})[^)\n]{0,40}\): ?(?P<number>\d{1,4})\b(?P<rest>[^\n]{0,400})"
_SWITCH_LINE = r"\bSXid ?\((?:PCI:)?(?P<place>[0-9a-f:.]{5,20})\): ?(?P<number>\d{1,5})\b(?P<rest>[^\n]{0,200})"
_IN_WORDS = r"(?<!previous )\b(?P<kind>S?Xid)(?: error| code| event)?(?: ?[:=#] ?| )(?P<number>\d{1,5})\b"
SHORT = 240
"""Characters: a text up to this length that names an Xid is taken to mean one."""
_GPU_WORDS = re.compile(r"nvidia|nvrm|gpu|dcgm|nvswitch|cuda", re.IGNORECASE)
_RECOVERY = re.compile(r"recovery action changed from .{1,60} to \w{1,10} \((?P<action>[^)]{1,40})\)", re.IGNORECASE)
_NVLINK = re.compile(
    r"(?P<unit>[A-Z0-9]{2,8}(?:_[A-Z0-9]{1,8}){0,4}) (?P<severity>Nonfatal|Non-fatal|Link Fatal|Fatal)\b"
    r"(?:[^(\n]{0,60}\((?P<info>0x[0-9a-f]{1,8}) (?P<status>0x[0-9a-f]{1,8}))?",
    re.IGNORECASE,
)
_RECOVERIES = {
    "none": ("none", "Nothing is left to do: the earlier request for a reset or restart has been met."),
    "gpu reset required": ("reset-gpu", ""),
    "node reboot required": ("reboot", ""),
    "drain p2p": ("reset-gpu", "End the programs that use this GPU together with others, then see whether it is free again."),
    "drain and reset": (
        "reset-gpu",
        "Let the running work end and take no new work, then reset the GPU: sudo nvidia-smi --gpu-reset -i INDEX.",
    ),
    "recover imex domain": (
        "provider",
        "The memory that nodes share (IMEX) is stuck: restart nvidia-imex on all nodes of the domain.",
    ),
}
"""What Xid 154 says at its end -> action, and what to do where the action's own words do not fit."""


@cache
def _table(name: str) -> dict[str, tables.Row]:
    key = "action" if name == "compat/xid_actions" else "number"
    return {row[key]: row for row in tables.rows(name)}


def _in_words(match: re.Match[str]) -> LogError | None:
    """An Xid in words, "Xid 79": other programs count other things so, hence something must speak of a GPU."""
    number, line = match["number"], match.string
    known_here = _table("compat/sxid" if match["kind"].lower() == "sxid" else "compat/xid")
    if number not in known_here or (len(line) > SHORT and not _GPU_WORDS.search(line)):
        return None
    if match["kind"].lower() == "sxid":
        return of_switch(int(number), "")
    return None if known_here[number]["meaning"] == "Not in use" else of_gpu(int(number), "")


def of_gpu(number: int, rest: str) -> LogError:
    """What an Xid line says; `rest` is what follows the number."""
    row = _table("compat/xid").get(str(number))
    if row is None:
        numbers = [int(cell) for cell in _table("compat/xid")]
        return _unknown(
            f"xid-{number}", f"Xid {number} is not in the table of this dltool, which ends at {max(numbers, default=0)}"
        )
    means, note, fatal = f"Xid {number}: {row['meaning']}.", row["note"], row["fatal"] == "yes"
    action, again, mend = row["action"], row["if_again"], ""
    if number == 154 and (named := _RECOVERY.search(rest)):
        action, mend = _RECOVERIES.get(named["action"].lower(), (action, ""))
        means, note = (
            f"Xid 154: the driver says what gets this GPU back: {named['action']}.",
            "It follows the Xid with the cause",
        )
    elif action == "nvlink":
        decoded = _nvlink(number, rest)
        if decoded is not None:
            unit, severity, action, again, note = decoded
            means, fatal = f"Xid {number}: {row['meaning']}; unit {unit}, {severity}.", severity == "fatal"
    causes = f"Possible causes: {', '.join(row['causes'].split())}." if row["causes"] else ""
    state = "Until then the GPU, or its link, cannot be used." if fatal else ""
    return _with_action(f"xid-{number}", means, action, again, (causes, _sentence(note)), state, mend)


def _nvlink(number: int, rest: str) -> tuple[str, str, str, str, str] | None:
    """Unit, severity, action, action if it comes again, and note of a line of Xid 144 to 150."""
    match = _NVLINK.search(rest)
    if match is None:
        return None
    unit, severity = match["unit"].upper(), match["severity"].lower().replace("-", "").removeprefix("link ")
    status = int(match["status"], 16) if match["status"] else None
    reason = str(int(match["info"], 16) >> 20 & 0x3F) if match["info"] else ""
    for row in tables.rows("compat/xid_nvlink"):
        fits = row["xid"] == str(number) and unit in row["units"].split() and row["severity"] == severity
        if fits and status in {int(cell, 16) for cell in row["status"].split()} and row["reason"] in ("", reason):
            return unit, severity, row["action"], row["if_again"], row["note"]
    return unit, severity, "reset-gpu" if severity == "fatal" else "none", "provider", ""


def of_switch(number: int, rest: str) -> LogError:
    """What an SXid line says; the driver prints Fatal or Non-fatal behind the number."""
    row = _table("compat/sxid").get(str(number))
    if row is None:
        return _unknown(f"sxid-{number}", f"SXid {number} of an NVSwitch is not in the table of this dltool")
    printed = re.match(r"\s*,\s*(Fatal|Non-fatal|Correctable)", rest, re.IGNORECASE)
    severity = printed[1].lower() if printed else {"yes": "fatal", "no": "non-fatal"}.get(row["fatal"], "")
    action = row["action"]
    if severity == "fatal" and action in ("none", "as-it-says"):
        action = "reset-fabric"
    elif severity in ("non-fatal", "correctable") and action in ("reset-fabric", "as-it-says"):
        action = "none"
    means = f"SXid {number}: an NVSwitch reports: {row['meaning']} ({row['unit']})."
    state = "The links of that switch cannot be used until then." if severity == "fatal" else ""
    kind = f"The line calls it {severity}." if printed else ""
    return _with_action(f"sxid-{number}", means, action, "", (kind, _sentence(row["note"])), state, "")


def _unknown(name: str, means: str) -> LogError:
    return LogError(
        id=name,
        means=f"{means}.",
        why="The number is newer than the data, or not the driver's.",
        mend="Look it up in NVIDIA's Xid documentation; an Xid 154 after it says what gets the GPU back.",
        scope=Scope.HOST,
    )


def _with_action(name: str, means: str, action: str, again: str, why: tuple[str, ...], state: str, mend: str) -> LogError:
    actions = _table("compat/xid_actions")
    row = actions.get(action)
    parts = [mend or (row["mend"] if row else ""), state]
    if again in actions and again != action:
        parts.append(f"If it comes again: {actions[again]['mend'][:1].lower()}{actions[again]['mend'][1:]}")
    return LogError(
        id=name,
        means=means,
        why=" ".join(part for part in why if part),
        mend=" ".join(part for part in parts if part),
        checks=tuple(row["checks"].split()) if row else (),
        scope=Scope(row["scope"]) if row else Scope.HOST,
    )


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:].rstrip('.')}." if note else ""


RULES: tuple[tuple[str, Callable[[re.Match[str]], LogError | None]], ...] = (
    (_SWITCH_LINE, lambda match: of_switch(int(match["number"]), match["rest"])),
    (_GPU_LINE, lambda match: of_gpu(int(match["number"]), match["rest"])),
    (_IN_WORDS, _in_words),
)
"""Pattern and what a match of it says, the more specific before the more general. Each match holds WORD."""
WORD = b"xid"
