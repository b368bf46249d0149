"""Plugins: real distributions on the import path, judged by the command in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import recorded

from dltool import lang
from dltool.checks import Check, declarations, plugins
from dltool.machine import Machine
from dltool.registry import BrokenPlugin
from dltool.results import Status

HEAD = """
import ctypes, os, sys, threading, time
from dltool.checks import check
from dltool.results import Finding, Remedy, Status

def passes(text="well"):
    return Finding(status=Status.PASS, summary=text)
"""
GOOD = '''
@check("mine-good", facts=("os.system",), platforms=("linux",))
def good(machine):
    """Is mine good?

    It says what it sees.
    """
    yield Finding(status=Status.WARN, summary=f"seen {machine.os.system}", remedies=(Remedy(text="Look."),))

@check("mine-last")
def last(machine):
    """Does it come through?"""
    yield passes("came through")
'''

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """A distribution `dltool-mine` 1.0 with one module."""

    def write(code: str, *, name: str = "mine") -> Path:
        info = tmp_path / f"dltool_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dltool-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[dltool.checks]\n{name} = dltool_{name}\n")
        (tmp_path / f"dltool_{name}.py").write_text(HEAD + code)
        return tmp_path

    return write


def dltool(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(path), "XDG_DATA_HOME": str(path), "PYTHONPATH": str(path)}
    command = [sys.executable, "-m", "dltool", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/", timeout=120, check=False)


def doctor(path: Path, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    """The findings of the healthy recorded machine, by check. Standard output is one JSON document, whatever plugins do."""
    machine = str(recorded.DIRECTORY / "cpu_only.json")
    run = dltool(path, "doctor", "--json", "--machine", machine, *arguments)
    assert run.returncode in (0, 1), run.stderr
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in json.loads(run.stdout)["findings"]:
        found.setdefault(finding["id"], []).append(finding)
    return found


def outcomes(found: dict[str, list[dict[str, Any]]], *names: str) -> list[str]:
    return [finding["status"] for name in names for finding in found.get(name, [])]


def test_a_good_one_is_listed_run_and_explained(install: Install) -> None:
    path = install(GOOD)
    found = doctor(path)
    (mine,) = found["mine-good"]
    assert (mine["status"], mine["summary"], mine["plugin"]) == ("warn", "seen Linux", "dltool-mine 1.0")
    assert outcomes(found, "mine-last") == ["pass"]
    assert all(one["plugin"] == "" for name, many in found.items() for one in many if not name.startswith("mine-"))
    assert "Is mine good? (from dltool-mine 1.0)" in dltool(path, "doctor", "--list").stdout
    listed = {one["id"]: one["plugin"] for one in json.loads(dltool(path, "doctor", "--list", "--json").stdout)}
    assert (listed["mine-good"], listed["gpu-absent"]) == ("dltool-mine 1.0", "")
    explained = dltool(path, "doctor", "--explain", "mine-good").stdout
    assert "It says what it sees." in explained
    assert "This check comes from dltool-mine 1.0." in explained


def test_one_can_be_chosen_and_left_out(install: Install) -> None:
    path = install(GOOD)
    assert set(doctor(path, "--only", "mine-last")) == {"mine-last"}
    assert "mine-good" not in doctor(path, "--skip", "mine-good")
    text = dltool(path, "doctor", "--only", "mine-good").stdout
    assert "mine-good · from dltool-mine 1.0" in text
    assert "comes from dltool-mine 1.0" in dltool(path, "doctor", "--only", "mine-good", "--format", "markdown").stdout


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise LookupError('no such thing')", "LookupError: no such thing"),
        ("sys.exit(3)", "SystemExit: 3"),
        ("os._exit(0)", "its process ended with exit code 0"),
        ("ctypes.string_at(0)", "its process was killed by SIGSEGV"),
        ("os.abort()", "its process was killed by SIGABRT"),
        ("return ['all well']", "it yields str, not Finding"),
        ("return None", "not iterable"),
        ("return [Finding(status=Status.PASS, summary=5)]", "its finding is none: Expected `str`"),
        ("return [Finding(status=Status.FAIL, summary='no remedy')]", "needs a remedy"),
        ("return (passes() for _ in iter(int, 1))", "more than 1000 findings"),
    ],
    ids=["raises", "exit", "os-exit", "segfault", "abort", "wrong", "none", "types", "no-remedy", "endless"],
)
def test_one_that_breaks_costs_no_other(install: Install, body: str, says: str) -> None:
    path = install(f'@check("mine-bad")\ndef bad(machine):\n    """Does it break?"""\n    print("noise")\n    {body}\n' + GOOD)
    found = doctor(path)
    crash = found["mine-bad"][-1]
    assert crash["status"] == "crash"
    assert says in crash["summary"]
    assert crash["plugin"] == "dltool-mine 1.0"
    assert "dltool doctor --skip mine-bad" in crash["remedies"][0]["commands"]
    assert outcomes(found, "mine-good", "mine-last") == ["warn", "pass"]
    assert outcomes(found, "gpu-absent") == ["info"]


@pytest.mark.parametrize("hang", ["time.sleep(1000)", "threading.Event().wait()", "ctypes.CDLL(None).pause()"])
def test_one_that_hangs_is_cut_off(install: Install, hang: str) -> None:
    code = f'''
@check("mine-slow", limit_s=0.3)
def slow(machine):
    """Does it hang?"""
    print("last words")
    sys.stdout.flush()
    yield passes("so far")
    {hang}
'''
    began = time.monotonic()
    found = doctor(install(code + GOOD))
    assert time.monotonic() - began < 30
    assert outcomes(found, "mine-slow") == ["pass", "unknown"]
    late = found["mine-slow"][-1]
    assert "did not end within 0.3 s" in late["summary"]
    assert late["evidence"][0]["value"] == "last words"
    assert outcomes(found, "mine-good", "mine-last") == ["warn", "pass"]


def test_what_it_started_is_ended_with_it(install: Install, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = f'''
@check("mine-child", limit_s=0.5)
def child(machine):
    """Does it leave somebody behind?"""
    import subprocess
    open({str(pid)!r}, "w").write(str(subprocess.Popen(["sleep", "600"]).pid))
    time.sleep(600)
'''
    assert outcomes(doctor(install(code)), "mine-child") == ["unknown"]
    state = Path(f"/proc/{pid.read_text()}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise ImportError('no libthing.so')", "ImportError: no libthing.so"),
        ("def (", "SyntaxError"),
        ("os._exit(0)", "ended with exit code 0 while it was imported"),
        ("ctypes.string_at(0)", "killed by SIGSEGV while it was imported"),
        ("", "it registers no check"),
        ("@check('mine-x', facts=('gpus.colour',))\ndef x(machine): ...", "the fact `gpus.colour`"),
        ("@check('mine-x', platforms=('amiga',))\ndef x(machine): ...", "the platform `amiga`"),
        ("@check('mine-x', limit_s=-1)\ndef x(machine): ...", "a time limit of -1 s"),
    ],
    ids=["import", "syntax", "exit", "segfault", "empty", "fact", "platform", "limit"],
)
def test_one_that_cannot_be_loaded_is_a_finding(install: Install, code: str, says: str) -> None:
    install(GOOD, name="fine")
    path = install(code + "\n")
    found = doctor(path)
    (broken,) = found["plugin-broken"]
    assert broken["status"] == "warn"
    assert "mine (dltool_mine)" in broken["summary"]
    assert says in broken["evidence"][0]["value"]
    assert outcomes(found, "mine-good", "mine-last") == ["warn", "pass"], "those of the other plugin"
    assert "mine (dltool_mine)" in dltool(path, "doctor", "--list").stderr


def test_an_import_that_hangs_is_a_finding(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    path = install("time.sleep(1000)\n")
    monkeypatch.setenv("PYTHONPATH", str(path))
    monkeypatch.setattr(plugins, "IMPORT_LIMIT_S", 1.0)
    with pytest.raises(BrokenPlugin, match="did not end within 1 s while it was imported"):
        list(plugins.declared(EntryPoint("mine", "dltool_mine", "dltool.checks")))


def test_a_name_that_is_ours_is_refused_and_the_rest_runs(install: Install) -> None:
    clash = '@check("gpu-absent")\ndef again(machine):\n    "Is it there?"\n    yield passes("theirs")\n'
    found = doctor(install(clash + GOOD))
    assert [one["summary"] for one in found["gpu-absent"]] == ["no NVIDIA GPU: CPU only"]
    assert "two checks are called 'gpu-absent'" in found["plugin-broken"][0]["evidence"][0]["value"]
    assert outcomes(found, "mine-good", "mine-last") == ["warn", "pass"]


def test_a_plugin_may_use_our_checks(install: Install) -> None:
    code = '''
from dltool.checks.visibility import visible_gpus
@check("mine-seen")
def seen(machine):
    """How many are seen?"""
    yield passes(str(len(visible_gpus(machine))))
'''
    found = doctor(install(code))
    assert [one["summary"] for one in found["mine-seen"]] == ["0"]
    assert "plugin-broken" not in found


def test_what_it_declares_decides_whether_it_is_asked(install: Install) -> None:
    code = "".join(
        f'@check("mine-{name}", {declared})\ndef f{number}(machine):\n    """Is it asked?"""\n    yield passes()\n'
        for number, (name, declared) in enumerate(
            [("jetson", "platforms=('jetson',)"), ("gpus", "facts=('gpus.power_w',)"), ("os", "facts=('os.kernel',)")]
        )
    )
    found = doctor(install(code))
    assert outcomes(found, "mine-jetson", "mine-gpus", "mine-os") == ["skip", "skip", "pass"]
    assert found["mine-jetson"][0]["summary"] == "only for jetson"
    assert found["mine-jetson"][0]["plugin"] == "dltool-mine 1.0"


def test_texts_follow_the_language(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    code = '''
from dltool.lang import tr
@check("mine-words", zh="""它会说中文吗？""")
def words(machine):
    """Does it speak?"""
    yield passes(tr("spoken", "中文"))
'''
    monkeypatch.setenv("PYTHONPATH", str(install(code)))
    ((_, item),) = plugins.declared(EntryPoint("mine", "dltool_mine", "dltool.checks"))
    with lang.speaking("zh"):
        assert item.question == "它会说中文吗？"
        assert [finding.summary for finding in item.rule(Machine())] == ["中文"]


def test_one_that_hung_is_not_started_again(install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = f'''
@check("mine-slow", limit_s=0.2)
def slow(machine):
    """Does it hang?"""
    with open({str(log)!r}, "a") as file:
        file.write("x")
    time.sleep(600)
'''
    monkeypatch.setenv("PYTHONPATH", str(install(code)))
    ((_, item),) = plugins.declared(EntryPoint("mine", "dltool_mine", "dltool.checks"))
    both = [item.rule(Machine()), item.rule(Machine())]
    assert both[0] == both[1]
    assert log.read_text() == "x"


# --- what is declared -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "machine", "status"),
    [
        (("gpus",), "h100_server", None),
        (("gpus.7.name", "driver.version"), "h100_server", None),
        (("gpus.8.name.x",), "cpu_only", Status.SKIP),
        (("python.torch",), "h100_server", None),
        (("environment",), "h100_server", None),
        (("gpus",), "cpu_only", Status.SKIP),
        (("os.tegra",), "h100_server", Status.SKIP),
        (("kernel_log",), "container", Status.UNKNOWN),
        (("kernel_log.events",), "container", Status.UNKNOWN),
    ],
)
def test_facts_that_are_not_there(facts: tuple[str, ...], machine: str, status: Status | None) -> None:
    found = declarations.hindrance(Check("x", lambda _: (), facts=facts), recorded.load(machine))
    assert (found and found.status) == status


@pytest.mark.parametrize(
    ("platforms", "machine", "applies"),
    [
        (("linux",), "wsl2", True),
        (("wsl",), "wsl2", True),
        (("jetson", "aarch64"), "jetson", True),
        (("container",), "container", True),
        (("container",), "h100_server", False),
        (("windows",), "h100_server", False),
    ],
)
def test_platforms(platforms: tuple[str, ...], machine: str, applies: bool) -> None:
    found = declarations.hindrance(Check("x", lambda _: (), platforms=platforms), recorded.load(machine))
    assert (found is None) == applies


@pytest.mark.parametrize("path", ["gpus", "gpus.0.name", "gpus.nvlinks.0.active", "environment.CUDA_HOME", "kernel_log.events"])
def test_facts_that_exist(path: str) -> None:
    assert declarations.mistake((path,), (), 1.0) is None
