"""The report as a GitLab Code Quality report: what merge requests show as got better or worse.

Source: docs.gitlab.com, Code Quality, "Code Quality report format", a subset of the Code Climate specification. A finding needs
a path relative to the repository: that of a file it was read from, else the name that a snapshot of the machine usually has.
"""

from __future__ import annotations

from typing import Any

from dltool.render import FORMATS, Style
from dltool.render.cases import Case, cases, clip, explanation, gpus, one_line, path_of, problems
from dltool.results import Report, Status

_SEVERITIES = {
    Status.FAIL: "critical",
    Status.CRASH: "critical",
    Status.WARN: "major",
    Status.UNKNOWN: "info",
    Status.INFO: "info",
}
_DESCRIPTION = 1000
MACHINE = "machine.json"


@FORMATS.register("gitlab")
def render(report: Report, style: Style) -> str:
    """A list of problems and notes; what passed is not in it. All of it is ASCII, whatever the terminal's encoding."""
    import json

    del style
    judged = cases(report)
    notes = [case for case in judged if case.finding.status in (Status.INFO, Status.UNKNOWN)]
    return json.dumps([_issue(case) for case in (*problems(judged), *notes)], indent=2) + "\n"


def _issue(case: Case) -> dict[str, Any]:
    finding = case.finding
    whose = f" ({gpus(finding)})" if finding.devices else ""
    fix = f" Fix: {one_line(finding.remedies[0].text)}" if finding.remedies else ""
    paths = [path for fact in finding.evidence if (path := path_of(fact))]
    return {
        "type": "issue",
        "check_name": one_line(finding.id) or "finding",
        "description": clip(f"{one_line(finding.summary)}{whose}.{fix}", _DESCRIPTION),
        "content": {"body": "\n".join(explanation(finding))},
        "categories": ["Performance" if case.room == "bench" else "Compatibility"],
        "severity": _SEVERITIES[finding.status],
        "fingerprint": case.fingerprint,
        "location": {"path": (paths[0].lstrip("/") if paths else "") or MACHINE, "lines": {"begin": 1}},
    }
