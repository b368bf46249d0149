"""`dltool bench elementwise`."""

from __future__ import annotations

from dltool.cli.bench.against import Against
from dltool.cli.bench.running import Budget, DeviceName, Dtypes, How, Settings, axes_of, cases_of, run
from dltool.cli.common import DrawnOutput as Output
from dltool.cli.common import guarded


@guarded
def elementwise(
    out: Output,
    how: How,
    against: Against,
    dtype: Dtypes = None,
    set_: Settings = None,
    device: DeviceName = None,
    budget: Budget = "40s",
) -> None:
    """Measure what memory bounds: activations, norms, softmax, loss, reductions, look-ups and moves.

    Example: dltool bench elementwise --dtype bf16 --set op=gelu,softmax --set compile=no,yes
    """
    run("bench elementwise", cases_of("elementwise"), axes_of(dtype, set_), device, budget, out, how, against)
