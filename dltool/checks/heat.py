"""GPUs that are slower than they are: too hot, or held back by their own protection."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.hardware import about, is_busy, is_laptop, no_answer, scope, send
from dltool.lang import tr
from dltool.machine import Gpu, Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status

_HW_SLOWDOWNS = ("hw_thermal_slowdown", "hw_power_brake_slowdown")
_TOO_HOT_C = 100
"""Where the GPU does not say at which temperature it slows down: none runs so hot by design."""


@check(
    "gpu-throttled",
    zh="""
    GPU 是否因自身保护而降频？

    过热（thermal slowdown）和供电不足（power brake）会使频率减半甚至更低。忙碌的 GPU 达到功耗上限时会略微降频
    （sw_power_cap），这是正常的。这里只看一个时刻；`dltool profile` 会持续观察。

    解决：过热的，检查风扇、积灰、风道和相邻的卡；供电不足的，检查供电线和电源；有人锁定了频率的，
    用 `sudo nvidia-smi -i INDEX -rac` 或 `-rgc` 恢复。用 `nvidia-smi -q -d PERFORMANCE,TEMPERATURE,POWER` 查看现状。

    预防：服务器卡（被动散热）只装在有足够风量的机箱里；电源按峰值功耗留出余量；定期清灰；
    长时间训练时监控 `clocks_event_reasons`。
    """,
)
def gpu_throttled(machine: Machine) -> Iterator[Finding]:
    """Is a GPU slowed down by its own protection?

    Heat (thermal slowdown) and a power supply that cannot keep up (power brake) halve the clock or worse. At its power limit a
    busy GPU lowers its clock a little (sw_power_cap): that is how it should be. Read at one moment; `dltool profile` watches.

    Mend: Against heat look at fans, dust, airflow and neighbouring cards; against a power brake at power cables and supply.
    Clocks that somebody set go back with `sudo nvidia-smi -i INDEX -rac` or `-rgc`. The present state is shown by
    `nvidia-smi -q -d PERFORMANCE,TEMPERATURE,POWER`.

    Prevent: Put server cards (without fans) only where a server's fans blow through them; size the power supply for peaks;
    clean out the dust; watch `clocks_event_reasons` in long trainings.

    See: https://docs.nvidia.com/deploy/nvml-api/group__nvmlClocksEventReasons.html
    https://docs.nvidia.com/deploy/nvidia-smi/index.html
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    judged = [(gpu, *_throttle(gpu)) for gpu in machine.gpus if gpu.throttle_reasons is not None]
    if not judged:
        reason = machine.why_missing(f"gpus.{machine.gpus[0].index}.throttle_reasons")
        says = tr(f"what holds the clocks back is not known: {reason}", f"不知道是什么限制了频率：{reason}")
        yield Finding(status=_untold(reason), summary=says)
    elif all(status is Status.PASS for _, status, _ in judged):
        yield Finding(status=Status.PASS, summary=tr("no GPU's protection slows it down", "没有 GPU 因保护而降频"))
    for status in (Status.WARN, Status.INFO):
        these = [(gpu, says) for gpu, its, says in judged if its is status]
        if these:
            yield _slowed(machine, [gpu for gpu, _ in these], status, these[0][1])


def _untold(reason: str) -> Status:
    """What a GPU does not have is left out; what could not be read is not known."""
    return Status.SKIP if "NOT_SUPPORTED" in reason else Status.UNKNOWN


def _slowed(machine: Machine, gpus: list[Gpu], status: Status, says: str) -> Finding:
    warns = status is Status.WARN
    look = Remedy(
        text=tr(
            "Heat: look at fans, dust, airflow, neighbouring cards. Power brake: at power cables and supply.",
            "过热：检查风扇、积灰、风道和相邻的卡。供电不足（power brake）：检查供电线和电源。",
        ),
        commands=("timeout 20 nvidia-smi -q -d PERFORMANCE,TEMPERATURE,POWER",),
        risk=Risk.READ_ONLY,
    )
    return Finding(
        status=status,
        summary=about(gpus, says),
        evidence=tuple(map(_clock_evidence, gpus)),
        remedies=(look, send()) if warns else (),
        scope=scope(machine) if warns else Scope.ENVIRONMENT,
        devices=tuple(gpu.index for gpu in gpus),
    )


def _throttle(gpu: Gpu) -> tuple[Status, str]:
    """Whether a GPU is held back now, and by what."""
    reasons = gpu.throttle_reasons or ()
    busy, laptop = is_busy(gpu), is_laptop(gpu, None)
    reason = next((reason for reason in _HW_SLOWDOWNS if reason in reasons), None)
    if reason is not None:
        return Status.INFO if laptop and not busy else Status.WARN, _by_protection(reason)
    if "hw_slowdown" in reasons:  # NVIDIA: may also be reported while the performance state changes
        says = tr("slowed down by the hardware (hw_slowdown)", "被硬件降频（hw_slowdown）")
        return Status.WARN if busy else Status.INFO, says
    if "sw_thermal_slowdown" in reasons:  # laptops are built to run at this limit
        return Status.INFO if laptop or not busy else Status.WARN, _by_protection("sw_thermal_slowdown")
    return _set_by_somebody(gpu, reasons) if busy else (Status.PASS, "")


