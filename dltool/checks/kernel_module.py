"""NVIDIA's kernel module: is it there for the kernel that runs?"""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.driver import from_windows, has_gpu
from dltool.lang import tr
from dltool.machine import DkmsModule, Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status


def not_here(machine: Machine) -> Finding | None:
    """Why the file of the module does not matter or cannot be seen here; None where it does and can."""
    if not has_gpu(machine) or machine.os.tegra:
        return Finding(status=Status.SKIP, summary=tr("no NVIDIA GPU on the PCI bus", "PCI 总线上没有 NVIDIA GPU"))
    if from_windows(machine) or machine.os.wsl:
        return Finding(status=Status.SKIP, summary=tr("the driver is that of the Windows host", "驱动在 Windows 主机一侧"))
    if machine.os.container:
        summary = tr("the kernel and its modules are the host's", "内核及其模块属于宿主机")
        return Finding(status=Status.SKIP, summary=summary)
    if _loaded(machine):
        return Finding(status=Status.PASS, summary=tr("the kernel module is loaded", "内核模块已加载"))
    return None


def _loaded(machine: Machine) -> bool:
    driver = machine.driver
    return driver.kernel_module_version is not None or "nvidia" in (driver.modules or ()) or bool(machine.gpus)


@check(
    "dkms-module-missing",
    caused_by=("nouveau-loaded",),
    zh="""当前运行的内核有没有对应的驱动内核模块？

    内核更新之后，DKMS 必须重新编译模块，为此需要新内核的头文件和合适的编译器。编译失败的话，下次重启后驱动就没了。
    提供预编译模块的发行版则需要安装与新内核对应的软件包。

    解决：安装内核头文件：`sudo apt install linux-headers-$(uname -r)`（Fedora、Red Hat 用
    `sudo dnf install kernel-devel-$(uname -r)`）；然后 `sudo dkms autoinstall`，再 `sudo modprobe nvidia`。若编译失败，
    原因在 /var/lib/dkms/nvidia/VERSION/build/make.log 中。

    预防：安装头文件的元软件包（Ubuntu 上是 `linux-headers-generic`），这样新内核会自带头文件；
    更新内核之后、重启之前，用 `dkms status` 确认模块已经编译好。
    """,
)
def dkms_module_missing(machine: Machine) -> Iterator[Finding]:
    """Is there a kernel module of the driver for the kernel that runs?

    After an update of the kernel DKMS has to build the module anew, for which it needs that kernel's headers and a fitting
    compiler. Where that failed, the driver is gone after the next restart. Distributions with ready-built modules need the
    package for the new kernel.

    Mend: Install the kernel's headers with `sudo apt install linux-headers-$(uname -r)` (Fedora, Red Hat:
    `sudo dnf install kernel-devel-$(uname -r)`), then `sudo dkms autoinstall` and `sudo modprobe nvidia`. If the module cannot
    be built, /var/lib/dkms/nvidia/VERSION/build/make.log says why.

    Prevent: Install the package that always brings the newest kernel's headers (on Ubuntu `linux-headers-generic`), and see
    with `dkms status` that the module is built after an update of the kernel, before the restart.

    See: https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/ https://github.com/dell/dkms
    """
    inapplicable = not_here(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    driver, kernel = machine.driver, machine.os.kernel or "?"
    unbuilt = [module for module in driver.dkms or () if machine.os.kernel not in module.kernels]
    library = driver.nvml_library or driver.libcuda
    if driver.module_file is not None:
        path = driver.module_file.path
        summary = tr(f"{path} is there for kernel {kernel}", f"内核 {kernel} 有对应的 {path}")
        yield Finding(status=Status.PASS, summary=summary)
    elif "driver.module_file" in machine.gaps or (machine.pci is None and driver.dkms is None) or not machine.pci:
        reason = machine.why_missing("driver.module_file")
        yield Finding(status=Status.UNKNOWN, summary=tr(f"the modules of the kernel: {reason}", f"无法查看内核模块：{reason}"))
    elif unbuilt:
        yield _not_built(machine, kernel, unbuilt[-1])
    elif library:
        yield _not_installed(machine, kernel, library)
    else:
        summary = tr("no driver is installed (see driver-missing)", "没有安装驱动（见 driver-missing）")
        yield Finding(status=Status.SKIP, summary=summary)


def _not_built(machine: Machine, kernel: str, module: DkmsModule) -> Finding:
    version = module.version
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"DKMS has the driver {version}, but no module of it for the running kernel {kernel}",
            f"DKMS 中有驱动 {version}，但没有为当前运行的内核 {kernel} 编译出模块",
        ),
        evidence=(
            Evidence(fact="built for", value=" ".join(module.kernels) or "no kernel", read_from="/var/lib/dkms"),
            Evidence(fact="running kernel", value=machine.os.kernel, read_from="uname"),
        ),
        remedies=(
            Remedy(
                text=tr(
                    "Install the kernel's headers and build the module; its log tells why it cannot be built.",
                    "安装内核头文件并编译模块；若编译失败，日志会说明原因。",
                ),
                commands=(
                    "sudo apt install linux-headers-$(uname -r) || sudo dnf install kernel-devel-$(uname -r)",
                    "sudo dkms autoinstall",
                    "sudo modprobe nvidia",
                    f"tail -40 /var/lib/dkms/nvidia/{version}/build/make.log",
                ),
                risk=Risk.ROOT,
            ),
            Remedy(
                text=tr(
                    "Or start the kernel that it was built for, from the boot menu.",
                    "或在启动菜单中选择模块已编译好的那个内核。",
                ),
                risk=Risk.REBOOT,
            ),
        ),
        scope=Scope.HOST,
    )


def _not_installed(machine: Machine, kernel: str, library: str) -> Finding:
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"the driver's libraries are here, but no kernel module for the running kernel {kernel}",
            f"驱动的库在，但没有当前运行的内核 {kernel} 所需的内核模块",
        ),
        evidence=(
            Evidence(fact="nvidia.ko", value="not listed", read_from=f"/lib/modules/{machine.os.kernel}/modules.dep"),
            Evidence(fact="library", value=library, read_from="dynamic loader"),
        ),
        remedies=(
            Remedy(
                text=tr(
                    "Install the module for this kernel; after an update of the kernel, restart first.",
                    "为该内核安装模块；如果刚更新过内核，请先重启。",
                ),
                commands=("uname -r; ls /lib/modules", "sudo ubuntu-drivers install || sudo dkms autoinstall"),
                risk=Risk.ROOT,
            ),
        ),
        scope=Scope.HOST,
    )
