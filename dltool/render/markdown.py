"""The report as Markdown: for the summary of a CI step, for an issue, for a wiki.

Whatever a fact contains, it stays text: it makes no heading, no link, no HTML, no mention of anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from dltool.catalog import Board
from dltool.differences import Comparison, Selftest
from dltool.lang import tr
from dltool.model_results import Model
from dltool.reference import Figure
from dltool.render import FORMATS, Style, learning, measured, predictions, stepped, verdicts, words, zoo
from dltool.render.cases import (
    about,
    case_name,
    clip,
    explained,
    gpus,
    headline,
    one_line,
    same_support,
    seen,
    title,
    visible,
)
from dltool.results import (
    Compatibility,
    Creation,
    EnvironmentFound,
    Finding,
    Fix,
    Measurement,
    Plan,
    Report,
    Status,
    SupportCell,
)
from dltool.units import seconds, significant

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "`": "&#96;", "\\": "&#92;"}
_SPECIAL = re.compile(r"[&<>|`\\]")
_CODE = re.compile(r"(?<!`)`([^`|\\ ](?:[^`|\\]*[^`|\\ ])?)`(?!`)")
_MARKS = re.compile(r"[*\[\]~$]|#$|(?<![^\W_])_|_(?![^\W_])")
_START = re.compile(r"^(?:[#+=:-]|\d+(?=[.)](?:\s|$)))")
_MENTION = re.compile(r"@(?=\w)")
_UNWRAPPED = 10**6
_CELL = 300
_VALUE = 500
_TEXT = 4000
_EVIDENCE = 12
_SIDE_BY_SIDE = 4
_QUIET = (Status.PASS, Status.SKIP)


@FORMATS.register("markdown")
def render(report: Report, style: Style) -> str:
    """The headline, a table of what was found, each problem with its remedies, then boards, measurements, plan and machine."""
    blocks = [f"## {text(title(report))}", f"**{text(headline(report))}**"]
    blocks += _findings((*report.findings, *explained(report)), style)
    if report.compat is not None:
        blocks += _compat(report.compat, style)
    if report.plan is not None:
        blocks += _plan(report.plan)
    if report.fix is not None:
        blocks += _fix(report.fix)
    if report.creation is not None:
        blocks += _creation(report.creation)
    if report.environments:
        blocks += ["### Environments", _environments(report.environments)]
    if report.models:
        blocks += _models(report.models, style)
    if report.boards and not report.support:
        blocks += _boards(report.boards, style)
    blocks += _architectures(report)
    if report.figures:
        blocks += _figures(report.figures)
    if report.support:
        blocks += _support(report.support)
    if timed := learning.others(report):
        blocks += _measurements(timed)
    if trained := learning.rows(report):
        blocks += _learning(trained)
    if report.comparisons:
        blocks += _comparisons(report.comparisons)
    if report.selftest:
        blocks += _selftest(report.selftest)
    if facts := about(report.machine):
        blocks += [f"### {tr('Machine', '机器')}", table((tr("fact", "事实"), tr("value", "值")), facts)]
    blocks.append(f"dltool {text(report.dltool)}, {text(report.created)}")
    body = "\n\n".join(blocks)
    if not style.folded:
        return body + "\n"
    summary = "".join(_ENTITIES.get(letter, letter) for letter in clip(f"{title(report)}: {headline(report)}", _CELL))
    return f"<details>\n<summary>{_silent(summary)}</summary>\n\n{body}\n\n</details>\n"


def _findings(findings: Sequence[Finding], style: Style) -> list[str]:
    """A table of all that is worth a look, the gravest first, and a section for each problem."""
    if not findings:
        return []
    ordered = sorted(findings, key=lambda finding: -finding.status.severity)
    listed = [finding for finding in ordered if style.verbose or finding.status not in _QUIET]
    blocks = []
    if listed:
        rows = [(f.status.value.upper(), f.id, f.summary, gpus(f), f.caused_by or "") for f in listed]
        head = ("", tr("finding", "检查项"), tr("what", "情况"), "GPU", tr("follows from", "起因"))
        blocks.append(table(head, rows))
    blocks.append(words.counted(findings))
    for finding in listed:
        if finding.status.is_problem or finding.why or finding.evidence:
            blocks += _details(finding, style)
    return blocks


def _details(finding: Finding, style: Style) -> list[str]:
    blocks = [f"### {finding.status.value.upper()} {text(finding.id, _CELL)}", text(finding.summary)]
    if finding.why:
        blocks.append(text(finding.why))
    shown = finding.evidence if style.verbose else finding.evidence[:_EVIDENCE]
    lines = [f"- {tr('seen', '依据：')} {text(seen(fact), _VALUE)} ({text(fact.read_from, _VALUE)})" for fact in shown]
    if len(shown) < len(finding.evidence):
        more = len(finding.evidence) - len(shown)
        lines.append(tr(f"- and {more} more like these", f"- 另有 {more} 条类似的"))
    if lines:
        blocks.append("\n".join(lines))
    for remedy in finding.remedies:
        blocks.append(f"**{tr('Fix:', '解决：')}** {text(remedy.text)}{words.needs(remedy.risk)}")
        if remedy.commands:
            blocks.append(fence(remedy.commands))
    whom = words.for_whom(finding.scope)
    if whom and finding.status.is_problem:
        blocks.append(f"{whom[0].upper()}{whom[1:]}{tr('.', '。')}")
    if finding.plugin:
        plugin = text(finding.plugin)
        blocks.append(tr(f"This check comes from {plugin}.", f"此检查来自 {plugin}。"))
    if finding.doc:
        blocks.append(f"{tr('See', '参见')} {text(finding.doc)}")
    return blocks


def _compat(answer: Compatibility, style: Style) -> list[str]:
    blocks = ["### Compatibility", f"Verdict: **{text(answer.verdict)}**"]
    blocks += [f"Assumed: {text(assumed)}" for assumed in answer.assumed]
    blocks += _findings(answer.findings, style)
    found = answer.recommend
    if found is not None:
        blocks.append(f"**torch {text(found.torch)}+{text(found.build)}**: {text(found.why)}")
        blocks.append(fence(found.install))
    else:
        blocks.append("No published PyTorch suits all of this.")
    if answer.relax:
        blocks.append("\n".join(f"- with {text(change)}" for change in answer.relax))
    if answer.data_until:
        blocks.append(f"Tables of {text(answer.data_until)}.")
    return blocks


def _plan(plan: Plan) -> list[str]:
    blocks = ["### Plan"]
    blocks += [f"Not possible: {text(problem)}" for problem in plan.problems]
    for number, step in enumerate(plan.steps, start=1):
        blocks.append(f"**Step {number}, {text(step.state)}: {text(step.title)}**{words.needs(step.risk)}")
        blocks += [text(part) for part in (step.why, *step.notes) if part]
        if step.commands:
            blocks.append(fence(step.commands))
    return blocks


def _fix(fix: Fix) -> list[str]:
    """The steps and how they went, what became of each problem, and the way back."""
    blocks = ["### Fix", *(text(note) for note in (*fix.notes, fix.failure) if note)]
    for number, step in enumerate(fix.steps, start=1):
        mended = ", ".join(target.finding for target in step.mends)
        blocks += [f"**Step {number}, {text(step.state)}: {text(step.title)}** ({text(mended)})", fence(step.commands)]
    if fix.left:
        rows = [
            (one.target.finding, one.target.summary, one.why or "; ".join(r.why for r in one.remedies if r.why))
            for one in fix.left
        ]
        blocks.append(table(("left to you", "what", "because"), rows))
    if fix.outcome:
        blocks.append(table(("now", "finding", "what"), [(one.state, one.finding, one.summary) for one in fix.outcome]))
    return [*blocks, "To undo all of it:", fence(fix.undo)] if fix.undo else blocks


def _creation(creation: Creation) -> list[str]:
    blocks = ["### Environment", f"{text(creation.directory)}: {text(creation.state)}"]
    steps = [(step.title, step.state, "" if step.seconds is None else seconds(step.seconds)) for step in creation.steps]
    if steps:
        blocks.append(table(("step", "state", "took"), steps, right=(2,)))
    blocks += [text(note) for note in creation.notes]
    return [*blocks, fence([creation.activate])] if creation.activate else blocks


def _environments(environments: Sequence[EnvironmentFound]) -> str:
    rows = [
        (found.path, found.kind, found.python or "?", found.torch or "none", found.verdict or "", found.why)
        for found in environments
    ]
    return table(("path", "kind", "Python", "torch", "verdict", "why"), rows)


def _boards(boards: Sequence[Board], style: Style) -> list[str]:
    """What they are; the peaks of a few side by side, of many one column each."""
    from dltool.catalog import PEAK_KEYS
    from dltool.peaks import label

    keys = style.keys or ("fp32", "bf16_tensor")
    head = ["name", "chip", "capability", "SMs", "memory GB", "GB/s", "W"]
    few = len(boards) <= _SIDE_BY_SIDE
    head += [] if few else [f"{label(key)} T/s" for key in keys]
    rows = [
        [
            board.name if board.index is None else f"GPU {board.index}: {board.name}",
            board.chip or "",
            board.compute_capability or "",
            *(_figure(value) for value in (board.sms, board.memory_gb, board.memory_gb_per_s, board.tdp_w)),
            *([] if few else [_peak(board, key) for key in keys]),
        ]
        for board in boards
    ]
    blocks = ["### Boards", table(head, rows, right=range(3, len(head)))]
    held = [key for key in PEAK_KEYS if any(key in board.peaks for board in boards)]
    if few and held:
        peaks = [[label(key), *(_peak(board, key) for board in boards)] for key in held]
        head = ["dense peak, T/s", *(board.name for board in boards)]
        blocks.append(table(head, peaks, right=range(1, len(head))))
    notes = [board for board in boards if board.note]
    return [*blocks, *(f"{text(board.name)}: {text(board.note or '')}" for board in notes[:_EVIDENCE])]


def _models(models: Sequence[Model], style: Style) -> list[str]:
    """A table of all, or each in full."""
    if style.layout == "list":
        head = ("name", "task", "parameters", "GFLOP", "year", "input", "title")
        rows = [(name, zoo.task(model.task), *rest) for model in models for name, *rest in (zoo.row(model),)]
        return ["### Models", f"GFLOP: of one sample forward; {zoo.CONVENTION}", table(head, rows, right=(2, 3))]
    return [block for model in models for block in _model(model)]


def _model(model: Model) -> list[str]:
    blocks = [f"### {text(zoo.title(model))}", table(("", text(model.title)), zoo.facts(model).items())]
    if operations := list(zoo.operations(model)):
        blocks += [table(("operations of one sample", "GFLOP", "GMAC", ""), operations, right=(1, 2)), f"{zoo.CONVENTION}"]
    if model.memory:
        head = (f"memory, {model.memory[0].dtype}, {model.memory[0].optimizer}", *zoo.ways(model.memory))
        blocks.append(table(head, zoo.memory(model.memory), right=(1, 2)))
    if model.fits is not None:
        head = (f"on {model.fits.board}", "precision", "largest batch", "peak", "a sample")
        blocks.append(table(head, map(zoo.fit, model.fits.fits), right=(2, 3, 4)))
        blocks.append(f"assumed: {text('; '.join(model.fits.assumed))}")
    if found := model.predictions:
        blocks.append(table(predictions.head(found), map(predictions.row, found), right=(1, 2)))
        blocks.append(text("; ".join([*predictions.marks(found), *predictions.assumptions(found)])))
    if model.layers:
        blocks.append(table(("layer", "type", "output", "parameters", "MAC"), zoo.layers(model.layers), right=(3, 4)))
    return [*blocks, *map(text, model.notes)]


def _peak(board: Board, key: str) -> str:
    peak = board.peaks.get(key)
    if peak is None:
        return "-" if board.peaks else "?"
    return _figure(peak.dense) + ("?" if peak.dense is not None and peak.basis == "unverified" else "")


def _figure(value: float | None) -> str:
    return "?" if value is None else str(value) if isinstance(value, int) else significant(value, 4)


def _architectures(report: Report) -> list[str]:
    blocks = []
    if report.architectures:
        rows = [
            (a.compute_capability, a.name, a.year, " ".join(a.chips), _figure(a.cuda_cores_per_sm), a.cuda_first, a.cuda_last)
            for a in report.architectures
        ]
        head = ("capability", "architecture", "year", "chips", "cores per SM", "CUDA from", "to")
        blocks += ["### Architectures", table(head, rows)]
    if report.formats:
        rows_ = [(f.name, str(f.bits), _figure(f.exponent_bits), _figure(f.mantissa_bits), f.use) for f in report.formats]
        blocks += ["### Number formats", table(("format", "bits", "exponent", "mantissa", "use"), rows_)]
    return blocks


def _figures(figures: Sequence[Figure]) -> list[str]:
    from dltool.render.figures import amount, case, how

    rows = [
        (
            ", ".join(figure.boards) or figure.device,
            f"{figure.workload} {case(figure)}".strip(),
            " or ".join(figure.dtypes),
            amount(figure.value, figure.unit),
            how(figure),
            f"{figure.source}, {figure.date}",
        )
        for figure in figures
    ]
    return ["### Published figures", table(("board", "workload", "dtype", "published", "how", "source"), rows, right=(3,))]


def _measurements(measurements: Sequence[Measurement]) -> list[str]:
    head = ("case", "rate", "of peak", "at clock", "normal?", "95 % of median", "step", "samples", "remarks")
    rows = [
        (
            case_name(case),
            stepped.throughput(case) or measured.figure(case),
            measured.as_percent(measured.share(case)),
            measured.as_percent(measured.held_share(case)),
            measured.verdict(case),
            measured.interval(case),
            measured.step(case),
            str(len(case.seconds)),
            "; ".join((*measured.explanation(case, all_of_it=False), *measured.troubles(case), *stepped.always(case))),
        )
        for case in measurements
    ]
    return ["### Measurements", table(head, rows, right=(1, 2, 3, 5, 6, 7)), *_of_models(measurements)]


def _of_models(measurements: Sequence[Measurement]) -> Iterator[str]:
    """Below the table: predictions for other boards, how a batch was found and what it does, and what had no memory."""
    from dltool.render.terminal import batches, curve, out_of_memory  # the curve is made of tables as they are made here

    steps = [(case, case.model) for case in measurements if case.model is not None]
    if found := [one for _, step in steps for one in step.prediction]:
        yield table(predictions.head(found), map(predictions.row, found), right=(1, 2))
        yield text("; ".join([*predictions.marks(found), *predictions.assumptions(found)]))
    for case, step in steps:
        if step.search is not None:
            yield text(f"{case_name(case)}: {' '.join(batches.lines(step.search, _UNWRAPPED))}")
        if step.curve is not None:
            yield curve.markdown(step.curve)
    for case in measurements:
        if case.out_of_memory is not None:
            yield "  \n".join(text(line) for line in out_of_memory.lines(case.out_of_memory, _UNWRAPPED))


def _learning(cases: Sequence[Measurement]) -> list[str]:
    rows = [(*learning.row(case), "; ".join(learning.reasons(case))) for case in cases]
    return ["### Trainings", table((*learning.HEAD, "why"), rows, right=(3, 4, 5))]


def _support(cells: Sequence[SupportCell]) -> list[str]:
    rows = [
        (first.dtype, first.operation, layouts, first.state or "unknown", first.kernel or "", first.why)
        for first, layouts in same_support(cells)
    ]
    return ["### Support", table(("dtype", "operation", "layouts", "support", "what ran", "why"), rows)]


def _comparisons(rows: Sequence[Comparison]) -> list[str]:
    cells = [
        (
            verdicts.case(row),
            seconds(row.a_s),
            seconds(row.b_s),
            verdicts.change(row.ratio),
            verdicts.interval(row.ratio_ci),
            verdicts.word(row.verdict),
            row.reason,
        )
        for row in rows
    ]
    return ["### Compared", table(("case", "A", "B", "time", "interval", "verdict", "why"), cells, right=range(1, 5))]


def _selftest(found: Selftest) -> list[str]:
    head = ("unchanged case", "noise floor", "told apart", "in turn", "false alarms")
    cells = [
        (
            verdicts.label(noise.workload, noise.params),
            verdicts.share(noise.floor),
            verdicts.share(noise.least_apart),
            verdicts.share(noise.least_interleaved),
            f"{noise.false_alarms} of {noise.trials}",
        )
        for noise in found.noise
    ]
    return ["### Noise of this machine", table(head, cells, right=range(1, 5)), *(text(note) for note in found.notes)]


def text(raw: str, most: int = _TEXT) -> str:
    """Any text as one line that says just that, or the first `most` characters; what is in backticks there is code here too."""
    parts = _CODE.split(clip(one_line(raw), most))
    return "".join(f"`{part}`" if place % 2 else _escaped(part) for place, part in enumerate(parts))


def _escaped(part: str) -> str:
    safe = _SPECIAL.sub(lambda match: _ENTITIES[match[0]], part)
    safe = _MARKS.sub(lambda match: f"\\{match[0]}", safe)
    return _silent(_START.sub(_unstart, safe))


def _unstart(match: re.Match[str]) -> str:
    """A digit cannot be escaped, the point behind it can: the entity of the digit does the same."""
    return f"\\{match[0]}" if not match[0].isdigit() else f"&#{ord(match[0][0])};{match[0][1:]}"


def _silent(safe: str) -> str:
    """Nobody is called who has the name of a decorator."""
    return _MENTION.sub("@<!-- -->", safe)


def fence(commands: Iterable[str]) -> str:
    """Commands to be copied, in a fence that none of them closes."""
    body = "\n".join(visible(command) for command in commands)
    ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", body)), default=0))
    return f"{ticks}sh\n{body}\n{ticks}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> str:
    """A table of any texts; `right` are the numbers of the columns that hold figures."""
    figures = set(right)
    lines = [head, *rows]
    cells = ["| " + " | ".join(text(cell, _CELL) for cell in line) + " |" for line in lines]
    rule = "|" + "|".join(" ---: " if place in figures else " --- " for place in range(len(head))) + "|"
    return "\n".join((cells[0], rule, *cells[1:]))
