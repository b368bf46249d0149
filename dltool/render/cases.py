"""What the formats for programs share: everything that was judged as one list of cases, and texts that harm nobody."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dltool.lang import tr
from dltool.learning_results import Learning
from dltool.machine import Machine
from dltool.render import verdicts, words
from dltool.results import Evidence, Finding, Measurement, Remedy, Report, Status, SupportCell
from dltool.units import percent, rate, seconds

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Controls, line ends that are none to most programs, orders to write backwards, and what is no character at all.

No XML document may hold most of them, no UTF-8 the half characters, and no log or issue should the rest.
"""
_MANY = 8
_PATH = re.compile(r"(?P<path>(?:~|)/.*?)(?: before .*| and .*)?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing that was judged, under a name that is the same in the next run."""

    room: str
    """"doctor", "log", "compat", "setup", "bench" or "compare"."""
    name: str
    """Unique in its room."""
    finding: Finding
    fingerprint: str
    """The same from run to run while check, GPUs and outcome are; unique in the report."""
    seconds: float = 0.0
    """How long it took, where that was measured."""


def cases(report: Report) -> list[Case]:
    """Everything that the report judges: findings, compatibility, plan, measurements."""
    names: Counter[str] = Counter()
    prints: Counter[str] = Counter()
    found = []
    for room, name, finding, took in _judged(report):
        names[f"{room}/{name}"] += 1
        count = names[f"{room}/{name}"]
        stable = f"{room}/{name}/{finding.status.value}"
        prints[stable] += 1
        found.append(
            Case(
                room=room,
                name=name if count == 1 else f"{name} [{count}]",
                finding=finding,
                fingerprint=_digest(f"{stable}/{prints[stable]}"),
                seconds=took,
            )
        )
    return found


def _judged(report: Report) -> Iterator[tuple[str, str, Finding, float]]:
    for finding in report.findings:
        yield "doctor", _name(finding), finding, 0.0
    for finding in explained(report):
        yield "log", _name(finding), finding, 0.0
    for answer, room in ((report.compat, "compat"), (report.plan.compat if report.plan else None, "setup")):
        for finding in answer.findings if answer else ():
            yield room, _name(finding), finding, 0.0
    for problem in report.plan.problems if report.plan else ():
        remedy = Remedy(text="Ask for something else, or change what stands in the way.")
        yield "setup", "no-plan", Finding(id="no-plan", status=Status.FAIL, summary=problem, remedies=(remedy,)), 0.0
    for measurement in report.measurements:
        yield "bench", case_name(measurement), _measured(measurement), _duration(measurement)
    for row in report.comparisons:
        yield "compare", one_line(verdicts.case(row)), verdicts.finding(row), 0.0
    if report.interrupted:
        stopped = Finding(id="interrupted", status=Status.UNKNOWN, summary="interrupted: the rest was not measured")
        yield "bench", "interrupted", stopped, 0.0


def explained(report: Report) -> list[Finding]:
    """The errors of a log as findings: worth knowing, and no verdict on this machine."""
    return [
        Finding(
            id=error.id,
            status=Status.INFO,
            summary=error.means,
            why=error.why,
            evidence=(Evidence(fact=f"line {error.line}", value=error.text, read_from="the log"),) if error.line else (),
            remedies=(Remedy(text=error.mend),) if error.mend else (),
            scope=error.scope,
        )
        for error in report.log
    ]


def _name(finding: Finding) -> str:
    return (one_line(finding.id) or "finding") + (f" ({gpus(finding)})" if finding.devices else "")


def _digest(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def gpus(finding: Finding) -> str:
    """`"GPU 0, 3"`; empty where the whole machine is meant."""
    return f"GPU {', '.join(map(str, finding.devices))}" if finding.devices else ""


def case_name(measurement: Measurement) -> str:
    """The workload with its parameters: "gemm m=256 n=256 k=256 dtype=fp32 on cpu"."""
    params = "".join(f" {key}={value}" for key, value in measurement.params.items() if value != "")
    return one_line(f"{measurement.workload}{params} on {measurement.device}")


def _measured(measurement: Measurement) -> Finding:
    """A measurement as a finding: it ran, it did not run, or its result was wrong."""
    name = f"bench-{one_line(measurement.workload)}"
    if measurement.not_run:
        return Finding(id=name, status=Status.SKIP, summary=f"not run: {measurement.not_run}")
    if measurement.learning is not None:
        return _learnt(name, measurement.learning)
    facts = {
        "rate": rate(measurement.rate, measurement.rate_unit),
        "share of peak": percent(measurement.share_of_peak),
        "step": seconds(measurement.median_s),
        "95 % of median": interval(measurement),
        "samples": str(len(measurement.seconds)),
    }
    verified = measurement.verified
    if verified is not None and not verified.ok:
        del facts["rate"], facts["share of peak"]  # a wrong result has none
    evidence = tuple(Evidence(fact=fact, value=value, read_from="measured") for fact, value in facts.items())
    why = "; ".join(filter(None, (measurement.explained, *remarks(measurement))))
    if verified is not None and not verified.ok:
        return Finding(
            id=name,
            status=Status.FAIL,
            summary=f"wrong result: error {verified.error} against {verified.reference}, tolerance {verified.tolerance}",
            why=why,
            evidence=evidence,
            remedies=(Remedy(text="Do not use the rate. See what is wrong with the device: dltool doctor"),),
        )
    share = f", {facts['share of peak']} of peak" if measurement.share_of_peak is not None else ""
    return Finding(id=name, status=Status.PASS, summary=f"{facts['rate']}{share}", why=why, evidence=evidence)


def _learnt(name: str, found: Learning) -> Finding:
    """A training as a finding."""
    evidence = [Evidence(fact=fact, value=value, read_from="measured") for fact, value in found.metrics.items()]
    if found.ok:
        return Finding(id=name, status=Status.PASS, summary=found.verdict, evidence=tuple(evidence))
    remedy = Remedy(text="Do not train here in this number format. See what is wrong with the device: dltool doctor --probe")
    summary = f"{found.verdict}: {found.reasons[0]}" if found.reasons else found.verdict
    return Finding(
        id=name,
        status=Status.FAIL,
        summary=summary,
        why="; ".join(found.reasons),
        evidence=tuple(evidence),
        remedies=(remedy,),
    )


def remarks(measurement: Measurement) -> list[str]:
    """What a reader must know of a figure."""
    if measurement.not_run:
        return [f"not run: {measurement.not_run}"]
    how = [] if measurement.implementation in (None, "native") else [str(measurement.implementation)]
    return [*how, *measurement.warnings]


def interval(measurement: Measurement) -> str:
    """The confidence interval as per cent of the median, the wider side."""
    if measurement.ci95_s is None or not measurement.median_s:
        return "too few samples"
    low, high = measurement.ci95_s
    return f"±{100 * max(measurement.median_s - low, high - measurement.median_s) / measurement.median_s:.1f} %"


def _duration(measurement: Measurement) -> float:
    return sum(measurement.seconds) * measurement.steps_per_sample + (measurement.overhead_s or 0.0)


def problems(judged: Iterable[Case]) -> list[Case]:
    """What is to be mended: what nothing else explains first, the gravest first."""
    judged = [case for case in judged if case.finding.status.is_problem]
    ids = {case.finding.id for case in judged}
    return sorted(judged, key=lambda case: (case.finding.caused_by in ids, -case.finding.status.severity))


def headline(report: Report) -> str:
    """The one thing to know."""
    if said := one_line(report.headline):
        return said
    if report.compat is not None:
        return f"compatibility: {one_line(report.compat.verdict)}"
    if report.plan is not None and report.plan.problems:
        return one_line(report.plan.problems[0]) or "there is no plan"
    if report.support:
        native = sum(cell.state == "native" for cell in report.support)
        return f"{native} of {len(report.support)} products are native"
    if report.comparisons:
        return verdicts.title(report.comparisons)
    if report.measurements:
        missing = sum(bool(measurement.not_run) for measurement in report.measurements)
        stop = ", interrupted" if report.interrupted else ""
        return f"{len(report.measurements) - missing} measured, {missing} not run{stop}"
    if len(report.models) > _MANY:
        return f"{len(report.models)} models"
    named = (*(model.name for model in report.models), *(board.name for board in report.boards[:_MANY]))
    return ", ".join(map(one_line, named)) or "nothing to report"


def same_support(cells: Iterable[SupportCell]) -> list[tuple[SupportCell, str]]:
    """The layouts of a dtype that go the same way together: the first of each, and their names."""
    together: dict[tuple[str, ...], list[SupportCell]] = {}
    for cell in cells:
        together.setdefault((cell.dtype, str(cell.state), cell.why, str(cell.kernel)), []).append(cell)
    return [(group[0], " ".join(cell.layout for cell in group)) for group in together.values()]


def title(report: Report) -> str:
    """The command that made it: "dltool doctor"."""
    return one_line(" ".join(("dltool", *report.command)))


def explanation(finding: Finding, *, commands: bool = True) -> list[str]:
    """Why, the evidence, the remedies: lines of plain text."""
    lines = [visible(finding.why)] if finding.why else []
    lines += [f"{tr('seen', '依据：')} {one_line(seen(fact))} ({one_line(fact.read_from)})" for fact in finding.evidence]
    for remedy in finding.remedies:
        lines.append(f"{tr('fix', '解决：')} {one_line(remedy.text)}{words.needs(remedy.risk)}")
        lines += [f"    {visible(command)}" for command in remedy.commands if commands]
    if finding.caused_by:
        lines.append(f"{tr('follows from', '起因：')} {one_line(finding.caused_by)}")
    if finding.doc:
        lines.append(f"{tr('see', '参见：')} {one_line(finding.doc)}")
    return lines


def seen(fact: Evidence) -> str:
    """`"driver: 535.104.05"`."""
    return f"{fact.fact}: {'none' if fact.value is None else fact.value}"


def path_of(fact: Evidence) -> str | None:
    """The file that a fact was read from, if it was one."""
    match = _PATH.fullmatch(one_line(fact.read_from))
    return match["path"] if match else None


def about(machine: Machine | None) -> list[tuple[str, str]]:
    """Which machine it is, without telling whose: what a reader of a finding asks first."""
    if machine is None:
        return []
    python = machine.python
    torch = python.torch if python else None
    names = [gpu.name or "unnamed GPU" for gpu in machine.gpus]
    inside = [machine.os.container, "WSL" if machine.os.wsl else None, machine.os.tegra]
    facts = {
        "system": " in ".join(part for part in (machine.os.distribution or machine.os.system, *inside) if part),
        "kernel": machine.os.kernel,
        "GPUs": ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names)) or "none",
        "driver": machine.driver.version or machine.driver.kernel_module_version,
        "CUDA of the driver": machine.driver.cuda_version,
        "Python": f"{python.version} at {python.executable}" if python else None,
        "PyTorch": f"{torch.version}, built with CUDA {torch.cuda or 'none'}" if torch else None,
    }
    return [(name, one_line(value)) for name, value in facts.items() if value]


def visible(text: str) -> str:
    """A text whose unprintable characters are written out; line ends and tabs stay."""
    return _UNPRINTABLE.sub(lambda match: rf"\x{ord(match[0]):02x}" if match[0] < "\u0100" else rf"\u{ord(match[0]):04x}", text)


def one_line(text: str) -> str:
    """The same in one line."""
    return " ".join(visible(text).split())


def clip(text: str, most: int) -> str:
    """No more than so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"
