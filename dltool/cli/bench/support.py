"""`dltool bench gemm --support`: what the device can multiply, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dltool.cli.common import Output, finish, report
from dltool.errors import UsageError


def run(axes: Mapping[str, Sequence[str]], device: str | None, out: Output) -> None:
    """Try every dtype and layout, or those of `--dtype`, and show the matrix.

    Raises:
        UsageError: another parameter was set: sizes are fixed here.
    """
    from dltool import probe, redact
    from dltool.bench import devices, matrix
    from dltool.render.progress import progress

    if set(axes) - {"dtype"}:
        raise UsageError("--support takes no --set: it tries every layout at a tiny size", remedy="Leave --set out.")
    devices.import_torch()
    machine = probe.read()
    where = devices.find(device, machine)
    cases = matrix.workloads(where, axes.get("dtype"))
    with progress(len(cases), quiet=out.quiet) as tell:
        cells = tuple(matrix.probe(where, cases, progress=tell))
    shown = redact.redact(machine, probe.redactor(machine))
    result = report("bench gemm", machine=shown, boards=(where.board,), support=cells)
    finish(result, out, keep=result)
