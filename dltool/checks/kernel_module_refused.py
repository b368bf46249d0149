"""NVIDIA's kernel module against secure boot."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.hardware import events, told
from dltool.checks.kernel_module import not_here
from dltool.lang import tr
from dltool.machine import KernelEvent, Machine, ModuleFile
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status

_VENDORS = ("canonical", "red hat", "suse", "debian secure boot", "oracle", "nvidia", "fedora kernel signing")
"""Signers whose keys the firmware or the distribution's boot loader knows."""


@check(
    "secure-boot-blocks-module",
    caused_by=("nouveau-loaded", "dkms-module-missing"),
    zh="""安全启动是否允许加载驱动的内核模块？

    开启安全启动后，内核只加载用固件认识的密钥签名的模块。在本机编译的模块（DKMS、NVIDIA 的安装程序）是用本机的密钥签名的，
    机器的所有者须在屏幕前登记一次；在此之前，内核的回答是“Key was rejected by service”。

    解决：在 Ubuntu 上运行 `sudo mokutil --import /var/lib/shim-signed/mok/MOK.der`（DKMS 自己的密钥是
    /var/lib/dkms/mok.pub，Fedora 上是 /etc/pki/akmods/certs/public_key.der），设一个密码，重启，在蓝色界面选择 Enroll MOK。
    或改用发行版已签名的模块：`sudo ubuntu-drivers install`。

    预防：先用 `mokutil --sb-state` 看安全启动是否开启；在没有屏幕的机器上使用发行版已签名的模块，或在安装驱动之前登记好密钥。
    """,
)
def secure_boot_blocks_module(machine: Machine) -> Iterator[Finding]:
    """Does secure boot let the driver's kernel module in?

    With secure boot on, the kernel loads only modules signed with a key that the firmware knows. A module built here (DKMS,
    NVIDIA's installer) is signed with a key of this machine, which its owner has to enrol once, at the screen:
    "Key was rejected by service" is the answer until then.

    Mend: On Ubuntu run `sudo mokutil --import /var/lib/shim-signed/mok/MOK.der` (DKMS's own key is /var/lib/dkms/mok.pub,
    Fedora's /etc/pki/akmods/certs/public_key.der), choose a password, restart, and pick Enroll MOK at the blue screen. Or take
    a module that the distribution has signed: `sudo ubuntu-drivers install`.

    Prevent: `mokutil --sb-state` says whether secure boot is on. On machines without a screen take the signed modules of the
    distribution, or enrol the key before the driver is installed.

    See: https://wiki.debian.org/SecureBoot https://wiki.ubuntu.com/UEFI/SecureBoot
    """
    inapplicable = not_here(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    driver = machine.driver
    refused = events(machine, "module_rejected")
    if driver.secure_boot is None:
        reason = machine.why_missing("driver.secure_boot")
        summary = tr(f"whether secure boot is on: {reason}", f"不知道安全启动是否开启：{reason}")
        yield Finding(status=Status.UNKNOWN, summary=summary)
    elif not driver.secure_boot and not refused:
        yield Finding(status=Status.PASS, summary=tr("secure boot is off", "安全启动没有开启"))
    elif driver.module_file is None and not refused:
        summary = tr(
            "there is no module that could be refused (see dkms-module-missing)",
            "没有可被拒绝的模块（见 dkms-module-missing）",
        )
        yield Finding(status=Status.SKIP, summary=summary)
    elif not refused and not _home_made(driver.module_file):
        summary = tr(
            "secure boot is on; the module is not loaded and may have been refused",
            "安全启动已开启；模块没有加载，可能是被拒绝了",
        )
        yield Finding(status=Status.INFO, summary=summary, evidence=_evidence(machine, refused))
    else:
        yield _refused(_evidence(machine, refused))


def _evidence(machine: Machine, refused: list[KernelEvent]) -> tuple[Evidence, ...]:
    file = machine.driver.module_file
    signer = (file.signer or "nobody") if file and file.signer is not None else None
    return (
        Evidence(fact="secure boot", value=machine.driver.secure_boot, read_from="efivars SecureBoot"),
        Evidence(fact="module", value=file.path if file else None, read_from="modules.dep"),
        Evidence(fact="signed by", value=signer, read_from="modinfo"),
        *told(machine, refused),
    )


def _refused(evidence: tuple[Evidence, ...]) -> Finding:
    return Finding(
        status=Status.FAIL,
        summary=tr(
            "secure boot keeps the driver's kernel module out: its key is not enrolled",
            "安全启动拒绝了驱动的内核模块：其密钥尚未登记",
        ),
        evidence=evidence,
        remedies=(
            Remedy(
                text=tr(
                    "Enrol the key with which DKMS signs: choose a password, restart, and confirm at the blue screen.",
                    "登记 DKMS 签名所用的密钥：设一个密码，重启，然后在蓝色界面中确认。",
                ),
                commands=(
                    "sudo mokutil --import /var/lib/shim-signed/mok/MOK.der || sudo mokutil --import /var/lib/dkms/mok.pub",
                    "sudo reboot",
                ),
                risk=Risk.REBOOT,
            ),
            Remedy(
                text=tr("Or use the module that the distribution has signed.", "或使用发行版已签名的模块。"),
                commands=("sudo ubuntu-drivers install", "sudo reboot"),
                risk=Risk.REBOOT,
            ),
            Remedy(
                text=tr(
                    "Or, as the last resort, switch secure boot off in the firmware's setup.",
                    "最后的办法，是在固件设置中关闭安全启动。",
                ),
                risk=Risk.REBOOT,
            ),
        ),
        scope=Scope.HOST,
    )


def _home_made(file: ModuleFile | None) -> bool:
    """Whether a module was built on this machine, or carries no signature."""
    if file is None:
        return False
    if file.signer is not None and (not file.signer or any(vendor in file.signer.lower() for vendor in _VENDORS)):
        return not file.signer
    return "dkms" in file.path or "akmod" in file.path or bool(file.signer) or "/extra/" in file.path
