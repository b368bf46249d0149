"""What would load and what was compiled for which GPU: faults, and what only looks like them."""

from __future__ import annotations

from typing import Any

import pytest
import recorded
from recorded import DRIVER, Fault, altered, commands, judge, problems

from dltool import checks
from dltool.results import Risk, Scope, Status

LAPTOP, SERVER, CONTAINER = "laptop_rtx4060", "h100_server", "container"
SITE = "~/.venvs/study/lib/python3.12/site-packages"
SYSTEM = "/usr/lib/x86_64-linux-gnu"
WSL = "/usr/lib/wsl/lib"
STUB = "/usr/local/cuda/lib64/stubs"
CUDNN, GRAPH, NVJITLINK = "libcudnn.so.9", "libcudnn_graph.so.9", "libnvJitLink.so.12"
CUBLAS, CUBLASLT = "libcublas.so.12", "libcublasLt.so.12"
OLD_CUDA = "/usr/local/cuda-12.1/lib64"


def loads(*libraries: dict[str, Any]) -> dict[str, Any]:
    return {"loads": list(libraries)}


def library(soname: str, path: str, version: str | None = None, found_by: str = "RPATH", **facts: Any) -> dict[str, Any]:
    return {"soname": soname, "path": path, "version": version, "found_by": found_by, **facts}


def own(soname: str, version: str) -> dict[str, Any]:
    return library(soname, f"{SITE}/nvidia/lib/{soname}", version)


def other(
    soname: str, version: str | None, wanted: str | None, *, directory: str = OLD_CUDA, found_by: str = "LD_LIBRARY_PATH"
) -> dict[str, Any]:
    """A copy that loads in place of PyTorch's own."""
    return library(
        soname, f"{directory}/{soname}", version, found_by, instead_of=f"{SITE}/nvidia/lib/{soname}", instead_of_version=wanted
    )


def libcuda(real: str, found_by: str = "ld.so.cache", size_bytes: int = 90_000_000, directory: str = SYSTEM) -> dict[str, Any]:
    return loads(library("libcuda.so.1", f"{directory}/libcuda.so.1", None, found_by, real_path=real, size_bytes=size_bytes))


def compat(cuda: str, version: str, found_by: str = "LD_LIBRARY_PATH") -> dict[str, Any]:
    directory = f"/usr/local/cuda-{cuda}/compat"
    return libcuda(f"{directory}/libcuda.so.{version}", found_by, directory=directory)


def gpu(name: str, capability: str) -> dict[str, Any]:
    return {"gpus.*.name": name, "gpus.*.compute_capability": capability, "gpus.*.pci_device_id": None}


def extension(
    package: str, *machine_code: str, ptx: tuple[str, ...] = (), needs: tuple[str, ...] = (), file: str = "_C.so"
) -> dict[str, Any]:
    return {
        "package": package,
        "path": f"{SITE}/{package.partition(' ')[0]}/{file}",
        "machine_code": list(machine_code),
        "ptx": list(ptx),
        "needs": list(needs),
    }


def stdcxx(path: str, *provides: str, found_by: str = "ld.so.cache") -> dict[str, Any]:
    return loads(library("libstdc++.so.6", f"{path}/libstdc++.so.6", None, found_by, provides=list(provides)))


def conda(*distributions: tuple[str, str], **facts: Any) -> dict[str, Any]:
    """A conda environment: of each name and version who installed it, "c:" for conda, "p:" for pip."""
    prefix = "~/miniconda3/envs/train"
    places = {"c": f"{prefix}/conda-meta", "p": f"{prefix}/lib/python3.12/site-packages"}
    return {
        "python.kind": "conda",
        "python.prefix": prefix,
        "python.distributions": [
            {
                "name": name[2:],
                "version": version,
                "location": places[name[0]],
                "installer": {"c": "conda", "p": "pip"}[name[0]],
            }
            for name, version in distributions
        ],
        **facts,
    }


