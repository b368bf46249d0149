"""Replay environments that somebody described: `python -m tests.cases FILE [--expect]`.

FILE holds cases in one of two forms. Ours (tests/cases.json) names a recorded machine and the facts that differ. The other is
that of collections of reported problems: `observable_state` with keys in the words of the reports. `TRANSLATIONS` turns each
such key into facts of ours; what it cannot turn is listed, never left out in silence. What a report does not tell is taken
from a machine on which it makes no difference: a new driver, no PyTorch, no wheels.

With --expect the verdict is compared: with `problems` in our form. In the other form a healthy case must raise no alarm, and a
broken one must raise one: the first problem that tests/cases.json names for the same id, or one whose words are those of the
diagnosis (three of them at least; `other` is left to a person to judge). What is no error, a default that suits most programs,
is right as information with a remedy; `told` is information without one.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).parent))

import case_words
import recorded

from dltool import checks, compat, names, tables
from dltool.compat import builds
from dltool.compat.drivers import driver_branch
from dltool.compat.packages import companion
from dltool.errors import DltoolError
from dltool.machine import Machine
from dltool.results import Finding, Status

OURS = Path(__file__).with_name("cases.json")
SITE = "/opt/venv/lib/python3.11/site-packages"
NEW_DRIVER, ITS_CUDA = "590.48.01", "13.1"
GIB = 2**30
CODE = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
"""What a build holds of which is only told what it lacks."""
State = Mapping[str, Any]
Document = dict[str, Any]


class Untranslatable(Exception):
    """A value that says too little to make a fact of it."""


TRANSLATIONS: dict[str, Callable[[Document, Any, State], None]] = {}
"""By key of `observable_state`, in the order in which they are applied: what the later ones change, the earlier have made."""


def translates(*keys: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def add(function: Callable[..., None]) -> Callable[..., None]:
        TRANSLATIONS.update(dict.fromkeys(keys, function))
        return function

    return add


def base(state: State) -> Document:
    """A healthy machine of the kind that is told of, without PyTorch and without anything that depends on its GPU."""
    gpu = str(state.get("gpu", ""))
    has_gpu = {"gpu", "cc", "gpu_count", "driver_version"} & set(state) or state.get("gpu_present")
    cpu_build = "+cpu" in str(state.get("torch", "")) and not has_gpu
    if state.get("wsl"):
        name = "wsl2"
    elif state.get("tegra") or state.get("jetpack") or re.search(r"jetson|orin|xavier|tegra", gpu, re.IGNORECASE):
        name = "jetson"
    elif cpu_build or state.get("gpu_present") is False:
        name = "cpu_only"
    else:
        name = (
            "container" if state.get("container") or {"nvidia_container_toolkit", "cdi_spec"} & set(state) else "laptop_rtx4060"
        )
    document: Document = msgspec.json.decode(recorded.load(name).to_json())
    document["python"] |= {"distributions": [], "torch": None, "prefix": "/opt/venv", "extensions": [],
                           "executable": "/opt/venv/bin/python", "version": "3.11.9"}  # fmt: skip
    document |= {"libraries": [], "loads": None, "toolkits": [], "environment": {}, "nvswitches": 0}
    document["gaps"]["python.torch"] = "not installed in this environment"
    if name in ("laptop_rtx4060", "container"):
        document["gpus"], document["pci"] = document["gpus"][:1], document["pci"][:1]
        driver = document["driver"]
        driver |= dict.fromkeys(("version", "kernel_module_version", "nvml_library_version"), NEW_DRIVER)
        driver["cuda_version"] = ITS_CUDA
        for gpu_facts in document["gpus"]:
            gpu_facts |= {"nvlinks": [], "fabric_state": "not_supported", "pci_bus_id": document["pci"][0]["bus_id"]}
    return document


def _broken_nvml(document: Document, error: str, *, library: bool = True) -> None:
    document["gpus"] = []
    document["driver"] |= {"version": None, "cuda_version": None, "nvml_error": error}
    document["gaps"]["gpus"] = f"NVML did not start ({error})"
    if not library:
        document["driver"] |= {"nvml_library": None, "nvml_library_version": None, "libcuda": None, "device_nodes": []}


def _count(document: Document, count: int) -> None:
    """So many equal GPUs, on the bus and in NVML."""
    if not 0 <= count <= 72:
        raise Untranslatable(f"{count} GPUs")
    for kind, template in (("gpus", document["gpus"][:1]), ("pci", (document["pci"] or [])[:1])):
        many = [deepcopy(one) for one in template * count]
        for index, one in enumerate(many):
            one["pci_bus_id" if kind == "gpus" else "bus_id"] = f"0000:{index + 1:02x}:00.0"
            if kind == "gpus":
                one |= {"index": index, "uuid": f"GPU-{index:08x}"}
        document[kind] = many


def _version(text: object) -> str:
    """ "12.x" is read as 12.0, "11.x (not 11.2)" as 11.0."""
    match = re.search(r"\d+(?:\.\d+)*", str(text))
    if match is None:
        raise Untranslatable(f"{text!r} names no version")
    return match[0] if "." in match[0] else f"{match[0]}.0"


@translates("os")
def _os(document: Document, value: str, state: State) -> None:
    if value == "windows":
        document["os"] |= {"system": "Windows", "distribution": "Windows 11", "glibc": None}
    else:
        document["os"]["distribution"] = value.title()


@translates("arch")
def _arch(document: Document, value: str, state: State) -> None:
    document["cpu"]["architecture"] = value


@translates("kernel")
def _kernel(document: Document, value: str, state: State) -> None:
    document["os"]["kernel"] = value


@translates("libc", "glibc")
def _libc(document: Document, value: str, state: State) -> None:
    document["os"]["glibc"] = _version(value)


@translates("container")
def _container(document: Document, value: Any, state: State) -> None:
    document["os"]["container"] = "docker" if value is True else value or None


@translates("tegra", "jetpack")
def _tegra(document: Document, value: Any, state: State) -> None:
    """base() has taken a Jetson for it."""


@translates("wsl")
def _wsl(document: Document, value: Any, state: State) -> None:
    document["os"]["wsl"] = bool(value)


@translates("gpu", "cc", "gpu_count", "nvml_device_count", "gpu_present")
def _gpu(document: Document, value: Any, state: State) -> None:
    name = str(state.get("gpu", ""))
    told = re.match(r"(\d+)\s*x\s+(.+)", name)
    count = int(told[1]) if told else int(state.get("gpu_count") or state.get("nvml_device_count") or 1)
    name = told[2] if told else name
    if not document["gpus"]:
        return
    _count(document, count)
    try:
        board = names.find(name) if name else None
    except DltoolError:
        board = None
    if board is not None and names.identify(name=name, device_id=None, memory_bytes=None) is None:  # spelt as people spell it
        name = f"NVIDIA {board.name}"
    capability = state.get("cc") or (board.compute_capability if board else _shared_capability(name))
    for gpu in document["gpus"]:
        gpu |= {"pci_device_id": None, "memory_total_bytes": None, "bar1_total_bytes": None, "ecc_enabled": None}
        if name:
            gpu |= {"name": name, "compute_capability": capability}
        elif capability:
            gpu |= {"name": f"NVIDIA GPU of compute capability {capability}", "compute_capability": capability}
        gpu["power_limit_w"] = gpu["power_limit_default_w"] = 250.0


def _shared_capability(name: str) -> str | None:
    """The compute capability of all boards that a name may mean: "Tesla V100" is four."""
    try:
        boards = [one for one in names.resolve(name).boards if one in names.board_names()]
    except DltoolError:
        return None
    found = {names.board(one).compute_capability for one in boards}
    return found.pop() if len(found) == 1 else None


@translates("driver_version", "driver_cuda")
def _driver(document: Document, value: Any, state: State) -> None:
    driver, told = document["driver"], str(state.get("driver_version", ""))
    cuda = _version(state["driver_cuda"]) if state.get("driver_cuda") else None
    if str(state.get("driver_cuda", "")).endswith(".x"):  # the last of the major
        known = [row["max_cuda"] for row in tables.rows("compat/driver_branches") if row["max_cuda"]]
        cuda = max((one for one in known if one.partition(".")[0] == str(cuda).partition(".")[0]), key=compat.version)
    version = _version(told) if re.match(r"\d", told) else None
    if cuda is None and version is not None:
        row = driver_branch(version)
        cuda = row["max_cuda"] if row else None
    if version is None and cuda is not None:  # the first of the branch that was made for it
        branches = [row for row in tables.rows("compat/driver_branches") if row["max_cuda"] == cuda]
        version = branches[0]["first_version"] if branches else None
    facts = {"cuda_version": cuda, "version": version} if cuda else {"version": version} if version else {}
    if version:
        facts |= {"kernel_module_version": version, "nvml_library_version": version}
    elif cuda:
        facts |= {"kernel_module_version": None, "nvml_library_version": None}
        document["gaps"]["driver.version"] = "not told"
    driver |= facts
    if {"gpu", "cc"} & set(state) and told:
        _left_behind(document)


def _left_behind(document: Document) -> None:
    """A driver branch that no longer drives the GPU: it finds none, and the kernel's log says why."""
    version = document["driver"]["version"]
    row = driver_branch(version) if version else None
    capability = compat.known_version(str(document["gpus"][0]["compute_capability"])) if document["gpus"] else None
    if row is None or capability is None or not row["min_cc"] or capability >= compat.version(row["min_cc"]):
        return
    document |= recorded.log(
        *(f"NVRM: The NVIDIA GPU {device['bus_id']} (PCI ID: 10de:1b06)\n"
          f"NVRM: installed in this system is not supported by the\nNVRM: NVIDIA {version} driver release."
          for device in document["pci"] or [])
    )  # fmt: skip
    document["gpus"] = []


