"""Other spellings of what collections of reported problems tell: each becomes the one that tests/cases.py translates.

A key keeps its meaning under many names ("shm_size", "dev_shm_bytes"), a size is a number or "64M", a yes is true, "yes" or
"Enabled". Nothing is dropped: what is not known here stays as it is, for tests/cases.py to list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

State = dict[str, Any]
GPU_LINE = re.compile(r"\|\s+\d+\s+(?P<name>(?:NVIDIA|Tesla|Quadro|GeForce)[^|]*?)\s{2,}(?:On|Off)\b")

NAMES = {
    "gpu": "gpu_name gpus gpu_model device device_name card",
    "cc": "compute_capability sm capability gpu_cc",
    "gpu_count": "gpus_count num_gpus n_gpus",
    "driver_version": "driver nvidia_driver driver_branch nvidia_driver_version host_driver host_driver_version",
    "driver_cuda": "cuda_driver_version max_cuda driver_max_cuda nvidia_smi_cuda smi_cuda",
    "kernel_module_version": "module_version nvrm_version loaded_module_version proc_driver_version",
    "nvml_lib_version": "nvml_version libnvidia_ml_version userspace_version nvml_library_version user_driver_version",
    "torch": "torch_version pytorch pytorch_version",
    "torch_cuda": "torch_cuda_version torch.version.cuda",
    "arch_list": "torch_arch_list sm_list torch_archs compiled_archs",
    "python": "python_version py",
    "libc": "glibc glibc_version libc_version",
    "os": "distribution distro system platform os_version",
    "arch": "cpu_arch machine processor architecture",
    "kernel": "kernel_version uname uname_r",
    "pip_packages": "packages pip installed pip_list pip_freeze",
    "conda_packages": "conda conda_list",
    "ld_library_path": "LD_LIBRARY_PATH",
    "dev_shm_bytes": "shm shm_size shm_bytes dev_shm dev_shm_size /dev/shm shm_total shm_size_bytes",
    "disk_free_bytes": "disk_free free_disk free_disk_bytes disk",
    "ram_bytes": "ram main_memory host_memory mem_total",
    "memory_limit_bytes": "memory_limit cgroup_memory_limit cgroup_memory memory.max cgroup_memory_bytes",
    "swap_bytes": "swap swap_total",
    "gpu_memory_bytes": "vram vram_bytes gpu_memory",
    "cpu_quota": "cgroup_cpu_max cpu.max cpu_limit cgroup_cpu cpus_quota cgroup_cpu_quota cpu_max",
    "cpu_count": "cpus nproc visible_cpus usable_cpus cores",
    "dkms": "dkms_status",
    "utilization_percent": "utilization gpu_utilization gpu_util utilization_gpu",
    "performance_state": "pstate perf_state performance",
    "cudnn": "cudnn_version system_cudnn",
    "cdi_spec": "cdi cdi_devices",
    "dmesg": "dmesg_lines kernel_log log journal journalctl kern_log",
    "xid": "xids xid_code xid_codes",
    "sxid": "sxids sxid_code",
    "container": "in_container docker_container",
    "container_cuda": "image_cuda container_cuda_version",
    "nvidia_container_toolkit": "container_toolkit nvidia_runtime nvidia_docker",
    "dev_nodes": "device_nodes devices_present",
    "dev_nodes_missing": "device_nodes_missing missing_devices",
    "modules": "loaded_modules lsmod kernel_modules modules_loaded",
    "modules_missing": "missing_modules modules_not_loaded",
    "secure_boot": "secureboot secure_boot_enabled",
    "kernel_module_open": "open_kernel_modules open_module open_modules kernel_module_flavor kernel_module_flavour "
    "kernel_module_license module_license open_kernel_module kernel_module kernel_module_type",
    "mig_mode": "mig mig_enabled",
    "mig_instances": "mig_instance_count mig_devices_count",
    "fabric_state": "fabric gpu_fabric_state",
    "fabric_manager": "fabricmanager nvidia_fabricmanager fabric_manager_state fabric_manager_active",
    "compute_mode": "gpu_compute_mode",
    "persistence_mode": "persistence persistenced",
    "clocks_event_reasons": "throttle_reasons clocks_throttle_reasons clock_event_reasons throttle",
    "temperature_c": "temperature gpu_temp temp_c gpu_temperature_c",
    "remapped_rows": "row_remap row_remapping row_remapper",
    "retired_pages_pending": "retired_pages page_retirement_pending",
    "recovery_action": "gpu_recovery_action",
    "pcie": "pci_link pcie_link",
    "nvlink": "nvlinks nvlink_state",
    "nvcc": "nvcc_version cuda_toolkit toolkit toolkit_version cuda_toolkit_version",
    "gcc": "gcc_version host_gcc host_compiler",
    "infiniband": "ib has_infiniband rdma",
    "wsl": "wsl_version wsl2",
    "limits": "ulimits ulimit rlimits",
    "cudnn_on_ld_path": "cudnn_system",
    "iommu": "iommu_mode",
    "cpu": "cpu_model processor_name",
    "python_headers": "python_dev python_h Python.h python_dev_headers",
    "numpy": "numpy_version",
}
"""The key that tests/cases.py translates, and other names of it."""
_CANONICAL = {other: key for key, others in NAMES.items() for other in others.split()}
_VARIABLES = {"cuda_visible_devices", "cuda_device_order", "nvidia_visible_devices", "nvidia_driver_capabilities", "ld_preload",
              "torch_cuda_arch_list", "mkl_debug_cpu_type", "triton_ptxas_path", "cuda_path", "pythonpath"}  # fmt: skip
"""Environment variables that reports write small too."""
_SIZES = {"dev_shm_bytes", "disk_free_bytes", "ram_bytes", "memory_limit_bytes", "swap_bytes", "gpu_memory_bytes"}
_SCALES = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_TRUTHS = {"yes": True, "true": True, "enabled": True, "on": True, "active": True, "no": False, "false": False,
           "disabled": False, "off": False, "inactive": False, "not active": False}  # fmt: skip


def normal(state: Mapping[str, Any]) -> State:
    """The same told by the keys and in the forms that tests/cases.py knows."""
    found: State = {}
    for key, value in state.items():
        name, changed = _one(key, value)
        if name in found and isinstance(found[name], dict) and isinstance(changed, dict):
            found[name] = {**found[name], **changed}
        elif name not in found or name == key:
            found[name] = changed
        else:
            found[key] = value
    for name in (
        "numpy",
        "triton",
        "torchvision",
        "torchaudio",
        "flash_attn",
        "xformers",
        "bitsandbytes",
        "vllm",
        "tensorflow",
    ):
        if name in found and isinstance(found.get("pip_packages", {}), dict):
            found["pip_packages"] = {**found.get("pip_packages", {}), name.replace("_", "-"): found.pop(name)}
    _from_conda(found)
    _link_keys(found)
    listed = found.get("pip_packages")
    listed = listed if isinstance(listed, dict) else {}
    if "torch" not in found and re.match(r"\d", str(listed.get("torch"))):
        found["torch"] = listed["torch"]
        found["pip_packages"] = {name: version for name, version in listed.items() if name != "torch"}
    return found


def _from_conda(found: State) -> None:
    """A PyTorch that conda lists: its build ("py3.8_cpu_0", "cuda118_py310") says for which CUDA it is."""
    listed = found.get("conda_packages")
    said = next((listed[name] for name in ("pytorch", "pytorch-cpu", "pytorch-gpu") if listed.get(name)), None) if isinstance(
        listed, dict) else None  # fmt: skip
    if said is None or "torch" in found or not re.match(r"\d", str(said)):
        return
    version, _, build = str(said).partition(" ")
    found["torch"] = version
    if cuda := re.search(r"cuda(\d{2})\.?(\d)", build):
        found.setdefault("torch_cuda", f"{cuda[1]}.{cuda[2]}")
    elif "cpu" in build or "cpuonly" in listed or "pytorch-cpu" in listed:
        found.setdefault("torch_cuda", None)


def _link_keys(found: State) -> None:
    """ "pcie_width_current" and "pcie_gen" are one part each of "pcie"."""
    parts: State = {}
    for key in list(found):
        match = re.fullmatch(r"pcie?_(?:link_)?(gen|generation|width)(?:_(current|now|max))?", key)
        match = match or re.fullmatch(r"pcie?_(?:link_)?(?P<when>current|max)_(gen|generation|width)", key)
        if match and str(found[key]).strip("x").isdecimal():
            part, when = (match[1], match[2]) if "when" not in match.groupdict() else (match[2], match["when"])
            part = "gen" if part.startswith("gen") else part
            parts[f"{part}_{'max' if when == 'max' else 'current'}"] = int(str(found.pop(key)).strip("x"))
    if parts and isinstance(found.get("pcie", {}), dict):
        found["pcie"] = {**found.get("pcie", {}), **parts}


def _one(key: str, value: Any) -> tuple[str, Any]:
    """One key under its usual name, with its value in the usual form."""
    if re.fullmatch(r"[A-Z][A-Z0-9_]{3,}", key) and key not in _CANONICAL:
        return "env", {key: "" if value is None else str(value)}
    if key.lower() in _VARIABLES:
        return "env", {key.upper(): "" if value is None else str(value)}
    if key in ("nouveau", "nouveau_loaded") and truth(value) is True:
        return "modules", ["nouveau"]
    if key.endswith("_bytes") and _CANONICAL.get(key.removesuffix("_bytes")) in _SIZES:
        key = _CANONICAL[key.removesuffix("_bytes")]
    name, scale = key, 1
    if unit := re.fullmatch(r"(.+)_(kb|mb|gb|tb|kib|mib|gib|tib)", key, re.IGNORECASE):
        base = unit[1]
        name = next((one for one in (f"{base}_bytes", _CANONICAL.get(base, "")) if one in _SIZES), key)
        scale = 1 << _SCALES[unit[2][0].lower()] if name in _SIZES else 1
    name = _CANONICAL.get(name, _CANONICAL.get(name.lower(), name))
    if limit := re.fullmatch(r"(?:ulimit_|rlimit_)?(nofile|memlock)(?:_kb|_soft)?|open_files(?:_soft)?|ulimit_n", name):
        return "limits", {limit[1] or "nofile" if limit[1] != "memlock" else "memlock_kb": value}
    if change := _FORMS.get(name):
        try:
            value = change(value)
        except (TypeError, ValueError):  # of another form than any known: what comes of it is listed
            pass
    if name in _SIZES:
        value = size(value) * scale if size(value) is not None else value
    return name, value


def size(value: Any) -> int | None:
    """Bytes: 67108864, "64M", "64MB", "1.5 GiB"."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return int(value)
    match = re.fullmatch(r"\s*([\d.]+)\s*([kmgt]?)(?:i?b)?\s*", str(value), re.IGNORECASE)
    return int(float(match[1]) * (1 << _SCALES[match[2].lower()])) if match else None


