"""Whole questions: the verdict, and a recommendation that is new enough and works itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from dltool import compat
from dltool.compat.answer import verdict
from dltool.compat.ask import ask
from dltool.results import Recommendation

CASES = json.loads((Path(__file__).parent / "compat_questions.json").read_text(encoding="utf-8"))["questions"]


def as_recommended(question: compat.Question, found: Recommendation) -> compat.Question:
    """The question once the recommendation is installed: its own cuDNN, its companions, no crutches."""
    companions = dict(pin.split("==") for pin in found.packages)
    kept = {name: version for name, version in question.packages.items() if name not in (*companions, "numpy")}
    return replace(
        question, torch=found.torch, build=found.build, cudnn=None, compat_package=None, extension_ptx=None,
        packages={**kept, **companions},
    )  # fmt: skip


def assert_works(question: compat.Question, found: Recommendation) -> None:
    word = verdict(compat.judge(as_recommended(question, found)))
    assert word == ("warning" if "with a limit" in found.why else "ok")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_question(case: dict[str, Any]) -> None:
    question = ask(**case["given"]).question
    found = compat.answer(question)
    assert found.verdict == case["expect"], [finding.summary for finding in found.findings]
    best = case["best"]
    if best is None:
        assert found.recommend is None
        return
    assert found.recommend is not None
    assert set(best["packages"]) <= set(found.recommend.packages)
    if best["torch"]:
        assert compat.version(found.recommend.torch) >= compat.version(best["torch"])
    if best["build"] and found.recommend.torch == best["torch"]:
        cuda, wanted = compat.cuda_of_build(found.recommend.build), compat.cuda_of_build(best["build"])
        assert cuda is not None
        assert wanted is not None
        assert compat.version(cuda) >= compat.version(wanted)
    if not found.recommend.needs:
        assert_works(question, found.recommend)
    for command in found.recommend.install:
        assert f'"torch=={found.recommend.torch}+{found.recommend.build}"' in command


def test_all_questions_were_carried_over() -> None:
    assert len({case["id"] for case in CASES}) == 35
