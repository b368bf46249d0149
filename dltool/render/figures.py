"""Published figures as rows of text, for every format that shows them."""

from __future__ import annotations

from collections.abc import Sequence

from dltool.reference import Figure
from dltool.units import rate, seconds, significant

_PREFIXED = ("FLOP/s", "OP/s", "B/s")


def amount(value: float, unit: str) -> str:
    """ "794 TFLOP/s", "3079 images/s", "9.0 min" as they are read."""
    if unit in _PREFIXED:
        return rate(value, unit)
    if unit == "s":
        return f"{value / 60:.1f} min" if value >= 60 else seconds(value)
    return f"{value:.0f} {unit}" if value >= 1000 else f"{significant(value)} {unit}"


def case(figure: Figure) -> str:
    """What was run: "8192x8192x8192", "read", "resnet50"."""
    if figure.ops is not None:
        return "x".join(figure.case[side] for side in "mnk")
    return " ".join(figure.case.values())


def how(figure: Figure) -> str:
    """Conditions, and a mark where nobody should compare with it."""
    several = f"{figure.devices} GPUs" if figure.devices not in (1, None) else ""
    mark = "" if figure.comparable else "not compared with"
    return "; ".join(filter(None, (mark, several, figure.conditions, figure.note)))


def summary(figures: Sequence[Figure]) -> dict[str, list[tuple[str, str, str, str]]]:
    """By board: for each workload with its parameters and dtype the range, and how many figures are in it.

    Figures that nobody should compare with are left out.
    """
    found: dict[str, dict[tuple[str, str, str], list[float]]] = {}
    for figure in figures:
        if figure.comparable:
            kind = (_what(figure), " or ".join(figure.dtypes), figure.unit)
            found.setdefault(device(figure), {}).setdefault(kind, []).append(figure.value)
    return {
        board: [
            (what, dtype, span(min(values), max(values), unit), f"({len(values)})") for (what, dtype, unit), values in kinds
        ]
        for board, kinds in ((board, sorted(kinds.items())) for board, kinds in sorted(found.items()))
    }


def device(figure: Figure) -> str:
    """The boards that it may be, or the device as the source writes it."""
    return ", ".join(figure.boards) or figure.device


def span(low: float, high: float, unit: str) -> str:
    """ "794 to 821 TFLOP/s"; the unit once where both have the same."""
    first, second = amount(low, unit), amount(high, unit)
    if first == second:
        return first
    number, _, prefixed = first.partition(" ")
    return f"{number if second.endswith(' ' + prefixed) else first} to {second}"


def _what(figure: Figure) -> str:
    """Shapes differ from figure to figure; kernels, models and numbers of GPUs are what is compared."""
    several = f"on {figure.devices} GPUs" if figure.devices not in (1, None) else ""
    return " ".join(filter(None, (figure.workload, "" if figure.ops is not None else case(figure), several)))