CONDA_LIB, CONDA_SITE = "~/miniconda3/envs/train/lib", "~/miniconda3/envs/train/lib/python3.12/site-packages"
B200 = {DRIVER: "580.95.05", **gpu("NVIDIA B200", "10.0")}
DISK = "python.torch.machine_code"

NO_LIBCUDA: dict[str, Any] = {
    "driver.libcuda": None,
    "gaps.driver.libcuda": "libcuda.so.1: cannot open shared object file: No such file or directory",
}
FAULTS = {
    "stub by LD_LIBRARY_PATH": Fault(
        LAPTOP, libcuda(f"{STUB}/libcuda.so", "LD_LIBRARY_PATH", 70_000, STUB), "libcuda-stub", "fail", STUB,
        ("env -u LD_LIBRARY_PATH",),
    ),
    "stub by ldconfig": Fault(
        LAPTOP, libcuda(f"{STUB}/libcuda.so", size_bytes=70_000), "libcuda-stub", "fail", "stub", ("sudo ldconfig",)
    ),
    "a copied stub": Fault(
        SERVER, libcuda(f"{SYSTEM}/libcuda.so.1", size_bytes=70_000), "libcuda-stub", "fail", "stub", ("ld.so.conf",)
    ),
    "a driver without libcuda": Fault(
        LAPTOP, NO_LIBCUDA, "libcuda-absent", "fail", "libcuda.so.1 cannot be loaded",
        ("ldconfig -p | grep libcuda", "libnvidia-compute-565"),
    ),
    "a container without libcuda": Fault(
        CONTAINER, NO_LIBCUDA, "libcuda-absent", "fail", "cannot be loaded", ("DRIVER_CAPABILITIES=compute,utility",)
    ),
    "libcuda of another version in an image": Fault(
        CONTAINER, libcuda(f"{SYSTEM}/libcuda.so.535.183.01"), "libcuda-mismatched", "fail", "803",
        ("apt-get purge 'libnvidia-compute-*'",),
    ),
    "libcuda of another version on a host": Fault(
        LAPTOP, libcuda(f"{SYSTEM}/libcuda.so.550.54.15"), "libcuda-mismatched", "fail", "565.77", ("ldconfig -p",)
    ),
    "libcuda of another version by LD_LIBRARY_PATH": Fault(
        SERVER, libcuda("/opt/driver/libcuda.so.535.183.01", "LD_LIBRARY_PATH", directory="/opt/driver"), "libcuda-mismatched",
        "fail", "535.183.01", ("env -u LD_LIBRARY_PATH",),
    ),
    "libcuda of a Linux driver in WSL": Fault(
        "wsl2", libcuda(f"{SYSTEM}/libcuda.so.535.183.01"), "libcuda-mismatched", "fail", "hides that of Windows",
        ("apt purge",),
    ),
    "compat libcuda beside a GeForce": Fault(
        LAPTOP, compat("12.9", "575.57.08"), "libcuda-forward-compat", "fail", "804", ("env -u LD_LIBRARY_PATH",)
    ),
    "compat libcuda of an image, beside a GeForce": Fault(
        CONTAINER,
        {DRIVER: "535.129.03", **gpu("NVIDIA GeForce RTX 4090", "8.9"), **compat("12.4", "550.54.15", "ld.so.cache")},
        "libcuda-forward-compat", "fail", "804", ("apt-get remove 'cuda-compat-*'",),
    ),
    "compat libcuda older than the driver": Fault(
        SERVER, compat("12.2", "535.104.05"), "libcuda-forward-compat", "fail", "803", ("env -u LD_LIBRARY_PATH",)
    ),
    "compat libcuda whose table excludes the driver": Fault(
        SERVER, {DRIVER: "570.86.15", **libcuda("/usr/local/cuda-12.2/compat/libcuda.so")}, "libcuda-forward-compat", "fail",
        "803", ("apt-get remove 'cuda-compat-*'",),
    ),
    "an older cuDNN that really loads": Fault(
        LAPTOP, loads(other(CUDNN, "9.1.0", "9.5.1.17")), "libraries-shadowed", "fail", "9.1.0", ("env -u LD_LIBRARY_PATH",)
    ),
    "an older nvJitLink by the loader's cache": Fault(
        LAPTOP, loads(other(NVJITLINK, "12.1.105", "12.4.127", found_by="ld.so.cache")), "libraries-shadowed", "fail",
        "12.1.105", (f"grep -rn {OLD_CUDA}",),
    ),
    "by LD_PRELOAD": Fault(
        LAPTOP, loads(other("libnccl.so.2", "2.18.1", "2.27.5", found_by="LD_PRELOAD")), "libraries-shadowed", "fail",
        "LD_PRELOAD", ("env -u LD_PRELOAD",),
    ),
    "a newer cuDNN": Fault(
        LAPTOP, loads(other(CUDNN, "9.10.2", "9.5.1.17")), "libraries-shadowed", "warn", "9.10.2", ("env -u LD_LIBRARY_PATH",)
    ),
    "parts of cuDNN from elsewhere": Fault(
        LAPTOP, loads(own(CUDNN, "9.5.1.17"), other(GRAPH, "9.12.0", "9.5.1.17")), "libraries-shadowed", "fail",
        "libcudnn_graph.so.9 9.12.0 beside",
    ),
    "the code read from disk lacks the GPU": Fault(
        SERVER, {DISK: ["sm_80", "sm_86"], "python.torch.ptx": []}, "torch-lacks-gpu-code", "fail", "9.0", ("+cu",)
    ),
    "an extension without code for the GPU": Fault(
        SERVER,
        {**B200, "toolkits": [], "python.extensions": [
            extension("causal-conv1d 1.5.0", "sm_80", "sm_90"), extension("xformers 0.0.33", "sm_80", "sm_100")
        ]},
        "extension-lacks-gpu-code", "fail", "causal-conv1d 1.5.0", ('TORCH_CUDA_ARCH_LIST="10.0"',),
    ),
    "an extension without code for one of two kinds": Fault(
        SERVER, {"gpus.0.compute_capability": "8.0", "python.extensions": [extension("flash-attn-3 3.0", "sm_90a")]},
        "extension-lacks-gpu-code", "warn", "8.0",
    ),
    "glibc older than the extension": Fault(
        LAPTOP, {"os.glibc": "2.31", "python.extensions": [extension("pyg-lib 0.5.0", needs=("GLIBC_2.33",))]},
        "glibc-too-old", "fail", "pyg-lib 0.5.0 needs glibc 2.33", ("--no-binary pyg-lib",),
    ),
    "libstdc++ older than torch": Fault(
        LAPTOP, {"python.torch.needs": ["GLIBCXX_3.4.30"], **stdcxx(SYSTEM, "GLIBCXX_3.4.28", "CXXABI_1.3.12")},
        "libstdcxx-too-old", "fail", "GLIBCXX_3.4.30",
    ),
    "conda's libstdc++ older than an extension": Fault(
        LAPTOP,
        conda() | {"python.extensions": [extension("mine", needs=("CXXABI_1.3.15", "GLIBCXX_3.4.32"))],
                   **stdcxx(CONDA_LIB, "GLIBCXX_3.4.29", "CXXABI_1.3.13", found_by="RPATH")},
        "libstdcxx-too-old", "fail", "mine needs GLIBCXX_3.4.32", ("conda install -p ~/miniconda3/envs/train",),
    ),
    "an old libstdc++ by LD_LIBRARY_PATH": Fault(
        LAPTOP, {"python.torch.needs": ["GLIBCXX_3.4.22"], **stdcxx("/opt/matlab/sys/os", "GLIBCXX_3.4.20",
                                                                   found_by="LD_LIBRARY_PATH")},
        "libstdcxx-too-old", "fail", "/opt/matlab", ("env -u LD_LIBRARY_PATH",),
    ),
    "cuBLAS from conda and from pip": Fault(
        LAPTOP,
        conda(("c:cudatoolkit", "11.1.1"), ("p:torch", "1.9.0"), **loads(
            library(CUBLAS, f"{CONDA_LIB}/{CUBLAS}", "11.3.0"),
            library(CUBLASLT, f"{CONDA_SITE}/torch/lib/{CUBLASLT}", "11.5.1"),
        )),
        "conda-pip-mixed", "fail", "conda and from pip at once", ("conda create -n fresh",),
    ),
    "pip installed over conda": Fault(
        LAPTOP, conda(("c:pytorch", "2.3.1"), ("p:torch", "2.9.1")), "conda-pip-mixed", "warn", "torch 2.3.1 and pip 2.9.1",
        ("conda list",),
    ),
}  # fmt: skip


