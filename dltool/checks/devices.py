"""The GPUs and their device files: are there any, and may they be opened?"""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.driver import SYSFS, from_windows, has_gpu, pci_text
from dltool.lang import tr
from dltool.machine import Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status

_WANTED = ("/dev/nvidiactl", "/dev/nvidia-uvm")
"""What CUDA opens beside the file of a GPU."""


@check(
    "gpu-absent",
    zh="""有没有 NVIDIA GPU？

    没有 GPU 的机器也是健康的：一切都在 CPU 上运行。如果本该有，那么要么 PCI 总线上看不到它，要么虚拟机或容器没有分到它。

    解决：用 `lspci -d 10de:` 列出总线上的 NVIDIA 设备。若什么都没有，请重新插好显卡并接好供电线，在固件设置中启用插槽
    和“Above 4G Decoding”；在虚拟机中，由管理程序直通 GPU；在容器中，启动时加上 `--gpus all`。

    预防：租用机器时选择带 GPU 的规格；在作业调度系统中明确申请 GPU，例如在 Slurm 中用 `--gres=gpu:1`。
    """,
)
def gpu_absent(machine: Machine) -> Iterator[Finding]:
    """Is there an NVIDIA GPU?

    A machine without one is healthy: everything runs on the CPU. If there should be one, the PCI bus
    does not show it, or the virtual machine or container was not given it.

    Mend: `lspci -d 10de:` lists the NVIDIA devices on the bus. If it shows none, seat the card and its power cables anew, and
    enable its slot and "Above 4G Decoding" in the firmware's setup. Pass the GPU through to a virtual machine; start a
    container with `--gpus all`.

    Prevent: Rent a machine type that has a GPU, and ask a job scheduler for one, Slurm by `--gres=gpu:1`.

    See: https://docs.nvidia.com/deploy/gpu-debug-guidelines/ https://slurm.schedmd.com/gres.html
    """
    here = _where(machine)
    if here is not None:
        yield Finding(status=Status.PASS, summary=here)
    elif machine.pci:
        yield Finding(
            status=Status.INFO,
            summary=tr(
                "no NVIDIA GPU for this system: all are handed to virtual machines (vfio-pci)",
                "本系统没有可用的 NVIDIA GPU：全部已分配给虚拟机（vfio-pci）",
            ),
            evidence=(Evidence(fact="PCI devices", value=pci_text(machine), read_from=SYSFS),),
        )
    elif machine.pci is None and not machine.os.wsl:
        yield Finding(
            status=Status.UNKNOWN,
            summary=tr(
                "cannot tell whether there is a GPU: neither NVML nor the PCI bus could be read",
                "无法判断有没有 GPU：NVML 和 PCI 总线都读不到",
            ),
            evidence=(Evidence(fact="pci", value=machine.why_missing("pci"), read_from=SYSFS),),
        )
    else:
        read_from = SYSFS if machine.pci is not None else "NVML"
        yield Finding(
            status=Status.INFO,
            summary=tr("no NVIDIA GPU: CPU only", "没有 NVIDIA GPU：只能使用 CPU"),
            evidence=(Evidence(fact="NVIDIA display devices", value=0, read_from=read_from),),
        )


def _where(machine: Machine) -> str | None:
    """What shows that there is a GPU for this system; None where nothing does."""
    if machine.gpus:
        return tr(f"{len(machine.gpus)} NVIDIA GPU(s) answer", f"有 {len(machine.gpus)} 块 NVIDIA GPU 应答")
    if machine.os.tegra:
        return tr(
            f"{machine.os.tegra}: the GPU is part of the chip, not on the PCI bus",
            f"{machine.os.tegra}：GPU 集成在芯片中，不在 PCI 总线上",
        )
    if machine.pci:
        if all(device.kernel_driver == "vfio-pci" for device in machine.pci):
            return None
        return tr(f"NVIDIA GPU on the PCI bus: {pci_text(machine)}", f"PCI 总线上有 NVIDIA GPU：{pci_text(machine)}")
    if from_windows(machine):
        return tr("WSL with NVIDIA's driver on the Windows side", "WSL，NVIDIA 驱动在 Windows 一侧")
    return tr("NVIDIA's kernel module is loaded", "NVIDIA 内核模块已加载") if has_gpu(machine) else None


