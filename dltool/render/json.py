"""The report as JSON, field for field."""

from __future__ import annotations

from dltool.render import FORMATS, Style
from dltool.results import Report


@FORMATS.register("json")
def render(report: Report, style: Style) -> str:
    """JSON by the published schema, with a final newline; `style` has no say in it."""
    del style
    return report.to_json().decode()
