"""Whole questions: the verdict, and a recommendation that is new enough and works itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bilingual import assert_alike, is_left_in_english
from msgspec.structs import replace

from dltool import compat, lang, tables
from dltool.compat.answer import verdict
from dltool.compat.ask import ask
from dltool.render import Style
from dltool.render.terminal.compat import show
from dltool.render.terminal.page import Page
from dltool.results import Compatibility, Recommendation, Report

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


# --- in Chinese --------------------------------------------------------------------------------------------------------------

RICH = (
    {"torch": "2.9.1+cu128", "cc": "6.1", "driver": "535", "with_": ["flash-attn==2.8.3", "numpy==2.1", "torchvision==0.20.1"]},
    {"torch": "2.2.2", "gpu": "T4", "driver": "470", "with_": ["numpy==2.0", "torchtext==0.17.1", "torchaudio==2.2.1+cpu"]},
    {"torch": "2.13", "gpu": "A100", "driver": "470", "python": "3.8", "glibc": "2.17", "kernel_module": "open",
     "compat_package": "cuda-compat-13-0", "extension_ptx": "13.0", "gcc": "15", "cuda": "12.4", "cudnn": "8.9.7"},
    {"torch": "2.13.0+cu132", "gpu": "RTX 4090", "driver": "999.1", "compat_package": "cuda-compat-12-2", "cuda": "13.0",
     "cudnn": "9.1.0", "gcc": "5", "with_": ["torchaudio", "nvidia-nccl-cu12==2.18", "xformers==0.0.20"]},
    {"torch": "2.0.1", "gpu": "GTX 750", "python": "3.14", "os": "windows", "cuda": "99.1", "cudnn": "99.9",
     "with_": ["tensorflow==2.15", "torchtext==0.18", "nvidia-nccl-cu12==2.1", "onnxruntime-gpu==9.9"]},
    {"torch": "2.9.1+cu126", "cc": "8.7,9.9", "driver": "615.10", "arch": "aarch64", "with_": ["triton==9.9", "torchdata"]},
    {"torch": "2.6.0+cu118", "cc": "12.0", "driver": "515.43.04", "kernel_module": "proprietary", "glibc": "musl"},
    {"torch": "99.1", "gpu": "H100", "driver": "340.1", "os": "wsl", "kernel_module": None},
    {"torch": "2.13", "gpu": "GH200", "kernel_module": "proprietary", "driver": "550.54.14", "extension_ptx": "12.4"},
)  # fmt: skip


def _texts(asked: tuple[str, ...], found: Compatibility) -> Iterator[str]:
    yield from (*asked, *found.relax)
    for finding in found.findings:
        yield from (finding.summary, finding.why, *(remedy.text for remedy in finding.remedies))
    if found.recommend:
        yield from (found.recommend.why, found.recommend.needs)


@pytest.mark.parametrize("given", [*(case["given"] for case in CASES), *RICH], ids=str)
def test_an_answer_says_the_same_in_chinese(given: dict[str, Any]) -> None:
    asked = ask(**given)
    english = list(_texts(asked.assumed, compat.answer(asked.question)))
    with lang.speaking("zh"):
        again = ask(**given)
        chinese = list(_texts(again.assumed, compat.answer(again.question)))
    assert again.question == asked.question
    for one, other in zip(english, chinese, strict=True):
        assert_alike(one, other)


def test_every_triton_that_a_torch_pins_has_one_row() -> None:
    pinned = {row["triton"] for row in tables.rows("compat/torch_releases") if row["triton"]}
    for version in pinned:
        rows = [row for row in tables.rows("compat/triton") if compat.versions.accepts(row["triton"], version)]
        assert len(rows) == 1, version


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"torch": "2.9.1+cu128", "cc": "8.6", "driver": "570.26"}, "ok：可以搭配"),
        ({"torch": "2.9.1+cu128", "cc": "6.1"}, "error：不能搭配"),
        ({"os": "linux"}, "没有可判断的内容：请给出两项需要搭配的东西"),
        ({"cc": "3.0", "python": "3.14"}, "没有已发布的 PyTorch 符合全部条件。"),
    ],
    ids=["ok", "error", "nothing", "no torch"],
)
def test_the_page_of_an_answer_is_in_chinese(given: dict[str, Any], says: str) -> None:
    page = Page(Style(width=100))
    with lang.speaking("zh"):
        answer = replace(compat.answer(ask(**given).question), data_until="2026-11-21")
        show(Report(compat=answer), page)
    assert says in page.text()
    assert not is_left_in_english(re.sub(r"\([^()]*csv[^()]*\)?", "", page.text().replace("\n", " ")))
    assert "数据表截至 2026-11-21；更新的内容不在其中" in page.text()
