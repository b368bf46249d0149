"""The three peaks that a rate is a share of: as published, at the device's highest clock, at the clock that was held."""

from __future__ import annotations

from msgspec import Struct

from dltool.bench.devices import Device
from dltool.catalog import Peak
from dltool.peaks import gpu_peaks
from dltool.results import Measurement, Shares

TERA = 1e12


class Ceilings(Struct, frozen=True, kw_only=True):
    """Peaks in the unit of the measurement, and the clocks in MHz that they hold at. Unknown is None."""

    datasheet: float | None = None
    max_clock: float | None = None
    held_clock: float | None = None
    quoted_mhz: float | None = None
    max_mhz: float | None = None
    held_mhz: float | None = None

    def shares(self, rate: float) -> Shares:
        """What `rate` is of each."""
        return Shares(
            datasheet=rate / self.datasheet if self.datasheet else None,
            max_clock=rate / self.max_clock if self.max_clock else None,
            held_clock=rate / self.held_clock if self.held_clock else None,
        )


def peak_key(measurement: Measurement) -> str:
    """The kind of arithmetic that its peak is of, one of `PEAK_KEYS`; for memory "datasheet"."""
    return (measurement.peak_basis or "").partition(" ")[0]


def ceilings(measurement: Measurement, device: Device) -> Ceilings | None:
    """The peaks of the units that a case ran on; None where no peak is known.

    A bandwidth has the one of the datasheet only: the clock of memory is not what moves.
    """
    if not measurement.peak:
        return None
    peak = device.board.peaks.get(peak_key(measurement))
    if peak is None or not peak.dense or not peak.clock_mhz:
        return Ceilings(datasheet=measurement.peak)
    if device.kind == "cpu":
        return _of_cpu(measurement, device, peak.clock_mhz)
    return _of_gpu(measurement, device, peak, peak.clock_mhz)


def _of_gpu(measurement: Measurement, device: Device, peak: Peak, quoted: float) -> Ceilings:
    """Peaks grow with the clock, but where a product is cut: `gpu_peaks` knows."""
    assert peak.dense is not None
    assert measurement.peak is not None
    # 1.0, or what 2:4 sparsity makes of a peak
    scale = measurement.peak / (peak.dense * TERA)
    published = peak.published if peak.basis != "unverified" else None
    seen = measurement.conditions.sm_mhz
    held = seen.median if seen is not None else None
    highest = device.sm_mhz_max or device.board.boost_mhz
    highest = max(highest, held) if highest and held else highest

    def at(clock_mhz: float | None) -> float | None:
        dense = gpu_peaks(device.board, clock_mhz=clock_mhz)[peak_key(measurement)].dense if clock_mhz else None
        return dense * TERA * scale if dense else None

    return Ceilings(
        datasheet=(published or peak.dense) * TERA * scale,
        max_clock=at(highest),
        held_clock=at(held),
        quoted_mhz=quoted,
        max_mhz=highest,
        held_mhz=held,
    )


def _of_cpu(measurement: Measurement, device: Device, clock_mhz: float) -> Ceilings:
    """No datasheet tells the peak of a CPU: the board's is derived at the clock that was measured before the run."""
    assert measurement.peak is not None
    held = measurement.conditions.cpu_mhz
    highest = device.board.boost_mhz
    if highest and held:
        highest = max(highest, held)
    return Ceilings(
        max_clock=measurement.peak * highest / clock_mhz if highest else None,
        held_clock=measurement.peak * held / clock_mhz if held else None,
        max_mhz=highest,
        held_mhz=held,
    )
