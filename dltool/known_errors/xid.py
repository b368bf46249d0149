"""Xid lines of NVIDIA's kernel driver and SXid lines of its NVSwitch driver, by `catalog/compat/xid*.csv` and `sxid.csv`.

NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, name=python, GPU has fallen off the bus.
nvidia-nvswitch0: SXid (PCI:0000:c2:00.0): 20034, Fatal, Link 28 LTSSM Fault Up
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from dltool import lang, tables, texts
from dltool.lang import tr
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
RECOVERIES = {
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
"""What Xid 154 says at its end -> action, and what to do where the action's own words do not fit (catalog/zh/phrases.csv)."""


def _table(name: str) -> dict[str, tables.Row]:
    return _in(lang.spoken(), name)


@cache
def _in(_language: str, name: str) -> dict[str, tables.Row]:
    key = "action" if name == "compat/xid_actions" else "number"
    return {row[key]: row for row in texts.rows(name)}


def _in_words(match: re.Match[str]) -> LogError | None:
    """An Xid in words, "Xid 79": other programs count other things so, hence something must speak of a GPU."""
    number, line = match["number"], match.string
    known_here = _table("compat/sxid" if match["kind"].lower() == "sxid" else "compat/xid")
    if number not in known_here or (len(line) > SHORT and not _GPU_WORDS.search(line)):
        return None
    if match["kind"].lower() == "sxid":
        return of_switch(int(number), "")
    return None if known_here[number]["meaning"] == texts.phrase("Not in use") else of_gpu(int(number), "")


def of_gpu(number: int, rest: str) -> LogError:
    """What an Xid line says; `rest` is what follows the number."""
    row = _table("compat/xid").get(str(number))
    if row is None:
        end = max((int(cell) for cell in _table("compat/xid")), default=0)
        return _unknown(
            f"xid-{number}",
            tr(
                f"Xid {number} is not in the table of this dltool, which ends at {end}.",
                f"Xid {number} 不在此版本 dltool 的表中，该表到 {end} 为止。",
            ),
        )
    means, note, fatal = _said(f"Xid {number}", row["meaning"]), row["note"], row["fatal"] == "yes"
    action, again, mend = row["action"], row["if_again"], ""
    if number == 154 and (named := _RECOVERY.search(rest)):
        action, mend = RECOVERIES.get(named["action"].lower(), (action, ""))
        means = tr(
            f"Xid 154: the driver says what gets this GPU back: {named['action']}.",
            f"Xid 154：驱动指出如何恢复该 GPU：{named['action']}。",
        )
        note = tr("It follows the Xid with the cause", "它跟在说明起因的那条 Xid 之后")
    elif action == "nvlink":
        decoded = _nvlink(number, rest)
        if decoded is not None:
            unit, severity, action, again, note = decoded
            where = tr(f"; unit {unit}, {severity}", f"；单元 {unit}，{severity}")
            means, fatal = _said(f"Xid {number}", row["meaning"] + where), severity == "fatal"
    state = tr("Until then the GPU, or its link, cannot be used.", "在此之前该 GPU 或其链路无法使用。") if fatal else ""
    return _with_action(f"xid-{number}", means, action, again, (_causes(row), texts.sentence(note)), state, texts.phrase(mend))


def _said(name: str, what: str) -> str:
    return tr(f"{name}: {what}.", f"{name}：{what}。")


def _causes(row: tables.Row) -> str:
    causes = [texts.phrase(cause) for cause in row["causes"].split()]
    return tr(f"Possible causes: {', '.join(causes)}.", f"可能的原因：{'、'.join(causes)}。") if causes else ""