@translates("kernel_module_version", "nvml_lib_version")
def _halves(document: Document, value: Any, state: State) -> None:
    module, library = state.get("kernel_module_version"), state.get("nvml_lib_version")
    if module:
        document["driver"]["kernel_module_version"] = module
    if library:
        document["driver"]["nvml_library_version"] = library
    if module and library and module != library:  # so NVML refuses
        _broken_nvml(document, "NVML_ERROR_LIB_RM_VERSION_MISMATCH")


@translates("driver_package")
def _package(document: Document, value: str, state: State) -> None:
    """Says again what nvml_lib_version tells."""


@translates("secure_boot")
def _secure_boot(document: Document, value: bool, state: State) -> None:
    document["driver"]["secure_boot"] = value


@translates("modules_missing", "modules")
def _modules(document: Document, value: list[str], state: State) -> None:
    driver = document["driver"]
    driver["modules"] = list(state["modules"]) if "modules" in state else [m for m in driver["modules"] if m not in value]
    if "nvidia" not in driver["modules"]:
        _broken_nvml(document, "NVML_ERROR_DRIVER_NOT_LOADED")
        driver |= {"modules": [m for m in driver["modules"] if m.startswith("nouveau")], "device_nodes": []}
        driver["kernel_module_version"] = None
        document["gaps"]["driver.kernel_module_version"] = "/proc/driver/nvidia/version: No such file or directory"
        for device in document["pci"] or []:
            device["kernel_driver"] = "nouveau" if "nouveau" in driver["modules"] else None


