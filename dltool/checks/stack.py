"""Packages beside PyTorch: NumPy, Triton, TensorFlow, ONNX Runtime, flash-attn and others that must suit one another."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec.structs import replace

from dltool import compat
from dltool.checks import check
from dltool.checks.driver import has_gpu
from dltool.checks.packages import install_torch, installed_torch, pip
from dltool.compat import rules_packages
from dltool.compat.packages import least_cudnn, stack_components, stack_rows
from dltool.machine import Distribution, Extension, Machine, PythonEnv
from dltool.results import Evidence, Finding, Remedy, Status

_OWNERS_OF_ONE_PACKAGE = {
    "onnxruntime": r"onnxruntime(-(gpu|directml|openvino|rocm|training))?",
    "tensorflow": r"tensorflow(-(cpu|gpu|rocm))?|tf-nightly(-cpu)?",
    "faiss": r"faiss-(cpu|gpu(-cu\d+)?)",
    "cupy": r"cupy(-(cuda\d+x?|rocm-[\d-]+))?",
    "triton": r"triton(-windows|-nightly)?|pytorch-triton(-\w+)?",
    "jax's CUDA plugin": r"jax-cuda\d+-plugin",
}
"""Distributions that put their files into one package, by what is imported."""
_HAVE_OWN_CHECK = re.compile(r"(torch|torchvision|torchaudio|torchtext|torchdata|triton.*|pytorch.*|numpy|nvidia-.*|cuda-.*)")
_LINKS_LIBCUDA = "2.2"
"""Triton before this version links with -lcuda, which looks for the name without a number."""
_TRITON_WITH_CUDA_12 = "3.0"
_LAST_CUDA_OF_TRITON = {"3.2": "12.6"}
"""Triton releases whose list of PTX versions ends, and with which CUDA."""
_TF32_FROM = "8.0"


def _unread(machine: Machine) -> Finding | None:
    if machine.python is not None:
        return None
    reason = machine.why_missing("python")
    return Finding(status=Status.UNKNOWN, summary=f"the Python environment could not be read: {reason}")


def _listed(found: Distribution) -> Evidence:
    return Evidence(fact=found.name, value=found.version, read_from=found.location)


def _question(machine: Machine, packages: dict[str, str]) -> compat.Question:
    known = tuple(one for one in compat.of_machine(machine).compute_capabilities if compat.known_version(one))
    return replace(compat.of_machine(machine), packages=packages, compute_capabilities=known)


@check("numpy-mismatched", caused_by=("torch-incomplete",))
def numpy_mismatched(machine: Machine) -> Iterator[Finding]:
    """Was PyTorch compiled for the NumPy that is installed?

    NumPy 2 has another C interface than NumPy 1. A PyTorch from before it (up to 2.2, on Windows longer) imports with a warning
    and then fails with "Numpy is not available" as soon as a tensor and an array meet, as in every DataLoader.
    """
    python, torch = machine.python, installed_torch(machine)
    numpy = python.distribution("numpy") if python else None
    if torch is None or numpy is None or python is None:
        yield _unread(machine) or Finding(status=Status.SKIP, summary="no NumPy beside PyTorch")
        return
    for finding in rules_packages.companions(_question(machine, {"numpy": numpy.version})):
        if not finding.status.is_problem:
            yield finding
            continue
        yield replace(
            finding,
            evidence=(_listed(numpy), *finding.evidence),
            remedies=(
                Remedy(text="Take NumPy 1.", commands=(f'{pip(python)} "numpy<2"',)),
                *install_torch(machine, why="Or take a PyTorch that knows NumPy 2."),
            ),
        )


@check("triton-mismatched", caused_by=("torch-incomplete", "torch-companions-mismatched"))
def triton_mismatched(machine: Machine) -> Iterator[Finding]:
    """Does Triton suit PyTorch, the driver and the PTX assembler that it is told to use?

    torch.compile writes its kernels in Triton. Each PyTorch pins one version of it; with another, with a driver from before
    CUDA 12, or with a ptxas that it does not know, eager code works and torch.compile fails.
    """
    python, torch = machine.python, installed_torch(machine)
    names = ("triton", "triton-windows", "pytorch-triton")
    triton = next((found for name in names if python and (found := python.distribution(name))), None)
    if python is None or triton is None or compat.known_version(triton.version) is None:
        if python is not None and torch is not None and torch.cuda is not None and machine.os.system == "Windows":
            yield Finding(
                status=Status.INFO,
                summary="Triton is not installed: torch.compile will not work (on Windows PyTorch does not bring it)",
                remedies=(
                    Remedy(text="Install it where torch.compile is wanted.", commands=(f"{pip(python)} triton-windows",)),
                ),
            )
            return
        yield _unread(machine) or Finding(status=Status.SKIP, summary="Triton is not installed")
        return
    problems = list(_triton_problems(machine, python, triton))
    yield from problems
    if not problems:
        yield Finding(status=Status.PASS, summary=f"Triton {triton.version}", evidence=(_listed(triton),))


def _triton_problems(machine: Machine, python: PythonEnv, triton: Distribution) -> Iterator[Finding]:
    have = compat.version(triton.version)
    torch = installed_torch(machine)
    if torch is not None:
        name = "triton" if triton.name.startswith("pytorch") else triton.name
        for finding in rules_packages.companions(_question(machine, {name: triton.version})):
            if finding.status is Status.FAIL:
                remedies = (Remedy(text=finding.remedies[0].text, commands=(f"{pip(python)} --force-reinstall torch=={torch.version.partition('+')[0]}",)),)  # fmt: skip # noqa: E501
                yield replace(finding, status=Status.WARN, evidence=(_listed(triton), *finding.evidence), remedies=remedies)
    driver = compat.known_version(machine.driver.cuda_version)
    if driver is not None and have >= compat.version(_TRITON_WITH_CUDA_12) and driver.major < 12:
        yield Finding(
            status=Status.WARN,
            summary=f"Triton {triton.version} needs a driver of CUDA 12 (R525 or later), this one is of CUDA "
            f"{machine.driver.cuda_version}: torch.compile fails",
            why="It calls functions of the driver (cuTensorMapEncodeTiled) that came with CUDA 12. Eager code works.",
            evidence=(
                _listed(triton),
                Evidence(fact="CUDA of the driver", value=machine.driver.cuda_version, read_from="NVML"),
            ),
            remedies=(Remedy(text="Install a driver of R525 or later, or stay with torch 2.3 and its Triton 2.3.",
                             commands=("dltool setup plan",)),),
        )  # fmt: skip
    ends = next((last for release, last in _LAST_CUDA_OF_TRITON.items() if triton.version.startswith(f"{release}.")), None)
    ptxas = compat.known_version(machine.triton_ptxas)
    if ends is not None and ptxas is not None and ptxas.release[:2] > compat.version(ends).release:
        yield Finding(
            status=Status.WARN,
            summary=f"Triton {triton.version} does not know the ptxas of CUDA {machine.triton_ptxas} that it is told to use",
            why=f'Its list ends with CUDA {ends}; the message is "Triton only support CUDA 10.0 or higher".',
            evidence=(_listed(triton), Evidence(fact="ptxas", value=machine.triton_ptxas, read_from="TRITON_PTXAS_PATH")),
            remedies=(
                Remedy(text="Let it use its own, or take a newer PyTorch and Triton.", commands=("unset TRITON_PTXAS_PATH",)),
            ),
        )  # fmt: skip
    if machine.driver.has_libcuda_link is False and have < compat.version(_LINKS_LIBCUDA) and machine.os.system != "Windows":
        libcuda = machine.driver.libcuda or "/usr/lib/x86_64-linux-gnu/libcuda.so.1"
        directory = libcuda.rpartition("/")[0]
        yield Finding(
            status=Status.WARN,
            summary=f"Triton {triton.version} looks for libcuda.so, and there is only libcuda.so.1: torch.compile fails",
            why='It links its launcher with -lcuda ("libcuda.so cannot found!"); the name without a number is missing here.',
            evidence=(_listed(triton), Evidence(fact="libcuda.so", value="missing", read_from=f"ld.so.cache, {directory}")),
            remedies=(
                Remedy(text="Make the link, or take a newer PyTorch, whose Triton does not need it.",
                       commands=(f"sudo ln -s libcuda.so.1 {directory}/libcuda.so", "sudo ldconfig")),
            ),
        )  # fmt: skip


@check("packages-clash")
def packages_clash(machine: Machine) -> Iterator[Finding]:
    """Does each package that is imported come from one distribution only?

    onnxruntime and onnxruntime-gpu, faiss-cpu and faiss-gpu, cupy-cuda11x and cupy-cuda12x put files of the same names into the
    same directory. The one installed last wins in part: CUDAExecutionProvider is missing, or the import fails. Uninstalling one
    removes files of the other.
    """
    python = machine.python
    if python is None:
        yield _unread(machine) or Finding(status=Status.SKIP, summary="no Python")
        return
    clean = True
    for package, names in _OWNERS_OF_ONE_PACKAGE.items():
        owners = {found.name: found for found in reversed(python.distributions) if re.fullmatch(names, found.name)}
        conda = any(found.installer == "conda" for found in owners.values())
        places = {found.location for found in owners.values()}
        if len(owners) < 2 or (len(places) == len(owners) and not conda):
            continue
        clean = False
        both = sorted(owners)
        wanted = next((name for name in both if re.search(r"gpu|cuda|windows", name)), both[0])
        yield Finding(
            status=Status.FAIL,
            summary=f"{' and '.join(both)} are both installed: they overwrite each other's files of {package}",
            evidence=tuple(_listed(owners[name]) for name in both),
            remedies=(
                Remedy(
                    text="Remove all of them, then install one.",
                    commands=(
                        f"{pip(python).replace(' install', ' uninstall')} {' '.join(both)}",
                        f"{pip(python)} {wanted}",
                    ),
                ),
            ),
        )
    if clean:
        yield Finding(status=Status.PASS, summary="no two distributions own one package")


@check(
    "packages-mismatched",
    caused_by=("torch-cpu-only", "torch-lacks-gpu-code", "driver-too-old", "torch-incomplete"),
)
def packages_mismatched(machine: Machine) -> Iterator[Finding]:
    """Do flash-attn, xformers, bitsandbytes, TensorFlow, ONNX Runtime and the like suit PyTorch, CUDA and the GPU?

    Compiled packages are made for one minor version of PyTorch and one CUDA major; others fail at import with "undefined
    symbol", or silently leave the GPU unused. What a wheel was made for also stands in its version, as in
    "+cu12torch2.6cxx11abiFALSE".
    """
    python = machine.python
    if python is None:
        yield _unread(machine) or Finding(status=Status.SKIP, summary="no Python")
        return
    if not has_gpu(machine):
        yield Finding(status=Status.SKIP, summary="no GPU for which a package would have to be made")
        return
    good, problems = [], []
    for found in {one.name: one for one in reversed(python.distributions)}.values():
        if _HAVE_OWN_CHECK.fullmatch(found.name):
            continue
        said = list(_labels(machine, found)) or list(_by_table(machine, found))
        problems += [finding for finding in said if finding.status.is_problem]
        good += [found.name for finding in said if not finding.status.is_problem]
    yield from problems
    if not problems:
        yield Finding(status=Status.PASS, summary=f"nothing speaks against {', '.join(sorted(good)) or 'what is installed'}")


def _labels(machine: Machine, found: Distribution) -> Iterator[Finding]:
    """What a wheel's own version says that it was made for, where that is not what is here."""
    torch, label = installed_torch(machine), found.version.partition("+")[2]
    have = compat.known_version(torch.version) if torch else None
    if torch is None or have is None or not label or machine.python is None:
        return
    wrong = []
    if (made := re.search(r"(?:torch|pt)(\d)\.?(\d{1,2})", label)) and have.release[:2] != (int(made[1]), int(made[2])):
        wrong.append(f"torch {made[1]}.{made[2]}")
    if (made := re.search(r"cu(\d{2})\d?", label)) and torch.cuda is not None and made[1] != torch.cuda.partition(".")[0]:
        wrong.append(f"CUDA {made[1]}")
    strings = torch.cxx11_abi if torch.cxx11_abi is not None else compat.wheel_facts("torch", torch.version).cxx11_abi
    if (made := re.search(r"abi(TRUE|FALSE)", label)) and strings not in (None, made[1] == "TRUE"):
        wrong.append(f"the {'new' if made[1] == 'TRUE' else 'old'} C++ ABI")
    if not wrong:
        return
    yield Finding(
        status=Status.FAIL,
        summary=f"{found.name} {found.version} is made for {' and '.join(wrong)}; here is torch {torch.version}",
        why='Its compiled files call functions of another PyTorch: "undefined symbol" at import.',
        evidence=(_listed(found), Evidence(fact="torch", value=torch.version, read_from=torch.location)),
        remedies=(
            Remedy(
                text="Take its wheel for this PyTorch, CUDA and ABI, or compile it here.",
                commands=(f"{pip(machine.python)} --no-build-isolation --no-binary {found.name} --force-reinstall --no-deps "
                          f"{found.name}",),
            ),
        ),
    )  # fmt: skip


