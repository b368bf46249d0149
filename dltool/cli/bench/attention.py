"""`dltool bench attention`."""

from __future__ import annotations

from dltool.cli.bench.against import Against
from dltool.cli.bench.running import Budget, DeviceName, Dtypes, How, Settings, axes_of, cases_of, run
from dltool.cli.common import DrawnOutput as Output
from dltool.cli.common import guarded


@guarded
def attention(
    out: Output,
    how: How,
    against: Against,
    dtype: Dtypes = None,
    set_: Settings = None,
    device: DeviceName = None,
    budget: Budget = "60s",
) -> None:
    """Measure attention by each backend of torch, forward and backward.

    Example: dltool bench attention --dtype bf16 --set model=llama-8b --set backend=flash,cudnn --set seq=4096,16384
    """
    run("bench attention", cases_of("attention"), axes_of(dtype, set_), device, budget, out, how, against)
