"""Run by the new environment's own Python, as a file: imports, versions and a checked product on every device, told as JSON.

It knows nothing of dltool, which is not installed there. What it is about to do stands on stderr: a crash is then explained.
"""

from __future__ import annotations

import importlib
import importlib.metadata as metadata
import json
import platform
import sys
import time
from typing import Any

SIZE = 512
TOLERANCE = SIZE * 2.0**-23
"""Of the largest entry: SIZE roundings to FP32 in a row."""


def main() -> None:
    """Do as the JSON in the first argument says, and print what was found."""
    wanted = json.loads(sys.argv[1])
    found: dict[str, Any] = {"python": platform.python_version(), "prefix": sys.prefix}
    found["versions"] = {name: version(name) for name in wanted["versions"]}
    found["imports"] = {name: attempt(name) for name in wanted["imports"]}
    if found["imports"].get("torch") == "":
        found.update(torch_facts(importlib.import_module("torch")))
    print(json.dumps(found))


def doing(what: str) -> None:
    """Say what comes next."""
    print(what, file=sys.stderr, flush=True)


def version(name: str) -> str | None:
    """The installed version of a distribution; None where it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def attempt(name: str) -> str:
    """Import what a distribution brings; "" when all is well, else the error."""
    for module in modules(name):
        doing(f"importing {module}")
        try:
            importlib.import_module(module)
        except BaseException as error:
            return f"{type(error).__name__}: {error}"
    return ""


def modules(name: str) -> list[str]:
    """The top-level modules of a distribution."""
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return [name.replace("-", "_")]
    told = (distribution.read_text("top_level.txt") or "").split()
    if not told:
        files = [file.parts for file in distribution.files or () if file.name.endswith(".py")]
        told = sorted({parts[0].partition(".")[0] for parts in files if len(parts) <= 2})
    own = name.replace("-", "_")
    return [own] if own in told else [top for top in told if top.isidentifier() and not top.startswith("_")][:1]


def torch_facts(torch: Any) -> dict[str, Any]:
    """The build, whether CUDA is there, and a product on every device."""
    doing("looking for GPUs")
    facts: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda}
    available = bool(torch.cuda.is_available())
    facts["cuda_available"] = available
    facts["cuda_error"] = "" if available or not torch.version.cuda else why_no_cuda(torch)
    count = torch.cuda.device_count() if available else 0
    facts["products"] = [product(torch, device) for device in ("cpu", *(f"cuda:{index}" for index in range(count)))]
    return facts


def why_no_cuda(torch: Any) -> str:
    """What CUDA says when it is started in earnest."""
    try:
        torch.cuda.init()
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


def product(torch: Any, device: str) -> dict[str, Any]:
    """C = A @ B in FP32 on a device, against the same in FP64 on the CPU."""
    doing(f"multiplying matrices on {device}")
    told: dict[str, Any] = {"device": device, "error": None, "tolerance": TOLERANCE, "seconds": None, "failure": ""}
    try:
        generator = torch.Generator().manual_seed(0)
        a, b = (torch.rand(SIZE, SIZE, dtype=torch.float64, generator=generator) for _ in range(2))
        reference = a @ b
        began = time.perf_counter()
        there = a.to(device=device, dtype=torch.float32) @ b.to(device=device, dtype=torch.float32)
        back = there.to(device="cpu", dtype=torch.float64)
        told["seconds"] = time.perf_counter() - began
        told["error"] = float((back - reference).abs().max() / reference.abs().max())
        told["name"] = torch.cuda.get_device_name(device) if device != "cpu" else "CPU"
    except Exception as error:
        told["failure"] = f"{type(error).__name__}: {error}".splitlines()[0]
    return told


if __name__ == "__main__":
    main()
