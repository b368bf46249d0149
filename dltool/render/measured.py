"""What the formats for people say of a measurement: its figures as text, and what must be known of them."""

from __future__ import annotations

from dltool import tables
from dltool.catalog import Board
from dltool.results import Conditions, Loss, Measurement
from dltool.units import percent, rate, seconds, significant

_WORTH_SAYING = 0.9
"""From this share of the peak on, nothing needs an explanation."""
_BEYOND = 1.005


def is_wrong(case: Measurement) -> bool:
    """Whether its result was wrong: then it has no rate."""
    return case.verified is not None and not case.verified.ok


def counts(case: Measurement) -> bool:
    """Whether there is a rate that means something."""
    return case.rate is not None and not is_wrong(case)


def name(case: Measurement) -> str:
    """What tells a case from its neighbours: its own word for it, the kernel, or the dtype with what is unusual of it."""
    if case.label or "kernel" in case.params:
        return case.label or str(case.params["kernel"])
    usual = usual_layout(case.dtype)
    layout = str(case.params.get("layout") or usual)
    return " ".join([case.dtype, *[layout] * (layout != usual), *["zeros"] * (case.params.get("data") == "zeros")])


def usual_layout(dtype: str) -> str:
    """How products of a dtype are laid out, where nothing else is asked for."""
    return next((row["layout"] for row in tables.rows("dtypes") if row["name"] == dtype), "")


def size(case: Measurement) -> str:
    """ "8192³", "8192x8192x4096", "256 MiB"."""
    if case.size:
        return case.size
    if "m" in case.params:
        sides = [str(case.params[side]) for side in "mnk" if side in case.params]
        return sides[0] + "³" if len(sides) == 3 and len(set(sides)) == 1 else "x".join(sides)
    if "rounds" in case.params:
        return f"{case.params.get('blocks')} x {case.params['rounds']}"
    held = case.params.get("bytes")
    return f"{int(held) / 2**20:.0f} MiB" if isinstance(held, int) else ""


def figure(case: Measurement) -> str:
    """The rate, or why there is none, in a word or two."""
    if is_wrong(case):
        return "WRONG"
    return "not run" if case.rate is None else rate(case.rate, case.rate_unit)


def share(case: Measurement) -> float | None:
    """Of the datasheet's peak; where no datasheet tells one (a CPU), of the derived one."""
    if not counts(case):
        return None
    told = case.shares.datasheet if case.shares is not None else None
    return case.share_of_peak if told is None else told


def held_share(case: Measurement) -> float | None:
    """Of the peak at the clock that was held."""
    return case.shares.held_clock if counts(case) and case.shares is not None else None


def change(case: Measurement, other_s: float | None) -> str:
    """How much more or less than the rate another way of timing gives: "+8 %"."""
    if not counts(case) or not other_s or not case.median_s:
        return ""
    return f"{100 * (case.median_s / other_s - 1):+.0f} %"


def interval(case: Measurement) -> str:
    """The confidence interval as per cent of the median, the wider side."""
    if not counts(case):
        return ""
    if case.ci95_s is None or not case.median_s:
        return "too few"
    half = max(case.median_s - case.ci95_s[0], case.ci95_s[1] - case.median_s)
    return f"±{100 * half / case.median_s:.1f} %"


def verdict(case: Measurement) -> str:
    """ "normal", "low" or "high"; empty where nobody published a figure."""
    told = case.normal.verdict if counts(case) and case.normal is not None else "unknown"
    return "" if told == "unknown" else told


def explanation(case: Measurement, *, all_of_it: bool) -> list[str]:
    """Where the rest of the peak went, and how others fare: where it is worth saying, or always."""
    if not counts(case):
        return []
    reached = share(case)
    odd = reached is None or not _WORTH_SAYING <= reached <= _BEYOND
    found = [case.explained] if case.explained and (odd or all_of_it) else []
    told = case.normal
    if told is not None and (told.verdict in ("low", "high") or (all_of_it and told.figures)):
        found.append(f"{told.verdict}: {told.text}")
    return found