def _by_protection(reason: str) -> str:
    if "thermal" in reason:
        return tr(f"slowed down because of heat ({reason})", f"因过热而降频（{reason}）")
    return tr(f"slowed down because of the power supply ({reason})", f"因供电不足而降频（{reason}）")


def _set_by_somebody(gpu: Gpu, reasons: tuple[str, ...]) -> tuple[Status, str]:
    """Limits of a busy GPU that are no protection of its own."""
    power, limit = gpu.power_w, gpu.power_limit_w
    if "sw_power_cap" in reasons and power and limit and power < limit / 2:
        return Status.INFO, tr(
            f"held at its power cap at {power:g} W of {limit:g} W: something else limits it",
            f"功耗只有 {power:g} W、上限 {limit:g} W 时就被功耗限制压住：另有原因在限制它",
        )
    if "applications_clocks_setting" in reasons:
        return Status.INFO, tr(
            "held at clocks that somebody set (applications_clocks_setting)", "频率被人为设定（applications_clocks_setting）"
        )
    return Status.PASS, ""


def _clock_evidence(gpu: Gpu) -> Evidence:
    state = f"{' '.join(gpu.throttle_reasons or ())}; {gpu.sm_mhz} MHz, {gpu.temperature_c} C, {gpu.power_w} W"
    return Evidence(fact=f"clock event reasons of GPU {gpu.index}", value=state, read_from="NVML")


@check(
    "gpu-hot",
    zh="""
    是否有 GPU 已热到极限？

    达到降频温度时 GPU 会降低频率，再高几度就会自行关闭。

    解决：检查风扇、积灰、风道和相邻的卡；服务器卡需要服务器的风扇。来不及处理时，先用
    `sudo nvidia-smi -i INDEX -pl WATTS` 降低功耗上限。

    预防：机房温度留出余量，多卡之间留出间距，定期清灰，监控 `nvidia-smi -q -d TEMPERATURE`。
    """,
)
def gpu_hot(machine: Machine) -> Iterator[Finding]:
    """Is a GPU as hot as it may get?

    At its slowdown temperature a GPU lowers its clocks, some degrees above it switches itself off.

    Mend: Look at fans, dust, airflow and neighbouring cards; a server card needs the fans of a server. Until that is done,
    lower the power limit: `sudo nvidia-smi -i INDEX -pl WATTS`.

    Prevent: Keep the room cool enough and space between cards, clean out the dust, and watch `nvidia-smi -q -d TEMPERATURE`.

    See: https://docs.nvidia.com/deploy/nvidia-smi/index.html https://docs.nvidia.com/deploy/gpu-debug-guidelines/index.html
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    temperatures = {gpu.index: gpu.temperature_c for gpu in machine.gpus if gpu.temperature_c is not None}
    hot = [gpu for gpu in machine.gpus if (gpu.temperature_c or 0) >= _too_hot_c(gpu)]
    if hot:
        yield _hot(machine, hot)
    elif temperatures:
        most = max(temperatures.values())
        yield Finding(status=Status.PASS, summary=tr(f"no GPU is too hot: {most} C at most", f"没有 GPU 过热：最高 {most} °C"))
    else:
        reason = machine.why_missing(f"gpus.{machine.gpus[0].index}.temperature_c")
        yield Finding(status=_untold(reason), summary=tr(f"temperature: {reason}", f"无法读取温度：{reason}"))


def _too_hot_c(gpu: Gpu) -> int:
    return gpu.temperature_slowdown_c or _TOO_HOT_C


def _hot(machine: Machine, gpus: list[Gpu]) -> Finding:
    most = max(gpu.temperature_c or 0 for gpu in gpus)
    says = tr(f"{most} C, where it lowers its clock against the heat", f"{most} °C，已到因过热而降频的温度")
    cool = Remedy(
        text=tr(
            "Look at fans, dust, airflow and neighbouring cards; a server card needs the fans of a server.",
            "检查风扇、积灰、风道和相邻的卡；服务器卡需要服务器的风扇。",
        ),
        commands=("timeout 20 nvidia-smi -q -d TEMPERATURE",),
        risk=Risk.READ_ONLY,
    )
    return Finding(
        status=Status.WARN,
        summary=about(gpus, says),
        evidence=tuple(
            Evidence(
                fact=f"temperature of GPU {gpu.index}", value=f"{gpu.temperature_c} C of {_too_hot_c(gpu)} C", read_from="NVML"
            )
            for gpu in gpus
        ),
        remedies=(cool,),
        scope=scope(machine),
        devices=tuple(gpu.index for gpu in gpus),
        caused_by="gpu-throttled" if all(_throttle(gpu)[0] is Status.WARN for gpu in gpus) else None,
    )