@translates("dkms")
def _dkms(document: Document, value: Mapping[str, str], state: State) -> None:
    kernel = document["os"]["kernel"]
    told = {name: (said.split()[0], (said.split()[1:] or [kernel])[0]) for name, said in value.items()}
    document["driver"]["dkms"] = [
        {"version": name.partition("/")[2], "kernels": [where] if said == "installed" else []}
        for name, (said, where) in told.items()
    ]
    for name, (said, where) in told.items():
        there = {"path": f"/lib/modules/{kernel}/updates/dkms/nvidia.ko", "version": name.partition("/")[2], "is_open": False,
                 "signer": "DKMS module signing key"}  # fmt: skip
        document["driver"]["module_file"] = there if said == "installed" and where == kernel else None


@translates("nvidia_container_toolkit", "cdi_spec")
def _no_runtime(document: Document, value: bool, state: State) -> None:
    if not value:  # Docker then refuses --gpus; without it the container is started without a GPU
        _broken_nvml(document, "NVML_ERROR_LIBRARY_NOT_FOUND", library=False)


@translates("dev_nodes", "dev_nodes_missing")
def _nodes(document: Document, value: list[str], state: State) -> None:
    nodes = document["driver"]["device_nodes"]
    present = state.get("dev_nodes", [node["path"] for node in nodes])
    if state.get("dev_nodes") and "dev_nodes_missing" not in state:  # an example of what is there, not a full list
        present = dict.fromkeys([*present, "/dev/nvidiactl", "/dev/nvidia-uvm"])
    if not present:  # all that is there: nothing; NVML then opens nothing
        _broken_nvml(document, "NVML_ERROR_DRIVER_NOT_LOADED")
        present = []
    absent = state.get("dev_nodes_missing", [])
    document["driver"]["device_nodes"] = [{"path": path, "accessible": True} for path in present if path not in absent]


@translates("host_nvidia_smi", "dev_char_symlinks")
def _refused(document: Document, value: bool, state: State) -> None:
    if state.get("host_nvidia_smi") and state.get("container") and not state.get("dev_char_symlinks", True):
        _broken_nvml(document, "NVML_ERROR_UNKNOWN")


@translates("container_cuda")
def _container_cuda(document: Document, value: str, state: State) -> None:
    document["environment"]["CUDA_VERSION"] = value


@translates("env")
def _env(document: Document, value: Mapping[str, str], state: State) -> None:
    document["environment"] |= value
    if state.get("container") and value.get("NVIDIA_VISIBLE_DEVICES") in ("void", "none", ""):  # asked for without a GPU
        _broken_nvml(document, "NVML_ERROR_LIBRARY_NOT_FOUND", library=False)
    granted = value.get("NVIDIA_DRIVER_CAPABILITIES", "all")
    if state.get("container") and not re.search(r"compute|all", granted):  # the part with libcuda was left out
        document["driver"]["libcuda"] = None
        document["gaps"]["driver.libcuda"] = "libcuda.so.1: cannot open shared object file: No such file or directory"
    if "MIG-" in value.get("CUDA_VISIBLE_DEVICES", ""):
        for gpu in document["gpus"]:
            gpu |= {"mig_enabled": True, "mig_instances": 1}


@translates("cuda_home", "CUDA_HOME")
def _cuda_home(document: Document, value: str | None, state: State) -> None:
    if value:
        document["environment"]["CUDA_HOME"] = value


@translates("torch", "torch_cuda")
def _torch(document: Document, value: Any, state: State) -> None:
    version, cuda = state.get("torch"), state.get("torch_cuda")
    label = re.search(r"\+cu(\d{2})(\d)", str(version))
    cuda = cuda or (f"{label[1]}.{label[2]}" if label else None)
    row = builds.torch_release(version) if version else None
    if cuda is None and row and "torch_cuda" not in state and "+cpu" not in version:  # a build with CUDA, as PyPI has for Linux
        cuda = compat.cuda_of_build(max(builds.cuda_builds(row), key=lambda build: int(build[2:])))
    build = f"cu{cuda.replace('.', '')}" if cuda else "cpu"
    if version is None:  # the newest that was published for this CUDA
        rows = [row for row in builds.releases() if build in builds.cuda_builds(row)] if cuda else list(builds.releases())
        same = [row for row in builds.releases() if any(one[2:4] == build[2:4] for one in builds.cuda_builds(row))]
        if not rows and not same:
            raise Untranslatable(f"no release of PyTorch was built with {build}")
        newest = max((row["torch"] for row in rows or same), key=compat.version)
        version = f"{newest}+{build}" if rows else newest  # one that somebody else built for it
    document["python"]["torch"] = {"version": version, "cuda": cuda, "location": f"{SITE}/torch"}
    document["gaps"].pop("python.torch", None)
    _distribution(document, "torch", version)


@translates("arch_list", "arch_list_lacks")
def _arch_list(document: Document, value: list[str] | str, state: State) -> None:
    torch = document["python"]["torch"]
    if torch is None:
        _torch(document, None, {"torch": "2.9.1+cu128"})
        torch = document["python"]["torch"]
    lacks = state.get("arch_list_lacks", ())
    listed = state.get("arch_list") or [code for code in CODE if code not in lacks]
    torch["machine_code"] = [code for code in listed if code.startswith("sm_")]
    torch["ptx"] = [code for code in listed if code.startswith("compute_")]


@translates("float32_matmul_precision")
def _float32(document: Document, value: str, state: State) -> None:
    """A setting of a process, and PyTorch's default where it is "highest": only that there is a PyTorch becomes a fact."""
    if document["python"]["torch"] is None:
        _torch(document, None, {"torch": "2.9.1+cu128"})