def test_the_copies_are_named_with_where_they_were_found() -> None:
    found = judge(altered(LAPTOP, FAULTS["an older cuDNN that really loads"].facts))["libraries-shadowed"]
    (evidence,) = found.evidence
    assert evidence.read_from == f"{OLD_CUDA}/{CUDNN} (LD_LIBRARY_PATH) in place of {SITE}/nvidia/lib/{CUDNN}"
    assert evidence.value == "9.1.0 in place of 9.5.1.17"


def test_no_remedy_sets_a_variable_for_everything() -> None:
    for name, fault in FAULTS.items():
        for line in commands(judge(altered(fault.machine, fault.facts))[fault.check]).splitlines():
            assert not line.startswith("export LD_LIBRARY_PATH"), name
            assert "LD_LIBRARY_PATH=" not in line or " python " in line, name


def test_what_needs_root_says_so() -> None:
    for fault in FAULTS.values():
        for remedy in judge(altered(fault.machine, fault.facts))[fault.check].remedies:
            if any("sudo" in command or "apt-get" in command for command in remedy.commands):
                assert remedy.risk in (Risk.ROOT, Risk.REBOOT)


def test_the_stub_in_a_variable_is_the_users_and_in_the_cache_the_hosts() -> None:
    assert judge(altered(LAPTOP, FAULTS["stub by LD_LIBRARY_PATH"].facts))["libcuda-stub"].scope is Scope.ENVIRONMENT
    assert judge(altered(LAPTOP, FAULTS["stub by ldconfig"].facts))["libcuda-stub"].scope is Scope.HOST


