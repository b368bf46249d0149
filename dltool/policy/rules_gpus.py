"""What a policy asks of the GPUs, each of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from dltool import names, systems
from dltool.compat import versions
from dltool.lang import tr
from dltool.live import board_of
from dltool.machine import Gpu, Machine
from dltool.policy import formats
from dltool.policy.model import Policy
from dltool.policy.verdicts import GB, elsewhere, verdict
from dltool.results import Finding, Remedy, Risk, Scalar

_RESERVED = 0.98
"""Of a GPU's memory the driver and ECC take some; a card of 16 GB shows 15.8."""


def gpu_count(machine: Machine) -> int | None:
    """How many GPUs answer; 0 only where it is certain that there is none."""
    if machine.gpus:
        return len(machine.gpus)
    loaded = machine.driver.kernel_module_version is not None or machine.os.tegra or machine.os.wsl
    return 0 if machine.pci == () and not loaded else None


def count(policy: Policy, machine: Machine) -> Iterator[Finding]:
    """As many GPUs as are asked for."""
    wanted = policy.gpu.count
    if wanted is None:
        return
    seen = gpu_count(machine)
    yield verdict(
        "policy-gpu-count",
        None if seen is None else seen == wanted,
        tr(
            f"{seen} GPU{'s' * (seen != 1)} answer{'s' * (seen == 1)}, the policy asks for {wanted}",
            f"有 {seen} 块 GPU 响应，策略要求 {wanted} 块",
        ),
        asked=("gpu.count", wanted),
        seen=(seen, "NVML"),
        unknown=machine.why_missing("gpus"),
        remedies=(_look(), elsewhere()),
    )


def _look() -> Remedy:
    return Remedy(
        text=tr("See which GPUs the bus and the driver show.", "查看总线和驱动各显示哪些 GPU。"),
        commands=("lspci -d 10de:", "nvidia-smi -L"),
        risk=Risk.READ_ONLY,
    )


@lru_cache(maxsize=1024)
def boards_meant(model: str) -> frozenset[str]:
    """The boards that a name leads to; of a system those that it is built from."""
    found = names.resolve(model).boards
    return frozenset(member for name in found for member in (systems.members(name) or (name,)))


def _is_one_of(gpu: Gpu, models: Sequence[str]) -> bool | None:
    if gpu.name is not None and gpu.name.casefold() in (model.casefold() for model in models):
        return True
    board = board_of(gpu)
    return None if board is None else any(board.name in boards_meant(model) for model in models)


def _each(
    name: str, machine: Machine, *, asked: tuple[str, Scalar], answers: Sequence[tuple[bool | None, Scalar, str]]
) -> Iterator[Finding]:
    """One finding for all GPUs that hold, one for all that do not, one for all that cannot be judged.

    An answer is whether it holds, what is seen, and the fact that it rests on, without "gpus.N.".
    """
    wanted = f"{asked[0]} = {asked[1]:g}" if isinstance(asked[1], float) else f"{asked[0]} = {asked[1]}"
    if not machine.gpus and gpu_count(machine) == 0:
        none = tr(f"no GPU here, the policy asks for {wanted}", f"这里没有 GPU，策略要求 {wanted}")
        yield verdict(name, False, none, asked=asked, seen=("no GPU", "PCI bus"))
    elif not machine.gpus:
        yield verdict(name, None, "", asked=asked, seen=(None, "NVML"), unknown=machine.why_missing("gpus"))
    for holds in (False, None, True):
        own = [(gpu, seen, fact) for gpu, (answer, seen, fact) in zip(machine.gpus, answers, strict=True) if answer is holds]
        if not own:
            continue
        shown = ", ".join(dict.fromkeys(str(seen) for _, seen, _ in own))
        gpu, first, fact = own[0]
        yield verdict(
            name,
            holds,
            tr(
                f"{_listed(own, machine)}: {shown}; the policy asks for {wanted}",
                f"{_listed(own, machine)}：{shown}；策略要求 {wanted}",
            ),
            asked=asked,
            seen=(shown if len(own) > 1 else first, "NVML"),
            unknown=_why(machine, gpu, fact, first),
            devices=tuple(gpu.index for gpu, _, _ in own),
        )


def _listed(own: Sequence[tuple[Gpu, Scalar, str]], machine: Machine) -> str:
    if len(own) == len(machine.gpus) > 1:
        return tr("every GPU", "所有 GPU")
    return f"GPU {', '.join(str(gpu.index) for gpu, _, _ in own)}"


def _why(machine: Machine, gpu: Gpu, fact: str, seen: Scalar) -> str:
    if seen is not None:
        return tr(f"the tables do not know it of {seen}", f"数据表中没有 {seen} 的这项信息")
    reason = machine.why_missing(f"gpus.{machine.gpus.index(gpu)}.{fact}")
    return tr(f"{fact} of GPU {gpu.index}: {reason}", f"GPU {gpu.index} 的 {fact}：{reason}")


def model(policy: Policy, machine: Machine) -> Iterator[Finding]:
    """Every GPU is a model that is asked for."""
    if policy.gpu.model is None:
        return
    models = (policy.gpu.model,) if isinstance(policy.gpu.model, str) else policy.gpu.model
    answers = [(_is_one_of(gpu, models), gpu.name or gpu.pci_device_id, "name") for gpu in machine.gpus]
    yield from _each("policy-gpu-model", machine, asked=("gpu.model", " or ".join(models)), answers=answers)


def memory(policy: Policy, machine: Machine) -> Iterator[Finding]:
    """Every GPU has the memory that is asked for."""
    wanted = policy.gpu.min_memory_gb
    if wanted is None:
        return
    sizes = [gpu.memory_total_bytes for gpu in machine.gpus]
    answers = [
        (None, None, "memory_total_bytes")
        if size is None
        else (size >= wanted * GB * _RESERVED, f"{size / GB:.1f} GB", "memory_total_bytes")
        for size in sizes
    ]
    yield from _each("policy-gpu-memory", machine, asked=("gpu.min_memory_gb", wanted), answers=answers)


def capability(policy: Policy, machine: Machine) -> Iterator[Finding]:
    """Every GPU has the compute capability that is asked for."""
    wanted = policy.gpu.min_compute_capability
    if wanted is None:
        return
    least = _numbers(versions.compute_capability(wanted))
    answers = [
        (
            None if not gpu.compute_capability else _numbers(gpu.compute_capability) >= least,
            gpu.compute_capability,
            "compute_capability",
        )
        for gpu in machine.gpus
    ]
    yield from _each("policy-compute-capability", machine, asked=("gpu.min_compute_capability", wanted), answers=answers)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d{1,9}", text))


def dtypes(policy: Policy, machine: Machine) -> Iterator[Finding]:
    """Every GPU has arithmetic for the number formats that are asked for."""
    for wanted in policy.dtypes.required:
        answers = [(computes(gpu, wanted), _capability_text(gpu), "compute_capability") for gpu in machine.gpus]
        yield from _each("policy-dtypes", machine, asked=("dtypes.required", wanted), answers=answers)


def computes(gpu: Gpu, dtype: str) -> bool | None:
    """Whether a GPU has arithmetic for a number format; None where that is not known."""
    if not gpu.compute_capability:
        return None
    board = board_of(gpu)
    return formats.has(gpu.compute_capability, dtype, board.chip if board else None)


def _capability_text(gpu: Gpu) -> str | None:
    return f"compute capability {gpu.compute_capability}" if gpu.compute_capability else None
