"""Steps of the probe, run inside the child: start of the driver, import of PyTorch, memory, transfers."""

from __future__ import annotations

import ctypes
import importlib
import shutil
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dltool.probing.child import Skip, Teller, torch_devices
else:
    from dltool_probe import Skip, Teller, torch_devices

MIB = 2**20


def cuinit(tell: Teller) -> None:
    """What `cuInit` answers, and which devices there are then."""
    tell.case("cuInit", lambda: start_driver(tell))


def start_driver(tell: Teller) -> dict[str, Any]:
    """Load libcuda and start it."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return {"state": "absent", "why": str(error)}
    tell.fact(library=mapped("libcuda"))
    try:
        code = int(cuda.cuInit(0))
    except AttributeError:
        return {"state": "fail", "why": "this libcuda.so.1 has no cuInit: it is not NVIDIA's driver"}
    if code:
        return {"state": "fail", "code": code, "name": error_name(cuda, code)}
    number, version = ctypes.c_int(), ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(version))
    code = int(cuda.cuDeviceGetCount(ctypes.byref(number)))
    if code:
        return {"state": "fail", "code": code, "name": error_name(cuda, code), "call": "cuDeviceGetCount"}
    addresses = [address(cuda, index) for index in range(number.value)]
    tell.fact(count=number.value, addresses=addresses, cuda=f"{version.value // 1000}.{version.value % 1000 // 10}")
    return {}


def error_name(cuda: Any, code: int) -> str:
    """CUDA's own name of an error; "" where it has none."""
    text = ctypes.c_char_p()
    try:
        cuda.cuGetErrorName(code, ctypes.byref(text))
    except AttributeError:
        return ""
    return (text.value or b"").decode(errors="replace")


def address(cuda: Any, index: int) -> str:
    """The PCI address of a device, "0000:17:00.0"; "" where the driver does not tell."""
    device, text = ctypes.c_int(), ctypes.create_string_buffer(32)
    try:
        if cuda.cuDeviceGet(ctypes.byref(device), index) or cuda.cuDeviceGetPCIBusId(text, 32, device):
            return ""
    except AttributeError:
        return ""
    return text.value.decode(errors="replace").lower()


def mapped(name: str) -> str:
    """The file from which a library was loaded."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.split(maxsplit=5)[-1] for line in lines if f"/{name}" in line), "")


def import_torch(tell: Teller) -> None:
    """`import torch`, timed."""

    def work() -> dict[str, Any]:
        began = time.perf_counter()
        torch = importlib.import_module("torch")
        took = time.perf_counter() - began
        tell.fact(seconds=took, version=str(torch.__version__), file=str(torch.__file__), cuda=torch.version.cuda)
        return {}

    tell.case("import torch", work)


def memory(tell: Teller) -> None:
    """Is CUDA there, and can memory be had, filled and read on each device?"""
    torch = importlib.import_module("torch")
    tell.case("CUDA", lambda: {} if torch.cuda.is_available() else {"state": "fail", "why": why_no_cuda(torch)})
    for device in torch_devices(torch):
        tell.case(device, partial(allocate, torch, device))


def why_no_cuda(torch: Any) -> str:
    """What CUDA says when it is started in earnest."""
    if not torch.version.cuda:
        return "this PyTorch is built without CUDA"
    try:
        torch.cuda.init()
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return "torch.cuda.is_available() is False, and CUDA tells no reason"


def allocate(torch: Any, device: str) -> dict[str, Any]:
    """A block is filled with a pattern and read back."""
    told: dict[str, Any] = {"name": "CPU"}
    size = 64 * MIB
    if device != "cpu":
        free, total = torch.cuda.mem_get_info(device)
        told = {"name": torch.cuda.get_device_name(device), "free": free, "total": total}
        size = max(MIB, min(256 * MIB, free // 2))
    for pattern in (0x55, 0xAA):
        block = torch.full((size,), pattern, dtype=torch.uint8, device=device)
        if not bool((block == pattern).all()):
            return {"state": "fail", "why": "memory does not hold what was written to it", **told}
        del block
    return {"bytes": size, **told}


def transfer(tell: Teller) -> None:
    """Bytes go to each device and come back the same; without a GPU, through shared memory."""
    torch = importlib.import_module("torch")
    devices = torch_devices(torch)
    if len(devices) == 1:
        tell.case("shared memory", lambda: shared(torch))
    for device in devices[1:]:
        for pinned in (False, True):
            name = f"{device} {'pinned' if pinned else 'pageable'}"
            tell.case(name, partial(there_and_back, torch, device, pinned))


def random_bytes(torch: Any, size: int) -> Any:
    """The same ones each time."""
    return torch.randint(0, 256, (size,), dtype=torch.uint8, generator=torch.Generator().manual_seed(size))


def there_and_back(torch: Any, device: str, pinned: bool) -> dict[str, Any]:
    """Some sizes that are no round ones, too."""
    fastest = 0.0
    for size in (1, 4097, 64 * MIB + 3):
        here = random_bytes(torch, size)
        here = here.pin_memory() if pinned else here
        began = time.perf_counter()
        back = here.to(device).cpu()
        fastest = 2 * size / (time.perf_counter() - began)
        if not torch.equal(here, back):
            wrong = int((here != back).sum())
            return {"state": "fail", "why": f"{wrong} of {size} bytes came back changed"}
    return {"bytes_per_s": fastest}


def shared(torch: Any) -> dict[str, Any]:
    """As DataLoader workers hand over their batches."""
    size = 16 * MIB + 3
    if shutil.disk_usage("/dev/shm").free < 2 * size:
        raise Skip("/dev/shm has no room for 32 MiB")
    here = random_bytes(torch, size)
    there = here.clone().share_memory_()
    if not torch.equal(here, there.clone()):
        return {"state": "fail", "why": "bytes came back changed"}
    return {"bytes": size}


STEPS = {"cuinit": cuinit, "import": import_torch, "memory": memory, "transfer": transfer}
