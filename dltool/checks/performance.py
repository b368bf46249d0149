"""What keeps GPUs slower than they are: heat, the power supply, and limits that somebody set."""

from __future__ import annotations

from collections.abc import Iterator

from dltool.checks import check
from dltool.checks.hardware import SEND, is_laptop, named, no_answer, scope
from dltool.live import board_of
from dltool.machine import Gpu, Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Scope, Status

_BUSY_PERCENT = 50
_HW_SLOWDOWNS = ("hw_thermal_slowdown", "hw_power_brake_slowdown")
_TOO_HOT_C = 100
"""Where the GPU does not say at which temperature it slows down: none runs so hot by design."""
_CAP_NOTICED = 0.98
_CAP_WARNS = 0.7
"""Of the default power limit. Down to about here people cap on purpose, for noise or heat, at little cost."""


@check("gpu-throttled")
def gpu_throttled(machine: Machine) -> Iterator[Finding]:
    """Is a GPU slowed down by its own protection?

    Heat (thermal slowdown) and a power supply that cannot keep up (power brake) halve the clock or worse. At its power limit a
    busy GPU lowers its clock a little (sw_power_cap): that is how it should be. Read at one moment; `dltool profile` watches.
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    judged = [(gpu, _throttle(gpu)) for gpu in machine.gpus if gpu.throttle_reasons is not None]
    slowed = [(gpu, status, why) for gpu, (status, why) in judged if status is not Status.PASS]
    if not judged:
        reason = machine.why_missing(f"gpus.{machine.gpus[0].index}.throttle_reasons")
        status = Status.SKIP if "NOT_SUPPORTED" in reason else Status.UNKNOWN
        yield Finding(status=status, summary=f"what holds the clocks back is not known: {reason}")
    elif not slowed:
        yield Finding(status=Status.PASS, summary="no GPU's protection slows it down")
    for status in (Status.WARN, Status.INFO):
        these = [(gpu, why) for gpu, its, why in slowed if its is status]
        if not these:
            continue
        yield Finding(
            status=status,
            summary=f"{named([gpu for gpu, _ in these])}: {these[0][1]}",
            evidence=tuple(_clock_evidence(gpu) for gpu, _ in these),
            remedies=(
                Remedy(
                    text="Heat: look at fans, dust, airflow, neighbouring cards. Power brake: at power cables and supply.",
                    commands=("timeout 20 nvidia-smi -q -d PERFORMANCE,TEMPERATURE,POWER",),
                    risk=Risk.READ_ONLY,
                ),
                SEND,
            )
            if status is Status.WARN
            else (),
            scope=scope(machine) if status is Status.WARN else Scope.ENVIRONMENT,
            devices=tuple(gpu.index for gpu, _ in these),
        )


def _throttle(gpu: Gpu) -> tuple[Status, str]:
    reasons = gpu.throttle_reasons or ()
    busy = (gpu.utilization_percent or 0) >= _BUSY_PERCENT
    laptop = is_laptop(gpu, None)
    for reason in _HW_SLOWDOWNS:
        if reason in reasons:
            what = "heat" if "thermal" in reason else "the power supply"
            return Status.INFO if laptop and not busy else Status.WARN, f"slowed down because of {what} ({reason})"
    if "hw_slowdown" in reasons:  # NVIDIA: may also be reported while the performance state changes
        return Status.WARN if busy else Status.INFO, "slowed down by the hardware (hw_slowdown)"
    if "sw_thermal_slowdown" in reasons:  # laptops are built to run at this limit
        return Status.INFO if laptop or not busy else Status.WARN, "slowed down because of heat (sw_thermal_slowdown)"
    if "sw_power_cap" in reasons and gpu.power_w and gpu.power_limit_w and gpu.power_w < gpu.power_limit_w / 2 and busy:
        return Status.INFO, f"held at its power cap at {gpu.power_w:g} W of {gpu.power_limit_w:g} W: something else limits it"
    if "applications_clocks_setting" in reasons and busy:
        return Status.INFO, "held at clocks that somebody set (applications_clocks_setting)"
    return Status.PASS, ""


def _clock_evidence(gpu: Gpu) -> Evidence:
    state = f"{' '.join(gpu.throttle_reasons or ())}; {gpu.sm_mhz} MHz, {gpu.temperature_c} C, {gpu.power_w} W"
    return Evidence(fact=f"clock event reasons of GPU {gpu.index}", value=state, read_from="NVML")


@check("gpu-hot")
def gpu_hot(machine: Machine) -> Iterator[Finding]:
    """Is a GPU as hot as it may get?

    At its slowdown temperature a GPU lowers its clocks, some degrees above it switches itself off.
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    known = [gpu for gpu in machine.gpus if gpu.temperature_c is not None]
    hot = [gpu for gpu in known if (gpu.temperature_c or 0) >= (gpu.temperature_slowdown_c or _TOO_HOT_C)]
    if hot:
        yield Finding(
            status=Status.WARN,
            summary=f"{named(hot)}: {max(gpu.temperature_c or 0 for gpu in hot)} C, where it lowers its clock against the heat",
            evidence=tuple(
                Evidence(
                    fact=f"temperature of GPU {gpu.index}",
                    value=f"{gpu.temperature_c} C of {gpu.temperature_slowdown_c or _TOO_HOT_C} C",
                    read_from="NVML",
                )
                for gpu in hot
            ),
            remedies=(
                Remedy(
                    text="Look at fans, dust, airflow and neighbouring cards; a server card needs the fans of a server.",
                    commands=("timeout 20 nvidia-smi -q -d TEMPERATURE",),
                    risk=Risk.READ_ONLY,
                ),
            ),
            scope=scope(machine),
            devices=tuple(gpu.index for gpu in hot),
            caused_by="gpu-throttled" if all(_throttle(gpu)[0] is Status.WARN for gpu in hot) else None,
        )
    elif known:
        warmest = max(gpu.temperature_c or 0 for gpu in known)
        yield Finding(status=Status.PASS, summary=f"no GPU is too hot: {warmest} C at most")
    else:
        reason = machine.why_missing(f"gpus.{machine.gpus[0].index}.temperature_c")
        yield Finding(status=Status.SKIP if "NOT_SUPPORTED" in reason else Status.UNKNOWN, summary=f"temperature: {reason}")


