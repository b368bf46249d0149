"""The machine round the GPUs: processors, memory, limits, disks, operating system, and what it runs inside."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from dltool.machine import Cpu, Disk, Limits, Memory, Os
from dltool.probe import files

_SIMD = {
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni"),
    *("avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_bf16", "amx_int8", "amx_fp16"),
    *("asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2"),
}
_CPUS = "sys/devices/system/cpu"
_CAP_IPC_LOCK = 14
_CACHES = (
    *("HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"),
    *("CUDA_CACHE_PATH", "PIP_CACHE_DIR", "UV_CACHE_DIR"),
)
"""Variables that name directories which fill up with models, wheels and compiled kernels."""
_NO_LIMIT = 2**60
"""Control groups of version 1 write a huge number of pages for "no limit"."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Facts about the host and the reasons for those that are missing."""

    os: Os
    cpu: Cpu
    memory: Memory
    limits: Limits
    disks: tuple[Disk, ...]
    gaps: dict[str, str] = field(default_factory=dict)


def read(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> Reading:
    """Read the host; files of the kernel below `root`."""
    gaps: dict[str, str] = {}
    return Reading(
        os=_os(root, environment),
        cpu=_cpu(root, gaps),
        memory=_memory(root, gaps),
        limits=_limits(root, gaps),
        disks=_disks(root, environment, gaps),
        gaps=gaps,
    )


def _os(root: Path, environment: Mapping[str, str]) -> Os:
    kernel = platform.release()
    version = files.text_or_nothing(root / "proc/version").lower()
    return Os(
        system=platform.system(),
        distribution=_distribution(),
        kernel=kernel,
        glibc=_glibc(),
        hostname=platform.node() or None,
        container=_container(root, environment),
        wsl="microsoft" in version and ("wsl" in version or files.exists(root / "dev/dxg")),
        tegra=_tegra(root),
        tegra_power_mode=_power_mode(root),
        hypervisor=_hypervisor(root),
    )


def _distribution() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return platform.platform() or None


def _glibc() -> str | None:
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (AttributeError, ValueError, OSError):  # not a glibc system
        return None
    return version if name == "glibc" else None


def _container(root: Path, environment: Mapping[str, str]) -> str | None:
    if environment.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if environment.get("APPTAINER_CONTAINER") or environment.get("SINGULARITY_CONTAINER"):
        return "apptainer"
    if files.exists(root / ".dockerenv"):
        return "docker"
    if files.exists(root / "run/.containerenv"):
        return "podman"
    if environment.get("container"):
        return environment["container"]
    found = re.search(r"docker|kubepods|containerd|libpod|lxc", files.text_or_nothing(root / "proc/1/cgroup"))
    return {"kubepods": "kubernetes", "libpod": "podman"}.get(found[0], found[0]) if found else None


def _tegra(root: Path) -> str | None:
    if "nvidia,tegra" not in files.text_or_nothing(root / "proc/device-tree/compatible"):
        return None
    return files.text_or_nothing(root / "proc/device-tree/model").strip("\0 \n") or "Tegra"


def _power_mode(root: Path) -> str | None:
    """What nvpmodel set last, by its name in the board's table."""
    mode = re.search(r"pmode:0*(\d+)", files.text_or_nothing(root / "var/lib/nvpmodel/status"))
    names = re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>", files.text_or_nothing(root / "etc/nvpmodel.conf"))
    return dict(names).get(mode[1]) if mode else None


def _hypervisor(root: Path) -> str | None:
    if "hypervisor" not in _cpuinfo(root).get("flags", "").split():
        return None
    dmi = root / "sys/class/dmi/id"
    words = [files.text_or_nothing(dmi / name).strip() for name in ("sys_vendor", "product_name")]
    return " ".join(filter(None, words)) or "unnamed"


def _cpu(root: Path, gaps: dict[str, str]) -> Cpu:
    import psutil

    info = _cpuinfo(root)
    flags = (info.get("flags") or info.get("Features") or "").split()
    quota, quota_gap = _cpu_quota(root)
    if quota_gap:
        gaps["cpu.quota_cpus"] = quota_gap
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    cores = psutil.cpu_count(logical=False)
    if cores is None:
        gaps["cpu.cores"] = "the kernel does not show which threads share a core"
    cpu = Cpu(
        model=info.get("model name") or platform.processor() or None,
        vendor=info.get("vendor_id") or info.get("CPU implementer"),
        family=_integer(info.get("cpu family") or info.get("CPU architecture")),
        model_number=_integer(info.get("model") or info.get("CPU part")),
        architecture=platform.machine(),
        sockets=_sockets(root),
        cores=cores,
        threads=psutil.cpu_count(),
        simd=tuple(sorted(_SIMD.intersection(flags))),
        l1d_bytes=_cache_bytes(root, "1", "Data"),
        l2_bytes=_cache_bytes(root, "2"),
        l3_bytes=_cache_bytes(root, "3"),
        numa_nodes=len(files.glob(root / "sys/devices/system/node", "node[0-9]*")) or None,
        usable_threads=len(usable) if usable is not None else None,
        usable_cpus=ranges(usable) if usable is not None else None,
        quota_cpus=quota,
        mhz_max=_max_mhz(root, info),
        load_1min=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    )
    for fact, value in msgspec.structs.asdict(cpu).items():
        if value is None and fact not in ("quota_cpus", "mhz_measured"):
            gaps.setdefault(f"cpu.{fact}", "the kernel does not show it")
    if not info:
        gaps["cpu.simd"] = "/proc/cpuinfo cannot be read"
    return cpu


def _cpuinfo(root: Path) -> dict[str, str]:
    """The first processor's block of /proc/cpuinfo."""
    block = files.text_or_nothing(root / "proc/cpuinfo").split("\n\n", 1)[0]
    pairs = (line.partition(":") for line in block.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _sockets(root: Path) -> int | None:
    found = {files.text_or_nothing(path).strip() for path in files.glob(root / _CPUS, "cpu[0-9]*/topology/physical_package_id")}
    return len(found - {""}) or None


def _max_mhz(root: Path, info: Mapping[str, str]) -> float | None:
    """The kernel's limit for the first processor; in a virtual machine, the clock that it was told."""
    khz = files.number(files.line(root / _CPUS / "cpu0/cpufreq/cpuinfo_max_freq"))
    if khz is not None:
        return khz / 1000
    told = info.get("cpu MHz", "")
    return float(told) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", told) else None


def _cache_bytes(root: Path, level: str, kind: str = "") -> int | None:
    """All caches of one level, or those of one kind ("Data") in it: each once, however many processors share it."""
    seen: dict[tuple[str | None, str | None], int] = {}
    for index in files.glob(root / _CPUS, "cpu[0-9]*/cache/index*"):
        size = re.fullmatch(r"([0-9]{1,12})K", files.text_or_nothing(index / "size").strip())
        its_kind = files.line(index / "type")
        if files.text_or_nothing(index / "level").strip() == level and size and kind in ("", its_kind):
            seen[its_kind, files.line(index / "shared_cpu_list")] = int(size[1]) * 1024
    return sum(seen.values()) or None


def _memory(root: Path, gaps: dict[str, str]) -> Memory:
    import psutil

    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    shm_total: int | None = None
    shm_free: int | None = None
    try:
        shm = os.statvfs(root / "dev/shm")
        shm_total, shm_free = shm.f_frsize * shm.f_blocks, shm.f_frsize * shm.f_bavail
    except (OSError, AttributeError) as error:
        gaps["memory.shm_total_bytes"] = f"/dev/shm: {error}"
    if not files.text_or_nothing(root / "proc/self/cgroup"):
        gaps["memory.cgroup_limit_bytes"] = "/proc/self/cgroup cannot be read"
    return Memory(
        total_bytes=memory.total,
        available_bytes=memory.available,
        cgroup_limit_bytes=_cgroup_memory(root),
        swap_total_bytes=swap.total,
        swap_free_bytes=swap.free,
        shm_total_bytes=shm_total,
        shm_free_bytes=shm_free,
    )


def _cgroups(root: Path, controller: str) -> Iterator[Path]:
    """The directories of this process's control group and of all its parents, of version 2 then 1."""
    for line in files.text_or_nothing(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2) if line.count(":") >= 2 else ("", "-", "")
        if controllers == "":
            base = root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            base = root / "sys/fs/cgroup" / controller
        else:
            continue
        # Inside a container the path may be the host's and not exist here: then the mount itself is ours.
        group = base / path.strip("/")
        while True:
            yield group
            if group == base or base not in group.parents:
                break
            group = group.parent


def _cpu_quota(root: Path) -> tuple[float | None, str | None]:
    quotas = []
    for group in _cgroups(root, "cpu"):
        limit, _, period = files.text_or_nothing(group / "cpu.max").strip().partition(" ")
        limit = limit or files.text_or_nothing(group / "cpu.cfs_quota_us").strip()
        period = period or files.text_or_nothing(group / "cpu.cfs_period_us").strip()
        granted, of = files.number(limit), files.number(period)
        if granted is not None and of:
            quotas.append(granted / of)
    if not quotas and not files.text_or_nothing(root / "proc/self/cgroup"):
        return None, "/proc/self/cgroup cannot be read"
    return min(quotas, default=None), None


def _cgroup_memory(root: Path) -> int | None:
    limits = []
    for group in _cgroups(root, "memory"):
        limit = files.number(files.line(group / "memory.max") or files.line(group / "memory.limit_in_bytes"))
        if limit is not None and limit < _NO_LIMIT:
            limits.append(limit)
    return min(limits, default=None)


def _limits(root: Path, gaps: dict[str, str]) -> Limits:
    try:
        import resource
    except ImportError:
        gaps["limits"] = "this system has no resource limits"
        return Limits()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    locked, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)

    def known(limit: int) -> int | None:
        return None if limit == resource.RLIM_INFINITY else limit

    return Limits(
        open_files_soft=known(soft),
        open_files_hard=known(hard),
        locked_memory_bytes=known(locked),
        locks_any_memory=_has_capability(root, _CAP_IPC_LOCK),
    )


def _has_capability(root: Path, number: int) -> bool | None:
    """Whether this process holds one of the kernel's capabilities."""
    match = re.search(r"^CapEff:\s*([0-9a-f]{1,32})$", files.text_or_nothing(root / "proc/self/status"), re.MULTILINE)
    return bool(int(match[1], 16) >> number & 1) if match else None


def rdma(root: Path = Path("/")) -> tuple[str, ...] | None:
    """InfiniBand and RoCE adapters that programs may open, by their names; None where the kernel shows no devices at all."""
    classes = root / "sys/class"
    if not files.is_dir(classes):
        return None
    if not files.glob(root / "dev/infiniband", "uverbs*"):  # a container shows the host's, and was given none
        return ()
    return tuple(path.name for path in files.glob(classes / "infiniband", "*"))


def _disks(root: Path, environment: Mapping[str, str], gaps: dict[str, str]) -> tuple[Disk, ...]:
    places = {"home": Path.home(), "working directory": Path(), "temporary files": Path(tempfile.gettempdir())}
    inside = environment.get("VIRTUAL_ENV") or environment.get("CONDA_PREFIX")
    places |= {"environment": Path(inside)} if inside and files.is_dir(inside) else {}
    places |= {name: _there(Path(environment[name])) for name in _CACHES if environment.get(name)}
    disks = []
    for purpose, path in places.items():
        try:
            usage, where = shutil.disk_usage(path), str(path.absolute())
        except OSError as error:  # a working directory can be gone
            gaps[f"disks.{purpose}"] = str(error)
        else:
            disks.append(
                Disk(
                    purpose=purpose,
                    path=where,
                    total_bytes=usage.total,
                    free_bytes=usage.free,
                    free_files=_free_files(path),
                    writable=os.access(path, os.W_OK),
                    file_system=_file_system(root, path),
                )
            )
    return tuple(disks)


def _file_system(root: Path, path: Path) -> str | None:
    """The kind of the one that is mounted where the path is."""
    found: tuple[int, str | None] = (-1, None)
    where = os.path.realpath(path)
    for line in files.text_or_nothing(root / "proc/self/mounts").splitlines():
        _, place, kind, *_ = [*line.split(" "), "", "", ""]
        place = place.replace("\\040", " ")
        if (where == place or where.startswith(place.rstrip("/") + "/")) and len(place) >= found[0]:
            found = len(place), kind or None  # the last one hides those before it
    return found[1]


def _there(path: Path) -> Path:
    """The nearest directory that exists: a cache is made at its first use."""
    return next((one for one in (path, *path.parents) if files.is_dir(one)), path)


def _free_files(path: Path) -> int | None:
    try:
        usage = os.statvfs(path)
    except (OSError, AttributeError):
        return None
    return usage.f_favail if usage.f_files else None  # btrfs and others count none


def ranges(numbers: Iterable[int]) -> str:
    """Numbers as the kernel lists processors: "0-3,8"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)


def _integer(text: str | None) -> int | None:
    """ "25", "0x41"; None for what is no number of 64 bits."""
    match = re.fullmatch(r"[0-9]{1,18}|0x[0-9a-fA-F]{1,15}", text or "")
    return int(match[0], 16 if "x" in match[0] else 10) if match else None
