"""The commands as their users run them: output, exit codes, bad input."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOREIGN = ("CUDA_", "LD_", "XDG_", "VIRTUAL_ENV", "CONDA_")
MACHINES = Path(__file__).parent / "machines"


@pytest.fixture
def dltool(tmp_path, monkeypatch):
    """Run the command in a process of its own; HOME and data directory are empty."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)},
        "HOME": str(tmp_path / "home"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "COLUMNS": "80",
        "TERM": "dumb",
    }

    def run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
        options = {"cwd": tmp_path, "timeout": 120, **options, "env": {**environment, **options.get("env", {})}}
        return subprocess.run(
            [sys.executable, "-m", "dltool", *arguments], capture_output=True, text=True, check=False, **options
        )

    run.environment = environment
    return run


def one_line_error(run: subprocess.CompletedProcess[str]) -> str:
    """The error of a refused command: one line, then a hint, and no traceback."""
    assert "Traceback" not in run.stderr
    error, blank, hint = run.stderr.strip().split("\n", 2)
    assert error.startswith("error: ")
    assert blank == ""
    assert hint.startswith("hint: ")
    assert run.stdout == ""
    return error + " " + hint


def test_version(dltool):
    run = dltool("--version")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("dltool ")


def test_doctor_here_is_one_headline(dltool):
    run = dltool("doctor")
    assert run.returncode in (0, 1)
    assert run.stdout.splitlines()[0]
    assert "passed" in run.stdout


def test_doctor_json_is_json_and_nothing_else(dltool):
    run = dltool("doctor", "--json")
    report = json.loads(run.stdout)
    assert report["schema"] == "dltool/report/1"
    assert run.stderr == ""
    assert {"id", "status", "summary", "why", "evidence", "remedies", "scope", "devices", "caused_by", "doc", "plugin"} == set(
        report["findings"][0]
    )


def test_snapshot_replays_to_the_same_findings(dltool, tmp_path):
    assert dltool("snapshot", "-o", "m.json").returncode == 0
    here = json.loads(dltool("doctor", "--json").stdout)
    there = json.loads(dltool("doctor", "--machine", "m.json", "--json", cwd=tmp_path).stdout)
    for findings in (here["findings"], there["findings"]):
        for finding in findings:  # what moves between two readings
            finding["evidence"] = []
            finding["summary"] = re.sub(r"\d+(\.\d+)? [GM]iB", "some", finding["summary"])
    assert here["findings"] == there["findings"]


def test_snapshot_keeps_the_host_to_itself(dltool):
    text = dltool("snapshot").stdout
    home = dltool.environment["HOME"]
    assert home not in text
    assert json.loads(text)["os"]["hostname"].startswith("#")
    assert not json.loads(dltool("snapshot", "--full").stdout)["os"]["hostname"].startswith("#")


def test_snapshot_from_stdin(dltool):
    text = dltool("snapshot").stdout
    assert dltool("doctor", "--machine", "-", input=text).returncode in (0, 1)