@translates("torch_cxx11_abi")
def _abi(document: Document, value: bool, state: State) -> None:
    document["python"]["torch"]["cxx11_abi"] = value


@translates("python")
def _python(document: Document, value: str, state: State) -> None:
    value = _version(value)
    document["python"]["version"] = value if value.count(".") > 1 else f"{value}.9"
    torch = document["python"]["torch"]
    row = builds.torch_release(torch["version"]) if torch else None
    if (
        torch
        and row
        and not compat.version(row["python_min"]) <= compat.version(value) < compat.version(f"{row['python_max']}.99")
    ):
        torch["import_broken"] = f"it is published for Python {row['python_min']} to {row['python_max']}"


def _distribution(document: Document, name: str, version: str, installer: str = "pip") -> None:
    location = SITE if installer == "pip" else "/opt/venv/conda-meta"
    document["python"]["distributions"].append({"name": name, "version": version, "location": location, "installer": installer})


@translates("pip_packages", "conda_packages")
def _packages(document: Document, value: Mapping[str, Any], state: State) -> None:
    listed = document["python"]["distributions"] = [
        one for one in document["python"]["distributions"] if one["name"] not in (state.get("pip_packages") or {})
    ]
    unclear = []
    for key, installer in (("pip_packages", "pip"), ("conda_packages", "conda")):
        for name, version in (state.get(key) or {}).items():
            normal = re.sub(r"[-_.]+", "-", name).lower()
            if normal == "triton" and version is None and document["python"]["torch"] is None:
                _torch(document, None, {"torch": "2.9.1+cu128"})  # of which it is missing
                listed = document["python"]["distributions"]
            if version == "(other build)" and (row := companion(state["torch"], normal)):
                version = f"{row['version'] or row['accepts'].strip('=')}+cu121"
            version = str(version).partition(" ")[0] if re.match(r"\d", str(version)) else version  # conda: and the build
            if version is None or any(one["name"] == normal for one in listed):
                continue
            if version == "present" or re.match(r"\d", str(version)):
                _distribution(document, normal, "1.0" if version == "present" else re.sub(r"\.x.*", ".0", version), installer)
            else:
                unclear.append(f"{name} {version}")
        if key == "conda_packages" and state.get(key):
            document["python"]["kind"] = "conda"
    _bundled_cudnn(document, listed)
    if unclear:
        raise Untranslatable(", ".join(unclear))


def _bundled_cudnn(document: Document, listed: list[dict[str, Any]]) -> None:
    """The cuDNN wheel that PyTorch pins, where something beside it asks for a cuDNN too."""
    present, torch = {one["name"] for one in listed}, document["python"]["torch"]
    row = builds.torch_release(torch["version"]) if torch and torch["cuda"] else None
    asks = present & {"tensorflow", "ctranslate2", "faster-whisper", "onnxruntime-gpu"}
    if row is None or not asks or any(name.startswith("nvidia-cudnn") for name in present):
        return
    build = compat.torch_build(torch["version"], torch["cuda"])
    if cudnn := builds.cudnn_of_build(row, build):
        _distribution(document, f"nvidia-cudnn-cu{torch['cuda'].partition('.')[0]}", cudnn)


@translates("extension_arch_lacks")
def _extension(document: Document, value: str, state: State) -> None:
    document["python"]["extensions"] = [
        {"package": name, "path": f"{SITE}/{name}.so", "machine_code": [code for code in CODE[:7] if code not in value]}
        for name in state.get("pip_packages", {})
    ]


@translates("nvcc")
def _nvcc(document: Document, value: str | None, state: State) -> None:
    if not value:
        return
    version = _version(value)
    path = f"/usr/local/cuda-{version}"
    document["toolkits"].append({"path": path, "version": version, "found_by": ["PATH"], "has_nvcc": True})


def _with_triton(document: Document) -> None:
    """The Triton that PyTorch brings on Linux, where something is told that only matters to it."""
    torch = document["python"]["torch"]
    row = builds.torch_release(torch["version"]) if torch else None
    listed = {one["name"] for one in document["python"]["distributions"]}
    if row and row["triton"] and torch["cuda"] and "triton" not in listed and document["os"]["system"] == "Linux":
        _distribution(document, "triton", row["triton"])


@translates("gcc")
def _gcc(document: Document, value: str | None, state: State) -> None:
    if not value:
        document["host_compiler"] = None
        _with_triton(document)
        return
    document["host_compiler"] = {"path": "/usr/bin/g++", "version": value, "found_by": "PATH"}


@translates("python_headers")
def _headers(document: Document, value: bool, state: State) -> None:
    document["python"]["has_headers"] = value
    _with_triton(document)


@translates("ptxas")
def _ptxas(document: Document, value: str, state: State) -> None:
    document["triton_ptxas"] = value
    document["environment"]["TRITON_PTXAS_PATH"] = f"/usr/local/cuda-{value}/bin/ptxas"


def _library(document: Document, soname: str, version: str | None, source: str, directory: str) -> None:
    document["libraries"].append({"soname": soname, "path": f"{directory}/{soname}", "version": version, "source": source})


