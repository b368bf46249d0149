"""NVIDIA's kernel module in the wrong one of its two flavours, open and proprietary."""

from __future__ import annotations

from collections.abc import Iterator

from dltool import names
from dltool.checks import check
from dltool.checks.driver import SYSFS, from_windows, has_gpu
from dltool.checks.hardware import answers, events, told
from dltool.compat.drivers import kernel_module_rule
from dltool.lang import tr
from dltool.machine import KernelEvent, Machine, PciDevice
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status


@check(
    "kernel-module-flavour",
    zh="""内核模块的类型（开源或专有）是否符合每块 GPU 的要求？

    从 Blackwell 起，GPU 需要 NVIDIA 的开源内核模块；Maxwell、Pascal 和 Volta 需要专有模块；介于其间的两者皆可。类型不对时，
    模块照样加载，但 nvidia-smi 显示“No devices were found”。

    解决：安装同一驱动的另一种模块并重启，例如在 Ubuntu 上 `sudo apt install nvidia-driver-580-open`（不带 -open 的是专有的）；
    用 NVIDIA 自己的软件源时，开源的是 `nvidia-open`，专有的是 `cuda-drivers`。

    预防：在 Ubuntu 上让 `sudo ubuntu-drivers install` 来选；更换显卡之前先看现有的类型：`modinfo -F license nvidia`
    对开源模块显示 Dual MIT/GPL，对专有模块显示 NVIDIA。
    """,
)
def kernel_module_flavour(machine: Machine) -> Iterator[Finding]:
    """Is the kernel module of the flavour (open or proprietary) that each GPU needs?

    From Blackwell on GPUs need NVIDIA's open kernel module; Maxwell, Pascal and Volta need the proprietary one; those between
    run with both. With the wrong one the module loads, and nvidia-smi says "No devices were found".

    Mend: Install the same driver with the other module and restart, on Ubuntu for example
    `sudo apt install nvidia-driver-580-open` (without -open for the proprietary one); from NVIDIA's own repository the
    packages are `nvidia-open` and `cuda-drivers`.

    Prevent: On Ubuntu let `sudo ubuntu-drivers install` choose. Before GPUs are exchanged see which module is there:
    `modinfo -F license nvidia` says Dual MIT/GPL for the open one, NVIDIA for the proprietary one.

    See: https://github.com/NVIDIA/open-gpu-kernel-modules
    https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/
    """
    if not has_gpu(machine) or machine.os.tegra or from_windows(machine) or machine.os.wsl:
        summary = tr("no kernel module of NVIDIA's for a GPU on the PCI bus", "PCI 总线上没有需要 NVIDIA 内核模块的 GPU")
        yield Finding(status=Status.SKIP, summary=summary)
        return
    is_open = _is_open(machine)
    wrong = [] if machine.os.container else _wrong(machine, is_open)
    said = [] if machine.os.container else _said(machine, is_open)
    if wrong or said:
        yield _other_needed(machine, wrong, said)
    elif is_open is None and not machine.gpus:
        summary = tr("no kernel module is loaded or installed", "没有加载或安装内核模块")
        yield Finding(status=Status.SKIP, summary=summary)
    else:
        summary = tr(
            f"the {_flavour(is_open) or 'unknown'} kernel module suits the GPUs",
            f"{_in_chinese(_flavour(is_open))}内核模块与各 GPU 相符",
        )
        yield Finding(status=Status.PASS, summary=summary)


def _is_open(machine: Machine) -> bool | None:
    """The flavour of the module that is loaded, else of the one that is installed."""
    loaded, file = machine.driver.kernel_module_open, machine.driver.module_file
    return file.is_open if loaded is None and file is not None else loaded


def _flavour(is_open: bool | None) -> str | None:
    return {True: "open", False: "proprietary", None: None}[is_open]


def _in_chinese(flavour: str | None) -> str:
    return {"open": "开源", "proprietary": "专有", None: "类型未知的"}[flavour]


def _wrong(machine: Machine, is_open: bool | None) -> list[tuple[PciDevice, str]]:
    """GPUs that do not answer and are known to need the other flavour, with that flavour."""
    return [
        (device, needed)
        for device in machine.pci or ()
        if device.kernel_driver in (None, "nvidia")
        and not answers(machine, device.bus_id)
        and (needed := _needed(device)) is not None
        and is_open is not None
        and is_open != (needed == "open")
    ]


def _said(machine: Machine, is_open: bool | None) -> list[KernelEvent]:
    """What the driver itself said in the kernel's log of GPUs that do not answer."""
    return [
        event
        for event in events(machine, "needs_open_module", "needs_proprietary_module")
        if not answers(machine, event.pci_bus_id) and is_open is not (event.kind == "needs_open_module")
    ]


def _needed(device: PciDevice) -> str | None:
    """The flavour that a GPU cannot do without."""
    board = names.identify(name=None, device_id=device.device_id, memory_bytes=None)
    rule = kernel_module_rule(board.compute_capability) if board is not None and board.compute_capability else None
    if rule is None:
        return None
    return next((flavour for flavour in ("open", "proprietary") if rule[flavour] == "required"), None)


def _other_needed(machine: Machine, wrong: list[tuple[PciDevice, str]], said: list[KernelEvent]) -> Finding:
    open_needed = any(needed == "open" for _, needed in wrong) or any(event.kind == "needs_open_module" for event in said)
    needed = "open" if open_needed else "proprietary"
    places = dict.fromkeys([*(device.bus_id for device, _ in wrong), *(event.pci_bus_id or "" for event in said)])
    where = ", ".join(filter(None, places))
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"the GPU at {where or 'an unnamed place'} needs the {needed} kernel module",
            f"{f'位于 {where} 的' if where else '某块'} GPU 需要{_in_chinese(needed)}内核模块",
        ),
        evidence=(
            Evidence(fact="flavour", value=_flavour(_is_open(machine)), read_from="/proc/driver/nvidia/version or modinfo"),
            *(
                Evidence(fact="GPU without a driver's answer", value=device.device_id, read_from=f"{SYSFS}/{device.bus_id}")
                for device, _ in wrong
            ),
            *told(machine, said),
        ),
        remedies=(_install(machine, needed),),
        scope=Scope.HOST,
    )


def _install(machine: Machine, needed: str) -> Remedy:
    file = machine.driver.module_file
    version = machine.driver.kernel_module_version or (file.version if file else None)
    branch = (version or "BRANCH").partition(".")[0]
    if needed == "open":
        package, nvidias = f"nvidia-driver-{branch}-open", "nvidia-open"
        text = tr("Install the same driver with the open module, then restart.", "安装同一驱动的开源内核模块版本，然后重启。")
    else:
        package, nvidias = f"nvidia-driver-{branch}", "cuda-drivers"
        text = tr(
            "Install the same driver with the proprietary module (branch 580 at most: later ones do not drive GPUs before "
            "Turing), then restart.",
            "安装同一驱动的专有内核模块版本（最高到 580 分支：更新的分支不支持 Turing 之前的 GPU），然后重启。",
        )
    return Remedy(
        text=text,
        commands=(f"sudo apt install {package}  # Ubuntu; from NVIDIA's own repository: {nvidias}", "sudo reboot"),
        risk=Risk.REBOOT,
    )
