"""A driver whose two halves are of different versions."""

from __future__ import annotations

from collections.abc import Iterator

from dltool import compat
from dltool.checks import check
from dltool.checks.hardware import reboot
from dltool.lang import tr
from dltool.machine import Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status


@check(
    "driver-version-mismatch",
    caused_by=("driver-missing",),
    zh="""已加载的内核模块与驱动的库是否为同一版本？

    更新驱动的软件包之后，旧的内核模块仍留在内核里，直到被替换为止；在此期间每次调用都会失败：NVML 报
    “Driver/library version mismatch”，CUDA 报错误 803。

    解决：重启机器。若不能重启，先结束所有使用 GPU 的程序（`sudo lsof /dev/nvidia*` 可列出它们），再替换模块：
    `sudo rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && sudo modprobe nvidia`。

    预防：不要让驱动自动更新。在 Ubuntu 上，把 nvidia 和 libnvidia 写入 /etc/apt/apt.conf.d/50unattended-upgrades 的
    `Unattended-Upgrade::Package-Blacklist`；自己挑时间更新，更新后立即重启。
    """,
)
def driver_version_mismatch(machine: Machine) -> Iterator[Finding]:
    """Are the loaded kernel module and the driver's libraries of one version?

    After an update of the driver packages the old module stays loaded until it is replaced; until then every call fails with
    "Driver/library version mismatch" (NVML) or error 803 (CUDA).

    Mend: Restart the machine. Where that cannot be, end every program on the GPUs (`sudo lsof /dev/nvidia*` lists them) and
    replace the module: `sudo rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && sudo modprobe nvidia`.

    Prevent: Keep the driver out of automatic updates. On Ubuntu add nvidia and libnvidia to
    `Unattended-Upgrade::Package-Blacklist` in /etc/apt/apt.conf.d/50unattended-upgrades; update it at a time of your choice
    and restart at once.

    See: https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/
    https://github.com/NVIDIA/ubuntu-packaging-nvidia-driver/issues/3
    """
    driver = machine.driver
    module, library = driver.kernel_module_version, driver.nvml_library_version or driver.version
    refused = driver.nvml_error == "NVML_ERROR_LIB_RM_VERSION_MISMATCH"
    if module is None and not refused:
        summary = tr("no loaded kernel module to compare with", "没有已加载的内核模块可供比较")
        yield Finding(status=Status.SKIP, summary=summary)
    elif library is None and not refused:
        summary = tr("the version of the driver's libraries is not known", "不知道驱动库的版本")
        yield Finding(status=Status.UNKNOWN, summary=summary)
    elif not refused and compat.agree(module or "", library or ""):
        summary = tr(f"kernel module and libraries are both {module}", f"内核模块与驱动库均为 {module}")
        yield Finding(status=Status.PASS, summary=summary)
    else:
        yield _mismatch(machine, module, library)


def _mismatch(machine: Machine, module: str | None, library: str | None) -> Finding:
    driver = machine.driver
    ours = f" {module} " if module else "（版本不明）"
    theirs = f" {library} " if library else "（版本不明）"
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"kernel module {module or 'of another version'} and driver libraries {library or 'beside it'} do not fit",
            f"内核模块{ours}与驱动库{theirs}不一致",
        ),
        why=tr(
            "The driver was updated under the running kernel module. CUDA refuses until both halves are of one version.",
            "内核模块还在运行时，驱动被更新了。两者版本一致之前，CUDA 拒绝工作。",
        ),
        evidence=(
            Evidence(fact="kernel module", value=module, read_from="/proc/driver/nvidia/version"),
            Evidence(fact="libnvidia-ml", value=library, read_from=driver.nvml_library or "NVML"),
            Evidence(fact="NVML", value=driver.nvml_error or "started", read_from="nvmlInit"),
        ),
        remedies=_reload(machine),
        scope=Scope.HOST,
    )


def _reload(machine: Machine) -> tuple[Remedy, ...]:
    if machine.os.container:
        anew = tr(
            "The host's driver was updated while this container ran: start the container anew (or the host).",
            "容器运行期间宿主机的驱动被更新了：请重新启动容器（或重启宿主机）。",
        )
        return (Remedy(text=anew),)
    return (
        reboot(),
        Remedy(
            text=tr(
                "Or replace the module after every program on the GPUs, the desktop included, has ended.",
                "或者在所有使用 GPU 的程序（包括桌面）都结束之后替换模块。",
            ),
            commands=("sudo rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && sudo modprobe nvidia",),
            risk=Risk.ROOT,
        ),
        Remedy(
            text=tr(
                "If a restart does not help, module and libraries come from two package sources: remove one of them.",
                "如果重启无效，说明模块和库来自两个软件源：请删除其中之一。",
            ),
            commands=("modinfo -F version nvidia", "dpkg -l '*nvidia*' | grep ^ii"),
            risk=Risk.READ_ONLY,
        ),
    )
