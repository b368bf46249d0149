"""The rules by which benchmarks/peers.py says who names a fault."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from broken import SETUPS, Run

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SETUP = SETUPS["old-cudnn"]
HEALTHY = Run(0, "LD_LIBRARY_PATH is set\nall is well", "", 1.0)


@pytest.fixture(scope="module")
def peers() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
        spec = importlib.util.spec_from_file_location("benchmarks_peers", BENCHMARKS / "peers.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, spec.name, module)  # where its dataclasses look for their names
        spec.loader.exec_module(module)
    return module


NAMING = "LD_LIBRARY_PATH gives PyTorch libcudnn.so.9 9.1.0 from /old"
TRACEBACK = "Traceback (most recent call last):\nOSError: undefined symbol: cudnn_new"


@pytest.mark.parametrize(
    ("run", "word", "line"),
    [
        pytest.param(Run(1, NAMING, "", 1.0), "names it", NAMING, id="named"),
        pytest.param(
            Run(1, "LD_LIBRARY_PATH gives PyTorch\n   libcudnn.so.9 9.1.0 from /old", "", 1.0),
            "names it",
            NAMING,
            id="broken line",
        ),
        pytest.param(Run(1, NAMING, TRACEBACK, 1.0), "names it", NAMING, id="named before the crash"),
        pytest.param(Run(None, "", "", 30.0), "hung", "", id="hung"),
        pytest.param(Run(0, "torch is NOT installed", "", 1.0), "wrong", "torch is NOT installed", id="wrong"),
        pytest.param(Run(127, "", "env: no such file", 1.0), "cannot start", "env: no such file", id="not started"),
        pytest.param(Run(-11, "", "", 1.0), "crashed", "(signal 11)", id="signal"),
        pytest.param(Run(1, "", TRACEBACK, 1.0), "crashed", "OSError: undefined symbol: cudnn_new", id="traceback"),
        pytest.param(Run(1, "undefined symbol: cudnn_new", "", 1.0), "shows it", "undefined symbol: cudnn_new", id="shown"),
        pytest.param(Run(1, "all is well", "", 1.0), "silent", "", id="silent"),
    ],
)
def test_verdicts(peers: ModuleType, run: Run, word: str, line: str) -> None:
    assert peers.judge(SETUP, run, HEALTHY) == peers.Verdict(word, line)


def test_what_is_said_of_the_healthy_twin_too_is_no_answer(peers: ModuleType) -> None:
    run = Run(1, NAMING, "", 1.0)
    assert peers.judge(SETUP, run, run).word == "silent"


def test_the_page_is_made_of_these_verdicts(peers: ModuleType) -> None:
    def both(run: Run) -> dict[str, dict[str, object]]:
        healthy = {"returncode": 0, "stdout": "fine", "stderr": "", "seconds": 1.0}
        fields = ("returncode", "stdout", "stderr", "seconds")
        return {"broken": {name: getattr(run, name) for name in fields}, "healthy": healthy}

    runs = {name: both(Run(0, "fine", "", 2.0)) for name in peers.PROGRAMS}
    runs["dltool doctor"] = both(Run(1, NAMING, "", 1.0))
    kept = {
        "date": "2026-01-02",
        "python": "3.11.7",
        "versions": {"torch": "2.13.0"},
        "runs": {SETUP.name: runs},
        "left_out": {},
    }
    page = peers.page(kept)
    assert f"| dltool doctor | **names it** | 1 (0) | 1.0x | {NAMING} |" in page
    assert "| env-doctor check | silent | 0 (0) | 2.0x |  |" in page
    assert "| names the fault, of 1 | 1 | 0 | 0 | 0 | 0 |" in page
    assert SETUP.named_by in page
