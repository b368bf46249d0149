"""Checks of packages beside PyTorch say the same in Chinese, on machines with a fault of them and on those that look so."""

from __future__ import annotations

import re

import pytest
from recorded import altered
from test_checks_host import FAULTS, HEALTHY

from dltool import checks, lang
from dltool.machine import Machine
from dltool.results import Finding

CHECKS = (
    "numpy-mismatched", "triton-mismatched", "packages-clash", "packages-mismatched", "extension-abi-mismatched",
    "cudnn-of-other-major", "float32-without-tensor-cores",
)  # fmt: skip
MACHINES = {name: altered(fault.machine, fault.facts) for name, fault in FAULTS.items() if fault.check in CHECKS}
MACHINES |= {name: altered(*changed) for name, changed in HEALTHY.items()}
CHINESE = re.compile(r"[\u4e00-\u9fff]")
NUMBER = re.compile(r"\d+(?:\.\d+)*")
SENTENCE = re.compile(r"\b[a-z]{2,}(?: [a-z]{2,}){4,}\b")


def texts(finding: Finding) -> tuple[str, ...]:
    return finding.summary, finding.why, *(remedy.text for remedy in finding.remedies)


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_the_same_is_said_in_chinese(machine: Machine) -> None:
    english = checks.run(machine, only=CHECKS)
    with lang.speaking("zh"):
        chinese = checks.run(machine, only=CHECKS)
    for one, other in zip(english, chinese, strict=True):
        assert (one.id, one.status, one.evidence, one.caused_by) == (other.id, other.status, other.evidence, other.caused_by)
        assert [remedy.commands for remedy in one.remedies] == [remedy.commands for remedy in other.remedies]
        for text, translated in zip(texts(one), texts(other), strict=True):
            assert bool(CHINESE.search(translated)) == bool(text), translated
            assert sorted(NUMBER.findall(text)) == sorted(NUMBER.findall(translated)), (text, translated)
            assert not SENTENCE.search(re.sub(r"`[^`]*`", "", translated)), translated
