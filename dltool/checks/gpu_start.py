"""GPUs that the driver could not start, and system processors (GSP) that do not run their firmware."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.hardware import answers, events, indices, is_recent, no_gpu, read_log, reboot, reset, scope, send, told
from dltool.lang import tr
from dltool.machine import KernelEvent, Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Status


@check(
    "gpu-init-failed",
    caused_by=("gpu-fell-off-bus", "kernel-module-flavour", "gsp-failed"),
    zh="""
    驱动能否启动每一块 GPU？

    RmInitAdapter 是驱动启动一块 GPU 的过程。它失败时，GPU 在总线上，也被驱动占有，但 NVML 和 CUDA 都看不到它：
    对驱动来说太旧或太新的 GPU、固件没能分配的地址窗口（BAR）、没有应答的板卡，都会如此。

    解决：先看日志：`sudo dmesg | grep -iE 'nvrm|nvidia'`。驱动不支持该 GPU 的，用 `dltool compat --gpu NAME` 查出合适的驱动分支
    再安装；BAR 无效的，在固件设置（BIOS）中打开 Above 4G Decoding 和 Resizable BAR；其余的，关机断电后重新插拔板卡再试。

    预防：购买或更换 GPU 前，用 `dltool compat --gpu NAME` 核对驱动；多卡机器更新固件后，检查 Above 4G Decoding 是否仍打开。
    """,
)
def gpu_init_failed(machine: Machine) -> Iterator[Finding]:
    """Could the driver start every GPU?

    RmInitAdapter is the driver's start of one GPU. Where it fails, the GPU is on the bus and held by the driver, but NVML and
    CUDA do not see it: a GPU too old or too new for the driver, memory windows (BARs) that the firmware could not place, a
    board that does not answer.

    Mend: Read the log first: `sudo dmesg | grep -iE 'nvrm|nvidia'`. If the driver does not support the GPU, find a branch that
    does with `dltool compat --gpu NAME`, and install it. If a BAR is invalid, switch on Above 4G Decoding and Resizable BAR in
    the firmware's setup (BIOS). Otherwise switch the machine off, seat the card anew, and try again.

    Prevent: Before a GPU is bought or replaced, see with `dltool compat --gpu NAME` which drivers it needs. After an update of
    the firmware, see that Above 4G Decoding is still on.

    See: https://docs.nvidia.com/deploy/gpu-debug-guidelines/index.html
    https://github.com/NVIDIA/open-gpu-kernel-modules/issues
    """
    inapplicable = no_gpu(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    held = _not_started(machine)
    if held:
        yield _init_failed(machine, held)
    elif machine.gpus:
        count = len(machine.gpus)
        yield Finding(status=Status.PASS, summary=tr(f"the driver started {count} GPU(s)", f"驱动启动了 {count} 块 GPU"))
    else:
        says = tr("no GPU answers, and the log names no failed start", "没有 GPU 应答，日志中也没有启动失败的记录")
        yield Finding(status=Status.SKIP, summary=says)


def _not_started(machine: Machine) -> list[KernelEvent]:
    """What the log says of failed starts, of GPUs that are still missing."""
    failed = events(machine, "init_failed", "probe_failed", "bar_invalid", "unsupported_gpu")
    shown = {device.bus_id for device in machine.pci or () if device.kernel_driver != "vfio-pci"}
    missing = shown - {gpu.pci_bus_id for gpu in machine.gpus} if machine.pci is not None else {""}
    unnamed = bool(missing) and not machine.os.container
    return [event for event in failed if not answers(machine, event.pci_bus_id) and (event.pci_bus_id is not None or unnamed)]


def _init_failed(machine: Machine, held: list[KernelEvent]) -> Finding:
    kinds = {event.kind for event in held}
    buses = ", ".join(dict.fromkeys(event.pci_bus_id for event in held if event.pci_bus_id))
    where = buses or tr("an unnamed place", "位置未指明")
    if "unsupported_gpu" in kinds:
        says = tr(f"this driver does not support the GPU at {where}", f"本驱动不支持这块 GPU（{where}）")
    else:
        says = tr(f"the driver could not start the GPU at {where}", f"驱动无法启动 GPU（{where}）")
    return Finding(
        status=Status.FAIL,
        summary=says,
        evidence=told(machine, held),
        remedies=(*_of_kinds(kinds), read_log("nvrm|nvidia"), reboot(), send()),
        scope=scope(machine),
        devices=indices(machine, held),
    )


def _of_kinds(kinds: set[str]) -> Iterator[Remedy]:
    """What helps against faults that the driver named."""
    if "unsupported_gpu" in kinds:
        branch = tr("Install the driver branch that supports this GPU.", "安装支持这块 GPU 的驱动分支。")
        yield Remedy(text=branch, commands=("dltool compat --gpu NAME",))
    if "bar_invalid" in kinds:
        yield Remedy(
            text=tr(
                "In the firmware's setup switch on Above 4G Decoding and Resizable BAR, or boot with pci=realloc.",
                "在固件设置中打开 Above 4G Decoding 和 Resizable BAR，或以内核参数 pci=realloc 启动。",
            ),
            commands=("sudo lspci -vvs BUS_ID", "sudo reboot"),
            risk=Risk.REBOOT,
        )


@check(
    "gsp-failed",
    caused_by=("gpu-fell-off-bus",),
    zh="""
    每块 GPU 的系统处理器（GSP）是否在运行其固件？

    从 Turing 起，驱动的大部分工作由 GPU 上的一个处理器完成。它不启动，GPU 就不启动；它挂起时（Xid 119、120），
    对驱动的每次调用都会等待。固件版本与驱动不一致、某些驱动版本的缺陷和硬件故障都会造成这种情况。

    解决：复位 GPU 或重启机器；固件文件缺失的（`ls /lib/firmware/nvidia/`），重新安装同一版本的全部驱动软件包；
    再把驱动更新到所在分支的最新补丁。使用专有内核模块的 Turing 到 Hopper GPU，还可以用
    `NVreg_EnableGpuFirmware=0` 关闭 GSP；开源内核模块没有 GSP 不能工作。

    预防：驱动的各个软件包一起升级、保持同一版本，升级后重启；生产环境使用长期支持分支的最新补丁。
    """,
)
def gsp_failed(machine: Machine) -> Iterator[Finding]:
    """Does the system processor (GSP) of each GPU run its firmware?

    From Turing on a processor on the GPU does much of the driver's work. When it does not start, the GPU does not; when it
    hangs (Xid 119, 120), every call into the driver waits. Firmware of another version than the driver, bugs of some
    drivers, and hardware faults do this.

    Mend: Reset the GPU or restart the machine. Where firmware files are missing (`ls /lib/firmware/nvidia/`), install all
    packages of the driver anew in one version; then update to the newest patch of its branch. With the proprietary module on
    Turing to Hopper the GSP can be left out by `NVreg_EnableGpuFirmware=0`; the open module cannot do without.

    Prevent: Update the packages of the driver together and restart afterwards; in production run the newest patch of a branch
    with long support.

    See: https://download.nvidia.com/XFree86/Linux-x86_64/580.65.06/README/gsp.html
    https://docs.nvidia.com/deploy/xid-errors/
    """
    inapplicable = no_gpu(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    found = [*events(machine, "gsp_failed"), *(event for event in events(machine, "xid") if event.code in (119, 120))]
    if found:
        yield _gsp_failed(machine, found)
    elif machine.gpus or machine.kernel_log is not None:
        says = tr("no failure of a GPU's system processor is known", "没有已知的 GPU 系统处理器故障")
        yield Finding(status=Status.PASS, summary=says)
    else:
        says = tr(
            "whether a GPU's system processor failed is not known: no GPU answers, and the kernel's log could not be read",
            "不知道 GPU 的系统处理器是否出过故障：没有 GPU 应答，内核日志也无法读取",
        )
        log = Evidence(fact="kernel log", value=machine.why_missing("kernel_log"), read_from="/dev/kmsg, dmesg, journalctl")
        yield Finding(status=Status.UNKNOWN, summary=says, evidence=(log,))


def _gsp_failed(machine: Machine, found: list[KernelEvent]) -> Finding:
    recent = any(is_recent(event) or not answers(machine, event.pci_bus_id) for event in found)
    no_firmware = any("firmware load" in event.text or "firmware image" in event.text for event in found)
    devices = indices(machine, found)
    if no_firmware:
        says = tr("the system processor (GSP) of a GPU found no firmware", "有 GPU 的系统处理器（GSP）找不到固件")
    else:
        says = tr("the system processor (GSP) of a GPU failed or did not answer", "有 GPU 的系统处理器（GSP）出错或没有应答")
    return Finding(
        status=Status.FAIL if recent else Status.WARN,
        summary=says,
        evidence=told(machine, found),
        remedies=(*(_firmware_files(),) * no_firmware, reset(devices), _newer_or_without_gsp(), send()),
        scope=scope(machine),
        devices=devices,
    )


def _firmware_files() -> Remedy:
    return Remedy(
        text=tr(
            "The firmware files of the driver are missing: install the driver's packages anew, all of one version.",
            "驱动的固件文件缺失：重新安装驱动的全部软件包，保持同一版本。",
        ),
        commands=("ls /lib/firmware/nvidia/", "cat /proc/driver/nvidia/version"),
        risk=Risk.READ_ONLY,
    )


def _newer_or_without_gsp() -> Remedy:
    return Remedy(
        text=tr(
            "Update the driver to the newest patch of its branch: several had bugs here. "
            "With the proprietary module on Turing to Hopper the GSP can be left out.",
            "把驱动更新到所在分支的最新补丁：有几个版本在这方面有缺陷。使用专有内核模块的 Turing 到 Hopper GPU 可以关闭 GSP。",
        ),
        commands=(
            "echo 'options nvidia NVreg_EnableGpuFirmware=0' | sudo tee /etc/modprobe.d/nvidia-gsp.conf",
            "sudo reboot",
        ),
        risk=Risk.REBOOT,
    )
