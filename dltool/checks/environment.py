"""The Python environment itself: whether its interpreter starts at all."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from dltool.checks import check
from dltool.machine import Machine
from dltool.results import Evidence, Finding, Remedy, Risk, Status

_ACTIVATED = "the activated "
_SLOW = "it did not start within"


@check("environment-broken")
def environment_broken(machine: Machine) -> Iterator[Finding]:
    """Does the Python of the activated environment start?

    A virtual environment holds links to the Python that made it. Once that Python was updated, moved or removed, nothing in the
    environment runs. Or a file that runs at every start (a .pth file, sitecustomize.py) ends or holds up the interpreter.
    """
    reason = machine.gaps.get("python", "")
    if machine.python is not None:
        yield Finding(status=Status.PASS, summary=f"Python {machine.python.version} starts")
        return
    if not reason.startswith(_ACTIVATED):
        yield Finding(
            status=Status.UNKNOWN, summary=f"the Python environment could not be read: {machine.why_missing('python')}"
        )
        return
    executable, _, said = reason.removeprefix(_ACTIVATED).partition(": ")
    slow = said.startswith(_SLOW)
    yield Finding(
        status=Status.WARN if slow else Status.FAIL,
        summary=f"the activated Python does not start: {said} ({executable})",
        why="Every program of this environment is started by it; what is installed in it was not looked at.",
        evidence=(Evidence(fact="python", value=said, read_from=executable),),
        remedies=_remedies(executable, said),
    )


def _remedies(executable: str, said: str) -> tuple[Remedy, ...]:
    prefix = shlex.quote(executable.rpartition("/bin/")[0] or executable)
    anew = Remedy(
        text="Link it to a Python of the same minor version that is here; with another one, make the environment anew.",
        commands=(f"python3 -m venv --upgrade {prefix}",),
    )
    if "no such program" in said:
        return (anew,)
    bare = Remedy(
        text="Try it without what runs at each start (.pth files, sitecustomize.py): if that works, one of those is at fault.",
        commands=(f"timeout 20 {shlex.quote(executable)} -S -c pass", f"ls {prefix}/lib/python*/site-packages/*.pth"),
        risk=Risk.READ_ONLY,
    )
    return (bare, anew)
