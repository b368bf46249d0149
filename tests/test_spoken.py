"""`dltool doctor` and `dltool compat` in two languages, as their users run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bilingual import CHINESE

from dltool import explanation

ROOT = Path(__file__).parent.parent
MACHINE = ROOT / "tests/machines/gtx1080ti.json"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def dltool(tmp_path: Path) -> Run:
    foreign = ("CUDA_", "LD_", "XDG_", "LC_", "LANG", "DLTOOL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    place = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dltool", *arguments], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=120, env={**kept, **place, **environ}, encoding="utf-8",
        )  # fmt: skip

    return run


def test_the_locale_decides_what_people_read(dltool: Run) -> None:
    run = dltool("doctor", "--machine", str(MACHINE), LANG="zh_CN.UTF-8")
    assert CHINESE.search(run.stdout.splitlines()[0])
    assert "检查对象：" in run.stdout


def test_the_locale_does_not_decide_what_programs_read(dltool: Run) -> None:
    run = dltool("doctor", "--machine", str(MACHINE), "--json", LANG="zh_CN.UTF-8")
    assert not CHINESE.search(run.stdout)


@pytest.mark.parametrize("format_name", ["json", "sarif", "markdown"])
def test_whoever_asks_gets_every_format_in_chinese(dltool: Run, format_name: str) -> None:
    run = dltool("doctor", "--machine", str(MACHINE), "--only", "gpu-absent", "-v", "--format", format_name, "--lang", "zh")
    assert run.returncode == 0
    told = json.dumps(json.loads(run.stdout), ensure_ascii=False) if format_name in ("json", "sarif") else run.stdout
    assert CHINESE.search(told)


def test_the_variable_counts_before_the_locale(dltool: Run) -> None:
    run = dltool("doctor", "--machine", str(MACHINE), LANG="zh_CN.UTF-8", DLTOOL_LANG="en")
    assert not CHINESE.search(run.stdout)


def test_a_terminal_that_has_no_chinese_letters_gets_english(dltool: Run) -> None:
    run = dltool("doctor", "--machine", str(MACHINE), LANG="zh_CN.UTF-8", PYTHONIOENCODING="latin-1")
    assert run.stdout.startswith("no problem found")


@pytest.mark.parametrize("command", ["doctor", "compat"])
def test_an_unknown_language_is_refused(dltool: Run, command: str) -> None:
    run = dltool(command, "--lang", "fr")
    assert run.returncode == 2
    assert run.stderr.startswith("error: --lang fr: not a language that is spoken here")


def test_a_wrong_variable_is_named(dltool: Run) -> None:
    run = dltool("doctor", DLTOOL_LANG="xx")
    assert run.returncode == 2
    assert "DLTOOL_LANG xx" in run.stderr


def test_a_check_is_explained_in_chinese_and_as_json(dltool: Run) -> None:
    english = json.loads(dltool("doctor", "--explain", "baseline-known", "--json").stdout)
    chinese = json.loads(dltool("doctor", "--explain", "baseline-known", "--json", "--lang", "zh").stdout)
    assert english.keys() == chinese.keys()
    assert english["see"] == chinese["see"]
    assert english["question"] == "What of this is known already?"
    assert CHINESE.search(chinese["question"])


def test_an_explanation_is_taken_apart() -> None:
    told = explanation.parse(
        "x", "Is it so?\n\nBecause\nof that.\n\nMend: Do\nthis.\n\nSee: https://a.example/ https://b.example/", caused_by=("y",)
    )
    assert told == explanation.Explanation(
        id="x", question="Is it so?", why=("Because of that.",), mend="Do this.",
        see=("https://a.example/", "https://b.example/"), caused_by=("y",),
    )  # fmt: skip


def test_lines_of_chinese_are_joined_without_a_space() -> None:
    text = "是吗？\n\n因为驱动\n太旧，需要 CUDA\n12。\nDocker 也要。"
    assert explanation.parse("x", text).why == ("因为驱动太旧，需要 CUDA 12。Docker 也要。",)
