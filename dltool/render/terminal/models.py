"""Models: a list by task, or each in full."""

from __future__ import annotations

from collections.abc import Sequence

from dltool.model_results import Fits, Memory, Model
from dltool.render import zoo
from dltool.render.terminal import predictions
from dltool.render.terminal.page import Page
from dltool.results import Report
from dltool.units import significant

_LABEL = 11
_WIDE = 100
"""Columns of text from which a list has room for titles."""


def show(report: Report, page: Page) -> None:
    """The list, or one model after the other."""
    if page.style.layout == "list":
        _list(report.models, page)
        return
    for place, model in enumerate(report.models):
        if place:
            page.line()
        _one(model, page)


def _list(models: Sequence[Model], page: Page) -> None:
    """A block for each task; the columns stand alike in all of them."""
    page.line(f"GFLOP: of one sample forward; {zoo.CONVENTION}", style="dim")
    head = ["name", "parameters", "GFLOP", "year", "input", *(["title"] if page.width >= _WIDE else [])]
    cells = {model.name: zoo.row(model)[: len(head)] for model in models}
    widths = [max(map(len, column)) for column in zip(head, *cells.values(), strict=True)]
    for task in dict.fromkeys(model.task for model in models):
        page.line()
        page.line(zoo.task(task), style="bold")
        rows = [_padded(cells[model.name], widths) for model in models if model.task == task]
        page.columns(_padded(head, widths), rows, indent=2)
    page.line()
    page.line(f"{len(models)} models; one in full: dltool models {models[-1].name}", style="dim")


def _padded(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    figures = (1, 2)
    placed = zip(cells, widths, strict=True)
    return [cell.rjust(width) if place in figures else cell.ljust(width) for place, (cell, width) in enumerate(placed)]


def _one(model: Model, page: Page) -> None:
    page.line(f"{zoo.title(model)}  {model.title}".rstrip(), style="bold")
    for label, text in zoo.facts(model).items():
        page.labelled(label.ljust(_LABEL - 1), text, indent=2)
    _operations(model, page)
    if model.memory:
        _memory(model.memory, page)
    if model.fits is not None:
        _fits(model.fits, page)
    if model.predictions:
        predictions.show(model.predictions, page)
    if model.layers:
        _layers(model, page)
    for note in model.notes:
        page.labelled("note".ljust(_LABEL - 1), note, indent=2)


def _operations(model: Model, page: Page) -> None:
    rows = list(zoo.operations(model))
    if not rows or model.flops is None:
        if model.forward_gflops is not None:
            text = f"{significant(model.forward_gflops, 4)} GFLOP of one sample; {zoo.CONVENTION}"
            page.labelled("forward".ljust(_LABEL - 1), text, indent=2)
        return
    page.line()
    page.table(["operations of one sample", "GFLOP", "GMAC", ""], rows, right=(1, 2), indent=2)
    where = "" if model.flops.counted_on == "meta" else f"; counted on {model.flops.counted_on}"
    page.line(f"{zoo.CONVENTION}; attention as the full square{where}", style="dim", indent=2)


def _memory(held: tuple[Memory, ...], page: Page) -> None:
    page.line()
    first = held[0]
    how = f"memory, {first.dtype}, {first.optimizer}" if first.optimizer else f"memory, {first.dtype}"
    page.table([how, *zoo.ways(held)], list(zoo.memory(held)), right=(1, 2), indent=2)
    peaks = ", ".join(f"of the {way} in the {one.peak_in}" for way, one in zip(("first", "second"), held, strict=False))
    page.line(f"peak {peaks}; without the device's context and workspaces", style="dim", indent=2)


def _fits(fits: Fits, page: Page) -> None:
    page.line()
    room = fits.memory - fits.reserved
    page.line(f"on {fits.board}: {zoo.size(fits.memory)} seen, {zoo.size(room)} of it for the model", style="bold", indent=2)
    head = ["for", "precision", "largest batch", "peak", "a sample"]
    page.table(head, [zoo.fit(one) for one in fits.fits], right=(2, 3, 4), indent=2)
    for one in fits.fits:
        if one.note:
            page.line(f"{one.purpose}, {one.dtype}: {one.note}", style="dim", indent=2)
    page.labelled("assumed", "; ".join(fits.assumed), indent=2)


def _layers(model: Model, page: Page) -> None:
    page.line()
    total = ("total", "", "", f"{sum(row.params for row in model.layers):,}", f"{sum(row.macs for row in model.layers):,}")
    head = ("layer", "type", "output", "parameters", "MAC")
    page.columns(head, [*zoo.layers(model.layers), total], right=(3, 4), indent=2)