def _by_table(machine: Machine, found: Distribution) -> Iterator[Finding]:
    if found.name not in stack_components():
        return
    for finding in rules_packages.stack(_question(machine, {found.name: found.version})):
        if finding.status is Status.FAIL:
            # What is installed was accepted by pip, and may have been compiled here.
            harmless = re.search(r"needs Python|is published for|needs cuDNN|is built for CUDA \d+\.", finding.summary)
            status = Status.INFO if harmless else Status.WARN
            yield replace(finding, status=status, evidence=(_listed(found), *finding.evidence))
        elif finding.status is Status.WARN:
            yield replace(finding, status=Status.INFO)
        else:
            yield finding


def _extensions_by_table(machine: Machine, python: PythonEnv) -> Iterator[Extension]:
    """What reports say of published wheels, where the files here were not read."""
    read = {extension.package.partition(" ")[0] for extension in python.extensions}
    for found in python.distributions if machine.os.system == "Linux" else ():
        facts = compat.wheel_facts(found.name, found.version)
        if facts.cxx11_abi is not None and found.name not in (*read, "torch"):
            package = f"{found.name} {found.version}"
            yield Extension(package=package, path=f"catalog: {facts.source}", cxx11_abi=facts.cxx11_abi)


@check("extension-abi-mismatched", caused_by=("torch-incomplete", "packages-mismatched"))
def extension_abi_mismatched(machine: Machine) -> Iterator[Finding]:
    """Are compiled extensions made with the same C++ strings as PyTorch?

    GCC 5 changed them, and PyTorch's wheels kept the old ones up to 2.5. An extension made with the others fails at import:
    "undefined symbol: _ZN3c105ErrorC2ENS_14SourceLocationENSt7__cxx11...". The names of wheels can be wrong about it; this is
    read from the symbols in the files.
    """
    torch, python = installed_torch(machine), machine.python
    if torch is None or python is None or torch.cxx11_abi is None:
        yield _unread(machine) or Finding(status=Status.SKIP, summary="which C++ strings PyTorch passes is not known")
        return
    extensions = (*python.extensions, *_extensions_by_table(machine, python))
    others = {one.package: one for one in extensions if one.cxx11_abi not in (None, torch.cxx11_abi)}
    for package, one in others.items():
        yield Finding(
            status=Status.FAIL,
            summary=f"{package} is compiled with the {'new' if one.cxx11_abi else 'old'} C++ strings, PyTorch with the others: "
            "undefined symbol at import",
            evidence=(
                Evidence(fact="new strings", value=one.cxx11_abi, read_from=one.path),
                Evidence(fact="new strings", value=torch.cxx11_abi, read_from=f"{torch.location}/lib/libc10.so"),
            ),
            remedies=(
                Remedy(
                    text="Take another release of it, or compile it here against this PyTorch.",
                    commands=(f"{pip(python)} --no-build-isolation --force-reinstall --no-deps {package.partition(' ')[0]}",),
                ),
            ),
        )
    if not others:
        yield Finding(status=Status.PASS, summary="extensions and PyTorch pass the same C++ strings")


