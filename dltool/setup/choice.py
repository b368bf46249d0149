"""Which torch, build and Python an environment gets, and the exact requirements: every judgement is that of `dltool.compat`."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from dltool import tables
from dltool.compat import builds, packages
from dltool.compat.answer import judge, recommend, verdict
from dltool.compat.question import Question
from dltool.compat.rules_packages import COMPANIONS
from dltool.compat.versions import minor, version
from dltool.results import Status

_PYTHONS = ("3.12", "3.11", "3.13", "3.10", "3.14", "3.9", "3.8", "3.15", "3.7", "3.6")
"""The most usual first."""
BUILT_PER_CUDA = ("torch", "torchvision", "torchaudio")
"""Their wheels carry the build in their version and are on PyTorch's own index."""


class Choice(Struct, frozen=True, kw_only=True):
    """What is installed."""

    question: Question
    """What was asked, with torch, build and Python filled in."""
    why: str
    needs: str = ""
    """What must be changed besides: "driver branch 525 to 580"."""


def choose(question: Question) -> Choice | None:
    """What was asked for exactly, if it holds; else the newest that suits; None where nothing does."""
    if question.torch is not None or _is_exact(question):
        found = _as_asked(question)
        return found and _with_python(found)
    best = recommend(question)
    if best is None:
        return None
    chosen = replace(question, torch=best.torch, build=best.build)
    moved = replace(chosen, driver=None) if best.needs.startswith("driver") else chosen
    return _with_python(Choice(question=moved, why=best.why, needs=best.needs))


def _is_exact(question: Question) -> bool:
    """Whether something was named that `compat.recommend` leaves open, because it comes along with torch."""
    named = (question.cudnn, question.compat_package, question.extension_ptx)
    return any(named) or any(installed and name in COMPANIONS for name, installed in question.packages.items())


def nearest(question: Question) -> Question:
    """Where nothing suits: the candidate that fails least, to say why."""
    every = [replace(question, torch=torch, build=build) for torch, build in _candidates(question)]
    newest = builds.releases()[0]["torch"]
    near = [found for found in every if found.torch == (question.torch or newest)] or every[:1] or [question]
    return min(near, key=lambda found: sum(finding.status is Status.FAIL for finding in judge(found)))


def _as_asked(question: Question) -> Choice | None:
    """The first candidate that every rule passes, else the first that works with a limit or is beyond the tables."""
    second: Question | None = None
    for torch, build in _candidates(question):
        candidate = replace(question, torch=torch, build=build)
        word = verdict(judge(candidate))
        if word == "ok":
            return Choice(question=candidate, why="the newest build of what was asked")
        if word in ("warning", "unknown") and second is None:
            second = candidate
    return Choice(question=second, why="as asked; see its limits") if second else None


def _candidates(question: Question) -> Iterator[tuple[str, str]]:
    if question.torch is not None and question.build is not None:
        yield question.torch, question.build
        return
    rows = builds.releases() if question.torch is None else [builds.torch_release(question.torch)]
    for row in filter(None, rows):
        for build in ("cpu",) if question.cpu_only else builds.cuda_builds(row):
            if question.cudnn is None or builds.cudnn_of_build(row, build):  # what is not known cannot be replaced
                yield row["torch"], build


def _with_python(choice: Choice) -> Choice:
    """The first usual Python that every rule passes, where none was asked."""
    question = choice.question
    row = builds.torch_release(question.torch or "")
    if question.python is not None or row is None:
        return choice
    for python in _PYTHONS:
        known = row["python_min"] and row["python_max"]
        if known and version(row["python_min"]) <= version(python) <= version(row["python_max"]):
            candidate = replace(question, python=python)
            if verdict(judge(candidate)) != "error":
                return replace(choice, question=candidate)
    return choice


def requirements(question: Question) -> tuple[str, ...]:
    """Everything that is installed, as exact as it is known: torch first."""
    pins = [f"torch=={question.torch}+{question.build}"]
    pins += [_pin(question, name, installed) for name, installed in question.packages.items()]
    limit = packages.companion(question.torch or "", "numpy", windows=question.os == "windows")
    if "numpy" not in question.packages and limit is not None and "<" in limit["accepts"]:
        pins.append(f"numpy{limit['accepts']}")
    return tuple(pins)


def constraints(question: Question) -> tuple[str, ...]:
    """What must not move, installed or not: torch and the companions that belong to it."""
    names = [name for name in COMPANIONS if name not in question.packages]
    rows = {name: packages.companion(question.torch or "", name, windows=question.os == "windows") for name in names}
    belonging = {
        name: "" for name, row in rows.items() if row is not None and row["bound"] != "none" and row["accepts"] != ">=1"
    }
    served = {name: "" for name in belonging if _is_served(question, rows[name])}
    return requirements(replace(question, packages={**question.packages, **served}))


def _is_served(question: Question, row: tables.Row | None) -> bool:
    return row is not None and (not row["builds"] or question.build in row["builds"].split())


def _pin(question: Question, name: str, installed: str) -> str:
    label = f"+{question.build}" if name in BUILT_PER_CUDA else ""
    if installed:
        return f"{name}=={installed.partition('+')[0]}{label}"
    row = packages.companion(question.torch or "", name, windows=question.os == "windows")
    if row is not None and row["version"]:
        return f"{name}=={row['version']}{label}"
    return f"{name}{row['accepts']}" if row is not None else name


def compiled(question: Question) -> tuple[str, ...]:
    """The packages for which there is no ready wheel, so that pip compiles them."""
    served = {name: wheels_for(question, name) for name in question.packages}
    return tuple(name for name, minors in served.items() if minors and minor(question.torch or "") not in minors)


def wheels_for(question: Question, name: str) -> tuple[str, ...]:
    """The torch minors for which a package has ready wheels, newest last; nothing where that is no matter, or not known."""
    installed = question.packages.get(name, "")
    every = [row for row in tables.rows("compat/other_stack") if row["component"] == name]
    rows = packages.stack_rows(name, installed)[0] if installed else every
    return tuple(sorted({found for row in rows for found in row["wheels_for_torch"].split()}, key=version))
