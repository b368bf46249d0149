"""`dltool gpu-info`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltool.cli.common import Output, deliver, finish, guarded, report, say, style
from dltool.errors import DltoolError, UsageError, unknown_name

if TYPE_CHECKING:
    from dltool.catalog import Board
    from dltool.machine import Machine


@guarded
def gpu_info(
    out: Output,
    names: Annotated[
        list[str] | None, typer.Argument(help="Boards, systems or chips; the GPUs here by default.", metavar="[NAME]...")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the boards of the catalogue.")] = False,
    archs: Annotated[bool, typer.Option("--archs", help="Show the architectures and number formats.")] = False,
    arch: Annotated[str | None, typer.Option("--arch", help="List only this architecture.", metavar="NAME")] = None,
    segment: Annotated[str | None, typer.Option("--segment", help="List only this segment.", metavar="NAME")] = None,
    min_memory: Annotated[
        str | None, typer.Option("--min-memory", help="List only boards with so much memory: 24GB.", metavar="SIZE")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="List only boards with this arithmetic, and show it: bf16.", metavar="NAME")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="List only boards launched since then: 2020-05.", metavar="MONTH")
    ] = None,
    sort: Annotated[
        str | None, typer.Option("--sort", help="List by this column: memory, launch, bf16.", metavar="COLUMN")
    ] = None,
    clock: Annotated[
        str | None, typer.Option("--clock", help="Derive the peaks at this clock: 1830, 1.83GHz.", metavar="MHZ")
    ] = None,
    per: Annotated[str | None, typer.Option("--per", help="Show the peaks per watt, or per gb/s.", metavar="WHAT")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show how each peak follows, and its source.")] = False,
    plot: Annotated[
        str | None, typer.Option("--plot", help="Draw the roofline: FILE.png, FILE.svg, or - here.", metavar="FILE")
    ] = None,
) -> None:
    """Show what a GPU is and its peak rates, derived from its architecture; two or more names side by side.

    Without a name: the GPUs here, or the CPU where there is none. Example: dltool gpu-info "H100 SXM" "RTX 4090"
    """
    _keys(dtype)  # refuses what is no dtype before anything else
    filters = any(value is not None for value in (arch, segment, min_memory, since, sort))
    listed = list_ or filters or (dtype is not None and not names and not plot)
    _check(names=bool(names), listed=listed, archs=archs, clock=clock is not None, plot=plot)
    _check_looks(listed=listed, archs=archs, explain=explain, per=per, dtype=dtype, plot=plot, text=out.format_name == "text")
    machine = None
    architectures = _architectures(names, all_=archs)
    if archs:
        boards: tuple[Board, ...] = ()
    elif listed:
        boards = _listed(arch, segment, min_memory, dtype, since, sort)
    elif names:
        boards = _named(names, clock)
    else:
        machine, boards = _here(clock)
    warn_of_tables(quiet=out.quiet)
    if plot:
        _draw(boards, dtype, plot, out)
    result = report("gpu-info", machine=machine, boards=boards, **architectures)
    looks = {
        "explain": explain,
        "per": per.casefold() if per else None,
        "keys": _keys(dtype) or _keys(sort, strict=False),
        "layout": "list" if listed else "sheet",
    }
    finish(result, out, keep=result if machine is not None else None, looks=looks)


def _check(*, names: bool, listed: bool, archs: bool, clock: bool, plot: str | None) -> None:
    """Refuse options that contradict one another, before any work.

    Raises:
        UsageError: they do.
    """
    if archs and (names or listed or clock or plot):
        raise UsageError("--archs goes alone", remedy="One architecture: dltool gpu-info Hopper")
    if listed and (names or clock or plot):
        raise UsageError("--list and its filters go without names, --clock and --plot", remedy="See: dltool gpu-info --help")


def _check_looks(
    *, listed: bool, archs: bool, explain: bool, per: str | None, dtype: str | None, plot: str | None, text: bool
) -> None:
    """Refuse what would have no effect.

    Raises:
        UsageError: an option for something that is not shown, or a value that is none.
    """
    if per is not None and per.casefold() not in ("watt", "gb/s"):
        raise unknown_name("measure", per, ("watt", "gb/s"))
    if (per or explain) and (listed or archs):
        raise UsageError("--per and --explain are for named boards", remedy="Name them: dltool gpu-info L40S L4 --per watt")
    if dtype is not None and not listed and not plot:
        raise UsageError("--dtype is for lists and --plot", remedy="dltool gpu-info --list --dtype bf16")
    if plot == "-" and not text:
        raise UsageError("--plot - draws in the terminal, beside text only", remedy="Name a file: --plot roofline.png")
    if plot is not None:
        from dltool.render import plot as plots

        plots.check(plot)


def _architectures(names: list[str] | None, *, all_: bool) -> dict[str, Any]:
    """The architectures that were asked for, with the number formats where it was all of them."""
    from dltool import catalog
    from dltool.names import architectures_named

    if all_:
        return {"architectures": catalog.architectures(), "formats": catalog.number_formats()}
    return {"architectures": tuple(own for asked in names or () for own in architectures_named(asked))}


def _named(names: list[str], clock: str | None) -> tuple[Board, ...]:
    """The boards behind the names, each once."""
    from dltool import sheets

    clock_mhz = _clock(clock)
    readable = (asked.encode(errors="replace").decode() for asked in names)
    boards = {board.name: board for asked in readable for board in sheets.of(asked, clock_mhz=clock_mhz)}
    return tuple(boards.values())


def _clock(text: str | None) -> float | None:
    from dltool.peaks import check_clock
    from dltool.units import parse_mhz

    if text is None:
        return None
    clock_mhz = parse_mhz(text)
    check_clock(clock_mhz)
    return clock_mhz


def _keys(dtype: str | None, *, strict: bool = True) -> tuple[str, ...]:
    """The peaks that a list shows."""
    from dltool.selection import peak_keys

    if dtype is None:
        return ()
    try:
        return peak_keys(dtype)
    except UsageError:
        if strict:
            raise
        return ()


def _listed(
    arch: str | None, segment: str | None, min_memory: str | None, dtype: str | None, since: str | None, sort: str | None
) -> tuple[Board, ...]:
    from dltool import catalog, peaks, selection
    from dltool.units import parse_memory_gb

    boards = selection.select(
        map(peaks.with_peaks, catalog.boards().values()),
        architecture=arch,
        segment=segment,
        min_memory_gb=parse_memory_gb(min_memory) if min_memory is not None else None,
        keys=_keys(dtype),
        since=since,
    )
    if not boards:
        raise UsageError("no board has all of these traits", remedy="Ask for less: dltool gpu-info --list")
    return selection.ordered(boards, sort) if sort is not None else boards


def warn_of_tables(*, quiet: bool) -> None:
    """Say which rows of the tables are malformed."""
    from dltool import tables

    for problem in tables.problems():
        say(f"warning: {problem}", quiet=quiet)


def _draw(boards: tuple[Board, ...], dtype: str | None, path: str, out: Output) -> None:
    """The roofline into its file; in the terminal it stands before the figures."""
    from dltool import roofline
    from dltool.render import plot

    roofs = roofline.roofs(boards, _keys(dtype))
    if path == "-":
        looks = style(out)
        deliver(plot.text(roofs, width=looks.width, color=looks.color), Output())
        return
    file = Path(path)
    try:
        file.write_bytes(plot.picture(roofs, file.suffix.lower().lstrip(".")))
    except OSError as error:
        raise DltoolError(f"cannot write {path}: {error.strerror}", remedy="Name another file with --plot.") from None
    say(f"roofline written to {path}", quiet=out.quiet)


def _here(clock: str | None) -> tuple[Machine, tuple[Board, ...]]:
    """The GPUs in this machine, also those that only the PCI bus shows; the CPU where there is none."""
    from dltool import catalog, live, names, peaks, probe, redact, sheets

    clock_mhz = _clock(clock)
    here = probe.read(measure_clock=True)
    boards = []
    for gpu in here.gpus:
        board = live.live_board(gpu, live.board_of(gpu), clock_mhz=clock_mhz)
        board = board or catalog.Board(name=gpu.name or "a GPU that tells nothing of itself", index=gpu.index)
        boards.append(sheets.with_support(board))
    seen = {gpu.pci_bus_id for gpu in here.gpus}
    reason = here.gaps.get("gpus", "the driver does not show it")
    for device in here.pci or ():
        if device.bus_id not in seen and not here.os.container:
            known = names.identify(name=None, device_id=device.device_id, memory_bytes=None)
            board = peaks.with_peaks(known) if known else catalog.Board(name=f"NVIDIA GPU {device.device_id}")
            boards.append(_silent(board, f"at {device.bus_id}: {reason} (dltool doctor tells why)"))
    if not boards and here.driver.kernel_module_version is not None:
        boards.append(_silent(catalog.Board(name="NVIDIA GPU"), f"{reason} (dltool doctor tells why)"))
    if not boards and clock_mhz:
        raise UsageError(
            "--clock is for GPUs, and there is none here", remedy="Name a board: dltool gpu-info L40S --clock 2200"
        )
    return redact.redact(here, probe.redactor(here)), tuple(boards) or (peaks.cpu_board(here.cpu),)


def _silent(board: Board, reason: str) -> Board:
    """A board that is there and does not answer."""
    from msgspec.structs import replace

    return replace(board, note=reason)