@check("cudnn-of-other-major")
def cudnn_of_other_major(machine: Machine) -> Iterator[Finding]:
    """Is there the cuDNN that TensorFlow, CTranslate2 (faster-whisper) and ONNX Runtime ask for, where they look for it?

    They load cuDNN by its major version: "Could not load library libcudnn_ops_infer.so.8" when only cuDNN 9 is there, which has
    no such file, and no link mends that. What does not import PyTorch first also does not find the copy in its wheels.
    """
    python = machine.python
    if python is None:
        yield _unread(machine) or Finding(status=Status.SKIP, summary="no Python")
        return
    present = _cudnns(machine, python)
    problems = []
    for name in ("ctranslate2", "onnxruntime-gpu", "tensorflow"):
        found = python.distribution(name)
        if found is None or compat.known_version(found.version) is None:
            continue
        rows, _ = stack_rows(name, found.version)
        wanted = {one for row in rows for one in row["cudnn_major"].split()}
        have = {version.partition(".")[0] for version in present}
        if wanted and have and not wanted & have:
            problems.append(_other_major(python, found, min(wanted), present))
            continue
        least = max((bound for row in rows if (bound := least_cudnn(row))), default=None, key=compat.version)
        newest = max((version for version in present if version.partition(".")[0] in wanted), default=None, key=compat.version)
        if least and newest and "." in newest and compat.version(newest) < compat.version(least):
            problems.append(_too_old(found, least, newest, present[newest]))
    problems += _not_on_path(machine, python) if not problems else []
    yield from problems
    if not problems:
        yield Finding(status=Status.PASS, summary="nothing asks for another cuDNN than there is")


