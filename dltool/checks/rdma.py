"""InfiniBand between nodes: ports that carry nothing or too little, and GPUs that cannot be reached past main memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from dltool import compat
from dltool.checks import check
from dltool.checks.hardware import bare_metal
from dltool.lang import tr
from dltool.live import board_of
from dltool.machine import Machine, RdmaPort
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status

_SYSFS = "/sys/class/infiniband"
_PEER_MODULES = ("nvidia_peermem", "nv_peer_mem")
_DMABUF_KERNEL = "5.12"


@check(
    "infiniband-port-not-ready",
    zh="""InfiniBand 端口是否都已就绪？

    端口有信号却停在 INIT，说明子网管理器没有配置它；处于 LinkErrorRecovery 说明链路在反复出错。NCCL 会绕开这样的端口，
    多机训练因此变慢。没有信号（Polling）的端口多半是没有接线，这里只作提示。

    解决：在任一节点上运行子网管理器（`sudo systemctl start opensm`），或让交换机上的子网管理器恢复工作；链路出错则更换线缆
    或模块。

    预防：在作业开始前用 `ibstat` 或本检查确认端口状态，并监控子网管理器。""",
)
def infiniband_port_not_ready(machine: Machine) -> Iterator[Finding]:
    """Are all InfiniBand ports ready that have a signal?

    A port that has a signal but stays at INIT was not set up by a subnet manager; one at LinkErrorRecovery has a link that
    fails again and again. NCCL goes round such ports: training over nodes is slow. A port without a signal (Polling) is most
    often not cabled, and only noted here.

    Mend: start the subnet manager on one node (`sudo systemctl start opensm`) or get the switch's going again; where the link
    fails, replace cable or module.

    Prevent: look at the ports before a job starts, by `ibstat` or by this check, and watch the subnet manager.

    See: https://docs.kernel.org/infiniband/index.html https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/env.html
    """
    ports = _infiniband(machine)
    if isinstance(ports, Finding):
        yield ports
        return
    waiting = [port for port in ports if port.physical_state == "linkup" and port.state in ("init", "armed")]
    failing = [port for port in ports if port.physical_state == "linkerrorrecovery"]
    silent = [port for port in ports if port.state == "down" and port not in failing]
    if waiting:
        yield _not_set_up(waiting)
    if failing:
        yield _failing(failing)
    if silent:
        yield Finding(
            status=Status.INFO,
            summary=tr(
                f"no signal at {_named(silent)}: not cabled, or the other end is off",
                f"{_named(silent)} 没有信号：未接线，或对端已关闭",
            ),
            evidence=_states(silent),
        )
    if not (waiting or failing or silent):
        summary = tr(f"{len(ports)} InfiniBand port(s) are active", f"{len(ports)} 个 InfiniBand 端口处于活动状态")
        yield Finding(status=Status.PASS, summary=summary, evidence=_states(ports))


@check(
    "infiniband-port-slow",
    zh="""InfiniBand 端口是否都跑在应有的速率上？

    同一型号的网卡里，个别端口比其余的慢，或只用了一条通道，多半是线缆、光模块或交换机端口的问题。NCCL 的集合通信受最慢的端
    口限制。

    解决：用 `ibstat` 和 `iblinkinfo` 找到对端，重新插拔或更换线缆和模块，并核对交换机端口的速率设置。

    预防：验收时记下每个端口的速率，作业开始前再比对。""",
)
def infiniband_port_slow(machine: Machine) -> Iterator[Finding]:
    """Does every InfiniBand port run as fast as the others of its kind?

    One port that is slower than those of equal adapters, or uses a single lane, most often has a bad cable, module or
    switch port. The collectives of NCCL are as slow as the slowest port.

    Mend: find the other end by `ibstat` and `iblinkinfo`, seat anew or replace cable and module, and compare the switch
    port's settings.

    Prevent: write down the rate of every port when a node is accepted, and compare before jobs.

    See: https://docs.kernel.org/infiniband/index.html https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/env.html
    """
    ports = _infiniband(machine)
    if isinstance(ports, Finding):
        yield ports
        return
    active = [port for port in ports if port.state == "active"]
    slow = [port for port in active if port.width == 1 or _behind_its_peers(port, active)]
    if not active:
        yield Finding(status=Status.SKIP, summary=tr("no InfiniBand port is active", "没有活动的 InfiniBand 端口"))
    elif slow:
        yield Finding(
            status=Status.WARN,
            summary=tr(f"{_named(slow)}: slower than the other ports of its kind", f"{_named(slow)}：比同类端口慢"),
            evidence=tuple(_rate(port) for port in active),
            remedies=(
                Remedy(
                    text=tr("Seat the cable anew or replace it; compare both ends.", "重新插拔或更换线缆，并对比两端。"),
                    commands=(f"ibstat {slow[0].adapter}", "sudo iblinkinfo"),
                    risk=Risk.ROOT,
                ),
            ),
            scope=Scope.HOST,
        )
    else:
        summary = tr("equal InfiniBand ports run at equal rates", "同类 InfiniBand 端口速率一致")
        yield Finding(status=Status.PASS, summary=summary, evidence=tuple(_rate(port) for port in active))


@check(
    "gpudirect-rdma-missing",
    caused_by=("driver-not-answering", "driver-missing"),
    zh="""InfiniBand 网卡能否直接读写 GPU 显存（GPUDirect RDMA）？

    这需要 nvidia_peermem 内核模块，或在 5.12 以上的内核上使用开源内核模块（DMA-BUF）。两者都没有时，NCCL 的数据要绕经主存，
    多机训练的带宽往往只剩一半。

    解决：`sudo modprobe nvidia-peermem`，并写入 /etc/modules-load.d 以便开机加载；也可改用驱动的开源内核模块。

    预防：先安装网卡驱动（DOCA-OFED），再安装 GPU 驱动，这样 nvidia_peermem 才会一并编译。""",
)
def gpudirect_rdma_missing(machine: Machine) -> Iterator[Finding]:
    """Can the InfiniBand adapters read and write the memory of the GPUs (GPUDirect RDMA)?

    That takes the kernel module nvidia_peermem, or the open flavour of the driver's kernel module with a kernel of 5.12 or
    later (DMA-BUF). Without either NCCL sends everything through main memory, often at half the rate.

    Mend: `sudo modprobe nvidia-peermem`, and name it in /etc/modules-load.d for the next start; or take the driver's open
    kernel module.

    Prevent: install the adapter's drivers (DOCA-OFED) before the GPU's, so that nvidia_peermem is built with them.

    See: https://docs.nvidia.com/cuda/gpudirect-rdma/ https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/env.html
    """
    ports = _infiniband(machine)
    if isinstance(ports, Finding):
        yield ports
        return
    boards = [board_of(gpu) for gpu in machine.gpus]
    driver = machine.driver
    if not any(board and board.segment == "datacenter" for board in boards) or not any(p.state == "active" for p in ports):
        summary = tr("no data-centre GPU beside an active InfiniBand port", "没有数据中心 GPU 与活动的 InfiniBand 端口并存")
        yield Finding(status=Status.SKIP, summary=summary)
        return
    loaded = [name for name in driver.modules or () if name in _PEER_MODULES]
    kernel = compat.known_version((machine.os.kernel or "").partition("-")[0])
    if loaded:
        yield Finding(status=Status.PASS, summary=tr(f"{loaded[0]} is loaded", f"已加载 {loaded[0]}"))
    elif driver.modules is None or driver.kernel_module_open is None or kernel is None:
        reason = machine.why_missing("driver.modules" if driver.modules is None else "driver.kernel_module_open")
        summary = tr(f"whether the GPUs can be reached by RDMA is not known: {reason}", f"无法得知 RDMA 能否直达 GPU：{reason}")
        yield Finding(status=Status.UNKNOWN, summary=summary)
    elif driver.kernel_module_open and kernel >= compat.version(_DMABUF_KERNEL):
        summary = tr("the open kernel module shares GPU memory by DMA-BUF", "开源内核模块可通过 DMA-BUF 共享显存")
        yield Finding(status=Status.PASS, summary=summary)
    else:
        yield _no_way_to_the_gpus(machine)


def _no_way_to_the_gpus(machine: Machine) -> Finding:
    flavour = tr("open", "开放") if machine.driver.kernel_module_open else tr("proprietary", "专有")
    return Finding(
        status=Status.WARN,
        summary=tr(
            "InfiniBand is active, but nvidia_peermem is not loaded: traffic between nodes goes through main memory",
            "InfiniBand 已启用，但未加载 nvidia_peermem：节点间的数据要绕经主存",
        ),
        why=tr(
            f"DMA-BUF, the other way, needs the open kernel module and kernel {_DMABUF_KERNEL}; here it is {flavour}.",
            f"另一条途径 DMA-BUF 需要开源内核模块和 {_DMABUF_KERNEL} 以上的内核；此处是{flavour}模块。",
        ),
        evidence=(
            Evidence(fact="loaded modules", value=" ".join(machine.driver.modules or ()), read_from="/sys/module"),
            Evidence(fact="kernel", value=machine.os.kernel, read_from="uname"),
        ),
        remedies=(
            Remedy(
                text=tr("Load the module now and at every start.", "立即加载该模块，并设为开机加载。"),
                commands=(
                    "sudo modprobe nvidia-peermem",
                    "echo nvidia-peermem | sudo tee /etc/modules-load.d/nvidia-peermem.conf",
                ),
                risk=Risk.ROOT,
            ),
        ),
        scope=Scope.HOST,
    )


def _infiniband(machine: Machine) -> list[RdmaPort] | Finding:
    """The ports that speak InfiniBand, or why there is nothing to judge. RoCE is often a plain network card."""
    if machine.rdma_ports is None and "rdma_ports" in machine.gaps:
        reason = machine.why_missing("rdma_ports")
        return Finding(status=Status.UNKNOWN, summary=tr(f"the ports could not be read: {reason}", f"无法读取端口：{reason}"))
    ports = [port for port in machine.rdma_ports or () if (port.link_layer or "").lower() == "infiniband"]
    if not ports or not bare_metal(machine):
        return Finding(status=Status.SKIP, summary=tr("no InfiniBand adapter of this machine", "本机没有 InfiniBand 网卡"))
    return ports


def _not_set_up(ports: list[RdmaPort]) -> Finding:
    return Finding(
        status=Status.WARN,
        summary=tr(f"no subnet manager has set up {_named(ports)}", f"没有子网管理器配置 {_named(ports)}"),
        why=tr("The port has a signal, and no program can use it.", "端口有信号，但程序无法使用。"),
        evidence=_states(ports),
        remedies=(
            Remedy(
                text=tr("Start the subnet manager, on one node or on the switch.", "启动子网管理器：在某个节点或交换机上。"),
                commands=("sudo systemctl enable --now opensm", f"ibstat {ports[0].adapter}"),
                risk=Risk.ROOT,
            ),
        ),
        scope=Scope.HOST,
    )


def _failing(ports: list[RdmaPort]) -> Finding:
    return Finding(
        status=Status.WARN,
        summary=tr(f"the link of {_named(ports)} fails again and again", f"{_named(ports)} 的链路反复出错"),
        evidence=_states(ports),
        remedies=(
            Remedy(
                text=tr("Replace cable or module.", "更换线缆或光模块。"),
                commands=(f"ibstat {ports[0].adapter}", "sudo iblinkinfo"),
                risk=Risk.ROOT,
            ),
        ),
        scope=Scope.HOST,
    )


def _behind_its_peers(port: RdmaPort, active: list[RdmaPort]) -> bool:
    """Whether most ports of equal adapters run faster: a few that are cabled otherwise on purpose look like that too."""
    rates: dict[str, list[float]] = defaultdict(list)
    for one in active:
        if one.board and one.gbit_per_s:
            rates[one.board].append(one.gbit_per_s)
    equal = rates.get(port.board or "", [])
    faster = sum(rate > (port.gbit_per_s or rate) for rate in equal)
    return faster >= 3 and faster * 3 >= len(equal) * 2


def _named(ports: list[RdmaPort]) -> str:
    return ", ".join(f"{port.adapter}/{port.port}" for port in ports)


def _states(ports: list[RdmaPort]) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(fact=f"{port.adapter}/{port.port}", value=f"{port.state}, {port.physical_state}", read_from=_SYSFS)
        for port in ports
    )


def _rate(port: RdmaPort) -> Evidence:
    lanes = f" ({port.width}X)" if port.width else ""
    return Evidence(fact=f"{port.adapter}/{port.port}", value=f"{port.gbit_per_s:g} Gbit/s{lanes}" if port.gbit_per_s else None,
                    read_from=_SYSFS)  # fmt: skip
