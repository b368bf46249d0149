"""The fabric of NVSwitches: whether the GPUs joined it, and the errors of its switches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from dltool import texts
from dltool.checks import check
from dltool.checks.hardware import about, is_recent, no_answer, read_log, reboot, scope, send, told, why_no_log
from dltool.errors import CannotRun
from dltool.lang import tr
from dltool.machine import Gpu, KernelEvent, Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status


@check(
    "fabric-not-ready",
    caused_by=("nvswitch-sxid",),
    zh="""
    NVSwitch 后面的 GPU 是否已加入 NVLink 互连（fabric）？

    在 Fabric Manager（或只租用一部分 GPU 时的机器所有者）配置好交换芯片之前，CUDA 会以错误 802
    （system not yet initialized）拒绝工作，尽管 nvidia-smi 显示 GPU 正常。在容器或虚拟机里对此无能为力。

    解决：在宿主机上安装与驱动版本完全相同的 Fabric Manager，然后运行
    `sudo systemctl enable --now nvidia-fabricmanager`；起不来时看 `journalctl -u nvidia-fabricmanager`。
    在容器或虚拟机里：换一台机器，并告知管理方。

    预防：把驱动和 Fabric Manager 锁定在同一版本，一起升级；让该服务开机自启动。
    """,
)
def fabric_not_ready(machine: Machine) -> Iterator[Finding]:
    """Have the GPUs behind NVSwitches joined their fabric?

    Until Fabric Manager (or the machine's owner, for a part of one) has set up the switches, CUDA refuses with error 802,
    "system not yet initialized", although nvidia-smi shows healthy GPUs. Inside a container or virtual machine nothing can be
    done about it.

    Mend: On the host install Fabric Manager in exactly the version of the driver, then run
    `sudo systemctl enable --now nvidia-fabricmanager`; if it does not start, read `journalctl -u nvidia-fabricmanager`. Inside
    a container or virtual machine: take another machine, and tell whoever runs this one.

    Prevent: Hold driver and Fabric Manager at one version and update them together; let the service start with the machine.

    See: https://docs.nvidia.com/datacenter/tesla/fabric-manager-user-guide/
    https://github.com/huggingface/huggingface_hub/issues/4134
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    waiting = [gpu for gpu in machine.gpus if gpu.fabric_state in ("not_started", "in_progress")]
    manager = machine.driver.services.get("nvidia-fabricmanager")
    service = (Evidence(fact="nvidia-fabricmanager", value=manager, read_from="systemctl"),) * (manager is not None)
    if waiting:
        yield _waiting(machine, waiting, service)
    elif any(gpu.fabric_state == "completed" for gpu in machine.gpus):
        joined = tr("the GPUs have joined their NVLink fabric", "GPU 已加入 NVLink 互连")
        yield Finding(status=Status.PASS, summary=joined, evidence=service)
    elif not machine.nvswitches:
        yield Finding(status=Status.SKIP, summary=tr("no NVSwitch fabric", "没有 NVSwitch 互连"))
    elif manager in ("inactive", "failed", "not found") and not machine.os.container:  # A100 and older tell no fabric state
        yield _manager_off(machine, manager, service)
    elif manager == "active":
        yield Finding(status=Status.PASS, summary=tr("Fabric Manager runs", "Fabric Manager 正在运行"), evidence=service)
    else:
        says = tr(
            "whether the fabric is set up is told neither by NVML nor by systemd",
            "NVML 和 systemd 都没有说明 NVLink 互连是否已配置好",
        )
        yield Finding(status=Status.UNKNOWN, summary=says, evidence=service)


def _waiting(machine: Machine, gpus: list[Gpu], service: tuple[Evidence, ...]) -> Finding:
    inside = bool(machine.os.container) or machine.os.hypervisor is not None
    state = gpus[0].fabric_state
    elsewhere = Remedy(
        text=tr(
            "This cannot be mended from inside: try another machine, and tell whoever runs this one.",
            "在内部无法解决：换一台机器，并告知这台机器的管理方。",
        )
    )
    return Finding(
        status=Status.FAIL,
        summary=about(
            gpus,
            tr(
                f"the NVLink fabric is not set up ({state}); CUDA gives error 802",
                f"NVLink 互连尚未配置好（{state}）；CUDA 报错 802",
            ),
        ),
        evidence=(
            *(
                Evidence(fact=f"fabric state of GPU {gpu.index}", value=gpu.fabric_state, read_from="NVML GpuFabricInfo")
                for gpu in gpus
            ),
            *service,
        ),
        remedies=(elsewhere, send()) if inside else (start_fabric_manager(machine), read_log("sxid|nvswitch"), reboot()),
        scope=Scope.PROVIDER if inside else Scope.HOST,
        devices=tuple(gpu.index for gpu in gpus),
    )


def _manager_off(machine: Machine, manager: str, service: tuple[Evidence, ...]) -> Finding:
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"there are {machine.nvswitches} NVSwitches, but Fabric Manager is {manager}: CUDA answers with error 802",
            f"有 {machine.nvswitches} 个 NVSwitch，但 Fabric Manager 未运行（{manager}）：CUDA 会报错 802",
        ),
        evidence=service,
        remedies=(start_fabric_manager(machine), read_log("sxid|nvswitch")),
        scope=Scope.HOST,
    )


