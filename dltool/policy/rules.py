"""The rules of a policy: each compares one thing that is asked for with what is seen. Unknown is neither held nor broken."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from dltool import names, systems
from dltool.compat import versions
from dltool.live import board_of
from dltool.machine import Disk, Gpu, Machine
from dltool.policy import formats
from dltool.policy.model import Policy, rate
from dltool.results import Evidence, Finding, Measurement, Remedy, Report, Risk, Scalar, Scope, Status
from dltool.units import rate as rate_text

GB = 1e9
_RESERVED = 0.98
"""Of a GPU's memory the driver and ECC take some; a card of 16 GB shows 15.8."""
ELSEWHERE = Remedy(text="Run on a machine that is what the policy asks for, or change the policy.", risk=Risk.READ_ONLY)
_LOOK = Remedy(
    text="See which GPUs the bus and the driver show.", commands=("lspci -d 10de:", "nvidia-smi -L"), risk=Risk.READ_ONLY
)
_PLAN = Remedy(
    text="Plan the driver that is needed, with its steps and undo.", commands=("dltool setup plan",), risk=Risk.READ_ONLY
)


def verdict(
    name: str,
    holds: bool | None,
    what: str,
    *,
    asked: tuple[str, Scalar],
    seen: tuple[Scalar, str],
    unknown: str = "",
    remedies: Sequence[Remedy] = (ELSEWHERE,),
    scope: Scope = Scope.HOST,
    devices: tuple[int, ...] = (),
) -> Finding:
    """The finding of one rule.

    Args:
        name: the id.
        holds: None: it could not be looked at, because `unknown`.
        what: one line that says what is seen and what is asked.
        asked: the policy's key, and the value there.
        seen: the value, and where it was read.
        unknown: why it is not known.
        remedies: of a break.
        scope: who can mend it.
        devices: the GPUs concerned.
    """
    key, wanted = asked
    status = Status.UNKNOWN if holds is None else Status.PASS if holds else Status.FAIL
    return Finding(
        id=name,
        status=status,
        summary=f"{key} of the policy cannot be judged: {unknown}" if holds is None else what,
        evidence=(
            Evidence(fact="asked for", value=wanted, read_from=f"policy: {key}"),
            Evidence(fact="here", value=seen[0], read_from=seen[1]),
        ),
        remedies=tuple(remedies) if status is Status.FAIL else (),
        scope=scope,
        devices=devices,
    )


def judge(policy: Policy, machine: Machine, bench: Report | None) -> Iterator[Finding]:
    """One finding for each thing that the policy asks for."""
    for rule in (_count, _model, _gpu_memory, _capability, _driver, _cuda, _dtypes, _shm, _disk, _open_files, _memory):
        yield from rule(policy, machine)
    yield from _rates(policy, bench)


# --- the GPUs ---------------------------------------------------------------------------------------------------------------


def gpu_count(machine: Machine) -> int | None:
    """How many GPUs answer; 0 only where it is certain that there is none."""
    if machine.gpus:
        return len(machine.gpus)
    loaded = machine.driver.kernel_module_version is not None or machine.os.tegra or machine.os.wsl
    return 0 if machine.pci == () and not loaded else None


def _count(policy: Policy, machine: Machine) -> Iterator[Finding]:
    wanted = policy.gpu.count
    if wanted is None:
        return
    seen = gpu_count(machine)
    yield verdict(
        "policy-gpu-count",
        None if seen is None else seen == wanted,
        f"{seen} GPU{'s' * (seen != 1)} answer{'s' * (seen == 1)}, the policy asks for {wanted}",
        asked=("gpu.count", wanted),
        seen=(seen, "NVML"),
        unknown=machine.why_missing("gpus"),
        remedies=(_LOOK, ELSEWHERE),
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
        yield verdict(name, False, f"no GPU here, the policy asks for {wanted}", asked=asked, seen=("no GPU", "PCI bus"))
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
            f"{_listed(own, machine)}: {shown}; the policy asks for {wanted}",
            asked=asked,
            seen=(shown if len(own) > 1 else first, "NVML"),
            unknown=_why(machine, gpu, fact, first),
            devices=tuple(gpu.index for gpu, _, _ in own),
        )


