"""The open-source driver of Linux in the place of NVIDIA's."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.driver import SYSFS
from dltool.lang import tr
from dltool.machine import Machine, PciDevice
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status

_NOT_NVIDIAS = ("nouveau", "nova_core", "nova")


@check(
    "nouveau-loaded",
    zh="""GPU 是否被开源的 nouveau（或 nova）驱动占用？

    一块 GPU 同时只能由一个内核驱动控制，而 CUDA 需要 NVIDIA 的驱动。只要 nouveau 占着它，NVIDIA 的模块要么加载后找不到设备，
    要么根本无法加载。

    解决：安装 NVIDIA 驱动；在 /etc/modprobe.d 下的文件中写入 `blacklist nouveau` 和 `options nouveau modeset=0`，
    重新生成 initramfs（`sudo update-initramfs -u`，或 `sudo dracut --force`），然后重启。

    预防：用发行版的软件包安装驱动，它会自行屏蔽 nouveau。用 NVIDIA 的 .run 安装程序时，先自己写好上述文件。
    """,
)
def nouveau_loaded(machine: Machine) -> Iterator[Finding]:
    """Does the open-source nouveau (or nova) driver hold the GPU?

    Only one kernel driver can own a GPU, and CUDA needs NVIDIA's. While nouveau holds it, NVIDIA's module loads without a
    device or not at all.

    Mend: Install NVIDIA's driver, write `blacklist nouveau` and `options nouveau modeset=0` to a file in /etc/modprobe.d,
    make the initramfs anew (`sudo update-initramfs -u`, or `sudo dracut --force`), and restart.

    Prevent: Install the driver from your distribution's packages, which keep nouveau out by themselves. With NVIDIA's .run
    installer write that file first.

    See: https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/ https://wiki.archlinux.org/title/NVIDIA
    """
    held = [device for device in machine.pci or () if device.kernel_driver in _NOT_NVIDIAS]
    if not held:
        yield Finding(status=Status.PASS, summary=tr("no GPU is held by nouveau", "没有 GPU 被 nouveau 占用"))
        return
    evidence = tuple(
        Evidence(fact=f"driver of {device.bus_id}", value=device.kernel_driver, read_from=f"{SYSFS}/{device.bus_id}/driver")
        for device in held
    )
    yield _beside_others(held, evidence) if machine.gpus else _instead(held[0], evidence)


def _beside_others(held: list[PciDevice], evidence: tuple[Evidence, ...]) -> Finding:
    """A display card beside the GPUs that compute."""
    name, count = held[0].kernel_driver, len(held)
    return Finding(
        status=Status.INFO,
        summary=tr(
            f"{name} holds {count} GPU(s), which CUDA cannot use; the others have NVIDIA's driver",
            f"{name} 占用了 {count} 块 GPU，CUDA 无法使用它们；其余 GPU 用的是 NVIDIA 驱动",
        ),
        evidence=evidence,
    )


def _instead(device: PciDevice, evidence: tuple[Evidence, ...]) -> Finding:
    name = device.kernel_driver
    return Finding(
        status=Status.FAIL,
        summary=tr(
            f"{name} holds the GPU, so NVIDIA's driver cannot: CUDA will find no device",
            f"{name} 占用了 GPU，NVIDIA 驱动无法接管：CUDA 将找不到设备",
        ),
        why=tr("The kernel gave the GPU to its own display driver when it started.", "内核启动时把 GPU 交给了自带的显示驱动。"),
        evidence=evidence,
        remedies=(
            Remedy(
                text=tr(
                    "Keep nouveau from loading, then restart (install NVIDIA's driver first if it is not there).",
                    "禁止加载 nouveau，然后重启（若还没有 NVIDIA 驱动，请先安装）。",
                ),
                commands=(
                    r"printf 'blacklist nouveau\noptions nouveau modeset=0\n' | sudo tee /etc/modprobe.d/no-nouveau.conf",
                    "sudo update-initramfs -u || sudo dracut --force",
                    "sudo reboot",
                ),
                risk=Risk.REBOOT,
            ),
        ),
        scope=Scope.HOST,
    )