@check("power-capped")
def power_capped(machine: Machine) -> Iterator[Finding]:
    """May every GPU draw the power that it was built for?

    A limit below the default lowers the clock under load. A mild one that all GPUs share was set by somebody; one GPU with less
    than its siblings, or much less than the default, is a wrong setting or a power supply that the server does not trust.
    """
    inapplicable = no_answer(machine)
    if inapplicable is not None:
        yield inapplicable
        return
    known = [gpu for gpu in machine.gpus if gpu.power_limit_w and gpu.power_limit_default_w]
    capped = [gpu for gpu in known if _share(gpu) < _CAP_NOTICED]
    if not known:
        yield Finding(status=Status.SKIP, summary="no GPU here tells its power limit and the default of it")
        return
    if not capped:
        yield Finding(status=Status.PASS, summary="every GPU may draw its default power")
        return
    evidence = tuple(
        Evidence(
            fact=f"power limit of GPU {gpu.index}",
            value=f"{gpu.power_limit_w:g} W of {gpu.power_limit_default_w:g} W",
            read_from="NVML",
        )
        for gpu in known
    )
    alone = [gpu for gpu in capped if any(_share(other) > _share(gpu) + 0.02 for other in known if other.name == gpu.name)]
    grave = [gpu for gpu in capped if gpu in alone or _share(gpu) < _CAP_WARNS]
    laptops = [gpu for gpu in grave if is_laptop(gpu, board_of(gpu))]
    grave = [gpu for gpu in grave if gpu not in laptops]
    if not grave:
        whose = "the laptop's maker" if laptops else "somebody"
        yield Finding(
            status=Status.INFO,
            summary=f"{named(capped)}: power limited to {min(map(_share, capped)):.0%} of the default by {whose}",
            evidence=evidence,
            devices=tuple(gpu.index for gpu in capped),
        )
        return
    yield Finding(
        status=Status.WARN,
        summary=f"{named(grave)}: power limited to {min(map(_share, grave)):.0%} of the default"
        + (", other than its siblings" if alone else ""),
        evidence=evidence,
        remedies=(
            Remedy(
                text="Set the default again, if nobody wants the limit.",
                commands=tuple(f"sudo timeout 20 nvidia-smi -i {gpu.index} -pl {gpu.power_limit_default_w:g}" for gpu in grave),
                risk=Risk.ROOT,
            ),
            Remedy(
                text="If it comes back: look at power cables, redundancy of the supplies, and the server's controller (BMC)."
            ),
        ),
        scope=scope(machine),
        devices=tuple(gpu.index for gpu in grave),
    )


def _share(gpu: Gpu) -> float:
    return (gpu.power_limit_w or 0) / (gpu.power_limit_default_w or 1)
