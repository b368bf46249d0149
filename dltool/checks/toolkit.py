"""The CUDA toolkit and the compiler that build extensions: one that is there, that suits PyTorch, and that suits each other."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from dltool import compat
from dltool.checks import check
from dltool.checks.packages import installed_torch
from dltool.compat import rules_packages
from dltool.machine import Machine, Toolkit
from dltool.results import Evidence, Finding, Remedy, Status

_VARIABLES = ("CUDA_HOME", "CUDA_PATH")


def used(machine: Machine) -> Toolkit | None:
    """The toolkit that PyTorch's extension builder takes: CUDA_HOME, then the nvcc on the PATH, then /usr/local/cuda."""
    for way in (*_VARIABLES, "PATH", "/usr/local"):
        for found in machine.toolkits:
            if way in found.found_by and found.has_nvcc:
                return found
    return None


@check("cuda-home-wrong")
def cuda_home_wrong(machine: Machine) -> Iterator[Finding]:
    """Does CUDA_HOME, where it is set, name a toolkit with a compiler?

    PyTorch's extension builder, CMake and many build scripts take the toolkit from it without a look elsewhere: they fail with
    "nvcc: No such file or directory" although another toolkit may be there.
    """
    wrong = []
    for name in _VARIABLES:
        value = machine.environment.get(name)
        if value and not any(name in found.found_by and found.has_nvcc for found in machine.toolkits):
            wrong.append((name, value))
    if "toolkits" in machine.gaps:
        yield Finding(status=Status.UNKNOWN, summary=f"the toolkits could not be read: {machine.gaps['toolkits']}")
        return
    if not wrong:
        name = next((name for name in _VARIABLES if machine.environment.get(name)), "")
        yield Finding(status=Status.PASS, summary=f"{name} names a toolkit with nvcc" if name else "CUDA_HOME is not set")
        return
    name, value = wrong[0]
    others = [found.path for found in machine.toolkits if found.has_nvcc]
    yield Finding(
        status=Status.WARN,
        summary=f"{name}={value} names no CUDA toolkit with nvcc: nothing can be compiled with it",
        evidence=tuple(Evidence(fact=name, value=value, read_from="environment") for name, value in wrong),
        remedies=(
            Remedy(text="Point it at the toolkit that is here, or unset it.", commands=(f"export {name}={others[0]}",))
            if others
            else Remedy(text="Unset it, or install the toolkit. Running PyTorch needs none.", commands=(f"unset {name}",)),
        ),
    )  # fmt: skip


@check("toolkit-mismatched", caused_by=("cuda-home-wrong", "torch-cpu-only"))
def toolkit_mismatched(machine: Machine) -> Iterator[Finding]:
    """Can the CUDA toolkit here compile extensions for this PyTorch and this GPU?

    torch.utils.cpp_extension refuses an nvcc of another CUDA major than PyTorch's ("The detected CUDA version mismatches the
    version that was used to compile PyTorch"); another minor is fine. Running PyTorch needs no toolkit, so this matters only
    to those who compile: flash-attn, DeepSpeed, Apex, own kernels.
    """
    toolkit, torch = used(machine), installed_torch(machine)
    if toolkit is None or toolkit.version is None:
        yield Finding(status=Status.SKIP, summary="no CUDA toolkit with nvcc, and running PyTorch needs none")
        return
    question = replace(compat.of_machine(machine), cuda=".".join(toolkit.version.split(".")[:2]))
    if torch is not None and question.build is None and torch.cuda is not None:  # not a release of the tables
        question = replace(question, build="cu" + "".join(torch.cuda.split(".")[:2]))
    judged = list(rules_packages.toolkit(question))
    evidence = (Evidence(fact="nvcc", value=toolkit.version, read_from=f"{toolkit.path} ({', '.join(toolkit.found_by)})"),)
    broken = [finding for finding in judged if finding.status is Status.FAIL]
    if broken:
        wanted = f"cuda-toolkit-{(torch.cuda if torch and torch.cuda else '12.8').replace('.', '-')}"
        yield replace(
            broken[0],
            status=Status.INFO if toolkit.found_by == ("/usr/local",) else Status.WARN,  # nobody chose it
            evidence=(*evidence, *broken[0].evidence),
            why=f"{broken[0].why} Only compiling is concerned: PyTorch itself runs.",
            remedies=(
                *broken[0].remedies,
                Remedy(text="With NVIDIA's packages, beside the other:", commands=(f"sudo apt-get install {wanted}",)),
            ),
        )
    elif judged:
        worst = max(judged, key=lambda finding: finding.status.severity)
        yield Finding(status=worst.status, summary=worst.summary, evidence=evidence)
    else:
        yield Finding(status=Status.PASS, summary=f"CUDA toolkit {toolkit.version}", evidence=evidence)