def _listed(own: Sequence[tuple[Gpu, Scalar, str]], machine: Machine) -> str:
    if len(own) == len(machine.gpus) > 1:
        return "every GPU"
    return f"GPU {', '.join(str(gpu.index) for gpu, _, _ in own)}"


def _why(machine: Machine, gpu: Gpu, fact: str, seen: Scalar) -> str:
    if seen is not None:
        return f"the tables do not know it of {seen}"
    return f"{fact} of GPU {gpu.index}: {machine.why_missing(f'gpus.{machine.gpus.index(gpu)}.{fact}')}"


def _model(policy: Policy, machine: Machine) -> Iterator[Finding]:
    if policy.gpu.model is None:
        return
    models = (policy.gpu.model,) if isinstance(policy.gpu.model, str) else policy.gpu.model
    answers = [(_is_one_of(gpu, models), gpu.name or gpu.pci_device_id, "name") for gpu in machine.gpus]
    yield from _each("policy-gpu-model", machine, asked=("gpu.model", " or ".join(models)), answers=answers)


def _gpu_memory(policy: Policy, machine: Machine) -> Iterator[Finding]:
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


def _capability(policy: Policy, machine: Machine) -> Iterator[Finding]:
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


def _dtypes(policy: Policy, machine: Machine) -> Iterator[Finding]:
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


# --- driver and host --------------------------------------------------------------------------------------------------------


def _driver(policy: Policy, machine: Machine) -> Iterator[Finding]:
    if policy.driver.min is not None:
        seen = machine.driver.version or machine.driver.kernel_module_version
        yield _version("policy-driver", "driver", machine, policy.driver.min, seen, "driver.version")


def _cuda(policy: Policy, machine: Machine) -> Iterator[Finding]:
    if policy.cuda.min is not None:
        seen = machine.driver.cuda_version
        yield _version("policy-cuda", "CUDA of the driver", machine, policy.cuda.min, seen, "driver.cuda_version")


def _version(name: str, what: str, machine: Machine, wanted: str, seen: str | None, fact: str) -> Finding:
    found, least = versions.known_version(seen), versions.known_version(wanted.strip().removeprefix("v"))
    gap = machine.why_missing(fact if fact in machine.gaps else "driver" if "driver" in machine.gaps else "gpus")
    key = f"{what.partition(' ')[0].lower()}.min"
    return verdict(
        name,
        found >= least if found and least else None,
        f"{what} {seen}, the policy asks for {wanted} or newer",
        asked=(key, wanted),
        seen=(seen, "NVML"),
        unknown=f"`{seen}` is no version" if seen else gap,
        remedies=(_PLAN, ELSEWHERE),
    )


def _shm(policy: Policy, machine: Machine) -> Iterator[Finding]:
    wanted = policy.host.min_shm_gb
    if wanted is not None:
        size = f"{wanted:g}g" if wanted >= 1 else f"{wanted * 1000:g}m"
        start = Remedy(text="Start the container with more.", commands=(f"docker run --shm-size={size} IMAGE",))
        mount = Remedy(text="Enlarge it.", commands=(f"sudo mount -o remount,size={size} /dev/shm",), risk=Risk.ROOT)
        yield _size(
            "policy-shm",
            "/dev/shm holds",
            ("host.min_shm_gb", wanted),
            machine.memory.shm_total_bytes,
            "statvfs of /dev/shm",
            machine.why_missing("memory.shm_total_bytes"),
            start if machine.os.container else mount,
        )


def disk(machine: Machine) -> Disk | None:
    """The file system where a job writes: that of the working directory, else of the home directory."""
    found = {disk.purpose: disk for disk in machine.disks}
    return found.get("working directory") or found.get("home")


def _disk(policy: Policy, machine: Machine) -> Iterator[Finding]:
    wanted = policy.host.min_disk_gb
    if wanted is not None:
        where = disk(machine)
        path = where.path if where else "."
        yield _size(
            "policy-disk",
            f"{path} has room for",
            ("host.min_disk_gb", wanted),
            where.free_bytes if where else None,
            f"statvfs of {path}",
            machine.why_missing("disks"),
            Remedy(text="Make room, or start where there is more.", commands=("df -h",), risk=Risk.READ_ONLY),
        )


