"""Quantities as text and text as quantities, once.

Stored values are base units (bytes, seconds, hertz or what the field's name says); only text is scaled.
GB = 1e9 bytes, GiB = 2**30 bytes; they are never mixed.
"""

from __future__ import annotations

import re

from dltool.errors import UsageError

_BYTES: dict[str, int] = {"": 1, "b": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("kmgt", start=1)
    for base, suffix in ((1000, "b"), (1024, "ib"), (1024, ""))
}
_SI = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
UNKNOWN = "unknown"


def significant(value: float, digits: int = 3) -> str:
    """`value` with `digits` significant figures and no exponent: 989.43 -> "989", 0.0123 -> "0.0123"."""
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}"
    if "e" not in text:
        return text
    decimals = digits - 1 - int(text.partition("e")[2])
    return f"{float(text):.{decimals}f}".rstrip("0") if decimals > 0 else f"{float(text):.0f}"


def gib(size: float | None) -> str:
    """Bytes as GiB (or MiB when small): 80 * 2**30 -> "80.0 GiB"."""
    if size is None:
        return UNKNOWN
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def rate(value: float | None, unit: str) -> str:
    """Operations or bytes per second with an SI prefix: (9.894e14, "FLOP/s") -> "989 TFLOP/s"."""
    if value is None:
        return UNKNOWN
    for factor, prefix in _SI:
        if abs(value) >= factor:
            # Above 1000 T the field still says TFLOP/s: 1979, not 1.98 P.
            if prefix == "P":
                continue
            return f"{_four(value / factor)} {prefix}{unit}"
    return f"{significant(value)} {unit}"


def _four(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else significant(value)


def seconds(value: float | None) -> str:
    """Seconds with the fitting prefix: 1.234e-3 -> "1.23 ms"."""
    if value is None:
        return UNKNOWN
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if abs(value) >= factor:
            return f"{significant(value / factor)} {unit}"
    return f"{significant(value / 1e-9)} ns"


def percent(share: float | None) -> str:
    """A share as per cent: 0.8123 -> "81 %"."""
    if share is None:
        return UNKNOWN
    return f"{share * 100:.0f} %" if share >= 0.095 else f"{share * 100:.1f} %"


def parse_bytes(text: str) -> int:
    """`"64MiB"`, `"1.5 GB"`, `"4096"` -> bytes.

    A bare k/M/G/T means the binary unit, as in `ulimit` and `docker --shm-size`.

    Raises:
        UsageError: not a number, negative, or an unknown unit.
    """
    match = re.fullmatch(r"\s*(\d{1,30})(?:\.(\d{1,30}))?\s*([a-zA-Z]*)\s*", text)
    factor = _BYTES.get(match[3].lower()) if match else None
    if match is None or factor is None:
        raise UsageError(f"`{text}` is not a size", remedy="Write a number with a unit: 64MiB, 1.5GB, 4096.")
    part = match[2] or "0"
    scale: int = 10 ** len(part)
    return int(match[1]) * factor + int(part) * factor // scale


def parse_mhz(text: str) -> float:
    """`"1830"`, `"1830 MHz"`, `"1.83GHz"` -> MHz.

    Raises:
        UsageError: not a number, or an unknown unit.
    """
    match = re.fullmatch(r"\s*(\d{1,30}(?:\.\d{1,30})?)\s*(mhz|ghz)?\s*", text, re.IGNORECASE)
    if match is None:
        raise UsageError(f"`{text}` is not a clock", remedy="Write a number with a unit: 1830, 1830MHz, 1.83GHz.")
    return float(match[1]) * (1000 if (match[2] or "").lower() == "ghz" else 1)


def parse_memory_gb(text: str) -> float:
    """`"24"`, `"24GB"`, `"24 GiB"`, `"0.5T"` -> the size as cards are marketed, in GB.

    A card of "24 GB" has 24 GiB on most boards and 24e9 bytes on some, so both units mean the marketed figure here.

    Raises:
        UsageError: not a number, or an unknown unit.
    """
    match = re.fullmatch(r"\s*(\d{1,30}(?:\.\d{1,30})?)\s*([mgt])?(?:i?b)?\s*", text, re.IGNORECASE)
    if match is None:
        raise UsageError(f"`{text}` is not a size of memory", remedy="Write a number with a unit: 24, 24GB, 24GiB, 512MB.")
    return float(match[1]) * {"m": 1 / 1024, "g": 1, "t": 1000}[(match[2] or "g").lower()]


def parse_seconds(text: str) -> float:
    """`"60s"`, `"500ms"`, `"2min"`, `"10"` -> seconds.

    Raises:
        UsageError: not a positive duration.
    """
    match = re.fullmatch(r"\s*(\d{1,30}(?:\.\d{1,30})?)\s*(ms|s|sec|min|m|h)?\s*", text)
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"`{text}` is not a duration", remedy="Write a positive number with a unit: 60s, 500ms, 2min.")
    factor = {"ms": 1e-3, "s": 1.0, "sec": 1.0, None: 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}[match[2]]
    return float(match[1]) * factor


def parse_count(text: str) -> int:
    """`"8"` -> 8.

    Raises:
        UsageError: no whole number above 0.
    """
    if not re.fullmatch(r"0*[1-9]\d{0,17}", text):
        raise UsageError(f"`{text}` is not a count", remedy="Write a whole number above 0.")
    return int(text)