def truth(value: Any) -> Any:
    """Yes or no in any of its forms; anything else as it is."""
    return _TRUTHS.get(value.strip().lower(), value) if isinstance(value, str) else value


def _lines(value: Any) -> list[str]:
    return [str(line) for line in value] if isinstance(value, list | tuple) else str(value).splitlines()


def _paths(value: Any) -> list[str]:
    return (
        [str(path) for path in value] if isinstance(value, list | tuple) else [path for path in str(value).split(":") if path]
    )


def _packages(value: Any) -> dict[str, Any]:
    """{"numpy": "2.0"}, ["numpy==2.0", "torch"] or lines of `pip list`."""
    if isinstance(value, Mapping):
        return dict(value)
    found: dict[str, Any] = {}
    for line in _lines(value):
        if match := re.match(r"\s*([A-Za-z0-9][\w.-]*)(?:\s*(?:===?|>=|\s)\s*(\S+))?\s*$", line):
            found[match[1]] = match[2] or "present"
    return found


def _capability(value: Any) -> Any:
    """ "sm_86", 86, 8.6 and "8.6" are one."""
    match = re.fullmatch(r"(?:sm_|compute_)?(\d{1,2})\.?(\d)[af]?", str(value))
    return f"{match[1]}.{match[2]}" if match else value


