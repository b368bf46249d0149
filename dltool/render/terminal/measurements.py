"""What a benchmark measured: the rates with their share of peak, then what a reader must know of each."""

from __future__ import annotations

from itertools import groupby

from dltool import tables
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
    """What tells a case from its neighbours: the dtype with what is unusual of it, or the kernel."""
    if "kernel" in case.params:
        return str(case.params["kernel"])
    usual = next((row["layout"] for row in tables.rows("dtypes") if row["name"] == case.dtype), "")
    layout = str(case.params.get("layout") or usual)
    return " ".join([case.dtype, *[layout] * (layout != usual), *["zeros"] * (case.params.get("data") == "zeros")])


def _size(case: Measurement) -> str:
    if "m" in case.params:
        sides = [str(case.params[side]) for side in "mnk"]
        return sides[0] + "³" if len(set(sides)) == 1 else "x".join(sides)
    if "rounds" in case.params:
        return f"{case.params.get('blocks')} x {case.params['rounds']}"
    size = case.params.get("bytes")
    return f"{int(size) / 2**20:.0f} MiB" if isinstance(size, int) else ""


def _row(case: Measurement) -> list[str]:
    if case.rate is None:
        return [name(case), _size(case), "not run" if case.not_run else "wrong", "", "", "", ""]
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
    parts = [f"{key} {value}" for key, value in case.settings.items() if key in ("torch", "cuda", "threads", "isa")]
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
    if case.rate is not None and case.work.skipped_ops:
        real = case.rate * (1 - case.work.skipped_ops / case.work.ops)
        found.append(f"counts skipped products, as datasheets do; {rate(real, case.rate_unit)} are computed")
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
