"""Why a child died or a case failed, as far as the signal, the last words, the machine and doctor's other findings tell."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dltool import child, known_errors, texts, units
from dltool.lang import tr
from dltool.machine import Machine
from dltool.probing import signals
from dltool.results import Finding, LogError, Remedy, Risk, Scope, Status

_LAST_LINES = 12
_FRAMES = 4
_FRAME = re.compile(r'  File ".*", line \d+ in ')
_OURS = re.compile(r"<frozen (importlib|runpy)|/dltool/probing/child|^Extension modules: ")


@dataclass(frozen=True, slots=True)
class Cause:
    """What likely explains a fault."""

    why: str
    remedies: tuple[Remedy, ...]
    caused_by: str | None = None
    scope: Scope = Scope.ENVIRONMENT
    known: LogError | None = None


def of_death(answer: child.Answer, explained_by: Iterable[str], machine: Machine, static: Iterable[Finding]) -> Cause:
    """Why a child likely died."""
    if answer.over_memory:
        return _cause(answer.errors, _took_too_much(), (_free_memory(),), explained_by, static)
    if answer.timed_out:
        return _cause(answer.errors, _hangs(), (_more_time(),), explained_by, static)
    if answer.returncode is not None and answer.returncode < 0:
        number = -answer.returncode
        meaning = signals.meaning_of(number)
        remedy = Remedy(text=meaning.mend, commands=meaning.commands, risk=Risk.READ_ONLY)
        why = f"{meaning.why}{_facts(number, machine)}"
        return _cause(answer.errors, why, (remedy,), (*meaning.checks, *explained_by), static)
    why = tr(
        "Something ended Python without an error that could be caught: a library, or a file that runs at start.",
        "有东西结束了 Python，却没有留下可捕获的错误：某个库，或启动时执行的文件。",
    )
    return _cause(answer.errors, why, (_report(),), explained_by, static)


def _took_too_much() -> str:
    return tr(
        "It took more memory than half of what is to be had here, and was ended before the machine ran out.",
        "它占用的内存超过了这里可用内存的一半，在机器耗尽内存之前被终止。",
    )


def _free_memory() -> Remedy:
    return Remedy(
        text=tr(
            "Close other programs, raise the limit of the container or job, or look for what takes so much.",
            "关闭其他程序，提高容器或作业的限制，或查明是什么占用了这么多内存。",
        )
    )


def _hangs() -> str:
    return tr(
        "It hangs, or is very slow here. A first start of CUDA may compile for minutes.",
        "它挂起了，或在这里非常慢。首次启动 CUDA 时可能要编译数分钟。",
    )


def _more_time() -> Remedy:
    again = "dltool doctor --probe --probe-limit 600"
    return Remedy(text=tr("Give it more time.", "给它更多时间。"), commands=(again,), risk=Risk.READ_ONLY)


def _report() -> Remedy:
    return Remedy(
        text=tr("Report it with the machine's facts.", "请附上本机的事实报告此问题。"),
        commands=("dltool doctor --probe --share",),
        risk=Risk.READ_ONLY,
    )


def of_failure(text: str, explained_by: Iterable[str], static: Iterable[Finding]) -> Cause:
    """Why a case likely failed, from its error."""
    return _cause(text, "", (), explained_by, static)


def of_code(code: int) -> tuple[str, str, tuple[str, ...]]:
    """Of an error of the driver: its name, what it means, and the checks that look for the cause."""
    for row in texts.rows("cuda_errors"):
        if row["code"] == str(code):
            return row["name"], row["means"], tuple(row["checks"].split())
    return "", "", ()


def missing_library(text: str) -> str | None:
    """The shared library that an error says is not there."""
    found = re.search(r"([\w.+-]+\.so[\w.]*): cannot open shared object file", text)
    return found[1] if found else None


def last_lines(text: str) -> str:
    """The end of what was printed, in characters that can be shown."""
    cleaned = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    cleaned = "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in cleaned)
    lines: list[str] = []
    frames = 0
    for line in filter(str.strip, cleaned.splitlines()):
        frames = frames + 1 if _FRAME.match(line) else 0
        # Python's dump of where it died has the telling place first.
        if frames <= _FRAMES and not _OURS.search(line):
            lines.append(line.rstrip()[:300])
    return "\n".join(lines[-_LAST_LINES:])


def _cause(text: str, why: str, remedies: tuple[Remedy, ...], explained_by: Iterable[str], static: Iterable[Finding]) -> Cause:
    """The error text tells most, then doctor's findings, then what is true in general."""
    errors = known_errors.recognise(text)
    known = errors[-1] if errors else None  # the last word
    static = tuple(static)
    caused_by = explaining(known.checks, static, warnings=True) if known else None
    caused_by = caused_by or explaining(explained_by, static)
    if known:
        why = _sentences(known.means, known.why, why)
        remedies = (Remedy(text=known.mend), *remedies)
    found = next((finding for finding in static if finding.id == caused_by), None)
    if found is not None:
        commands = (f"dltool doctor --explain {found.id}",)
        first = Remedy(
            text=tr(
                f"Mend first what explains it: {found.summary} ({found.id})",
                f"请先解决造成它的问题：{found.summary}（{found.id}）",
            ),
            commands=commands,
            risk=Risk.READ_ONLY,
        )
        remedies = (first, *remedies)
    scope = found.scope if found is not None else known.scope if known else Scope.ENVIRONMENT
    return Cause(why, remedies or (_report(),), caused_by, scope, known)


def _sentences(*said: str) -> str:
    """One after the other; Chinese needs no blank between them."""
    return tr(" ", "").join(filter(None, said))


def explaining(names: Iterable[str], static: Iterable[Finding], *, warnings: bool = False) -> str | None:
    """The first of these checks that found a fault, or the fault that explains it."""
    bars = (Status.FAIL, Status.WARN) if warnings else (Status.FAIL,)
    faults: Mapping[str, Finding] = {finding.id: finding for finding in static if finding.status in bars}
    for name in names:
        if name in faults:
            root = faults[name].caused_by
            return root if root in faults else name
    return None


def _facts(number: int, machine: Machine) -> str:
    """What the machine's facts add."""
    if number == signal.SIGBUS and machine.memory.shm_free_bytes is not None:
        free = units.gib(machine.memory.shm_free_bytes)
        return tr(f" /dev/shm has {free} free.", f"/dev/shm 还剩 {free}。")
    if number == signal.SIGKILL and machine.memory.available_bytes is not None:
        free = units.gib(machine.memory.available_bytes)
        return tr(f" {free} of memory were free before.", f"之前还有 {free} 可用内存。")
    if number == signal.SIGILL and machine.cpu.architecture:
        flags = " ".join(flag for flag in machine.cpu.simd if flag.startswith(("avx", "amx", "asimd", "sve")))
        name = machine.cpu.model or machine.cpu.architecture
        return tr(f" This one ({name}) has: {flags or 'no AVX'}.", f"该处理器（{name}）有：{flags or '没有 AVX'}。")
    return ""