def _system(value: Any) -> Any:
    text = str(value)
    if text.lower().startswith("win"):
        return "windows"
    return text.lower() if not text.lower().startswith("linux") else value


def _quota(value: Any) -> Any:
    """ "200000 100000" of cpu.max is 2.0; "max 100000" is no limit."""
    match = re.fullmatch(r"(max|\d+)\s+(\d+)", str(value).strip())
    if match:
        return None if match[1] == "max" else int(match[1]) / int(match[2])
    return value


def _architectures(value: Any) -> list[str]:
    words = value if isinstance(value, list | tuple) else re.split(r"[\s,;]+", str(value))
    return [f"sm_{str(word).replace('.', '')}" if re.fullmatch(r"[\d.]+", str(word)) else str(word) for word in words if word]


def _driver(value: Any) -> Any:
    """ "NVIDIA-SMI 535.129.03" and "driver 535" name their version."""
    match = re.search(r"\d{3}(?:\.\d+)*", str(value))
    return match[0] if match else value


def _reasons(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        value = [reason for reason, active in value.items() if truth(active) is True]
    words = value if isinstance(value, list | tuple) else [value]
    return [re.sub(r"[\s-]+", "_", str(word).strip().lower()).removeprefix("clocks_event_reasons.") for word in words]


def _rows(value: Any) -> Any:
    """Remapped rows under any names, with yes and no in any form."""
    if not isinstance(value, Mapping):
        return value
    names = (("uncorr", "uncorrectable"), ("corr", "correctable"), ("pend", "pending"), ("fail", "failure"))
    told = {next((name for start, name in names if start in key.lower()), key): truth(one) for key, one in value.items()}
    return {key: int(one) if str(one).isdecimal() else one for key, one in told.items()}


def _link(value: Any) -> Any:
    """ "Gen2 x16 of Gen5 x16": now, then the most."""
    if not isinstance(value, str):
        return value
    generations = re.findall(r"gen\s*(\d)", value, re.IGNORECASE)
    widths = re.findall(r"(?:x|@)\s*(\d{1,2})", value)
    both = {"gen": generations, "width": widths}
    found = {
        f"{part}_{when}": int(one) for part, all_ in both.items() for when, one in zip(("current", "max"), all_, strict=False)
    }
    if not found:
        raise ValueError(value)
    return found


def _dkms(value: Any) -> Any:
    """Lines of `dkms status`: "nvidia/550.90.07, 6.8.0-38-generic, x86_64: installed"."""
    if isinstance(value, Mapping):
        return value
    line = re.compile(r"(nvidia[\w-]*)(?:/|,\s*)([\d.]+)(?:,\s*([^,:\s]+))?[^:]*:\s*(\w+)")
    return {f"nvidia/{m[2]}": f"{m[4]} {m[3] or ''}".strip() for one in _lines(value) if (m := line.search(one))} or value


def _numbers(value: Any) -> Any:
    return [int(number) for number in re.findall(r"\d+", str(value))]


def _first_number(value: Any) -> int:
    return int(next(iter(_numbers(value)), value))


_FORMS: dict[str, Callable[[Any], Any]] = {
    "cc": _capability,
    "os": _system,
    "arch_list": _architectures,
    "dmesg": _lines,
    "ld_library_path": _paths,
    "pip_packages": _packages,
    "conda_packages": _packages,
    "cpu_quota": _quota,
    "python_headers": truth,
    "secure_boot": truth,
    "infiniband": truth,
    "wsl": truth,
    "persistence_mode": truth,
    "retired_pages_pending": truth,
    "driver_version": _driver,
    "clocks_event_reasons": _reasons,
    "xid": _numbers,
    "sxid": _numbers,
    "remapped_rows": _rows,
    "pcie": _link,
    "dkms": _dkms,
    "performance_state": _first_number,
    "utilization_percent": _first_number,
    "mig_mode": lambda value: {True: "Enabled", False: "Disabled"}.get(truth(value), value),
    "modules": lambda value: value if isinstance(value, list) else re.split(r"[\s,]+", str(value)),
    "dev_nodes": lambda value: value if isinstance(value, list) else re.split(r"[\s,]+", str(value)),
}
