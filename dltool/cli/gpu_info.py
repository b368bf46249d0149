"""`dltool gpu-info`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dltool.cli.common import Output, deliver, finish, guarded, report
from dltool.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from dltool.catalog import Board
    from dltool.machine import Machine


@guarded
def gpu_info(
    out: Output,
    names: Annotated[
        list[str] | None, typer.Argument(help="Boards of the catalogue; the GPUs here by default.", metavar="[NAME]...")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the boards of the catalogue.")] = False,
    arch: Annotated[str | None, typer.Option("--arch", help="With --list: only this architecture.", metavar="NAME")] = None,
    segment: Annotated[str | None, typer.Option("--segment", help="With --list: only this segment.", metavar="NAME")] = None,
    clock: Annotated[float | None, typer.Option("--clock", help="Derive the peaks at this clock.", metavar="MHZ")] = None,
) -> None:
    """Show what a GPU is and its peak rates, derived from its architecture; two or more names side by side.

    Without a name: the GPUs here, or the CPU where there is none. Example: dltool gpu-info "H100 SXM" "RTX 4090"
    """
    from dltool import peaks

    if ((arch or segment) and not list_) or (list_ and (names or clock)):
        raise UsageError(
            "--arch and --segment go with --list, names and --clock without it", remedy="See: dltool gpu-info --help"
        )
    if clock is not None:
        peaks.check_clock(clock)
    if list_:
        boards = _listed(arch, segment)
        if out.format_name == "text":
            deliver(_listing(boards), out)
            return
        finish(report("gpu-info", boards=tuple(map(peaks.with_peaks, boards))), out, keep=None)
    elif names:
        from dltool import catalog

        found = tuple(peaks.with_peaks(catalog.find(name), clock_mhz=clock) for name in names)
        finish(report("gpu-info", boards=found), out, keep=None)
    else:
        machine, boards = _here(clock)
        result = report("gpu-info", machine=machine, boards=boards)
        finish(result, out, keep=result)


def _here(clock_mhz: float | None) -> tuple[Machine, tuple[Board, ...]]:
    """The GPUs in this machine, also those that only the PCI bus shows; the CPU where there is none."""
    from dltool import catalog, peaks, probe, redact

    here = probe.read(measure_clock=True)
    boards = []
    for gpu in here.gpus:
        known = catalog.identify(name=gpu.name, device_id=gpu.pci_device_id, memory_bytes=gpu.memory_total_bytes)
        board = peaks.live_board(gpu, known, clock_mhz=clock_mhz)
        boards.append(board or catalog.Board(name=gpu.name or "a GPU that tells nothing of itself", index=gpu.index))
    seen = {gpu.pci_bus_id for gpu in here.gpus}
    reason = here.gaps.get("gpus", "the driver does not show it")
    for device in here.pci or ():
        if device.bus_id not in seen and not here.os.container:
            known = catalog.identify(name=None, device_id=device.device_id, memory_bytes=None)
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


def _listed(arch: str | None, segment: str | None) -> tuple[Board, ...]:
    from dltool import catalog

    boards = tuple(catalog.boards().values())
    for wanted, field in ((arch, "architecture"), (segment, "segment")):
        if wanted is None:
            continue
        known = {getattr(board, field) for board in boards if getattr(board, field)}
        if wanted.casefold() not in {value.casefold() for value in known}:
            raise unknown_name(field, wanted, known)
        boards = tuple(board for board in boards if (getattr(board, field) or "").casefold() == wanted.casefold())
    return boards


def _listing(boards: tuple[Board, ...]) -> str:
    rows = [(b.name, b.compute_capability or "", b.segment or "", f"{b.memory_gb:g} GB" if b.memory_gb else "") for b in boards]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines) + "\n"