@pytest.mark.parametrize("path", sorted(MACHINES.glob("*.json")), ids=lambda path: path.stem)
def test_recorded_machines_are_shown(dltool, path):
    run = dltool("doctor", "--machine", str(path), "-v")
    assert run.returncode in (0, 1)
    assert all(len(line) <= 80 for line in run.stdout.splitlines() if "--index-url" not in line)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        pytest.param(["gpu-info", "H1000"], "unknown GPU `H1000` hint: Did you mean", id="board"),
        pytest.param(["gpu-info", "RTX 2080 Ultra"], "RTX 2080", id="board suggestion"),
        pytest.param(["gpu-info", "H100", "--clock", "-5"], "`-5` is not a clock", id="negative clock"),
        pytest.param(["gpu-info", "--list", "--arch", "Hoper"], "Did you mean `Hopper`", id="architecture"),
        pytest.param(["doctor", "--only", "gpu-lots"], "unknown check `gpu-lots` hint: Did you mean `gpu-lost`", id="check"),
        pytest.param(["doctor", "--skip", "nothing"], "unknown check `nothing`", id="skipped check"),
        pytest.param(["doctor", "--explain", "gpu_lost"], "`gpu-lost`", id="explained check"),
        pytest.param(["doctor", "--fail-on", "info"], "Choose warn or fail", id="bar"),
        pytest.param(["doctor", "--format", "jsn"], "unknown format `jsn` hint: Did you mean `json`", id="format"),
        pytest.param(["doctor", "--python", "/nowhere/python"], "is not a Python that runs", id="python"),
        pytest.param(["doctor", "--machine", "missing.json"], "cannot read missing.json", id="missing file"),
        pytest.param(["doctor", "--machine", "."], "cannot read .", id="directory"),
        pytest.param(["bench", "gemm", "--dtype", "bf61"], "unknown dtype `bf61` hint: Did you mean `bf16`", id="dtype"),
        pytest.param(["bench", "gemm", "--set", "m"], "not KEY=VALUE", id="setting"),
        pytest.param(["bench", "gemm", "--set", "mm=3"], "unknown parameter `mm`", id="parameter"),
        pytest.param(["bench", "gemm", "--set", "m=-3"], "positive whole number", id="negative size"),
        pytest.param(["bench", "gemm", "--budget", "ten"], "`ten` is not a duration", id="budget"),
        pytest.param(["gpu-info", "H100", "--clock", "nan"], "`nan` is not a clock", id="no number"),
        pytest.param(["doctor", "--only", ","], "no check is left", id="no check"),
        pytest.param(["doctor", "--only", "shm-small", "--skip", "shm-small"], "no check is left", id="none left"),
        pytest.param(["bench", "gemm", "--dtype", ","], "--dtype names nothing", id="no dtype"),
        pytest.param(["bench", "gemm", "--set", "m=9999999999999999"], "positive whole number", id="huge size"),
        pytest.param(
            ["bench", "memory", "--sweep", "--set", "bytes=1MiB"], "--sweep chooses the sizes", id="sweep of one size"
        ),
        pytest.param(
            ["bench", "attention", "--set", "backend=flsh"], "unknown backend `flsh` hint: Did you mean `flash`", id="backend"
        ),
        pytest.param(["bench", "conv", "--set", "groups=5"], "do not part into 5 groups", id="groups"),
        pytest.param(["bench", "elementwise", "--dtype", "int8"], "no kernels for int8 hint: Choose among", id="elementwise"),
        pytest.param(["bench", "memory", "--device", "gpu"], "unknown device `gpu`", id="device"),
        pytest.param(["report", "show", "nothing"], "there is no report `nothing`", id="report"),
        pytest.param(["report", "show", "missing.json"], "cannot read missing.json", id="report file"),
    ],
)
def test_bad_input_is_refused_in_one_line_with_exit_code_2(dltool, arguments, text):
    run = dltool(*arguments)
    assert run.returncode == 2
    assert text in one_line_error(run)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"schema": "dltool/machine/1", "gpus": [', id="truncated"),
        pytest.param(b'{"schema": "other/9"}', id="foreign"),
        pytest.param(b"[1, 2]", id="list"),
        pytest.param(b"\xff\xfe\x00", id="binary"),
        pytest.param(b'{"schema": "dltool/machine/1", "gpus": [{"index": "zero"}]}', id="wrong type"),
        pytest.param(b"[" * 100_000, id="deep"),
    ],
)
def test_malformed_snapshots(dltool, tmp_path, content):
    (tmp_path / "m.json").write_bytes(content)
    run = dltool("doctor", "--machine", "m.json")
    assert run.returncode == 2
    one_line_error(run)


def test_gigantic_snapshot(dltool, tmp_path):
    with (tmp_path / "m.json").open("wb") as file:
        file.truncate(2**33)
    run = dltool("doctor", "--machine", "m.json")
    assert run.returncode == 2
    assert "larger than" in one_line_error(run)


def test_usage_errors_of_the_parser(dltool):
    assert dltool("doctor", "--nonsense").returncode == 2
    assert dltool("nonsense").returncode == 2


def test_gpu_info_explains_a_board(dltool):
    run = dltool("gpu-info", "H100 SXM", "--explain", env={"COLUMNS": "120"})
    assert run.returncode == 0
    assert "132 SMs x 4096 x 1830 MHz" in run.stdout
    assert "989.4" in run.stdout
    assert all(len(line) <= 120 for line in run.stdout.splitlines())


def test_gpu_info_side_by_side(dltool):
    lines = dltool("gpu-info", "H100 SXM", "RTX 4090").stdout.splitlines()
    assert {"H100", "SXM5", "80GB", "GeForce", "RTX", "4090"} <= set(" ".join(lines[:3]).split())
    assert any(line.split() == ["INT4", "tensor", "-", "1321"] for line in lines)
    assert any(line.split() == ["BF16", "tensor", "989.4*", "165.2", "0.17x"] for line in lines)


def test_gpu_info_here(dltool):
    report = json.loads(dltool("gpu-info", "--json").stdout)
    assert report["boards"]