@check("toolkits-differ")
def toolkits_differ(machine: Machine) -> Iterator[Finding]:
    """Do CUDA_HOME and the nvcc on the PATH mean one toolkit?

    Build systems differ in which they ask: headers and libraries of one release are then compiled by the compiler of another.
    Several toolkits side by side are fine as long as one is meant.
    """
    by_way: dict[str, Toolkit] = {}
    for found in machine.toolkits:
        for way in found.found_by:
            by_way.setdefault(way, found)
    homes = [by_way[name] for name in _VARIABLES if name in by_way]
    path = by_way.get("PATH")
    named = [one for one in (*homes, path) if one is not None]
    versions = {".".join(one.version.split(".")[:2]) for one in named if one.version}
    evidence = tuple(
        Evidence(fact="toolkit", value=one.version, read_from=f"{one.path} ({', '.join(one.found_by)})")
        for one in machine.toolkits
    )
    if not machine.toolkits:
        yield Finding(status=Status.SKIP, summary="no CUDA toolkit")
    elif len(versions) < 2:
        yield Finding(status=Status.PASS, summary=f"{len(machine.toolkits)} toolkit(s), one is meant", evidence=evidence)
    else:
        majors = {one.partition(".")[0] for one in versions}
        yield Finding(
            status=Status.WARN if len(majors) > 1 else Status.INFO,
            summary=f"CUDA_HOME and the PATH mean different toolkits: {' and '.join(sorted(versions))}",
            evidence=evidence,
            remedies=(
                Remedy(
                    text="Let both mean the one that PyTorch was built with.",
                    commands=(f"export CUDA_HOME={named[0].path}", "export PATH=$CUDA_HOME/bin:$PATH"),
                ),
            ),
        )


@check("host-compiler-unsuited", caused_by=("cuda-home-wrong",))
def host_compiler_unsuited(machine: Machine) -> Iterator[Finding]:
    """Does the CUDA toolkit accept the C++ compiler that is here?

    nvcc hands half of the work to gcc and refuses one that is newer than it knows: "#error -- unsupported GNU version". A
    distribution's upgrade brings such a gcc, and every extension stops compiling.
    """
    toolkit, compiler = used(machine), machine.host_compiler
    if toolkit is None or toolkit.version is None or compiler is None or compiler.version is None:
        yield Finding(status=Status.SKIP, summary="no CUDA toolkit with nvcc beside a gcc")
        return
    question = compat.Question(cuda=".".join(toolkit.version.split(".")[:2]), gcc=compiler.version)
    for finding in rules_packages.host_compiler(question):
        if finding.status.is_problem:
            allowed = any("allow-unsupported-compiler" in value for value in machine.environment.values())
            yield replace(
                finding,
                status=Status.INFO if allowed or finding.status is Status.WARN else Status.WARN,
                why=f"{finding.why} Only compiling is concerned: PyTorch itself runs.",
                evidence=(
                    Evidence(fact="compiler", value=compiler.version, read_from=f"{compiler.path} ({compiler.found_by})"),
                    *finding.evidence,
                ),
            )
        else:
            yield finding
