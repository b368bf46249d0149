"""Two reports of benchmarks, case by case: verdicts, what they rest on, and whether a limit is kept. Pure."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dltool.bench import noise, verdicts
from dltool.bench.fingerprint import differences, fingerprint
from dltool.bench.verdicts import Ratio
from dltool.differences import Comparison, Gate, Selftest, Verdict
from dltool.results import Evidence, Finding, Measurement, Remedy, Report, Scalar, Status

_Key = tuple[str, tuple[tuple[str, Scalar], ...]]
_CPU_READING = 0.03
"""What readings of one CPU's clock differ by, quiet or busy: each is a short timing, not a sample from during the run."""
_Cases = Mapping[_Key, Sequence[Measurement]]
_Pairs = Sequence[tuple[Measurement, Measurement]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What is asked of a comparison."""

    confidence: float = verdicts.CONFIDENCE
    margin: float = verdicts.MARGIN
    limit: float | None = None
    """The greatest share by which a case may be slower; None: nothing is asked."""


def bar(limit_percent: float | None) -> Bar:
    """The usual one; with a limit in per cent, a difference below it is called the same."""
    if limit_percent is None:
        return Bar()
    return Bar(limit=limit_percent / 100, margin=limit_percent / 100)


def compare(a: Report, b: Report, selftest: Selftest | None, asked: Bar) -> tuple[tuple[Comparison, ...], tuple[Finding, ...]]:
    """Every case that A (the baseline) and B share, and what to know of all of them.

    Where both hold a case several times, the first is compared with the first, the second with the second.
    """
    before, now = _by_case(a), _by_case(b)
    pairs = [(old, new) for key in now if key in before for old, new in zip(before[key], now[key], strict=False)]
    notes = [*_missing(before, now), *_elsewhere(a, b, pairs), *_guessed(selftest, pairs)]
    return tuple(_apart(old, new, selftest, asked) for old, new in pairs), tuple(notes)


def _by_case(report: Report) -> _Cases:
    found: dict[_Key, list[Measurement]] = defaultdict(list)
    for measurement in report.measurements:
        found[measurement.workload, tuple(sorted(measurement.params.items()))].append(measurement)
    return found


def _apart(a: Measurement, b: Measurement, selftest: Selftest | None, asked: Bar) -> Comparison:
    known = noise.allowed(selftest, b.workload, b.params)
    reason = unfit(a, b)
    ratio = Ratio(reason=reason) if reason else verdicts.apart(a.seconds, b.seconds, known.noise, confidence=asked.confidence)
    doubt = "" if known.disturbed else _neighbours(a, b)
    return _row(a, b, ratio, asked, doubt=doubt, between_runs_sd=known.noise.sd, noise_from=known.source)


def _neighbours(a: Measurement, b: Measurement) -> str:
    """What other programs cost is no property of the code, and no part of a noise that was measured without them."""
    sides = " and ".join(side for side, case in (("A", a), ("B", b)) if noise.disturbed(case))
    return f"other programs ran during {sides}: how much time they took is not known" if sides else ""


def in_turn(a: Sequence[Measurement], b: Sequence[Measurement], asked: Bar) -> Comparison:
    """One case in A and in B, measured in blocks that took turns."""
    reasons = (unfit(old, new) for old, new in zip(a, b, strict=True))
    reason = next(filter(None, reasons), "") or next(filter(None, map(_sizes, (a, b))), "")
    blocks = [[block.seconds for block in side] for side in (a, b)]
    ratio = Ratio(reason=reason) if reason else verdicts.interleaved(*blocks, confidence=asked.confidence)
    medians = [(old.median_s, new.median_s) for old, new in zip(a, b, strict=True)]
    pairs = tuple((old, new) for old, new in medians if old and new)
    return _row(joined(a), joined(b), ratio, asked, method="interleaved", pairs=pairs)


def _sizes(blocks: Sequence[Measurement]) -> str:
    """Blocks that had to shrink, now and then, are of different work."""
    return "" if all(block.params == blocks[0].params for block in blocks) else "blocks were measured at different sizes"


def joined(blocks: Sequence[Measurement]) -> Measurement:
    """The blocks of one side as one measurement, with all of their samples; a block that did not run speaks for all."""
    from msgspec.structs import replace

    failed = next((block for block in blocks if block.not_run), None)
    if failed is not None:
        return failed
    seconds = tuple(sample for block in blocks for sample in block.seconds)
    median = statistics.median(seconds)
    first = blocks[0]
    amount = first.work.bytes if first.rate_unit == "B/s" else first.work.ops
    rate = amount / median if median else None
    return replace(
        first,
        seconds=seconds,
        median_s=median,
        rate=rate,
        ci95_s=None,
        iqr_s=None,
        share_of_peak=rate / first.peak if rate and first.peak else None,
        warnings=tuple(dict.fromkeys(warning for block in blocks for warning in block.warnings)),
    )


def unfit(a: Measurement, b: Measurement) -> str:
    """Why two measurements cannot be compared at all; empty where they can."""
    for side, case in (("A", a), ("B", b)):
        if case.not_run:
            return f"{side} did not run: {case.not_run}"
        if _wrong(case):
            return f"the result of {side} is wrong"
    old, new = (case.settings.get("harness") for case in (a, b))
    return "" if old == new else f"measured by different versions of the harness: {old} and {new}"


def _wrong(case: Measurement) -> bool:
    return case.verified is not None and not case.verified.ok


def _row(
    a: Measurement,
    b: Measurement,
    ratio: Ratio,
    asked: Bar,
    *,
    doubt: str = "",
    method: str = "apart",
    pairs: tuple[tuple[float, float], ...] = (),
    between_runs_sd: float | None = None,
    noise_from: str = "",
) -> Comparison:
    verdict, cycles, reason = verdicts.at_equal_clocks(ratio, *clocks_mhz(a, b), asked.margin)
    if doubt and verdict in (Verdict.FASTER, Verdict.SLOWER):
        verdict, reason = Verdict.CANNOT_TELL, doubt
    lost = bool(b.not_run or _wrong(b)) and not (a.not_run or _wrong(a))
    return Comparison(
        workload=b.workload,
        params=a.params,
        params_b=b.params if b.params != a.params else None,
        verdict=verdict,
        reason=reason or _too_wide(verdict, ratio),
        a_s=a.median_s,
        b_s=b.median_s,
        ratio=ratio.value,
        ratio_ci=ratio.interval,
        confidence=asked.confidence,
        margin=asked.margin,
        cycles_ratio=cycles.value if cycles else None,
        cycles_ci=cycles.interval if cycles else None,
        method=method,
        pairs=pairs,
        between_runs_sd=between_runs_sd,
        noise_from=noise_from,
        gate=_gate(verdict, ratio, reason, asked.limit, lost=lost),
    )


def clocks_mhz(a: Measurement, b: Measurement) -> tuple[float | None, float | None]:
    """The clocks held while they were timed: of the SMs; or of the CPU, where a small difference is one of reading it."""
    on_gpu = [case.conditions.sm_mhz for case in (a, b)]
    if on_gpu[0] is not None and on_gpu[1] is not None:
        return on_gpu[0].median, on_gpu[1].median
    before, now = a.conditions.cpu_mhz, b.conditions.cpu_mhz
    if before and now and abs(now / before - 1) <= _CPU_READING:
        return before, before
    return before, now


def _too_wide(verdict: Verdict, ratio: Ratio) -> str:
    if verdict is not Verdict.CANNOT_TELL or ratio.interval is None:
        return ""
    low, high = ratio.interval
    most = f"{high - 1:+.1%}" if high < 10 else "over 10 times as much"
    return f"noise: anything from {low - 1:+.1%} to {most} in time is possible"


def _gate(verdict: Verdict, ratio: Ratio, reason: str, limit: float | None, *, lost: bool) -> Gate | None:
    """Broken: slower by more than the limit with all of the interval, or no longer running. Met: with all of it not so."""
    if limit is None:
        return None
    if lost:
        return Gate.BROKEN
    if ratio.interval is None or reason:
        return Gate.UNKNOWN
    low, high = ratio.interval
    if verdict is Verdict.SLOWER and low > 1 + limit:
        return Gate.BROKEN
    return Gate.MET if high <= 1 + limit else Gate.UNKNOWN


def _missing(before: _Cases, now: _Cases) -> Iterator[Finding]:
    for name, here, there, words in (
        ("compare-new", now, before, "not in the baseline"),
        ("compare-gone", before, now, "in the baseline only"),
    ):
        alone = [_title(key) for key in here if key not in there]
        if alone:
            many = f"{len(alone)} case{'s' * (len(alone) > 1)} {words}"
            yield Finding(id=name, status=Status.UNKNOWN, summary=f"{many}: {'; '.join(alone[:4])}{' ...' * (len(alone) > 4)}")


def _title(key: _Key) -> str:
    return " ".join([key[0], *(f"{name}={value}" for name, value in key[1])])


def _elsewhere(a: Report, b: Report, pairs: _Pairs) -> Iterator[Finding]:
    """What is another machine, device or setting in B: any of it may be the cause of a difference."""
    other = _other([(fingerprint(a.machine, old), fingerprint(b.machine, new)) for old, new in pairs])
    if other:
        yield Finding(
            id="compare-other-machine",
            status=Status.WARN,
            summary=f"A and B are not of the same machine and settings: {_listed(other)}",
            why="Each of these can make the same code faster or slower; the noise of one machine says nothing of it.",
            evidence=tuple(
                Evidence(fact=name, value=_arrow(values), read_from="both reports") for name, values in other.items()
            ),
            remedies=(Remedy(text="Where none of them is what you compare, measure the baseline anew here and now."),),
        )


def sides(a: Sequence[Sequence[Measurement]], b: Sequence[Sequence[Measurement]]) -> tuple[Finding, ...]:
    """What differs between the two sides of an interleaved comparison besides the parameters: versions and settings."""
    other = _other([(dict(old[0].settings), dict(new[0].settings)) for old, new in zip(a, b, strict=True)])
    if not other:
        return ()
    return (Finding(id="compare-sides", status=Status.INFO, summary=f"A → B: {_listed(other)}"),)


def _other(pairs: Sequence[tuple[Mapping[str, Scalar], Mapping[str, Scalar]]]) -> dict[str, tuple[Scalar, Scalar]]:
    found: dict[str, tuple[Scalar, Scalar]] = {}
    for old, new in pairs:
        found |= differences(old, new)
    return found


def _listed(other: Mapping[str, tuple[Scalar, Scalar]]) -> str:
    return ", ".join(f"{name} {_arrow(values)}" for name, values in other.items())


def _arrow(values: tuple[Scalar, Scalar]) -> str:
    return " → ".join("unknown" if value is None else str(value) for value in values)


def _guessed(selftest: Selftest | None, pairs: _Pairs) -> Iterator[Finding]:
    if selftest is None and pairs:
        yield Finding(
            id="compare-noise-guessed",
            status=Status.INFO,
            summary="the noise of this machine is not known: " + noise.DEFAULT,
            why="A quiet machine tells smaller differences apart than this allows; a noisy one may need more.",
            remedies=(Remedy(text="Measure it once; every gate here then uses it.", commands=("dltool bench selftest",)),),
        )
