"""Really broken machines (tests/broken), end to end: the command finds the fault and a remedy, and on the twin nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from broken import SETUPS, Run, Setup, World, why_not
from fake_nvml import recorded

DOCTOR = (sys.executable, "-m", "dltool", "doctor")
OF_NOW = "memory-exhausted,disk-full"
"""What this machine happens to be short of while the tests run is no part of a world."""
FAULTS = [setup for setup in SETUPS.values() if setup.finding]


@pytest.fixture(autouse=True)
def possible(request: pytest.FixtureRequest) -> None:
    """Skip what this machine does not permit, and say why."""
    parameters = getattr(getattr(request.node, "callspec", None), "params", {})
    setup = parameters.get("setup") or SETUPS["nvidia-smi-hangs"]
    for reason in filter(None, map(why_not, setup.needs)):
        pytest.skip(reason)


def judged(world: World, *options: str) -> tuple[Run, dict[str, Any]]:
    """What the command answers in this world."""
    run = world.run([*DOCTOR, "--json", "--skip", OF_NOW, *options])
    assert "Traceback" not in run.stderr
    return run, json.loads(run.stdout)


def problems(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [finding for finding in report["findings"] if finding["status"] in ("warn", "fail", "crash")]


@pytest.mark.parametrize("setup", FAULTS, ids=lambda setup: setup.name)
def test_the_fault_is_the_headline_and_has_a_remedy(setup: Setup, tmp_path: Path) -> None:
    with setup.build(tmp_path, broken=True) as world:
        run, report = judged(world, *setup.options)
    found = next(finding for finding in report["findings"] if finding["id"] == setup.finding)
    assert found["caused_by"] is None
    assert report["headline"].startswith(found["summary"])
    assert re.search(setup.says, found["summary"])
    assert found["remedies"]
    assert found["evidence"]
    assert run.returncode == (1 if found["status"] == "fail" else 0)
    others = {finding["id"] for finding in problems(report) if finding["caused_by"] is None}
    assert others == {setup.finding}  # whatever else there is follows from it


@pytest.mark.parametrize("setup", SETUPS.values(), ids=lambda setup: setup.name)
def test_the_healthy_twin_is_healthy(setup: Setup, tmp_path: Path) -> None:
    with setup.build(tmp_path, broken=False) as world:
        run, report = judged(world, *setup.options)
    assert (run.returncode, problems(report)) == (0, [])
    assert report["headline"].startswith("healthy")


def test_an_nvidia_smi_that_hangs_alone_costs_nothing(tmp_path: Path) -> None:
    """The driver answers, so the machine works: nobody waits for a program that is not needed."""
    with SETUPS["nvidia-smi-hangs"].build(tmp_path, broken=True) as world:
        run, report = judged(world)
        assert world.run(["nvidia-smi"], timeout_s=0.5).returncode is None
    assert (run.returncode, problems(report)) == (0, [])
    assert report["machine"]["gpus"][0]["name"] == recorded.rtx4090()["nvmlDeviceGetName 0"]


def test_a_segfault_at_import_costs_the_doctor_nothing(tmp_path: Path) -> None:
    """Without --probe nothing is imported, so nothing is known of it, and the version is read all the same."""
    with SETUPS["torch-segfaults"].build(tmp_path, broken=True) as world:
        run, report = judged(world)
        assert world.run(["python", "-c", "import torch"]).returncode == -11
    assert (run.returncode, problems(report)) == (0, [])
    assert report["machine"]["python"]["torch"]["version"] == "2.9.1+cu128"


def test_the_old_cudnn_really_breaks_the_import(tmp_path: Path) -> None:
    """What the loader's rules foretell is what happens."""
    setup = SETUPS["old-cudnn"]
    for broken in (True, False):
        with setup.build(tmp_path, broken=broken) as world:
            imported = world.run(["python", "-c", "import torch"])
        assert ("undefined symbol: cudnn_new_in_9_10" in imported.stderr) is broken
        assert (imported.returncode != 0) is broken


def test_worlds_leave_nothing_behind(tmp_path: Path) -> None:
    mounts = Path("/proc/self/mounts").read_text()
    with SETUPS["driver-hangs"].build(tmp_path, broken=True) as world:
        assert world.run(["nvidia-smi"], timeout_s=0.5).returncode is None
        where = str(world.directory)
    assert Path("/proc/self/mounts").read_text() == mounts
    assert not Path("/dev/nvidia0").exists()
    assert where not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
