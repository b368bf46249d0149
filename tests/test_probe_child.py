"""Commands that end, hang, flood and leave something behind."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from dltool.probe import child

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


def python(code: str, timeout_s: float = 30) -> child.Answer:
    return child.run([sys.executable, "-c", code], timeout_s=timeout_s)


def test_output_errors_and_return_code() -> None:
    answer = python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert answer == child.Answer("out\n", "err\n", 3)
    assert not answer.timed_out


def test_death_by_a_signal_is_a_negative_return_code() -> None:
    assert child.run(["sh", "-c", "echo last words; kill -SEGV $$"], timeout_s=30) == child.Answer("last words\n", "", -11)


def test_what_is_no_utf_8_is_replaced() -> None:
    assert child.run(["printf", r"a\377b"], timeout_s=30).output == "a\N{REPLACEMENT CHARACTER}b"


def test_more_than_a_pipe_holds() -> None:
    answer = python("import sys; sys.stderr.write('e' * 10**6); sys.stdout.write('o' * 10**6)")
    assert (len(answer.output), len(answer.errors), answer.returncode) == (10**6, 10**6, 0)


def test_standard_input_is_empty() -> None:
    assert child.run(["cat"], timeout_s=30) == child.Answer("", "", 0)


def test_a_time_out_returns_what_was_said_until_then() -> None:
    began = time.monotonic()
    answer = child.run(["sh", "-c", "echo said; echo warned >&2; exec sleep 60"], timeout_s=0.3)
    assert answer == child.Answer("said\n", "warned\n", None)
    assert answer.timed_out
    assert 0.3 <= time.monotonic() - began < 2


def test_a_time_out_of_a_process_that_ignores_signals() -> None:
    answer = child.run(["sh", "-c", "trap '' TERM INT HUP; echo deaf; while :; do sleep 0.05; done"], timeout_s=0.3)
    assert (answer.output, answer.returncode) == ("deaf\n", None)


def test_a_grandchild_that_keeps_the_pipes_open_is_not_waited_for() -> None:
    began = time.monotonic()
    answer = child.run(["sh", "-c", "sleep 2 & echo done"], timeout_s=0.3)
    assert answer == child.Answer("done\n", "", 0)
    assert time.monotonic() - began < 1.5


def test_a_time_out_ends_the_grandchildren_too() -> None:
    answer = child.run(["sh", "-c", "sleep 60 & echo $!; wait"], timeout_s=0.3)
    assert answer.returncode is None
    grandchild = int(answer.output)
    deadline = time.monotonic() + 2
    while running(grandchild) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not running(grandchild)


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_missing_command() -> None:
    with pytest.raises(FileNotFoundError, match="no-such-command"):
        child.run(["no-such-command"], timeout_s=30)


def test_a_file_that_cannot_be_run(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("")
    with pytest.raises(PermissionError):
        child.run([str(tmp_path / "script")], timeout_s=30)


def test_our_modules_run_as_scripts_whatever_the_working_directory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json.py", "msgspec.py", "dltool.py", "pynvml.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    answer = child.python("dltool.probe.nvml_child", timeout_s=30)
    assert (answer.returncode, answer.errors) == (0, "")
    assert "> nvmlInit\n" in answer.output