@translates("ld_library_path", "cudnn_on_ld_path", "cudnn_bundled", "resolved")
def _ld_library_path(document: Document, value: Any, state: State) -> None:
    directories = list(state.get("ld_library_path", []))
    if stub := next((one for one in [*directories, *state.get("resolved", {}).values()] if "/stubs" in one), None):
        path = stub if stub.rpartition("/")[2].startswith("libcuda") else f"{stub}/libcuda.so.1"
        document["loads"] = [{"soname": "libcuda.so.1", "path": path, "real_path": path, "found_by": "LD_LIBRARY_PATH"}]
        document["driver"]["libcuda"] = path
    resolved = {name: path for name, path in state.get("resolved", {}).items() if "/" in path}
    if unclear := [f"{name}: {path}" for name, path in state.get("resolved", {}).items() if name not in resolved]:
        _two_providers(document, unclear)
    if not directories:
        return
    document["environment"]["LD_LIBRARY_PATH"] = ":".join(directories)
    if document["python"]["torch"] is None:
        _torch(document, None, {"torch": "2.9.1+cu126"})
    torch = document["python"]["torch"]
    row = builds.torch_release(torch["version"])
    build = compat.torch_build(torch["version"], torch["cuda"] or state.get("torch_cuda"))
    build = build if build != "cpu" else "cu121"
    torch["cuda"] = torch["cuda"] or compat.cuda_of_build(build)
    bundled = state.get("cudnn_bundled") or (builds.cudnn_of_build(row, build) if row else None)
    if "cudnn_on_ld_path" in state:
        version = state["cudnn_on_ld_path"]
        for source, number, where in (("LD_LIBRARY_PATH", version, directories[0]), ("wheel", bundled, f"{SITE}/nvidia/lib")):
            _library(document, f"libcudnn.so.{version.partition('.')[0]}", number, source, where)
    for directory in directories:  # a toolkit's directory holds its libraries
        toolkit = re.search(r"cuda-(\d+\.\d+)", directory)
        if toolkit and float(toolkit[1]) >= 12 and torch["cuda"]:
            soname = f"libnvJitLink.so.{toolkit[1].partition('.')[0]}"
            _library(document, soname, toolkit[1], "LD_LIBRARY_PATH", directory)
            _library(document, soname, torch["cuda"], "wheel", f"{SITE}/nvidia/nvjitlink/lib")


def _two_providers(document: Document, told: list[str]) -> None:
    """Libraries of one family from two providers, whose versions are not told: two that differ."""
    if document["python"]["torch"] is None:
        _torch(document, None, {"torch": "1.13.1+cu117"})
    document["loads"] = [
        {"soname": one.partition(":")[0], "path": f"/opt/{index}/{one.partition(':')[0]}", "version": f"11.{3 + index}.0",
         "found_by": "RPATH"}
        for index, one in enumerate(told)
    ]  # fmt: skip


@translates("ldconfig", "ldconfig_missing")
def _ldconfig(document: Document, value: list[str], state: State) -> None:
    for soname in state.get("ldconfig", []):
        if soname.startswith("libcudnn"):
            _library(document, soname, None, "ld.so.cache", "/usr/lib/x86_64-linux-gnu")
    if "libcuda.so.1" in state.get("ldconfig_missing", []):
        document["driver"]["libcuda"] = None
        document["gaps"]["driver.libcuda"] = "libcuda.so.1: cannot open shared object file: No such file or directory"
    if "libcuda.so" in state.get("ldconfig_missing", []):
        document["driver"]["has_libcuda_link"] = False


@translates("cpu")
def _cpu(document: Document, value: str, state: State) -> None:
    amd = bool(re.search(r"amd|epyc|ryzen|threadripper", str(value), re.IGNORECASE))
    document["cpu"] |= {"model": str(value), "vendor": "AuthenticAMD" if amd else "GenuineIntel"}


@translates("cudnn")
def _cudnn(document: Document, value: str, state: State) -> None:
    """A cuDNN of the system."""
    major = str(value).partition(".")[0]
    _library(document, f"libcudnn.so.{major}", str(value), "ld.so.cache", "/usr/lib/x86_64-linux-gnu")


@translates("libcuda_path")
def _libcuda(document: Document, value: str, state: State) -> None:
    path = "/usr/local/cuda/compat/libcuda.so.1" if value == "cuda-compat" else value
    real = f"{path.rpartition('/')[0]}/libcuda.so.{NEW_DRIVER}"
    document["driver"]["libcuda"] = real
    document["loads"] = [{"soname": "libcuda.so.1", "path": path, "real_path": real, "version": NEW_DRIVER,
                          "found_by": "LD_LIBRARY_PATH"}]  # fmt: skip
    if "gpu" not in state:  # where forward compatibility serves, this is no fault: a board on which it does not
        for gpu in document["gpus"]:
            gpu |= {"name": "NVIDIA GeForce RTX 4090", "compute_capability": "8.9", "pci_device_id": None}


@translates("libcuda_version_differs_from_kernel_module")
def _other_libcuda(document: Document, value: bool, state: State) -> None:
    real = "/usr/lib/x86_64-linux-gnu/libcuda.so.455.23.05"
    document["loads"] = [{"soname": "libcuda.so.1", "path": "/usr/lib/x86_64-linux-gnu/libcuda.so.1", "real_path": real,
                          "version": "455.23.05", "found_by": "ld.so.cache"}]  # fmt: skip


@translates("libstdcxx_max", "channel")
def _libstdcxx(document: Document, value: str, state: State) -> None:
    if "libstdcxx_max" not in state:
        return
    family = [f"GLIBCXX_3.4.{number}" for number in (30,)]  # conda-forge's compilers of the years concerned
    document["loads"] = [{"soname": "libstdc++.so.6", "path": "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
                          "found_by": "ld.so.cache", "provides": [state["libstdcxx_max"]]}]  # fmt: skip
    if state.get("channel") == "conda-forge" and document["python"]["torch"]:
        document["python"]["torch"]["needs"] = family


