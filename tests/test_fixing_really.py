"""`dltool doctor --fix` on an environment of its own, with tiny wheels: mended, failed, interrupted, killed, and undone."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest
from setup_fakes import wheel

pytestmark = pytest.mark.skipif(os.name != "posix", reason="environments are changed on POSIX only")

FAULTY = {"torch": "2.1.0+cpu", "numpy": "2.1.0", "onnxruntime": "1.20.0", "onnxruntime_gpu": "1.20.0"}
MENDED = {"torch": "2.1.0+cpu", "numpy": "1.26.4", "onnxruntime-gpu": "1.20.0"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A virtual environment, and a folder of wheels."""
    folder = tmp_path_factory.mktemp("fixing")
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    wheels = folder / "wheels"
    wheels.mkdir()
    for version in ("1.26.4", "2.1.0"):
        wheel(wheels, "numpy", version, {"numpy/__init__.py": f"__version__ = '{version}'\n"})
    version = "__version__ = '2.1.0+cpu'\ncuda = None\n"
    wheel(wheels, "torch", "2.1.0+cpu", {"torch/__init__.py": "", "torch/version.py": version, "torch/_C.so": ""})
    for name in ("onnxruntime", "onnxruntime_gpu"):
        wheel(wheels, name, "1.20.0", {"onnxruntime/__init__.py": f"made_by = '{name}'\n"})
    return folder


@pytest.fixture
def env(made):
    """The environment with NumPy 2 beside a torch of NumPy 1, and two owners of one package."""
    (site,) = (made / "env").glob("lib/python3*/site-packages")
    for path in site.iterdir():
        if not path.name.startswith(("pip", "setuptools", "_distutils", "distutils", "pkg_resources")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, version in FAULTY.items():
        with zipfile.ZipFile(made / "wheels" / f"{name}-{version}-py3-none-any.whl") as archive:
            archive.extractall(site)
        info = site / f"{name}-{version}.dist-info"
        (info / "INSTALLER").write_text("pip\n")
        with (info / "RECORD").open("a") as record:
            record.write(f"{info.name}/INSTALLER,,\n")
    return made / "env"


class Doctor:
    """The command, on an environment, with the wheels or without."""

    def __init__(self, env: Path, home: Path) -> None:
        self.python = str(env / "bin/python")
        self.variables = {
            "PATH": "/usr/bin:/bin", "HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "PIP_CONFIG_FILE": "/dev/null",
            "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(env.parent / "wheels"), "COLUMNS": "120",
        }  # fmt: skip

    def start(self, *options: str, **variables: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "dltool", "doctor", "--python", self.python, *options]
        given = {name: text for name, text in (self.variables | variables).items() if text}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=given)

    def __call__(self, *options: str, **variables: str) -> tuple[int, str, str]:
        process = self.start(*options, **variables)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def report(self, *options: str, **variables: str) -> tuple[int, dict]:
        code, out, err = self(*options, "--json", **variables)
        assert "Traceback" not in err, err
        return code, json.loads(out)

    def installed(self) -> dict[str, str]:
        listed = subprocess.run([self.python, "-m", "pip", "list", "--format", "json"], capture_output=True, check=True)
        names = {one["name"].replace("_", "-"): one["version"] for one in json.loads(listed.stdout)}
        return {name: version for name, version in names.items() if name not in ("pip", "setuptools")}

    def undo(self, commands: list[str]) -> None:
        """As a person would: pasted into a shell."""
        for command in commands:
            subprocess.run(["sh", "-c", command], check=True, capture_output=True, env=self.variables)

    def records(self) -> list[dict]:
        folder = Path(self.variables["XDG_DATA_HOME"]) / "dltool/fixes"
        return [json.loads(path.read_text()) for path in sorted(folder.glob("*/record.json"))]


@pytest.fixture
def doctor(env, tmp_path):
    return Doctor(env, tmp_path)


BEFORE = {name.replace("_", "-"): version for name, version in FAULTY.items()}


def test_the_plan_does_nothing(doctor):
    code, report = doctor.report("--fix")
    assert code == 1
    assert {finding["id"] for finding in report["findings"] if finding["status"] == "fail"} >= {"packages-clash"}
    assert [[target["finding"] for target in step["mends"]] for step in report["fix"]["steps"]] == [
        ["packages-clash"],
        ["numpy-mismatched"],
    ]
    assert report["fix"]["state"] == "planned"
    assert doctor.installed() == BEFORE
    assert doctor.records() == []


def test_mended_looked_at_again_and_undone(doctor):
    code, report = doctor.report("--fix", "--yes")
    fix = report["fix"]
    assert code == 0
    assert [step["state"] for step in fix["steps"]] == ["done", "done"]
    assert {one["finding"]: one["state"] for one in fix["outcome"]} == {
        "packages-clash": "mended",
        "numpy-mismatched": "mended",
    }
    assert not {"packages-clash", "numpy-mismatched"} & {one["id"] for one in report["findings"] if one["status"] == "fail"}
    assert doctor.installed() == MENDED
    assert [record["state"] for record in doctor.records()] == ["finished"]
    text = doctor("--fix", "--yes")[1]
    assert "There is nothing to mend." in text
    home = doctor.variables["HOME"]
    doctor.undo([command.replace("~", home) for command in fix["undo"]])
    assert doctor.installed() == BEFORE
    assert doctor("--fix")[0] == 1


