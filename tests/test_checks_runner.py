"""The runner of the checks: what it makes of broken, slow, doubled and unknown ones, and of plugins."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import recorded

from dltool import checks
from dltool.checks import CHECKS, Check
from dltool.errors import ExitCode, UsageError
from dltool.machine import Machine
from dltool.registry import Registry
from dltool.results import Finding, Remedy, Report, Status

Add = Callable[[Check], None]


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch) -> Add:
    """Register a check for the length of a test."""
    CHECKS.names()
    monkeypatch.setattr(CHECKS, "_items", dict(CHECKS))

    def register(check: Check) -> None:
        CHECKS.add(check.id, check)

    return register


def raises(machine: Machine) -> Iterator[Finding]:
    """Does it break?"""
    yield Finding(status=Status.PASS, summary="so far, so good")
    raise LookupError("no such thing")


def passes(machine: Machine) -> Iterator[Finding]:
    """Is all well?"""
    yield Finding(status=Status.PASS, summary="well")


class Clock:
    """Time that goes on by a fixed step whenever it is read."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_a_check_that_raises_costs_no_other(add: Add) -> None:
    machine = recorded.load("h100_server")
    others = checks.run(machine)
    add(Check("broken-one", raises))
    found = checks.run(machine)
    assert tuple(finding for finding in found if finding.id != "broken-one") == others
    (crash,) = (finding for finding in found if finding.id == "broken-one")
    assert crash.status is Status.CRASH
    assert "LookupError: no such thing" in crash.summary
    assert "bug" in crash.why
    assert re.search(r"test_checks_runner\.py:\d+", str(crash.evidence[0].value))
    assert "dltool snapshot" in recorded.commands(crash)
    assert Report(findings=found).exit_code() is ExitCode.FINDINGS
    assert checks.headline(found, machine) == crash.summary


def test_a_check_that_says_nothing_is_no_pass(add: Add) -> None:
    add(Check("silent-check", lambda machine: iter(())))
    (found,) = checks.run(Machine(), only=["silent-check"])
    assert found.status is Status.UNKNOWN


def test_a_plugin_that_answers_nonsense_is_a_crash(add: Add) -> None:
    add(Check("nonsense", lambda _: ["all well"]))  # type: ignore[list-item, return-value]
    (found,) = checks.run(Machine(), only=["nonsense"])
    assert found.status is Status.CRASH


def test_a_check_that_names_its_cause_is_believed(add: Add) -> None:
    finding = Finding(status=Status.UNKNOWN, summary="hidden", caused_by="driver-missing")
    add(Check("dependent", lambda _: [finding], caused_by=("nouveau-loaded",)))
    (found,) = checks.run(Machine(), only=["dependent"])
    assert found.caused_by == "driver-missing"


def test_a_chain_of_causes_ends_at_its_root(add: Add) -> None:
    fail = Finding(status=Status.FAIL, summary="x", remedies=(Remedy(text="y"),))
    add(Check("first", lambda _: [fail]))
    add(Check("second", lambda _: [fail], caused_by=("first",)))
    add(Check("third", lambda _: [fail], caused_by=("second",)))
    found = checks.run(Machine(), only=["third", "second", "first"])
    assert [finding.caused_by for finding in found] == ["first", "first", None]


def test_unknown_is_not_healthy() -> None:
    findings = [
        Finding(id="gpu-absent", status=Status.INFO, summary="no NVIDIA GPU: CPU only"),
        Finding(id="open-files-low", status=Status.UNKNOWN, summary="?"),
    ]
    assert checks.headline(findings[:1], Machine()) == "healthy; no NVIDIA GPU: CPU only"
    assert checks.headline(findings, Machine()) == "no problem found: no NVIDIA GPU: CPU only; 1 thing could not be looked at"


def test_a_problem_whose_cause_is_not_here_is_shown() -> None:
    stray = Finding(id="x", status=Status.WARN, summary="stray", remedies=(Remedy(text="y"),), caused_by="elsewhere")
    assert checks.headline([stray], Machine()) == "stray"


