"""What the kernel's log says of GPUs, their links, the driver's start and the memory, wherever this user may read it.

The log is asked for in three ways, the first that answers counts: /dev/kmsg, dmesg, journalctl. None of them needs root where
the system lets users read it. An empty answer is no answer: a log that may not be read often looks like an empty one.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from dltool.machine import KernelEvent, KernelLog
from dltool.probe import child

MOST_EVENTS = 200
_LONGEST = 300
_LONGEST_RECORD = 2000
"""Characters of one message: the kernel itself writes about a thousand at most, the driver goes on over some."""
_MOST_TEXT = 16 * 2**20
_KMSG_NUMBER = (1, 11)
"""Of the device /dev/kmsg. In some containers another device has its name, a terminal for one."""
_BUS = r"(?P<bus>(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}(?:\.[0-7])?)"
_NVRM = r"^(?:(?!NVRM:).)*NVRM:"
"""The first of a line: what follows a second one follows the first, and trying each takes long on a hostile line."""
_GPU = rf"(?:.{{0,80}}?GPU (?:at )?(?:PCI:)?{_BUS})?"

KINDS = {
    "xid": rf"NVRM: Xid \((?:PCI:)?{_BUS}[^)]*\): (?P<code>\d+)",
    "sxid_fatal": rf"SXid \(PCI:{_BUS}\): (?P<code>\d+), Fatal",
    "sxid": rf"SXid \(PCI:{_BUS}\): (?P<code>\d+), Non-fatal",
    "fell_off_bus": rf"{_NVRM}{_GPU}.*fallen off the bus",
    "needs_open_module": rf"{_NVRM}{_GPU}.*requires use of the NVIDIA open kernel modules",
    "needs_proprietary_module": rf"{_NVRM}{_GPU}.*not supported by open",
    "unsupported_gpu": rf"{_NVRM}{_GPU}.*(?:not supported by the NVIDIA|supported through the NVIDIA \S+ Legacy)",
    "reset_required": rf"{_NVRM}.*NV_ERR_RESET_REQUIRED",
    "gsp_failed": rf"nvidia {_BUS}: Direct firmware load for nvidia/\S*gsp\S* failed"
    rf"|{_NVRM}.*(?:cannot initialize GSP firmware|no firmware image found|cannot bootstrap riscv/gsp|WPR2 already up"
    r"|GSP failure|GSP heartbeat.*timed out|waiting for .*GSP)",
    "init_failed": rf"{_NVRM}{_GPU}.*RmInitAdapter failed",
    "probe_failed": rf"nvidia:? (?:probe of )?{_BUS}(?:: probe .*)? failed|NVRM: The NVIDIA probe routine failed",
    "bar_invalid": rf"{_NVRM}.*BAR\d is 0M @ 0x0 \(PCI:{_BUS}\)",
    "aer_uncorrected": rf"{_BUS}: (?:AER: )?PCIe Bus Error: severity=Uncorrect",
    "aer_corrected": rf"{_BUS}: (?:AER: )?PCIe Bus Error: severity=Corrected",
    "hung_task": r"INFO: task .+:(?P<code>\d+) blocked for more than \d+ seconds",
    "oom_kill": r"out of memory[^:]*: Kill(?:ed)? process \d+",
    "module_rejected": r"Loading of (?:unsigned module|module with .* key|module with .* crypto) is rejected"
    r"|unsigned module loading is restricted",
    "driver_loaded": r"NVRM: loading NVIDIA UNIX",
}
"""The kinds of events, each with what tells it; the first that fits a line is its kind."""

_WORTH_A_LOOK = re.compile(
    r"NVRM|SXid|nvidia|PCIe Bus Error|out of memory|is rejected|blocked for more|loading is restricted|suppressed",
    re.IGNORECASE,
)
_SUPPRESSED = re.compile(r"(?:nv\w*|aer\w*|printk|ratelimit)[^:]*: (\d+) (?:callbacks|messages) suppressed", re.IGNORECASE)
_KMSG = re.compile(r"([0-9]{1,9}),[0-9]+,([0-9]{1,18}),[^;]*;(.*)")
_STAMP = re.compile(r"(?:<\d+>)?(?:\w+ *:\w+ *: )?\[ *([0-9]{1,12}\.[0-9]{1,12})\](?:\[ *[TC]\d+\])? ?(.*)")
_DATE = re.compile(r"\[[^\]]*\d\d:\d\d:\d\d[^\]]*\] ?(.*)")
_SYSLOG = re.compile(r"\S.{0,80}? kernel: (?:\[ *([0-9]{1,12}\.[0-9]{1,12})\] )?(.*)")
_HOST = re.compile(r"\S+ kernel: ")
_MORE = re.compile(r"NVRM:\s+(?:[a-z(]|NVIDIA |System )")
"""A line that goes on with the sentence of the one before it."""

Run = Callable[..., child.Answer]


@dataclass(slots=True)
class _Record:
    """One message: when it was written, in seconds since the start of the system, and its text."""

    at_s: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Reading:
    """The log, or the reason why there is none."""

    log: KernelLog | None
    gaps: dict[str, str] = field(default_factory=dict)


def read(root: Path = Path("/"), *, run: Run = child.run, timeout_s: float = 4.0) -> Reading:
    """The log of this boot, from the first source that gives it."""
    deadline = time.monotonic() + timeout_s
    journal = ["journalctl", "--dmesg", "--boot", "--no-pager", "--quiet", "--lines=20000", "--output=short-monotonic"]
    sources: dict[str, Callable[[], str]] = {
        "/dev/kmsg": lambda: _kmsg(root / "dev/kmsg", deadline),
        "dmesg": lambda: _command(["dmesg"], run, deadline),
        "journalctl": lambda: _command(journal, run, deadline),
    }
    reasons = []
    for name, source in sources.items():
        try:
            log = parse(source(), name, now_s=time.monotonic())
        except OSError as error:
            reasons.append(f"{name}: {error.strerror or error}")
        else:
            if log is not None:
                return Reading(log)
            reasons.append(f"{name}: shows nothing to this user")
    return Reading(None, {"kernel_log": "; ".join(reasons)})


def _kmsg(path: Path, deadline: float) -> str:
    """All records that the device holds. It gives one a read, and says "not now" behind the last."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    records = []
    try:
        kind = os.fstat(descriptor)
        if stat.S_ISCHR(kind.st_mode) and (os.major(kind.st_rdev), os.minor(kind.st_rdev)) != _KMSG_NUMBER:
            raise OSError("is another device")
        while time.monotonic() < deadline:
            try:
                record = os.read(descriptor, 16384)
            except BrokenPipeError:  # it was overwritten before we came to it; the next is there
                continue
            except BlockingIOError:
                break
            if not record:
                break
            records.append(record)
    finally:
        os.close(descriptor)
    return b"".join(records).decode(errors="replace")