def test_what_it_looks_like(doctor, env):
    planned = doctor("--fix")[1]
    done = doctor("--fix", "--yes", "--index", str(env.parent / "wheels"))[1]
    python = doctor.python
    assert "Plan: 2 steps in" in planned
    assert f"     $ {python} -m pip uninstall -y onnxruntime onnxruntime-gpu\n" in planned
    assert f"   undo {python} -m pip install --force-reinstall --no-deps numpy==2.1.0\n" in planned
    assert f"  dltool doctor --python {python} --fix --yes\n" in planned
    assert "Done: 2 of 2 steps in" in done
    assert "To undo all of it:\n" in done
    assert f"  {python} -m pip install --no-deps --force-reinstall -r " in done


def test_without_a_network_nothing_is_removed(doctor):
    code, out, err = doctor("--fix", "--yes", PIP_NO_INDEX="", PIP_FIND_LINKS="", PIP_INDEX_URL="http://127.0.0.1:9/simple",
                            PIP_RETRIES="1")  # fmt: skip
    assert code == 1
    assert "stopped by the index cannot be reached" in out
    assert "  | " in err
    assert "Done: 0 of 2 steps in" in out
    assert "install numpy<2  [not done]" in out
    assert "Nothing is installed that was not before" in out
    assert doctor.installed() == BEFORE


def test_the_first_step_that_fails_is_the_last(doctor, deaf):
    code, report = doctor.report("--fix", "--yes", **deaf)
    assert code == 3  # what remains is a warning, but not all could be done
    fix = report["fix"]
    assert [step["state"] for step in fix["steps"]] == ["failed", "not done"]
    assert {one["finding"]: one["state"] for one in fix["outcome"]} == {
        "packages-clash": "unclear",
        "numpy-mismatched": "remains",
    }
    assert doctor.installed() == {"torch": "2.1.0+cpu", "numpy": "2.1.0"}
    _, report = doctor.report("--fix")
    unfinished = report["fix"]["unfinished"]
    assert (unfinished["done"], unfinished["total"]) == (0, 2)
    assert [len(step["commands"]) for step in report["fix"]["steps"]] == [2, 1]  # that both are gone hides the clash
    doctor.undo([command.replace("~", doctor.variables["HOME"]) for command in unfinished["undo"]])
    assert doctor.installed() == BEFORE
    assert doctor.report("--fix")[1]["fix"]["unfinished"] is None  # it was taken back


@pytest.fixture
def deaf(made):
    """An index that has what is asked for, and never answers again once it was asked."""
    asked, over = threading.Event(), threading.Event()

    class Answer(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            if self.path.endswith(".whl"):
                super().do_GET()
            elif asked.is_set():
                over.wait(60)
            else:
                asked.set()
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(
                    b'<a href="/onnxruntime_gpu-1.20.0-py3-none-any.whl">onnxruntime_gpu-1.20.0-py3-none-any.whl</a>'
                )

        def log_message(self, *_words):
            """Be silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Answer, directory=made / "wheels"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {"PIP_NO_INDEX": "", "PIP_FIND_LINKS": "", "PIP_RETRIES": "0", "PIP_DEFAULT_TIMEOUT": "2",
           "PIP_INDEX_URL": f"http://127.0.0.1:{server.server_port}"}  # fmt: skip
    over.set()
    server.shutdown()
    server.server_close()


def half_way(doctor: Doctor, variables: dict[str, str]) -> subprocess.Popen[str]:
    """A fix that has removed both owners, and waits for what is to be installed."""
    process = doctor.start("--fix", "--yes", **variables)
    deadline = time.monotonic() + 60
    logs = Path(doctor.variables["XDG_DATA_HOME"]) / "dltool/fixes"
    while not any("pip install onnxruntime-gpu\nLooking in" in path.read_text() for path in logs.glob("*/log.txt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def test_interrupted_it_says_how_to_go_on_and_back(doctor, deaf):
    process = half_way(doctor, deaf)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"interrupted; to go on: dltool doctor --python {doctor.python} --fix --yes" in err
    back = next(line for line in err.splitlines() if line.startswith("to undo: "))
    assert "onnxruntime" not in doctor.installed()
    doctor.undo([back.removeprefix("to undo: ")])
    assert doctor.installed() == BEFORE


def test_killed_half_way_the_next_one_goes_on(doctor, deaf):
    process = half_way(doctor, deaf)
    process.kill()
    process.communicate()
    assert [record["state"] for record in doctor.records()] == ["unfinished"]
    out = doctor("--fix")[1]
    assert "did not come to its end: 0 of 2 steps were done." in out
    deadline = time.monotonic() + 60
    while (answer := doctor("--fix", "--yes"))[0] == 3:  # what is left of it still waits for the index
        assert "another run, or what is left of one, is at work" in answer[2]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    code, out, _ = answer
    assert code == 0
    assert doctor.installed() == MENDED
    assert [record["state"] for record in doctor.records()] == ["continued", "finished"]
    commands = out.partition("To undo all of it:\n")[2].partition("log and record")[0].splitlines()
    doctor.undo([line.strip() for line in commands])
    assert doctor.installed() == BEFORE  # as before the first of the two


def test_where_no_record_can_be_written_nothing_is_done(doctor, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = doctor("--fix", "--yes", XDG_DATA_HOME=str(tmp_path / "file"))
    assert code == 3
    assert "cannot write" in err
    assert doctor.installed() == BEFORE


def test_a_snapshot_is_planned_for_only(doctor):
    machine = str(Path(__file__).parent / "machines/h100_server.json")
    command = [sys.executable, "-m", "dltool", "doctor", "--fix", "--machine", machine]
    run = subprocess.run([*command, "--json"], capture_output=True, text=True, env=doctor.variables, check=False)
    assert json.loads(run.stdout)["fix"]["carry_out"] is None
    run = subprocess.run([*command, "--yes"], capture_output=True, text=True, env=doctor.variables, check=False)
    assert run.returncode == 2
    assert "--yes and --machine exclude one another" in run.stderr
