"""What the new environment's own Python showed, judged against the plan."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dltool.child import how_it_ended
from dltool.results import Environment, Evidence, Finding, Remedy, Status
from dltool.setup.recipe import name_of, python_in, split
from dltool.setup.running import Ended

LIMIT_S = 900.0
"""The first start of CUDA may compile for minutes."""
_NOT_IMPORTED = re.compile(r"(nvidia|cuda|cudatoolkit)-.+|pip|setuptools|wheel")
_COMPANIONS = re.compile(r"torch\w*|triton|numpy|flash-attn|xformers|bitsandbytes|transformer-engine|deepspeed|vllm")
_AGAIN = Remedy(text="See the log for how the installation went, and make the environment again.")


def command(environment: Environment, directory: Path, *, all_imported: bool) -> tuple[str, ...]:
    """What the environment's Python is to run.

    Args:
        all_imported: import every requirement, not only PyTorch and what goes with it: a complete list of pins holds much
            that is not to be imported by itself.
    """
    pins = [name_of(requirement) for requirement in environment.requirements]
    wanted = _COMPANIONS if not all_imported else re.compile(r".+")
    imports = [name for name in pins if wanted.fullmatch(name) and not _NOT_IMPORTED.fullmatch(name)]
    task = {"versions": pins, "imports": sorted(imports, key=lambda name: name != "torch")}
    script = str(Path(__file__).with_name("prove_child.py"))
    return (str(python_in(directory)), "-I", "-W", "ignore", script, json.dumps(task))


def judge(environment: Environment, said: Ended, errors: str, *, gpus: int) -> tuple[Finding, ...]:
    """Findings from what the child said.

    Args:
        errors: its stderr: what it was about to do.
        gpus: how many GPUs this process may use, as the driver says.
    """
    try:
        told: Mapping[str, Any] = json.loads(said.lines[-1]) if said.returncode == 0 else {}
    except (ValueError, IndexError):
        told = {}
    if not told:
        return (_died(said, errors),)
    return tuple(_findings(environment, told, gpus))


def _findings(environment: Environment, told: Mapping[str, Any], gpus: int) -> Iterator[Finding]:
    yield _python(environment, told)
    yield _versions(environment, told)
    yield _imports(told["imports"])
    if "products" in told:
        yield _cuda(environment, told, gpus)
        for product in told["products"]:
            yield _product(product)


def consistency(said: Ended) -> Finding:
    """What `pip check` says: a package that lacks what it asks for works as long as it does not use it."""
    name = "environment-consistency"
    if said.returncode == 0:
        return Finding(id=name, status=Status.PASS, summary="every package has what it requires")
    lines = [line for line in said.lines if line.strip()]
    return Finding(
        id=name,
        status=Status.WARN,
        summary=f"{len(lines)} requirements between packages are not met",
        evidence=tuple(Evidence(fact="pip check", value=line, read_from="pip check") for line in lines[:10]),
        remedies=(Remedy(text="Works as long as the missing part is not used; else ask for versions that fit."),),
    )


def _died(said: Ended, errors: str) -> Finding:
    doing = [line for line in errors.splitlines() if re.match(r"(importing|looking|multiplying) ", line)]
    how = how_it_ended(said.returncode, LIMIT_S)
    last = (errors.strip().splitlines() or [""])[-1]
    return Finding(
        id="environment-proof",
        status=Status.FAIL,
        summary=f"the new environment's Python {how}" + (f" while {doing[-1]}" if doing else ""),
        evidence=(Evidence(fact="last words", value=last, read_from="stderr of the proof"),),
        remedies=(_AGAIN,),
    )


def _python(environment: Environment, told: Mapping[str, Any]) -> Finding:
    have, wanted = str(told["python"]), environment.python
    minor = ".".join(wanted.split(".")[:2])
    if not f"{have}.".startswith(f"{minor}."):
        return _fail("environment-python", f"Python is {have}, not {wanted} as planned")
    other = "" if f"{have}.".startswith(f"{wanted}.") else f" (planned: {wanted}; the same but for fixes)"
    return Finding(id="environment-python", status=Status.PASS, summary=f"Python {have}{other}")


def _versions(environment: Environment, told: Mapping[str, Any]) -> Finding:
    """Installed versions against the pins. PyTorch's label counts by what the build says of itself: PyPI's files lack it."""
    wrong = list(_differences(environment.requirements, told["versions"]))
    build = environment.build
    cuda = told.get("cuda")
    has = "cpu" if cuda is None else "cu" + "".join(str(cuda).split(".")[:2])
    if "torch" in told and build and has != build:
        wrong.append(f"torch is built as {has}, not {build}")
    if wrong:
        return _fail("environment-versions", f"not what was planned: {'; '.join(wrong)}")
    first, rest = split(environment.requirements)
    count = len(environment.requirements)
    what = f"all {count} versions are those planned" if count > 1 else "the version is that planned"
    return Finding(id="environment-versions", status=Status.PASS, summary=f"{what}: {', '.join((*first, *rest)[:4])}")


def _differences(requirements: Iterable[str], installed: Mapping[str, str | None]) -> Iterator[str]:
    for requirement in requirements:
        name = name_of(requirement)
        pin = re.search(r"===?\s*([^\s;,]+)", requirement)
        have = installed.get(name)
        if have is None:
            yield f"{name} is not installed"
        elif pin is not None and "*" not in pin[1] and have.partition("+")[0] != pin[1].partition("+")[0]:
            yield f"{name} is {have}, not {pin[1]}"


def _imports(imports: Mapping[str, str]) -> Finding:
    broken = {name: error for name, error in imports.items() if error}
    if broken:
        return Finding(
            id="environment-imports",
            status=Status.FAIL,
            summary=f"cannot be imported: {', '.join(broken)}",
            evidence=tuple(Evidence(fact=name, value=error, read_from="import") for name, error in broken.items()),
            remedies=(_AGAIN,),
        )
    return Finding(id="environment-imports", status=Status.PASS, summary=f"imports: {', '.join(imports)}")


def _cuda(environment: Environment, told: Mapping[str, Any], gpus: int) -> Finding:
    name, seen = "environment-cuda", len(told["products"]) - 1
    if environment.build == "cpu":
        return Finding(id=name, status=Status.PASS, summary="a CPU build, as planned")
    if not gpus:
        return Finding(id=name, status=Status.INFO, summary="there is no GPU here to prove CUDA on")
    if seen == gpus:
        return Finding(id=name, status=Status.PASS, summary=f"CUDA sees {_gpus(seen)}")
    why = str(told["cuda_error"] or "CUDA tells no reason")
    return Finding(
        id=name,
        status=Status.FAIL,
        summary=f"CUDA sees {_gpus(seen)}, the driver {_gpus(gpus)}",
        evidence=(Evidence(fact="torch.cuda", value=why, read_from="torch.cuda.init"),),
        remedies=(Remedy(text="Find out why.", commands=("dltool doctor",)),),
    )


def _gpus(count: int) -> str:
    return f"{count or 'no'} GPU{'s' * (count != 1)}"


def _product(product: Mapping[str, Any]) -> Finding:
    device = str(product["device"])
    devices = (int(device.partition(":")[2]),) if ":" in device else ()
    error, tolerance = product["error"], product["tolerance"]
    if error is not None and math.isfinite(error) and error <= tolerance:
        text = f"{device} ({product['name']}) multiplies matrices right: error {error:.1e}, allowed {tolerance:.1e}"
        return Finding(id="environment-product", status=Status.PASS, summary=text, devices=devices)
    why = product["failure"] or f"error {error:.1e}, allowed {tolerance:.1e}"
    return Finding(
        id="environment-product",
        status=Status.FAIL,
        summary=f"{device} does not multiply matrices: {why}",
        devices=devices,
        remedies=(Remedy(text="Find out why.", commands=("dltool doctor",)),),
    )


def _fail(name: str, summary: str) -> Finding:
    return Finding(id=name, status=Status.FAIL, summary=summary, remedies=(_AGAIN,))


def failed(findings: Sequence[Finding]) -> bool:
    """Whether the environment does not do what it should."""
    return any(finding.status is Status.FAIL for finding in findings)
