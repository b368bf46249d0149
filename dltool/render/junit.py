"""The report as JUnit XML, for Jenkins, GitLab, Buildkite and whatever else draws tests.

JUnit knows no warning and no "could not look": a warning fails where the exit code says so (`--fail-on warn`), else it passes
and is told in the output of the suite; what could not be judged is skipped, never passed.

Source: what the schemas of Apache Ant's task (windyroad/JUnit-Schema) and of Jenkins' xUnit plugin (junit-10.xsd) both accept.
"""

from __future__ import annotations

import datetime
import math
from collections import Counter
from typing import TYPE_CHECKING

from dltool.render import FORMATS, Style
from dltool.render.cases import Case, about, cases, explanation, headline, one_line, title
from dltool.results import Report, Status

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_NEVER = "1970-01-01T00:00:00"


@FORMATS.register("junit")
def render(report: Report, style: Style) -> str:
    """One test suite, a test case for everything that was judged. All of it is ASCII, whatever the terminal's encoding."""
    from xml.etree import ElementTree

    judged = cases(report)
    outcomes = [_outcome(case, style.bar) for case in judged]
    counts = Counter(outcomes)
    host = one_line(report.machine.os.hostname or "") if report.machine else ""
    suites = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(
        suites,
        "testsuite",
        id="0",
        name=title(report),
        package="dltool",
        timestamp=_timestamp(report.created),
        hostname=host or "localhost",
        tests=str(len(judged)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
        time=_decimal(sum(case.seconds for case in judged)),
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _properties(report):
        ElementTree.SubElement(properties, "property", name=name, value=value)
    for case, outcome in zip(judged, outcomes, strict=True):
        suite.append(_test(case, outcome))
    ElementTree.SubElement(suite, "system-out").text = _told(report, judged, outcomes)
    ElementTree.SubElement(suite, "system-err")
    ElementTree.indent(suites)
    body = ElementTree.tostring(suites, encoding="us-ascii", xml_declaration=False).decode("ascii")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _outcome(case: Case, bar: Status) -> str:
    status = case.finding.status
    if status is Status.CRASH:
        return "error"
    if status in (Status.SKIP, Status.UNKNOWN):
        return "skipped"
    return "failure" if status.is_problem and status.severity >= bar.severity else "passed"


def _test(case: Case, outcome: str) -> Element:
    from xml.etree import ElementTree

    test = ElementTree.Element("testcase", classname=f"dltool.{case.room}", name=case.name, time=_decimal(case.seconds))
    finding = case.finding
    if outcome == "passed":
        return test
    could_not = "could not look: " if finding.status is Status.UNKNOWN else ""
    element = ElementTree.SubElement(test, outcome, message=could_not + one_line(finding.summary))
    if outcome != "skipped":  # for which Ant knows no type
        element.set("type", finding.status.value)
    element.text = "\n".join(explanation(finding))
    return test


def _properties(report: Report) -> list[tuple[str, str]]:
    boards = [("board", one_line(board.name)) for board in report.boards]
    return [("dltool", one_line(report.dltool)), *about(report.machine), *boards]


def _told(report: Report, judged: list[Case], outcomes: list[str]) -> str:
    """What no test case has room for: the headline, and what passed with something to say."""
    lines = [headline(report)]
    for case, outcome in zip(judged, outcomes, strict=True):
        finding = case.finding
        if outcome == "passed" and (finding.status is not Status.PASS or case.room == "bench"):
            lines += ["", f"{finding.status.value.upper()} {case.name}: {one_line(finding.summary)}"]
            lines += [f"    {line}" for line in explanation(finding)]
    install = report.compat.recommend.install if report.compat and report.compat.recommend else ()
    return "\n".join((*lines, *(one_line(command) for command in install)))


def _timestamp(created: str) -> str:
    """In UTC, without a zone, as the schema wants it."""
    try:
        moment = datetime.datetime.fromisoformat(created.replace("Z", "+00:00"))
        if moment.tzinfo is not None:
            moment = moment.astimezone(datetime.timezone.utc)
        return moment.replace(tzinfo=None, microsecond=0).isoformat()
    except (ValueError, OverflowError):
        return _NEVER


def _decimal(value: float) -> str:
    """Seconds in milliseconds, without sign and exponent; a figure that cannot be one is 0."""
    return f"{value if math.isfinite(value) and 0 < value < 1e9 else 0.0:.3f}"
