"""The driver: is there a GPU that wants one, and is it installed, module and libraries?"""

from __future__ import annotations

from collections.abc import Iterator

from dltool import texts
from dltool.checks import check
from dltool.lang import tr
from dltool.machine import Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status

SYSFS = "/sys/bus/pci/devices"


def pci_text(machine: Machine) -> str:
    """The NVIDIA devices on the PCI bus in one line."""
    return ", ".join(f"{device.bus_id} ({device.device_id})" for device in machine.pci or ())


def _host_gpus(machine: Machine) -> list[str]:
    """Bus ids of the GPUs that are meant for this system: one bound to vfio-pci belongs to a virtual machine."""
    return [device.bus_id for device in machine.pci or () if device.kernel_driver != "vfio-pci"]


def has_gpu(machine: Machine) -> bool:
    """Whether anything says that there is an NVIDIA GPU for this system."""
    kernel_module = machine.driver.kernel_module_version is not None
    return bool(machine.gpus or _host_gpus(machine) or machine.os.tegra or kernel_module or from_windows(machine))


def from_windows(machine: Machine) -> bool:
    """Whether this is WSL with NVIDIA's driver on the Windows side: its libraries are here, its module and the GPU are not."""
    return machine.os.wsl and bool(machine.driver.nvml_library or machine.driver.libcuda)


def install_driver(machine: Machine) -> tuple[Remedy, ...]:
    """How to get a driver, as far as the distribution is known."""
    if machine.os.container:
        return (
            Remedy(
                text=tr(
                    "Start the container with the host's GPUs (the host needs the driver and nvidia-container-toolkit).",
                    "启动容器时带上宿主机的 GPU（宿主机需要安装驱动和 nvidia-container-toolkit）。",
                ),
                commands=("docker run --rm --gpus all IMAGE nvidia-smi",),
            ),
        )
    name = machine.os.distribution or ""
    row = next((row for row in texts.rows("driver_install") if name.startswith(row["distribution"])), None)
    if row is None:
        unknown = tr(
            "Install NVIDIA's driver as your distribution documents it, then restart.",
            "按所用发行版的文档安装 NVIDIA 驱动，然后重启。",
        )
        return (Remedy(text=unknown, risk=Risk.REBOOT),)
    text = tr(f"Install the driver ({row['note']}), then restart.", f"安装驱动（{row['note']}），然后重启。")
    return (Remedy(text=text, commands=(row["commands"], "sudo reboot"), risk=Risk.REBOOT),)


@check(
    "driver-missing",
    caused_by=(
        "container-without-gpu",
        "nouveau-loaded",
        "dkms-module-missing",
        "secure-boot-blocks-module",
        "kernel-module-flavour",
    ),
    zh="""NVIDIA 驱动是否已安装，内核模块和库是否齐全？

    没有驱动，GPU 就无法使用。这时要么没有 `nvidia-smi`，要么它报告无法与驱动通信。

    解决：从发行版的软件源安装驱动并重启，例如在 Ubuntu 上运行 `sudo ubuntu-drivers install`。如果库已装好，只是内核模块
    没有加载，运行 `sudo modprobe nvidia`，它会给出原因。在容器里，驱动是宿主机的：请带 `--gpus all` 启动容器。

    预防：驱动只从一个软件源安装，并保留内核头文件，这样每次更新内核时模块都会随之重新编译；更新内核并重启后，
    运行 `nvidia-smi` 确认。
    """,
)
def driver_missing(machine: Machine) -> Iterator[Finding]:
    """Is NVIDIA's driver installed, its kernel module and its libraries?

    A GPU without its driver is a device that nothing can use. `nvidia-smi` is then missing or says that it cannot
    communicate with the driver.

    Mend: Install the driver from your distribution's packages and restart, on Ubuntu by `sudo ubuntu-drivers install`. Where
    its libraries are there and only the kernel module is not loaded, `sudo modprobe nvidia` tells why. In a container the
    driver is the host's: start it with `--gpus all`.

    Prevent: Install the driver from one package source and keep the kernel's headers installed, so that its module is built
    anew with every update of the kernel; after such an update and a restart, look with `nvidia-smi`.

    See: https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/
    """
    driver = machine.driver
    if not has_gpu(machine) or machine.os.tegra:
        yield Finding(status=Status.SKIP, summary=tr("no NVIDIA GPU on the PCI bus", "PCI 总线上没有 NVIDIA GPU"))
        return
    if machine.gpus or driver.version:
        version = driver.version or "?"
        yield Finding(status=Status.PASS, summary=tr(f"driver {version} is installed", f"已安装驱动 {version}"))
        return
    if from_windows(machine):
        summary = tr("the driver is that of the Windows host", "驱动在 Windows 主机一侧")
        yield Finding(status=Status.SKIP, summary=summary)
        return
    if driver.modules is None and driver.kernel_module_version is None and "driver.kernel_module_version" not in machine.gaps:
        reason = machine.why_missing("driver.kernel_module_version")
        summary = tr(f"the kernel could not be asked: {reason}", f"无法向内核查询：{reason}")
        yield Finding(status=Status.UNKNOWN, summary=summary)
        return
    yield _halves(machine)