def _command(argv: list[str], run: Run, deadline: float) -> str:
    """What a command prints.

    Raises:
        OSError: it is not there, failed without a word on its output, or was not done in time.
    """
    answer = run(argv, timeout_s=max(0.5, deadline - time.monotonic()))
    if answer.timed_out:
        raise OSError("was not done in time")
    if answer.returncode and not answer.output.strip():
        lines = answer.errors.strip().splitlines() or [f"ended with {answer.returncode}"]
        raise OSError(lines[0].removeprefix(f"{argv[0]}: "))
    return str(answer.output)


def parse(text: str, source: str, *, now_s: float | None = None) -> KernelLog | None:
    """The events in a kernel log, in whatever form it was written down; None where it holds no line with a time.

    Args:
        text: records of /dev/kmsg, or what dmesg, journalctl or syslog make of them.
        source: where it comes from.
        now_s: the present on the clock of the log; without it no event has an age.
    """
    records = list(_joined(_records(text)))
    stamps = [record.at_s for record in records if record.at_s is not None]
    if not records or (now_s is not None and not stamps):
        return None
    suppressed = 0
    events: dict[tuple[str, int | None, str | None], KernelEvent] = {}
    for record in records:
        if _WORTH_A_LOOK.search(record.text) is None:
            continue
        if match := _SUPPRESSED.match(record.text):
            suppressed += int(match[1][:9])
        age = None if now_s is None or record.at_s is None else max(0.0, round(now_s - record.at_s, 1))
        event = _event(record.text, age)
        if event is None:
            continue
        key = event.kind, event.code, event.pci_bus_id
        before = events.pop(key, None)  # taken out and put in at the end: the last is the newest
        events[key] = event if before is None else _again(event, before.count)
    back = None if now_s is None or not stamps else max(0.0, round(now_s - min(stamps), 1))
    newest = tuple(reversed(events.values()))[:MOST_EVENTS]
    return KernelLog(source=source, reaches_back_s=back, suppressed=suppressed, events=newest)


