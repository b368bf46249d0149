"""What a step would do on other boards."""

from __future__ import annotations

from collections.abc import Sequence

from dltool.model_results import Prediction
from dltool.render import predictions
from dltool.render.terminal.page import Page


def show(found: Sequence[Prediction], page: Page, *, indent: int = 2) -> None:
    """A line each, how far known predictions were off, and what they rest on."""
    if not found:
        return
    page.line()
    page.table(predictions.head(found), [predictions.row(one) for one in found], right=(1, 2), indent=indent)
    for text in predictions.marks(found):
        page.line(text, style="dim", indent=indent)
    page.labelled("assumed".ljust(10), "; ".join(predictions.assumptions(found)), indent=indent)
