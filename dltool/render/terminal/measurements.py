"""What a benchmark measured: the rates with their share of peak, then what a reader must know of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from dltool.render import measured, stepped
from dltool.render.measured import as_percent, name, size
from dltool.render.terminal import batches, curve, out_of_memory, predictions
from dltool.render.terminal.page import Page
from dltool.results import Measurement, Report

_LABEL = 9
_LONGEST_LABEL = 24
_GAP = 2
_NARROW = 72


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    cell: Callable[[Measurement], str]
    rank: int
    """The highest goes first where the page is narrow."""
    figure: bool = True


_OF_PEAK = _Column("of peak", lambda case: as_percent(measured.share(case)), 1)
_AT_CLOCK = _Column("at clock", lambda case: as_percent(measured.held_share(case)), 4)
_COLUMNS = (
    _Column("size", size, 3, figure=False),
    _Column("rate", measured.figure, 0),
    _OF_PEAK,
    _AT_CLOCK,
    _Column("normal?", measured.verdict, 2, figure=False),
    _Column("95 %", measured.interval, 5),
    _Column("burst", lambda case: measured.change(case, case.burst_s), 6),
    _Column("cold", lambda case: measured.change(case, case.cold_s), 7),
    _Column("step", measured.step, 8),
    _Column("samples", lambda case: str(len(case.seconds)) if measured.counts(case) else "", 9),
)
_STEP_COLUMNS = (
    _Column("how", size, 3, figure=False),
    _Column("throughput", lambda case: stepped.throughput(case) or measured.figure(case), 0),
    _Column("95 %", measured.interval, 5),
    _Column("p50", lambda case: stepped.latency(case, 50), 2),
    _Column("p90", lambda case: stepped.latency(case, 90), 7),
    _Column("p99", lambda case: stepped.latency(case, 99), 6),
    _Column("MFU", lambda case: as_percent(measured.share(case)), 1),
    _Column("of GEMM", stepped.mamfu, 4),
    _Column("memory", stepped.memory, 4),
    _Column("normal?", measured.verdict, 5, figure=False),
    _Column("samples", lambda case: str(len(case.seconds)) if measured.counts(case) else "", 9),
)
"""Of steps of models."""


def show(report: Report, page: Page) -> None:
    """A table per workload and device, and under it everything that qualifies a figure."""
    first = report.measurements[0]
    page.line(first.device, style="bold")
    page.line(_settings(first), style="dim")
    for workload, group in groupby(report.measurements, key=lambda measurement: measurement.workload):
        cases = list(group)
        page.line()
        columns = _fitting(workload, cases, page.width)
        rows = [[name(case), *(column.cell(case) for column in columns)] for case in cases]
        figures = [place for place, column in enumerate(columns, start=1) if column.figure]
        page.table([workload, *(column.title for column in columns)], rows, right=figures)
    _remarks(report, page)
    _of_models(report.measurements, page)
    _seen(report.measurements, page)
    if report.interrupted:
        page.line()
        page.line("Interrupted: this is what was measured until then.", style="bold yellow")


def _fitting(workload: str, cases: Sequence[Measurement], width: int) -> list[_Column]:
    """The columns that say something of any case, as many as there is room for."""
    all_columns = _STEP_COLUMNS if any(case.model is not None for case in cases) else _COLUMNS
    wide = {column: max(map(len, map(column.cell, cases))) for column in all_columns}
    left = width - max(len(workload), *(len(name(case)) for case in cases))
    kept = set()
    for column in sorted(all_columns, key=lambda column: column.rank):
        if column is _AT_CLOCK and all(column.cell(case) == _OF_PEAK.cell(case) for case in cases):
            continue  # the clock that was held is that of the peak
        needed = max(wide[column], len(column.title)) + _GAP
        if wide[column] and (needed <= left or column.rank == 0):
            kept.add(column)
            left -= needed
    return [column for column in all_columns if column in kept]


def _settings(case: Measurement) -> str:
    shown = ("torch", "cuda", "threads", "numa", "isa", "blas")
    parts = [f"{key} {value}" for key, value in case.settings.items() if key in shown and value]
    if case.conditions.cpu_mhz:
        parts.append(f"{case.conditions.cpu_mhz:.0f} MHz")
    return ", ".join(parts)


def _remarks(report: Report, page: Page) -> None:
    """Case by case: where the rest of the peak went, what others reach, and what is wrong with the figure."""
    cases, verbose = report.measurements, page.verbose
    said = [
        (case, measured.troubles(case), measured.explanation(case, all_of_it=verbose), _details(case, report, page))
        for case in cases
    ]
    if any(troubles or why or details for _, troubles, why, details in said):
        page.line()
    labels = _labels(cases)
    wide = max([_LABEL, *(len(label) for label in labels if len(label) <= _LONGEST_LABEL)])
    for label, (_, troubles, why, details) in zip(labels, said, strict=True):
        lines = [*why, *(["; ".join(troubles)] if troubles else []), *details]
        style = "yellow" if troubles else "dim"
        if lines and (len(label) > _LONGEST_LABEL or (page.width < _NARROW and wide > _LABEL)):  # no room for text beside it
            page.line(label, style=style)
            for line in lines:
                page.line(line, indent=2)
            continue
        for place, line in enumerate(lines):
            page.labelled(f"{label if place == 0 else '':<{wide}}", line, indent=0, label_style=style)


def _of_models(cases: Sequence[Measurement], page: Page) -> None:
    """Below the table: how the batch was found and what it does, predictions for other boards, and what had no memory."""
    foretold = tuple(one for case in cases if case.model is not None for one in case.model.prediction)
    predictions.show(foretold, page, indent=0)
    for case in cases:
        step, none = case.model, case.out_of_memory
        blocks = [
            batches.lines(step.search, page.width) if step is not None and step.search is not None else [],
            curve.lines(step.curve, page.width) if step is not None and step.curve is not None else [],
            out_of_memory.lines(none, page.width) if none is not None else [],
        ]
        for block in filter(None, blocks):
            page.line()
            for line in block:
                page.line(line)


def _details(case: Measurement, report: Report, page: Page) -> list[str]:
    told = stepped.always(case)
    if page.verbose:
        told += [*(line for line in stepped.details(case) if line not in told), *measured.details(case, report.boards)]
    return told


def _labels(cases: Sequence[Measurement]) -> list[str]:
    """The names of the cases, with their sizes where one name stands for several."""
    names = [name(case) for case in cases]
    return [found if names.count(found) == 1 else f"{found} {size(case)}" for found, case in zip(names, cases, strict=True)]


def _seen(cases: tuple[Measurement, ...], page: Page) -> None:
    """Clocks and power while the samples were taken, where a GPU told them."""
    told = [(label, measured.conditions(case.conditions)) for label, case in zip(_labels(cases), cases, strict=True)]
    lines = [(label, text) for label, text in told if text]
    if lines:
        page.line()
        page.line("seen while timing (median, lowest to highest)", style="dim")
    wide = max((len(label) for label, _ in lines), default=0)
    for label, text in lines:
        page.labelled(f"{label:<{max(_LABEL, wide)}}", text, indent=0)