def _halves(machine: Machine) -> Finding:
    """Which of the driver's two halves is there: the kernel module, the libraries."""
    driver = machine.driver
    module = driver.kernel_module_version is not None or "nvidia" in (driver.modules or ())
    library = driver.nvml_error != "NVML_ERROR_LIBRARY_NOT_FOUND"
    if module and library:
        version = driver.kernel_module_version
        summary = tr(f"kernel module {version} and libraries are installed", f"内核模块 {version} 和驱动库均已安装")
        return Finding(status=Status.PASS, summary=summary)
    why_no_module = machine.why_missing("driver.kernel_module_version")
    evidence = (
        Evidence(fact="GPU", value=pci_text(machine) or "behind a loaded kernel module", read_from=SYSFS),
        Evidence(
            fact="kernel module", value=driver.kernel_module_version or why_no_module, read_from="/proc/driver/nvidia/version"
        ),
        Evidence(
            fact="libnvidia-ml.so.1", value="found" if library else machine.why_missing("gpus"), read_from="dynamic loader"
        ),
    )
    if module:
        return _no_library(machine, evidence)
    if library:
        return _not_loaded(evidence)
    return Finding(
        status=Status.FAIL,
        summary=tr("there is an NVIDIA GPU, but no NVIDIA driver is installed", "有 NVIDIA GPU，但没有安装 NVIDIA 驱动"),
        evidence=evidence,
        remedies=install_driver(machine),
        scope=Scope.HOST,
    )


def _not_loaded(evidence: tuple[Evidence, ...]) -> Finding:
    return Finding(
        status=Status.FAIL,
        summary=tr(
            "the driver's libraries are installed, but its kernel module is not loaded", "驱动的库已安装，但内核模块没有加载"
        ),
        why=tr(
            "The module failed to build for the running kernel, was not signed for secure boot, or was never loaded.",
            "该模块没能为当前内核编译成功，或没有为安全启动签名，或从未加载过。",
        ),
        evidence=evidence,
        remedies=(
            Remedy(
                text=tr(
                    "Load it; the kernel's answer tells why it cannot (key rejected: secure boot; not found: not built).",
                    "加载它；若失败，内核的回答就是原因（key rejected：安全启动拒绝；not found：没有编译出来）。",
                ),
                commands=("sudo modprobe nvidia", "sudo dmesg | grep -iE 'nvrm|nvidia' | tail -20", "dkms status"),
                risk=Risk.ROOT,
            ),
        ),
        scope=Scope.HOST,
    )


def _no_library(machine: Machine, evidence: tuple[Evidence, ...]) -> Finding:
    """NVML is absent although the kernel module runs: harmless for CUDA itself if libcuda is there."""
    if machine.os.container:
        remedies: tuple[Remedy, ...] = (
            Remedy(
                text=tr("Give the container the driver's libraries.", "让容器得到驱动的库。"),
                commands=("docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility IMAGE",),
            ),
        )
    else:
        remedies = install_driver(machine)  # the module's version may be one that the package source no longer has
    cuda = machine.driver.libcuda is not None
    return Finding(
        status=Status.WARN if cuda else Status.FAIL,
        summary=tr(
            "CUDA's library is here but NVML's is not: nvidia-smi and monitoring do not work",
            "CUDA 的库在，NVML 的库不在：nvidia-smi 和监控无法工作",
        )
        if cuda
        else tr("the kernel module is loaded, but the driver's libraries are missing", "内核模块已加载，但缺少驱动的库"),
        evidence=evidence,
        remedies=remedies,
        scope=Scope.ENVIRONMENT if machine.os.container else Scope.HOST,
    )
