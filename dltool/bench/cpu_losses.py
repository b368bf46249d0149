"""Where a CPU's rate went: clock, threads, other programs, instructions that the library leaves unused, the kernel."""

from __future__ import annotations

from collections.abc import Iterator

from dltool import peaks as derivation
from dltool.bench.devices import Device
from dltool.bench.shares import Ceilings, peak_key
from dltool.results import Loss, Measurement
from dltool.units import percent

_BEYOND = 1.02
_NOTICED = 0.98
_CROWDED = 0.9


def cpu_losses(measurement: Measurement, device: Device, peaks: Ceilings) -> tuple[Loss, ...]:
    """The factors from the peak at the highest clock, or at the clock held, to the rate."""
    assert measurement.rate is not None
    top = peaks.max_clock or peaks.held_clock
    if top is None:
        return ()
    cores = derivation.cores_of(device.board, peak_key(measurement))
    known = [*_clock(peaks), *_threads(device, cores), *_others(measurement, device, cores)]
    left = measurement.rate / top
    for loss in known:
        left /= loss.factor
    narrow = _narrow(measurement, device, left)
    if narrow is not None:
        known.append(narrow)
        left /= narrow.factor
    return (*known, _kernel(left, device, cores))


def _clock(peaks: Ceilings) -> Iterator[Loss]:
    if peaks.max_clock and peaks.held_clock:
        text = f"the clock was {peaks.held_mhz:.0f} of {peaks.max_mhz:.0f} MHz"
        yield Loss(cause="clock", factor=peaks.held_clock / peaks.max_clock, text=text)


def _threads(device: Device, cores: float | None) -> Iterator[Loss]:
    """Cores that had no thread."""
    if cores and device.threads < cores:
        yield Loss(cause="threads", factor=device.threads / cores, text=f"{device.threads} threads for {cores:g} cores")


def _others(measurement: Measurement, device: Device, cores: float | None) -> Iterator[Loss]:
    """Time that the processors spent elsewhere; what the hypervisor took is part of what was not got.

    The peak counts no more than the cores, or the quota: threads beyond these cannot lose what it does not count.
    """
    seen = measurement.conditions
    share = seen.cpu_share
    if share is not None and cores:
        share *= max(1.0, device.threads / cores)
    quota = bool(seen.quota_wait_s)
    if share is not None and 0.001 < share < _NOTICED:
        why = " (the control group's CPU quota stopped it)" if quota else ": other programs ran, or threads waited"
        text = f"got {percent(share)} of the processors' time{why}"
        yield Loss(cause="quota" if quota else "neighbours", factor=share, text=text)
    elif seen.steal and seen.steal > 1 - _NOTICED:
        text = f"the hypervisor gave {percent(seen.steal)} of the processors' time to others"
        yield Loss(cause="neighbours", factor=1 - min(seen.steal, 0.99), text=text)


def _narrow(measurement: Measurement, device: Device, left: float) -> Loss | None:
    """A library that keeps to AVX2 where the peak is that of AVX-512: by its name, or because the rate fits it closely.

    oneMKL takes its AVX2 path on processors that are not Intel's. A rate from 70 % of the narrower peak up to all of it is
    taken as a sign, which the text says.
    """
    other = derivation.narrower(device.board, peak_key(measurement))
    if other is None or left > other.factor * _BEYOND:
        return None
    told = "avx2" in (measurement.kernel or "").casefold()
    mkl_elsewhere = measurement.settings.get("blas") == "mkl" and other.vendor != "GenuineIntel"
    if not told and not (mkl_elsewhere or left >= 0.7 * other.factor):
        return None
    known = "takes" if told else "seems to take"
    text = f"the library {known} the {other.name} path, {percent(other.factor)} of the {other.instead_of} peak"
    return Loss(cause="isa", factor=other.factor, text=text)


def _kernel(left: float, device: Device, cores: float | None) -> Loss:
    """What is left for the kernel; more threads than cores help nobody, because a second one on a core adds no arithmetic."""
    text = f"of what that leaves the kernel reaches {percent(left)}"
    if left > _BEYOND:
        text += ": more than the processor should do, so the clock was not seen well or a figure in the catalogue is too low"
    elif cores and device.threads > cores and left < _CROWDED:
        text += f", with {device.threads} threads on the {cores:g} cores that it may use, which adds no arithmetic"
    return Loss(cause="kernel", factor=left, text=text)
