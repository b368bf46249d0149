"""The commands on machines whose driver answers as recorded, and on the same ones with every call failing in every way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_nvml import recorded
from msgspec.structs import replace
from test_probe_nvml import read_in_one_process

from dltool import checks, live, machine, names
from dltool.render import FORMATS, Style
from dltool.results import Report, Status

CODES = [*range(1, 31), 999]
FROM_NVML = ("version", "cuda_version", "nvml_error", "nvml_library", "nvml_library_version")
HOST = machine.load(Path(__file__).parent / "machines/h100_server.json")


def dltool(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": str(home), "XDG_DATA_HOME": str(home), "COLUMNS": "100"}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    return subprocess.run(
        [sys.executable, "-m", "dltool", *arguments], capture_output=True, text=True, env=environment, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("recording", "name", "board"),
    [
        (recorded.h100_server, "NVIDIA H100 80GB HBM3", "Hopper GH100"),
        (recorded.rtx4060_laptop, "NVIDIA GeForce RTX 4060 Laptop GPU", "Ada Lovelace AD107"),
        (recorded.gtx1080ti, "NVIDIA GeForce GTX 1080 Ti", "Pascal GP102"),
    ],
    ids=["h100", "rtx4060", "gtx1080ti"],
)
def test_commands_on_recorded_gpus(nvml, tmp_path, recording, name, board):
    nvml(recording())
    doctor = dltool("doctor", "--json", home=tmp_path)
    assert doctor.stderr == ""
    report = json.loads(doctor.stdout)
    assert report["machine"]["gpus"][0]["name"] == name
    assert not [f for f in report["findings"] if f["status"] == "crash"]
    info = dltool("gpu-info", home=tmp_path)
    assert info.returncode == 0, info.stderr
    assert "GPU 0" in info.stdout
    assert board in info.stdout
    assert "MHz now" in info.stdout
    snapshot = json.loads(dltool("snapshot", home=tmp_path).stdout)
    assert snapshot["gpus"][0]["uuid"].startswith("GPU-#")


def test_gpu_info_shows_a_gpu_whose_driver_is_dead(monkeypatch, capsys):
    """A GPU that only the PCI bus shows is no reason to show the processor in its place."""
    from dltool import probe
    from dltool.cli import gpu_info

    dead = replace(HOST, gpus=(), gaps={"gpus": "Driver Not Loaded (NVML_ERROR_DRIVER_NOT_LOADED in nvmlInit)"})
    monkeypatch.setattr(probe, "read", lambda **_: dead)
    _, boards = gpu_info._here(None)
    assert len(boards) == len(HOST.pci)
    assert {board.name for board in boards} == {"H100 SXM5 80GB"}
    assert all("Driver Not Loaded" in board.note and "dltool doctor" in board.note for board in boards)


def test_a_driver_that_hangs_is_named_in_time(nvml, tmp_path):
    nvml(recorded.h100_server(2), hang="nvmlDeviceGetTemperature")
    run = dltool("doctor", "-v", home=tmp_path)
    assert run.returncode == 1
    assert "driver-not-answering" in run.stdout
    assert "it hung in nvmlDeviceGetTemperature" in " ".join(run.stdout.split())


@pytest.fixture(scope="module")
def failed_readings(nvml_library, tmp_path_factory):
    """What the probe reads of an H100 when each call fails with each error."""
    import fake_nvml

    recording = recorded.h100_server(1)
    answers = tmp_path_factory.mktemp("answers") / "answers.txt"
    fake_nvml.write(recording, answers)
    functions = sorted({call.split()[0] for call in recording} | {"nvmlInitWithFlags"})
    failures = [f"{function}={code}" for function in functions for code in CODES]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in fake_nvml.environment(nvml_library, answers).items():
            patch.setenv(name, value)
        return dict(zip(failures, read_in_one_process(failures), strict=True))


def test_every_failing_call_leaves_every_command_alive(failed_readings):
    for failure, reading in failed_readings.items():
        driver = replace(HOST.driver, **{name: getattr(reading.driver, name) for name in FROM_NVML})
        facts = replace(HOST, driver=driver, gpus=reading.gpus, gaps=reading.gaps)
        assert machine.from_json(facts.to_json(), source=failure) == facts
        findings = checks.run(facts)
        assert Status.CRASH not in {finding.status for finding in findings}, failure
        boards = [board for gpu in facts.gpus if (board := live.live_board(gpu, _known(gpu)))]
        report = Report(machine=facts, findings=findings, boards=tuple(boards), headline=checks.headline(findings, facts))
        for name in ("text", "json") if failure.endswith(("=3", "=15")) else ("json",):
            assert FORMATS.get(name)(report, Style(verbose=True))


def test_a_field_that_fails_is_no_fault_of_the_machine(failed_readings):
    """A fact that one call would not give is a gap: the doctor says nothing worse of the machine for it."""
    healthy = {f.id for f in checks.run(HOST) if f.status.is_problem}
    grave = ("nvmlInit", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetCount")
    for failure, reading in failed_readings.items():
        if failure.startswith(grave):
            continue
        one_gpu = replace(HOST, gpus=reading.gpus, gaps=reading.gaps, pci=(HOST.pci or ())[:1])
        problems = {f.id for f in checks.run(one_gpu) if f.status.is_problem}
        assert problems <= healthy, failure


def test_a_driver_that_refuses_is_a_fault(failed_readings):
    for code in (9, 18, 999):
        reading = failed_readings[f"nvmlInitWithFlags={code}"]
        facts = replace(
            HOST, gpus=(), gaps=reading.gaps, driver=replace(HOST.driver, version=None, nvml_error=reading.driver.nvml_error)
        )
        assert any(finding.status is Status.FAIL for finding in checks.run(facts)), code


def _known(gpu):
    return names.identify(name=gpu.name, device_id=gpu.pci_device_id, memory_bytes=gpu.memory_total_bytes)
