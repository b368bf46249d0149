"""What a name leads to, complete: boards with peaks and the software that supports them, systems, what never shipped."""

from __future__ import annotations

from msgspec.structs import replace

from dltool import compat, names, peaks, systems
from dltool.catalog import Board, architecture_of, board


def of(asked: str, *, clock_mhz: float | None = None) -> tuple[Board, ...]:
    """The boards that `asked` may mean; one, where it means one.

    A name under which nothing shipped gives a board that says so, before what was probably meant.

    Args:
        asked: any name (see `dltool.names`).
        clock_mhz: derive every peak at this clock in place of the boost clock.

    Raises:
        UsageError: nothing like it is known.
    """
    found = names.resolve(asked)
    boards = tuple(_complete(name, clock_mhz) for name in found.boards)
    if not found.shipped:
        return (Board(name=asked, shipped=False, note=found.note), *boards)
    if found.note:
        boards = tuple(replace(own, note="; ".join(filter(None, (found.note, own.note)))) for own in boards)
    return tuple(replace(own, asked=asked) if own.name != asked else own for own in boards)


def one(asked: str, *, clock_mhz: float | None = None) -> Board:
    """The one board or system that `asked` means.

    Raises:
        UsageError: unknown, never shipped, or several boards.
    """
    return _complete(names.one(asked), clock_mhz)


def _complete(name: str, clock_mhz: float | None) -> Board:
    if systems.is_system(name):
        return systems.system(name, clock_mhz=clock_mhz)
    own = replace(board(name), others=names.versions_of(name))
    return with_support(peaks.with_peaks(own, clock_mhz=clock_mhz))


def with_support(own: Board) -> Board:
    """The board with the software that still supports it, as far as its compute capability is known."""
    architecture = architecture_of(own.compute_capability or "", own.chip)
    if architecture is None:
        return own
    return replace(own, support=compat.support(architecture, aarch64=own.segment in ("jetson", "superchip")))
