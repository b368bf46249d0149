"""Environments that people reported, replayed: cases.json holds what was other than on a recorded machine.

`facts` are paths and values as for `recorded.altered`; `problems` are all the checks that must find something to mend. A case
without problems is healthy, or cannot be told from a healthy one by what is recorded: its `kind` and its note say which. What
suits most programs and not this one is no problem: `informs` is the check that says so, with a remedy.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import recorded

from dltool import checks
from dltool.results import Status

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("cases.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_reported_environment(case: dict[str, Any]) -> None:
    machine = recorded.altered(case["machine"], case["facts"])
    assert recorded.problems(machine) == case["problems"]
    roots = [finding for finding in checks.run(machine) if finding.status.is_problem and finding.caused_by is None]
    assert {finding.id for finding in roots} <= {next(iter(case["problems"]), "")}, "the first named is the root"


@pytest.mark.parametrize("case", [case for case in CASES if "informs" in case], ids=lambda case: case["id"])
def test_what_is_a_default_is_told_with_a_remedy(case: dict[str, Any]) -> None:
    found = recorded.judge(recorded.altered(case["machine"], case["facts"]))[case["informs"]]
    assert found.status is Status.INFO
    assert found.remedies


@pytest.mark.parametrize("case", [case for case in CASES if "unknown" in case.get("note", "")], ids=lambda case: case["id"])
def test_what_cannot_be_told_is_not_passed(case: dict[str, Any]) -> None:
    found = checks.run(recorded.altered(case["machine"], case["facts"]))
    assert Status.UNKNOWN in {finding.status for finding in found}


def test_the_cases_are_told_apart() -> None:
    assert len({case["id"] for case in CASES}) == len(CASES)
    assert all(case["source"] and case["title"] for case in CASES)
