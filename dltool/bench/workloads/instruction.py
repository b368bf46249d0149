"""Arithmetic units alone: instructions on numbers in registers, with no memory in the way. The ceiling of every kernel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dltool.bench import WORKLOADS, Prepared, Workload, cases, dtype_row, dtypes, verified
from dltool.bench.devices import Device, import_torch
from dltool.bench.nvrtc import Loaded, compile_cubin, driver, library
from dltool.bench.support import Support, case_of, decide, instruction_of, keys_here
from dltool.bench.workloads import fragments
from dltool.bench.workloads.kernels import KERNELS, THREADS, WARPS, Kernel
from dltool.errors import CannotRun, UsageError
from dltool.numerics import recurrence_tolerance, repeated_tolerance
from dltool.results import Verified, Work

_LEAST_FACTOR, _MOST_FACTOR = 0.25, 0.75
BLOCKS_PER_SM = 2


@WORKLOADS.register("instruction")
@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """`blocks` of 256 threads repeat one instruction `rounds` times on registers: tensor cores (mma.sync) or multiply-adds."""

    dtype: str = "int4"
    blocks: int = 256
    rounds: int = 4096

    @property
    def kernel(self) -> Kernel:
        """What runs.

        Raises:
            UsageError: the dtype has none; it is measured by a library's product.
        """
        operation = dtype_row(self.dtype)["operation"]
        if not operation.startswith("kernel_"):
            raise UsageError(
                f"{self.dtype} has no kernel of its own", remedy=f"Measure it as: dltool bench gemm --dtype {self.dtype}"
            )
        return KERNELS[operation.removeprefix("kernel_")]

    @property
    def rate_unit(self) -> str:
        """Operations on integers are no floating-point operations."""
        return "OP/s" if self.dtype.startswith("int") else "FLOP/s"

    def work(self) -> Work:
        """Nothing is moved but the registers' first and last contents."""
        return Work(ops=self.blocks * self.rounds * self.kernel.ops_per_round)

    def sizes(self) -> Iterator[Instruction]:
        """From a sixty-fourth of the rounds."""
        for factor in (64, 8):
            if self.rounds >= 8 * factor:
                yield replace(self, rounds=self.rounds // factor)
        yield self

    def peak(self, device: Device) -> tuple[float, str] | None:
        """The derived peak of these units."""
        for key in keys_here(dtype_row(self.dtype), device):
            peak = device.board.peaks[key]
            if peak.dense is not None:
                return peak.dense * 1e12, f"{key} {peak.basis}"
        return None

    def support(self, device: Device, kernel: str | None = None, error: str | None = None) -> Support:
        """By the architecture; `kernel` is replaced by what the compiler makes of the instruction, which is known."""
        case = case_of(dtype_row(self.dtype), device, error=error)
        name = self.kernel_name(case.capability)
        return replace(decide(replace(case, kernel=name)), kernel=name if kernel else None)

    def kernel_name(self, capability: tuple[int, int] | None) -> str:
        """The kernel's file, and the machine instruction that it consists of on such a GPU."""
        code = instruction_of(self.kernel.name, capability) if capability else None
        return f"measure ({self.kernel.name}.cu{f': {code}' if code else ''})"

    def implementation(self, device: Device) -> str:
        """Native where the architecture has the units; else the compiler makes other instructions of it."""
        return str(self.support(device))

    def doubts(self, device: Device) -> list[str]:
        """Too few blocks leave SMs idle."""
        wanted = BLOCKS_PER_SM * (device.board.sms or 0)
        return [f"{self.blocks} blocks do not fill {device.board.sms} SMs evenly"] if wanted and self.blocks % wanted else []

    def prepare(self, device: Device) -> Prepared:
        """Compile the kernel for this GPU and fill its registers' first contents.

        Raises:
            UsageError: the device is no GPU.
            CannotRun: NVRTC is missing, or this compute capability does not have the instruction.
        """
        kernel = self.kernel
        if device.kind != "cuda":
            raise UsageError("this exists on CUDA devices only", remedy="Leave it out of --dtype.")
        torch = import_torch()
        capability = tuple(torch.cuda.get_device_capability(device.name))
        if capability < kernel.first:
            least = ".".join(map(str, kernel.first))
            raise CannotRun(f"{self.dtype} exists from compute capability {least} on", remedy="Leave it out of --dtype.")
        with torch.cuda.device(device.name):
            code = compile_cubin(library(), kernel.source(), (capability[0], capability[1]))
            torch.cuda.synchronize()  # from here on the device's context is this thread's
            loaded = Loaded(driver(), code, "measure")
            stream = torch.cuda.current_stream().cuda_stream
            return self.prepared(torch, device.name, loaded, stream=stream, xor=capability < (8, 0))

    def prepared(self, torch: Any, device: str, loaded: Loaded, *, stream: int = 0, xor: bool = False) -> Prepared:
        """With the compiled kernel at hand: its data on the device, and the step that launches it.

        Args:
            torch: the module.
            device: as torch calls it.
            loaded: the kernel.
            stream: the CUDA stream to launch on.
            xor: bits are combined by XOR, the only way before compute capability 8.0.
        """
        kernel = self.kernel
        data = registers(torch, kernel, device)
        room = self.blocks * THREADS * kernel.chains * (1 if kernel.shape is None else 4)
        c = torch.full((room,), -1, dtype=getattr(torch, kernel.sums), device=device)
        pointers = [data[0].data_ptr(), data[1].data_ptr(), c.data_ptr()]
        blocks, rounds = self.blocks, self.rounds

        def step() -> None:
            loaded.launch(blocks, THREADS, pointers, rounds, stream)

        return Prepared(step, lambda: self.check(torch, data, c, xor=xor))

    def check(self, torch: Any, data: tuple[Any, Any], c: Any, *, xor: bool = False) -> Verified:
        """The first and the last block's results against the same in float64."""
        kernel, row = self.kernel, dtype_row(self.dtype)
        results = c.reshape(self.blocks, -1)[[0, -1]]
        if kernel.shape is None:
            reference, found = _recurrence(torch, kernel, data, results, self.rounds)
            tolerance = recurrence_tolerance(float(row["epsilon_out"]), _MOST_FACTOR)
        else:
            reference, found = _products(torch, kernel, data, results, xor=xor)
            reference = reference * self.rounds
            tolerance = repeated_tolerance(row, self.rounds)
        difference, norm = (found - reference).norm(), reference.norm()
        return verified("float64, first and last block", difference / norm if norm else difference, tolerance)


def chosen(device: Device, axes: Mapping[str, Sequence[str]], suite: str) -> list[tuple[str, Workload]]:
    """The instructions of a suite, in blocks that fill the SMs evenly; of `axes`, what only a product takes is left out."""
    blocks = BLOCKS_PER_SM * (device.board.sms or 128)
    own = {name: axes[name] for name in ("blocks", "rounds") if name in axes}
    named = [row["name"] for row in dtypes.rows(device, axes, suite, kernels=True)]
    return [("instruction", case) for case in cases(Instruction, {"blocks": [str(blocks)], **own, "dtype": named})]


def default_cases(device: Device, suite: str) -> list[tuple[str, Workload]]:
    """Every dtype of the suite that has a kernel of its own."""
    return chosen(device, {}, suite)


def registers(torch: Any, kernel: Kernel, device: str) -> tuple[Any, Any]:
    """What A and B hold at first: random bits of integers, standard normal numbers, factors that let nothing grow."""
    generator = torch.Generator(device=device).manual_seed(0)
    if kernel.shape is None:
        draw = {"device": device, "generator": generator, "dtype": torch.float64}
        size = _LEAST_FACTOR + (_MOST_FACTOR - _LEAST_FACTOR) * torch.rand((THREADS, kernel.per_register), **draw)
        sign = 1 - 2 * (torch.rand((THREADS, kernel.per_register), **draw) < 0.5).to(torch.float64)
        start = torch.randn((kernel.chains * THREADS, kernel.per_register), **draw)
        return _packed(torch, kernel, size * sign), _packed(torch, kernel, start)
    m, n, k = kernel.shape
    per_lane = kernel.per_register * 32
    counts = (WARPS * m * k // per_lane * 32, kernel.chains * n * k // per_lane * 32)
    if kernel.stored == "int32":
        limits = {"dtype": torch.int32, "device": device, "generator": generator}
        bits = [torch.randint(-(2**31), 2**31, (count,), **limits) for count in counts]
        return bits[0], bits[1]
    a, b = (torch.randn(count, dtype=torch.float64, device=device, generator=generator) for count in counts)
    return a, b


def _packed(torch: Any, kernel: Kernel, numbers: Any) -> Any:
    """Numbers (registers, per register) as the kernel reads them."""
    if kernel.per_register == 2:
        return numbers.to(torch.float16).contiguous().view(torch.int32).flatten()
    return numbers.to(getattr(torch, kernel.stored)).flatten()


def _numbers(torch: Any, kernel: Kernel, packed: Any) -> Any:
    """The other way, (registers, per register), in float64."""
    stored = packed.reshape(-1, 1)
    return (stored.contiguous().view(torch.float16) if kernel.per_register == 2 else stored).to(torch.float64)


def _recurrence(torch: Any, kernel: Kernel, data: tuple[Any, Any], results: Any, rounds: int) -> tuple[Any, Any]:
    """After r rounds from x = b: b times the sum of a to the powers 0 to r."""
    factor = _numbers(torch, kernel, data[0])
    start = _numbers(torch, kernel, data[1]).reshape(kernel.chains, THREADS, kernel.per_register)
    reference = start * ((1 - factor ** (rounds + 1)) / (1 - factor))
    found = _numbers(torch, kernel, results).reshape(len(results), kernel.chains, THREADS, kernel.per_register)
    return reference.expand_as(found), found


def _products(torch: Any, kernel: Kernel, data: tuple[Any, Any], results: Any, *, xor: bool) -> tuple[Any, Any]:
    """What one round adds: for each warp its A times each B."""
    signed = kernel.bits == 4
    shape_a, shape_b = (WARPS, -1, 32), (kernel.chains, -1, 32)
    a = fragments.matrix_a(fragments.unpack(torch, data[0].reshape(shape_a), kernel.bits, signed=signed))
    b = fragments.matrix_b(fragments.unpack(torch, data[1].reshape(shape_b), kernel.bits, signed=signed))
    product = a[:, None] @ b[None]
    if xor and kernel.bits == 1:
        product = a.sum(-1)[:, None, :, None] + b.sum(-2)[None, :, None, :] - 2 * product
    found = fragments.matrix_c(results.reshape(len(results), WARPS, kernel.chains, 4, 32)).to(torch.float64)
    return product.expand_as(found), found