@translates("files", "nvidia_smi", "apt_packages")
def _files(document: Document, value: Any, state: State) -> None:
    if state.get("wsl") and any("libnvidia-ml" in path for path in state.get("files", {})):
        library = next(path for path in state["files"] if "libnvidia-ml" in path)
        directory = library.rpartition("/")[0]
        _broken_nvml(document, "NVML_ERROR_OPERATING_SYSTEM")
        document["driver"] |= {"nvml_library": library, "libcuda": f"{directory}/libcuda.so.1"}
        document["loads"] = [{"soname": "libcuda.so.1", "path": f"{directory}/libcuda.so.1", "found_by": "ld.so.cache",
                              "real_path": f"{directory}/libcuda.so.510.108.03", "version": "510.108.03"}]  # fmt: skip


_OF_THE_KERNEL = re.compile(
    r"NVRM:|Xid \(|SXid|nvidia |pcieport|AER|Out of memory|oom-kill|blocked for more|is rejected|segfault"
)
"""What tells a line of the kernel's log from words about one."""
_BUS = r"\b[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:\.[0-7])?"


@translates("dmesg", "xid")
def _dmesg(document: Document, value: Any, state: State) -> None:
    lines = [str(line) for line in state.get("dmesg", [])]
    bus = (document["pci"] or [{"bus_id": "0000:01:00.0"}])[-1]["bus_id"]
    whole = [re.sub(_BUS, bus, line) for line in lines if _OF_THE_KERNEL.search(line)]
    lines = [line for line in lines if not _OF_THE_KERNEL.search(line)]
    numbers = re.findall(r"Xid (\d+)", " ".join(lines)) or re.findall(r"\d+", str(state.get("xid", "")))
    said = [f"NVRM: Xid (PCI:{bus.removesuffix('.0')}): {number}, pid=1, name=python" for number in numbers[:1]]
    said += [f"NVRM: GPU {bus}: {line}" for line in lines if not re.search(r"Xid \d", line)]
    document |= recorded.log(*said, *whole)
    if any("requires use of the NVIDIA open" in line or "not supported by open" in line for line in whole):
        document["gpus"] = []  # nvidia-smi then says that there are none


@translates("pci_gpus_minus_nvml_gpus")
def _lost(document: Document, value: int, state: State) -> None:
    _count(document, max(len(document["gpus"]), value + 1))
    document["gpus"] = document["gpus"][:-value]
    for device in document["pci"][-value:]:
        device["kernel_driver"] = None


@translates("fabric_state")
def _fabric(document: Document, value: str, state: State) -> None:
    for gpu in document["gpus"]:
        gpu["fabric_state"] = value.lower().replace(" ", "_")


@translates("mig_mode", "mig_instances")
def _mig(document: Document, value: Any, state: State) -> None:
    for gpu in document["gpus"]:
        enabled = str(state.get("mig_mode", "Enabled")) == "Enabled"
        gpu |= {"mig_enabled": enabled, "mig_instances": state.get("mig_instances") if enabled else None}


@translates("compute_mode", "compute_processes", "memory_used_mb")
def _mode(document: Document, value: Any, state: State) -> None:
    for gpu in document["gpus"]:
        gpu["compute_mode"] = str(state.get("compute_mode", "Default")).lower()
        if "compute_processes" in state:
            gpu["processes"] = [{"pid": 4000 + index} for index in range(min(64, state["compute_processes"]))]
        if "memory_used_mb" in state:
            gpu["memory_used_bytes"] = state["memory_used_mb"] * 2**20


@translates("remapped_rows")
def _rows(document: Document, value: Mapping[str, Any], state: State) -> None:
    for gpu in document["gpus"][:1]:
        gpu["remapped_rows"] = {"corrected": value.get("correctable", 0), "uncorrected": value.get("uncorrectable", 0),
                                "pending": value.get("pending", False), "failed": value.get("failure", False)}  # fmt: skip


@translates("ecc")
def _ecc(document: Document, value: Mapping[str, int], state: State) -> None:
    names = {"volatile_uncorrected": "uncorrected_volatile", "volatile_corrected": "corrected_volatile",
             "aggregate_uncorrected": "uncorrected_aggregate", "aggregate_corrected": "corrected_aggregate"}  # fmt: skip
    for gpu in document["gpus"][:1]:
        gpu |= {"ecc_enabled": True, "ecc_errors": {names[key]: count for key, count in value.items() if key in names}}


@translates("nvlink")
def _nvlink(document: Document, value: Any, state: State) -> None:
    down = False
    for gpu in document["gpus"]:
        down = isinstance(value, Mapping) and "all inactive" in value.values()
        gpu["nvlinks"] = [{"link": link, "active": False, "version": 3} for link in range(12)] if down else []
    if not down and re.search(r"down|inactive|active", str(value)):  # some of the links
        told = re.findall(r"gpu\s*(\d)", str(value), re.IGNORECASE)
        for index, gpu in enumerate(document["gpus"]):
            short = index == int((told or ["0"])[0])
            gpu["nvlinks"] = [{"link": link, "active": not (short and link == 2), "version": 4} for link in range(18)]


@translates("pcie")
def _pcie(document: Document, value: Mapping[str, int], state: State) -> None:
    names = {"gen_max": "pcie_generation_max", "gen_current": "pcie_generation", "width_max": "pcie_width_max",
             "width_current": "pcie_width"}  # fmt: skip
    document["gpus"][-1] |= {names[key]: number for key, number in value.items() if key in names}
    rate = {1: 2.5, 2: 5.0, 3: 8.0, 4: 16.0, 5: 32.0, 6: 64.0}.get(value.get("gen_max", 0))
    for port in ((document["pci"] or [{}])[-1].get("upstream") or [])[:1]:
        if rate and port.get("link"):
            port["link"]["gt_per_s_max"] = rate
    if state.get("utilization_percent", 0) >= 50 and "performance_state" not in state:
        document["gpus"][-1]["performance_state"] = 2


