"""The only reader of hardware, files and processes: it says what is so, never what it means.

Sources are read side by side, each with a time limit; one that hangs, crashes or raises is a gap, never a failure.
"""

from __future__ import annotations

import datetime
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from dltool import __version__
from dltool.errors import DltoolError
from dltool.machine import Machine
from dltool.redact import Redactor

TIMEOUT_S = 8.0
T = TypeVar("T")
_OF_KERNEL = (
    "kernel_module_version", "kernel_module_open", "modules", "device_nodes", "module_file", "dkms", "secure_boot", "services",
    "wsl_libraries",
)  # fmt: skip
"""Facts of the driver that the kernel's files tell."""
_ENVIRONMENT = (
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_HOME", "CUDA_PATH", "CUDA_LAUNCH_BLOCKING", "CUDA_MODULE_LOADING",
    "CUDA_CACHE_DISABLE", "CUDA_CACHE_PATH", "CUDNN_PATH", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_DISABLE_REQUIRE", "NVIDIA_TF32_OVERRIDE", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_ALLOC_CONF", "PYTORCH_NVML_BASED_CUDA_CHECK", "TORCH_CUDA_ARCH_LIST", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "CUBLAS_WORKSPACE_CONFIG", "NCCL_DEBUG", "NCCL_P2P_DISABLE", "NCCL_IB_DISABLE", "NCCL_SOCKET_IFNAME", "NCCL_SHM_DISABLE",
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_DEBUG_CPU_TYPE", "ONEDNN_MAX_CPU_ISA", "KMP_AFFINITY",
    "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE",
    "SLURM_JOB_GPUS", "SLURM_JOB_ID", "SLURM_CPUS_PER_TASK", "PBS_JOBID", "LSB_JOBID", "SGE_TASK_ID",
    "TRITON_PTXAS_PATH", "TRITON_LIBCUDA_PATH", "CUDA_VERSION", "NVIDIA_REQUIRE_CUDA",
    "CC", "CXX", "CUDAHOSTCXX", "NVCC_CCBIN", "NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS",
    "HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "PIP_CACHE_DIR", "UV_CACHE_DIR",
)  # fmt: skip
"""The variables that may be recorded. An allow-list: whatever else the environment holds is not looked at."""


def read(*, python: str | None = None, timeout_s: float = TIMEOUT_S, measure_clock: bool = False) -> Machine:
    """This machine, now.

    Args:
        python: the interpreter whose environment is meant; by default the activated one.
        timeout_s: how long any one source may take.
        measure_clock: also time the processors (some 30 ms of full load).

    Raises:
        UsageError: `python` is not a Python that runs.
    """
    from dltool.probe import driver, host, kernel_log, loader, nvml, processes, python_env, rdma, toolkit

    def environment() -> python_env.Reading:
        return python_env.read(python, timeout_s=timeout_s * 0.75)

    def loading() -> loader.Reading:
        found = environment_once()
        return loader.read(found.python, found.libraries)

    environment_once = _once(environment)
    sources: dict[str, Callable[[], Any]] = {
        "nvml": lambda: nvml.read(timeout_s * 0.75),
        "driver": driver.read,
        "kernel_log": lambda: kernel_log.read(timeout_s=timeout_s * 0.5),
        "host": host.read,
        "python": environment_once,
        "loads": loading,
        "toolkits": toolkit.toolkits,
        "libraries": lambda: (*toolkit.shadowing_libraries(), *toolkit.cached_libraries()),
        "host_compiler": toolkit.host_compiler,
        "triton_ptxas": toolkit.triton_ptxas,
        "rdma": host.rdma,
        "rdma_ports": rdma.ports,
        "stuck_processes": processes.stuck,
        "libcuda_link": toolkit.has_libcuda_link,
    }
    answers, gaps = side_by_side(sources, timeout_s)
    machine = _assemble(answers, gaps)
    return _with_clock(machine) if measure_clock else machine


def _once(source: Callable[[], T]) -> Callable[[], T]:
    """A source that several others ask: it is read by the first, and the others wait."""
    lock = threading.Lock()
    answers: list[T] = []

    def ask() -> T:
        with lock:
            if not answers:
                answers.append(source())
            return answers[0]

    return ask


def side_by_side(sources: Mapping[str, Callable[[], Any]], timeout_s: float) -> tuple[dict[str, Any], dict[str, str]]:
    """Run every source in a thread of its own; what is not there in time, or raises, is a gap under the source's name.

    Raises:
        DltoolError: a source found that the request itself is wrong.
    """
    answers: dict[str, Any] = {}
    failures: dict[str, BaseException] = {}

    def run(name: str, source: Callable[[], Any]) -> None:
        try:
            answers[name] = source()
        except BaseException as error:
            failures[name] = error

    threads = {
        name: threading.Thread(target=run, args=(name, source), name=f"probe {name}", daemon=True)
        for name, source in sources.items()
    }
    deadline = time.monotonic() + timeout_s
    for thread in threads.values():
        thread.start()
    gaps = {}
    for name, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            gaps[name] = f"no answer within {timeout_s:g} s"
    for name, error in dict(failures).items():  # a copy: one that was too late may still answer
        if isinstance(error, DltoolError):
            raise error
        gaps[name] = f"the probe failed: {type(error).__name__}: {error}"
    return {name: answer for name, answer in dict(answers).items() if name not in gaps}, gaps