def test_the_mixture_explains_what_it_shadows() -> None:
    facts = conda(
        ("c:cudatoolkit", "11.1.1"), ("p:nvidia-cublas-cu11", "11.5.1"),
        **loads(
            other(CUBLAS, "11.3.0", "11.5.1", directory=CONDA_LIB, found_by="RPATH"),
            library(CUBLASLT, f"{CONDA_SITE}/nvidia/cublas/lib/{CUBLASLT}", "11.5.1"),
        ),
    )  # fmt: skip
    found = judge(altered(LAPTOP, facts))
    assert found["conda-pip-mixed"].status is Status.FAIL
    assert found["libraries-shadowed"].caused_by == "conda-pip-mixed"


def test_an_update_of_the_driver_explains_libcuda() -> None:
    facts = {
        "driver.kernel_module_version": "550.90.07",
        "driver.nvml_library_version": "565.77",
        "driver.nvml_error": "NVML_ERROR_LIB_RM_VERSION_MISMATCH",
        **libcuda(f"{SYSTEM}/libcuda.so.565.77"),
    }
    found = judge(altered(LAPTOP, facts))
    assert found["libcuda-mismatched"].caused_by == "driver-version-mismatch"


def test_torch_and_its_extensions_lack_the_same() -> None:
    facts = {**B200, DISK: ["sm_80", "sm_90"], "python.torch.ptx": [], "python.extensions": [extension("mine", "sm_90")]}
    found = judge(altered(SERVER, facts))
    assert found["torch-lacks-gpu-code"].status is Status.FAIL
    assert found["extension-lacks-gpu-code"].caused_by == "torch-lacks-gpu-code"


