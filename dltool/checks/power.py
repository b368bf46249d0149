"""Less power than a GPU was built for: limits of boards, modes of a Jetson."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.hardware import about, is_laptop, no_answer, scope
from dltool.lang import tr
from dltool.live import board_of
from dltool.machine import Gpu, Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Status

_CAP_NOTICED = 0.98
_CAP_WARNS = 0.7
"""Of the default power limit. Down to about here people cap on purpose, for noise or heat, at little cost."""
_SAME = 0.02


@check(
    "power-capped",
    zh="""
    每块 GPU 能否使用它设计的全部功耗？

    低于默认值的功耗上限会在负载下降低频率。所有 GPU 都有的轻微限制是人为设定的；只有一块 GPU 低于其他同型号的，
    或远低于默认值的，则是设错了，或服务器认为某个电源不可靠。

    解决：没有人需要这个限制时，恢复默认值：`sudo nvidia-smi -i INDEX -pl WATTS`，默认值见 `nvidia-smi -q -d POWER`。
    设好后又变回去的，检查供电线、冗余电源和服务器的管理控制器（BMC）。

    预防：需要限制功耗时，用开机时运行的 systemd 服务统一设定并写明原因；开启持久模式，设置才不会丢失。
    """,
)
def power_capped(machine: Machine) -> Iterator[Finding]:
    """May every GPU draw the power that it was built for?

    A limit below the default lowers the clock under load. A mild one that all GPUs share was set by somebody; one GPU with less
    than its siblings, or much less than the default, is a wrong setting or a power supply that the server does not trust.

    Mend: If nobody wants the limit, set the default again: `sudo nvidia-smi -i INDEX -pl WATTS`; `nvidia-smi -q -d POWER` shows
    it. If the limit comes back, look at power cables, the redundancy of the supplies and the server's controller (BMC).

    Prevent: Where power has to be limited, do it for all GPUs in one systemd service at each start, with the reason written
    there; switch persistence on, so that settings are not lost.

    See: https://docs.nvidia.com/deploy/nvidia-smi/index.html https://docs.nvidia.com/deploy/driver-persistence/index.html
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    known = [gpu for gpu in machine.gpus if gpu.power_limit_w and gpu.power_limit_default_w]
    capped = [gpu for gpu in known if _share(gpu) < _CAP_NOTICED]
    alone = [gpu for gpu in capped if any(_share(other) > _share(gpu) + _SAME for other in known if other.name == gpu.name)]
    grave = [gpu for gpu in capped if gpu in alone or _share(gpu) < _CAP_WARNS]
    wrong = [gpu for gpu in grave if not is_laptop(gpu, board_of(gpu))]
    if not known:
        says = tr("no GPU here tells its power limit and the default of it", "这里的 GPU 都没有给出功耗上限及其默认值")
        yield Finding(status=Status.SKIP, summary=says)
    elif not capped:
        yield Finding(status=Status.PASS, summary=tr("every GPU may draw its default power", "每块 GPU 都可使用默认功耗"))
    elif wrong:
        yield _wrongly_capped(machine, wrong, known, alone=bool(alone))
    else:
        yield _capped_on_purpose(capped, known, by_maker=bool(grave))


def _capped_on_purpose(capped: list[Gpu], known: list[Gpu], *, by_maker: bool) -> Finding:
    share = f"{min(map(_share, capped)):.0%}"
    if by_maker:
        says = tr(
            f"power limited to {share} of the default by the laptop's maker", f"笔记本电脑厂商把功耗限制在默认值的 {share}"
        )
    else:
        says = tr(f"power limited to {share} of the default by somebody", f"有人把功耗限制在默认值的 {share}")
    return Finding(
        status=Status.INFO,
        summary=about(capped, says),
        evidence=_limits(known),
        devices=tuple(gpu.index for gpu in capped),
    )


def _wrongly_capped(machine: Machine, wrong: list[Gpu], known: list[Gpu], *, alone: bool) -> Finding:
    share = f"{min(map(_share, wrong)):.0%}"
    says = tr(f"power limited to {share} of the default", f"功耗被限制在默认值的 {share}")
    siblings = tr(", other than its siblings", "，与其他同型号 GPU 不同")
    return Finding(
        status=Status.WARN,
        summary=about(wrong, says + siblings if alone else says),
        evidence=_limits(known),
        remedies=(
            Remedy(
                text=tr("Set the default again, if nobody wants the limit.", "没有人需要这个限制时，恢复默认值。"),
                commands=tuple(f"sudo timeout 20 nvidia-smi -i {gpu.index} -pl {gpu.power_limit_default_w:g}" for gpu in wrong),
                risk=Risk.ROOT,
            ),
            Remedy(
                text=tr(
                    "If it comes back: look at power cables, redundancy of the supplies, and the server's controller (BMC).",
                    "若又变回去：检查供电线、电源冗余和服务器的管理控制器（BMC）。",
                )
            ),
        ),
        scope=scope(machine),
        devices=tuple(gpu.index for gpu in wrong),
    )


def _limits(gpus: list[Gpu]) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(
            fact=f"power limit of GPU {gpu.index}",
            value=f"{gpu.power_limit_w:g} W of {gpu.power_limit_default_w:g} W",
            read_from="NVML",
        )
        for gpu in gpus
    )


def _share(gpu: Gpu) -> float:
    return (gpu.power_limit_w or 0) / (gpu.power_limit_default_w or 1)


@check(
    "jetson-power-mode",
    zh="""Jetson 是否运行在最高功率模式？

    nvpmodel 的模式会限制 CPU 核数、GPU 频率和功率；出厂常为 15W 或 30W。这往往是有意的（散热、供电），所以只作提示。

    解决：`sudo nvpmodel -m 0` 切换到 MAXN，再用 `sudo jetson_clocks` 固定最高频率；部分切换需要重启。

    预防：测性能前先记下 `nvpmodel -q` 的结果。""",
)
def jetson_power_mode(machine: Machine) -> Iterator[Finding]:
    """Does a Jetson run in its mode of highest power?

    The mode that nvpmodel set limits processor cores, GPU clock and power; boards often come with 15W or 30W. That is often
    meant (cooling, supply): it is only noted.

    Mend: `sudo nvpmodel -m 0` for MAXN, then `sudo jetson_clocks` to hold the highest clocks; some changes need a restart.

    Prevent: write down what `nvpmodel -q` says before anything is measured.

    See: https://docs.nvidia.com/jetson/
    """
    mode = machine.os.tegra_power_mode
    if not machine.os.tegra:
        yield Finding(status=Status.SKIP, summary=tr("no Jetson", "不是 Jetson"))
    elif mode is None:
        yield Finding(status=Status.SKIP, summary=tr("nvpmodel has set no mode", "nvpmodel 没有设置模式"))
    elif mode.upper().startswith("MAXN"):
        yield Finding(status=Status.PASS, summary=tr(f"power mode {mode}", f"功率模式 {mode}"))
    else:
        yield Finding(
            status=Status.INFO,
            summary=tr(f"power mode {mode}: not the highest", f"功率模式 {mode}：不是最高"),
            why=tr("`sudo nvpmodel -m 0` takes the highest.", "`sudo nvpmodel -m 0` 可切换到最高。"),
            evidence=(Evidence(fact="power mode", value=mode, read_from="/var/lib/nvpmodel/status"),),
        )
