"""Why a child died or a case failed, as far as the signal, the last words, the machine and doctor's other findings tell."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dltool import child, known_errors, tables, units
from dltool.machine import Machine
from dltool.results import Finding, LogError, Remedy, Risk, Scope, Status

_LAST_LINES = 12
_FRAMES = 4
_FRAME = re.compile(r'  File ".*", line \d+ in ')
_OURS = re.compile(r"<frozen (importlib|runpy)|/dltool/probing/child|^Extension modules: ")
_SNAPSHOT = Remedy(text="Report it with the machine's facts.", commands=("dltool doctor --probe --share",), risk=Risk.READ_ONLY)


@dataclass(frozen=True, slots=True)
class Cause:
    """What likely explains a fault."""

    why: str
    remedies: tuple[Remedy, ...]
    caused_by: str | None = None
    scope: Scope = Scope.ENVIRONMENT
    known: LogError | None = None


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What a signal says of the process that it ended."""

    why: str
    mend: str
    commands: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()


_NATIVE = ("libraries-shadowed", "nvidia-wheels-mixed", "conda-pip-mixed", "libstdcxx-too-old", "extension-lacks-gpu-code")
_SIGNALS = {
    signal.SIGSEGV: _Meaning(
        "A native library reached for memory that is not there: mostly two builds of a library in one process, a damaged file "
        "or faulty memory.",
        "Install PyTorch anew into a fresh environment, and try without LD_LIBRARY_PATH and LD_PRELOAD.",
        ("env -u LD_LIBRARY_PATH -u LD_PRELOAD dltool doctor --probe",),
        _NATIVE,
    ),
    signal.SIGABRT: _Meaning(
        "A library ended the process by itself: an inner check failed, or memory was handed back that is not its own. Its last "
        "words say which.",
        "Read the last words below; where they name no cause, install PyTorch anew into a fresh environment.",
        (),
        _NATIVE,
    ),
    signal.SIGILL: _Meaning(
        "The processor met an instruction that it does not have: the build is for a newer one, or the virtual"
        " machine hides AVX.",
        "Take a build for this processor, or let the virtual machine see its flags (CPU type host).",
        ("grep -o -w -m1 -E 'avx|avx2|avx512f' /proc/cpuinfo | sort -u",),
    ),
    signal.SIGBUS: _Meaning(
        "Memory that was promised could not be had: /dev/shm or a disk is full, or a file became shorter while it was mapped.",
        "Make room: a larger /dev/shm (docker run --shm-size), or space where the environment and the temporary files are.",
        ("df -h /dev/shm /tmp",),
        ("shm-small",),
    ),
    signal.SIGFPE: _Meaning(
        "An integer was divided by zero, mostly because a library misread the machine: no processors or no caches to be seen.",
        "Update the library that the last words name.",
    ),
    signal.SIGKILL: _Meaning(
        "It was ended from outside: nearly always by the kernel because memory ran out, else by the batch system or a person.",
        "Give it more memory: close other programs, or raise the limit of the container or job.",
        ("dmesg --level=err,warn | grep -i -E 'killed process|out of memory' | tail -n 3",),
    ),
    signal.SIGSYS: _Meaning(
        "A system call was made that is not allowed here: the container's security profile (seccomp) is stricter than the "
        "library expects.",
        "Update the container engine, or relax its profile.",
    ),
    signal.SIGXCPU: _Meaning(
        "The limit on processor time was reached.", "Raise it where the session or the job sets it.", ("ulimit -t",)
    ),
    signal.SIGTERM: _Meaning(
        "It was asked to end from outside: by a batch system, a supervisor or a person.", "Find out who ends processes here."
    ),
    signal.SIGTRAP: _Meaning(
        "A library stopped at a trap of its own, as when an inner check fails.", "Read the last words below."
    ),
}


def of_death(answer: child.Answer, explained_by: Iterable[str], machine: Machine, static: Iterable[Finding]) -> Cause:
    """Why a child likely died."""
    number = -answer.returncode if answer.returncode is not None and answer.returncode < 0 else None
    if answer.over_memory:
        why = "It took more memory than half of what is to be had here, and was ended before the machine ran out."
        mend = Remedy(text="Close other programs, raise the limit of the container or job, or look for what takes so much.")
        return _cause(answer.errors, why, (mend,), explained_by, static)
    if answer.timed_out:
        why = "It hangs, or is very slow here. A first start of CUDA may compile for minutes."
        again = Remedy(text="Give it more time.", commands=("dltool doctor --probe --probe-limit 600",), risk=Risk.READ_ONLY)
        return _cause(answer.errors, why, (again,), explained_by, static)
    if number is not None:
        meaning = _SIGNALS.get(signal.Signals(number)) if number in set(signal.Signals) else None
        if meaning is None:
            meaning = _Meaning("It was ended from outside, or by a library in a way of its own.", "Read the last words below.")
        remedy = Remedy(text=meaning.mend, commands=meaning.commands, risk=Risk.READ_ONLY)
        facts = _facts(number, machine)
        return _cause(answer.errors, f"{meaning.why}{facts}", (remedy,), (*meaning.checks, *explained_by), static)
    why = "Something ended Python without an error that could be caught: a library, or a file that runs at start."
    return _cause(answer.errors, why, (_SNAPSHOT,), explained_by, static)


def of_failure(text: str, explained_by: Iterable[str], static: Iterable[Finding]) -> Cause:
    """Why a case likely failed, from its error."""
    return _cause(text, "", (), explained_by, static)


def of_code(code: int) -> tuple[str, str, tuple[str, ...]]:
    """Of an error of the driver: its name, what it means, and the checks that look for the cause."""
    for row in tables.rows("cuda_errors"):
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
        why = " ".join(filter(None, (known.means, known.why, why)))
        remedies = (Remedy(text=known.mend), *remedies)
    found = next((finding for finding in static if finding.id == caused_by), None)
    if found is not None:
        commands = (f"dltool doctor --explain {found.id}",)
        first = Remedy(
            text=f"Mend first what explains it: {found.summary} ({found.id})", commands=commands, risk=Risk.READ_ONLY
        )
        remedies = (first, *remedies)
    scope = found.scope if found is not None else known.scope if known else Scope.ENVIRONMENT
    return Cause(why, remedies or (_SNAPSHOT,), caused_by, scope, known)


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
        return f" /dev/shm has {units.gib(machine.memory.shm_free_bytes)} free."
    if number == signal.SIGKILL and machine.memory.available_bytes is not None:
        return f" {units.gib(machine.memory.available_bytes)} of memory were free before."
    if number == signal.SIGILL and machine.cpu.architecture:
        flags = " ".join(flag for flag in machine.cpu.simd if flag.startswith(("avx", "amx", "asimd", "sve")))
        return f" This one ({machine.cpu.model or machine.cpu.architecture}) has: {flags or 'no AVX'}."
    return ""
