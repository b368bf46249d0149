"""Every check says the same in both languages: on every machine with a fault, on what only looks like one, on the healthy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import recorded
import test_checks
import test_checks_health
import test_checks_host
import test_checks_links
import test_checks_nodes
import test_checks_told
from bilingual import LINK, assert_findings_alike, is_left_in_english, lacks_quoted
from recorded import altered

from dltool import checks, lang
from dltool.machine import Machine

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("cases.json").read_text())
CHANGED = [
    *test_checks.FAULTS.items(),
    *test_checks_health.LOOKALIKES.items(),
    *test_checks_links.LOOKALIKES.items(),
    *test_checks_host.HEALTHY.items(),
    *test_checks_nodes.OUTCOMES.items(),
    *test_checks_told.TOLD.items(),
    *((case["id"], (case["machine"], case["facts"])) for case in CASES),
]
"""The first two of each are a recorded machine and what is other about it."""
MACHINES = {name: recorded.load(name) for name in recorded.NAMES} | {
    f"{number}: {name}": altered(*changed[:2]) for number, (name, changed) in enumerate(CHANGED)
}


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_findings_say_the_same_in_chinese(machine: Machine) -> None:
    english = checks.run(machine)
    headline = checks.headline(english, machine)
    with lang.speaking("zh"):
        chinese = checks.run(machine)
        assert checks.headline(chinese, machine) != headline
    reasons = {part for reason in machine.gaps.values() for part in (reason, reason.rpartition(": ")[2])}
    assert_findings_alike(english, chinese, verbatim=reasons)


@pytest.mark.parametrize("check", [item for _, item in checks.CHECKS], ids=lambda item: item.id)
def test_every_check_is_explained_in_both(check: checks.Check) -> None:
    english = check.explanation
    with lang.speaking("zh"):
        chinese = check.explanation
    assert english.splitlines()[0].endswith("?")
    assert chinese.splitlines()[0].endswith("？")
    for label, translated in (("Mend: ", "解决："), ("Prevent: ", "预防："), ("See: http", "参见：http")):
        assert f"\n\n{label}" in english, f"{check.id} has no {label}"
        assert f"\n\n{translated}" in chinese, f"{check.id} has no {translated}"
    assert LINK.findall(english) == LINK.findall(chinese)
    assert not lacks_quoted(english, chinese)
    assert not is_left_in_english(chinese)
