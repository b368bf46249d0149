"""How a number format trains: what the weights are, what is cast on the way, how the loss is scaled, which switches are set."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dltool.bench.devices import Device, import_torch
from dltool.bench.networks.precision import PRECISIONS, Precision, autocast
from dltool.errors import CannotRun, unknown_name


@dataclass(frozen=True)
class Way:
    """One way to train."""

    name: str
    epsilon: float
    """Relative spacing of the numbers that are multiplied."""
    products: str = "highest"
    """torch.set_float32_matmul_precision: "high" lets a GPU round factors to TF32."""
    needs_cuda: bool = False

    @property
    def precision(self) -> Precision:
        """What weights, products and losses take, as in `bench model`."""
        return PRECISIONS[self.name]

    @contextlib.contextmanager
    def arithmetic(self) -> Iterator[None]:
        """Round every forward, backward and update of a course: torch's switches, as this way wants them."""
        torch = import_torch()
        before, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn
        switches = cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic
        certain, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        try:
            torch.set_float32_matmul_precision(self.products)
            cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = self.products != "highest", False, True
            torch.use_deterministic_algorithms(True, warn_only=True)
            yield
        finally:
            torch.set_float32_matmul_precision(before)
            cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = switches
            torch.use_deterministic_algorithms(certain, warn_only=warned)

    def cast(self, kind: str) -> Any:
        """Round the forward and the loss, on a device of this kind."""
        return autocast(import_torch(), self.precision, kind)

    def check(self, device: Device) -> None:
        """Refuse what a device lacks.

        Raises:
            CannotRun: it does.
        """
        torch = import_torch()
        if self.needs_cuda and (device.kind != "cuda" or torch.cuda.get_device_capability(device.name) < (8, 0)):
            raise CannotRun(f"{self.name} needs a GPU of compute capability 8.0 or later", remedy="Leave it out: --dtype fp32")


WAYS = {
    way.name: way
    for way in (
        Way("fp32", epsilon=2**-23),
        Way("tf32", epsilon=2**-10, products="high", needs_cuda=True),
        Way("amp-bf16", epsilon=2**-7),
        Way("amp-fp16", epsilon=2**-10),
        Way("bf16", epsilon=2**-7),
    )
}
"""fp16 weights without loss scaling are not among them: nobody trains so, as their gradients vanish."""


def way(name: str) -> Way:
    """The way of a name.

    Raises:
        UsageError: there is none.
    """
    if name.lower() not in WAYS:
        raise unknown_name("dtype to train in", name, WAYS)
    return WAYS[name.lower()]


def usual(kind: str) -> list[str]:
    """What is trained in where nothing is asked for, on a device of this kind."""
    return ["fp32", "tf32", "amp-bf16", "amp-fp16"] if kind == "cuda" else ["fp32", "amp-bf16", "bf16"]
