"""What a benchmark measured: the rates with their share of peak, then what a reader must know of each."""

from __future__ import annotations

from itertools import groupby

from dltool.render.terminal.page import Page
from dltool.results import Conditions, Measurement, Report
from dltool.units import percent, rate, seconds

_NEEDS = (76, 68, 60)
"""Columns of text below which the last, the last two, the last three columns of the table are left out."""


def show(report: Report, page: Page) -> None:
    """A table per workload and device, and under it everything that qualifies a figure."""
    first = report.measurements[0]
    page.line(first.device, style="bold")
    page.line(_settings(first), style="dim")
    for workload, group in groupby(report.measurements, key=lambda measurement: measurement.workload):
        cases = list(group)
        page.line()
        titles = [workload, "size", "rate", "of peak", "95 % of median", "step", "samples"]
        kept = len(titles) - sum(page.width < least for least in _NEEDS)
        page.table(titles[:kept], [_row(case)[:kept] for case in cases], right=range(2, kept))
    _remarks(report.measurements, page)
    _seen(report.measurements, page)
    if report.interrupted:
        page.line()
        page.line("Interrupted: this is what was measured until then.", style="bold yellow")


def name(case: Measurement) -> str:
    """What tells a case from its neighbours: its own word for it, the kernel, or the dtype."""
    return case.label or str(case.params.get("kernel") or case.dtype)


def _size(case: Measurement) -> str:
    if case.size:
        return case.size
    if "m" in case.params:
        sides = [str(case.params[side]) for side in "mnk"]
        return sides[0] + "³" if len(set(sides)) == 1 else "x".join(sides)
    size = case.params.get("bytes")
    return f"{int(size) / 2**20:.0f} MiB" if isinstance(size, int) else ""


def _row(case: Measurement) -> list[str]:
    if case.rate is None:
        return [name(case), _size(case), "not run", "", "", "", ""]
    return [
        name(case),
        _size(case),
        rate(case.rate, case.rate_unit),
        "" if case.share_of_peak is None else percent(case.share_of_peak),
        _interval(case),
        seconds(case.median_s),
        str(len(case.seconds)),
    ]


def _interval(case: Measurement) -> str:
    """The confidence interval as per cent of the median, the wider side."""
    if case.ci95_s is None or not case.median_s:
        return "too few"
    half = max(case.median_s - case.ci95_s[0], case.ci95_s[1] - case.median_s)
    return f"±{100 * half / case.median_s:.1f} %"


def _settings(case: Measurement) -> str:
    parts = [
        f"{key} {value}" for key, value in case.settings.items() if key in ("torch", "cuda", "threads", "numa", "isa") and value
    ]
    if case.conditions.cpu_mhz:
        parts.append(f"{case.conditions.cpu_mhz:.0f} MHz")
    return ", ".join(parts)


def _remarks(cases: tuple[Measurement, ...], page: Page) -> None:
    names = [name(case) for case in cases]
    remarks = [
        (name(case) if names.count(name(case)) == 1 else f"{name(case)} {_size(case)}", "; ".join(found))
        for case in cases
        if (found := _remarks_of(case))
    ]
    if remarks:
        page.line()
    for case_name, remark in remarks:
        page.labelled(f"{case_name:<9}", remark, indent=0, label_style="yellow")


def _remarks_of(case: Measurement) -> list[str]:
    if case.not_run:
        return [f"not run: {case.not_run}"]
    found = [] if case.implementation in (None, "native") else [str(case.implementation)]
    return [*found, *case.warnings]


def _seen(cases: tuple[Measurement, ...], page: Page) -> None:
    """Clocks and power while the samples were taken, where a GPU told them."""
    lines = [(name(case), text) for case in cases if (text := _conditions(case.conditions))]
    if lines:
        page.line()
        page.line("seen while timing (median, lowest to highest)", style="dim")
    for case_name, text in lines:
        page.labelled(f"{case_name:<9}", text, indent=0)


def _conditions(seen: Conditions) -> str:
    spans = (("SM", seen.sm_mhz, "MHz"), ("", seen.power_w, "W"), ("", seen.temperature_c, "°C"))
    parts = [
        f"{title} {span.median:.0f} {unit} ({span.minimum:.0f} to {span.maximum:.0f})".strip()
        for title, span, unit in spans
        if span is not None
    ]
    return ", ".join([*parts, *(seen.throttle or ())])
