"""Steps of the probe, run inside the child: products, convolutions and compiled code against references."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dltool.probing.child import Skip, Teller, checked, relative_error, torch_devices
else:
    from dltool_probe import Skip, Teller, checked, relative_error, torch_devices

SIZE = 512
LEAST_CAPABILITY = {"tf32": (8, 0), "bf16": (8, 0), "fp16": (5, 3), "fp8_e4m3": (8, 9), "fp8_e5m2": (8, 9), "int8": (7, 5)}
"""The first GPUs that have arithmetic for it in PyTorch's operations."""
CONVOLUTION_SLACK = {"fp32": 8, "fp16": 2, "bf16": 2}
"""Libraries may compute small convolutions by Winograd's transform, which loses some bits more than a sum of products."""


def matmul(tell: Teller) -> None:
    """A product in each number format on each device."""
    torch = importlib.import_module("torch")
    for device in torch_devices(torch):
        for row in tell.task["formats"]:
            tell.case(f"{device} {row['name']}", partial(product, torch, device, row))


def product(torch: Any, device: str, row: dict[str, Any]) -> dict[str, Any]:
    """C = A @ B (A and B of this format), against the same in float64 on the CPU."""
    kinds = [getattr(torch, row[column], None) for column in ("torch", "torch_b", "torch_out")]
    if None in kinds:
        raise Skip("this PyTorch does not know the type")
    if device == "cpu" and row["needs_cuda"]:
        raise Skip("exists on GPUs only")
    least = LEAST_CAPABILITY.get(row["name"])
    if device != "cpu" and least is not None and torch.cuda.get_device_capability(device) < least:
        raise Skip(f"from compute capability {least[0]}.{least[1]} on")
    operation = row["operation"]
    torch.set_float32_matmul_precision("high" if operation == "mm_tf32" else "highest")
    a, b = (random(torch, kind, seed) for seed, kind in enumerate(kinds[:2]))
    reference = exact(torch, a) @ exact(torch, b).t()
    a, b = a.to(device), b.to(device)
    try:
        c = multiply(torch, operation, a, b, kinds[2])
    except (NotImplementedError, AttributeError) as error:
        raise Skip(f"this PyTorch cannot: {str(error).splitlines()[0]}"[:200]) from None
    except RuntimeError as error:
        if "not implemented for" in str(error) or "only supported" in str(error):
            raise Skip(f"this PyTorch cannot: {str(error).splitlines()[0]}"[:200]) from None
        raise
    return checked(relative_error(torch, c, reference), float(row["tolerance"]))


def random(torch: Any, kind: Any, seed: int) -> Any:
    """Standard normal numbers, or all values of an integer type alike."""
    generator = torch.Generator().manual_seed(seed)
    if not kind.is_floating_point:
        info = torch.iinfo(kind)
        return torch.randint(info.min, info.max + 1, (SIZE, SIZE), dtype=kind, generator=generator)
    return torch.randn((SIZE, SIZE), dtype=torch.float64, generator=generator).to(torch.float32).to(kind)


def exact(torch: Any, values: Any) -> Any:
    """In float64, by way of float32 where there is no direct one."""
    return (values.to(torch.float32) if values.element_size() == 1 else values).to(torch.float64)


def multiply(torch: Any, operation: str, a: Any, b_transposed: Any, out: Any) -> Any:
    """As the format's operation is called in PyTorch."""
    b = b_transposed.t()
    if operation == "int_mm":
        return torch._int_mm(a, b)
    if operation == "scaled_mm":
        one = torch.ones((), dtype=torch.float32, device=a.device)
        c = torch._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=out)
        return c[0] if isinstance(c, tuple) else c  # up to PyTorch 2.4 with the largest entry
    return torch.mm(a, b.contiguous())


def convolution(tell: Teller) -> None:
    """A convolution on each device, by cuDNN or oneDNN where they are there."""
    torch = importlib.import_module("torch")
    backends = torch.backends
    onednn = bool(backends.mkldnn.is_available())
    tell.fact(cudnn=backends.cudnn.version() if torch.cuda.is_available() else None, onednn=onednn)
    for device in torch_devices(torch):
        for name in ("fp32", "bf16" if device == "cpu" else "fp16"):
            row = next(row for row in tell.task["formats"] if row["name"] == name)
            tell.case(f"{device} {name}", partial(convolve, torch, device, row))


def convolve(torch: Any, device: str, row: dict[str, Any]) -> dict[str, Any]:
    """3 x 3 over 32 channels, against unfolding and a product in float64."""
    if device != "cpu" and not torch.backends.cudnn.is_available():
        raise Skip("this PyTorch has no cuDNN")
    torch.backends.cudnn.allow_tf32 = False
    functional, generator = torch.nn.functional, torch.Generator().manual_seed(0)
    kind = getattr(torch, row["torch"])
    x = torch.randn((4, 32, 28, 28), generator=generator).to(kind)
    w = torch.randn((64, 32, 3, 3), generator=generator).to(kind)
    columns = functional.unfold(x.to(torch.float64), 3, padding=1)
    reference = (w.to(torch.float64).reshape(64, -1) @ columns).reshape(4, 64, 28, 28)
    result = functional.conv2d(x.to(device), w.to(device), padding=1)
    return checked(relative_error(torch, result, reference), CONVOLUTION_SLACK[row["name"]] * float(row["tolerance"]))


def compiled(tell: Teller) -> None:
    """A small function through torch.compile."""
    torch = importlib.import_module("torch")
    device = torch_devices(torch)[-1]
    tell.case(device, lambda: compile_and_compare(torch, device))


def compile_and_compare(torch: Any, device: str) -> dict[str, Any]:
    """Compiled against eager."""
    if not hasattr(torch, "compile"):
        raise Skip("PyTorch before 2.0 has no torch.compile")
    compilers = [os.environ.get("CXX", ""), "g++", "clang++"] if device == "cpu" else [os.environ.get("CC", ""), "gcc", "clang"]
    if not any(shutil.which(name) for name in compilers if name):
        raise Skip(f"no compiler on PATH ({' or '.join(name for name in compilers if name)}), which torch.compile needs")
    if device != "cpu" and importlib.util.find_spec("triton") is None:
        raise Skip("Triton is not installed, which torch.compile needs on GPUs")
    for variable in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        os.environ[variable] = str(Path.cwd() / variable.lower())
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"

    def function(x: Any) -> Any:
        return (torch.sin(x) * 2 + x).sum(dim=0)

    x = torch.randn((128, 64), generator=torch.Generator().manual_seed(0)).to(device)
    return checked(relative_error(torch, torch.compile(function)(x), function(x)), 1e-5)


STEPS = {"matmul": matmul, "conv": convolution, "compile": compiled}
