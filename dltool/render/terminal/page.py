"""A page of text: styled where colour is wanted, plain and at a fixed width where it is not."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dltool.render import Style

Cell = str | Text
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_GAP = "  "
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_TOKENS = re.compile(r" *(?:[（《“]*[\u3000-\u9fff\uff00-\uffef]|[^\s\u3000-\u9fff\uff00-\uffef]+)[，。；：！？、）》”]*|\s+")
"""A Chinese letter or a word of another script, with the marks that cling to it and the space before it."""


def visible(text: str) -> str:
    """A text without the power to steer a terminal: facts come from files that strangers wrote."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def folded(text: str, width: int) -> str:
    """Lines of Chinese: they may be parted between any two letters, but none begins with a closing mark.

    Where there is no Chinese the text is left to rich, which parts between words.
    """
    if not _CHINESE.search(text):
        return text
    lines, used = [""], 0
    for token in _TOKENS.findall(text):
        columns = cell_len(token)
        if used and used + columns > width:
            lines[-1] = lines[-1].rstrip()
            lines.append("")
            used, token = 0, token.lstrip()
            columns = cell_len(token)
        lines[-1] += token
        used += columns
    return "\n".join(lines)


class Page:
    """Collects lines and tables, and gives them back as one text."""

    def __init__(self, style: Style) -> None:
        self.style = style
        self.verbose = style.verbose
        self.width = style.width
        self._console = Console(
            file=io.StringIO(),
            width=style.width,
            force_terminal=style.color,
            color_system="auto" if style.color else None,
            no_color=not style.color,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def line(self, text: Cell = "", *, style: str = "", indent: int = 0) -> None:
        """A paragraph, wrapped at the width and indented as a whole."""
        body = text if isinstance(text, Text) else Text(folded(visible(text), self.width - indent), style=style)
        self._console.print(Padding(body, (0, 0, 0, indent)) if indent else body)

    def labelled(self, label: str, text: str, *, indent: int, style: str = "", label_style: str = "dim") -> None:
        """A paragraph behind a short label, its further lines under its first."""
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        room = self.width - indent - cell_len(label) - 2
        table.add_row(Text(label, style=label_style), Text(folded(visible(text), room), style=style))
        self._console.print(Padding(table, (0, 0, 0, indent)))

    def columns(
        self, head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = (), gap: int = 2, indent: int = 0
    ) -> None:
        """Plain columns, never cut or folded, however wide: quick for a thousand rows, and other programs can part them."""
        figures = set(right)
        cells = [[visible(cell) for cell in row] for row in (head, *rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            " " * indent
            + (" " * gap).join(
                cell.rjust(width) if place in figures else cell.ljust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in cells
        ]
        self._console.print(Text(lines[0], style="dim"), soft_wrap=True)
        self._console.file.write("".join(f"{line}\n" for line in lines[1:]))

    def command(self, text: str, *, indent: int) -> None:
        """A command to be copied: never wrapped."""
        self._console.print(Text(" " * indent + visible(text), style="bold"), soft_wrap=True)

    def table(self, head: Sequence[str], rows: Iterable[Sequence[Cell]], *, right: Iterable[int] = (), indent: int = 0) -> None:
        """Columns without frames. `right` are the numbers of those that hold figures."""
        figures = set(right)
        # The gap between columns is part of the cells: rich takes as long again to pad each of them.
        table = Table(box=None, padding=0, pad_edge=False, header_style="dim")
        for number, title in enumerate(head):
            figure = number in figures
            table.add_column(
                _GAP * (number > 0) + visible(title), justify="right" if figure else "left", no_wrap=figure or not number
            )
        for row in rows:
            table.add_row(
                *(
                    Text(_GAP * (number > 0)).append(visible(cell) if isinstance(cell, str) else cell)
                    for number, cell in enumerate(row)
                )
            )
        self._console.print(Padding(table, (0, 0, 0, indent)) if indent else table)

    def text(self) -> str:
        """All of it, without spaces at the ends of lines."""
        file = self._console.file
        assert isinstance(file, io.StringIO)
        return "".join(line.rstrip() + "\n" for line in file.getvalue().splitlines())