def _readable(value: str) -> str:
    """A text that any JSON can hold: what stands for bytes that are no UTF-8 is replaced."""
    return re.sub("[\ud800-\udfff]", "\ufffd", value)


def _assemble(answers: Mapping[str, Any], gaps: dict[str, str]) -> Machine:
    from msgspec.structs import replace

    nvml, driver, host, python, log = (answers.get(name) for name in ("nvml", "driver", "host", "python", "kernel_log"))
    loading = answers.get("loads")
    machine = Machine(
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        dltool=__version__,
        toolkits=answers.get("toolkits", ()),
        libraries=answers.get("libraries", ()),
        host_compiler=answers.get("host_compiler"),
        triton_ptxas=answers.get("triton_ptxas"),
        rdma=answers.get("rdma"),
        rdma_ports=answers.get("rdma_ports"),
        stuck_processes=answers.get("stuck_processes"),
        environment={name: _readable(os.environ[name]) for name in _ENVIRONMENT if name in os.environ},
    )
    # What a source could not say stands under the facts that it was to fill.
    for source, subjects in (
        ("nvml", ("gpus", "driver.version", "driver.cuda_version", "driver.libcuda")),
        ("driver", ("driver", "pci")),
        ("host", ("os", "cpu", "memory", "limits", "disks")),
    ):
        if source in gaps:
            reason = gaps.pop(source)
            gaps.update(dict.fromkeys(subjects, reason))
    if nvml is not None:
        machine = replace(machine, driver=nvml.driver, gpus=nvml.gpus)
        gaps |= nvml.gaps
    if driver is not None:
        kernel = {name: getattr(driver, name) for name in _OF_KERNEL}
        machine = replace(machine, driver=replace(machine.driver, **kernel), pci=driver.pci, nvswitches=driver.nvswitches)
        gaps |= driver.gaps
    if "libcuda_link" in gaps:
        gaps["driver.has_libcuda_link"] = gaps.pop("libcuda_link")
    machine = replace(machine, driver=replace(machine.driver, has_libcuda_link=answers.get("libcuda_link")))
    if log is not None:
        machine = replace(machine, kernel_log=log.log)
        gaps |= log.gaps
    if host is not None:
        machine = replace(machine, os=host.os, cpu=host.cpu, memory=host.memory, limits=host.limits, disks=host.disks)
        gaps |= host.gaps
    if python is not None:
        machine = replace(machine, python=python.python, libraries=(*machine.libraries, *python.libraries))
        gaps |= python.gaps
    if loading is not None:
        machine = replace(machine, loads=loading.loads)
        if machine.python is not None:
            machine = replace(machine, python=replace(machine.python, torch=loading.torch, extensions=loading.extensions))
        gaps |= loading.gaps
    return _writable(replace(machine, gaps=gaps))


def _writable(machine: Machine) -> Machine:
    """The same with names of files that any JSON can hold: bytes that are no UTF-8 are replaced."""
    import msgspec

    try:
        msgspec.json.encode(machine)
    except UnicodeEncodeError:
        return msgspec.convert(_replaced(msgspec.to_builtins(machine)), Machine)
    return machine


def _replaced(facts: Any) -> Any:
    if isinstance(facts, str):
        return _readable(facts)
    if isinstance(facts, Mapping):
        return {_readable(key): _replaced(value) for key, value in facts.items()}
    return [_replaced(value) for value in facts] if isinstance(facts, list | tuple) else facts


def _with_clock(machine: Machine) -> Machine:
    from msgspec.structs import replace

    from dltool import cpu_clock

    try:
        return replace(machine, cpu=replace(machine.cpu, mhz_measured=round(cpu_clock.measure(), 1)))
    except cpu_clock.Unmeasurable as error:
        return replace(machine, gaps={**machine.gaps, "cpu.mhz_measured": str(error)})


def redactor(machine: Machine) -> Redactor:
    """The redactor for facts of this machine: keyed with its own id, which never leaves it."""
    import hashlib
    from pathlib import Path

    try:
        secret = Path("/etc/machine-id").read_bytes().strip()
    except OSError:
        secret = b""
    return Redactor(
        hashlib.sha256(b"dltool snapshot" + (secret or os.urandom(32))).digest(),
        home=str(Path.home()),
        hostname=machine.os.hostname or "",
        uuids=[uuid for gpu in machine.gpus for uuid in (gpu.uuid, *(one.uuid for one in gpu.mig_devices or ())) if uuid],
    )
