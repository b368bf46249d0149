"""Where a GPU's rate went: from the datasheet's peak through clock, waves of tiles and memory to the kernel."""

from __future__ import annotations

from collections.abc import Iterator

from dltool import tables
from dltool.bench import tiles
from dltool.bench.devices import Device
from dltool.bench.shares import Ceilings, peak_key
from dltool.bench.tiles import Tiling
from dltool.results import Loss, Measurement
from dltool.units import percent, rate

_ALIGNED_BYTES = 16
_BEYOND = 1.02
"""A share above this refutes an estimate; below, it may be the noise of clock and time."""


def gpu_losses(measurement: Measurement, device: Device, peaks: Ceilings) -> tuple[Loss, ...]:
    """The factors from the first known peak to the rate; the last one is what the kernel makes of what the others leave."""
    assert measurement.rate is not None
    assert peaks.datasheet is not None
    if peaks.held_clock is None:
        return (_kernel(measurement, measurement.rate / peaks.datasheet, at_clock=False),)
    clocks = list(_clock_losses(measurement, device, peaks))
    shape = _shape_losses(measurement, device, peaks.held_clock)
    left = measurement.rate / peaks.held_clock
    for loss in shape:
        left /= loss.factor
    return (*clocks, *shape, _kernel(measurement, left, at_clock=bool(clocks)))


# --- clock ------------------------------------------------------------------------------------------------------------


def _clock_losses(measurement: Measurement, device: Device, peaks: Ceilings) -> Iterator[Loss]:
    """Up from the datasheet's clock to the highest, and down from there to the one that was held."""
    assert peaks.datasheet is not None
    assert peaks.held_clock is not None
    if peaks.max_clock is None:
        yield _held(measurement, device, peaks, peaks.held_clock / peaks.datasheet, of_mhz=peaks.quoted_mhz)
        return
    boost = f"the datasheet counts at {peaks.quoted_mhz:.0f} MHz, this device may run at {peaks.max_mhz:.0f} MHz"
    yield Loss(cause="boost", factor=peaks.max_clock / peaks.datasheet, text=boost)
    yield _held(measurement, device, peaks, peaks.held_clock / peaks.max_clock, of_mhz=peaks.max_mhz)


def _held(measurement: Measurement, device: Device, peaks: Ceilings, factor: float, *, of_mhz: float | None) -> Loss:
    clocks = f"{peaks.held_mhz:.0f} of {of_mhz:.0f} MHz"
    if peaks.quoted_mhz and abs(peaks.quoted_mhz / (of_mhz or 1.0) - 1) > 0.01:
        clocks += f" (datasheet: {peaks.quoted_mhz:.0f})"
    reason = _reason(measurement) if factor < 0.995 else None
    if reason is None:
        why = "" if measurement.conditions.throttle is None or factor >= 0.995 else ", and the driver tells no reason"
        return Loss(cause="clock", factor=factor, text=f"the clock was {clocks}{why}")
    heat = measurement.conditions.temperature_c
    hot = f" at {heat.maximum:.0f} °C" if heat is not None and reason["cause"] == "thermal" else ""
    text = f"{reason['words']}{hot} held {clocks}"
    lowered = next((found for found in device.board.differences if found.startswith("power limit")), None)
    if reason["cause"] == "power" and lowered:
        return Loss(cause="power", factor=factor, text=f"{text} ({lowered.partition(':')[0]})")
    if reason["normal"]:
        return Loss(cause=reason["cause"], factor=factor, text=f"{text}, {reason['normal']}")
    note = f" ({reason['note']})" if reason["note"] else ""
    return Loss(cause=reason["cause"], factor=factor, text=f"{text}, which is not normal{note}")


def _reason(measurement: Measurement) -> tables.Row | None:
    """The gravest of the reasons that the driver told."""
    told = set(measurement.conditions.throttle or ())
    return next((row for row in tables.rows("clock_reasons") if row["reason"] in told), None)


# --- shape ------------------------------------------------------------------------------------------------------------