def _nvlink(number: int, rest: str) -> tuple[str, str, str, str, str] | None:
    """Unit, severity, action, action if it comes again, and note of a line of Xid 144 to 150."""
    match = _NVLINK.search(rest)
    if match is None:
        return None
    unit, severity = match["unit"].upper(), match["severity"].lower().replace("-", "").removeprefix("link ")
    status = int(match["status"], 16) if match["status"] else None
    reason = str(int(match["info"], 16) >> 20 & 0x3F) if match["info"] else ""
    for row in texts.rows("compat/xid_nvlink"):
        fits = row["xid"] == str(number) and unit in row["units"].split() and row["severity"] == severity
        if fits and status in {int(cell, 16) for cell in row["status"].split()} and row["reason"] in ("", reason):
            return unit, severity, row["action"], row["if_again"], row["note"]
    return unit, severity, "reset-gpu" if severity == "fatal" else "none", "provider", ""


def of_switch(number: int, rest: str) -> LogError:
    """What an SXid line says; the driver prints Fatal or Non-fatal behind the number."""
    row = _table("compat/sxid").get(str(number))
    if row is None:
        return _unknown(
            f"sxid-{number}",
            tr(
                f"SXid {number} of an NVSwitch is not in the table of this dltool.",
                f"NVSwitch 的 SXid {number} 不在此版本 dltool 的表中。",
            ),
        )
    printed = re.match(r"\s*,\s*(Fatal|Non-fatal|Correctable)", rest, re.IGNORECASE)
    severity = printed[1].lower() if printed else {"yes": "fatal", "no": "non-fatal"}.get(row["fatal"], "")
    action = row["action"]
    if severity == "fatal" and action in ("none", "as-it-says"):
        action = "reset-fabric"
    elif severity in ("non-fatal", "correctable") and action in ("reset-fabric", "as-it-says"):
        action = "none"
    what, unit = row["meaning"], row["unit"]
    means = _said(f"SXid {number}", tr(f"an NVSwitch reports: {what} ({unit})", f"NVSwitch 报告：{what}（{unit}）"))
    unusable = tr("The links of that switch cannot be used until then.", "在此之前该交换芯片的链路无法使用。")
    state = unusable if severity == "fatal" else ""
    kind = tr(f"The line calls it {severity}.", f"该行标明其级别为 {severity}。") if printed else ""
    return _with_action(f"sxid-{number}", means, action, "", (kind, texts.sentence(row["note"])), state, "")


def _unknown(name: str, means: str) -> LogError:
    return LogError(
        id=name,
        means=means,
        why=tr("The number is newer than the data, or not the driver's.", "该编号比数据更新，或者并非来自驱动。"),
        mend=tr(
            "Look it up in NVIDIA's Xid documentation; an Xid 154 after it says what gets the GPU back.",
            "请查阅 NVIDIA 的 Xid 文档；其后的 Xid 154 会说明如何恢复该 GPU。",
        ),
        scope=Scope.HOST,
    )


def _with_action(name: str, means: str, action: str, again: str, why: tuple[str, ...], state: str, mend: str) -> LogError:
    actions = _table("compat/xid_actions")
    row = actions.get(action)
    parts = [mend or (row["mend"] if row else ""), state]
    if again in actions and again != action:
        then = actions[again]["mend"]
        parts.append(tr(f"If it comes again: {then[:1].lower()}{then[1:]}", f"如果再次出现：{then}"))
    return LogError(
        id=name,
        means=means,
        why=tr(" ", "").join(part for part in why if part),
        mend=tr(" ", "").join(part for part in parts if part),
        checks=tuple(row["checks"].split()) if row else (),
        scope=Scope(row["scope"]) if row else Scope.HOST,
    )


RULES: tuple[tuple[str, Callable[[re.Match[str]], LogError | None]], ...] = (
    (_SWITCH_LINE, lambda match: of_switch(int(match["number"]), match["rest"])),
    (_GPU_LINE, lambda match: of_gpu(int(match["number"]), match["rest"])),
    (_IN_WORDS, _in_words),
)
"""Pattern and what a match of it says, the more specific before the more general. Each match holds WORD."""
WORD = b"xid"
