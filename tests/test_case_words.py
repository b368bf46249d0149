"""Reported environments in other words than those at hand: each is understood, or listed, and never breaks the replay."""

from __future__ import annotations

from typing import Any

import case_words
import cases
import pytest
import recorded
from hypothesis import given, settings
from hypothesis import strategies as st

from dltool import compat
from dltool.machine import Machine


@pytest.mark.parametrize(
    ("told", "bytes_"),
    [("64M", 2**26), ("64MB", 2**26), ("64 MiB", 2**26), (2**26, 2**26), ("1.5g", 3 * 2**29), ("lots", None), (None, None)],
)
def test_sizes(told: Any, bytes_: int | None) -> None:
    assert case_words.size(told) == bytes_


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ({"container": "docker", "shm_size": "64M"}, "shm-small"),
        ({"shm_mb": 64}, "shm-small"),
        ({"gpu_name": "Tesla V100", "driver": "driver 570.86.10", "pytorch": "2.11.0+cu128"}, "torch-lacks-gpu-code"),
        ({"compute_capability": "sm_37", "torch": "2.7.1+cu118", "max_cuda": "11.4"}, "torch-lacks-gpu-code"),
        ({"CUDA_VISIBLE_DEVICES": "2,3", "num_gpus": 2}, "gpus-hidden"),
        ({"dmesg": "NVRM: Xid (PCI:0000:c1:00): 79, pid=1, GPU has fallen off the bus."}, "gpu-xid"),
        ({"xid": "Xid 79"}, "gpu-xid"),
        ({"gpu": "RTX 5090", "open_kernel_modules": False}, "kernel-module-flavour"),
        ({"glibc_version": "2.17", "torch": "2.7.0+cu126"}, "glibc-too-old"),
        ({"glibc": "2.31", "torch": "2.7.1+cu126", "pip": ["flash-attn==2.8.2"]}, "glibc-too-old"),
        ({"pip_list": "onnxruntime 1.18.0\nonnxruntime-gpu 1.18.0", "gpu": "RTX 3090"}, "packages-clash"),
        ({"torch_version": "2.2.2+cu121", "numpy": "2.1.0"}, "numpy-mismatched"),
        ({"torch": "2.4.1+cu121", "python": "3.14"}, "torch-incomplete"),
        ({"pip": {"tensorflow": "2.15.0", "torch": "2.4.0"}, "gpu": "RTX 3090"}, "cudnn-of-other-major"),
        ({"cpu.max": "200000 100000", "nproc": 64}, "cpu-quota-low"),
        ({"ulimit_nofile": 256}, "open-files-low"),
        ({"infiniband": "yes", "memlock_kb": 64}, "memlock-low"),
        ({"disk_free_gb": 0.1}, "disk-full"),
        ({"gpu": "8x NVIDIA H100 80GB HBM3", "fabricmanager": "inactive"}, "fabric-not-ready"),
        ({"gpu": "RTX 3090", "throttle_reasons": ["hw_thermal_slowdown"], "temperature": "95 C"}, "gpu-throttled"),
        ({"mig": True, "mig_instances": 0, "gpu": "A100-SXM4-40GB"}, "mig-without-instances"),
        ({"lsmod": "nouveau", "gpu": "GTX 1080"}, "nouveau-loaded"),
        ({"infiniband_ports": ["active", "init"]}, "infiniband-port-not-ready"),
        ({"gpu_present": True, "conda_packages": {"cpuonly": "2.0", "pytorch": "1.11.0 py3.8_cpu_0"}}, "torch-cpu-only"),
        (
            {"gpu": "V100", "driver": "470.82", "conda_list": {"pytorch": "2.1.0 py3.10_cuda12.1_cudnn8.9.2_0"}},
            "driver-too-old",
        ),
        ({"os": "Windows 10", "torch": "2.1.2+cpu", "gpu_present": True}, "torch-cpu-only"),
        (
            {
                "kernel": "6.8.0-40",
                "dkms_status": "nvidia/550.90.07, 6.8.0-38, x86_64: installed",
                "modules_missing": ["nvidia"],
            },
            "dkms-module-missing",
        ),
        ({"gpu": "RTX 5090", "kernel_module_license": "NVIDIA"}, "kernel-module-flavour"),
        (
            {"gpu": "A100-SXM4-80GB", "row_remap": {"uncorrectable_error": "8", "remapping_failure_occurred": "Yes"}},
            "rows-remap-failed",
        ),
        ({"gpu": "RTX 3090", "pcie": "Gen4 x4 of Gen4 x16"}, "pcie-degraded"),
        ({"gpu": "RTX 3090", "pcie_width_current": 4, "pcie_width_max": 16}, "pcie-degraded"),
        ({"container": "podman", "NVIDIA_VISIBLE_DEVICES": "void"}, "container-without-gpu"),
        ({"container": "podman", "cdi": False}, "container-without-gpu"),
        ({"nouveau_loaded": True, "gpu": "GTX 1660"}, "nouveau-loaded"),
        ({"gpu": "RTX 5080", "kernel_module": "proprietary"}, "kernel-module-flavour"),
        ({"cuda_visible_devices": "0,1,2,3", "gpu_count": 2}, "gpus-hidden"),
        ({"container": True, "nvidia_driver_capabilities": "graphics,utility"}, "container-capabilities"),
        ({"gpu": "8x NVIDIA H100 80GB HBM3", "nvlink": {"gpu3": "link 2 inactive"}}, "nvlinks-down"),
        ({"gpu": "GTX 1080 Ti", "driver": "590.48.01"}, "gpu-init-failed"),
        ({"ld_library_path": ["/usr/local/cuda/lib64/stubs"]}, "libcuda-stub"),
        ({"os": "windows", "pip": {"tensorflow": "2.15.0"}, "gpu": "RTX 3070"}, "framework-without-cuda"),
        ({"jetpack": "5.1.2", "torch": "2.4.0", "torch_cuda": None}, "torch-cpu-only"),
        ({"container": "singularity", "dev_nodes": []}, "device-nodes-missing"),
        ({"container": True, "ldconfig_missing": ["libcuda.so.1"]}, "libcuda-absent"),
        ({"gpu": "RTX 3090", "throttle": {"hw_thermal_slowdown": "Active"}, "gpu_util": "98 %"}, "gpu-throttled"),
    ],
)
def test_another_spelling_gives_the_same_finding(state: dict[str, Any], problem: str) -> None:
    machine, left = cases.translate(state)
    assert left == []
    assert problem in recorded.problems(machine)