@translates("power", "peers_limit_w", "clocks_event_reasons", "power_draw_vs_limit")
def _power(document: Document, value: Any, state: State) -> None:
    if "peers_limit_w" in state:
        _count(document, max(2, len(document["gpus"])))
        for gpu in document["gpus"]:
            gpu["power_limit_w"] = gpu["power_limit_default_w"] = float(state["peers_limit_w"])
    last, power = document["gpus"][-1], state.get("power", {})
    names = {"limit_w": "power_limit_w", "default_limit_w": "power_limit_default_w", "draw_w": "power_w"}
    last |= {names[key]: float(number) for key, number in power.items() if key in names}
    if "clocks_event_reasons" in state:
        last |= {
            "throttle_reasons": list(state["clocks_event_reasons"]),
            "utilization_percent": state.get("utilization_percent", 99),
        }
    if state.get("power_draw_vs_limit") == "at limit":
        last["power_w"] = last["power_limit_w"]


@translates("pci_acs_ctl")
def _acs(document: Document, value: str, state: State) -> None:
    for device in document["pci"]:
        device["upstream"] = [{"bus_id": "0000:00:01.0", "acs_control": int(value.split()[0], 16), "acs_known": True}]


@translates("iommu")
def _iommu(document: Document, value: str, state: State) -> None:
    for device in document["pci"]:
        device["iommu"] = "dma-fq" if "translated" in value else "identity" if "pt" in value else "off"


@translates("dev_shm_bytes")
def _shm(document: Document, value: int, state: State) -> None:
    document["memory"] |= {"shm_total_bytes": value, "shm_free_bytes": value}


@translates("limits")
def _limits(document: Document, value: Mapping[str, Any], state: State) -> None:
    unclear = []
    for name, limit in value.items():
        if name in ("nofile", "open_files"):
            document["limits"]["open_files_soft"] = None if limit == "unlimited" else int(limit)
        elif name in ("memlock_kb", "memlock", "memlock_bytes"):
            number = None if limit in ("unlimited", -1) else case_words.size(limit)
            scale = 1024 if name == "memlock_kb" or (name == "memlock" and str(limit).isdecimal() and int(limit) < 2**20) else 1
            document["limits"] |= {"locked_memory_bytes": number and number * scale, "locks_any_memory": False}
        else:
            unclear.append(name)
    if unclear:
        raise Untranslatable(", ".join(unclear))


@translates("cpu_quota", "cpu_count")
def _quota(document: Document, value: Any, state: State) -> None:
    if state.get("cpu_count"):
        document["cpu"]["usable_threads"] = int(state["cpu_count"])
    if state.get("cpu_quota") is not None:
        document["cpu"]["quota_cpus"] = float(state["cpu_quota"])


@translates("kernel_module_open")
def _flavour(document: Document, value: Any, state: State) -> None:
    is_open = str(value).lower() in ("true", "open", "dual mit/gpl", "yes", "1")
    document["driver"]["kernel_module_open"] = is_open
    newest = [compat.known_version(str(gpu["compute_capability"])) for gpu in document["gpus"]]
    if not is_open and any(one and one.major >= 10 for one in newest):  # nvidia-smi says that there are none
        document |= recorded.log(
            *(f"NVRM: The NVIDIA GPU {device['bus_id']} (PCI ID: 10de:2b85)\nNVRM: installed in this system requires use of "
              "the NVIDIA open kernel modules." for device in document["pci"] or [])
        )  # fmt: skip
        document["gpus"] = []


@translates("temperature_c")
def _temperature(document: Document, value: Any, state: State) -> None:
    for gpu in document["gpus"]:
        gpu["temperature_c"] = int(re.findall(r"\d+", str(value))[0])


@translates("utilization_percent", "performance_state")
def _busy(document: Document, value: int, state: State) -> None:
    told = {key: int(state[key]) for key in ("utilization_percent", "performance_state") if key in state}
    for gpu in document["gpus"]:
        gpu |= told


@translates("persistence_mode")
def _persistence(document: Document, value: bool, state: State) -> None:
    for gpu in document["gpus"]:
        gpu["persistence_mode"] = value


@translates("retired_pages_pending")
def _retired(document: Document, value: Any, state: State) -> None:
    for gpu in document["gpus"][:1]:
        gpu["retired_pages_pending"] = bool(value["pending"] if isinstance(value, Mapping) else value)


@translates("recovery_action")
def _recovery(document: Document, value: str, state: State) -> None:
    for gpu in document["gpus"][:1]:
        gpu["recovery_action"] = value.lower().replace(" ", "_")


@translates("fabric_manager")
def _fabric_manager(document: Document, value: Any, state: State) -> None:
    told = {True: "active", False: "inactive"}.get(value, str(value).lower())
    document["driver"].setdefault("services", {})["nvidia-fabricmanager"] = told
    document["nvswitches"] = max(4, document["nvswitches"] or 0)
    if told != "active":
        for gpu in document["gpus"]:
            gpu["fabric_state"] = "in_progress"


@translates("sxid")
def _sxid(document: Document, value: list[int], state: State) -> None:
    lines = [f"nvidia-nvswitch0: SXid (PCI:0000:05:00.0): {number}, Fatal, Link 28 error" for number in value]
    document["nvswitches"] = max(4, document["nvswitches"] or 0)
    document |= recorded.log(*lines)


