"""`dltool bench attention`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dltool.cli.bench.against import Against
from dltool.cli.bench.running import Budget, DeviceName, Dtypes, How, Settings, axes_of, run
from dltool.cli.common import DrawnOutput as Output
from dltool.cli.common import guarded

if TYPE_CHECKING:
    from dltool.bench.devices import Device
    from dltool.bench.suites import Axes, Cases


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

    def cases(where: Device, axes: Axes) -> Cases:
        from dltool.bench.workloads import attention as workload

        return workload.chosen(where, axes)

    run("bench attention", cases, axes_of(dtype, set_), device, budget, out, how, against)