def memory_bytes(machine: Machine) -> int | None:
    """Main memory, or what the control group grants of it; None where either is not known."""
    total, granted = machine.memory.total_bytes, machine.memory.cgroup_limit_bytes
    if total is None or "memory.cgroup_limit_bytes" in machine.gaps:
        return None
    return total if granted is None else min(total, granted)


def _memory(policy: Policy, machine: Machine) -> Iterator[Finding]:
    wanted = policy.host.min_memory_gb
    if wanted is not None:
        missing = "memory.total_bytes" if machine.memory.total_bytes is None else "memory.cgroup_limit_bytes"
        yield _size(
            "policy-memory",
            "main memory is",
            ("host.min_memory_gb", wanted),
            memory_bytes(machine),
            "/proc/meminfo and cgroup",
            machine.why_missing(missing),
            Remedy(text="Grant more where the job is started (docker --memory, Slurm --mem, Kubernetes limits)."),
        )


def _size(
    name: str, what: str, asked: tuple[str, float], seen: int | None, read_from: str, unknown: str, remedy: Remedy
) -> Finding:
    return verdict(
        name,
        None if seen is None else seen >= asked[1] * GB,
        f"{what} {(seen or 0) / GB:.4g} GB, the policy asks for {asked[1]:g}",
        asked=asked,
        seen=(seen, read_from),
        unknown=unknown,
        remedies=(remedy, ELSEWHERE),
    )


def _open_files(policy: Policy, machine: Machine) -> Iterator[Finding]:
    wanted = policy.host.min_open_files
    if wanted is None:
        return
    soft = machine.limits.open_files_soft
    gap = {"limits", "limits.open_files_soft"} & machine.gaps.keys()
    raised = Remedy(text="Raise it in the shell that starts the job.", commands=(f"ulimit -n {wanted}",))
    start = Remedy(text="Start the container with more.", commands=(f"docker run --ulimit nofile={wanted}:{wanted} IMAGE",))
    yield verdict(
        "policy-open-files",
        None if gap else soft is None or soft >= wanted,
        f"a process may open {'any number of' if soft is None else soft} files, the policy asks for {wanted}",
        asked=("host.min_open_files", wanted),
        seen=("unlimited" if soft is None and not gap else soft, "getrlimit"),
        unknown=machine.why_missing("limits.open_files_soft"),
        remedies=(start if machine.os.container else raised,),
        scope=Scope.ENVIRONMENT,
    )


# --- measured ---------------------------------------------------------------------------------------------------------------


def best_rates(bench: Report) -> dict[tuple[str, str, str, str], float]:
    """By workload, dtype, unit and device the best rate of the cases that ran and were right."""
    best: dict[tuple[str, str, str, str], float] = {}
    for case in bench.measurements:
        if case.rate is not None and not _wrong(case):
            key = (case.workload, case.dtype, case.rate_unit, case.device)
            best[key] = max(case.rate, best.get(key, 0.0))
    return best


def _wrong(case: Measurement) -> bool:
    return case.not_run is not None or (case.verified is not None and not case.verified.ok)


def _rates(policy: Policy, bench: Report | None) -> Iterator[Finding]:
    """Every device must reach the rate: the slowest one counts."""
    best = best_rates(bench) if bench else {}
    for workload, rates in policy.bench.items():
        for dtype, text in rates.items():
            wanted, unit = rate(text) or (0.0, "")
            own = {device: value for (*case, device), value in best.items() if case == [workload, dtype, unit]}
            device = min(own, key=lambda name: own[name], default="")
            seen = own.get(device)
            command = f"dltool bench {workload} --dtype {dtype} -o bench.json"
            missing = (
                f"the bench report has no {workload} in {dtype} in {unit}"
                if bench
                else f"no bench report was given ({command})"
            )
            yield verdict(
                "policy-bench",
                None if seen is None else seen >= wanted,
                f"{device}: {workload} in {dtype} reaches {rate_text(seen, unit)}, the policy asks for {text.strip()}",
                asked=(f"bench.{workload}.{dtype}", text),
                seen=(seen, f"bench report of {bench.created}" if bench else "no bench report"),
                unknown=missing,
                remedies=(
                    Remedy(text="See what slows it down: heat, power limit, other programs.", commands=("dltool doctor -v",)),
                    Remedy(text="Measure again while nothing else runs.", commands=(command,)),
                ),
            )