def _cudnns(machine: Machine, python: PythonEnv) -> dict[str, str]:
    """The versions of cuDNN that are here, at least their majors, and where each is."""
    present: dict[str, str] = {}
    for library in machine.libraries:
        if match := re.match(r"libcudnn(?:_\w+)?\.so\.(\d+)$", library.soname):
            present.setdefault(library.version or match[1], library.path)
    for found in python.distributions:
        if re.fullmatch(r"nvidia-cudnn(-cu\d+)?|cudnn", found.name):
            present.setdefault(found.version, f"{found.name} in {found.location}")
    if python.torch is not None and python.torch.cudnn:
        present.setdefault(python.torch.cudnn, python.torch.location)
    return {version: place for version, place in present.items() if compat.known_version(version)}


def _other_major(python: PythonEnv, found: Distribution, wanted: str, present: dict[str, str]) -> Finding:
    return Finding(
        status=Status.FAIL,
        summary=f"{found.name} {found.version} asks for cuDNN {wanted}, and there is only {', '.join(sorted(present))}",
        evidence=(_listed(found), *(Evidence(fact="cuDNN", value=one, read_from=place) for one, place in present.items())),
        remedies=(
            Remedy(text=f"Take a newer {found.name}, made for this cuDNN.", commands=(f"{pip(python)} -U {found.name}",)),
            Remedy(text=f"Or give it an environment of its own with cuDNN {wanted}.",
                   commands=(f'{pip(python)} "nvidia-cudnn-cu12=={wanted}.*"',)),
        ),
    )  # fmt: skip