@translates("infiniband_ports", "peermem")
def _ports(document: Document, value: Any, state: State) -> None:
    if state.get("peermem"):
        document["driver"]["modules"] = [*document["driver"]["modules"], "nvidia_peermem"]
    if "infiniband_ports" in state:
        document["rdma_ports"] = [
            {"adapter": f"mlx5_{index}", "port": 1, "link_layer": "InfiniBand", "state": str(one).lower(),
             "physical_state": "linkup" if str(one).lower() in ("active", "init", "armed") else "polling"}
            for index, one in enumerate(state["infiniband_ports"])
        ]  # fmt: skip


@translates("infiniband")
def _infiniband(document: Document, value: bool, state: State) -> None:
    document["rdma"] = ["mlx5_0"] if value else []


@translates("ram_bytes", "memory_total_bytes", "memory_limit_bytes", "swap_bytes", "gpu_memory_bytes")
def _memory(document: Document, value: int, state: State) -> None:
    names = {"ram_bytes": "total_bytes", "memory_total_bytes": "total_bytes", "memory_limit_bytes": "cgroup_limit_bytes",
             "swap_bytes": "swap_total_bytes"}  # fmt: skip
    document["memory"] |= {names[key]: number for key, number in state.items() if key in names}
    for gpu in document["gpus"]:
        gpu["memory_total_bytes"] = state.get("gpu_memory_bytes", gpu["memory_total_bytes"])


@translates("disk_free_bytes")
def _disk(document: Document, value: int, state: State) -> None:
    document["disks"] = [{"purpose": "home", "path": "~", "total_bytes": 500 * GIB, "free_bytes": value}]


def translate(state: State) -> tuple[Machine, list[str]]:
    """The machine of an `observable_state`, and what of it could not be turned into facts.

    A value of a form that is not known costs itself only: the facts stay as they were before it.
    """
    state = case_words.normal(state)
    document = base(state)
    left = [f"{key} (no fact of ours)" for key in state if key not in TRANSLATIONS]
    done: list[Callable[..., None]] = []
    for key, function in TRANSLATIONS.items():
        if key not in state or function in done:
            continue
        done.append(function)
        before = deepcopy(document)
        try:
            function(document, state[key], state)
            msgspec.convert(document, Machine)
        except Untranslatable as why:
            left.append(f"{key} ({why})")
        except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
            document = before
            left.append(f"{key} (not understood: {type(error).__name__}: {error})")
    return msgspec.convert(document, Machine), left


def replay(case: Mapping[str, Any]) -> tuple[Machine, list[str]]:
    """The machine of a case in either form, and what could not be translated."""
    if "machine" in case:
        return recorded.altered(case["machine"], case["facts"]), []
    return translate(case["observable_state"])


def expected() -> dict[str, dict[str, str]]:
    """The problems of our own cases, by their ids."""
    return {case["id"]: case["problems"] for case in json.loads(OURS.read_text())}


def judged(case: Mapping[str, Any], found: tuple[Finding, ...], ours: Mapping[str, Mapping[str, str]]) -> str:
    """Whether the findings are what the case asks for: "right", "miss", "false alarm", "other", or "told" (as information)."""
    problems = {finding.id for finding in found if finding.status.is_problem}
    wanted = case.get("problems") if "machine" in case else ours.get(case["id"])
    if "informs" in case:
        told = {finding.id for finding in found if finding.status is Status.INFO and finding.remedies}
        return "false alarm" if problems else "right" if case["informs"] in told else "miss"
    if str(case.get("kind", "")).startswith("healthy") or ("machine" in case and not wanted):
        return "false alarm" if problems else "right"
    if wanted:
        if next(iter(wanted)) in problems:
            return "right"
        if "machine" in case:
            return "other" if problems else "miss"
    if problems:
        return "right" if shared(case, found) >= 3 else "other"
    informed = [finding for finding in found if finding.status is Status.INFO]
    if case.get("severity") in ("info", "warning") and shared(case, tuple(informed)) >= 3:
        remedied = [finding for finding in informed if finding.remedies]
        return "right" if shared(case, tuple(remedied)) >= 3 else "told"
    return "miss"


def shared(case: Mapping[str, Any], found: tuple[Finding, ...]) -> int:
    """How many telling words the diagnosis and the remedy of a case have in common with the findings that say something."""
    told = [finding for finding in found if finding.status.is_problem or finding.status is Status.INFO]
    said = " ".join(f"{one.id} {one.summary} {one.why} {one.remedies}" for one in told)
    return len(_words(f"{case.get('diagnosis', '')} {case.get('remedy', '')} {case.get('symptom', '')}") & _words(said))


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z][a-z_]{4,}|\d+\.\d+", text.lower()))


def lines(cases: list[Mapping[str, Any]], *, expect: bool) -> Iterator[str]:
    """One block for each case, and the sums."""
    ours, sums = expected(), dict[str, int]()
    for case in cases:
        machine, left = replay(case)
        found = checks.run(machine)
        problems = ", ".join(f"{one.id} {one.status.value}" for one in found if one.status.is_problem)
        verdict = judged(case, found, ours) if expect else ""
        sums[verdict] = sums.get(verdict, 0) + 1
        yield f"{verdict:12}{case['id']}: {checks.headline(found, machine)}"
        yield f"{'':12}  {problems or 'no problem'}"
        if left:
            yield f"{'':12}  not translated: {'; '.join(left)}"
    if expect:
        yield ", ".join(f"{count} {verdict}" for verdict, count in sorted(sums.items()))


def main(arguments: list[str]) -> int:
    paths = [argument for argument in arguments if not argument.startswith("--")]
    if len(paths) != 1 or set(arguments) - {*paths, "--expect"}:
        print("usage: python -m tests.cases FILE [--expect]", file=sys.stderr)
        return 2
    for line in lines(json.loads(Path(paths[0]).read_text()), expect="--expect" in arguments):
        print(line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