@check(
    "device-nodes-missing",
    caused_by=("container-without-gpu", "nouveau-loaded", "driver-missing"),
    zh="""CUDA 要打开的 /dev 下的设备文件是否存在，当前用户是否有权打开？

    NVML 需要 nvidiactl 和 nvidia0；CUDA 还需要 nvidia-uvm。不通过 NVIDIA 运行时启动的容器往往只有前两个：nvidia-smi 正常，
    而 CUDA 找不到设备。

    解决：用 `docker run --gpus all IMAGE` 启动容器。在宿主机上，`sudo nvidia-modprobe -u -c=0` 会创建这些文件。如果无权打开，
    运行 `sudo usermod -aG video $USER` 加入它们所属的组，然后重新登录。

    预防：不要手工把单个设备文件挂进容器，让 NVIDIA 运行时去做。文件的权限请用驱动的模块参数
    （/etc/modprobe.d 中的 `NVreg_DeviceFileMode` 和 `NVreg_DeviceFileGID`）设置，chmod 的结果会被驱动改回去。
    """,
)
def device_nodes_missing(machine: Machine) -> Iterator[Finding]:
    """Are the files under /dev there that CUDA opens, and may this user open them?

    NVML needs nvidiactl and nvidia0; CUDA also needs nvidia-uvm. A container started without the NVIDIA runtime often has
    the first two only: nvidia-smi works and CUDA finds no device.

    Mend: Start the container with `docker run --gpus all IMAGE`. On the host `sudo nvidia-modprobe -u -c=0` makes the files.
    Where they may not be opened, join the group that owns them by `sudo usermod -aG video $USER` and log in again.

    Prevent: Don't mount single device files into containers by hand, NVIDIA's runtime does it. Set their permissions by the
    module's options (`NVreg_DeviceFileMode` and `NVreg_DeviceFileGID` in /etc/modprobe.d): the driver undoes a chmod.

    See: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html
    https://docs.nvidia.com/cuda/cuda-installation-guide-linux/
    """
    driver = machine.driver
    if machine.os.wsl or machine.os.tegra or (driver.kernel_module_version is None and not machine.gpus):
        summary = tr("no loaded kernel module that would use them", "没有加载会用到它们的内核模块")
        yield Finding(status=Status.SKIP, summary=summary)
        return
    if not driver.device_nodes and {"driver", "driver.device_nodes"} & machine.gaps.keys():
        reason = machine.why_missing("driver.device_nodes")
        yield Finding(status=Status.UNKNOWN, summary=tr(f"/dev could not be looked at: {reason}", f"无法查看 /dev：{reason}"))
        return
    nodes = {node.path: node for node in driver.device_nodes}
    numbered = [path for path in nodes if path.removeprefix("/dev/nvidia").isdigit()]
    missing = [path for path in _WANTED if path not in nodes] + ([] if numbered else ["/dev/nvidia0"])
    closed = [node.path for node in nodes.values() if not node.accessible and node.path in (*_WANTED, *numbered)]
    evidence = (Evidence(fact="device nodes", value=" ".join(nodes) or "none", read_from="/dev"),)
    if missing:
        yield _missing_nodes(machine, missing, evidence)
    if set(closed) & set(_WANTED) or (numbered and set(numbered) <= set(closed)):
        yield _closed_nodes(closed, evidence)
    elif closed:  # on shared machines a job is given a part of the GPUs
        few, many = len(closed), len(numbered)
        summary = tr(f"{few} of {many} GPUs are not for this user", f"{many} 块 GPU 中有 {few} 块不归当前用户使用")
        yield Finding(status=Status.INFO, summary=summary, evidence=evidence)
    elif not missing:
        summary = tr("the device nodes are there and may be opened", "设备文件齐全，且有权打开")
        yield Finding(status=Status.PASS, summary=summary)


def _missing_nodes(machine: Machine, missing: list[str], evidence: tuple[Evidence, ...]) -> Finding:
    if not machine.os.container:
        return Finding(
            status=Status.INFO,
            summary=tr(
                f"{' and '.join(missing)} not there yet: the driver creates it at the first use of CUDA",
                f"{'、'.join(missing)} 尚不存在：驱动会在首次使用 CUDA 时创建",
            ),
            evidence=evidence,
        )
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"missing in this container: {' '.join(missing)}; CUDA will find no device",
            f"容器中缺少 {' '.join(missing)}；CUDA 将找不到设备",
        ),
        evidence=evidence,
        remedies=(
            Remedy(
                text=tr("Start the container through the NVIDIA runtime.", "通过 NVIDIA 运行时启动容器。"),
                commands=("docker run --gpus all IMAGE",),
            ),
            Remedy(
                text=tr("If the host lacks it too, create it there.", "如果宿主机上也没有，请在宿主机上创建。"),
                commands=("sudo nvidia-modprobe -u -c=0",),
                risk=Risk.ROOT,
            ),
        ),
        scope=Scope.HOST,
    )


def _closed_nodes(closed: list[str], evidence: tuple[Evidence, ...]) -> Finding:
    paths = " ".join(closed)
    return Finding(
        status=Status.FAIL,
        summary=tr(f"this user may not open {paths}", f"当前用户无权打开 {paths}"),
        evidence=evidence,
        remedies=(
            Remedy(
                text=tr(
                    "Join the group that owns them (often video or render) and log in again.",
                    "加入它们所属的组（通常是 video 或 render），然后重新登录。",
                ),
                commands=("ls -l /dev/nvidia*", "sudo usermod -aG video $USER"),
                risk=Risk.ROOT,
            ),
        ),
        scope=Scope.HOST,
    )