def _too_old(found: Distribution, least: str, newest: str, place: str) -> Finding:
    return Finding(
        status=Status.FAIL,
        summary=f"{found.name} {found.version} needs cuDNN {least} or later, and the environment has {newest}",
        why="PyTorch pins the cuDNN that it was built with; both share one directory, so one of them gets the wrong one.",
        evidence=(_listed(found), Evidence(fact="cuDNN", value=newest, read_from=place)),
        remedies=(
            Remedy(text="Give each an environment of its own.", commands=("python -m venv ENVIRONMENT",)),
            Remedy(text="Or take a PyTorch that brings this cuDNN or a later one.", commands=("dltool compat",)),
        ),
    )


def _not_on_path(machine: Machine, python: PythonEnv) -> list[Finding]:
    """CTranslate2 finds no cuDNN in wheels unless PyTorch was imported before."""
    user = python.distribution("ctranslate2") or python.distribution("faster-whisper")
    wheel = next((one for one in python.distributions if re.fullmatch(r"nvidia-cudnn(-cu\d+)?", one.name)), None)
    found = any(one.source != "wheel" and one.soname.startswith("libcudnn") for one in machine.libraries)
    if user is None or wheel is None or found or python.torch is not None or not has_gpu(machine):
        return []
    bounds = stack_rows("ctranslate2", user.version)[0] if user.name == "ctranslate2" else []
    if bounds and not any(row["cudnn_major"] for row in bounds):
        return []  # made without cuDNN
    directory = f"{wheel.location}/nvidia/cudnn/lib"
    return [
        Finding(
            status=Status.WARN,
            summary=f"{user.name} needs cuDNN, which is only in a wheel, where the loader does not look",
            why='Only PyTorch looks into its wheels. "Could not load library libcudnn_ops" ends the process with no traceback.',
            evidence=(_listed(user), _listed(wheel)),
            remedies=(
                Remedy(
                    text="Name the directory for this program only.",
                    commands=(f"LD_LIBRARY_PATH={directory} {python.executable} PROGRAM",),
                ),
            ),
        )
    ]