def test_each_kind_of_gpu_gets_its_verdict_on_forward_compatibility() -> None:
    facts = compat("12.8", "570.86.15") | {"gpus.7.name": "NVIDIA GeForce RTX 4090", "gpus.7.pci_device_id": None}
    found = [one for one in checks.run(altered(SERVER, facts)) if one.id == "libcuda-forward-compat"]
    assert [(one.status, one.devices) for one in found][-1] == (Status.FAIL, (7,))
    assert found[0].status is not Status.FAIL


LOOKALIKES = {
    "the driver's own libcuda": (SERVER, libcuda(f"{SYSTEM}/libcuda.so.550.54.15"), "libcuda-mismatched", "pass"),
    "... is no stub": (SERVER, libcuda(f"{SYSTEM}/libcuda.so.550.54.15"), "libcuda-stub", "pass"),
    "WSL's small libcuda": (
        "wsl2", libcuda(f"{WSL}/libcuda.so.1", size_bytes=160_000, directory=WSL), "libcuda-stub", "pass"
    ),
    "... is that of Windows": (
        "wsl2", libcuda(f"{WSL}/libcuda.so.1", size_bytes=160_000, directory=WSL), "libcuda-mismatched", "pass"
    ),
    "a Jetson's libcuda": (
        "jetson", libcuda("/usr/lib/aarch64-linux-gnu/nvidia/libcuda.so.1.1", size_bytes=39_000_000), "libcuda-stub", "pass"
    ),
    "a stub where programs are only built": (
        "cpu_only", libcuda(f"{STUB}/libcuda.so", "LD_LIBRARY_PATH", 70_000, STUB), "libcuda-stub", "info"
    ),
    "a driver of the same name with more zeros": (
        LAPTOP, libcuda(f"{SYSTEM}/libcuda.so.565.77.00"), "libcuda-mismatched", "pass"
    ),
    "forward compatibility that serves": (
        SERVER, {DRIVER: "535.183.01", **compat("12.8", "570.86.15")}, "libcuda-forward-compat", "pass"
    ),
    "... is no mismatch": (SERVER, {DRIVER: "535.183.01", **compat("12.8", "570.86.15")}, "libcuda-mismatched", "skip"),
    "forward compatibility that is not needed": (
        SERVER, {DRIVER: "570.86.10", **compat("12.8", "570.86.15")}, "libcuda-forward-compat", "pass"
    ),
    "a compat package of the driver's own version": (
        LAPTOP, {DRIVER: "575.57.08", **compat("12.9", "575.57.08")}, "libcuda-forward-compat", "pass"
    ),
    "forward compatibility on a workstation board": (
        SERVER, {DRIVER: "535.183.01", **gpu("NVIDIA RTX A6000", "8.6"), **compat("12.8", "570.86.15")},
        "libcuda-forward-compat", "unknown",
    ),
    "forward compatibility on an unheard-of board": (
        SERVER, {DRIVER: "535.183.01", **gpu("NVIDIA Q1", "10.0"), **compat("12.8", "570.86.15")}, "libcuda-forward-compat",
        "unknown",
    ),
    "forward compatibility of a version that the path does not tell": (
        SERVER, {DRIVER: "535.183.01", **libcuda("/opt/compat/libcuda.so.570.86.15", directory="/opt/compat")},
        "libcuda-forward-compat", "pass",
    ),
    "no libcuda at all": ("cpu_only", loads(), "libcuda-stub", "skip"),
    "LD_LIBRARY_PATH is set and displaces nothing": (
        LAPTOP, {"environment.LD_LIBRARY_PATH": OLD_CUDA, **loads(own(CUDNN, "9.5.1.17"), own(CUBLAS, "12.6.4.1"))},
        "libraries-shadowed", "pass",
    ),
    "an RPATH protects PyTorch's own, although an older copy lies there": (
        LAPTOP,
        {
            "environment.LD_LIBRARY_PATH": OLD_CUDA,
            "libraries": [
                {"soname": CUDNN, "path": f"{OLD_CUDA}/{CUDNN}", "version": "9.1.0", "source": "LD_LIBRARY_PATH"},
                {"soname": CUDNN, "path": f"{SITE}/nvidia/lib/{CUDNN}", "version": "9.5.1.17", "source": "wheel"},
            ],
            **loads(own(CUDNN, "9.5.1.17")),
        },
        "libraries-shadowed", "pass",
    ),
    "another copy of the same version": (LAPTOP, loads(other(CUDNN, "9.5.1", "9.5.1.17")), "libraries-shadowed", "pass"),
    "another patch release": (LAPTOP, loads(other(CUDNN, "9.5.0", "9.5.1.17")), "libraries-shadowed", "pass"),
    "another copy of unknown version": (LAPTOP, loads(other(CUDNN, None, "9.5.1.17")), "libraries-shadowed", "info"),
    "a newer cuBLAS": (LAPTOP, loads(other(CUBLAS, "12.9.1", "12.6.4.1")), "libraries-shadowed", "info"),
    "cuDNN and its parts of one release from one place": (
        LAPTOP, loads(own(CUDNN, "9.5.1.17"), other(GRAPH, "9.5.1", "9.5.1.17")), "libraries-shadowed", "pass"
    ),
    "another libstdc++ by LD_LIBRARY_PATH": (
        LAPTOP, loads(other("libstdc++.so.6", "6.0.33", "6.0.30")), "libraries-shadowed", "pass"
    ),
    "code on disk that the table does not have": (
        SERVER, {DISK: ["sm_90"], "python.torch.ptx": [], "python.torch.version": "2.9.0a0+git1234"}, "torch-lacks-gpu-code",
        "pass",
    ),
    "PTX on disk": (
        SERVER, {**B200, "driver.cuda_version": "13.0", DISK: ["sm_90"], "python.torch.ptx": ["compute_90"]},
        "torch-lacks-gpu-code", "info",
    ),
    "code that the tables do not know": (
        SERVER, {DISK: ["sm_99"], "python.torch.ptx": []}, "torch-lacks-gpu-code", "unknown"
    ),
    "an extension for one chip alone, here": (
        SERVER, {"python.extensions": [extension("flash-attn-3 3.0", "sm_90a")]}, "extension-lacks-gpu-code", "pass"
    ),
    "an extension of several files, of which one is for this GPU": (
        SERVER,
        {"python.extensions": [
            extension("vllm 0.12.0", "sm_100a", file="_mla.so"), extension("vllm 0.12.0", "sm_80", "sm_90", file="_C.so")
        ]},
        "extension-lacks-gpu-code", "pass",
    ),
    "an extension with PTX alone": (
        SERVER, {**B200, "python.extensions": [extension("mine", "sm_80", ptx=("compute_90",))]}, "extension-lacks-gpu-code",
        "pass",
    ),
    "an extension of unknown code": (
        SERVER, {"python.extensions": [extension("mine", "sm_99")]}, "extension-lacks-gpu-code", "unknown"
    ),
    "sm_86 code on an 8.9": (LAPTOP, {"python.extensions": [extension("mine", "sm_86")]}, "extension-lacks-gpu-code", "pass"),
    "an extension without a GPU to run on": (
        "cpu_only", {"python.extensions": [extension("mine", "sm_90")]}, "extension-lacks-gpu-code", "skip"
    ),
    "glibc of just that version": (
        LAPTOP, {"os.glibc": "2.34", "python.extensions": [extension("mine", needs=("GLIBC_2.34",))]}, "glibc-too-old", "pass"
    ),
    "glibc not known": (
        LAPTOP, {"os.glibc": None, "python.extensions": [extension("mine", needs=("GLIBC_2.34",))]}, "glibc-too-old", "skip"
    ),
    "a libstdc++ that has all": (
        LAPTOP,
        {"python.torch.needs": ["GLIBCXX_3.4.22", "CXXABI_1.3.11"], **stdcxx(SYSTEM, "GLIBCXX_3.4.30", "CXXABI_1.3.13")},
        "libstdcxx-too-old", "pass",
    ),
    "a libstdc++ that does not tell": (
        LAPTOP, {"python.torch.needs": ["GLIBCXX_3.4.22"], **stdcxx(SYSTEM)}, "libstdcxx-too-old", "skip"
    ),
    "conda's own PyTorch, which pip lists too": (
        LAPTOP, conda(("c:pytorch", "2.5.1"), ("p:torch", "2.5.1.post303")), "conda-pip-mixed", "pass"
    ),
    "both have CUDA libraries and one provider is used": (
        LAPTOP,
        conda(("c:libcublas", "12.4.5.8"), ("c:cudnn", "9.3.0"), ("p:nvidia-cublas-cu12", "12.6.4.1"), ("p:torch", "2.7.1"),
              **loads(library(CUBLAS, f"{CONDA_SITE}/nvidia/cublas/lib/{CUBLAS}", "12.6.4.1"))),
        "conda-pip-mixed", "info",
    ),
    "cuBLAS from both, of one release": (
        LAPTOP,
        conda(("c:libcublas", "12.6.4.1"), ("p:torch", "2.7.1"), **loads(
            library(CUBLAS, f"{CONDA_LIB}/{CUBLAS}", "12.6.4.1"),
            library(CUBLASLT, f"{CONDA_SITE}/nvidia/cublas/lib/{CUBLASLT}", "12.6.4.1"),
        )),
        "conda-pip-mixed", "pass",
    ),
    "pip alone, in a venv": (LAPTOP, {}, "conda-pip-mixed", "skip"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "facts", "check", "status"), LOOKALIKES.values(), ids=LOOKALIKES.keys())
