"""Which cases a named benchmark run holds.

`quick`, `standard` and `full` ask every module of a registered workload for its part, by a function of the module:

    def default_cases(device: Device, suite: str) -> Cases: ...

It gives the cases of its workloads on this device in the suite of that name ("quick", "standard", "full"), each with the
workload's registered name; none where the suite is not to hold it. `quick` is a minute, `standard` five, `full` twenty.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from dltool.bench import WORKLOADS, Workload
from dltool.bench.devices import Device
from dltool.bench.dtypes import SUITES
from dltool.bench.workloads import gemm as gemm_workload
from dltool.bench.workloads import instruction as instruction_workload
from dltool.bench.workloads import memory as memory_workload

__all__ = ["SUITES", "Axes", "Cases", "full", "gemm", "memory", "quick", "standard", "suite"]
Cases = list[tuple[str, Workload]]
Axes = Mapping[str, Sequence[str]]
_FIRST = ("gemm", "instruction", "memory")
"""What a reader looks for first; the others follow by name."""
_BY_DTYPE = ("gemm", "instruction")


def gemm(device: Device, axes: Axes, *, suite: str = "standard") -> Cases:
    """Every dtype of a suite that the device may run, at a size that suits it, as far as `axes` do not say.

    Dtypes that no library multiplies are measured as instructions.
    """
    return [*gemm_workload.chosen(device, axes, suite), *instruction_workload.chosen(device, axes, suite)]


def memory(device: Device, axes: Axes) -> Cases:
    """Every memory kernel, and the transfers of a GPU, with arrays that no cache can hold."""
    return memory_workload.chosen(device, axes)


def quick(device: Device, axes: Axes) -> Cases:
    """What this device computes and how fast it is fed. `axes` may only choose among the dtypes."""
    return suite("quick", device, axes)


def standard(device: Device, axes: Axes) -> Cases:
    """Every kind of work that a network is made of."""
    return suite("standard", device, axes)


def full(device: Device, axes: Axes) -> Cases:
    """The same at more sizes and in more variants."""
    return suite("full", device, axes)


def suite(name: str, device: Device, axes: Axes) -> Cases:
    """The cases of all workloads in the suite of this name; dtypes in `axes` replace those of arithmetic."""
    chosen: Cases = gemm(device, axes, suite=name) if axes else []
    for hook in _hooks():
        chosen += [case for case in hook(device, name) if not (axes and case[0] in _BY_DTYPE)]
    return chosen


def _hooks() -> list[Callable[[Device, str], Cases]]:
    """`default_cases` of each module that registered a workload; a module is asked once, however many it registered."""
    registered = dict(WORKLOADS)
    order = [name for name in _FIRST if name in registered] + sorted(set(registered) - set(_FIRST))
    modules = dict.fromkeys(registered[name].__module__ for name in order)
    found = [getattr(sys.modules[module], "default_cases", None) for module in modules]
    return [hook for hook in found if hook is not None]