def test_gpu_info_list(dltool):
    run = dltool("gpu-info", "--list", "--arch", "hopper")
    assert "H100 SXM5 80GB" in run.stdout
    assert "4090" not in run.stdout


def test_checks_are_listed_and_explained(dltool):
    rows = json.loads(dltool("doctor", "--list", "--json").stdout)
    assert all(row["question"].endswith("?") for row in rows)
    assert [line.split()[0] for line in dltool("doctor", "--list").stdout.splitlines()] == [row["id"] for row in rows]
    shown = dltool("doctor", "--explain", "gpus-hidden")
    assert shown.returncode == 0
    assert "CUDA_VISIBLE_DEVICES" in shown.stdout


def test_gate(dltool, tmp_path):
    """--fail-on moves the bar; --only and --skip choose what is judged."""
    facts = json.loads((MACHINES / "cpu_only.json").read_text())
    facts["limits"]["open_files_soft"] = 64
    (tmp_path / "m.json").write_text(json.dumps(facts))
    judge = ("doctor", "--machine", "m.json")
    assert dltool(*judge).returncode == 0
    assert dltool(*judge, "--fail-on", "warn").returncode == 1
    assert dltool(*judge, "--fail-on", "warn", "--skip", "open-files-low").returncode == 0
    assert dltool(*judge, "--fail-on", "warn", "--only", "shm-small,gpu-absent").returncode == 0


def test_output_file_and_its_ending(dltool, tmp_path):
    run = dltool("doctor", "-o", "out.json")
    assert run.stdout == ""
    assert json.loads((tmp_path / "out.json").read_text())["schema"]


def test_output_that_cannot_be_written_is_not_lost(dltool):
    run = dltool("doctor", "-o", "no/such/dir/out.txt")
    assert run.returncode == 3
    assert "passed" in run.stdout
    assert "cannot write" in run.stderr


def test_unwritable_data_directory_is_a_warning(dltool, tmp_path):
    (tmp_path / "file").write_text("not a directory")
    run = dltool("doctor", env={"XDG_DATA_HOME": str(tmp_path / "file")})
    assert run.returncode in (0, 1)
    assert "passed" in run.stdout
    assert "warning: no copy of this report was kept" in run.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk(dltool):
    run = dltool("doctor", "-o", "/dev/full")
    assert run.returncode == 3
    assert "No space left" in run.stderr
    assert "passed" in run.stdout


def test_stdout_that_cannot_be_written(dltool):
    """Closed, or a full disk behind it: said in one line, and the copy is kept."""
    for redirection in (">&-", "> /dev/full"):
        command = f"{sys.executable} -m dltool doctor {redirection}"
        run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=dltool.environment, check=False)
        assert run.returncode in (1, 3)
        assert "error: cannot write to stdout" in run.stderr
        assert "Traceback" not in run.stderr
    assert dltool("report", "list").stdout.count(" doctor ") == 2


def test_reader_of_the_pipe_goes_away(dltool):
    command = f"{sys.executable} -m dltool gpu-info --list | head -1"
    run = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=dltool.environment, timeout=60, check=False
    )
    assert "Traceback" not in run.stderr
    assert "Exception" not in run.stderr


def test_a_closed_pipe_hides_no_finding(dltool, tmp_path):
    facts = json.loads((MACHINES / "h100_server.json").read_text())
    facts["environment"]["CUDA_VISIBLE_DEVICES"] = ""
    (tmp_path / "m.json").write_text(json.dumps(facts))
    command = f"{sys.executable} -m dltool doctor --machine m.json --json | true; exit ${{PIPESTATUS[0]}}"
    run = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=dltool.environment, cwd=tmp_path, check=False
    )
    assert (run.returncode, run.stderr) == (1, "")


def test_local_commands_have_local_paths(dltool, tmp_path):
    """People get the path that is here; what leaves the machine does not show it."""
    (tmp_path / "venv").symlink_to(sys.prefix)
    judge = ("doctor", "--python", f"{tmp_path}/venv/bin/python")
    home = {"HOME": str(tmp_path)}
    assert f"at{tmp_path}/venv/bin/python" in "".join(dltool(*judge, env=home).stdout.split())  # a long path is parted
    assert str(tmp_path) not in dltool(*judge, "--json", env=home).stdout