def test_a_lookalike_is_no_fault(name: str, facts: dict[str, Any], check: str, status: str) -> None:
    found = judge(altered(name, facts))[check]
    assert found.status.value == status, found


HEALTHY = [
    (LAPTOP, loads(own(CUDNN, "9.5.1.17"), own(CUBLAS, "12.6.4.1"), own(CUBLASLT, "12.6.4.1"), own(NVJITLINK, "12.6.85"),
                   library("libstdc++.so.6", f"{SYSTEM}/libstdc++.so.6", "6.0.33", "ld.so.cache",
                           provides=["CXXABI_1.3.15", "GLIBCXX_3.4.33"]),
                   library("libcuda.so.1", f"{SYSTEM}/libcuda.so.1", "565.77", "ld.so.cache", size_bytes=80_000_000,
                           real_path=f"{SYSTEM}/libcuda.so.565.77"))
             | {"python.torch.machine_code": ["sm_50", "sm_80", "sm_86", "sm_90"], "python.torch.ptx": [],
                "python.torch.needs": ["CXXABI_1.3.11", "GLIBCXX_3.4.22", "GLIBC_2.28"],
                "python.extensions": [extension("bitsandbytes 0.50.2", "sm_80", "sm_89", needs=("GLIBC_2.14",))]}),
    (CONTAINER, libcuda(f"{SYSTEM}/libcuda.so.550.54.15")),
    ("cpu_only", loads(library("libstdc++.so.6", f"{SYSTEM}/libstdc++.so.6", "6.0.30", "ld.so.cache",
                               provides=["CXXABI_1.3.13", "GLIBCXX_3.4.30"]))
                 | {"python.torch.needs": ["GLIBC_2.28", "GLIBCXX_3.4.22"]}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "facts"), HEALTHY, ids=[name for name, _ in HEALTHY])
def test_a_healthy_machine_with_these_facts_raises_no_alarm(name: str, facts: dict[str, Any]) -> None:
    assert problems(altered(name, facts)) == {}


@pytest.mark.parametrize("name", recorded.NAMES)
def test_what_was_not_read_is_no_fault(name: str) -> None:
    assert problems(altered(name, {"loads": None, "gaps.loads": "the loader's search took more than 2 s"})) == {}