@check("float32-without-tensor-cores")
def float32_without_tensor_cores(machine: Machine) -> Iterator[Finding]:
    """Do matrix products of float32 use the tensor cores?

    From Ampere on they can, as TF32 with a mantissa of 10 bits, several times faster. PyTorch leaves that off since 1.12; a
    program asks for it by torch.set_float32_matmul_precision("high") where the accuracy allows.
    """
    torch = installed_torch(machine)
    able = [gpu for gpu in machine.gpus if (one := compat.known_version(gpu.compute_capability)) and one >= compat.version(_TF32_FROM)]  # fmt: skip # noqa: E501
    if torch is None or torch.cuda is None or not able:
        yield Finding(status=Status.SKIP, summary="no PyTorch with CUDA on a GPU that has TF32")
        return
    override = machine.environment.get("NVIDIA_TF32_OVERRIDE")
    if override == "0":
        said = "NVIDIA_TF32_OVERRIDE=0 keeps all float32 matrix products off the tensor cores"
    elif override == "1" or machine.environment.get("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE") == "1":
        yield Finding(status=Status.PASS, summary="the environment allows TF32")
        return
    else:
        said = "float32 matrix products leave the tensor cores unused unless the program asks for TF32"
    yield Finding(
        status=Status.INFO,
        summary=said,
        why='torch.set_float32_matmul_precision("high"), where the accuracy allows; bfloat16 code is not concerned.',
        remedies=(Remedy(text='Call torch.set_float32_matmul_precision("high") at the start of the program.'),),
    )
