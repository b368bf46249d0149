"""The report as annotations of a GitHub Actions run. The summary of the step is the markdown, which the command line appends.

Source: actions/runner, `ActionCommand.cs`: a line is a command where it starts with "::", its properties end at the next "::",
and these characters are written as %XX; `ExecutionContext.cs`: a message is cut at 4096 characters.
"""

from __future__ import annotations

from dltool.render import FORMATS, Style
from dltool.render.cases import Case, cases, clip, explanation, gpus, headline, one_line, problems, title
from dltool.results import Report, Status

_COMMANDS = {Status.FAIL: "error", Status.CRASH: "error", Status.WARN: "warning"}
_MESSAGE = 4000
_TITLE = 250


@FORMATS.register("github")
def render(report: Report, style: Style) -> str:
    """A command for each problem, the roots first (a step shows ten of each kind), then notices; nothing of what passed."""
    del style
    judged = cases(report)
    found = problems(judged)
    notes = [case for case in judged if case.finding.status in (Status.INFO, Status.UNKNOWN)]
    first = [] if found else [headline(report)]
    lines = [_command("notice", title(report), text) for text in first]
    lines += [_annotation(case, report) for case in (*found, *notes) if not first or case.finding.summary not in first[0]]
    return "".join(f"{line}\n" for line in lines)


def _annotation(case: Case, report: Report) -> str:
    finding = case.finding
    about = ": ".join(part for part in (title(report), one_line(finding.id), gpus(finding)) if part)
    message = "\n".join([one_line(finding.summary), *explanation(finding)])
    return _command(_COMMANDS.get(finding.status, "notice"), about, message)


def _command(name: str, title_: str, message: str) -> str:
    return f"::{name} title={_property(clip(title_, _TITLE))}::{_data(clip(message, _MESSAGE))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