def _again(event: KernelEvent, before: int) -> KernelEvent:
    from msgspec.structs import replace

    return replace(event, count=before + 1)


@cache
def _kinds() -> dict[str, re.Pattern[str]]:
    return {kind: re.compile(pattern, re.IGNORECASE) for kind, pattern in KINDS.items()}


def _event(text: str, age_s: float | None) -> KernelEvent | None:
    for kind, pattern in _kinds().items():
        found = pattern.search(text)
        if found is None:
            continue
        said = found.groupdict()
        return KernelEvent(
            kind=kind,
            code=int(said["code"][:9]) if said.get("code") else None,
            pci_bus_id=bus_id(said["bus"]) if said.get("bus") else None,
            age_s=age_s,
            text=text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ...",
        )
    return None


def bus_id(written: str) -> str:
    """A bus id as sysfs writes it: "PCI:0000:3B:00" is 0000:3b:00.0."""
    parts = written.lower().split(":")
    domain = parts[-3] if len(parts) > 2 else "0000"
    domain = domain[-4:] if domain.startswith("0000") else domain
    place = parts[-1] if "." in parts[-1] else f"{parts[-1]}.0"
    return f"{domain}:{parts[-2]}:{place}"


def _records(text: str) -> Iterator[_Record]:
    """The messages one by one. A line that is set in goes on with the message before it."""
    last: _Record | None = None
    of_kmsg = False
    for long_line in text[-_MOST_TEXT:].replace("#012", "\n").split("\n"):
        line = long_line[:_LONGEST_RECORD]
        if not line.strip():
            continue
        if line[0] in " \t":
            # Behind a record of kmsg there are names and values of its device.
            if last is not None and not of_kmsg and len(last.text) < _LONGEST_RECORD:
                last.text += f"\n{line.strip()}"
            continue
        if last is not None:
            yield last
        record = _KMSG.match(line)
        of_kmsg = record is not None
        last = None
        if record is None:
            last = _printed(line)
        elif int(record[1]) < 8:  # facility 0: the kernel itself, not a program that wrote into its log
            last = _Record(int(record[2]) / 1e6, record[3].replace("\\x0a", "\n"))
    if last is not None:
        yield last


def _printed(line: str) -> _Record:
    """A line of dmesg, journalctl or syslog."""
    if match := _STAMP.match(line):
        return _Record(float(match[1]), _HOST.sub("", match[2], count=1) if _HOST.match(match[2]) else match[2])
    if match := _DATE.match(line):
        return _Record(None, match[1])
    if match := _SYSLOG.match(line):
        return _Record(float(match[1]) if match[1] else None, match[2])
    return _Record(None, line)


def _joined(records: Iterator[_Record]) -> Iterator[_Record]:
    """Sentences that the driver wrote over several lines, or several messages, in one."""
    open_one: _Record | None = None
    for record in records:
        parts = [part.strip() for part in record.text.split("\n")]
        whole = parts[0] + "".join(f" {part.removeprefix('NVRM:').strip()}" for part in parts[1:])
        if open_one is not None:
            goes_on = _MORE.match(whole) is not None and len(open_one.text) < _LONGEST_RECORD
            if goes_on:
                open_one.text += f" {whole.removeprefix('NVRM:').strip()}"
            if not goes_on or whole.endswith("."):
                yield open_one
                open_one = None
            if goes_on:
                continue
        current = _Record(record.at_s, whole)
        if whole.startswith("NVRM: The NVIDIA ") and not whole.endswith("."):
            open_one = current
        else:
            yield current
    if open_one is not None:
        yield open_one
