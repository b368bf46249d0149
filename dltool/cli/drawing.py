"""Pictures of measurements: the way into the file, or onto the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dltool.cli.common import DrawnOutput, deliver, say, say_error, style
from dltool.errors import DltoolError

if TYPE_CHECKING:
    from dltool.results import Report


def draw(result: Report, out: DrawnOutput) -> None:
    """The roofline with the points of a report; a picture that fails costs the picture, not the report."""
    if out.plot is None:
        return
    try:
        _draw(result, out, out.plot)
    except DltoolError as error:
        say_error(error)


def _draw(result: Report, out: DrawnOutput, path: str) -> None:
    from dltool.measured_roofline import of_report
    from dltool.render import plot as plots

    measured = of_report(result)
    if path == "-":
        looks = style(out)
        deliver(plots.text(measured.roofs, width=looks.width, color=looks.color, measured=measured) + "\n", out)
        return
    file = Path(path)
    try:
        file.write_bytes(plots.picture(measured.roofs, file.suffix.lower().lstrip("."), measured))
    except OSError as error:
        raise DltoolError(f"cannot write {path}: {error.strerror}", remedy="Name another file with --plot.") from None
    say(f"roofline written to {path}", quiet=out.quiet)
