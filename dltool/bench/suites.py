"""Which cases a named benchmark run holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dltool import tables
from dltool.bench import WORKLOADS, Workload, cases
from dltool.bench.devices import Device
from dltool.bench.workloads import gemm as gemm_workload
from dltool.bench.workloads import memory as memory_workload

Cases = list[tuple[str, Workload]]
Axes = Mapping[str, Sequence[str]]


def gemm(device: Device, axes: Axes) -> Cases:
    """Matrix multiplication in every dtype that the device may run, at a size that suits it, as far as `axes` do not say."""
    side = [str(gemm_workload.default_side(device))]
    dtypes = [row["name"] for row in tables.rows("dtypes") if device.kind == "cuda" or not row["needs_cuda"]]
    filled = {"dtype": dtypes, "m": side, "n": side, "k": side, **axes}
    return [("gemm", case) for case in cases(WORKLOADS.get("gemm"), filled)]


def memory(device: Device, axes: Axes) -> Cases:
    """Every memory kernel, and the transfers of a GPU, with arrays that no cache can hold."""
    return memory_workload.chosen(device, axes)


def quick(device: Device, axes: Axes) -> Cases:
    """Both: what this device computes and how fast it is fed. `axes` may only choose among the dtypes."""
    return [*gemm(device, axes), *memory(device, {})]