def test_a_slow_check_says_so(add: Add) -> None:
    add(Check("slow-one", passes))
    first, second = checks.run(Machine(), only=["slow-one"], clock=Clock(2.5))
    assert first.status is Status.PASS
    assert (second.id, second.status, second.summary) == ("slow-one", Status.INFO, "the check itself took 2.5 s")
    assert len(checks.run(Machine(), only=["slow-one"], clock=Clock(0.2))) == 1


def test_two_checks_of_one_name_are_an_error(add: Add) -> None:
    with pytest.raises(ValueError, match="two checks are called 'gpu-absent'"):
        checks.check("gpu-absent")(passes)


def test_only_and_skip() -> None:
    chosen = {finding.id for finding in checks.run(Machine(), only=["gpu-absent", "shm-small"], skip=["shm-small"])}
    assert chosen == {"gpu-absent"}
    rest = {finding.id for finding in checks.run(Machine(), skip=["shm-small"])}
    assert rest == set(CHECKS.names()) - {"shm-small"}


@pytest.mark.parametrize("option", ["only", "skip"])
@pytest.mark.parametrize(
    ("asked", "suggested"),
    [("driver-to-old", "driver-too-old"), ("gpu-missing", "driver-missing"), ("GPU-Absent", "gpu-absent")],
)
def test_an_unknown_name_suggests_its_neighbours(option: str, asked: str, suggested: str) -> None:
    with pytest.raises(UsageError) as raised:
        checks.run(Machine(), **{option: [asked]})  # type: ignore[arg-type]
    assert asked in str(raised.value)
    assert f"`{suggested}`" in raised.value.remedy
    assert "dltool doctor --list" in raised.value.remedy


def test_a_broken_plugin_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "dltool_extra-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: dltool-extra\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[dltool.checks]\ngone = dltool_extra_gone\ndoubled = dltool_extra_doubled\n")
    (tmp_path / "dltool_extra_doubled.py").write_text(
        "from dltool.checks import check\n\n@check('gpu-absent')\ndef again(machine):\n    'Is it there?'\n    yield\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    CHECKS.names()
    found: Registry[Check] = Registry("check", package="dltool.checks", entry_points="dltool.checks")
    found.names()
    assert set(found.broken) == {"gone (dltool_extra_gone)", "doubled (dltool_extra_doubled)"}

    monkeypatch.setattr(CHECKS, "broken", found.broken)
    plugins = [finding for finding in checks.run(recorded.load("cpu_only")) if finding.id == "plugin-broken"]
    assert [finding.status for finding in plugins] == [Status.WARN, Status.WARN]
    reasons = "\n".join(str(finding.evidence[0].value) for finding in plugins)
    assert "ModuleNotFoundError: No module named 'dltool_extra_gone'" in reasons
    assert "two checks are called 'gpu-absent'" in reasons
    assert Report(findings=tuple(plugins)).exit_code() is ExitCode.HEALTHY
    assert Report(findings=tuple(plugins)).exit_code(Status.WARN) is ExitCode.FINDINGS


@pytest.mark.parametrize("name", CHECKS.names())
class TestEveryCheck:
    def test_its_name_is_kebab_case(self, name: str) -> None:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", name)

    def test_its_explanation_opens_with_a_question(self, name: str) -> None:
        check = CHECKS.get(name)
        assert re.fullmatch(r"[A-Z][^?]+\?", check.question)
        question, blank, *meaning = check.explanation.split("\n")
        assert question == check.question
        assert blank == ""
        assert meaning, "and goes on with what it means when the answer is no"

    def test_its_causes_are_checks_and_no_circle(self, name: str) -> None:
        above, seen = list(CHECKS.get(name).caused_by), set()
        while above:
            cause = above.pop()
            assert cause != name
            if cause not in seen:
                seen.add(cause)
                above += CHECKS.get(cause).caused_by
