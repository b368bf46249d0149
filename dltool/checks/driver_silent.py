"""A driver that is installed but refuses, hangs or crashes when it is asked for the GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.driver import has_gpu
from dltool.checks.hardware import read_log, reboot
from dltool.lang import tr
from dltool.machine import Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status


@check(
    "driver-not-answering",
    caused_by=(
        "driver-version-mismatch",
        "container-lost-gpu",
        "container-without-gpu",
        "nouveau-loaded",
        "driver-missing",
        "device-nodes-missing",
        "kernel-module-flavour",
        "gpu-fell-off-bus",
        "gpu-init-failed",
        "gsp-failed",
        "libcuda-mismatched",
    ),
    zh="""驱动能否通过 NVML 应答？

    如果查询 GPU 状态时驱动拒绝、挂起或崩溃，那么 CUDA 也已经不能用，或者很快就不能用了。

    解决：运行 `sudo dmesg | grep -iE 'xid|nvrm'` 查看内核日志；发现 Xid 时，用 `dltool doctor --explain xid-79`
    （换成对应的编号）查它的含义，然后重启机器。若是 WSL，请更新 Windows 的驱动，并运行 `wsl --update`；
    WSL 里面不要安装 Linux 驱动。

    预防：持续监视内核日志中的 Xid 错误，它们通常先于驱动挂起出现；把驱动更新到所用分支的最新版本，
    并留意 GPU 的温度和供电。
    """,
)
def driver_not_answering(machine: Machine) -> Iterator[Finding]:
    """Does the driver answer through NVML?

    A driver that refuses, hangs or crashes when asked for the GPUs' state is broken for CUDA as well, or soon will be.

    Mend: Read the kernel's log with `sudo dmesg | grep -iE 'xid|nvrm'`. If it shows an Xid, `dltool doctor --explain xid-79`
    (with its number) says what it means; then restart the machine. In WSL update the driver of Windows and run
    `wsl --update`; no Linux driver belongs inside WSL.

    Prevent: Watch the kernel's log for Xid errors, which usually come before a hang; keep the driver at the newest release of
    its branch, and look after the GPUs' temperature and power.

    See: https://docs.nvidia.com/deploy/xid-errors/ https://docs.nvidia.com/deploy/gpu-debug-guidelines/
    https://docs.nvidia.com/cuda/wsl-user-guide/
    """
    error = machine.driver.nvml_error
    if error is None and "gpus" not in machine.gaps:
        yield Finding(status=Status.PASS, summary=tr("the driver answers", "驱动有应答"))
    elif not has_gpu(machine) or machine.os.tegra:
        yield Finding(status=Status.SKIP, summary=tr("no NVIDIA GPU to answer for", "没有可供查询的 NVIDIA GPU"))
    elif error is None:
        reason = machine.why_missing("gpus")
        yield Finding(status=Status.UNKNOWN, summary=tr(f"NVML could not be asked: {reason}", f"无法通过 NVML 查询：{reason}"))
    elif error == "NVML_ERROR_LIBRARY_NOT_FOUND":
        summary = tr("no NVML library to ask (see driver-missing)", "没有 NVML 库可供查询（见 driver-missing）")
        yield Finding(status=Status.SKIP, summary=summary)
    else:
        yield _silent(machine, error)


def _silent(machine: Machine, error: str) -> Finding:
    hung = error == "timeout"
    how = {
        "timeout": tr("the driver hangs when it is asked for the GPUs", "查询 GPU 时驱动挂起"),
        "crash": tr("the driver's library crashes when it is asked for the GPUs", "查询 GPU 时驱动的库崩溃"),
    }
    return Finding(
        status=Status.FAIL,
        summary=how.get(error, tr(f"the driver does not answer: {error}", f"驱动没有应答：{error}")),
        why=tr(
            "A GPU that hangs its driver has usually fallen off the bus or stopped with an Xid error.",
            "使驱动挂起的 GPU 通常已从总线上掉线，或因 Xid 错误而停止工作。",
        )
        if hung
        else tr(
            "NVML started with an error, so nothing is known about the GPUs.",
            "NVML 初始化时出错，因此对各 GPU 的状态一无所知。",
        ),
        evidence=(Evidence(fact="NVML", value=machine.why_missing("gpus"), read_from="NVML in a child process"),),
        remedies=_remedies(machine),
        scope=Scope.HOST,
    )


def _remedies(machine: Machine) -> tuple[Remedy, ...]:
    if machine.os.wsl:
        return _wsl_remedies(machine)
    kernel_log = read_log("xid|nvrm")
    if machine.os.container and machine.driver.nvml_error == "NVML_ERROR_UNKNOWN":
        text = tr(
            "The container lost its devices (a daemon-reload on the host does that): start it anew.",
            "容器失去了它的设备（宿主机上的 daemon-reload 会造成这种情况）：请重新启动容器。",
        )
        return (Remedy(text=text, commands=("docker restart CONTAINER",)), kernel_log)
    return (kernel_log, reboot())


def _wsl_remedies(machine: Machine) -> tuple[Remedy, ...]:
    library = machine.driver.nvml_library or machine.driver.libcuda or ""
    windows = Remedy(
        text=tr(
            "In Windows: update WSL and NVIDIA's driver, then start WSL anew.",
            "在 Windows 中：更新 WSL 和 NVIDIA 驱动，然后重新启动 WSL。",
        ),
        commands=("wsl --update", "wsl --shutdown"),
    )
    if "/wsl/" in library:
        return (windows,)
    linux = Remedy(
        text=tr(
            f"Remove the Linux driver inside WSL, whose {library} hides that of Windows.",
            f"卸载 WSL 里面的 Linux 驱动，它的 {library} 遮住了 Windows 的驱动库。",
        ),
        commands=("sudo apt purge '*nvidia-driver*' 'libnvidia-compute*'", "sudo ldconfig"),
        risk=Risk.ROOT,
    )
    return (linux, windows)
