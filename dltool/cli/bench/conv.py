"""`dltool bench conv`."""

from __future__ import annotations

from dltool.cli.bench.against import Against
from dltool.cli.bench.running import Budget, DeviceName, Dtypes, How, Settings, axes_of, cases_of, run
from dltool.cli.common import DrawnOutput as Output
from dltool.cli.common import guarded


@guarded
def conv(
    out: Output,
    how: How,
    against: Against,
    dtype: Dtypes = None,
    set_: Settings = None,
    device: DeviceName = None,
    budget: Budget = "90s",
) -> None:
    """Measure the convolutions of ResNet-50, forward and backward, for data and weights.

    Example: dltool bench conv --dtype bf16 --set batch=64 --set layout=channels_last,contiguous
    """
    run("bench conv", cases_of("conv"), axes_of(dtype, set_), device, budget, out, how, against)
