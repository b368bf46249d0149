"""The report as SARIF 2.1.0, for code scanning and the editors that read it.

A problem is a result of the rule that is its check; a note is one of kind "informational". What could not be judged is a
notification of the run, so that it is neither a result nor a silence. What passed is there with -v only: some readers of SARIF
look at no kind and would make alerts of it.

Source: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0 Plus Errata 01"; GitHub, "SARIF support for
code scanning" (a result needs a physical location, a rule its descriptions and its help).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from dltool.render import FORMATS, Style
from dltool.render.cases import Case, about, cases, clip, explanation, headline, one_line, path_of, problems, seen, visible
from dltool.results import Evidence, Finding, Report, Status

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Status.FAIL: "error", Status.CRASH: "error", Status.WARN: "warning"}
_KINDS = {Status.INFO: "informational", Status.PASS: "pass", Status.SKIP: "notApplicable", Status.UNKNOWN: "open"}
_TEXT = 1024
"""What GitHub keeps of a description."""
_LINK = re.compile(r"\[(?=[^\]]*\]\()")
_BASES = {
    "ROOT": {"uri": "file:///", "description": {"text": "The file system of the machine that was judged."}},
    "HOME": {"description": {"text": "The home directory of the user who was judged with it."}},
    "FACTS": {"description": {"text": "Where the machine's facts are kept: dltool snapshot -o machine.json"}},
}


@FORMATS.register("sarif")
def render(report: Report, style: Style) -> str:
    """One run. All of it is ASCII, whatever the terminal's encoding."""
    import json

    judged = cases(report)
    rules = {rule: number for number, rule in enumerate(dict.fromkeys(map(_rule_id, judged)))}
    shown = [case for case in judged if style.verbose or case.finding.status in (*_LEVELS, Status.INFO)]
    ordered = [*problems(shown), *(case for case in shown if not case.finding.status.is_problem)]
    run = {
        "tool": {
            "driver": {
                "name": "dltool",
                "fullName": f"dltool {one_line(report.dltool)}".strip(),
                "version": one_line(report.dltool) or "unknown",
                "shortDescription": {"text": "What is wrong with a GPU machine, and the command that mends it."},
                "rules": _rules(judged, rules),
            }
        },
        "invocations": [_invocation(report, judged, rules)],
        "originalUriBaseIds": _BASES,
        "columnKind": "unicodeCodePoints",
        "results": [_result(case, rules) for case in ordered],
        "properties": _properties(report, judged),
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule_id(case: Case) -> str:
    name = one_line(case.finding.id) or "finding"
    return name if case.room == "doctor" else f"{case.room}/{name}"


def _rules(judged: Iterable[Case], rules: dict[str, int]) -> list[dict[str, Any]]:
    first: dict[str, Case] = {}
    worst: dict[str, Status] = {}
    for case in judged:
        name = _rule_id(case)
        first.setdefault(name, case)
        worst[name] = max(worst.get(name, Status.SKIP), case.finding.status, key=lambda status: status.severity)
    return [_rule(name, first[name], worst[name]) for name in rules]


def _rule(name: str, case: Case, worst: Status) -> dict[str, Any]:
    question, help_text = _explained(case)
    link = {"helpUri": case.finding.doc} if re.fullmatch(r"https?://[\w./#?=&%+-]+", case.finding.doc) else {}
    return {
        "id": name,
        "name": "".join(word.capitalize() for word in re.findall(r"[A-Za-z0-9]+", name)) or "Finding",
        "shortDescription": {"text": clip(question, _TEXT)},
        "fullDescription": {"text": clip(help_text, _TEXT)},
        "help": {"text": help_text},
        "defaultConfiguration": {"level": _LEVELS.get(worst, "note")},
        "properties": {"tags": ["gpu", case.room]},
        **link,
    }


def _explained(case: Case) -> tuple[str, str]:
    """What the rule asks, and all that `--explain` says of it; for rules of strangers, what it found."""
    from dltool.checks import CHECKS
    from dltool.errors import UsageError

    if case.room == "doctor":
        try:
            item = CHECKS.get(case.finding.id)
            return _text(item.question), _text(item.explanation)
        except UsageError:
            pass  # of another version, or no check at all
    asked = f"{case.room}: {(one_line(case.finding.id) or 'finding').replace('-', ' ')}"
    return _text(asked), _text("\n".join([asked, *explanation(case.finding, commands=False)]))


def _result(case: Case, rules: dict[str, int]) -> dict[str, Any]:
    finding = case.finding
    kind = _KINDS.get(finding.status, "fail")
    files = [(path, fact) for fact in finding.evidence if (path := path_of(fact))]
    location = {"physicalLocation": _place(files[0][0] if files else None), "logicalLocations": _devices(finding)}
    fixes = "".join(f"\nfix {one_line(remedy.text)}" for remedy in finding.remedies)
    why = f"\n{finding.why}" if finding.why else ""
    return {
        "ruleId": _rule_id(case),
        "ruleIndex": rules[_rule_id(case)],
        "kind": kind,
        "level": _LEVELS[finding.status] if kind == "fail" else "none",
        "message": {"text": _text(f"{one_line(finding.summary)}{why}{fixes}")},
        "locations": [location],
        "relatedLocations": [
            {"id": number, "physicalLocation": _place(path), "message": {"text": _text(one_line(seen(fact)))}}
            for number, (path, fact) in enumerate(files)
        ],
        "partialFingerprints": {"dltoolFinding/v1": case.fingerprint},
        "properties": _facts(finding),
    }


def _devices(finding: Finding) -> list[dict[str, Any]]:
    if not finding.devices:
        return [{"name": "machine", "fullyQualifiedName": "machine", "kind": "resource"}]
    each = dict.fromkeys(finding.devices)
    return [{"name": f"GPU {index}", "fullyQualifiedName": f"machine/gpu/{index}", "kind": "resource"} for index in each]


def _place(path: str | None) -> dict[str, Any]:
    """A file on the machine; without one, the machine's facts. GitHub takes no result without a line."""
    from urllib.parse import quote

    if path is None:
        uri, base = "machine.json", "FACTS"
    elif path.startswith("~"):
        uri, base = quote(path.lstrip("~/")), "HOME"
    else:
        uri, base = quote(path.lstrip("/")), "ROOT"
    return {"artifactLocation": {"uri": uri or "./", "uriBaseId": base}, "region": {"startLine": 1}}


def _facts(finding: Finding) -> dict[str, Any]:
    return {
        "status": finding.status.value,
        "scope": finding.scope.value,
        "devices": list(finding.devices),
        "causedBy": one_line(finding.caused_by or "") or None,
        "evidence": [_evidence(fact) for fact in finding.evidence],
        "remedies": [
            {"text": one_line(remedy.text), "commands": list(map(visible, remedy.commands)), "risk": remedy.risk.value}
            for remedy in finding.remedies
        ],
    }


def _evidence(fact: Evidence) -> dict[str, Any]:
    value = fact.value
    if not isinstance(value, bool | int | None):
        value = visible(str(value))  # "nan" and "inf" too: JSON has no numbers for them
    return {"fact": one_line(fact.fact), "value": value, "readFrom": one_line(fact.read_from)}


def _invocation(report: Report, judged: Iterable[Case], rules: dict[str, int]) -> dict[str, Any]:
    levels = {Status.CRASH: "error", Status.UNKNOWN: "note"}
    told = [case for case in judged if case.finding.status in levels]
    crashed = any(case.finding.status is Status.CRASH for case in told)
    return {
        "executionSuccessful": not crashed and not report.interrupted,
        "toolExecutionNotifications": [
            {
                "level": levels[case.finding.status],
                "message": {"text": _text("\n".join([one_line(case.finding.summary), *explanation(case.finding)]))},
                "associatedRule": {"id": _rule_id(case), "index": rules[_rule_id(case)]},
            }
            for case in told
        ],
    }


def _properties(report: Report, judged: Iterable[Case]) -> dict[str, Any]:
    """Of the run: what was looked at, and what no result can say."""
    measured = [case for case in judged if case.room == "bench"]
    return {
        "headline": headline(report),
        "created": one_line(report.created),
        "machine": dict(about(report.machine)),
        "boards": [one_line(board.name) for board in report.boards],
        "measurements": {case.name: one_line(case.finding.summary) for case in measured},
    }


def _text(text: str) -> str:
    """A message string: braces are placeholders and brackets links, unless they are written so."""
    return _LINK.sub(r"\\[", visible(text).replace("{", "{{").replace("}", "}}"))
