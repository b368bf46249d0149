"""`dltool bench reference`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dltool.cli.common import Output, finish, guarded, names, report
from dltool.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from dltool.reference import Figure


@guarded
def reference(
    out: Output,
    boards: Annotated[
        list[str] | None, typer.Argument(metavar="[BOARD]...", help="Boards as people write them; all by default.")
    ] = None,
    dtype: Annotated[
        list[str] | None, typer.Option("--dtype", help="Number formats: bf16,fp8_e4m3.", metavar="NAME,..")
    ] = None,
    workload: Annotated[
        list[str] | None,
        typer.Option("--workload", help="gemm, memory, instructions, train, infer, collective, launch.", metavar="NAME,.."),
    ] = None,
) -> None:
    """List what others measured and published, with conditions and sources: is my figure normal?

    Example: dltool bench reference "H100 SXM" --dtype bf16
    """
    from dltool.reference import figures

    found = figures()
    if boards:
        wanted = _boards(boards)
        found = tuple(figure for figure in found if wanted.intersection(figure.boards))
        if not found:
            raise UsageError(f"no figure is published for {', '.join(boards)}", remedy="All boards: dltool bench reference")
    found = _with_any(found, "dtype", names(dtype), lambda figure: figure.dtypes)
    found = _with_any(found, "workload", names(workload), lambda figure: (figure.workload,))
    finish(report("bench reference", figures=found), out, keep=None)


def _with_any(
    found: tuple[Figure, ...], trait: str, wanted: Sequence[str], of: Callable[[Figure], Collection[str]]
) -> tuple[Figure, ...]:
    """Those that have one of the wanted values.

    Raises:
        UsageError: no figure here has a value that is asked for; the known ones are named.
    """
    known = {value for figure in found for value in of(figure)}
    for value in wanted:
        if value not in known:
            raise unknown_name(trait, value, known)
    return tuple(figure for figure in found if not wanted or set(wanted) & set(of(figure)))


def _boards(asked: Sequence[str]) -> set[str]:
    """The catalogue's names behind what was typed.

    Raises:
        UsageError: a name leads nowhere, or never shipped.
    """
    from dltool import names as boards

    found: set[str] = set()
    for name in asked:
        resolution = boards.resolve(name)
        if not resolution.shipped:
            boards.one(name)  # says what was meant
        found.update(resolution.boards)
    return found
