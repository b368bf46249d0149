"""InfiniBand, network file systems, hanging processes, far GPUs, other makers' builds, bfloat16, Jetson and WSL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import recorded
from recorded import Fault, altered, commands, judge

from dltool.machine import RdmaPort, StuckProcess
from dltool.probe import host, kernel_log, processes, rdma

SERVER, LAPTOP, PASCAL, CONTAINER = "h100_server", "laptop_rtx4060", "gtx1080ti", "container"


def port(adapter: str = "mlx5_0", **facts: Any) -> dict[str, Any]:
    healthy = {"board": "MT_0000000838", "link_layer": "InfiniBand", "state": "active", "physical_state": "linkup"}
    return {"adapter": adapter, "port": 1, "gbit_per_s": 400.0, "width": 4, **healthy, **facts}


def ports(count: int, *others: dict[str, Any]) -> dict[str, Any]:
    return {"rdma_ports": [*(port(f"mlx5_{index}") for index in range(count)), *others]}


PEERMEM = {"driver.modules": ["nvidia", "nvidia_uvm", "nvidia_peermem"]}
PLAIN = {"driver.modules": ["nvidia", "nvidia_uvm"]}
CLOSED, OPEN = PLAIN | {"driver.kernel_module_open": False}, PLAIN | {"driver.kernel_module_open": True}
HUNG = "INFO: task python:4711 blocked for more than 122 seconds."
NFS = {"pid": 4711, "name": "python", "waits_in": "rpc_wait_bit_killable"}


def disk(purpose: str, kind: str | None) -> dict[str, Any]:
    return {"purpose": purpose, "path": f"/{purpose}", "total_bytes": 10**12, "free_bytes": 10**11, "file_system": kind}


def split(*visible: int, nvlinks: bool = False) -> dict[str, Any]:
    """Eight GPUs, four at each of two processors, as PCIe boards."""
    facts: dict[str, Any] = {"environment.CUDA_VISIBLE_DEVICES": ",".join(map(str, visible))}
    return facts | ({} if nvlinks else {"gpus.*.nvlinks": []})


OUTCOMES: dict[str, tuple[str, dict[str, Any], str, str, str]] = {
    "all ports active": (SERVER, ports(8), "infiniband-port-not-ready", "pass", "8 InfiniBand"),
    "no subnet manager": (
        SERVER,
        ports(0, port(state="init")),
        "infiniband-port-not-ready",
        "warn",
        "no subnet manager has set up mlx5_0/1",
    ),
    "armed": (SERVER, ports(1, port("mlx5_9", state="armed")), "infiniband-port-not-ready", "warn", "mlx5_9/1"),
    "not cabled": (
        SERVER,
        ports(4, port("mlx5_9", state="down", physical_state="polling")),
        "infiniband-port-not-ready",
        "info",
        "not cabled",
    ),
    "a link that fails": (
        SERVER,
        ports(1, port("mlx5_9", state="down", physical_state="linkerrorrecovery")),
        "infiniband-port-not-ready",
        "warn",
        "again and again",
    ),
    "plain Ethernet that is down": (
        SERVER,
        ports(0, port(link_layer="Ethernet", state="down")),
        "infiniband-port-not-ready",
        "skip",
        "no InfiniBand",
    ),
    "ports unknown": (
        SERVER,
        {"rdma_ports": None, "gaps.rdma_ports": "no answer"},
        "infiniband-port-not-ready",
        "unknown",
        "no answer",
    ),
    "a virtual function": (
        SERVER,
        ports(0, port(state="init")) | {"os.hypervisor": "KVM"},
        "infiniband-port-not-ready",
        "skip",
        "no InfiniBand",
    ),
    "one lane": (SERVER, ports(7, port("mlx5_9", width=1)), "infiniband-port-slow", "warn", "mlx5_9/1"),
    "slower than its peers": (SERVER, ports(7, port("mlx5_9", gbit_per_s=200.0)), "infiniband-port-slow", "warn", "mlx5_9/1"),
    "two of another kind": (
        SERVER,
        ports(8, port("mlx5_9", gbit_per_s=200.0, board="storage")),
        "infiniband-port-slow",
        "pass",
        "equal",
    ),
    "one of two is slower": (SERVER, ports(1, port("mlx5_9", gbit_per_s=200.0)), "infiniband-port-slow", "pass", "equal"),
    "half lanes by a splitter cable": (
        SERVER,
        ports(0, port(width=2, gbit_per_s=100.0)),
        "infiniband-port-slow",
        "pass",
        "equal",
    ),
    "nothing active": (SERVER, ports(0, port(state="init")), "infiniband-port-slow", "skip", "no InfiniBand port is active"),
    "no way to the GPUs": (SERVER, ports(8) | CLOSED, "gpudirect-rdma-missing", "warn", "nvidia_peermem is not loaded"),
    "peermem": (SERVER, ports(8) | PEERMEM, "gpudirect-rdma-missing", "pass", "nvidia_peermem"),
    "DMA-BUF": (SERVER, ports(8) | OPEN, "gpudirect-rdma-missing", "pass", "DMA-BUF"),
    "open module on an old kernel": (
        SERVER,
        ports(8) | OPEN | {"os.kernel": "5.4.0-150-generic"},
        "gpudirect-rdma-missing",
        "warn",
        "nvidia_peermem",
    ),
    "flavour unknown": (
        SERVER,
        ports(8) | PLAIN | {"driver.kernel_module_open": None},
        "gpudirect-rdma-missing",
        "unknown",
        "not known",
    ),
    "RoCE, often a plain network card": (
        SERVER,
        ports(0, port(link_layer="Ethernet")) | CLOSED,
        "gpudirect-rdma-missing",
        "skip",
        "no InfiniBand",
    ),
    "a GeForce": (LAPTOP, ports(1) | CLOSED, "gpudirect-rdma-missing", "skip", "no data-centre GPU"),
    "environment over NFS": (
        SERVER,
        {"disks": [disk("environment", "nfs4")]},
        "files-on-network",
        "info",
        "environment (nfs4)",
    ),
    "data over Lustre": (SERVER, {"disks": [disk("working directory", "lustre")]}, "files-on-network", "pass", "local"),
    "a project on drive C": ("wsl2", {"disks": [disk("working directory", "9p")]}, "files-on-network", "info", "9p"),
    "file systems unknown": (SERVER, {"disks": [disk("home", None)]}, "files-on-network", "skip", "not known"),
    "a process that hangs": (
        SERVER,
        {"stuck_processes": [NFS], **recorded.log(HUNG)},
        "processes-stuck",
        "warn",
        "python (4711)",
    ),
    "one that waits just now": (SERVER, {"stuck_processes": [NFS]}, "processes-stuck", "info", "just now"),
    "one that hung and went on": (
        SERVER,
        {"stuck_processes": [], **recorded.log(HUNG)},
        "processes-stuck",
        "pass",
        "no process",
    ),
    "a thread of the kernel": (
        SERVER,
        {"stuck_processes": [{"pid": 7, "name": "kworker", "waits_in": None}]},
        "processes-stuck",
        "pass",
        "no process",
    ),
    "processes unknown": (
        SERVER,
        {"stuck_processes": None, "gaps.stuck_processes": "no answer"},
        "processes-stuck",
        "unknown",
        "no answer",
    ),
    "GPUs of two processors": (SERVER, split(0, 4), "gpus-far-apart", "info", "GPUs 0,4 are at 2 processors; 0,1 are at one"),
    "GPUs of one processor": (SERVER, split(0, 1), "gpus-far-apart", "pass", "near"),
    "more than one processor has": (SERVER, split(0, 1, 2, 3, 4), "gpus-far-apart", "pass", "near"),
    "NVLink does not care": (SERVER, split(0, 4, nvlinks=True), "gpus-far-apart", "skip", "NVLink"),
    "AMD's build": (
        LAPTOP,
        {"python.torch.version": "2.9.1+rocm6.4", "python.torch.cuda": None, "python.torch.hip": "6.4"},
        "torch-for-other-gpus",
        "fail",
        "GPUs of AMD",
    ),
    "Intel's build": (
        LAPTOP,
        {"python.torch.version": "2.9.1+xpu", "python.torch.cuda": None},
        "torch-for-other-gpus",
        "fail",
        "GPUs of Intel",
    ),
    "AMD's build on a machine of AMD": (
        "cpu_only",
        {"python.torch.version": "2.9.1+rocm6.4", "python.torch.cuda": None},
        "torch-for-other-gpus",
        "skip",
        "beside",
    ),
    "NVIDIA's build": (LAPTOP, {}, "torch-for-other-gpus", "pass", "not built for another"),
    "bfloat16 on Pascal": (PASCAL, {}, "bf16-emulated", "info", "GTX 1080 Ti"),
    "bfloat16 on Hopper": (SERVER, {}, "bf16-emulated", "pass", "themselves"),
    "bfloat16 without PyTorch": (PASCAL, {"python.torch": None}, "bf16-emulated", "skip", "no PyTorch"),
    "Jetson at 15 W": ("jetson", {"os.tegra_power_mode": "MODE_15W"}, "jetson-power-mode", "info", "MODE_15W"),
    "Jetson at its best": ("jetson", {"os.tegra_power_mode": "MAXN"}, "jetson-power-mode", "pass", "MAXN"),
    "Jetson without nvpmodel": ("jetson", {"os.tegra_power_mode": None}, "jetson-power-mode", "skip", "no mode"),
    "WSL whose loader does not look": (
        "wsl2",
        {"driver.wsl_libraries": ["libcuda.so.1", "libnvidia-ml.so.1"], "driver.libcuda": None, "driver.nvml_library": None},
        "wsl-libraries-not-found",
        "fail",
        "libcuda and libnvidia-ml",
    ),
    "WSL": ("wsl2", {"driver.wsl_libraries": ["libcuda.so.1"]}, "wsl-libraries-not-found", "pass", "are found"),
    "WSL without an NVIDIA GPU": ("wsl2", {"driver.wsl_libraries": ["libd3d12.so"]}, "wsl-libraries-not-found", "pass", ""),
}


FAULTS = {
    name: Fault(machine, facts, check, status, says)
    for name, (machine, facts, check, status, says) in OUTCOMES.items()
    if status in ("warn", "fail")
}
ONLY_TOLD = {"files-on-network", "gpus-far-apart", "bf16-emulated", "jetson-power-mode"}
"""Checks that never find more than something worth knowing."""


@pytest.mark.parametrize(("machine", "facts", "check", "status", "says"), OUTCOMES.values(), ids=OUTCOMES.keys())
def test_outcome(machine: str, facts: dict[str, Any], check: str, status: str, says: str) -> None:
    found = judge(altered(machine, facts))[check]
    assert found.status.value == status, found
    assert says in found.summary


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("no way to the GPUs", "sudo modprobe nvidia-peermem"),
        ("no subnet manager", "opensm"),
        ("AMD's build", "--index-url"),
        ("WSL whose loader does not look", "ld.wsl.conf"),
        ("a process that hangs", "/proc/4711/stack"),
    ],
)
def test_the_remedy_is_a_command(name: str, command: str) -> None:
    machine, facts, check, _, _ = OUTCOMES[name]
    assert command in commands(judge(altered(machine, facts))[check])


# --- the facts --------------------------------------------------------------------------------------------------------------


def test_ports_are_read_from_sysfs(tmp_path: Path) -> None:
    assert rdma.ports(tmp_path) is None
    base = tmp_path / "sys/class/infiniband/mlx5_0/ports/1"
    base.mkdir(parents=True)
    assert rdma.ports(tmp_path) == (), "a container that was given none"
    (tmp_path / "dev/infiniband").mkdir(parents=True)
    (tmp_path / "dev/infiniband/uverbs0").touch()
    assert rdma.ports(tmp_path) == (RdmaPort(adapter="mlx5_0", port=1),)
    for name, text in {
        "rate": "400 Gb/sec (4X NDR)\n", "state": "4: ACTIVE\n", "phys_state": "5: LinkUp\n", "link_layer": "InfiniBand\n"
    }.items():  # fmt: skip
        (base / name).write_text(text)
    (base.parents[1] / "board_id").write_text("MT_0000000838\n")
    assert rdma.ports(tmp_path) == (
        RdmaPort(
            adapter="mlx5_0", port=1, board="MT_0000000838", link_layer="InfiniBand", state="active", physical_state="linkup",
            gbit_per_s=400.0, width=4,
        ),
    )  # fmt: skip
    (base / "rate").write_text("2.5 Gb/sec (1X SDR)\n")
    assert [(one.gbit_per_s, one.width) for one in rdma.ports(tmp_path) or ()] == [(2.5, 1)]


def process(root: Path, pid: int, state: str, switches: int, *, waits_in: str = "0", name: str = "a (b) c") -> None:
    directory = root / f"proc/{pid}"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "stat").write_text(f"{pid} ({name}) {state} 1 1 1 0 -1 4194560 0 0")
    (directory / "status").write_text(f"Name:\t{name}\nvoluntary_ctxt_switches:\t{switches}\nnonvoluntary_ctxt_switches:\t3\n")
    (directory / "comm").write_text(f"{name}\n")
    (directory / "wchan").write_text(waits_in)


def test_stuck_is_who_did_not_run_between_two_looks(tmp_path: Path) -> None:
    assert processes.stuck(tmp_path) is None
    process(tmp_path, 1, "S", 10)
    process(tmp_path, 2, "D", 10, waits_in="rpc_wait_bit_killable")
    process(tmp_path, 3, "D", 10)
    process(tmp_path, 4, "D", 10)
    process(tmp_path, 5, "D", 10)

    def meanwhile(_: float) -> None:
        process(tmp_path, 3, "D", 11)  # asleep again, but it has run
        process(tmp_path, 4, "R", 11)
        for file in (tmp_path / "proc/5").iterdir():
            file.unlink()

    found = processes.stuck(tmp_path, pause=meanwhile)
    assert found == (StuckProcess(pid=2, name="a (b) c", waits_in="rpc_wait_bit_killable"),)


def test_where_nobody_sleeps_there_is_no_second_look(tmp_path: Path) -> None:
    process(tmp_path, 1, "S", 10)
    never: Callable[[float], None] = pytest.fail  # type: ignore[assignment]
    assert processes.stuck(tmp_path, pause=never) == ()


def test_the_kernel_tells_who_hangs() -> None:
    log = kernel_log.parse(f"[ 100.0] {HUNG}\n[ 101.0] INFO: task kworker/0:1:99 blocked for more than 245 seconds.", "dmesg")
    assert log is not None
    assert [(event.kind, event.code) for event in log.events] == [("hung_task", 99), ("hung_task", 4711)]


@pytest.mark.parametrize(
    ("status", "table", "mode"),
    [
        ("pmode:0002 fmode:fanNull\n", "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=MODE_15W >\n", "MODE_15W"),
        ("pmode:0000\n", "< POWER_MODEL ID=0 NAME=MAXN >\n", "MAXN"),
        ("pmode:0009\n", "< POWER_MODEL ID=0 NAME=MAXN >\n", None),
        ("", "", None),
    ],
)
def test_the_power_mode_of_a_jetson(tmp_path: Path, status: str, table: str, mode: str | None) -> None:
    for path, text in (("var/lib/nvpmodel/status", status), ("etc/nvpmodel.conf", table)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert host.read(tmp_path, {}).os.tegra_power_mode == mode


def test_the_file_system_of_a_directory(tmp_path: Path) -> None:
    mounts = tmp_path / "proc/self/mounts"
    mounts.parent.mkdir(parents=True)
    place, inner = tmp_path / "a b", tmp_path / "a b/env"
    inner.mkdir(parents=True)
    escaped = str(place).replace(" ", "\\040")
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/x {escaped} nfs4 rw 0 0\nbroken\n")
    found = {disk.purpose: disk.file_system for disk in host.read(tmp_path, {"VIRTUAL_ENV": str(inner)}).disks}
    assert found["environment"] == "nfs4"
    assert found["home"] == "ext4"
