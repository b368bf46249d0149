"""Comparisons in words, for all formats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from dltool.differences import Comparison, Gate, Setting, Verdict
from dltool.render.measured import usual_layout
from dltool.results import Evidence, Finding, Remedy, Status
from dltool.units import seconds, significant

_WORDS = {
    Verdict.FASTER: "FASTER",
    Verdict.SLOWER: "SLOWER",
    Verdict.SAME: "SAME",
    Verdict.CANNOT_TELL: "CAN'T TELL",
}


def word(verdict: Verdict) -> str:
    """The verdict as it is printed."""
    return _WORDS[verdict]


def change(ratio: float | None) -> str:
    """A ratio of times as what B takes more or less: 1.031 -> "+3.1 %"; from ten times as much on "over 10x"."""
    if ratio is None:
        return "-"
    return f"{100 * (ratio - 1):+.1f} %" if ratio < 10 else "over 10x"


def share(value: float | None) -> str:
    """A difference without direction: 0.034 -> "3.4 %"; from 100 % on as a factor: 1.5 -> "2.5x"."""
    if value is None:
        return "-"
    if value >= 9:
        return "over 10x"
    return f"{100 * value:.1f} %" if value < 0.9995 else f"{significant(1 + value, 2)}x"


def interval(ends: tuple[float, float] | None) -> str:
    """Both ends of an interval: "+1.2 to +4.9 %"."""
    return "-" if ends is None else f"{100 * (ends[0] - 1):+.1f} to {change(ends[1])}"


def case(row: Comparison) -> str:
    """The case with all of its parameters; where B's are others, as A -> B."""
    mine = _parameters(row.params)
    return " ".join([row.workload, *([mine] if mine else []), *(["→", _parameters(row.params_b)] if row.params_b else [])])


def short(row: Comparison) -> str:
    """The case in as few words as tell it apart: "gemm bf16 2048³", "memory triad 128 MiB"."""
    mine = label(row.workload, row.params)
    other = {key: value for key, value in (row.params_b or {}).items() if value != row.params.get(key)}
    return f"{mine} → {label('', other)}" if other else mine


def label(workload: str, params: Mapping[str, Setting]) -> str:
    """A workload with its parameters in a few words; what is as usual is left out."""
    usual = {"layout": usual_layout(str(params.get("dtype", ""))), "data": "random"}
    given = {key: value for key, value in params.items() if value not in ("", usual.get(key))}
    kernel = given.pop("kernel", None)
    dtype = given.pop("dtype", None)
    words = [workload, str(kernel or dtype or "")]
    if all(side in given for side in "mnk"):
        sides = [str(given.pop(side)) for side in "mnk"]
        words.append(sides[0] + "³" if len(set(sides)) == 1 else "x".join(sides))
    size = given.pop("bytes", None)
    if isinstance(size, int):
        words.append(f"{size / 2**20:.0f} MiB")
    words += [f"{key}={value}" for key, value in given.items()]
    return " ".join(filter(None, words))


def _parameters(params: Mapping[str, Setting]) -> str:
    return " ".join(f"{key}={value}" for key, value in params.items())


def title(rows: Sequence[Comparison]) -> str:
    """How many of which verdict, and how sure: "B against A: 1 slower, 4 the same; 99 % confidence, margin 2 %"."""
    if not rows:
        return "B against A: no case is in both"
    counts = Counter(row.verdict for row in rows)
    said = {
        Verdict.SLOWER: "slower",
        Verdict.FASTER: "faster",
        Verdict.SAME: "the same",
        Verdict.CANNOT_TELL: "cannot be told",
    }
    parts = [f"{counts[verdict]} {name}" for verdict, name in said.items() if counts[verdict]]
    first = rows[0]
    broken = sum(row.gate is Gate.BROKEN for row in rows)
    over = f"; {broken} over the limit" if broken else ""
    return f"B against A: {', '.join(parts)}{over} ({first.confidence:.0%} confidence, the same within {first.margin:.1%})"


def finding(row: Comparison) -> Finding:
    """A row as what formats for programs know: slower is a warning, over the limit a failure, and not telling is unknown."""
    facts = {
        "time": change(row.ratio),
        f"interval at {row.confidence:.0%}": interval(row.ratio_ci),
        "A": seconds(row.a_s),
        "B": seconds(row.b_s),
        "at equal clocks": change(row.cycles_ratio),
        "noise allowed for": row.noise_from or "none: blocks in turn",
    }
    status = _status(row)
    slower = Remedy(
        text="Find what changed between A and B; measure both in turn to be sure.", commands=("dltool bench ab --help",)
    )
    measured = f": {change(row.ratio)} in time ({interval(row.ratio_ci)})" if row.ratio_ci else ""
    return Finding(
        id="bench-compare",
        status=status,
        summary=f"{word(row.verdict)}{measured}",
        why=row.reason,
        evidence=tuple(Evidence(fact=fact, value=value, read_from="measured") for fact, value in facts.items()),
        remedies=(slower,) if status.is_problem else (),
    )


def _status(row: Comparison) -> Status:
    if row.gate is Gate.BROKEN:
        return Status.FAIL
    if row.verdict is Verdict.SLOWER:
        return Status.INFO if row.gate is Gate.MET else Status.WARN
    return Status.UNKNOWN if row.verdict is Verdict.CANNOT_TELL else Status.PASS