def troubles(case: Measurement) -> list[str]:
    """What a reader must know before using the figure, and what the explanation does not say already."""
    if case.not_run:
        return [f"not run: {case.not_run}"]
    how = case.implementation
    state = case.support if case.support not in (None, "native") and not (how or "").startswith(case.support) else None
    said = [] if how in (None, "native") or (how or "").removeprefix("emulated: ") in case.explained else [str(how)]
    told = "of the processors' time" in case.explained
    if counts(case) and case.rate and case.work.skipped_ops:
        computed = case.rate * (1 - case.work.skipped_ops / case.work.ops)
        said.append(f"counts skipped products, as datasheets do; {rate(computed, case.rate_unit)} are computed")
    warnings = [text for text in case.warnings if not (told and text.startswith("got "))]
    return [*filter(None, [state]), *said, *warnings]


def details(case: Measurement, boards: tuple[Board, ...]) -> list[str]:
    """How the figures follow: kernel, peak, waterfall, sources."""
    if not counts(case):
        return []
    found = [f"kernel {case.kernel}"] if case.kernel else []
    found += [f"peak {text}" for text in [_peak(case, boards)] if text]
    if len(case.losses) > 1:
        found.append(waterfall(case))
    if case.share_of_triad is not None:
        found.append(f"{percent(case.share_of_triad)} of the triad of this run")
    extra = [("burst", case.burst_s), ("cold", case.cold_s)]
    found += [f"{word} {rate(_at(case, taken), case.rate_unit)}" for word, taken in extra if taken]
    if case.energy_j is not None:
        found.append(f"{significant(case.energy_j)} J a step")
    if case.normal is not None and case.normal.sources:
        found.append(f"published by {'; '.join(case.normal.sources)}")
    return found


def waterfall(case: Measurement) -> str:
    """ "989 TFLOP/s x 1.08 boost x 0.71 power x 0.98 kernel = 722 TFLOP/s"."""
    assert case.rate is not None
    product = 1.0
    for loss in case.losses:
        product *= loss.factor
    steps = " ".join(f"x {_factor(loss)} {loss.cause}" for loss in case.losses)
    return f"{rate(case.rate / product, case.rate_unit)} {steps} = {rate(case.rate, case.rate_unit)}"


def _factor(loss: Loss) -> str:
    return significant(loss.factor) if loss.factor < 0.1 else f"{loss.factor:.2f}"


def _at(case: Measurement, taken_s: float) -> float:
    assert case.rate is not None
    assert case.median_s is not None
    return case.rate * case.median_s / taken_s


def _peak(case: Measurement, boards: tuple[Board, ...]) -> str:
    """How it is derived, from the board in the same report."""
    if not case.peak:
        return ""
    key = (case.peak_basis or "").partition(" ")[0]
    board = next((board for board in boards if case.device.endswith(board.name)), None)
    peak = board.peaks.get(key) if board is not None else None
    how = f": {peak.formula} [{peak.basis}]" if peak is not None else f" [{case.peak_basis}]" if case.peak_basis else ""
    printed = f", published as {significant(peak.published, 4)} {peak.unit}" if peak is not None and peak.published else ""
    return f"{rate(case.peak, case.rate_unit)}{how}{printed}"


def conditions(seen: Conditions) -> str:
    """Clocks, power and heat while the samples were taken, where a GPU told them."""
    spans = (("SM", seen.sm_mhz, "MHz"), ("", seen.power_w, "W"), ("", seen.temperature_c, "°C"))
    parts = [
        f"{title} {span.median:.0f} {unit} ({span.minimum:.0f} to {span.maximum:.0f})".strip()
        for title, span, unit in spans
        if span is not None
    ]
    return ", ".join([*parts, *(seen.throttle or ())])


def step(case: Measurement) -> str:
    """Seconds of a step at the median."""
    return seconds(case.median_s) if counts(case) else ""


def as_percent(value: float | None) -> str:
    """A share, or nothing."""
    return "" if value is None else percent(value)