@pytest.mark.parametrize(
    "state",
    [
        {"gpu": "RTX 4090", "torch": "2.6.0+cu124", "driver": "535.183.01", "shm": "8G", "persistence": "Off"},
        {"gpu": "RTX 3090", "xid": 13},
        {"glibc": "2.31", "torch": "2.5.1+cu124", "pip": ["flash-attn==2.7.4.post1"]},
        {"glibc": "2.35", "torch": "2.7.1+cu126", "pip": ["flash-attn==2.8.2"]},
        {"infiniband_ports": ["active", "down"]},
        {"gpu": "2x RTX 4090", "pcie": "Gen1 x16 of Gen4 x16", "pstate": "P8"},
        {"gpu": "RTX 3090", "throttle": {"sw_power_cap": "Active", "hw_slowdown": "Not Active"}, "utilization": "97%"},
        {"gpu": "H100", "remapped_rows": {"uncorrectable": 1, "pending": "No", "failure": "No"}},
        {"gpu": "GB10", "torch": "2.11.0+cu130", "arch_list": "sm_80 sm_90 sm_120 compute_120"},
        {"torch_cuda": "13.1", "gpu": "GB10", "cuda_home": None, "nvcc": None, "gcc": "13.3"},
        {"ulimits": {"nofile": "unlimited", "memlock": "unlimited"}, "infiniband": True},
    ],
)
def test_healthy_ones_raise_no_alarm(state: dict[str, Any]) -> None:
    machine, _ = cases.translate(state)
    assert recorded.problems(machine) == {}


def test_what_is_not_known_is_listed() -> None:
    _, left = cases.translate({"colour": "green", "ecc": "many", "driver_version": "570"})
    assert left[0] == "colour (no fact of ours)"
    assert any(line.startswith("ecc (not understood") for line in left)


@settings(max_examples=40)
@given(
    st.dictionaries(
        st.sampled_from([*cases.TRANSLATIONS, *case_words._CANONICAL, "nonsense"]),
        st.one_of(st.none(), st.booleans(), st.integers(-5, 10**12), st.text(max_size=8),
                  st.lists(st.text(max_size=5)),
                  st.dictionaries(st.text(max_size=5), st.integers(), max_size=2)),
        max_size=4,
    )
)  # fmt: skip
def test_no_state_breaks_the_replay(state: dict[str, Any]) -> None:
    machine, left = cases.translate(state)
    assert isinstance(machine, Machine)
    assert all(isinstance(line, str) for line in left)


# --- what reports say of published wheels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "version", "glibc", "new_strings"),
    [
        ("flash-attn", "2.8.2+cu12torch2.6cxx11abiFALSE", "2.32", True),
        ("flash-attn", "2.8.2", "2.32", None),
        ("flash-attn", "2.7.4.post1", None, None),
        ("torch", "2.5.1+cu124", "2.17", False),
        ("torch", "2.6.0+cu124", "2.17", False),
        ("torch", "2.6.0+cu126", "2.28", True),
        ("torch", "2.9.1+cu128", "2.28", True),
        ("torch", "not a version", None, None),
        ("numpy", "2.0", None, None),
    ],
)
def test_wheels(name: str, version: str, glibc: str | None, new_strings: bool | None) -> None:
    facts = compat.wheel_facts(name, version)
    assert facts.cxx11_abi is new_strings
    assert facts.glibc == glibc or name == "torch"
    assert bool(facts.source) == (facts.glibc is not None or facts.cxx11_abi is not None)


def test_a_file_that_was_read_counts_more_than_a_report() -> None:
    state = {"glibc": "2.31", "torch": "2.7.1+cu126", "pip": ["flash-attn==2.8.2"]}
    machine, _ = cases.translate(state)
    document = recorded.msgspec.to_builtins(machine)
    document["python"]["extensions"] = [{"package": "flash-attn 2.8.2", "path": "/x.so", "needs": ["GLIBC_2.30"]}]
    assert recorded.problems(recorded.msgspec.convert(document, Machine)) == {}