def start_fabric_manager(machine: Machine) -> Remedy:
    """Have the switches set up, by a Fabric Manager of the driver's version."""
    version = machine.driver.version or ""
    branch = version.partition(".")[0]
    if branch:
        text = tr(
            "Start Fabric Manager; its version must be exactly that of the driver "
            f"({version}; the package of that version, of branch {branch}).",
            f"启动 Fabric Manager；它的版本必须与驱动完全相同（{version}；安装 {branch} 分支中该版本的软件包）。",
        )
    else:
        text = tr(
            "Start Fabric Manager; its version must be exactly that of the driver.",
            "启动 Fabric Manager；它的版本必须与驱动完全相同。",
        )
    return Remedy(
        text=text,
        commands=("sudo systemctl enable --now nvidia-fabricmanager", "journalctl -u nvidia-fabricmanager -n 30 --no-pager"),
        risk=Risk.ROOT,
    )


@check(
    "nvswitch-sxid",
    zh="""
    NVSwitch 是否报告了致命错误（SXid）？

    致命错误会使一个端口乃至整个交换芯片的链路停止工作：其后的 GPU 失去 NVLink，程序会遇到 Xid 45 或 74。
    非致命的错误已由交换芯片自行处理。

    解决：停止这组 NVLink 互连 GPU 上的所有任务，停掉 Fabric Manager，用 `sudo nvidia-smi --gpu-reset` 把所有 GPU 和交换芯片
    一起复位，再启动 Fabric Manager；或者直接重启机器。再次出现时，把日志和 `sudo nvidia-bug-report.sh` 的结果交给厂商。

    预防：驱动与 Fabric Manager 保持同一版本并及时更新补丁；把内核日志中的 SXid 纳入监控，出现致命错误的节点先停止调度。
    """,
)
def nvswitch_sxid(machine: Machine) -> Iterator[Finding]:
    """Have the NVSwitches reported fatal errors (SXids)?

    A fatal one stops the links of a port or of a whole switch: the GPUs behind it lose NVLink, and their programs get Xid 45
    or 74. Those that are not fatal were dealt with by the switch.

    Mend: Stop all work on the GPUs of this fabric, stop Fabric Manager, reset all GPUs and switches together with
    `sudo nvidia-smi --gpu-reset`, and start Fabric Manager again; or restart the machine. If it comes back, give the log and
    what `sudo nvidia-bug-report.sh` collects to the vendor.

    Prevent: Hold driver and Fabric Manager at one version and its newest patch. Watch the kernel's log for SXids, and schedule
    nothing on a node with a fatal one.

    See: https://docs.nvidia.com/datacenter/tesla/fabric-manager-user-guide/ https://docs.nvidia.com/deploy/xid-errors/
    """
    found = _switch_events(machine)
    if not machine.nvswitches and not found:
        yield Finding(status=Status.SKIP, summary=tr("no NVSwitch on the PCI bus", "PCI 总线上没有 NVSwitch"))
        return
    inapplicable = why_no_log(machine)
    if inapplicable is not None:
        says = tr(
            "the NVSwitches are the host's, and so is the log of their errors", "NVSwitch 属于宿主机，其错误日志也在宿主机上"
        )
        yield Finding(status=Status.SKIP, summary=says) if machine.os.container else inapplicable
        return
    fatal = [event for event in found if event.kind == "sxid_fatal"]
    if fatal:
        yield _fatal(machine, fatal)
    elif found:
        codes = ", ".join(f"{code} ({times})" for code, times in _by_code(found).items())
        says = tr(f"NVSwitches reported errors that are not fatal: SXid {codes}", f"NVSwitch 报告了非致命错误：SXid {codes}")
        yield Finding(status=Status.INFO, summary=says, evidence=told(machine, found))
    else:
        count = machine.nvswitches
        says = tr(f"{count} NVSwitches, no SXid in the kernel's log", f"{count} 个 NVSwitch，内核日志中没有 SXid")
        yield Finding(status=Status.PASS, summary=says)


def _fatal(machine: Machine, fatal: list[KernelEvent]) -> Finding:
    codes = ", ".join(str(code) for code in dict.fromkeys(event.code for event in fatal))
    meaning = _sxid_meaning(fatal[0].code)
    together = Remedy(
        text=tr(
            "Stop all work on the GPUs of this fabric, then reset all GPUs and switches together, or restart.",
            "停止这组 NVLink 互连 GPU 上的所有任务，再把所有 GPU 和交换芯片一起复位，或重启机器。",
        ),
        commands=(
            "sudo systemctl stop nvidia-fabricmanager",
            "sudo timeout 300 nvidia-smi --gpu-reset",
            "sudo systemctl start nvidia-fabricmanager",
        ),
        risk=Risk.ROOT,
    )
    return Finding(
        status=Status.FAIL if any(map(is_recent, fatal)) else Status.WARN,
        summary=tr(
            f"an NVSwitch reported fatal errors (SXid {codes}): {meaning}",
            f"有 NVSwitch 报告了致命错误（SXid {codes}）：{meaning}",
        ),
        evidence=told(machine, fatal),
        remedies=(together, reboot(), send()),
        scope=scope(machine),
    )


def _switch_events(machine: Machine) -> list[KernelEvent]:
    """SXids carry the bus id of a switch, not of a GPU."""
    log = machine.kernel_log
    return [event for event in (log.events if log else ()) if event.kind in ("sxid", "sxid_fatal")]


def _by_code(found: list[KernelEvent]) -> Counter[int]:
    counted: Counter[int] = Counter()
    for event in found:
        counted[event.code or 0] += event.count
    return counted


def _sxid_meaning(code: int | None) -> str:
    try:
        rows = texts.rows("compat/sxid")
    except CannotRun:
        rows = ()
    known = next((row["meaning"] for row in rows if row.get("number") == str(code) and row.get("meaning")), None)
    return known or tr("see the log", "见日志")
