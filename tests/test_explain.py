"""`dltool doctor --explain` and a log on stdin, as their users run them; and that no stdin stops or diverts doctor in CI."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
Run = Callable[..., "subprocess.CompletedProcess[str]"]
COMMAND = [sys.executable, "-m", "dltool", "doctor"]
OOM = "RuntimeError: CUDA out of memory. Tried to allocate 20.00 MiB"
FELL = "[12.3] NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, name=python, GPU has fallen off the bus."


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    foreign = ("CUDA_", "LD_", "XDG_", "VIRTUAL_ENV", "CONDA_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    place = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data"), "PYTHONPATH": str(ROOT)}
    return {**kept, **place, "COLUMNS": "100", "TERM": "dumb"}


@pytest.fixture
def doctor(environment: dict[str, str]) -> Run:
    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        options = {"stdin": subprocess.DEVNULL, **options} if "input" not in options else options
        return subprocess.run(
            [*COMMAND, *arguments],
            capture_output=True, text=True, check=False, timeout=120, env=environment, **options,
        )  # fmt: skip

    return run


def judged(run: subprocess.CompletedProcess[str]) -> bool:
    """Whether the machine was judged: doctor counts its checks."""
    return "passed" in run.stdout and "known error" not in run.stdout


# --- --explain ------------------------------------------------------------------------------------------------------------


def test_a_check_is_explained_as_ever(doctor: Run) -> None:
    run = doctor("--explain", "torch-lacks-gpu-code")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("torch-lacks-gpu-code\n\nDoes PyTorch carry code")


def test_an_error_text_is_explained(doctor: Run) -> None:
    run = doctor("--explain", "CUDA error: no kernel image is available for execution on the device")
    assert (run.returncode, run.stderr) == (0, "")
    for part in (
        "line 1",
        "holds no code for this GPU",
        "no-kernel-image",
        "seen",
        "fix",
        "dltool doctor --only torch-lacks-gpu-code",
    ):
        assert part in run.stdout


def test_a_pasted_traceback(doctor: Run) -> None:
    run = doctor("--explain", f'Traceback (most recent call last):\n  File "a.py", line 1\n{OOM}\n{OOM}')
    assert "line 3" in run.stdout
    assert "2 lines" in run.stdout
    assert "prevent" in run.stdout


@pytest.mark.parametrize("name", ["xid-79", "Xid 79", FELL])
def test_an_xid_is_explained(doctor: Run, name: str) -> None:
    run = doctor("--explain", name)
    assert run.returncode == 0
    assert "fallen off the bus" in run.stdout


def test_a_row_is_explained_by_its_name(doctor: Run) -> None:
    run = doctor("--explain", "cuda-out-of-memory")
    assert run.returncode == 0
    assert "line" not in run.stdout.split("\n")[0]
    assert "cuda-out-of-memory" in run.stdout


def test_an_unknown_text_is_called_unknown(doctor: Run) -> None:
    run = doctor("--explain", "the cat sat on the keyboard")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("No known error is in this text.")
    assert "dltool doctor judges it" in run.stdout


@pytest.mark.parametrize("text", ["", "  \n"])
def test_nothing_to_explain(doctor: Run, text: str) -> None:
    run = doctor("--explain", text)
    assert run.returncode == 2
    assert run.stderr.startswith("error: --explain needs a check or an error text")


def test_a_mistyped_check_is_met_with_the_right_one(doctor: Run) -> None:
    run = doctor("--explain", "torch-lacks-gpu-cod")
    assert run.returncode == 2
    assert "Did you mean `torch-lacks-gpu-code`" in run.stderr


def test_a_text_that_steers_terminals_is_defused(doctor: Run) -> None:
    run = doctor("--explain", f"\x1b]0;title\x07\x08{OOM}\x1b[2J")
    assert "cuda-out-of-memory" in run.stdout
    assert "\x1b" not in run.stdout
    assert "\x08" not in run.stdout


def test_json(doctor: Run) -> None:
    report = json.loads(doctor("--json", "--explain", f"fine\n{FELL}").stdout)
    (error,) = report["log"]
    assert set(error) == {
        "id", "means", "why", "mend", "prevent", "checks", "scope", "line", "count", "more", "text", "where",
    }  # fmt: skip
    assert (error["id"], error["line"], error["count"], error["where"]) == ("xid-79", 2, 1, ["0000:3b:00"])
    assert report["findings"] == []
    assert json.loads(doctor("--json", "--explain", "no idea at all").stdout)["log"] == []


def test_explain_reads_a_log_that_takes_its_time(environment: dict[str, str]) -> None:
    with subprocess.Popen(
        [*COMMAND, "--explain", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        time.sleep(1)
        output, _ = process.communicate(f"{OOM}\n", timeout=60)
    assert "cuda-out-of-memory" in output


def test_explain_of_an_empty_stdin(doctor: Run) -> None:
    run = doctor("--explain", "-")
    assert run.returncode == 2
    assert "stdin is empty" in run.stderr


# --- a log on stdin -------------------------------------------------------------------------------------------------------


def test_a_log_file_on_stdin(doctor: Run, tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_bytes(b"epoch 1\r\n" * 1000 + OOM.encode() + b"\xff\n" + f"{FELL}\n".encode() * 2)
    with log.open() as stdin:
        run = doctor(stdin=stdin)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("2 known errors in 1003 lines\n")
    assert "line 1001" in run.stdout
    assert "xid-79 · 2 lines" in run.stdout
    assert "0000:3b:00" in run.stdout
    assert not judged(run)


def test_a_log_in_a_pipe(doctor: Run) -> None:
    run = doctor("--json", input=f"{OOM}\n")
    assert [error["id"] for error in json.loads(run.stdout)["log"]] == ["cuda-out-of-memory"]


def test_a_log_of_which_nothing_is_known_leaves_doctor_to_its_work(doctor: Run) -> None:
    run = doctor(input="all went well\n" * 3)
    assert judged(run)
    assert run.stderr == "no known error in the 3 lines on stdin: this is about the machine\n"
    assert doctor("--quiet", input="all went well\n").stderr == ""


@pytest.mark.parametrize("options", [["--only", "gpu-absent"], ["--machine", str(ROOT / "tests/machines/cpu_only.json")]])
def test_what_was_asked_for_by_name_comes_first(doctor: Run, options: list[str]) -> None:
    run = doctor(*options, input=f"{OOM}\n")
    assert "cuda-out-of-memory" not in run.stdout


@pytest.mark.parametrize("text", ["", "\n", "  \r\n\n"])
def test_an_empty_pipe_is_no_log(doctor: Run, text: str) -> None:
    run = doctor(input=text)
    assert judged(run)
    assert run.stderr == ""


def test_devnull_is_no_log(doctor: Run) -> None:
    assert judged(doctor(stdin=subprocess.DEVNULL))


def test_an_empty_file_is_no_log(doctor: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open() as stdin:
        assert judged(doctor(stdin=stdin))


def test_a_closed_stdin_is_no_log(environment: dict[str, str]) -> None:
    command = " ".join(COMMAND)
    run = subprocess.run(
        ["sh", "-c", f"exec {command} <&-"], capture_output=True, text=True, check=False, env=environment, timeout=120
    )
    assert judged(run)
    assert run.stderr == ""


def test_a_pipe_that_never_sends_is_not_waited_for(doctor: Run) -> None:
    reader, writer = os.pipe()
    began = time.monotonic()
    try:
        assert judged(doctor(stdin=reader))
    finally:
        os.close(reader)
        os.close(writer)
    assert time.monotonic() - began < 30


def test_a_pipe_that_stays_open_ends_when_it_falls_silent(doctor: Run) -> None:
    reader, writer = os.pipe()
    os.write(writer, f"{OOM}\n".encode())
    try:
        run = doctor(stdin=reader)
    finally:
        os.close(reader)
        os.close(writer)
    assert "cuda-out-of-memory" in run.stdout


def test_a_terminal_is_no_log(doctor: Run) -> None:
    keyboard, terminal = pty.openpty()
    os.write(keyboard, f"{OOM}\n".encode())
    try:
        assert judged(doctor(stdin=terminal))
    finally:
        os.close(keyboard)
        os.close(terminal)


@pytest.mark.skipif(not Path("/proc/self/fd/0").exists(), reason="who else reads stdin is seen in /proc")
def test_a_script_that_comes_through_a_pipe_is_not_eaten(environment: dict[str, str]) -> None:
    command = " ".join(COMMAND)
    script = f"{command} --quiet\necho still here\n# {OOM}\n"
    run = subprocess.run(["bash"], input=script, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert run.stdout.endswith("still here\n")
    assert "cuda-out-of-memory" not in run.stdout


@pytest.mark.skipif(not Path("/proc/self/fd/0").exists(), reason="who else reads stdin is seen in /proc")
def test_a_loop_over_a_list_is_not_cut_short(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(f"{OOM}\nsecond\nthird\n")
    loop = f'while read -r host; do {" ".join(COMMAND)} --quiet >/dev/null; echo "$host"; done < {tmp_path}/hosts'
    run = subprocess.run(["bash", "-c", loop], capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert run.stdout == f"{OOM}\nsecond\nthird\n"


def test_stdin_of_a_wrapper_is_ours(environment: dict[str, str]) -> None:
    """`uv run dltool doctor < log`, `sudo`, `timeout`: the wrapper hands its stdin on."""
    run = subprocess.run(
        ["timeout", "60", *COMMAND], input=f"{OOM}\n", capture_output=True, text=True, check=False, env=environment, timeout=120
    )
    assert "cuda-out-of-memory" in run.stdout


def test_the_help_tells_of_it(doctor: Run) -> None:
    text = " ".join(doctor("--help").stdout.split())
    assert "dltool doctor < train.log" in text
    assert "--explain -" in text