def test_options_without_effect_are_refused(dltool):
    assert dltool("gpu-info", "T4", "--arch", "hopper").returncode == 2
    assert dltool("gpu-info", "--list", "--clock", "1000").returncode == 2
    assert dltool("snapshot", "--format", "text").returncode == 2
    assert json.loads(dltool("snapshot", "--json").stdout)["schema"] == "dltool/machine/1"


def test_reports_are_kept_and_shown_again(dltool):
    text = dltool("doctor").stdout
    listed = dltool("report", "list").stdout
    assert listed.count("\n") == 1
    assert " doctor " in listed
    assert dltool("report", "show", "last").stdout == text
    assert json.loads(dltool("report", "list", "--json").stdout)[0]["command"] == "doctor"


def test_no_color_in_a_pipe(dltool):
    assert "\x1b" not in dltool("doctor").stdout
    assert "\x1b" in dltool("doctor", env={"FORCE_COLOR": "1", "TERM": "xterm"}).stdout
    assert "\x1b" not in dltool("doctor", env={"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm"}).stdout


def test_broken_torch_costs_the_doctor_nothing(dltool, tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('undefined symbol: ncclCommRegister')")
    run = dltool("doctor", env={"PYTHONPATH": str(tmp_path)})
    assert "Traceback" not in run.stderr
    bench = dltool("bench", "gemm", env={"PYTHONPATH": str(tmp_path)})
    assert bench.returncode == 3
    assert "torch cannot be imported: undefined symbol" in bench.stderr


def test_missing_torch_says_how_to_install_it(dltool, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
    run = dltool("bench", "quick", env={"PYTHONPATH": str(tmp_path)})
    assert run.returncode == 3
    assert "pip install" in one_line_error(run)


def test_crash_of_our_own_is_reported_with_exit_code_4(dltool, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import dltool.tables\ndef broken(name):\n    raise KeyError('boom')\ndltool.tables.folder = broken\n"
    )
    run = dltool("gpu-info", "--list", env={"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    assert run.returncode == 4
    assert "bug of dltool" in one_line_error(run)
    assert "Traceback" in dltool("gpu-info", "--list", env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "DLTOOL_TRACEBACK": "1"}).stderr


class TestBench:
    """These need torch and measure for a moment."""

    pytest.importorskip("torch")

    def test_gemm_is_measured_printed_and_kept(self, dltool):
        arguments = [
            "bench",
            "gemm",
            "--dtype",
            "fp32",
            "--set",
            "m=256",
            "--set",
            "n=256",
            "--set",
            "k=256",
            "--device",
            "cpu",
        ]
        run = dltool(*arguments, "--budget", "1s", "--json")
        assert run.returncode == 0, run.stderr
        (measurement,) = json.loads(run.stdout)["measurements"]
        assert measurement["params"] == {"m": 256, "n": 256, "k": 256, "dtype": "fp32", "layout": "nn", "data": "random"}
        assert measurement["support"] == "native" or not measurement["peak"]
        assert measurement["kernel"]
        assert measurement["verified"]["ok"]
        assert measurement["seconds"]
        assert measurement["conditions"].keys() >= {"sm_mhz", "power_w", "temperature_c", "throttle"}
        shown = dltool("report", "show", "last").stdout
        assert "256³" in shown
        assert "FLOP/s" in shown

    def test_nothing_measured_is_no_success(self, dltool):
        run = dltool("bench", "gemm", "--dtype", "tf32", "--device", "cpu", "--budget", "1s")
        assert run.returncode == 3
        assert "not run" in run.stdout

    def test_table_fits_80_columns(self, dltool):
        run = dltool("bench", "quick", "--budget", "3s", "--device", "cpu")
        assert run.returncode == 0, run.stderr
        assert max(map(len, run.stdout.splitlines())) <= 80
        assert all(name in run.stdout for name in ("fp64", "int8", "emulated", "triad", "B/s"))

    def test_from_python(self, monkeypatch):
        import dltool

        (row,) = dltool.bench("memory", kernel="copy", bytes=2**16, device="cpu", budget_s=0.2)
        assert row.verified.ok

    @staticmethod
    @contextlib.contextmanager
    def on_a_terminal(dltool, tmp_path, *arguments):
        """The command with a terminal as stderr: the process, and what reads the terminal until a text appears."""
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "dltool", *arguments]
        environment = {**dltool.environment, "TERM": "xterm"}
        told = b""

        def read_until(text: bytes) -> None:
            nonlocal told
            with contextlib.suppress(OSError):  # the terminal is gone with its last user
                while text not in told and (chunk := os.read(ours, 65536)):
                    told += chunk
            assert text in told

        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment, cwd=tmp_path) as process:
            os.close(theirs)
            yield process, read_until
        os.close(ours)

    def test_progress_on_a_terminal(self, dltool, tmp_path):
        """On a terminal the case in hand is told on stderr, and the result is alone on stdout."""
        with self.on_a_terminal(dltool, tmp_path, "bench", "memory", "--budget", "2s", "--device", "cpu") as (
            process,
            read_until,
        ):
            read_until(b"memory kernel=read")
            read_until(b"memory kernel=triad")
            output = process.communicate(timeout=60)[0]
        assert re.search(rb"triad .* [kMG]B/s", output)
        assert b"kernel=" not in output

    def test_ctrl_c_prints_and_keeps_what_was_measured(self, dltool, tmp_path):
        arguments = ("bench", "memory", "--budget", "12s", "--device", "cpu", "--set", "bytes=1048576")
        with self.on_a_terminal(dltool, tmp_path, *arguments) as (process, read_until):
            read_until(b"memory kernel=write")  # the first case is done
            process.send_signal(signal.SIGINT)
            output = process.communicate(timeout=60)[0]
        assert process.returncode == 130
        assert b"Interrupted" in output
        assert re.search(rb"read .* [kMG]B/s", output)  # however slow a busy machine is
        assert dltool("report", "list").stdout.count("bench memory") == 1

    def test_a_run_that_was_killed_is_continued(self, dltool, tmp_path):
        of = ("--set", "kernel=read,write,copy,triad", "--set", "bytes=1048576")
        arguments = ("bench", "memory", "--budget", "4s", "--device", "cpu", *of)
        with self.on_a_terminal(dltool, tmp_path, *arguments) as (process, read_until):
            read_until(b"memory kernel=copy")  # two cases are done
            process.kill()
            process.communicate(timeout=60)
        assert "No report is stored" in dltool("report", "list").stdout
        other = dltool("bench", "memory", "--budget", "1s", "--device", "cpu", "--set", "bytes=524288", "--resume")
        assert "nothing to continue" in other.stderr
        again = dltool(*arguments, "--resume", "--json")
        assert re.search(r"continuing the run of [0-9T:+-]+: 2 of 4 cases are taken over", again.stderr)
        rows = json.loads(again.stdout)["measurements"]
        assert [row["params"]["kernel"] for row in rows] == ["read", "write", "copy", "triad"]
        assert all(row["rate"] for row in rows)
        assert not [path for path in tmp_path.rglob("*.run.jsonl") if "1048576" in path.read_text()]  # it is a report now

    def test_a_case_that_is_killed_is_a_row(self, dltool, tmp_path):
        arguments = ("bench", "memory", "--budget", "6s", "--device", "cpu", "--set", "bytes=1048576", "--json")
        with self.on_a_terminal(dltool, tmp_path, *arguments) as (process, read_until):
            read_until(b"memory kernel=write")
            killed = [pid for pid in descendants(process.pid) if is_session_leader(pid)]
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            rows = json.loads(process.communicate(timeout=60)[0])["measurements"]
        assert killed
        lost = [row for row in rows if row["not_run"]]
        assert [row["params"]["kernel"] for row in lost] == ["write"]
        assert "was killed by SIGKILL" in lost[0]["not_run"]

    def test_a_budget_too_small_says_what_is_needed(self, dltool):
        few = ("--set", "kernel=read,write,copy,triad", "--set", "bytes=65536")
        run = dltool("bench", "memory", "--budget", "1s", "--device", "cpu", *few)
        assert "1 s are too little for 4 cases: give --budget 2s or more" in run.stderr

    @pytest.mark.parametrize("text", ["much", "0", "-1%", "100%"])
    def test_a_precision_that_is_none(self, dltool, text):
        run = dltool("bench", "memory", f"--precision={text}")
        assert run.returncode == 2
        assert "not a percentage" in run.stderr

    def test_kill_leaves_no_half_report(self, dltool, tmp_path):
        arguments = [sys.executable, "-m", "dltool", "bench", "memory", "--budget", "60s", "--device", "cpu"]
        with subprocess.Popen(
            arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dltool.environment
        ) as process:
            time.sleep(3)
            process.kill()
        assert "No report is stored" in dltool("report", "list").stdout


def descendants(pid: int) -> list[int]:
    """The processes that this one and its children started."""
    found, parents = [], {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    level = {pid}
    while level := {child for child, parent in parents.items() if parent in level}:
        found += level
    return found


def is_session_leader(pid: int) -> bool:
    return os.getsid(pid) == pid
