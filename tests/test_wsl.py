"""WSL, where the GPU and the kernel half of its driver are on the Windows side."""

from __future__ import annotations

import pytest
from recorded import altered

from dltool import checks
from dltool.results import Status

REFUSED = {
    "gpus": (),
    "driver.version": None,
    "driver.cuda_version": None,
    "driver.nvml_error": "NVML_ERROR_DRIVER_NOT_LOADED",
    "gaps": {"gpus": "Driver Not Loaded (NVML_ERROR_DRIVER_NOT_LOADED in nvmlInit)"},
}


def problems(facts):
    return {finding.id: finding for finding in checks.run(facts) if finding.status.is_problem and finding.caused_by is None}


def test_a_driver_that_refuses_is_a_fault_with_a_remedy_for_windows():
    found = problems(altered("wsl2", REFUSED))["driver-not-answering"]
    assert found.status is Status.FAIL
    assert found.remedies[0].commands == ("wsl --update", "wsl --shutdown")


def test_a_linux_driver_inside_is_to_be_removed():
    library = {"driver.nvml_library": "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.550.54.15"}
    found = problems(altered("wsl2", {**REFUSED, **library}))["driver-not-answering"]
    assert "sudo apt purge" in found.remedies[0].commands[0]


def test_no_nvidia_driver_in_windows_is_a_machine_without_gpu():
    bare = {**REFUSED, "driver.nvml_library": None, "driver.libcuda": None, "driver.nvml_error": "NVML_ERROR_LIBRARY_NOT_FOUND"}
    no_torch = {"python.torch": None, "gaps.python.torch": "not installed in this environment"}
    facts = altered("wsl2", {**bare, **no_torch})
    assert not problems(facts)
    assert checks.headline(checks.run(facts), facts) == "healthy; no NVIDIA GPU: CPU only"


@pytest.mark.parametrize("name", ["wsl2"])
def test_healthy(name):
    assert not problems(altered(name, {}))
