"""Which cases a named benchmark run holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dltool import tables
from dltool.bench import WORKLOADS, Workload, cases, dtype_row
from dltool.bench.devices import Device
from dltool.bench.workloads import gemm as gemm_workload
from dltool.bench.workloads import instruction as instruction_workload
from dltool.bench.workloads import memory as memory_workload

Cases = list[tuple[str, Workload]]
Axes = Mapping[str, Sequence[str]]
SUITES = ("quick", "standard", "full")
"""Each holds the dtypes of those before it."""


def gemm(device: Device, axes: Axes, *, suite: str = "standard") -> Cases:
    """Every dtype of a suite that the device may run, at a size that suits it, as far as `axes` do not say.

    Dtypes that no library multiplies are measured as instructions. The full suite has every layout; all but the quick one add a
    row of zeros, which draw less power than random numbers.
    """
    named = [dtype_row(name) for name in axes["dtype"]] if "dtype" in axes else list(_dtypes(device, suite))
    side = [str(gemm_workload.default_side(device))]
    filled = {"m": side, "n": side, "k": side, **axes}
    found: Cases = []
    for row in named:
        if row["operation"].startswith("kernel_"):
            found += _instruction(device, row["name"], axes)
        else:
            layouts = {"layout": row["layouts"].split()} if suite == "full" else {}
            found += _products({**layouts, **filled, "dtype": [row["name"]]})
    if suite != "quick" and not {"dtype", "data"} & set(axes):
        found += _products({**filled, "dtype": ["bf16"], "data": ["zeros"]})
    return found


def memory(device: Device, axes: Axes) -> Cases:
    """Every memory kernel, and the transfers of a GPU, with arrays that no cache can hold."""
    kernels = [*memory_workload.KERNELS, *(memory_workload.TRANSFERS if device.kind == "cuda" else ())]
    filled = {"kernel": kernels, "bytes": [str(memory_workload.array_bytes(device))], **axes}
    return [("memory", case) for case in cases(WORKLOADS.get("memory"), filled)]


def quick(device: Device, axes: Axes) -> Cases:
    """Both: what this device computes and how fast it is fed. `axes` may only choose among the dtypes."""
    return [*gemm(device, axes, suite="quick"), *memory(device, {})]


def _dtypes(device: Device, suite: str) -> Iterator[tables.Row]:
    """The rows of catalog/dtypes.csv that a suite holds and the device may run."""
    within = SUITES[: SUITES.index(suite) + 1]
    for row in tables.rows("dtypes"):
        if row["suite"] in within and (device.kind == "cuda" or not row["needs_cuda"]):
            yield row


def _products(axes: Axes) -> Cases:
    return [("gemm", case) for case in cases(WORKLOADS.get("gemm"), axes)]


def _instruction(device: Device, dtype: str, axes: Axes) -> Cases:
    """Blocks that fill the SMs evenly; of what the user sets, what a product takes and this does not is left out."""
    blocks = instruction_workload.BLOCKS_PER_SM * (device.board.sms or 128)
    own = {name: axes[name] for name in ("blocks", "rounds") if name in axes}
    filled = {"blocks": [str(blocks)], **own, "dtype": [dtype]}
    return [("instruction", case) for case in cases(WORKLOADS.get("instruction"), filled)]
