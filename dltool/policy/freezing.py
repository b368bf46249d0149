"""The policy that a good machine fulfils, as TOML."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from dltool import toml
from dltool.compat import versions
from dltool.errors import UsageError
from dltool.live import board_of
from dltool.machine import Machine
from dltool.policy import formats, rules_bench, rules_gpus, rules_host
from dltool.policy.model import SCHEMA, Cuda, Driver, Dtypes, Gpu, Host, Policy
from dltool.policy.verdicts import GB
from dltool.results import Report
from dltool.units import rate as rate_text

_SHARE = 0.95
"""Machines of one kind differ by what firmware and kernel keep for themselves."""
_DISK_SHARE = 0.5
"""Room comes and goes."""
_RATE_SHARE = 0.9
_MOST_FILES = 2**20
_MOST_BYTES = 10**18


def freeze(machine: Machine, bench: Report | None = None) -> Policy:
    """The policy that this machine fulfils, with some slack for sizes and rates. What is not known is not asked for."""
    count = rules_gpus.gpu_count(machine)
    capabilities = list(filter(None, (_capability(gpu.compute_capability) for gpu in machine.gpus)))
    sizes = [gpu.memory_total_bytes for gpu in machine.gpus if gpu.memory_total_bytes is not None]
    all_known = len(capabilities) == len(machine.gpus) > 0
    where = rules_host.disk(machine)
    return Policy(
        gpu=Gpu(
            model=_models(machine),
            count=count,
            min_memory_gb=_gb(min(sizes)) if sizes and len(sizes) == len(machine.gpus) else None,
            min_compute_capability=min(capabilities, key=versions.version) if all_known else None,
        ),
        driver=Driver(min=_version("the driver", machine.driver.version)),
        cuda=Cuda(min=_version("CUDA", machine.driver.cuda_version)),
        dtypes=Dtypes(required=tuple(_dtypes(machine)) if all_known else ()),
        host=Host(
            min_shm_gb=_gb(machine.memory.shm_total_bytes, _SHARE),
            min_disk_gb=_gb(where.free_bytes if where else None, _DISK_SHARE),
            min_open_files=_files(machine),
            min_memory_gb=_gb(rules_host.memory_bytes(machine), _SHARE),
        ),
        bench=_rates(bench) if bench else {},
    )


def _capability(text: str | None) -> str | None:
    """None for what a policy could not ask for, here and below."""
    try:
        return versions.compute_capability(text) if text else None
    except UsageError:
        return None


def _version(kind: str, text: str | None) -> str | None:
    try:
        return versions.parse(kind, text, parts=1, example="") if text else None
    except UsageError:
        return None


def _models(machine: Machine) -> str | tuple[str, ...] | None:
    boards = [board_of(gpu) for gpu in machine.gpus]
    found = tuple(dict.fromkeys(board.name for board in boards if board is not None))
    if not found or None in boards:
        return None
    return found[0] if len(found) == 1 else found


def _dtypes(machine: Machine) -> Iterator[str]:
    for name in formats.peak_keys():
        if all(rules_gpus.computes(gpu, name) for gpu in machine.gpus):
            yield name


def _gb(size: int | None, share: float = 1.0) -> float | None:
    """Rounded down: to a whole number where that is nearly as much, else to two digits behind the point."""
    if size is None or not 0 <= size <= _MOST_BYTES:
        return None
    wanted = size * share / GB
    return float(math.floor(wanted)) if wanted >= 10 else math.floor(wanted * 100) / 100


def _files(machine: Machine) -> int | None:
    if {"limits", "limits.open_files_soft"} & machine.gaps.keys():
        return None
    soft = machine.limits.open_files_soft
    if soft is not None and soft < 0:
        return None
    return min(soft, _MOST_FILES) if soft is not None else _MOST_FILES


def _rates(bench: Report) -> Mapping[str, Mapping[str, str]]:
    """Nine tenths of what the slowest device reaches."""
    least: dict[tuple[str, str], tuple[float, str]] = {}
    for (workload, dtype, unit, _), value in rules_bench.best_rates(bench).items():
        if value >= 1 and unit and dtype in formats.peak_keys():
            key = (workload, dtype)
            least[key] = min((value * _RATE_SHARE, unit), least.get(key, (math.inf, unit)))
    rates: dict[str, dict[str, str]] = {}
    for (workload, dtype), (value, unit) in least.items():
        rates.setdefault(workload, {})[dtype] = rate_text(value, unit)
    return rates


def to_toml(policy: Policy, *, comments: Iterable[str] = ()) -> str:
    """A policy as a file, with these lines at its head."""
    values = msgspec.to_builtins(policy, builtin_types=(datetime.date,))
    lines = [f"# {' '.join(comment.split())}" for comment in comments]
    lines.append(f"schema = {toml.value(SCHEMA)}")
    for name, section in values.items():
        if name == "waiver":
            for waiver in section:
                lines += ["", "[[waiver]]", *_pairs(waiver)]
        elif name == "bench":
            for workload, rates in section.items():
                lines += ["", f"[bench.{toml.key(workload)}]", *_pairs(rates)]
        elif name != "schema" and section:
            lines += ["", f"[{name}]", *_pairs(section)]
    return "\n".join(lines) + "\n"


def _pairs(values: Mapping[str, Any]) -> Iterator[str]:
    return (f"{toml.key(name)} = {toml.value(value)}" for name, value in values.items())