def _shape_losses(measurement: Measurement, device: Device, ceiling: float) -> tuple[Loss, ...]:
    """Waves and tiles, then memory: estimates, each of which holds only as long as the rate does not refute it."""
    assert measurement.rate is not None
    share = measurement.rate / ceiling
    losses = tuple(_tile_losses(_tiling(measurement, device, share)))
    for loss in losses:
        ceiling *= loss.factor
    fed = _fed_by_memory(measurement, device)
    if fed is None or fed >= ceiling or measurement.rate > fed * _BEYOND:
        return losses
    intensity = measurement.work.ops / measurement.work.bytes
    text = f"memory feeds {rate(fed, measurement.rate_unit)} at {intensity:.3g} operations a byte"
    return (*losses, Loss(cause="bandwidth", factor=fed / ceiling, text=text))


def _tiling(measurement: Measurement, device: Device, share: float) -> tuple[Tiling, bool] | None:
    """The tiling, and whether the kernel's name told it; None where nothing is known or the rate is above what it allows."""
    m, n, sms = measurement.params.get("m"), measurement.params.get("n"), device.board.sms
    if not isinstance(m, int) or not isinstance(n, int) or not sms or tiles.splits_k(measurement.kernel):
        return None
    told = tiles.of_kernel(measurement.kernel)
    # libraries that store by columns compute the transposed product
    choices = [(told, told[::-1])] if told else [tiles.usual(m, n, large=True), tiles.usual(m, n, large=False)]
    for sizes in filter(None, choices):
        found = tiles.best(m, n, sms, sizes)
        if share <= found.efficiency * _BEYOND:
            return found, told is not None
    return None


def _tile_losses(found: tuple[Tiling, bool] | None) -> Iterator[Loss]:
    if found is None:
        return
    cut, told = found
    size = f"{cut.tile[0]}x{cut.tile[1]}" + ("" if told else " (assumed)")
    waves = "one wave" if cut.waves == 1 else f"{cut.waves} waves"
    if cut.filling < 1:
        text = f"{cut.tiles} tiles of {size} fill {percent(cut.filling)} of {waves}"
        yield Loss(cause="quantisation", factor=cut.filling, text=text)
    if cut.padding < 1:
        text = f"{percent(1 - cut.padding)} of the tiles of {size} lie outside of the matrix"
        yield Loss(cause="shape", factor=cut.padding, text=text)


def _fed_by_memory(measurement: Measurement, device: Device) -> float | None:
    """Operations per second that memory can feed when every byte is moved once."""
    work, gb_per_s = measurement.work, device.board.memory_gb_per_s
    if not work.bytes or not work.ops or not gb_per_s or measurement.rate_unit == "B/s":
        return None
    return work.ops / work.bytes * gb_per_s * 1e9


# --- kernel -----------------------------------------------------------------------------------------------------------


def _kernel(measurement: Measurement, left: float, *, at_clock: bool) -> Loss:
    """What is left for the kernel itself; a share that the hardware does not allow is called so."""
    if measurement.rate_unit == "B/s":
        reaches = f"{percent(left)} of the bandwidth of the datasheet"
        beyond = ": a cache delivered part of it" if left > _BEYOND else ""
        return Loss(cause="kernel", factor=left, text=reaches + beyond)
    odd = _misaligned(measurement)
    where = "at that clock " if at_clock else ""
    text = f"{where}the kernel reaches {percent(left)}"
    if left > _BEYOND:
        text += ": more than the hardware should do, so the clock was not seen well or a figure in the catalogue is too low"
    if odd and left < 0.9:
        return Loss(cause="shape", factor=left, text=f"{text}, and {odd}")
    return Loss(cause="kernel", factor=left, text=text)


def _misaligned(measurement: Measurement) -> str:
    """Tensor cores are fed 16 bytes at a time: rows of another length take slower kernels."""
    m, n, k = (measurement.params.get(side) for side in "mnk")
    if "_tensor" not in peak_key(measurement) or not (isinstance(m, int) and isinstance(n, int) and isinstance(k, int)):
        return ""
    row = next((row for row in tables.rows("dtypes") if row["name"] == measurement.dtype), None)
    size = float(row["bytes"]) if row else 0.0
    found = [f"{side}={length}" for side, length in (("n", n), ("k", k)) if size and length * size % _ALIGNED_BYTES]
    return f"rows of {' and '.join(found)} are no multiple of {_ALIGNED_BYTES} bytes" if found else ""
